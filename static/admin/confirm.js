/** Asks once more before something is done that is hard to undo. */

import { element, write } from "../parts/elements.js";

/**
 * @param {{title: string, words: string, yes: string}} question
 * @returns {Promise<boolean>}
 */
export function confirmed({ title, words, yes }) {
  const dialog = element("confirm-dialog", HTMLDialogElement);
  write(element("confirm-title"), title);
  write(element("confirm-words"), words);
  write(element("confirm-yes"), yes);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

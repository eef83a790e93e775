/** Changes of balances in words, as cards, log and monitor tell them. */

import { grouped, isZero, signed } from "../parts/amounts.js";
import { one, write } from "../parts/elements.js";

/** @typedef {import("../tallywire-client.js").Change} Change */
/** @typedef {import("../tallywire-client.js").Hold} Hold */

/**
 * A row of the log, or of everybody's changes.
 * @typedef {object} Row
 * @property {string} what
 * @property {string} [amount]
 * @property {string} about
 * @property {"good" | "bad" | "warn"} [tone]
 * @property {string} [kind]
 * @property {number} [position]
 */

/**
 * Writes a row into a copy of the row template, which may have held another.
 * @param {HTMLElement} node
 * @param {Row} row
 */
export function fillRow(node, { what, amount = "", about, tone, kind, position }) {
  write(one(node, ".what"), what);
  write(one(node, ".amount"), amount);
  write(one(node, ".about"), about);
  for (const [name, value] of Object.entries({ tone, kind, position })) {
    if (value === undefined) delete node.dataset[name];
    else node.dataset[name] = String(value);
  }
}

/** @param {string} type a change type */
export const words = (type) => type.replaceAll("_", " ");

/** @param {string} text */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @param {string | number | Date} when */
export const clockTime = (when) => new Date(when).toLocaleTimeString(undefined, { hour12: false });

/**
 * "1 line", "2 lines".
 * @param {number} n
 * @param {string} what
 */
export const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

/**
 * The amount of a change as a row shows it: what was held where no money moved.
 * @param {Pick<Change, "amount" | "held_change">} change
 * @returns {{amount?: string, tone?: "good"}}
 */
export function movement({ amount, held_change: heldChange }) {
  if (!isZero(amount)) {
    return { amount: signed(amount), ...(!amount.startsWith("-") && { tone: "good" }) };
  }
  return isZero(heldChange) ? {} : { amount: `held ${signed(heldChange)}` };
}

/**
 * What a change brought about besides its amount.
 * @param {Change} change
 */
export function noticed({ alert, status }) {
  return [alert && words(alert), status !== "active" && status].filter(Boolean);
}

/**
 * What a hold reserves after a part of it was confirmed.
 * @param {Hold | undefined} hold
 */
export function stillHeld(hold) {
  return hold?.status === "open" && hold.remaining !== hold.amount
    ? `${grouped(hold.remaining)} of ${grouped(hold.amount)} still held`
    : "";
}

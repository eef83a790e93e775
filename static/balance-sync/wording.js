/** Changes of balances in words, as cards, log and monitor tell them. */

import { grouped } from "../parts/amounts.js";
import { one, write } from "../parts/elements.js";
import { endingOf, tradeWords } from "../parts/trade-words.js";
import { isIncome, movement, words } from "../parts/wording.js";

/** @typedef {import("../tallywire-client.js").Change} Change */
/** @typedef {import("../tallywire-client.js").Hold} Hold */
/** @typedef {import("../tallywire-client.js").Trade} Trade */

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

/**
 * The amount of a change and its colour, for a row.
 * @param {Change} change
 * @returns {Pick<Row, "amount" | "tone">}
 */
export const moved = (change) => ({
  amount: movement(change),
  ...(isIncome(change) && { tone: "good" }),
});

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

/**
 * What was traded, and how it ended where it has ended.
 * @param {Trade} trade
 */
export function tradeTold(trade) {
  const what = tradeWords(trade);
  return trade.kind === "spot" || trade.status === "open" ? what : `${what}, ${endingOf(trade).text}`;
}

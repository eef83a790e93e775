/** Changes of balances in words, as every list of them tells them. */

import { grouped, isZero, signed } from "./amounts.js";

/** @typedef {import("../tallywire-client.js").Change} Change */

/** @param {string} type a change type */
export const words = (type) => type.replaceAll("_", " ");

/** @param {string} text */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @param {string | number | Date} when */
export const clockTime = (when) => new Date(when).toLocaleTimeString(undefined, { hour12: false });

/**
 * "1 line", "2 lines".
 * @param {number} count
 * @param {string} what
 */
export const counted = (count, what) => (
  `${grouped(String(count))} ${what}${count === 1 ? "" : "s"}`
);

/**
 * The amount of a change as a row shows it: what was held where no money moved.
 * @param {Pick<Change, "amount" | "held_change">} change
 */
export function movement({ amount, held_change: heldChange }) {
  if (!isZero(amount)) return signed(amount);
  return isZero(heldChange) ? "" : `held ${signed(heldChange)}`;
}

/**
 * Whether a change made a balance more: a hold, placed or voided, does not.
 * @param {Pick<Change, "amount">} change
 */
export const isIncome = ({ amount }) => !isZero(amount) && !amount.startsWith("-");

/** Changes of balances in words, as cards, log and monitor tell them. */

import { grouped, isZero, signed } from "../parts/amounts.js";

/** @param {string} type a change type */
export const words = (type) => type.replaceAll("_", " ");

/** @param {string} text */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @param {string | number | Date} when */
export const clockTime = (when) => new Date(when).toLocaleTimeString(undefined, { hour12: false });

/**
 * The amount of a change as a row shows it: what was held where no money moved.
 * @param {{amount: string, held_change: string}} change
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
 * @param {{alert?: string, status: string}} change
 */
export function noticed({ alert, status }) {
  return [alert && words(alert), status !== "active" && status].filter(Boolean);
}

/**
 * What a hold reserves after a part of it was confirmed.
 * @param {{status: string, amount: string, remaining: string} | undefined} hold
 */
export function stillHeld(hold) {
  return hold?.status === "open" && hold.remaining !== hold.amount
    ? `${grouped(hold.remaining)} of ${grouped(hold.amount)} still held`
    : "";
}

/** Words for what the monitor shows. */

import { grouped, isZero, signed } from "../parts/amounts.js";
import { NoAnswer, Refusal } from "../parts/requests.js";

/** @param {string} type a change type */
export const words = (type) => type.replaceAll("_", " ");

/** @param {string} text */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @param {string | number | Date} when */
export const clockTime = (when) => new Date(when).toLocaleTimeString(undefined, { hour12: false });

/**
 * In this machine's time, as "2026-11-21 19:08:48".
 * @param {string | number | Date} when
 */
export const dateAndTime = (when) => new Date(when).toLocaleString("sv-SE");

/**
 * @param {number} count
 * @param {string} what
 */
export const counted = (count, what) => (
  `${grouped(String(count))} ${what}${count === 1 ? "" : "s"}`
);

/**
 * The amount of a change as a row shows it: what was held where no money moved.
 * @param {{amount: string, held_change: string}} change
 */
export function movement({ amount, held_change: heldChange }) {
  if (!isZero(amount)) return signed(amount);
  return isZero(heldChange) ? "" : `held ${signed(heldChange)}`;
}

/**
 * Whether a change made a balance more: a hold, placed or voided, does not.
 * @param {{amount: string}} change
 */
export const isIncome = ({ amount }) => !isZero(amount) && !amount.startsWith("-");

/** @param {string} text */
const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);

/**
 * Why a request failed, and what to do.
 * @param {unknown} error
 */
export function failureWords(error) {
  if (!(error instanceof Refusal)) {
    const { message } = /** @type {Error} */ (error);
    return error instanceof NoAnswer
      ? `${capital(message)}. It may have been done or not; sent again as it is, nothing is booked twice.`
      : `${capital(message)}.`;
  }
  const details = error.errors.map(({ pointer, detail }) => (
    pointer ? `${pointer.slice(1).replaceAll("_", " ")}: ${detail}` : detail
  ));
  const why = error.code === "insufficient_funds" ? error.amountWords() : details.join("; ") || error.message;
  const wait = error.later && error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  return `Refused: ${sentence(why)}${wait}`;
}

/**
 * Why something could not be read.
 * @param {unknown} error
 */
export function unreadWords(error) {
  return `It could not be read: ${sentence(/** @type {Error} */ (error).message)}`;
}

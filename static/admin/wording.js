/** Words for what the monitor shows. */

import { NoAnswer, Refusal } from "../parts/requests.js";
import { capital } from "../parts/wording.js";

/**
 * In this machine's time, as "2026-11-21 19:08:48".
 * @param {string | number | Date} when
 */
export const dateAndTime = (when) => new Date(when).toLocaleString("sv-SE");

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

/** What became of a form's request: told beside its fields, below it, and in the log. */

import { one, show, write } from "../parts/elements.js";
import { NoToken } from "../parts/identity.js";
import { Refusal } from "../parts/requests.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("./log.js").Log} Log */

/**
 * A request, and how its refusals are told.
 * @typedef {object} Sent
 * @property {string} path
 * @property {object} body
 * @property {string} what in words, for the log
 * @property {string} about the amount, for the log
 * @property {Record<string, string>} fieldOfPointer by a problem's pointer, the field that shows it
 * @property {Record<string, string>} fieldOfCode the same by its code, where it has no pointer
 * @property {() => void} again no answer came: the same may be sent again
 * @property {() => boolean} isWanted whether the answer still belongs to what is shown
 */

/** @param {string} key */
const sameKey = (key) => (
  `Sending it again uses the same Idempotency-Key (${key}), so it cannot be booked twice.`
);

export class FormAnswers {
  /**
   * @param {HTMLElement} form with an input and an .error in each [data-field]
   * @param {HTMLElement} result with two paragraphs: what became of it, and what else is known
   * @param {Log} log
   */
  constructor(form, result, log) {
    this.form = form;
    this.result = result;
    this.log = log;
  }

  /** Takes back what was told beside the fields. */
  clearErrors() {
    for (const message of this.form.querySelectorAll(".error")) {
      show(/** @type {HTMLElement} */ (message), false);
    }
    for (const node of this.form.querySelectorAll("[aria-invalid]")) node.removeAttribute("aria-invalid");
  }

  /**
   * Tells what is wrong beside the field; false where the form shows no such field.
   * @param {string} name
   * @param {string} text
   */
  fieldError(name, text) {
    const field = this.form.querySelector(`[data-field="${CSS.escape(name)}"]:not([hidden])`);
    if (!field) return false;
    one(field, "input, select").setAttribute("aria-invalid", "true");
    const message = one(field, ".error");
    write(message, message.hidden ? text : `${message.textContent} ${text}`);
    show(message, true);
    return true;
  }

  /**
   * @param {"good" | "bad"} tone
   * @param {string} text
   * @param {string} [about]
   */
  tell(tone, text, about = "") {
    const [words, more] = /** @type {HTMLElement[]} */ ([...this.result.children]);
    show(this.result, true);
    this.result.classList.toggle("good", tone === "good");
    this.result.classList.toggle("bad", tone === "bad");
    if (!words || !more) return;
    write(words, text);
    write(more, about);
    show(more, Boolean(about));
  }

  /**
   * Tells what the form itself can tell is unclear; nothing was sent.
   * @param {[string, string][]} unclear each field, and why
   */
  tellUnclear(unclear) {
    for (const [name, text] of unclear) this.fieldError(name, text);
    this.tell("bad", `Not sent: ${unclear.map(([, text]) => text).join(" ")}`);
    this.#focusFirstError();
  }

  #focusFirstError() {
    /** @type {HTMLElement | null} */ (this.form.querySelector("[aria-invalid]"))?.focus();
  }

  /**
   * Sends a request, and tells why where it was not accepted.
   * @param {Session} session
   * @param {Sent} sent
   * @returns {Promise<{outcome: any, replayed: boolean} | null>} null where it was not accepted, or
   *   where the answer is not wanted any more
   */
  async post(session, sent) {
    const { path, body, isWanted } = sent;
    const key = session.requests.keyOf(path, body);
    this.form.ariaBusy = "true"; // the button stays enabled, so that the focus stays where it is
    try {
      const answer = await session.requests.post(path, body);
      return isWanted() ? answer : null;
    } catch (error) {
      if (!isWanted()) return null;
      if (error instanceof Refusal) this.#refused(sent, error, key);
      else if (error instanceof NoToken) this.tell("bad", `Not sent: ${error.message}.`);
      else this.#unheard(sent, /** @type {Error} */ (error), key);
      return null;
    } finally {
      this.form.ariaBusy = null;
    }
  }

  /**
   * @param {Sent} sent
   * @param {Refusal} refusal
   * @param {string} key
   */
  #refused({ what, about, fieldOfPointer, fieldOfCode }, refusal, key) {
    const { code, message: detail, later } = refusal;
    const told = refusal.errors.filter((error) => {
      const name = fieldOfPointer[error.pointer] ?? error.pointer.slice(1);
      return this.fieldError(name, refusal.amountWords(error.detail));
    });
    const field = fieldOfCode[code];
    if (!told.length && field) this.fieldError(field, refusal.amountWords());
    const wait = later && refusal.retryAfter ? ` Try again in ${refusal.retryAfter} s.` : "";
    this.tell("bad", `Refused: ${detail}${wait}`, later ? sameKey(key) : code);
    this.log.note("request", `${what} refused: ${detail}`, {
      about: [code, about].filter(Boolean).join(" · "), tone: "bad",
    });
    this.#focusFirstError();
  }

  /**
   * @param {Sent} sent
   * @param {Error} error
   * @param {string} key
   */
  #unheard({ what, again }, error, key) {
    again();
    this.tell(
      "bad",
      "No answer came, so it may have been booked or not. Send it again to find out.",
      sameKey(key),
    );
    this.log.note("request", `${what}: no answer`, { about: error.message, tone: "bad" });
  }
}

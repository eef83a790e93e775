/** The form that moves money. */

import { grouped } from "../parts/amounts.js";
import { element, one, show, write } from "../parts/elements.js";
import { Refusal } from "../parts/requests.js";
import { capital } from "./wording.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./log.js").Log} Log */
/** @typedef {{operation: string, path: string, body: Record<string, any>}} Asked */

/** @type {Record<string, {path: string, submit: string, done: string}>} */
const OPERATIONS = {
  deposit: { path: "/v1/deposits", submit: "Deposit", done: "Deposited" },
  withdrawal: { path: "/v1/withdrawals", submit: "Withdraw", done: "Withdrawn" },
  transfer: { path: "/v1/transfers", submit: "Transfer", done: "Transferred" },
  hold: { path: "/v1/holds", submit: "Hold", done: "Held" },
};
/** @type {Record<string, string>} */
const FIELD_OF_CODE = {
  invalid_amount: "amount",
  insufficient_funds: "amount",
  unknown_asset: "asset",
  unknown_book: "book",
};

/** @param {string} name */
const field = (name) => one(document, `[data-field=${name}]`);
/** @param {string} id */
const input = (id) => element(id, HTMLInputElement);
/** @param {string} id */
const value = (id) => input(id).value.trim();

const chosen = () => one(document, "input[name=operation]:checked", HTMLInputElement).value;
/** @param {string} operation */
const choose = (operation) => {
  one(document, `input[name=operation][value=${operation}]`, HTMLInputElement).checked = true;
};

export class Operations {
  /** @type {Session | null} */
  #session = null;

  /** @param {Log} log where is told what became of requests */
  constructor(log) {
    this.log = log;
    element("operation").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    element("operation").addEventListener("input", () => this.#draw());
    choose("deposit");
    this.#draw();
  }

  /** @param {Session} session whose money is moved from now on */
  follow(session) {
    this.#session = session;
    choose(session.identity.superadmin ? "deposit" : "withdrawal");
    input("subject").value = session.identity.user;
    this.#clearErrors();
    show(element("result"), false);
    this.#draw();
    this.#suggest(session);
  }

  #draw() {
    const operation = chosen();
    const identity = this.#session?.identity;
    const superadmin = Boolean(identity?.superadmin);
    const allowed = Boolean(identity) && (superadmin || operation !== "deposit");
    show(field("subject"), superadmin);
    show(field("to_user"), operation === "transfer");
    show(field("expires_in_s"), operation === "hold");
    show(element("not-for-users"), Boolean(identity) && !allowed);
    write(element("subject-label"), operation === "transfer" ? "From user" : "For user");
    write(element("submit"), OPERATIONS[operation]?.submit ?? "");
    element("fields", HTMLFieldSetElement).disabled = !allowed;
  }

  #clearErrors() {
    for (const message of element("fields").querySelectorAll(".error")) {
      show(/** @type {HTMLElement} */ (message), false);
    }
    for (const node of element("fields").querySelectorAll("input")) {
      node.removeAttribute("aria-invalid");
    }
  }

  /**
   * Tells what is wrong beside the field; false where the form shows no such field.
   * @param {string} name
   * @param {string} text
   */
  #fieldError(name, text) {
    if (!document.querySelector(`[data-field="${CSS.escape(name)}"]:not([hidden])`)) return false;
    input(name).setAttribute("aria-invalid", "true");
    const message = element(`${name}-error`);
    write(message, message.hidden ? text : `${message.textContent} ${text}`);
    show(message, true);
    return true;
  }

  /**
   * @param {"good" | "bad"} tone
   * @param {string} text
   * @param {string} [about]
   */
  #tell(tone, text, about = "") {
    const result = element("result");
    show(result, true);
    result.classList.toggle("good", tone === "good");
    result.classList.toggle("bad", tone === "bad");
    write(element("result-words"), text);
    write(element("result-key"), about);
    show(element("result-key"), Boolean(about));
  }

  /**
   * @param {Session} session
   * @returns {Asked}
   */
  #asked(session) {
    const operation = chosen();
    const subject = session.identity.superadmin ? value("subject") : "me";
    /** @type {Record<string, any>} */
    const body = operation === "transfer"
      ? { from_user: subject, to_user: value("to_user") }
      : { user_id: subject };
    Object.assign(body, { amount: value("amount"), asset: value("asset") });
    if (value("book")) body.book = value("book");
    if (value("description")) body.description = value("description");
    const expires = value("expires_in_s");
    if (operation === "hold" && expires) {
      // What is no number goes as it is: the server's refusal tells what is wrong with it.
      body.expires_in_s = /^\d+$/.test(expires) ? Number(expires) : expires;
    }
    return { operation, path: OPERATIONS[operation]?.path ?? "", body };
  }

  async #submit() {
    const session = this.#session;
    if (!session) return;
    const asked = this.#asked(session);
    const key = session.requests.keyOf(asked.path, asked.body);
    this.#clearErrors();
    const button = element("submit", HTMLButtonElement);
    button.disabled = true;
    try {
      const { outcome, replayed } = await session.requests.post(asked.path, asked.body);
      if (session === this.#session) this.#accepted(asked, outcome, replayed);
    } catch (error) {
      if (session !== this.#session) return;
      if (error instanceof Refusal) this.#refused(asked, error, key);
      else this.#unheard(asked, /** @type {Error} */ (error), key);
    } finally {
      button.disabled = false;
    }
  }

  /**
   * @param {Asked} asked
   * @param {{transaction_id: string, position: number}} outcome
   * @param {boolean} replayed
   */
  #accepted({ operation, body }, { transaction_id: id, position }, replayed) {
    const text = `${OPERATIONS[operation]?.done} ${grouped(body.amount)} ${body.asset}`
      + (replayed ? ". It had been booked already; nothing moved twice." : `, position ${position}.`);
    this.#tell("good", text, `Transaction ${id}`);
    this.log.note("request", text, { about: `transaction ${id}` });
    input("amount").value = "";
    write(element("submit"), OPERATIONS[operation]?.submit ?? "");
  }

  /**
   * @param {Asked} asked
   * @param {Refusal} refusal
   * @param {string} key
   */
  #refused({ operation, body }, refusal, key) {
    const { code, message: detail, later } = refusal;
    const told = refusal.errors.filter((error) => {
      const name = error.pointer.slice(1);
      const text = name === "amount" ? refusal.amountWords(error.detail) : error.detail;
      return this.#fieldError(["user_id", "from_user"].includes(name) ? "subject" : name, text);
    });
    const about = code === "unknown_user" && operation !== "transfer" ? "subject"
      : { ...FIELD_OF_CODE, unknown_user: "to_user" }[code];
    if (!told.length && about) this.#fieldError(about, refusal.amountWords());
    const wait = later && refusal.retryAfter ? ` Try again in ${refusal.retryAfter} s.` : "";
    this.#tell("bad", `Refused: ${detail}${wait}`, later ? sameKey(key) : code);
    this.log.note("request", `${capital(operation)} refused: ${detail}`, {
      about: [code, body.amount && `${body.amount} ${body.asset}`].filter(Boolean).join(" · "),
      tone: "bad",
    });
    /** @type {HTMLElement | null} */ (
      element("fields").querySelector("[aria-invalid]")
    )?.focus();
  }

  /**
   * @param {Asked} asked
   * @param {Error} error
   * @param {string} key
   */
  #unheard({ operation }, error, key) {
    write(element("submit"), "Send again");
    this.#tell(
      "bad",
      "No answer came, so it may have been booked or not. Send it again to find out.",
      sameKey(key),
    );
    this.log.note("request", `${capital(operation)}: no answer`, {
      about: error.message, tone: "bad",
    });
  }

  /**
   * Offers the server's assets and books; the fields take anything, so its refusals can be seen.
   * @param {Session} session
   */
  async #suggest(session) {
    try {
      for (const [path, list, name] of [
        ["/v1/assets", "known-assets", "code"],
        ["/v1/books", "known-books", "name"],
      ]) {
        const { items } = await session.requests.get(path);
        element(list).replaceChildren(...items.map((/** @type {any} */ item) => {
          const option = document.createElement("option");
          option.value = item[name];
          return option;
        }));
      }
    } catch {
      // The fields work without suggestions.
    }
  }
}

/** @param {string} key */
const sameKey = (key) => (
  `Sending it again uses the same Idempotency-Key (${key}), so it cannot be booked twice.`
);

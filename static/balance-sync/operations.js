/** The form that moves money. */

import { grouped } from "../parts/amounts.js";
import { element, one, show, write } from "../parts/elements.js";
import { NoToken } from "../parts/identity.js";
import { Refusal } from "../parts/requests.js";
import { offerBooksAndAssets } from "../parts/suggestions.js";
import { capital } from "../parts/wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("./log.js").Log} Log */
/** @typedef {{operation: string, path: string, body: Record<string, any>}} Asked */

/**
 * @typedef {object} Operation
 * @property {string} path of its call
 * @property {string} submit the button's words
 * @property {string} done what became of it
 * @property {string} [notForUsers] what only an operator may do
 * @property {"in" | "out" | "either"} moves which way the amount goes
 */

/** @type {Record<string, Operation>} */
const OPERATIONS = {
  deposit: {
    path: "/v1/deposits", submit: "Deposit", done: "Deposited", moves: "in",
    notForUsers: "book a deposit",
  },
  withdrawal: { path: "/v1/withdrawals", submit: "Withdraw", done: "Withdrawn", moves: "out" },
  transfer: { path: "/v1/transfers", submit: "Transfer", done: "Transferred", moves: "out" },
  hold: { path: "/v1/holds", submit: "Hold", done: "Held", moves: "out" },
  adjustment: {
    path: "/v1/adjustments", submit: "Adjust", done: "Adjusted", moves: "either",
    notForUsers: "adjust a balance",
  },
  charge: {
    path: "/v1/charges", submit: "Charge", done: "Charged", moves: "out",
    notForUsers: "charge for a service",
  },
  recharge: {
    path: "/v1/recharges", submit: "Recharge", done: "Recharged", moves: "in",
    notForUsers: "book a recharge",
  },
};
/** By a problem's pointer, the field that shows it. @type {Record<string, string>} */
const FIELD_OF_POINTER = {
  "/user_id": "subject",
  "/from_user": "subject",
  "/new_balance": "amount",
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

const settingBalance = () => (
  one(document, "input[name=adjusting]:checked", HTMLInputElement).value === "new_balance"
);
const chosen = () => one(document, "input[name=operation]:checked", HTMLInputElement).value;
/** @param {string} operation */
const choose = (operation) => {
  one(document, `input[name=operation][value=${operation}]`, HTMLInputElement).checked = true;
};

/**
 * What the form itself can tell is unclear: its field, and why; all else is the server's to refuse.
 * @param {Asked} asked
 * @returns {[string, string][]}
 */
function unclearIn({ operation, body }) {
  /** @type {[string, boolean, string][]} */
  const unclear = [
    ["to_user", operation === "transfer" && !body.to_user, "Name who gets it."],
    ["amount", !(body.amount ?? body.new_balance), "Name an amount."],
    ["expires_in_s", typeof body.expires_in_s === "string", "It expires after a whole number of seconds, or never."],
  ];
  return unclear.filter(([, is]) => is).map(([name, , text]) => [name, text]);
}

function focusFirstError() {
  /** @type {HTMLElement | null} */ (
    element("fields").querySelector("[aria-invalid]")
  )?.focus();
}

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
    element("quick").addEventListener("click", ({ target }) => {
      if (target instanceof HTMLButtonElement) this.#quick(target);
    });
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
    offerBooksAndAssets(session.requests);
  }

  #draw() {
    const operation = chosen();
    const { notForUsers, moves, submit } = /** @type {Operation} */ (OPERATIONS[operation]);
    const identity = this.#session?.identity;
    const superadmin = Boolean(identity?.superadmin);
    const allowed = Boolean(identity) && (superadmin || !notForUsers);
    const adjusting = operation === "adjustment";
    const setting = adjusting && settingBalance();
    show(field("subject"), superadmin);
    show(field("to_user"), operation === "transfer");
    show(field("expires_in_s"), operation === "hold");
    show(field("service_type"), operation === "charge" || operation === "recharge");
    show(element("adjusting"), adjusting);
    show(element("all-available"), moves === "out" && this.#available() !== null);
    show(element("quick"), !setting);
    show(element("not-for-users"), Boolean(identity) && !allowed);
    write(element("not-for-users"), `Only an operator may ${notForUsers}. Connect with “Operate as superadmin” to do it.`);
    write(element("subject-label"), operation === "transfer" ? "From user" : "For user");
    write(element("amount-label"), setting ? "New balance" : adjusting ? "Amount, negative to take away" : "Amount");
    write(element("description-need"), adjusting ? "(required)" : "(optional)");
    write(element("submit"), submit);
    element("fields", HTMLFieldSetElement).disabled = !allowed;
  }

  /** What the account in the form has available, where this tab shows it; else null. */
  #available() {
    if (!this.#session) return null;
    const { client, identity } = this.#session;
    if (identity.superadmin && value("subject") !== identity.user) return null;
    for (const { book, asset, available } of client.accounts.values()) {
      if (book === value("book") && asset === value("asset")) return available;
    }
    return null;
  }

  /** @param {HTMLButtonElement} button one of the quick amounts */
  #quick({ value: amount }) {
    input("amount").value = amount === "all" ? this.#available() ?? "" : amount;
    this.#draw();
    element("submit").focus();
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
    const setting = operation === "adjustment" && settingBalance();
    Object.assign(body, { [setting ? "new_balance" : "amount"]: value("amount"), asset: value("asset") });
    if (value("book")) body.book = value("book");
    if (value("description")) body.description = value("description");
    const service = value("service_type");
    if (service && !field("service_type").hidden) body.service_type = service;
    const expires = value("expires_in_s");
    if (operation === "hold" && expires) {
      body.expires_in_s = /^[1-9]\d*$/.test(expires) ? Number(expires) : expires;
    }
    return { operation, path: OPERATIONS[operation]?.path ?? "", body };
  }

  async #submit() {
    const session = this.#session;
    const form = element("operation");
    if (!session || form.ariaBusy) return;
    const asked = this.#asked(session);
    this.#clearErrors();
    const unclear = unclearIn(asked);
    if (unclear.length) {
      for (const [name, text] of unclear) this.#fieldError(name, text);
      this.#tell("bad", `Not sent: ${unclear.map(([, text]) => text).join(" ")}`);
      focusFirstError();
      return;
    }
    const key = session.requests.keyOf(asked.path, asked.body);
    form.ariaBusy = "true"; // the button stays enabled, so that the focus stays where it is
    try {
      const { outcome, replayed } = await session.requests.post(asked.path, asked.body);
      if (session === this.#session) this.#accepted(asked, outcome, replayed);
    } catch (error) {
      if (session !== this.#session) return;
      if (error instanceof Refusal) this.#refused(asked, error, key);
      else if (error instanceof NoToken) this.#tell("bad", `Not sent: ${error.message}.`);
      else this.#unheard(asked, /** @type {Error} */ (error), key);
    } finally {
      form.ariaBusy = null;
    }
  }

  /**
   * @param {Asked} asked
   * @param {{transaction_id: string, position: number}} outcome
   * @param {boolean} replayed
   */
  #accepted({ operation, body }, { transaction_id: id, position }, replayed) {
    const amount = body.amount ?? body.new_balance;
    const text = `${OPERATIONS[operation]?.done} ${body.amount ? "" : "to "}${grouped(amount)} ${body.asset}`
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
      const name = FIELD_OF_POINTER[error.pointer] ?? error.pointer.slice(1);
      const text = name === "amount" ? refusal.amountWords(error.detail) : error.detail;
      return this.#fieldError(name, text);
    });
    const about = code === "unknown_user" && operation !== "transfer" ? "subject"
      : { ...FIELD_OF_CODE, unknown_user: "to_user" }[code];
    if (!told.length && about) this.#fieldError(about, refusal.amountWords());
    const wait = later && refusal.retryAfter ? ` Try again in ${refusal.retryAfter} s.` : "";
    this.#tell("bad", `Refused: ${detail}${wait}`, later ? sameKey(key) : code);
    this.log.note("request", `${capital(operation)} refused: ${detail}`, {
      about: [code, `${body.amount ?? body.new_balance} ${body.asset}`].filter(Boolean).join(" · "),
      tone: "bad",
    });
    focusFirstError();
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
}

/** @param {string} key */
const sameKey = (key) => (
  `Sending it again uses the same Idempotency-Key (${key}), so it cannot be booked twice.`
);

/** The form that moves money. */

import { grouped } from "../parts/amounts.js";
import { element, one, show, write } from "../parts/elements.js";
import { offerBooksAndAssets } from "../parts/suggestions.js";
import { capital } from "../parts/wording.js";
import { FormAnswers } from "./form-answers.js";

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

export class Operations {
  /** @type {Session | null} */
  #session = null;

  /** @param {Log} log where is told what became of requests */
  constructor(log) {
    this.log = log;
    this.answers = new FormAnswers(element("operation"), element("result"), log);
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
    this.answers.clearErrors();
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
    if (!session || element("operation").ariaBusy) return;
    const asked = this.#asked(session);
    const { operation, path, body } = asked;
    this.answers.clearErrors();
    const unclear = unclearIn(asked);
    if (unclear.length) {
      this.answers.tellUnclear(unclear);
      return;
    }
    const answer = await this.answers.post(session, {
      path,
      body,
      what: capital(operation),
      about: `${body.amount ?? body.new_balance} ${body.asset}`,
      fieldOfPointer: FIELD_OF_POINTER,
      fieldOfCode: { ...FIELD_OF_CODE, unknown_user: operation === "transfer" ? "to_user" : "subject" },
      again: () => write(element("submit"), "Send again"),
      isWanted: () => session === this.#session,
    });
    if (answer) this.#accepted(asked, answer.outcome, answer.replayed);
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
    this.answers.tell("good", text, `Transaction ${id}`);
    this.log.note("request", text, { about: `transaction ${id}` });
    input("amount").value = "";
    write(element("submit"), OPERATIONS[operation]?.submit ?? "");
  }
}

/** The form of operations on one user, as far as the role may. */

import { grouped } from "../parts/amounts.js";
import { element, one, show, write } from "../parts/elements.js";
import { Refusal } from "../parts/requests.js";
import { failureWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {{path: string, label: string, done: string, role?: "superadmin", fields: string[]}} Operation */

/** @type {Record<string, Operation>} */
const OPERATIONS = {
  deposit: { path: "/v1/deposits", label: "Deposit", done: "Deposited", fields: [] },
  withdrawal: { path: "/v1/withdrawals", label: "Withdraw", done: "Withdrawn", fields: [] },
  transfer: { path: "/v1/transfers", label: "Transfer", done: "Transferred", fields: ["to_user"] },
  charge: { path: "/v1/charges", label: "Charge", done: "Charged", fields: ["service_type"] },
  recharge: { path: "/v1/recharges", label: "Recharge", done: "Recharged", fields: ["service_type"] },
  payment: { path: "/v1/payments", label: "Payment", done: "Paid", fields: ["service_type"] },
  hold: { path: "/v1/holds", label: "Hold", done: "Held", fields: ["expires_in_s"] },
  adjustment: {
    path: "/v1/adjustments", label: "Adjust", done: "Adjusted", role: "superadmin", fields: [],
  },
  new_balance: {
    path: "/v1/adjustments", label: "Set a new balance", done: "Set to", role: "superadmin", fields: [],
  },
};

/** Label, width and hint of each field. @type {Record<string, {label: string, span?: boolean, hint?: string, list?: string}>} */
const FIELDS = {
  to_user: { label: "To user", span: true },
  amount: { label: "Amount", span: true, hint: "0.00" },
  asset: { label: "Asset", list: "known-assets" },
  book: { label: "Book", list: "known-books" },
  service_type: { label: "Service", span: true, hint: "optional" },
  expires_in_s: { label: "Expires after seconds", span: true, hint: "never" },
  description: { label: "Description", span: true },
  reference: { label: "Reference", span: true, hint: "optional" },
};
/** @type {Record<string, string>} */
const FIELD_OF_CODE = {
  invalid_amount: "amount",
  insufficient_funds: "amount",
  unknown_asset: "asset",
  unknown_book: "book",
};

/**
 * The request of an operation, without the fields that are empty.
 * @param {string} kind
 * @param {string} user
 * @param {Record<string, string>} values by field
 * @returns {{path: string, body: Record<string, unknown>}}
 */
export function requestOf(kind, user, values) {
  const operation = OPERATIONS[kind];
  if (!operation) throw new TypeError(`there is no operation ${kind}`);
  /** @type {Record<string, unknown>} */
  const body = kind === "transfer" ? { from_user: user } : { user_id: user };
  for (const name of Object.keys(FIELDS)) {
    const common = !["to_user", "service_type", "expires_in_s"].includes(name);
    const value = values[name]?.trim();
    if (value && (common || operation.fields.includes(name))) body[name] = value;
  }
  // What is no number goes as it is: the server's refusal tells what is wrong with it.
  const expires = String(body.expires_in_s ?? "");
  if (/^\d+$/.test(expires)) body.expires_in_s = Number(expires);
  if (kind === "new_balance") {
    body.new_balance = body.amount;
    delete body.amount;
  }
  return { path: operation.path, body };
}

export class Operations {
  /** @type {Session | null} */
  #session = null;
  #user = "";
  /** By name. @type {Map<string, {field: HTMLElement, input: HTMLInputElement, error: HTMLElement}>} */
  #fields = new Map();

  constructor() {
    this.kind = element("operation-kind", HTMLSelectElement);
    for (const [name, about] of Object.entries(FIELDS)) this.#addField(name, about);
    this.kind.addEventListener("change", () => this.#draw());
    element("operation").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  /**
   * @param {Session} session
   * @param {string} user whose money is moved from now on
   */
  follow(session, user) {
    this.#session = session;
    this.#user = user;
    this.kind.replaceChildren(...Object.entries(OPERATIONS)
      .filter(([, { role }]) => session.may(role ?? "admin"))
      .map(([name, { label }]) => new Option(label, name)));
    for (const name of Object.keys(FIELDS)) this.#forget(name);
    show(element("operation-result"), false);
    this.#draw();
  }

  /**
   * @param {string} name
   * @param {{label: string, span?: boolean, hint?: string, list?: string}} about
   */
  #addField(name, { label, span, hint, list }) {
    const field = document.createElement("div");
    field.className = span ? "field span" : "field";
    const input = document.createElement("input");
    input.id = `operation-${name}`;
    input.autocomplete = "off";
    input.spellcheck = false;
    input.placeholder = hint ?? "";
    if (list) input.setAttribute("list", list);
    if (name === "amount") input.inputMode = "decimal";
    input.defaultValue = { asset: "USDT", book: "main" }[name] ?? "";
    const error = document.createElement("p");
    error.id = `operation-${name}-error`;
    error.className = "error";
    error.hidden = true;
    input.setAttribute("aria-describedby", error.id);
    const labelled = document.createElement("label");
    labelled.htmlFor = input.id;
    labelled.textContent = label;
    field.append(labelled, input, error);
    element("operation-fields").append(field);
    this.#fields.set(name, { field, input, error });
  }

  #draw() {
    const operation = OPERATIONS[this.kind.value];
    if (!operation) return;
    for (const name of ["to_user", "service_type", "expires_in_s"]) {
      const own = this.#fields.get(name);
      if (own) show(own.field, operation.fields.includes(name));
    }
    write(element("operation-submit"), operation.label);
    this.#clearErrors();
  }

  /**
   * Lets a field begin anew.
   * @param {string} name
   * @param {string} [value] only where this is still in it: the next request may be typed already
   */
  #forget(name, value) {
    const input = this.#fields.get(name)?.input;
    if (input && (value === undefined || input.value === value)) input.value = input.defaultValue;
  }

  #clearErrors() {
    for (const { input, error } of this.#fields.values()) {
      input.ariaInvalid = null;
      show(error, false);
    }
  }

  async #submit() {
    const [session, user, kind] = [this.#session, this.#user, this.kind.value];
    if (!session) return;
    const values = Object.fromEntries([...this.#fields].map(([name, { input }]) => [name, input.value]));
    const { path, body } = requestOf(kind, user, values);
    const key = session.requests.keyOf(path, body);
    const submit = element("operation-submit", HTMLButtonElement);
    this.#clearErrors();
    submit.disabled = true;
    try {
      const { outcome, replayed } = await session.requests.post(path, body);
      if (user !== this.#user) return;
      const what = `${OPERATIONS[kind]?.done} ${grouped(values.amount?.trim() ?? "")} ${body.asset ?? ""}`;
      this.#tell("good", replayed
        ? `${what}. It had been booked already; nothing moved twice.`
        : `${what}, position ${outcome.position}.`, `Transaction ${outcome.transaction_id}`);
      for (const name of ["amount", "description", "reference"]) this.#forget(name, values[name]);
      this.#draw();
    } catch (error) {
      if (user !== this.#user) return;
      this.#refused(error, key);
    } finally {
      submit.disabled = false;
    }
  }

  /**
   * @param {unknown} error
   * @param {string} key
   */
  #refused(error, key) {
    const again = !(error instanceof Refusal) || error.later;
    if (again) write(element("operation-submit"), "Send again");
    this.#tell("bad", failureWords(error), again
      ? `Sent again, it has the same Idempotency-Key (${key}), so it cannot be booked twice.`
      : error.code);
    if (!(error instanceof Refusal)) return;
    const told = error.errors.map(({ pointer, detail }) => ({
      name: { new_balance: "amount" }[pointer.slice(1)] ?? pointer.slice(1), detail,
    }));
    const about = FIELD_OF_CODE[error.code];
    if (!told.length && about) told.push({ name: about, detail: error.amountWords() });
    for (const { name, detail } of told) {
      const field = this.#fields.get(name);
      if (!field) continue;
      field.input.ariaInvalid = "true";
      write(field.error, detail);
      show(field.error, true);
    }
    const first = [...this.#fields.values()].find(({ input }) => input.ariaInvalid === "true");
    first?.input.focus();
  }

  /**
   * @param {"good" | "bad"} tone
   * @param {string} text
   * @param {string} about
   */
  #tell(tone, text, about) {
    const result = element("operation-result");
    result.className = `notice ${tone} span`;
    write(one(result, ".words"), text);
    write(one(result, ".about"), about);
    show(result, true);
  }
}

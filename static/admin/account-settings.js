/** The settings of one account: floor, thresholds, status. */

import { element, one, show, write } from "../parts/elements.js";
import { confirmed } from "./confirm.js";
import { failureWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("./accounts.js").Account} Account */

const THRESHOLDS = /** @type {const} */ (["floor", "suspend_below", "alert_below"]);
/** @type {Record<string, string>} */
const MEANINGS = {
  frozen: "Nothing can be paid into it or out of it until it is active again.",
  closed: "It takes no more changes. It must be empty, with nothing open.",
};

/**
 * What differs from the account as it is: absent is unchanged, null is none.
 * @param {Account} account
 * @param {Record<string, string>} wanted by field, "" for none; status "" for unchanged
 * @returns {Record<string, string | null>}
 */
export function settingsToSend(account, wanted) {
  /** @type {Record<string, string | null>} */
  const body = {};
  for (const name of THRESHOLDS) {
    const value = wanted[name]?.trim() || null;
    if (name in wanted && value !== account[name]) body[name] = value;
  }
  if (wanted.status) body.status = wanted.status;
  return body;
}

export class AccountSettings {
  /** @type {Session | null} */
  #session = null;
  /** @type {Account | null} */
  #account = null;

  constructor() {
    this.dialog = element("account-dialog", HTMLDialogElement);
    this.form = element("account-settings", HTMLFormElement);
    one(this.dialog, ".close").addEventListener("click", () => this.dialog.close());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
  }

  /** @param {Session} session who sets from now on */
  follow(session) {
    this.#session = session;
    this.dialog.close();
  }

  /** @param {Account} account */
  open(account) {
    this.#account = account;
    write(element("account-title"), `${account.book} ${account.asset}`);
    this.form.reset();
    for (const name of THRESHOLDS) {
      one(this.form, `[name=${name}]`, HTMLInputElement).value = account[name] ?? "";
    }
    for (const field of this.form.querySelectorAll("[data-credit]")) {
      show(/** @type {HTMLElement} */ (field), account.side === "credit");
    }
    show(element("account-result"), false);
    this.dialog.showModal();
  }

  async #save() {
    const [session, account] = [this.#session, this.#account];
    if (!session || !account) return;
    const wanted = Object.fromEntries(
      [...new FormData(this.form)].map(([name, value]) => [name, String(value)]),
    );
    const body = settingsToSend(account, wanted);
    const result = element("account-result");
    show(result, true);
    result.className = "notice span";
    if (!Object.keys(body).length) {
      write(result, "Nothing differs from what is set.");
      return;
    }
    const meaning = MEANINGS[String(body.status)];
    if (meaning && !await confirmed({
      title: `Set ${account.account} to ${body.status}?`, words: meaning, yes: `Set to ${body.status}`,
    })) return;
    try {
      const path = `/v1/admin/accounts/${account.account}`; // its name is encoded already
      const { outcome } = await session.requests.patch(path, body);
      const [change] = outcome.updates[0].changes;
      this.#account = change;
      result.className = "notice good span";
      write(result, `Set, position ${outcome.position}.`);
    } catch (error) {
      result.className = "notice bad span";
      write(result, failureWords(error));
    }
  }
}

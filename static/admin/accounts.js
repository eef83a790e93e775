/** The balances of one user, live. */

import { grouped } from "../parts/amounts.js";
import { copyOf, element, oncePerFrame, one, show, write } from "../parts/elements.js";
import { clockTime, movement, words } from "../parts/wording.js";
import { unreadWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("./entries.js").Update} Update */
/** @typedef {import("../tallywire-client.js").Balance} Account */
/** @typedef {{account: Account, last: string, position: number}} Known as at that position */

/** @param {string | null} amount */
const orNone = (amount) => (amount === null ? "none" : grouped(amount));

export class Accounts {
  /** By name. @type {Map<string, Known>} */
  #known = new Map();
  /** @type {Map<string, HTMLElement>} */
  #cards = new Map();
  /** @type {Session | null} */
  #session = null;
  #user = "";
  #newest = "";

  /** @param {(account: Account) => void} openSettings */
  constructor(openSettings) {
    this.openSettings = openSettings;
    this.draw = oncePerFrame(() => this.#draw());
  }

  /**
   * @param {Session} session
   * @param {string} user whose balances are shown from now on
   */
  follow(session, user) {
    this.#session = session;
    this.#user = user;
    this.forget();
    this.#newest = "";
    show(element("no-user-accounts"), false);
    this.draw();
    this.read();
  }

  /** Lets the next reading count whatever its position is: after a restore it may be a lower one. */
  forget() {
    this.#known.clear();
  }

  /** Reads them; what the stream tells meanwhile is newer than what is read. */
  async read() {
    const [session, user] = [this.#session, this.#user];
    if (!session || !user) return;
    const problem = element("user-accounts-problem");
    try {
      const found = await session.requests.get(`/v1/users/${encodeURIComponent(user)}/balances`);
      if (session !== this.#session || user !== this.#user) return;
      for (const account of found.balances) {
        const known = this.#known.get(account.account);
        if (known && known.position > found.position) continue;
        this.#known.set(account.account, {
          account, last: known?.last ?? "No change since this was opened", position: found.position,
        });
      }
      show(problem, false);
      show(element("no-user-accounts"), this.#known.size === 0);
      this.draw();
    } catch (error) {
      if (session !== this.#session || user !== this.#user) return;
      write(problem, unreadWords(error));
      show(problem, true);
    }
  }

  /** @param {Update} update of this user */
  changed({ position, change_type: type, timestamp, changes }) {
    for (const change of changes) {
      const known = this.#known.get(change.account);
      if (known && known.position >= position) continue;
      const last = `${movement(change)} ${words(type)}, ${clockTime(timestamp)}`.trim();
      this.#known.set(change.account, { account: change, last, position });
      this.#newest = change.account;
    }
    show(element("no-user-accounts"), this.#known.size === 0);
    this.draw();
  }

  #draw() {
    for (const [name, card] of this.#cards) {
      if (this.#known.has(name)) continue;
      card.remove();
      this.#cards.delete(name);
    }
    [...this.#known.keys()].sort().forEach((name, index) => {
      const known = /** @type {Known} */ (this.#known.get(name));
      const card = this.#cards.get(name) ?? this.#newCard(name);
      const place = element("user-accounts").children[index];
      if (place !== card) element("user-accounts").insertBefore(card, place ?? null);
      this.#drawOne(card, known);
    });
  }

  /** @param {string} name */
  #newCard(name) {
    const card = copyOf("user-account-template");
    card.dataset.account = name;
    one(card, ".settings").addEventListener("click", () => {
      const known = this.#known.get(name);
      if (known) this.openSettings(known.account);
    });
    this.#cards.set(name, card);
    return card;
  }

  /**
   * @param {HTMLElement} card
   * @param {Known} known
   */
  #drawOne(card, { account, last }) {
    /** @param {string} part @param {string} text */
    const put = (part, text) => write(one(card, `.${part}`), text);
    put("book", account.book);
    put("asset", account.asset);
    put("value", grouped(account.balance));
    put("available", account.available === null ? "–" : grouped(account.available));
    put("held", grouped(account.held));
    put("floor", orNone(account.floor));
    put("suspend", orNone(account.suspend_below));
    put("alert", orNone(account.alert_below));
    put("seq", String(account.seq));
    put("last", last);
    put("status", account.status);
    show(one(card, ".status"), account.status !== "active");
    const settings = one(card, ".settings");
    show(settings, Boolean(this.#session?.may("superadmin")));
    settings.setAttribute("aria-label", `Settings of ${account.book} ${account.asset}`);
    card.classList.toggle("latest", account.account === this.#newest);
  }
}

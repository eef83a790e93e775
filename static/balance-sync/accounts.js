/** The cards of the shown user's accounts. */

import { grouped, signed } from "../parts/amounts.js";
import { copyOf, element, oncePerFrame, one, show, write } from "../parts/elements.js";
import { minorUnits } from "../tallywire-client.js";
import { clockTime, movement, words } from "./wording.js";

/** @typedef {import("./session.js").Session} Session */

/** @type {Record<string, string>} */
const PROOF_WORDS = {
  snapshot: "snapshot",
  verified: "verified",
  broken: "does not fit",
  unchecked: "not checked",
};

/**
 * What an account's status keeps from moving, or that it is below its alert; "" where neither.
 * @param {any} account a BALANCE
 */
function warningOf({ status, available, scale, alert_below: alertBelow, suspend_below: below }) {
  if (status === "closed") return "Closed: nothing moves in or out.";
  if (status === "frozen") return "Frozen by an operator: nothing moves in or out.";
  if (status === "suspended") {
    const why = below === null ? "" : ` Available was below ${grouped(below)}.`;
    return `Suspended: no money goes out until a recharge.${why}`;
  }
  const low = alertBelow !== null && available !== null
    && minorUnits(available, scale) < minorUnits(alertBelow, scale);
  return low ? `Low balance: available is below ${grouped(alertBelow)}.` : "";
}

export class Accounts {
  /** @type {Session | null} */
  #session = null;
  /** @type {Map<string, HTMLElement>} */
  #cards = new Map();
  /** By account, its newest change. @type {Map<string, {change: any, type: string, at: string}>} */
  #last = new Map();
  /** The accounts of the newest update. @type {Set<string>} */
  #newest = new Set();
  #dirty = oncePerFrame(() => this.#draw());

  constructor() {
    element("resync").addEventListener("click", () => this.#session?.client.resync());
  }

  /** @param {Session} session shown from now on */
  follow(session) {
    this.#session = session;
    this.#cards.clear();
    element("accounts").replaceChildren();
    this.#forgetChanges();
    const { user, superadmin } = session.identity;
    write(element("owner"), superadmin ? `${user}, as superadmin` : user);
    session.on("status", this.#dirty);
    session.on("mismatch", this.#dirty);
    session.on("balances", () => this.#forgetChanges());
    session.on("update", ({ update }) => this.#changed(update));
  }

  #forgetChanges() {
    this.#last.clear();
    this.#newest.clear();
    this.#dirty();
  }

  /** @param {any} update an UPDATE */
  #changed(update) {
    if (update.changes.length) this.#newest.clear();
    for (const change of update.changes) {
      this.#newest.add(change.account);
      this.#last.set(change.account, { change, type: update.change_type, at: update.timestamp });
    }
    this.#dirty();
    announce(update);
  }

  #draw() {
    /** @type {ReadonlyMap<string, any>} */
    const known = this.#session?.client.accounts ?? new Map();
    for (const [name, card] of this.#cards) {
      if (known.has(name)) continue;
      card.remove();
      this.#cards.delete(name);
    }
    [...known.keys()].sort().forEach((name, index) => {
      const account = known.get(name);
      const card = this.#cards.get(name) ?? this.#newCard(account);
      const place = element("accounts").children[index];
      if (place !== card) element("accounts").insertBefore(card, place ?? null);
      this.#drawCard(card, account);
    });
    this.#drawNotices(known);
  }

  /** @param {any} account a BALANCE */
  #newCard({ account: name, asset, book }) {
    const card = copyOf("account-template");
    card.dataset.account = name;
    write(one(card, ".asset"), asset);
    write(one(card, ".book"), book);
    this.#cards.set(name, card);
    return card;
  }

  /**
   * @param {HTMLElement} card
   * @param {any} account a BALANCE with its proof
   */
  #drawCard(card, account) {
    const { account: name, proof } = account;
    /** @type {(part: string, text: string) => void} */
    const put = (part, text) => write(one(card, `.${part}`), text);
    put("value", grouped(account.balance));
    put("available", account.available === null ? "–" : grouped(account.available));
    put("held", grouped(account.held));
    put("seq", String(account.seq));
    put("last", this.#lastChange(name));
    put("status", account.status);
    show(one(card, ".status"), account.status !== "active");
    const warning = warningOf(account);
    put("warning", warning);
    show(one(card, ".warning"), Boolean(warning));
    put("mark", PROOF_WORDS[proof.state] ?? proof.state);
    put("words", proof.words);
    one(card, ".proof").dataset.proof = proof.state;
    card.classList.toggle("latest", this.#newest.has(name));
    card.classList.toggle("broken", proof.state === "broken");
  }

  /** @param {string} name */
  #lastChange(name) {
    const last = this.#last.get(name);
    if (!last) return "No change yet";
    const { amount = "" } = movement(last.change);
    const alert = last.change.alert ? `, ${words(last.change.alert)}` : "";
    return `${amount} ${words(last.type)}, ${clockTime(last.at)}${alert}`.trim();
  }

  /** @param {ReadonlyMap<string, any>} known */
  #drawNotices(known) {
    const empty = element("no-accounts");
    show(empty, known.size === 0);
    write(empty, this.#session?.client.cursor
      ? "No account yet. The first deposit or transfer makes one."
      : "Choose a user and connect.");
    const broken = [...known.values()].filter(({ proof }) => proof.state === "broken");
    show(element("mismatch"), broken.length > 0);
    if (broken.length) {
      const which = broken.map(({ account, proof }) => `${account} (${proof.words})`).join("; ");
      write(element("mismatch-words"), `What came does not fit what was known, so these numbers cannot be trusted: ${which}.`);
    }
  }
}

/** Tells a screen reader the newest change, at most once a second. */
const announce = (() => {
  /** @type {string | null} */
  let pending = null;
  let waiting = false;
  const speak = () => {
    waiting = pending !== null;
    if (pending === null) return;
    write(element("announcer"), pending);
    pending = null;
    setTimeout(speak, 1000);
  };
  return (/** @type {any} */ { change_type: type, changes }) => {
    if (!changes.length) return;
    pending = `${words(type)}: ${changes.map((/** @type {any} */ change) => (
      `${signed(change.amount)} ${change.asset} in ${change.book}, balance ${grouped(change.balance)}`
    )).join("; ")}`;
    if (waiting) return;
    waiting = true;
    setTimeout(speak, 0);
  };
})();

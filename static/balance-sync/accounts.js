/** The cards of the shown user's accounts. */

import { grouped } from "../parts/amounts.js";
import { copyOf, element, oncePerFrame, one, show, write } from "../parts/elements.js";
import { sparkline } from "../parts/sparkline.js";
import { clockTime, movement, words } from "../parts/wording.js";
import { minorUnits } from "../tallywire-client.js";
import { Courses } from "./courses.js";
import { tradeTold } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("../tallywire-client.js").Account} Account */
/** @typedef {import("../tallywire-client.js").Change} Change */
/** @typedef {import("../tallywire-client.js").Update} Update */

/** How large digits of the fraction are written, of the size of whole ones (style.css). */
const FRACTION_SIZE = 0.62;

/** @type {Record<Account["proof"]["state"], string>} */
const PROOF_WORDS = {
  snapshot: "snapshot",
  verified: "verified",
  broken: "does not fit",
  unchecked: "not checked",
};

/**
 * What an account's status keeps from moving, or that it is below its alert; "" where neither.
 * @param {Account} account
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
  /** By account, its newest change. @type {Map<string, {change: Change, type: string, at: string}>} */
  #last = new Map();
  /** The accounts of the newest update. @type {Set<string>} */
  #newest = new Set();
  #courses = new Courses(() => this.#dirty());
  #dirty = oncePerFrame(() => this.#draw());

  constructor() {
    element("resync").addEventListener("click", () => this.#session?.client.resync());
  }

  /** @param {Session} session shown from now on */
  follow(session) {
    this.#session = session;
    this.#courses.follow(session);
    this.#cards.clear();
    element("accounts").replaceChildren();
    this.#forgetChanges();
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

  /** @param {Update} update */
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
    if (!this.#session) return;
    const known = this.#session.client.accounts;
    for (const [name, card] of this.#cards) {
      if (known.has(name)) continue;
      card.remove();
      this.#cards.delete(name);
    }
    [...known.keys()].sort().forEach((name, index) => {
      const account = /** @type {Account} */ (known.get(name));
      const card = this.#cards.get(name) ?? this.#newCard(account);
      const place = element("accounts").children[index];
      if (place !== card) element("accounts").insertBefore(card, place ?? null);
      this.#drawCard(card, account);
    });
    this.#drawNotices(known);
  }

  /** @param {Account} account */
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
   * @param {Account} account
   */
  #drawCard(card, account) {
    const { account: name, proof } = account;
    /** @type {(part: string, text: string) => void} */
    const put = (part, text) => write(one(card, `.${part}`), text);
    const [whole = "", fraction] = grouped(account.balance).split(".");
    put("whole", whole);
    put("fraction", fraction === undefined ? "" : `.${fraction}`);
    const length = whole.length + FRACTION_SIZE * (fraction?.length ?? 0);
    one(card, ".balance").style.setProperty("--length", String(length));
    put("available", account.available === null ? "–" : grouped(account.available));
    put("held", grouped(account.held));
    put("seq", String(account.seq));
    put("last", this.#lastChange(name));
    put("status", account.status);
    show(one(card, ".status"), account.status !== "active");
    const warning = warningOf(account);
    put("warning", warning);
    show(one(card, ".warning"), Boolean(warning));
    put("mark", PROOF_WORDS[proof.state]);
    put("words", proof.words);
    one(card, ".proof").dataset.proof = proof.state;
    sparkline(one(card, ".sparkline", SVGSVGElement), this.#courses.of(name));
    card.classList.toggle("latest", this.#newest.has(name));
    card.classList.toggle("broken", proof.state === "broken");
  }

  /** @param {string} name */
  #lastChange(name) {
    const last = this.#last.get(name);
    if (!last) return "No change since it was taken over";
    const alert = last.change.alert ? `, ${words(last.change.alert)}` : "";
    return `${movement(last.change)} ${words(last.type)}, ${clockTime(last.at)}${alert}`.trim();
  }

  /** @param {ReadonlyMap<string, Account>} known */
  #drawNotices(known) {
    const empty = element("no-accounts");
    show(empty, known.size === 0);
    write(empty, this.#session?.client.cursor
      ? "No account yet. The first deposit or transfer makes one."
      : "Choose a user and connect.");
    show(element("no-crypto"), [...known.values()].some(({ proof }) => proof.state === "unchecked"));
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
  return (/** @type {Update} */ { change_type: type, changes, trade }) => {
    if (!changes.length && !trade) return;
    const moves = changes.map((change) => (
      `${movement(change) || "nothing moved"} ${change.asset} in ${change.book}, balance ${grouped(change.balance)}`
    ));
    pending = `${words(type)}: ${[...(trade ? [tradeTold(trade)] : []), ...moves].join("; ")}`;
    if (waiting) return;
    waiting = true;
    setTimeout(speak, 0);
  };
})();

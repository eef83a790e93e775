/** The open holds of one user, and how they end. */

import { grouped } from "../parts/amounts.js";
import { copyOf, element, oncePerFrame, one, show, write } from "../parts/elements.js";
import { dateAndTime, failureWords, unreadWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */

/** @typedef {import("../tallywire-client.js").Hold} Hold */

export class Holds {
  /** @type {Map<string, Hold>} */
  #holds = new Map();
  /** What the stream told since they were asked for. @type {Map<string, Hold> | null} */
  #since = null;
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  /** What each row says. @type {WeakMap<HTMLElement, Hold>} */
  #drawn = new WeakMap();
  /** @type {Session | null} */
  #session = null;
  #user = "";

  constructor() {
    this.draw = oncePerFrame(() => this.#draw());
  }

  /**
   * @param {Session} session
   * @param {string} user whose holds are shown from now on
   */
  follow(session, user) {
    this.#session = session;
    this.#user = user;
    this.#holds.clear();
    this.#draw();
    this.read();
  }

  async read() {
    const [session, user] = [this.#session, this.#user];
    if (!session || !user) return;
    /** @type {Map<string, Hold>} */
    const since = new Map();
    this.#since = since;
    const problem = element("user-holds-problem");
    try {
      const query = new URLSearchParams({ user_id: user, status: "open", limit: "1000" });
      const { items } = await session.requests.get(`/v1/holds?${query}`);
      if (this.#since !== since) return;
      this.#holds = new Map(items.map((/** @type {Hold} */ hold) => [hold.id, hold]));
      for (const hold of since.values()) this.#put(hold);
      show(problem, false);
    } catch (error) {
      if (this.#since !== since) return;
      write(problem, unreadWords(error));
      show(problem, true);
    }
    this.#since = null;
    this.draw();
  }

  /** @param {Hold} hold of this user, as of a transaction */
  changed(hold) {
    this.#since?.set(hold.id, hold);
    this.#put(hold);
    this.draw();
  }

  /** @param {Hold} hold */
  #put(hold) {
    if (hold.status === "open") this.#holds.set(hold.id, hold);
    else this.#holds.delete(hold.id);
  }

  #draw() {
    show(element("no-user-holds"), this.#holds.size === 0);
    for (const [id, row] of this.#rows) {
      if (this.#holds.has(id)) continue;
      const focused = row.contains(document.activeElement);
      row.remove();
      this.#rows.delete(id);
      if (focused) element("user-holds-title").focus();
    }
    const newestFirst = [...this.#holds.keys()].sort().reverse(); // an id begins with its time
    newestFirst.forEach((id, index) => {
      const row = this.#rows.get(id) ?? this.#newRow(id);
      const place = element("user-holds").children[index];
      if (place !== row) element("user-holds").insertBefore(row, place ?? null);
      this.#drawOne(row, /** @type {Hold} */ (this.#holds.get(id)));
    });
  }

  /** @param {string} id */
  #newRow(id) {
    const row = copyOf("user-hold-template");
    row.dataset.hold = id;
    one(row, "form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#end(id, row, "confirm");
    });
    one(row, ".void").addEventListener("click", () => this.#end(id, row, "void"));
    this.#rows.set(id, row);
    return row;
  }

  /**
   * @param {HTMLElement} row
   * @param {Hold} hold
   */
  #drawOne(row, hold) {
    if (this.#drawn.get(row) === hold) return;
    this.#drawn.set(row, hold);
    const [book, , asset] = hold.account.split("/");
    const what = `${grouped(hold.remaining)} ${asset}`;
    write(one(row, ".remaining"), what);
    write(one(row, ".expiry"), hold.expires_at
      ? `until ${dateAndTime(hold.expires_at)}` : "until it is confirmed or voided");
    write(one(row, ".about"), [
      book,
      hold.remaining !== hold.amount && `of ${grouped(hold.amount)}`,
      hold.reference && `reference ${hold.reference}`,
      `placed by ${hold.placed_by}`,
    ].filter(Boolean).join(" · "));
    show(one(row, "form"), Boolean(this.#session?.may("admin")));
    one(row, "form").setAttribute("aria-label", `Hold of ${what}`);
    one(row, ".confirm").setAttribute("aria-label", `Confirm the hold of ${what}`);
    one(row, ".void").setAttribute("aria-label", `Void the hold of ${what}`);
  }

  /**
   * @param {string} id
   * @param {HTMLElement} row
   * @param {"confirm" | "void"} step
   */
  async #end(id, row, step) {
    const session = this.#session;
    if (!session || row.ariaBusy) return;
    const [amount, to] = [".part", ".to"].map((part) => one(row, part, HTMLInputElement).value.trim());
    /** @type {Record<string, string>} */
    const body = {};
    if (step === "confirm" && amount) body.amount = amount;
    if (step === "confirm" && to) body.to_user = to;
    const error = one(row, ".error");
    show(error, false);
    row.ariaBusy = "true"; // the buttons stay enabled, so that the focus stays where it is
    try {
      const { outcome } = await session.requests.post(`/v1/holds/${id}/${step}`, body);
      one(row, "form", HTMLFormElement).reset();
      if (session === this.#session) this.changed(outcome.hold);
    } catch (failure) {
      write(error, failureWords(failure));
      show(error, true);
    } finally {
      row.ariaBusy = null;
    }
  }
}

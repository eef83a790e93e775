/** The open holds of one user, and how they end. */

import { element, oncePerFrame, one, show, write } from "../parts/elements.js";
import { OpenHolds, bodyOf } from "../parts/open-holds.js";
import { dateAndTime, failureWords, unreadWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("../parts/open-holds.js").Step} Step */
/** @typedef {import("../tallywire-client.js").Hold} Hold */

export class Holds {
  #holds = new OpenHolds({
    list: element("user-holds"),
    title: element("user-holds-title"),
    template: "user-hold-template",
    draw: (row, hold) => this.#drawOne(row, hold),
    end: (id, row, step) => this.#end(id, row, step),
  });
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
    const problem = element("user-holds-problem");
    try {
      if (!await this.#holds.read(session.requests, user)) return;
      show(problem, false);
    } catch (error) {
      write(problem, unreadWords(error));
      show(problem, true);
    }
    this.draw();
  }

  /** @param {Hold} hold of this user, as of a transaction */
  changed(hold) {
    this.#holds.changed(hold);
    this.draw();
  }

  #draw() {
    const isRead = element("user-holds-problem").hidden;
    show(element("no-user-holds"), isRead && this.#holds.size === 0);
    this.#holds.draw();
  }

  /**
   * @param {HTMLElement} row
   * @param {Hold} hold
   */
  #drawOne(row, hold) {
    write(one(row, ".expiry"), hold.expires_at
      ? `until ${dateAndTime(hold.expires_at)}` : "until it is confirmed or voided");
    show(one(row, "form"), Boolean(this.#session?.may("admin")));
  }

  /**
   * @param {string} id
   * @param {HTMLElement} row
   * @param {Step} step
   */
  async #end(id, row, step) {
    const [session, user] = [this.#session, this.#user];
    if (!session || row.ariaBusy) return;
    const error = one(row, ".error");
    show(error, false);
    row.ariaBusy = "true"; // the buttons stay enabled, so that the focus stays where it is
    try {
      const { outcome } = await session.requests.post(`/v1/holds/${id}/${step}`, bodyOf(row, step));
      one(row, "form", HTMLFormElement).reset();
      if (session === this.#session && user === this.#user) this.changed(outcome.hold);
    } catch (failure) {
      write(error, failureWords(failure));
      show(error, true);
    } finally {
      row.ariaBusy = null;
    }
  }
}

/** The holds of the shown user, until when each lasts, and how it ends. */

import { element, one, show, write } from "../parts/elements.js";
import { OpenHolds, bodyOf } from "../parts/open-holds.js";
import { Refusal } from "../parts/requests.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("../parts/open-holds.js").Step} Step */
/** @typedef {import("./log.js").Log} Log */
/** @typedef {import("../tallywire-client.js").Hold} Hold */

const UNHEARD = "No answer came, so it may have been booked or not."
  + " Send it again to find out: it cannot be booked twice.";

/**
 * A number of seconds as people count them.
 * @param {number} seconds
 */
function span(seconds) {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/**
 * Until when a hold lasts, in words.
 * @param {string | null} expiresAt
 * @param {number} now milliseconds since 1970
 */
export function expiryWords(expiresAt, now) {
  if (!expiresAt) return "until it is confirmed or voided";
  const when = new Date(expiresAt);
  const left = Math.ceil((when.getTime() - now) / 1000);
  if (left <= 0) return "expired, about to be released";
  const today = when.toDateString() === new Date(now).toDateString();
  const at = today
    ? when.toLocaleTimeString(undefined, { hour12: false })
    : when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short", hour12: false });
  return `expires ${today ? "at " : ""}${at}, in ${span(left)}`;
}

export class Holds {
  #holds = new OpenHolds({
    list: element("holds"),
    title: element("holds-title"),
    template: "hold-template",
    draw: (row, hold) => this.#drawOne(row, hold),
    end: (id, row, step) => this.#end(id, row, step),
  });
  /** @type {Session | null} */
  #session = null;
  #known = false;

  /** @param {Log} log where is told what became of requests */
  constructor(log) {
    this.log = log;
    element("read-holds").addEventListener("click", () => this.#load());
    setInterval(() => this.#drawExpiry(), 1000);
  }

  /** @param {Session} session whose user's holds are shown from now on */
  follow(session) {
    this.#session = session;
    this.#holds.clear();
    this.#known = false;
    show(element("holds-unread"), false);
    this.#draw();
    session.on("balances", () => this.#load());
    session.on("resumed", () => this.#load());
    session.on("update", ({ update }) => {
      if (update.hold) this.#changed(update.hold);
    });
  }

  async #load() {
    const session = this.#session;
    if (!session) return;
    try {
      if (!await this.#holds.read(session.requests, session.identity.user)) return;
    } catch (error) {
      write(element("holds-unread-words"), `The holds could not be read: ${/** @type {Error} */ (error).message}`);
      show(element("holds-unread"), true);
      return;
    }
    this.#known = true;
    show(element("holds-unread"), false);
    this.#draw();
  }

  /** @param {Hold} hold as of a transaction */
  #changed(hold) {
    if (hold.user_id !== this.#session?.identity.user) return;
    this.#holds.changed(hold);
    this.#draw();
  }

  #draw() {
    show(element("holds-panel"), true);
    show(element("no-holds"), this.#known && this.#holds.size === 0);
    write(element("no-holds"), `${this.#session?.identity.user} has no open holds.`);
    this.#holds.draw();
    this.#drawExpiry();
  }

  /**
   * @param {HTMLElement} row
   * @param {Hold} hold
   */
  #drawOne(row, hold) {
    const identity = this.#session?.identity;
    const ends = Boolean(identity?.superadmin) || hold.placed_by === identity?.user;
    show(one(row, "form"), ends);
    show(one(row, ".not-yours"), !ends);
    one(row, ".part", HTMLInputElement).placeholder = hold.remaining;
  }

  #drawExpiry() {
    for (const { row, hold } of this.#holds.rows()) {
      write(one(row, ".expiry"), expiryWords(hold.expires_at, Date.now()));
    }
  }

  /**
   * @param {string} id
   * @param {HTMLElement} row
   * @param {Step} step
   */
  async #end(id, row, step) {
    const session = this.#session;
    if (row.ariaBusy || !session) return;
    this.#refuse(row, "");
    row.ariaBusy = "true"; // the buttons stay enabled, so that the focus stays where it is
    const done = step === "confirm" ? "confirmed" : "voided";
    try {
      const { outcome, replayed } = await session.requests.post(`/v1/holds/${id}/${step}`, bodyOf(row, step));
      if (session !== this.#session) return;
      one(row, "form", HTMLFormElement).reset();
      this.log.note("request", replayed
        ? `Hold ${done} already, position ${outcome.position}; nothing moved twice.`
        : `Hold ${done}, position ${outcome.position}.`);
    } catch (error) {
      if (session !== this.#session) return;
      if (error instanceof Refusal) {
        const text = error.errors.map(({ detail }) => detail).join(" ") || error.message;
        this.#refuse(row, text, error.errors.map(({ pointer }) => pointer));
        this.log.note("request", `Hold not ${done}: ${text}`, { tone: "bad" });
      } else {
        this.#refuse(row, UNHEARD);
        this.log.note("request", `Hold not known to be ${done}: no answer`, { tone: "bad" });
      }
    } finally {
      row.ariaBusy = null;
    }
  }

  /**
   * Tells `text` below the hold, and marks the fields that it is about; "" where all is well.
   * @param {HTMLElement} row
   * @param {string} text
   * @param {string[]} [pointers]
   */
  #refuse(row, text, pointers = []) {
    const error = one(row, ".error");
    write(error, text);
    show(error, Boolean(text));
    for (const [part, pointer] of [["part", "/amount"], ["to", "/to_user"]]) {
      const input = one(row, `.${part}`, HTMLInputElement);
      const wrong = pointers.includes(pointer);
      input.ariaInvalid = wrong ? "true" : null;
      if (wrong) {
        input.setAttribute("aria-describedby", error.id);
        input.focus();
      } else input.removeAttribute("aria-describedby");
    }
  }
}

/** The holds of the shown user: a list kept up to date by the stream, and forms to end each. */

import { grouped } from "../parts/amounts.js";
import { copyOf, element, one, show, write } from "../parts/elements.js";
import { Refusal } from "../parts/requests.js";

/** @typedef {import("../parts/session.js").Session} Session */
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
  /** @type {Map<string, Hold>} */
  #holds = new Map();
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  /** What the stream told since the holds were asked for. @type {Map<string, Hold> | null} */
  #since = null;
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
    this.#since = null;
    this.#known = false;
    show(element("holds-unread"), false);
    this.#draw();
    session.on("balances", () => this.#load());
    session.on("resumed", () => this.#load());
    session.on("update", ({ update }) => {
      if (update.hold) this.#changed(update.hold);
    });
  }

  /** Read the open holds; what the stream tells meanwhile is newer than what is read. */
  async #load() {
    const session = this.#session;
    if (!session) return;
    /** @type {Map<string, Hold>} */
    const since = new Map();
    this.#since = since;
    /** @type {Hold[]} */
    let found;
    try {
      found = await this.#readAll(session);
    } catch (error) {
      if (this.#since !== since) return;
      write(element("holds-unread-words"), `The holds could not be read: ${/** @type {Error} */ (error).message}`);
      show(element("holds-unread"), true);
      return;
    }
    if (this.#since !== since) return;
    this.#since = null;
    this.#known = true;
    this.#holds = new Map(found.map((hold) => [hold.id, hold]));
    for (const hold of since.values()) this.#put(hold);
    show(element("holds-unread"), false);
    this.#draw();
  }

  /** @param {Session} session */
  async #readAll({ identity, requests }) {
    /** @type {Hold[]} */
    const found = [];
    const query = new URLSearchParams({ user_id: identity.user, status: "open", limit: "1000" });
    for (let more = true; more;) {
      const { items, next_cursor: next } = await requests.get(`/v1/holds?${query}`);
      found.push(...items);
      more = next !== null;
      query.set("cursor", next);
    }
    return found;
  }

  /** @param {Hold} hold as of a transaction */
  #changed(hold) {
    if (hold.user_id !== this.#session?.identity.user) return;
    this.#since?.set(hold.id, hold);
    this.#put(hold);
    this.#draw();
  }

  /** @param {Hold} hold */
  #put(hold) {
    if (hold.status === "open") this.#holds.set(hold.id, hold);
    else this.#holds.delete(hold.id);
  }

  #draw() {
    show(element("holds-panel"), true);
    show(element("no-holds"), this.#known && this.#holds.size === 0);
    write(element("no-holds"), `${this.#session?.identity.user} has no open holds.`);
    for (const [id, row] of this.#rows) {
      if (this.#holds.has(id)) continue;
      const focused = row.contains(document.activeElement);
      row.remove();
      this.#rows.delete(id);
      if (focused) element("holds-title").focus();
    }
    const newestFirst = [...this.#holds.keys()].sort().reverse(); // an id begins with its time
    newestFirst.forEach((id, index) => {
      const hold = /** @type {Hold} */ (this.#holds.get(id));
      const row = this.#rows.get(id) ?? this.#newRow(id);
      const place = element("holds").children[index];
      if (place !== row) element("holds").insertBefore(row, place ?? null);
      this.#drawOne(row, hold);
    });
    this.#drawExpiry();
  }

  /** @param {string} id */
  #newRow(id) {
    const row = copyOf("hold-template");
    row.dataset.hold = id;
    one(row, ".error").id = `error-${id}`;
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
    const [book, , asset] = hold.account.split("/");
    const what = `${grouped(hold.remaining)} ${asset}`;
    /** @type {(part: string, text: string) => void} */
    const put = (part, text) => write(one(row, `.${part}`), text);
    put("remaining", what);
    put("about", [
      book,
      hold.remaining === hold.amount ? null : `of ${grouped(hold.amount)}`,
      hold.reference && `reference ${hold.reference}`,
      `placed by ${hold.placed_by ?? "an operator"}`,
    ].filter(Boolean).join(" · "));
    const identity = this.#session?.identity;
    const ends = Boolean(identity?.superadmin) || hold.placed_by === identity?.user;
    show(one(row, "form"), ends);
    show(one(row, ".not-yours"), !ends);
    one(row, ".part", HTMLInputElement).placeholder = hold.remaining;
    one(row, "form").setAttribute("aria-label", `Hold of ${what}`);
    one(row, ".confirm").setAttribute("aria-label", `Confirm the hold of ${what}`);
    one(row, ".void").setAttribute("aria-label", `Void the hold of ${what}`);
  }

  #drawExpiry() {
    for (const [id, row] of this.#rows) {
      const hold = this.#holds.get(id);
      if (hold) write(one(row, ".expiry"), expiryWords(hold.expires_at, Date.now()));
    }
  }

  /**
   * @param {string} id
   * @param {HTMLElement} row
   * @param {"confirm" | "void"} step
   */
  async #end(id, row, step) {
    const session = this.#session;
    if (row.ariaBusy || !session) return;
    /** @param {string} part */
    const value = (part) => one(row, `.${part}`, HTMLInputElement).value.trim();
    /** @type {Record<string, string>} */
    const body = {};
    if (step === "confirm" && value("part")) body.amount = value("part");
    if (step === "confirm" && value("to")) body.to_user = value("to");
    this.#refuse(row, "");
    row.ariaBusy = "true"; // the buttons stay enabled, so that the focus stays where it is
    const done = step === "confirm" ? "confirmed" : "voided";
    try {
      const { outcome, replayed } = await session.requests.post(`/v1/holds/${id}/${step}`, body);
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

/** One user's open holds as rows of a list, newest first: read once, then told by the stream. */

import { grouped } from "./amounts.js";
import { copyOf, one, write } from "./elements.js";

/** @typedef {import("../tallywire-client.js").Hold} Hold */
/** @typedef {import("./requests.js").Requests} Requests */
/** @typedef {"confirm" | "void"} Step */

/**
 * What a page has of its own.
 * @typedef {object} HoldsPage
 * @property {HTMLElement} list
 * @property {HTMLElement} title takes the focus of a row that goes
 * @property {string} template id of a row's
 * @property {(row: HTMLElement, hold: Hold) => void} draw what else a row says
 * @property {(id: string, row: HTMLElement, step: Step) => void} end ends a hold as its row says
 */

export class OpenHolds {
  /** @type {Map<string, Hold>} */
  #holds = new Map();
  /** What was told since they were asked for: newer than what is read. @type {Map<string, Hold> | null} */
  #since = null;
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  /** What each row says. @type {WeakMap<HTMLElement, Hold>} */
  #drawn = new WeakMap();

  /** @param {HoldsPage} page */
  constructor(page) {
    this.page = page;
  }

  /** How many there are, as far as is known. */
  get size() {
    return this.#holds.size;
  }

  /** Each row that is drawn, with its hold. */
  * rows() {
    for (const [id, row] of this.#rows) {
      const hold = this.#holds.get(id);
      if (hold) yield { row, hold };
    }
  }

  /** Another user's are wanted. */
  clear() {
    this.#holds.clear();
    this.#since = null;
  }

  /** @param {Hold} hold of this user, as of a transaction */
  changed(hold) {
    this.#since?.set(hold.id, hold);
    this.#put(hold);
  }

  /**
   * @param {Requests} requests
   * @param {string} user whose holds they are
   * @returns {Promise<boolean>} false where they were asked for anew, or another's, meanwhile
   * @throws {import("./requests.js").Refusal | import("./requests.js").NoAnswer | import("./identity.js").NoToken}
   */
  async read(requests, user) {
    /** @type {Map<string, Hold>} */
    const since = new Map();
    this.#since = since;
    /** @type {Hold[]} */
    let found;
    try {
      found = await requests.getAll("/v1/holds", { user_id: user, status: "open" });
    } catch (error) {
      if (this.#since !== since) return false;
      throw error;
    }
    if (this.#since !== since) return false;
    this.#since = null;
    this.#holds = new Map(found.map((hold) => [hold.id, hold]));
    for (const hold of since.values()) this.#put(hold);
    return true;
  }

  /** @param {Hold} hold */
  #put(hold) {
    if (hold.status === "open") this.#holds.set(hold.id, hold);
    else this.#holds.delete(hold.id);
  }

  /** Makes the rows say what is known. */
  draw() {
    const { list, title } = this.page;
    for (const [id, row] of this.#rows) {
      if (this.#holds.has(id)) continue;
      const focused = row.contains(document.activeElement);
      row.remove();
      this.#rows.delete(id);
      if (focused) title.focus();
    }
    const newestFirst = [...this.#holds.keys()].sort().reverse(); // an id begins with its time
    newestFirst.forEach((id, index) => {
      const row = this.#rows.get(id) ?? this.#newRow(id);
      const place = list.children[index];
      if (place !== row) list.insertBefore(row, place ?? null);
      this.#drawOne(row, /** @type {Hold} */ (this.#holds.get(id)));
    });
  }

  /** @param {string} id */
  #newRow(id) {
    const { template, end } = this.page;
    const row = copyOf(template);
    row.dataset.hold = id;
    one(row, ".error").id = `error-${id}`;
    one(row, "form").addEventListener("submit", (event) => {
      event.preventDefault();
      end(id, row, "confirm");
    });
    one(row, ".void").addEventListener("click", () => end(id, row, "void"));
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
    write(one(row, ".about"), [
      book,
      hold.remaining !== hold.amount && `of ${grouped(hold.amount)}`,
      hold.reference && `reference ${hold.reference}`,
      `placed by ${hold.placed_by ?? "an operator"}`,
    ].filter(Boolean).join(" · "));
    one(row, "form").setAttribute("aria-label", `Hold of ${what}`);
    one(row, ".confirm").setAttribute("aria-label", `Confirm the hold of ${what}`);
    one(row, ".void").setAttribute("aria-label", `Void the hold of ${what}`);
    this.page.draw(row, hold);
  }
}

/**
 * The body of a step, as the row's form says: all that remains and to nobody, unless it is filled in.
 * @param {HTMLElement} row
 * @param {Step} step
 */
export function bodyOf(row, step) {
  /** @param {string} part */
  const value = (part) => one(row, part, HTMLInputElement).value.trim();
  /** @type {{amount?: string, to_user?: string}} */
  const body = {};
  if (step === "confirm" && value(".part")) body.amount = value(".part");
  if (step === "confirm" && value(".to")) body.to_user = value(".to");
  return body;
}

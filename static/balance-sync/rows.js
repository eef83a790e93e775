/** A list of rows, newest first, of at most ROWS_MOST. */

import { copyOf, oncePerFrame, one, show } from "../parts/elements.js";

const ROWS_MOST = 300;

/**
 * @typedef {object} Row
 * @property {string} what
 * @property {string} [amount]
 * @property {string} about
 * @property {"good" | "bad" | "warn"} [tone]
 * @property {string} [kind]
 * @property {number} [position]
 * @property {Date} [time]
 * @property {unknown} [data]
 */

export class Rows {
  /** @type {Row[]} */
  entries = [];
  /** @type {Row[]} */
  #undrawn = [];

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} empty shown while there are none
   */
  constructor(list, empty) {
    this.list = list;
    this.empty = empty;
    this.draw = oncePerFrame(() => this.#draw());
  }

  /** @param {Row} entry */
  add(entry) {
    this.entries.unshift(entry);
    this.entries.length = Math.min(this.entries.length, ROWS_MOST);
    this.#undrawn.push(entry);
    if (this.#undrawn.length > ROWS_MOST) this.#undrawn.shift();
    this.draw();
  }

  clear() {
    this.entries = [];
    this.#undrawn = [];
    this.list.replaceChildren();
    show(this.empty, true);
  }

  #draw() {
    const fresh = document.createDocumentFragment();
    for (const entry of this.#undrawn.splice(0)) fresh.prepend(this.#row(entry));
    this.list.prepend(fresh);
    while (this.list.childElementCount > ROWS_MOST) this.list.lastElementChild?.remove();
    show(this.empty, this.list.childElementCount === 0);
  }

  /** @param {Row} entry */
  #row({ what, amount = "", about, tone, kind, position }) {
    const row = copyOf("row-template");
    one(row, ".what").textContent = what;
    one(row, ".amount").textContent = amount;
    one(row, ".about").textContent = about;
    if (tone) row.dataset.tone = tone;
    if (kind) row.dataset.kind = kind;
    if (position !== undefined) row.dataset.position = String(position);
    return row;
  }
}

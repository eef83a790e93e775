/** The newest of many. */

/** @template T */
export class Newest {
  /** @type {T[]} */
  #items = [];
  #added = 0;

  /** @param {number} most how many are kept */
  constructor(most) {
    this.most = most;
  }

  /** How many were ever added. */
  get added() {
    return this.#added;
  }

  /** How many are kept. */
  get length() {
    return this.#items.length;
  }

  /** @param {T} item newer than all before it */
  add(item) {
    this.#items[this.#added % this.most] = item;
    this.#added += 1;
  }

  /**
   * @param {number} index 0 for the newest
   * @returns {T | undefined}
   */
  at(index) {
    return index < this.length ? this.#items[(this.#added - 1 - index) % this.most] : undefined;
  }

  clear() {
    this.#items = [];
    this.#added = 0;
  }

  /** Newest first. */
  * [Symbol.iterator]() {
    for (let index = 0; index < this.length; index += 1) yield /** @type {T} */ (this.at(index));
  }
}

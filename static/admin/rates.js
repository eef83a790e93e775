/** How many changes were committed in each of the last seconds. */

export class Rates {
  /** By second since 1970. @type {Map<number, number>} */
  #counts = new Map();
  /** How far this machine's clock is ahead of what arrives, in milliseconds. */
  #delay = Infinity;

  /** @param {number} seconds how far back it reaches */
  constructor(seconds) {
    this.seconds = seconds;
  }

  /**
   * Counts a change.
   * @param {number} committed milliseconds since 1970, by the server's clock
   * @param {number} now the same by this machine's
   */
  add(committed, now) {
    // The shortest way of all tells the clocks apart; what is sent again later took longer.
    this.#delay = Math.min(this.#delay, now - committed);
    const second = Math.floor(committed / 1000);
    this.#counts.set(second, (this.#counts.get(second) ?? 0) + 1);
    if (this.#counts.size > this.seconds * 2) this.#forget(second - this.seconds);
  }

  /**
   * The counts of the last full seconds, oldest first.
   * @param {number} now milliseconds since 1970, by this machine's clock
   */
  upTo(now) {
    const behind = Number.isFinite(this.#delay) ? this.#delay : 0;
    const current = Math.floor((now - behind) / 1000);
    return Array.from({ length: this.seconds }, (_, index) => (
      this.#counts.get(current - this.seconds + index) ?? 0
    ));
  }

  clear() {
    this.#counts.clear();
    this.#delay = Infinity;
  }

  /** @param {number} before a second */
  #forget(before) {
    for (const second of this.#counts.keys()) if (second < before) this.#counts.delete(second);
  }
}

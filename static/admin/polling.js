/** Reads something again and again while it is looked at. */

/** @typedef {import("../parts/session.js").Session} Session */

export class Polling {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #again = false;
  #reading = false;

  /**
   * @param {() => Promise<void>} read tells of its own failures
   * @param {number} everyMs
   * @param {() => boolean} isWanted
   */
  constructor(read, everyMs, isWanted) {
    this.read = read;
    this.everyMs = everyMs;
    this.isWanted = isWanted;
    document.addEventListener("visibilitychange", () => this.now());
  }

  /** @param {Session} session reads now, and whenever that connects */
  follow(session) {
    this.now();
    session.on("status", ({ status }) => {
      if (status.state === "connected") this.now();
    });
  }

  /** Reads at once where it is looked at; asked while it reads, once more after that. */
  async now() {
    if (this.#reading) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    if (document.hidden || !this.isWanted()) return;
    this.#reading = true;
    this.#again = false;
    try {
      await this.read();
    } finally {
      this.#reading = false;
    }
    this.#timer = setTimeout(() => this.now(), this.#again ? 0 : this.everyMs);
  }
}

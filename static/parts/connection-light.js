/** State and position of a client, in a section that has the parts named below. */

import { oncePerFrame, one, show, write } from "./elements.js";

/** @typedef {import("../tallywire-client.js").TallywireClient} TallywireClient */

/**
 * @typedef {object} Status of a client
 * @property {"idle" | "connecting" | "connected" | "waiting" | "stopped"} state
 * @property {string} words
 * @property {number | null} [code] why the server closed the connection
 * @property {number} [retryAt] milliseconds since 1970
 */

/**
 * A status of the client as a sentence.
 * @param {Status} status
 */
export function statusWords({ state, words, code }) {
  const text = {
    idle: "Not connected",
    connecting: "Connecting",
    connected: "Connected",
    waiting: `Connection lost: ${words}`,
    stopped: `Stopped: ${words}`,
  }[state];
  return code ? `${text} (${code})` : text;
}

export class ConnectionLight {
  /** @type {TallywireClient | null} */
  #client = null;

  /** @param {HTMLElement} section with #light, #state, #countdown, #retry, #disconnect, #position, #epoch */
  constructor(section) {
    this.section = section;
    this.draw = oncePerFrame(() => this.#draw());
    one(section, "#retry").addEventListener("click", () => {
      this.#client?.wake();
      this.#client?.connect();
    });
    one(section, "#disconnect").addEventListener("click", () => this.#client?.close());
    setInterval(() => {
      const status = /** @type {Status | undefined} */ (this.#client?.status);
      if (status?.state === "waiting") this.draw();
    }, 500);
  }

  /**
   * Shows that client from now on.
   * @param {TallywireClient} client
   * @param {AbortSignal} ended when it is shown no more
   */
  follow(client, ended) {
    this.#client = client;
    client.addEventListener("status", this.draw, { signal: ended });
    client.addEventListener("cursor", this.draw, { signal: ended });
    this.draw();
  }

  #draw() {
    const client = this.#client;
    if (!client) return;
    const { state, words, retryAt } = /** @type {Status} */ (client.status);
    const cursor = /** @type {{epoch: string, position: number} | null} */ (client.cursor);
    const reconnecting = cursor && state === "connecting";
    one(this.section, "#light").dataset.state = state;
    write(one(this.section, "#state"), {
      idle: "Not connected",
      connecting: reconnecting ? "Reconnecting…" : "Connecting…",
      connected: "Connected",
      waiting: `Reconnecting: ${words}`,
      stopped: `Stopped: ${words}`,
    }[state]);
    const left = Math.max(0, Math.ceil(((retryAt ?? 0) - Date.now()) / 1000));
    write(one(this.section, "#countdown"), state === "waiting" ? `in ${left} s` : "");
    show(one(this.section, "#retry"), state === "waiting" || state === "stopped");
    show(one(this.section, "#disconnect"), state !== "idle" && state !== "stopped");
    write(one(this.section, "#position"), cursor ? String(cursor.position) : "–");
    write(one(this.section, "#epoch"), cursor?.epoch ?? "–");
  }
}

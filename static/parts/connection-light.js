/** State, transport, latency and position of a client. */

import { oncePerFrame, one, show, write } from "./elements.js";

/** @typedef {import("../tallywire-client.js").TallywireClient} TallywireClient */

/** @typedef {import("../tallywire-client.js").Status} Status */

const TRANSPORTS = { websocket: "WebSocket", sse: "SSE" };

/** By close code, what helps where the client does not go on by itself. @type {Record<number, string>} */
const ADVICE = {
  1009: "What this page sent was larger than the server takes: reload the page.",
  4001: "The server takes this token no more: connect again with a fresh one.",
  4002: "The server did not understand this page: it may be of another version. Reload the page.",
  4003: "This token's role may not see what this page asked for: connect as somebody else.",
  4009: "Close other tabs or devices of this user, then try again (TALLYWIRE_USER_CONNECTIONS is the limit).",
  4010: "An operator ended this user's sessions: connect again with a token that was issued since.",
};

/**
 * What to do about a status, or "" where nothing needs doing.
 * @param {Status} status
 */
export function advice({ state, code, words }) {
  if (state === "waiting" && words.includes("lost")) {
    return "Nothing is missed: it tries again by itself. If this lasts, look whether the server is running.";
  }
  return state === "stopped" ? ADVICE[code ?? 0] ?? "" : "";
}

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

  /**
   * @param {HTMLElement} section with #light, #state, #countdown, #retry, #disconnect, #transport,
   *   #latency, #position, #epoch and #advice
   */
  constructor(section) {
    this.section = section;
    this.draw = oncePerFrame(() => this.#draw());
    one(section, "#retry").addEventListener("click", () => {
      this.#client?.wake();
      this.#client?.connect();
    });
    one(section, "#disconnect").addEventListener("click", () => this.#client?.close());
    setInterval(() => {
      if (this.#client?.status.state === "waiting") this.draw();
    }, 500);
  }

  /**
   * Shows that client from now on.
   * @param {TallywireClient} client
   * @param {AbortSignal} ended when it is shown no more
   */
  follow(client, ended) {
    this.#client = client;
    for (const name of ["status", "cursor", "latency"]) {
      client.addEventListener(name, this.draw, { signal: ended });
    }
    this.draw();
  }

  #draw() {
    const client = this.#client;
    if (!client) return;
    const { latency, cursor, status } = client;
    const { state, words, retryAt, transport } = status;
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
    write(one(this.section, "#epoch"), cursor ? cursor.epoch.slice(0, 8) : "–");
    one(this.section, "#epoch").title = cursor?.epoch ?? "";
    write(one(this.section, "#transport"), transport ? TRANSPORTS[transport] : "–");
    const measured = state === "connected" && latency !== null;
    write(one(this.section, "#latency"), measured ? `${Math.max(1, Math.round(latency))} ms` : "–");
    // What was said stays while it tries again: else the page would jump with every attempt.
    if (reconnecting) return;
    const help = advice(status);
    write(one(this.section, "#advice"), help);
    show(one(this.section, "#advice"), Boolean(help));
  }
}

/** One identity at work on a page: what it may, its requests, its client, and when it ended. */

import { TallywireClient } from "../tallywire-client.js";
import { Requests } from "./requests.js";
import { may } from "./roles.js";

/** @typedef {import("./identity.js").Identity} Identity */
/** @typedef {import("./roles.js").Role} Role */
/** @typedef {import("../tallywire-client.js").AdminUpdate} AdminUpdate */
/** @typedef {import("../tallywire-client.js").ClientEvents} ClientEvents */

const AFRESH_AFTER_MS = 1000;

export class Session {
  #ending = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #afresh;

  /**
   * @param {Identity} identity
   * @param {("balances" | "prices" | "monitor")[]} streams what its client follows
   */
  constructor(identity, streams) {
    this.identity = identity;
    this.requests = new Requests(identity);
    this.client = new TallywireClient({
      token: (request) => identity.token(request),
      streams,
    });
    if (streams.includes("monitor")) this.on("monitor", ({ updates }) => this.#seeRepairs(updates));
  }

  /** @param {Role} needed */
  may(needed) {
    return may(this.identity.role, needed);
  }

  /** Aborted once another identity has taken this one's place. */
  get ended() {
    return this.#ending.signal;
  }

  end() {
    clearTimeout(this.#afresh);
    this.#ending.abort();
    this.client.close();
  }

  /**
   * Hears one of the client's events until the session ends.
   * @template {keyof ClientEvents} Name
   * @param {Name} name
   * @param {(detail: ClientEvents[Name]) => void} handle
   */
  on(name, handle) {
    this.client.addEventListener(
      name,
      (event) => handle(/** @type {CustomEvent} */ (event).detail),
      { signal: this.ended },
    );
  }

  /**
   * A repair moves a row by no amount, so totals that were summed up have to be taken afresh.
   * @param {AdminUpdate[]} updates
   */
  #seeRepairs(updates) {
    if (!updates.some(({ change_type: type }) => type === "repair")) return;
    clearTimeout(this.#afresh);
    this.#afresh = setTimeout(() => {
      if (this.client.status.state !== "stopped") this.client.resync();
    }, AFRESH_AFTER_MS);
  }
}

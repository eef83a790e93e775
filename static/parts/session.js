/** One identity at work on a page: what it may, its requests, its client, and when it ended. */

import { TallywireClient } from "../tallywire-client.js";
import { Requests } from "./requests.js";
import { may } from "./roles.js";

/** @typedef {import("./identity.js").Identity} Identity */
/** @typedef {import("./roles.js").Role} Role */
/** @typedef {import("../tallywire-client.js").ClientEvents} ClientEvents */

export class Session {
  #ending = new AbortController();

  /**
   * @param {Identity} identity
   * @param {("balances" | "monitor")[]} streams what its client follows
   */
  constructor(identity, streams) {
    this.identity = identity;
    this.requests = new Requests(identity);
    this.client = new TallywireClient({
      token: (request) => identity.token(request),
      streams,
    });
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
}

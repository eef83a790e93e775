/** One identity at work on this page: its requests, its client, and when it ended. */

import { Requests } from "../parts/requests.js";
import { TallywireClient } from "../tallywire-client.js";

/** @typedef {import("../parts/identity.js").Identity} Identity */
/** @typedef {import("../tallywire-client.js").ClientEvents} ClientEvents */

export class Session {
  #ending = new AbortController();

  /** @param {Identity} identity */
  constructor(identity) {
    this.identity = identity;
    this.requests = new Requests(identity);
    this.client = new TallywireClient({
      token: (request) => identity.token(request),
      streams: identity.superadmin ? ["balances", "monitor"] : ["balances"],
    });
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
      (/** @type {Event} */ event) => handle(/** @type {CustomEvent} */ (event).detail),
      { signal: this.ended },
    );
  }
}

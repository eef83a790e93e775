/** One operator at work on this page: what they may, their requests, their client. */

import { Requests } from "../parts/requests.js";
import { TallywireClient } from "../tallywire-client.js";
import { may } from "./roles.js";

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
      streams: ["monitor"],
    });
  }

  /** @param {import("./roles.js").Role} needed */
  may(needed) {
    return may(this.identity.role, needed);
  }

  /** Aborted once another operator has taken this one's place. */
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

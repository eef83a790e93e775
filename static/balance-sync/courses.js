/** How each account's balance came to be what it is: its values from history and live. */

import { grouped } from "../parts/amounts.js";
import { minorUnits } from "../tallywire-client.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("../tallywire-client.js").Update} Update */
/** @typedef {{position: number, units: bigint, label: string}} Value */

const VALUES_MOST = 60;

export class Courses {
  /** By account, oldest first. @type {Map<string, Value[]>} */
  #values = new Map();
  /** @type {Session | null} */
  #session = null;

  /** @param {() => void} changed called when values came that are not live */
  constructor(changed) {
    this.changed = changed;
  }

  /** @param {Session} session whose accounts they are from now on */
  follow(session) {
    this.#session = session;
    this.#values.clear();
    session.on("balances", () => this.#read(session));
    session.on("update", ({ update }) => this.#add(update));
  }

  /**
   * The newest values of that account, oldest first.
   * @param {string} account
   */
  of(account) {
    return this.#values.get(account) ?? [];
  }

  /** @param {Session} session */
  async #read(session) {
    const user = encodeURIComponent(session.identity.user);
    const { items } = await session.requests
      .get(`/v1/users/${user}/history?limit=200`)
      .catch(() => ({ items: [] })); // the lines then begin with what comes live
    if (session !== this.#session) return;
    for (const update of items.reverse()) this.#add(update);
    this.changed();
  }

  /** @param {Update} update */
  #add({ position, changes }) {
    for (const { account, asset, scale, balance } of changes) {
      const values = this.#values.get(account) ?? [];
      this.#values.set(account, values);
      if (values.some((value) => value.position === position)) continue;
      const value = { position, units: minorUnits(balance, scale), label: `${grouped(balance)} ${asset}` };
      const after = values.findIndex((other) => other.position > position);
      values.splice(after < 0 ? values.length : after, 0, value);
      if (values.length > VALUES_MOST) values.shift();
    }
  }
}

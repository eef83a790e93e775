/** The page of one user: what is known of them, live, and what may be done. */

import { element, show, write } from "../parts/elements.js";
import { AccountSettings } from "./account-settings.js";
import { Accounts } from "./accounts.js";
import { disconnect } from "./connections.js";
import { History } from "./history.js";
import { Holds } from "./holds.js";
import { Operations } from "./operations.js";
import { Trades } from "./trades.js";
import { TradingControl } from "./trading-control.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("./entries.js").Update} Update */

export class UserPage {
  /** @type {Session | null} */
  #session = null;
  #user = "";

  /** @param {(update: Update) => void} open shows the details of a change */
  constructor(open) {
    this.settings = new AccountSettings();
    this.accounts = new Accounts((account) => this.settings.open(account));
    this.holds = new Holds();
    this.trades = new Trades();
    this.control = new TradingControl();
    this.history = new History(open);
    this.operations = new Operations();
    element("user-disconnect").addEventListener("click", () => {
      if (this.#session) disconnect(this.#session, this.#user, element("user-disconnected"));
    });
  }

  /** @param {Session} session who looks from now on */
  follow(session) {
    this.#session = session;
    this.settings.follow(session);
    session.on("monitor", ({ updates }) => {
      for (const update of updates) if (update.user_id === this.#user) this.#changed(update);
    });
    // Everything was taken anew, or the server was away: what is shown may be old.
    session.on("monitor-init", () => {
      this.accounts.forget();
      this.#read();
    });
    session.on("resumed", () => this.#read());
    if (this.#user) this.#show();
  }

  /** @param {string} user the one to show, "" for none */
  open(user) {
    if (user === this.#user) return;
    this.#user = user;
    if (user) this.#show();
  }

  #show() {
    if (!this.#session) return;
    write(element("user-title"), this.#user);
    show(element("user-disconnected"), false);
    for (const panel of [
      this.accounts, this.holds, this.trades, this.control, this.history, this.operations,
    ]) {
      panel.follow(this.#session, this.#user);
    }
  }

  #read() {
    if (!this.#user) return;
    this.accounts.read();
    this.holds.read();
    this.trades.read();
    this.control.read();
    this.history.read();
  }

  /** @param {Update} update */
  #changed(update) {
    this.accounts.changed(update);
    if (update.hold?.user_id === this.#user) this.holds.changed(update.hold);
    if (update.trade?.user_id === this.#user) this.trades.changed(update.trade);
    if (update.control) this.control.changed(update.control);
    this.history.changed();
  }
}

/** Trading control of the demo book: the user is told of it, a superadmin sets it. */

import { element, show, write } from "../parts/elements.js";
import { Refusal } from "../parts/requests.js";
import { capital } from "../parts/wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("../tallywire-client.js").Control} Control */
/** @typedef {import("./log.js").Log} Log */
/** @typedef {Control["mode"]} Mode */

/** @type {Record<Mode, string>} */
const ENDS = {
  win: "are won, whatever the price does",
  normal: "end by the price",
  lose: "are lost, whatever the price does",
};

/** @param {string} user */
const pathOf = (user) => `/v1/admin/trading-controls/${encodeURIComponent(user)}`;
const subject = () => element("control-user", HTMLInputElement).value.trim();
const buttons = () => [...element("control-modes").querySelectorAll("button")];

export class TradingControl {
  /** @type {Session | null} */
  #session = null;

  /** @param {Log} log where is told what became of requests */
  constructor(log) {
    this.log = log;
    element("control-modes").addEventListener("click", ({ target }) => {
      if (target instanceof HTMLButtonElement) this.#set(/** @type {Mode} */ (target.value));
    });
    element("control-user").addEventListener("change", () => this.#read());
    element("control").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#read();
    });
  }

  /** @param {Session} session */
  follow(session) {
    this.#session = session;
    const sets = session.may("superadmin");
    show(element("control"), sets);
    show(element("control-not-yours"), !sets);
    element("control-user", HTMLInputElement).value = session.identity.user;
    this.#tellUser(null);
    session.on("balances", ({ control }) => this.#tellUser(control));
    session.on("control", ({ control }) => this.#tellUser(control));
    if (!sets) return;
    this.#read();
    session.on("monitor", ({ updates }) => {
      for (const { control, user_id: user } of updates) {
        if (control && user === subject()) this.#show(control.mode);
      }
    });
  }

  /** @param {Control | null} control of the user whose tab this is */
  #tellUser(control) {
    const on = control !== null && control.mode !== "normal";
    const user = this.#session?.identity.user;
    write(element("control-on"), on
      ? `Trading control is on: options that ${user} opens in the book ${control.book} ${ENDS[control.mode]}. It is decided beforehand; no other book has this.`
      : "");
    show(element("control-on"), on);
  }

  /** @param {Mode | null} mode of the user in the form, null where it is not known */
  #show(mode) {
    for (const button of buttons()) button.ariaPressed = String(button.value === mode);
    write(element("control-state"), mode ? `Options that ${subject()} opens in demo ${ENDS[mode]}.` : "");
  }

  /** @param {string} text "" where all is well */
  #tellError(text) {
    write(element("control-error"), text);
    show(element("control-error"), Boolean(text));
  }

  async #read() {
    const [session, user] = [this.#session, subject()];
    this.#show(null);
    this.#tellError("");
    if (!session || !user) return;
    const isWanted = () => session === this.#session && user === subject();
    try {
      const { mode } = await session.requests.get(pathOf(user));
      if (isWanted()) this.#show(mode);
    } catch (error) {
      if (isWanted()) this.#tellError(`It could not be read: ${/** @type {Error} */ (error).message}`);
    }
  }

  /** @param {Mode} mode */
  async #set(mode) {
    const [session, user] = [this.#session, subject()];
    const form = element("control");
    if (!session || form.ariaBusy) return;
    this.#tellError(user ? "" : "Name a user.");
    if (!user) return;
    form.ariaBusy = "true"; // the buttons stay enabled, so that the focus stays where it is
    try {
      await session.requests.put(pathOf(user), { mode });
      if (session !== this.#session) return;
      if (user === subject()) this.#show(mode);
      this.log.note("request", `Trading control of ${user} in demo: ${mode}`);
    } catch (error) {
      if (session !== this.#session) return;
      const { message } = /** @type {Error} */ (error);
      this.#tellError(error instanceof Refusal ? `Refused: ${message}` : `${capital(message)}. It may be set or not; set it again.`);
      this.log.note("request", `Trading control not set: ${message}`, { tone: "bad" });
    } finally {
      form.ariaBusy = null;
    }
  }
}

/** How one user's options in the demo book end, and setting that. */

import { element, one, show, write } from "../parts/elements.js";
import { controlWords } from "../parts/trade-words.js";
import { capital } from "../parts/wording.js";
import { confirmed } from "./confirm.js";
import { failureWords, unreadWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("../tallywire-client.js").Control} Control */

/** What options do under each. @type {Record<Control["mode"], string>} */
const DO = {
  win: "win, whatever the price does", normal: "end by the price again", lose: "lose, whatever the price does",
};

export class TradingControl {
  /** @type {Session | null} */
  #session = null;
  #user = "";
  #asked = 0;

  constructor() {
    this.form = element("control", HTMLFormElement);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#set();
    });
  }

  /**
   * @param {Session} session
   * @param {string} user whose control is shown from now on
   */
  follow(session, user) {
    this.#session = session;
    this.#user = user;
    show(element("control-problem"), false);
    element("control-state").className = "notice";
    write(element("control-state"), "Not known yet.");
    this.form.reset();
    this.read();
  }

  async read() {
    const [session, user] = [this.#session, this.#user];
    if (!session || !user) return;
    this.#asked += 1;
    const asked = this.#asked;
    try {
      const found = await session.requests.get(this.#path(user));
      if (asked === this.#asked) this.changed(found);
    } catch (error) {
      if (asked === this.#asked) this.#tell(unreadWords(error));
    }
  }

  /** @param {Control} control of this user; newer than what is being read */
  changed(control) {
    this.#asked += 1;
    const isSet = control.mode !== "normal";
    element("control-state").className = `notice ${isSet ? "warn" : ""}`;
    write(element("control-state"), `${capital(controlWords(control))}${isSet ? ", whatever the price does" : ""}.`);
    one(this.form, `[value=${control.mode}]`, HTMLInputElement).checked = true;
    this.#tell("");
  }

  /** @param {string} user */
  #path(user) {
    return `/v1/admin/trading-controls/${encodeURIComponent(user)}`;
  }

  async #set() {
    const [session, user] = [this.#session, this.#user];
    const mode = /** @type {Control["mode"] | null} */ (new FormData(this.form).get("mode"));
    if (!session) return;
    if (!mode) {
      this.#tell("Choose how they end.");
      return;
    }
    const sure = await confirmed({
      title: `Set ${user}'s trading control to ${mode}?`,
      words: `Options that ${user} opens in demo from now on ${DO[mode]}. `
        + `This is for play money only: no other book takes it. ${user}'s own screen is told.`,
      yes: `Set to ${mode}`,
    });
    if (!sure || user !== this.#user) return;
    try {
      const { outcome } = await session.requests.put(this.#path(user), { mode });
      if (session === this.#session && user === this.#user) this.changed(outcome);
    } catch (error) {
      if (user === this.#user) this.#tell(failureWords(error));
    }
  }

  /** @param {string} text */
  #tell(text) {
    write(element("control-problem"), text);
    show(element("control-problem"), Boolean(text));
  }
}

/** The log: everything that this tab did and heard, newest first. */

import { grouped } from "../parts/amounts.js";
import { statusWords } from "../parts/connection-light.js";
import { element, write } from "../parts/elements.js";
import { Rows } from "./rows.js";
import { capital, clockTime, movement, noticed, stillHeld, words } from "./wording.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./rows.js").Row} Row */

export class Log {
  #rows = new Rows(element("log"), element("no-entries"));

  constructor() {
    element("clear").addEventListener("click", () => this.#rows.clear());
    element("copy").addEventListener("click", () => this.#copy());
  }

  /**
   * Adds an entry.
   * @param {string} kind
   * @param {string} what
   * @param {Partial<Row>} [details]
   */
  note(kind, what, { about = "", ...rest } = {}) {
    const time = new Date();
    this.#rows.add({
      kind, what, time, about: [clockTime(time), about].filter(Boolean).join(" · "), ...rest,
    });
  }

  /** @param {Session} session whose events are logged from now on */
  follow(session) {
    session.on("status", ({ status }) => {
      if (status.state === "idle") return;
      const tone = { waiting: /** @type {const} */ ("warn"), stopped: /** @type {const} */ ("bad") };
      this.note("status", statusWords(status), {
        tone: tone[/** @type {keyof typeof tone} */ (status.state)],
      });
    });
    session.on("balances", ({ reason, position }) => {
      const repaired = reason === "repair";
      this.note("init", repaired
        ? "Repaired: a copy of a balance was wrong and was rebuilt from the ledger's entries"
        : `All balances taken over (${reason})`,
      { about: `position ${position}`, position, tone: repaired ? "warn" : undefined });
    });
    session.on("resumed", ({ from, to, count }) => {
      this.note("resumed", `Resumed: ${count} missed`, { about: `positions ${from} to ${to}` });
    });
    session.on("update", ({ update, replayed }) => this.#update(update, replayed));
    session.on("control", ({ control, replayed }) => {
      this.note("control", `Trading control ${control.mode} in ${control.book}`, {
        about: [`position ${control.position}`, replayed && "replayed"].filter(Boolean).join(" · "),
        position: control.position,
        tone: "warn",
      });
    });
    session.on("duplicate", ({ position }) => {
      this.note("duplicate", "A duplicate was dropped", { about: `position ${position}`, position });
    });
    session.on("mismatch", ({ account, words: reason }) => {
      this.note("mismatch", account ? `${account}: ${reason}` : reason, { tone: "bad" });
    });
    session.on("refused", ({ code, message }) => {
      this.note("refused", message ?? code, { about: code, tone: "bad" });
    });
  }

  /**
   * @param {any} update an UPDATE
   * @param {boolean} replayed
   */
  #update(update, replayed) {
    const { change_type: type, position, changes, description } = update;
    const about = [
      `position ${position}`, description, replayed && "replayed", stillHeld(update.hold),
    ].filter(Boolean);
    if (changes.length === 0) {
      this.note("update", capital(words(type)), {
        about: about.join(" · "), position, data: update,
      });
    }
    changes.forEach((/** @type {any} */ change, /** @type {number} */ index) => {
      this.note("update", `${capital(words(type))} ${change.book} ${change.asset}`, {
        ...movement(change),
        about: [...about, `balance ${grouped(change.balance)}`, ...noticed(change)].join(" · "),
        position,
        ...(index === 0 && { data: update }),
      });
    });
  }

  async #copy() {
    const lines = this.#rows.entries.map(({ time, kind, what, amount, about, data }) => (
      JSON.stringify({ time, kind, what, amount, about, data })
    ));
    try {
      await navigator.clipboard.writeText(lines.join("\n"));
      write(element("copied"), `${lines.length} lines copied`);
    } catch {
      getSelection()?.selectAllChildren(element("log"));
      write(element("copied"), "Selected: copy with the keyboard");
    }
  }
}

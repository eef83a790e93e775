/** The log: everything that this tab did and heard, newest first; filtered, paused, copied. */

import { grouped } from "../parts/amounts.js";
import { statusWords } from "../parts/connection-light.js";
import { copyOf, element, one, show, write } from "../parts/elements.js";
import { Newest } from "../parts/newest.js";
import { Rows } from "../parts/rows.js";
import { controlWords } from "../parts/trade-words.js";
import { capital, clockTime, counted, words } from "../parts/wording.js";
import { fillRow, moved, noticed, stillHeld, tradeTold } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("./wording.js").Row} Row */
/** @typedef {import("../tallywire-client.js").Update} Update */
/** @typedef {Row & {kind: string, time: Date, data?: unknown}} Entry */

const ENTRIES_MOST = 2000;

/** What each choice of the filter lets through. @type {Record<string, string[]>} */
const KINDS = {
  changes: ["update", "control"],
  requests: ["request"],
  connection: ["status", "init", "resumed"],
  trouble: ["mismatch", "duplicate", "refused"],
};

/**
 * Whether an entry passes the filter.
 * @param {Entry} entry
 * @param {string} kinds one of KINDS, "" for all
 * @param {string} text that it must contain, in any case
 */
export function passes(entry, kinds, text) {
  if (kinds && !KINDS[kinds]?.includes(entry.kind)) return false;
  const { what, amount = "", about, data } = entry;
  const all = [what, amount, about, data ? JSON.stringify(data) : ""].join(" ").toLowerCase();
  return all.includes(text.toLowerCase());
}

export class Log {
  /** @type {Newest<Entry>} */
  #entries = new Newest(ENTRIES_MOST);
  /** @type {Rows<Entry>} */
  #rows;

  constructor() {
    this.#rows = new Rows(element("log"), {
      most: ENTRIES_MOST,
      make: () => copyOf("row-template"),
      fill: (node, /** @type {Entry} */ entry) => fillRow(node, entry),
      open: (entry) => this.#open(entry),
      drawn: () => this.#drawCounts(),
    });
    element("log-pause").addEventListener("click", () => {
      this.#rows.paused = !this.#rows.paused;
      element("log-pause").ariaPressed = String(this.#rows.paused);
    });
    element("log-newer").addEventListener("click", () => this.#rows.showNewest());
    element("log-filter").addEventListener("input", () => this.#filter());
    element("log-filter").addEventListener("submit", (event) => event.preventDefault());
    element("copy").addEventListener("click", () => this.#copy());
    element("clear").addEventListener("click", () => {
      this.#entries.clear();
      this.#rows.clear();
      show(element("log-detail"), false);
    });
    element("log-close").addEventListener("click", () => {
      show(element("log-detail"), false);
      element("log").focus();
    });
  }

  /**
   * Adds an entry.
   * @param {string} kind
   * @param {string} what
   * @param {Partial<Entry>} [details]
   */
  note(kind, what, { about = "", ...rest } = {}) {
    const time = new Date();
    const entry = {
      kind, what, time, about: [clockTime(time), about].filter(Boolean).join(" · "), ...rest,
    };
    this.#entries.add(entry);
    if (this.#passes(entry)) this.#rows.add(entry);
  }

  /** @param {Session} session whose events are logged from now on */
  follow(session) {
    session.on("status", ({ status }) => {
      if (status.state === "idle") return;
      const tone = status.state === "waiting" ? "warn" : status.state === "stopped" ? "bad" : undefined;
      this.note("status", statusWords(status), { tone });
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
      this.note("control", `Trading control: ${controlWords(control)}`, {
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
   * @param {Update} update
   * @param {boolean} replayed
   */
  #update(update, replayed) {
    const { change_type: type, position, changes, description, trade } = update;
    const about = [
      `position ${position}`, trade && tradeTold(trade), description, replayed && "replayed", stillHeld(update.hold),
    ].filter(Boolean);
    if (changes.length === 0) {
      this.note("update", [capital(words(type)), trade?.book, trade?.pair].filter(Boolean).join(" "), {
        about: about.join(" · "), position, data: update,
      });
    }
    for (const change of changes) {
      this.note("update", `${capital(words(type))} ${change.book} ${change.asset}`, {
        ...moved(change),
        about: [...about, `balance ${grouped(change.balance)}`, ...noticed(change)].join(" · "),
        position,
        data: update,
      });
    }
  }

  /** @param {Entry} entry */
  #passes(entry) {
    return passes(
      entry,
      element("log-kinds", HTMLSelectElement).value,
      element("log-text", HTMLInputElement).value.trim(),
    );
  }

  #filter() {
    this.#rows.replace([...this.#entries].filter((entry) => this.#passes(entry)));
  }

  #drawCounts() {
    const { count, waiting } = this.#rows;
    const all = this.#entries.length;
    const shown = count + waiting;
    show(element("no-entries"), shown === 0);
    write(element("no-entries"), all ? "No entry passes the filter." : "Nothing has happened yet.");
    write(element("log-count"), shown === all ? String(all) : `${shown} of ${all}`);
    show(element("log-newer"), waiting > 0);
    write(element("log-newer"), `${waiting} new`);
  }

  /** @param {Entry} entry */
  #open({ what, about, data }) {
    write(element("log-detail-title"), what);
    write(element("log-detail-about"), about);
    write(element("log-detail-data"), data ? JSON.stringify(data, null, 2) : "");
    show(element("log-detail-data"), Boolean(data));
    show(element("log-detail"), true);
  }

  /** Copies what passes the filter, oldest first, a JSON object a line. */
  async #copy() {
    const lines = this.#rows.entries.reverse().map(({ time, kind, what, amount, about, data }) => (
      JSON.stringify({ time, kind, what, amount, about, data })
    ));
    try {
      await navigator.clipboard.writeText(lines.join("\n"));
      write(element("copied"), `${counted(lines.length, "line")} copied`);
    } catch {
      write(element("copied"), "This browser does not let the page copy");
    }
  }
}

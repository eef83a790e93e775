/** The stream of changes: filtered, searched, paused; a row opens its details. */

import { grouped } from "../parts/amounts.js";
import { copyOf, element, one, show, write } from "../parts/elements.js";
import { Newest } from "../parts/newest.js";
import { Rows } from "../parts/rows.js";
import { assetsOf } from "../parts/trade-words.js";
import { clockTime, counted, isIncome, movement, words } from "../parts/wording.js";
import { TallywireClient } from "../tallywire-client.js";
import { entriesOf, filterInWords, filterOf, hasWords, isAmount, passes, wordsSought } from "./entries.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("./entries.js").Entry} Entry */
/** @typedef {import("./entries.js").Filter} Filter */
/** @typedef {import("./entries.js").Update} Update */

const KEPT = 4000;
const REFILL_AFTER_MS = 300;

/**
 * Where, how much and what was left: of a change, or of what changed nothing. An option that loses
 * has cost its stake before.
 * @param {Entry} entry
 * @returns {[where: string, amount: string, after: string]}
 */
function cellsOf({ update: { trade, control }, change }) {
  if (change) return [`${change.book} ${change.asset}`, movement(change), grouped(change.balance)];
  if (control) return [control.book, control.mode, ""];
  if (trade?.kind !== "option") return ["", "", ""];
  const [, quote] = assetsOf(trade.pair);
  return [`${trade.book} ${quote}`, trade.outcome === "lose" ? `lost ${grouped(trade.stake)}` : "", ""];
}

/**
 * Writes an entry into a row; the cells are those of the template, in their order.
 * @param {HTMLElement} row
 * @param {Entry} entry
 */
function fill(row, entry) {
  const { update, change } = entry;
  const texts = [
    String(update.position),
    clockTime(update.timestamp),
    update.user_id ?? "nobody",
    words(update.change_type),
    ...cellsOf(entry),
    update.actor ?? "",
  ];
  texts.forEach((text, index) => write(/** @type {Element} */ (row.children[index]), text));
  row.dataset.tone = change && isIncome(change) ? "good" : "";
  row.dataset.position = String(update.position);
}

/**
 * The newest changes that pass a filter, as the server finds them: over a connection of its own,
 * so that the totals go on from every change.
 * @param {Session} session
 * @param {Filter} filter
 * @returns {Promise<Update[]>} newest first; empty where the server is away
 */
function newestThatPass(session, filter) {
  const client = new TallywireClient({
    token: (request) => session.identity.token(request), streams: ["monitor"], filter,
  });
  return new Promise((resolve) => {
    /** @param {Update[]} found */
    const done = (found) => {
      client.close();
      resolve(found);
    };
    client.addEventListener("monitor-init", (event) => {
      done(/** @type {CustomEvent} */ (event).detail.message.recent);
    });
    client.addEventListener("status", () => {
      if (["waiting", "stopped"].includes(client.status.state)) done([]);
    });
    client.connect();
  });
}

export class Stream {
  /** @type {Newest<Entry>} */
  #kept = new Newest(KEPT);
  /** @type {Filter} */
  #filter = {};
  /** @type {string[]} */
  #sought = [];
  /** @type {Session | null} */
  #session = null;
  #epoch = "";
  #refill = 0;

  /** @param {(update: Update) => void} open shows the details of a change */
  constructor(open) {
    this.form = element("filter", HTMLFormElement);
    this.rows = new Rows(element("changes"), {
      most: KEPT,
      make: () => copyOf("change-row-template"),
      fill,
      open: ({ update }) => open(update),
      drawn: () => this.#drawn(),
    });
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", () => this.#choose());
    element("clear-filter").addEventListener("click", () => {
      this.form.reset();
      this.#choose();
    });
    element("pause-stream").addEventListener("click", () => {
      this.rows.paused = !this.rows.paused;
    });
    element("show-newest").addEventListener("click", () => {
      this.rows.paused = false;
      this.rows.showNewest();
    });
  }

  /** @param {Session} session whose changes are shown from now on */
  follow(session) {
    this.#session = session;
    this.#kept.clear();
    this.rows.clear();
    session.on("monitor-init", ({ message }) => this.#begin(message));
    session.on("monitor", ({ updates }) => this.#add(updates));
  }

  /**
   * Goes on from an init; anew where its changes do not reach back to the list.
   * @param {{epoch: string, recent: Update[]}} message
   */
  #begin({ epoch, recent }) {
    const newest = this.#kept.at(0)?.update.position ?? 0;
    const oldest = recent.at(-1)?.position ?? Infinity;
    const joins = epoch === this.#epoch && oldest <= newest;
    this.#epoch = epoch;
    const updates = [...recent].reverse();
    if (joins) {
      this.#add(updates.filter(({ position }) => position > newest));
      return;
    }
    this.#kept.clear();
    for (const update of updates) this.#keep(update);
    this.#show();
  }

  /** @param {Update[]} updates oldest first */
  #add(updates) {
    for (const update of updates) for (const entry of this.#keep(update)) {
      if (this.#wanted(entry)) this.rows.add(entry);
    }
  }

  /** @param {Update} update */
  #keep(update) {
    const entries = entriesOf(update);
    for (const entry of entries) this.#kept.add(entry);
    return entries;
  }

  /** @param {Entry} entry */
  #wanted(entry) {
    return passes(entry, this.#filter) && hasWords(entry, this.#sought);
  }

  #show() {
    this.rows.replace([...this.#kept].filter((entry) => this.#wanted(entry)));
    clearTimeout(this.#refill);
    if (filterInWords(this.#filter)) {
      this.#refill = setTimeout(() => this.#showOlder(), REFILL_AFTER_MS);
    }
  }

  /** Goes back beyond what is kept, where the server finds more that passes. */
  async #showOlder() {
    const [session, filter] = [this.#session, this.#filter];
    if (!session) return;
    const found = await newestThatPass(session, filter);
    if (session !== this.#session || filter !== this.#filter || this.rows.isRead) return;
    const { entries } = this.rows;
    const oldest = entries.at(-1)?.update.position ?? Infinity;
    const older = found.filter(({ position }) => position < oldest).flatMap(entriesOf);
    this.rows.replace([...entries, ...older.filter((entry) => this.#wanted(entry))]);
  }

  /** Takes over what the form says. */
  #choose() {
    const typed = Object.fromEntries(
      [...new FormData(this.form)].map(([name, value]) => [name, String(value)]),
    );
    const filter = filterOf(typed);
    const readable = !filter.min_amount || isAmount(filter.min_amount);
    one(this.form, "[name=min_amount]").ariaInvalid = readable ? null : "true";
    write(element("filter-error"), "The amount is a number such as 100 or 0.25.");
    show(element("filter-error"), !readable);
    if (!readable) return;
    this.#filter = filter;
    this.#sought = wordsSought(typed.search ?? "");
    this.#show();
  }

  #drawn() {
    const { count, waiting, isStill, paused } = this.rows;
    const chosen = [
      filterInWords(this.#filter), this.#sought.length > 0 && `with “${this.#sought.join(" ")}”`,
    ].filter(Boolean).join(", ");
    write(element("kept"), chosen
      ? `${counted(count, "change")} shown: ${chosen}. Looked for in the newest ${grouped(String(KEPT))} of all users.`
      : `The newest ${grouped(String(KEPT))} changes are kept.`);
    show(element("still"), isStill);
    write(element("still-words"), `${paused ? "Paused" : "Standing still while you read"}: ${
      waiting ? `${grouped(String(waiting))} newer` : "nothing newer yet"}.`);
    const pause = element("pause-stream");
    write(pause, paused ? "Go on" : "Pause");
    pause.setAttribute("aria-pressed", String(paused));
    show(element("no-changes"), count === 0);
    const known = Boolean(this.#session?.client.cursor);
    write(element("no-changes"), !known ? "Not known yet." : chosen ? "None of those kept." : "None yet.");
    show(element("changes-grid"), count > 0);
  }
}

/** The trades of the shown user: open options counted down, and how others ended. */

import { element, one, show, write } from "../parts/elements.js";
import { Refusal } from "../parts/requests.js";
import { TradeList } from "../parts/trade-list.js";
import { tradeWords } from "../parts/trade-words.js";
import { words } from "../parts/wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("../tallywire-client.js").Trade} Trade */
/** @typedef {import("./log.js").Log} Log */

const DEMO = "demo";

export class Trades {
  /** @type {Session | null} */
  #session = null;
  #known = false;
  #list = new TradeList({
    list: element("trades"),
    title: element("trades-title"),
    template: "trade-template",
    now: () => this.#session?.client.serverNow ?? Date.now(),
    draw: (row, trade) => this.#drawOne(row, trade),
  });

  /** @param {Log} log where is told what became of requests */
  constructor(log) {
    this.log = log;
    element("trades").addEventListener("click", ({ target }) => {
      if (target instanceof HTMLButtonElement) this.#force(target);
    });
  }

  /** @param {Session} session whose user's trades are shown from now on */
  follow(session) {
    this.#session = session;
    this.#known = false;
    this.#list.clear();
    this.#draw();
    session.on("update", ({ update }) => {
      const { trade } = update;
      if (trade?.user_id !== session.identity.user) return;
      this.#list.changed(trade);
      this.#draw();
    });
  }

  /** @throws {import("../parts/requests.js").Refusal | import("../parts/requests.js").NoAnswer | import("../parts/identity.js").NoToken} */
  async read() {
    const session = this.#session;
    if (!session || !await this.#list.read(session.requests, session.identity.user)) return;
    this.#known = true;
    this.#draw();
  }

  #draw() {
    this.#list.draw();
    const { trades } = this.#list;
    const open = trades.filter(({ status }) => status === "open").length;
    write(element("trades-open"), open ? `${open} open` : "");
    show(element("no-trades"), this.#known && trades.length === 0);
  }

  /**
   * @param {HTMLElement} row
   * @param {Trade} trade
   */
  #drawOne(row, trade) {
    const force = one(row, ".force");
    show(force, Boolean(this.#session?.may("superadmin")) && trade.status === "open" && trade.book === DEMO);
    force.setAttribute("aria-label", `End the option ${tradeWords(trade)} now`);
    show(one(row, ".error"), false);
  }

  /** @param {HTMLButtonElement} button of an outcome, in the row of an open option */
  async #force({ value: outcome, parentElement }) {
    const session = this.#session;
    const row = /** @type {HTMLElement | null} */ (parentElement?.closest("[data-trade]"));
    if (!session || !row || row.ariaBusy) return;
    row.ariaBusy = "true"; // the buttons stay enabled, so that the focus stays where it is
    const error = one(row, ".error");
    show(error, false);
    try {
      const { outcome: done } = await session.requests.post(`/v1/options/${row.dataset.trade}/force`, { outcome });
      if (session !== this.#session) return;
      this.log.note("request", `Option ended by hand: ${words(outcome)}, position ${done.position}.`);
    } catch (failure) {
      if (session !== this.#session) return;
      const { message } = /** @type {Error} */ (failure);
      const text = failure instanceof Refusal
        ? `Refused: ${message}` : "No answer came, so it may have ended or not. Ask again: it ends once.";
      write(error, text);
      show(error, true);
      this.log.note("request", `Option not ended by hand: ${message}`, { tone: "bad" });
    } finally {
      row.ariaBusy = null;
    }
  }
}

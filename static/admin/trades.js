/** The trades of one user, and how an open option of the demo book is ended by hand. */

import { element, oncePerFrame, one, show, write } from "../parts/elements.js";
import { TradeList } from "../parts/trade-list.js";
import { SIMULATED, tradeWords } from "../parts/trade-words.js";
import { confirmed } from "./confirm.js";
import { failureWords, unreadWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("../tallywire-client.js").Trade} Trade */

const DEMO = "demo";
/** @type {Record<string, string>} */
const AS = { win: "a win", lose: "a loss", tie: "a tie" };

export class Trades {
  #trades = new TradeList({
    list: element("user-trades"),
    title: element("user-trades-title"),
    template: "user-trade-template",
    draw: (row, trade) => this.#drawOne(row, trade),
    now: () => this.#session?.client.serverNow ?? Date.now(),
  });
  /** @type {Session | null} */
  #session = null;
  #user = "";

  constructor() {
    this.draw = oncePerFrame(() => this.#draw());
    write(element("user-trades-simulated"), SIMULATED);
  }

  /**
   * @param {Session} session
   * @param {string} user whose trades are shown from now on
   */
  follow(session, user) {
    this.#session = session;
    this.#user = user;
    this.#trades.clear();
    this.#draw();
    this.read();
  }

  async read() {
    const [session, user] = [this.#session, this.#user];
    if (!session || !user) return;
    const problem = element("user-trades-problem");
    try {
      if (!await this.#trades.read(session.requests, user)) return;
      show(problem, false);
    } catch (error) {
      write(problem, unreadWords(error));
      show(problem, true);
    }
    this.draw();
  }

  /** @param {Trade} trade of this user, as of a transaction */
  changed(trade) {
    this.#trades.changed(trade);
    this.draw();
  }

  #draw() {
    const { trades } = this.#trades;
    const isRead = element("user-trades-problem").hidden;
    show(element("no-user-trades"), isRead && trades.length === 0);
    show(element("user-trades-simulated"), trades.some(({ price_source: source }) => source === "simulated"));
    this.#trades.draw();
  }

  /**
   * @param {HTMLElement} row
   * @param {Trade} trade
   */
  #drawOne(row, trade) {
    const force = one(row, ".force");
    const isOffered = trade.status === "open" && trade.book === DEMO;
    show(force, isOffered && Boolean(this.#session?.may("superadmin")));
    force.setAttribute("aria-label", `End ${tradeWords(trade)} now`);
    for (const button of force.querySelectorAll("button")) {
      button.onclick = () => this.#force(row, trade, button.value);
    }
  }

  /**
   * @param {HTMLElement} row
   * @param {Trade} trade
   * @param {string} outcome
   */
  async #force(row, trade, outcome) {
    const [session, user] = [this.#session, this.#user];
    if (!session || row.ariaBusy) return;
    const sure = await confirmed({
      title: `End it as ${AS[outcome]}?`,
      words: `${tradeWords(trade)}, of ${user}, ends now as ${AS[outcome]}, whatever the price is. `
        + `This is play money, in the book ${DEMO}; it is not done with any other. ${user}'s own screen is told that it was forced.`,
      yes: `End it as ${AS[outcome]}`,
    });
    if (!sure) return;
    const error = one(row, ".error");
    show(error, false);
    row.ariaBusy = "true"; // the buttons stay enabled, so that the focus stays where it is
    try {
      const { outcome: accepted } = await session.requests.post(`/v1/options/${trade.id}/force`, { outcome });
      if (session === this.#session && user === this.#user) this.changed(accepted.trade);
    } catch (failure) {
      write(error, failureWords(failure));
      show(error, true);
    } finally {
      row.ariaBusy = null;
    }
  }
}

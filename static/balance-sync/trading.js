/** The trading panel: pairs and prices, the form, the user's trades, trading control. */

import { element, oncePerFrame, show, write } from "../parts/elements.js";
import { Prices } from "../parts/prices.js";
import { SIMULATED } from "../parts/trade-words.js";
import { Orders } from "./orders.js";
import { Trades } from "./trades.js";
import { TradingControl } from "./trading-control.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("./log.js").Log} Log */

const LOOK_EVERY_MS = 1000;

export class Trading {
  /** @type {Session | null} */
  #session = null;
  #prices = new Prices({ list: element("prices"), template: "price-template" });
  #draw = oncePerFrame(() => this.#drawPrices());

  /** @param {Log} log where is told what became of requests */
  constructor(log) {
    this.orders = new Orders(this.#prices, log);
    this.trades = new Trades(log);
    this.control = new TradingControl(log);
    write(element("simulated"), SIMULATED);
    element("read-trading").addEventListener("click", () => this.#read());
    setInterval(() => this.#draw(), LOOK_EVERY_MS); // prices grow old without being told
  }

  /** @param {Session} session whose user trades from now on */
  follow(session) {
    this.#session = session;
    this.#prices.clear();
    show(element("trading"), true);
    show(element("trading-unread"), false);
    for (const part of [this.orders, this.trades, this.control]) part.follow(session);
    session.on("prices", ({ prices }) => {
      this.#prices.take(prices);
      this.#draw();
    });
    session.on("balances", () => this.#read());
    session.on("resumed", () => this.#read());
  }

  async #read() {
    const session = this.#session;
    if (!session) return;
    try {
      const [{ items }] = await Promise.all([session.requests.get("/v1/pairs?limit=1000"), this.trades.read()]);
      if (session !== this.#session) return;
      this.#prices.pairs = items;
    } catch (error) {
      if (session !== this.#session) return;
      write(element("trading-unread-words"), `Pairs and trades could not be read: ${/** @type {Error} */ (error).message}`);
      show(element("trading-unread"), true);
      return;
    }
    show(element("trading-unread"), false);
    show(element("no-pairs"), this.#prices.pairs.length === 0);
    this.orders.offerPairs();
    this.#drawPrices();
  }

  #drawPrices() {
    const session = this.#session;
    if (!session) return;
    this.#prices.draw(session.client.serverNow);
    show(element("simulated"), this.#prices.areSimulated);
    this.orders.draw();
  }
}

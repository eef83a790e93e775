/** The form that trades: spot orders and options, with what they would come to. */

import { grouped } from "../parts/amounts.js";
import { element, one, show, write } from "../parts/elements.js";
import { isStale } from "../parts/prices.js";
import { aboutTrade, tradeWords } from "../parts/trade-words.js";
import { optionWords, percent, spotWords } from "./costs.js";
import { FormAnswers } from "./form-answers.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("../parts/prices.js").Pair} Pair */
/** @typedef {import("../parts/prices.js").Prices} Prices */
/** @typedef {import("../tallywire-client.js").Trade} Trade */
/** @typedef {import("./log.js").Log} Log */
/** @typedef {{path: string, body: Record<string, any>}} Asked */

/** @param {string} id */
const value = (id) => element(id, HTMLInputElement).value.trim();
/** @param {string} name of radios */
const chosen = (name) => (
  document.querySelector(`#order input[name=${name}]:checked`)?.getAttribute("value") ?? ""
);

/**
 * What the form itself can tell is unclear: its field, and why; all else is the server's to refuse.
 * @param {Asked} asked
 * @returns {[string, string][]}
 */
function unclearIn({ path, body }) {
  if (path === "/v1/options") return body.stake ? [] : [["stake", "Name a stake."]];
  return body.base_amount || body.quote_amount ? [] : [["order_amount", "Name an amount."]];
}

export class Orders {
  /** @type {Session | null} */
  #session = null;

  /**
   * @param {Prices} prices whose pairs are traded
   * @param {Log} log where is told what became of requests
   */
  constructor(prices, log) {
    this.prices = prices;
    this.log = log;
    const form = element("order");
    this.answers = new FormAnswers(form, element("order-result"), log);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    form.addEventListener("input", () => {
      this.draw();
      this.#nameSubmit();
    });
  }

  /** @param {Session} session whose user trades from now on */
  follow(session) {
    this.#session = session;
    this.answers.clearErrors();
    show(element("order-result"), false);
    this.#nameSubmit();
  }

  /** @returns {Pair | undefined} */
  get #pair() {
    const name = element("order-pair", HTMLSelectElement).value;
    return this.prices.pairs.find(({ pair }) => pair === name);
  }

  /** Offers the pairs anew. */
  offerPairs() {
    const select = element("order-pair", HTMLSelectElement);
    const before = select.value;
    const names = this.prices.pairs.map(({ pair }) => pair);
    select.replaceChildren(...names.map((name) => new Option(name)));
    if (names.includes(before)) select.value = before;
    element("order-fields", HTMLFieldSetElement).disabled = names.length === 0;
    this.draw();
    this.#nameSubmit();
  }

  /** Makes the form fit the pair, and says what the order would come to at the newest price. */
  draw() {
    const pair = this.#pair;
    if (!pair || !this.#session) return;
    const kind = chosen("trade");
    for (const part of element("order-fields").querySelectorAll("[data-kind]")) {
      show(/** @type {HTMLElement} */ (part), /** @type {HTMLElement} */ (part).dataset.kind === kind);
    }
    this.#drawDurations(pair);
    write(element("in-base"), pair.base);
    write(element("in-quote"), pair.quote);
    write(element("order-amount-label"), `Amount in ${chosen("by") === "base" ? pair.base : pair.quote}`);
    write(element("stake-label"), `Stake in ${pair.quote}`);
    write(element("preview"), this.#preview(pair));
  }

  /** @param {Pair} pair */
  #drawDurations({ durations }) {
    const list = element("durations");
    const offered = JSON.stringify(durations);
    if (list.dataset.offered === offered) return;
    list.dataset.offered = offered;
    const before = chosen("duration");
    list.replaceChildren(...durations.map(({ duration_s: seconds, payout_rate: rate }) => {
      const label = document.createElement("label");
      const input = document.createElement("input");
      Object.assign(input, { type: "radio", name: "duration", value: String(seconds) });
      const words = document.createElement("span");
      write(words, `${seconds} s, pays ${percent(rate)}`);
      label.append(input, words);
      return label;
    }));
    const inputs = [...list.querySelectorAll("input")];
    const kept = inputs.find(({ value: seconds }) => seconds === before) ?? inputs[0];
    if (kept) kept.checked = true;
  }

  /** @param {Pair} pair */
  #preview(pair) {
    const now = this.#session?.client.serverNow ?? 0;
    const newest = this.prices.newest(pair.pair);
    const price = isStale(pair, newest, now) ? undefined : newest;
    if (chosen("trade") === "spot") {
      return spotWords(pair, price, {
        side: chosen("side") === "buy" ? "buy" : "sell",
        by: chosen("by") === "base" ? "base" : "quote",
        amount: value("order-amount"),
        limit: value("limit"),
      });
    }
    const duration = pair.durations.find(({ duration_s: seconds }) => String(seconds) === chosen("duration"));
    if (!duration) return `Options of ${pair.pair} are not offered: it has no durations.`;
    return optionWords(pair, price, {
      direction: chosen("direction"), rate: duration.payout_rate, duration: duration.duration_s, stake: value("stake"),
    });
  }

  /** Says on the button what it does. */
  #nameSubmit() {
    const base = this.#pair?.base ?? "";
    write(element("order-submit"), chosen("trade") === "option"
      ? "Open the option"
      : `${chosen("side") === "buy" ? "Buy" : "Sell"} ${base}`);
  }

  /** @returns {Asked} */
  #asked() {
    const pair = element("order-pair", HTMLSelectElement).value;
    const book = value("order-book");
    /** @type {Record<string, any>} */
    const body = { pair, ...(book && { book }) };
    if (chosen("trade") === "option") {
      Object.assign(body, {
        direction: chosen("direction"), stake: value("stake"), duration_s: Number(chosen("duration")),
      });
      return { path: "/v1/options", body };
    }
    const amount = chosen("by") === "base" ? "base_amount" : "quote_amount";
    Object.assign(body, { side: chosen("side"), [amount]: value("order-amount") });
    if (value("limit")) body.limit_price = value("limit");
    return { path: "/v1/spot/orders", body };
  }

  async #submit() {
    const session = this.#session;
    if (!session || element("order").ariaBusy) return;
    const { path, body } = this.#asked();
    const isOption = path === "/v1/options";
    this.answers.clearErrors();
    const unclear = unclearIn({ path, body });
    if (unclear.length) {
      this.answers.tellUnclear(unclear);
      return;
    }
    const field = isOption ? "stake" : "order_amount";
    const answer = await this.answers.post(session, {
      path,
      body,
      what: isOption ? "Option" : "Spot order",
      about: `${body.stake ?? body.base_amount ?? body.quote_amount} of ${body.pair}`,
      fieldOfPointer: { "/amount": field, "/base_amount": field, "/quote_amount": field },
      fieldOfCode: {
        insufficient_funds: field, invalid_amount: field, exposure_limit: field, limit_not_met: "limit_price",
        stale_price: "pair", unknown_book: "book",
      },
      again: () => write(element("order-submit"), "Send again"),
      isWanted: () => session === this.#session,
    });
    if (answer) this.#accepted(answer.outcome, answer.replayed);
  }

  /**
   * @param {{trade: Trade, transaction_id: string, position: number}} outcome
   * @param {boolean} replayed
   */
  #accepted({ trade, transaction_id: id, position }, replayed) {
    const what = trade.kind === "option"
      ? `Opened ${tradeWords(trade)}, for ${trade.duration_s} s` : tradeWords(trade);
    const text = `${what}, ${aboutTrade(trade).slice(1).join(", ")}`
      + (replayed ? ". It had been booked already; nothing moved twice." : `; position ${position}.`);
    this.answers.tell("good", text, `Transaction ${id}`);
    this.log.note("request", text, { about: `transaction ${id}` });
    element(trade.kind === "option" ? "stake" : "order-amount", HTMLInputElement).value = "";
    this.draw();
    this.#nameSubmit();
  }
}

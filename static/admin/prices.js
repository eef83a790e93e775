/** The newest price of each pair, how old it is and where it is from; and pushing one. */

import { grouped } from "../parts/amounts.js";
import { element, show, write } from "../parts/elements.js";
import { isStale } from "../parts/prices.js";
import { SIMULATED } from "../parts/trade-words.js";
import { decimalText, minorUnits } from "../tallywire-client.js";
import { Polling } from "./polling.js";
import { number, tableRow } from "./table.js";
import { failureWords, unreadWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("../tallywire-client.js").Price} Price */
/** @typedef {import("../parts/prices.js").Pair & {exposure_limit: string}} Pair */

const EVERY_MS = 3000;

/**
 * How old a pair's price is, and what that means.
 * @param {Pair} pair
 * @param {Price | undefined} price its newest
 * @param {number} now what the server's clock shows, in milliseconds since 1970
 * @returns {{text: string, tone: "good" | "bad"}}
 */
export function ageWords(pair, price, now) {
  if (!price) return { text: "none yet: trades are refused", tone: "bad" };
  const seconds = Math.max(0, Math.floor((now - Date.parse(price.time)) / 1000));
  const [size, unit] = seconds < 120 ? [1, "s"] : seconds < 7200 ? [60, "min"] : [3600, "h"];
  const age = `${grouped(String(Math.floor(seconds / size)))} ${unit}`;
  return isStale(pair, price, now)
    ? { text: `${age}, stale after ${pair.stale_after_s} s: trades are refused`, tone: "bad" }
    : { text: age, tone: "good" };
}

/**
 * Without the zeros that its decimals end with: a setting is nobody's balance.
 * @param {string} amount a decimal string
 */
const short = (amount) => grouped(amount.replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, ""));

/**
 * The rules of a pair in words.
 * @param {Pair} pair
 * @returns {{fee: string, least: string, options: string, stake: string, exposure: string}}
 */
export function rulesOf({ base, quote, fee_bps: fee, minimum, durations, maximum_stake: stake, exposure_limit: exposure }) {
  /** @param {bigint} hundredths */
  const percent = (hundredths) => `${short(decimalText(hundredths, 2))} %`;
  const options = durations.map(({ duration_s: seconds, payout_rate: rate }) => (
    `${seconds} s ${percent(minorUnits(rate, 4))}`
  ));
  return {
    fee: percent(BigInt(fee)),
    least: `${short(minimum)} ${base}`,
    options: options.join(", ") || "none",
    stake: `${short(stake)} ${quote}`,
    exposure: `${short(exposure)} ${quote}`,
  };
}

export class Prices {
  /** @type {Session | null} */
  #session = null;

  /** @param {() => boolean} isWanted */
  constructor(isWanted) {
    this.polling = new Polling(() => this.#read(), EVERY_MS, isWanted);
    this.pair = element("push-pair", HTMLSelectElement);
    this.price = element("push-price", HTMLInputElement);
    write(element("prices-simulated"), SIMULATED);
    element("push").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#push();
    });
  }

  /** @param {Session} session who asks from now on */
  follow(session) {
    this.#session = session;
    show(element("push-result"), false);
    this.polling.follow(session);
  }

  async #read() {
    const session = this.#session;
    if (!session) return;
    const problem = element("prices-problem");
    try {
      const [pairs, prices] = await Promise.all([
        session.requests.get("/v1/pairs?limit=1000"), session.requests.get("/v1/prices?limit=1000"),
      ]);
      if (session !== this.#session) return;
      show(problem, false);
      this.#draw(pairs.items, prices.items, session.client.serverNow);
    } catch (error) {
      if (session !== this.#session) return;
      write(problem, unreadWords(error));
      show(problem, true);
      write(element("no-pairs"), "Not known now.");
    }
  }

  /**
   * @param {Pair[]} pairs by name
   * @param {Price[]} prices the newest of each pair that has one
   * @param {number} now what the server's clock shows
   */
  #draw(pairs, prices, now) {
    const newest = new Map(prices.map((price) => [price.pair, price]));
    show(element("no-pairs"), pairs.length === 0);
    write(element("no-pairs"), "There is no pair.");
    show(element("prices-list"), pairs.length > 0);
    show(element("prices-simulated"), prices.some(({ source }) => source === "simulated"));
    element("prices").replaceChildren(...pairs.map((pair) => {
      const price = newest.get(pair.pair);
      return tableRow([
        pair.pair, number(price ? grouped(price.price) : "–"), price?.source ?? "–", ageWords(pair, price, now),
      ]);
    }));
    element("pairs").replaceChildren(...pairs.map((pair) => {
      const { fee, least, options, stake, exposure } = rulesOf(pair);
      return tableRow([pair.pair, number(fee), number(least), options, number(stake), number(exposure)]);
    }));
    const names = pairs.map(({ pair }) => pair);
    if (names.join() !== [...this.pair.options].map(({ value }) => value).join()) {
      this.pair.replaceChildren(...names.map((name) => new Option(name)));
    }
  }

  async #push() {
    const session = this.#session;
    if (!session) return;
    const [pair, price] = [this.pair.value, this.price.value.trim()];
    const result = element("push-result");
    this.price.ariaInvalid = null;
    try {
      const { outcome } = await session.requests.put(`/v1/prices/${pair}`, { price });
      result.className = "notice good span";
      write(result, `${outcome.pair} is ${grouped(outcome.price)} now, ${outcome.source}.`);
      this.price.value = "";
      this.polling.now();
    } catch (error) {
      result.className = "notice bad span";
      write(result, failureWords(error));
      this.price.ariaInvalid = "true";
      this.price.focus();
    }
    show(result, true);
  }
}

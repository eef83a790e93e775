/** Prices as they come: the newest of each pair with its course, whether it is still fresh, as rows of a list. */

import { grouped } from "./amounts.js";
import { copyOf, one, show, write } from "./elements.js";
import { sparkline } from "./sparkline.js";
import { clockTime } from "./wording.js";
import { minorUnits } from "../tallywire-client.js";

/** @typedef {import("../tallywire-client.js").Price} Price */
/** @typedef {import("./sparkline.js").Value} Value */

/**
 * A PAIR (contract, section 3).
 * @typedef {object} Pair
 * @property {string} pair `base-quote`
 * @property {string} base
 * @property {string} quote
 * @property {number} price_decimals
 * @property {string} minimum least base amount of a spot order
 * @property {number} fee_bps of a spot order's quote, in ten-thousandths
 * @property {{duration_s: number, payout_rate: string}[]} durations of options
 * @property {string} maximum_stake of an option, in quote
 * @property {number} stale_after_s how old a price refuses trades
 */

const COURSE_MOST = 60;

/**
 * Whether trades are refused for want of a fresh price.
 * @param {Pair} pair
 * @param {Price | undefined} price its newest
 * @param {number} now what the server's clock shows, in milliseconds since 1970
 */
export function isStale({ stale_after_s: staleAfter }, price, now) {
  return !price || now - Date.parse(price.time) > staleAfter * 1000;
}

/**
 * What a page has of its own.
 * @typedef {object} PricesPage
 * @property {HTMLElement} list
 * @property {string} template id of a row's: .pair-name, .value, .source, .stale, .at and .sparkline
 */

export class Prices {
  /** @type {Pair[]} */
  #pairs = [];
  /** By pair, the newest. @type {Map<string, Price>} */
  #newest = new Map();
  /** By pair, oldest first. @type {Map<string, Value[]>} */
  #courses = new Map();
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();

  /** @param {PricesPage} page */
  constructor(page) {
    this.page = page;
  }

  /** The pairs that are shown. */
  get pairs() {
    return this.#pairs;
  }

  /** @param {Pair[]} pairs shown from now on, in their order */
  set pairs(pairs) {
    this.#pairs = pairs;
    this.#rows = new Map(pairs.map(({ pair }) => [pair, this.#rows.get(pair) ?? this.#newRow(pair)]));
    this.page.list.replaceChildren(...this.#rows.values());
  }

  /** Forgets every price. */
  clear() {
    this.#newest.clear();
    this.#courses.clear();
  }

  /** @param {Price[]} prices as they came */
  take(prices) {
    for (const price of prices) {
      const known = this.#newest.get(price.pair);
      if (known && known.time >= price.time) continue; // all are told again on connecting
      this.#newest.set(price.pair, price);
      const [, fraction = ""] = price.price.split(".");
      const course = this.#courses.get(price.pair) ?? [];
      this.#courses.set(price.pair, course);
      course.push({ units: minorUnits(price.price, fraction.length), label: grouped(price.price) });
      if (course.length > COURSE_MOST) course.shift();
    }
  }

  /** Whether any of them is of no market. */
  get areSimulated() {
    return [...this.#newest.values()].some(({ source }) => source === "simulated");
  }

  /**
   * The newest price of a pair, where one is known.
   * @param {string} pair
   */
  newest(pair) {
    return this.#newest.get(pair);
  }

  /**
   * Makes the rows say what is known.
   * @param {number} now what the server's clock shows, in milliseconds since 1970
   */
  draw(now) {
    for (const pair of this.#pairs) {
      const row = /** @type {HTMLElement} */ (this.#rows.get(pair.pair));
      const price = this.#newest.get(pair.pair);
      const stale = isStale(pair, price, now);
      write(one(row, ".value"), price ? `${grouped(price.price)} ${pair.quote}` : "No price yet");
      show(one(row, ".source"), price?.source === "simulated");
      show(one(row, ".stale"), stale);
      write(one(row, ".at"), price ? clockTime(price.time) : "");
      row.dataset.fresh = String(!stale);
      sparkline(one(row, ".sparkline", SVGSVGElement), this.#courses.get(pair.pair) ?? []);
    }
  }

  /** @param {string} pair */
  #newRow(pair) {
    const row = copyOf(this.page.template);
    row.dataset.pair = pair;
    write(one(row, ".pair-name"), pair);
    return row;
  }
}

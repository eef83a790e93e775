/**
 * What a trade would cost, before it is asked for, in whole minor units and by the rules of the
 * ledger (contract, section 3, "Trades"): quote up for buys and down for sells, the fee up.
 */

import { grouped } from "../parts/amounts.js";
import { priceWords } from "../parts/trade-words.js";
import { decimalText, minorUnits } from "../tallywire-client.js";

/** @typedef {import("../parts/prices.js").Pair} Pair */
/** @typedef {import("../tallywire-client.js").Price} Price */
/** @typedef {{side: "buy" | "sell", by: "base" | "quote", amount: string, limit: string}} SpotAsked */
/** @typedef {{base: string, quote: string, fee: string, total: string}} SpotCost total: paid, or got */

const BASIS_POINTS = 10_000n;
const RATE_DECIMALS = 4;

/** Decimals of an amount that the server wrote. @param {string} text */
const decimals = (text) => text.split(".")[1]?.length ?? 0;

/** @param {bigint} part @param {bigint} whole */
const dividedUp = (part, whole) => (part + whole - 1n) / whole;

/**
 * What an order comes to at a price.
 * @param {Pair} pair
 * @param {string} price
 * @param {SpotAsked} asked
 * @returns {SpotCost}
 * @throws {RangeError} where the amount is none of that asset
 */
export function spotCost(pair, price, { side, by, amount }) {
  const [baseScale, quoteScale] = [decimals(pair.minimum), decimals(pair.maximum_stake)];
  // A minor unit of base is worth above / below minor units of quote.
  const above = minorUnits(price, pair.price_decimals) * 10n ** BigInt(quoteScale);
  const below = 10n ** BigInt(pair.price_decimals + baseScale);
  const base = by === "base"
    ? minorUnits(amount, baseScale)
    : (minorUnits(amount, quoteScale) * below) / above;
  const buys = side === "buy";
  const quote = buys ? dividedUp(base * above, below) : (base * above) / below;
  const fee = dividedUp(quote * BigInt(pair.fee_bps), BASIS_POINTS);
  return {
    base: decimalText(base, baseScale),
    quote: decimalText(quote, quoteScale),
    fee: decimalText(fee, quoteScale),
    total: decimalText(buys ? quote + fee : quote - fee, quoteScale),
  };
}

/**
 * What a win pays besides the stake, rounded down.
 * @param {Pair} pair
 * @param {string} rate payout_rate of the duration
 * @param {string} stake
 * @throws {RangeError} where the stake is no amount of the quote
 */
export function payoutOf(pair, rate, stake) {
  const scale = decimals(pair.maximum_stake);
  const payout = (minorUnits(stake, scale) * minorUnits(rate, RATE_DECIMALS)) / BASIS_POINTS;
  return decimalText(payout, scale);
}

/**
 * "0.8525" as "85.25 %".
 * @param {string} rate
 */
export function percent(rate) {
  const text = decimalText(minorUnits(rate, RATE_DECIMALS), RATE_DECIMALS - 2);
  return `${text.replace(/\.?0+$/, "")} %`;
}

/**
 * What an order comes to, in words; or why it would be refused, as far as that is seen from here.
 * @param {Pair} pair
 * @param {Price | undefined} price the newest that is fresh
 * @param {SpotAsked} asked
 */
export function spotWords(pair, price, asked) {
  const { base, quote, minimum, price_decimals: priceDecimals } = pair;
  const buys = asked.side === "buy";
  if (!price) return `${pair.pair} has no fresh price: orders are refused.`;
  if (!asked.amount) return `At ${priceWords(price.price, price.source)} ${quote}. The fee is ${percentOfFee(pair)} of the ${quote}.`;
  try {
    const cost = spotCost(pair, price.price, asked);
    const least = decimals(minimum);
    if (minorUnits(cost.base, least) < minorUnits(minimum, least)) return `That is ${grouped(cost.base)} ${base}: at least ${minimum} are traded.`;
    const now = minorUnits(price.price, priceDecimals);
    const limit = asked.limit ? minorUnits(asked.limit, priceDecimals) : now;
    if (buys ? now > limit : now < limit) return `The price is ${priceWords(price.price, price.source)}: the limit is not met.`;
    const verb = buys ? "Buys" : "Sells";
    const total = buys ? "in all" : "left for you";
    return `${verb} ${grouped(cost.base)} ${base} at ${priceWords(price.price, price.source)} for ${grouped(cost.quote)},`
      + ` fee ${grouped(cost.fee)}: ${grouped(cost.total)} ${quote} ${total}.`;
  } catch {
    return `An amount has digits and at most ${decimals(asked.by === "base" ? minimum : pair.maximum_stake)} decimals, a limit ${priceDecimals}.`;
  }
}

/**
 * What an option may bring, in words.
 * @param {Pair} pair
 * @param {Price | undefined} price the newest that is fresh
 * @param {{direction: string, rate: string, duration: number, stake: string}} asked
 */
export function optionWords(pair, price, { direction, rate, duration, stake }) {
  const { quote, maximum_stake: most } = pair;
  if (!price) return `${pair.pair} has no fresh price: options are refused.`;
  const from = `from ${priceWords(price.price, price.source)}`;
  if (!stake) return `${pair.pair} goes ${direction} within ${duration} s, ${from}. At most ${grouped(most)} ${quote} are taken.`;
  try {
    const payout = payoutOf(pair, rate, stake);
    const scale = decimals(most);
    if (minorUnits(stake, scale) > minorUnits(most, scale)) return `At most ${grouped(most)} ${quote} are taken.`;
    return `If ${pair.pair} is ${direction === "up" ? "above" : "below"} ${priceWords(price.price, price.source)} after ${duration} s,`
      + ` you win ${grouped(payout)} ${quote} besides the stake; else the stake is lost. The same price gives it back.`;
  } catch {
    return `A stake has digits and at most ${decimals(most)} decimals.`;
  }
}

/** @param {Pair} pair */
const percentOfFee = ({ fee_bps: points }) => percent(decimalText(BigInt(points), RATE_DECIMALS));

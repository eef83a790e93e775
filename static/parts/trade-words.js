/** Trades, prices and controls in words, as every list tells them. */

import { grouped } from "./amounts.js";

/** @typedef {import("../tallywire-client.js").Trade} Trade */
/** @typedef {Extract<Trade, {kind: "option"}>} Option */
/** @typedef {import("../tallywire-client.js").Price} Price */
/** @typedef {import("../tallywire-client.js").Control} Control */
/** @typedef {{text: string, tone: "" | "good" | "warn" | "bad"}} Ending */

/** What a simulated price is, wherever prices are shown. */
export const SIMULATED = "Simulated prices are made up by this server; they are of no market.";

/**
 * Base and quote of a pair.
 * @param {string} pair for example "BTC-USDT"
 * @returns {[string, string]}
 */
export function assetsOf(pair) {
  const [base = "", quote = ""] = pair.split("-");
  return [base, quote];
}

/**
 * A price, which says where it is from unless it is a real one.
 * @param {string} price
 * @param {Price["source"] | null} source null where it is said beside it
 */
export const priceWords = (price, source) => (
  source === "simulated" ? `${grouped(price)} (simulated)` : grouped(price)
);

/**
 * What was traded: "BTC-USDT up, 10.000000 USDT".
 * @param {Trade} trade
 */
export function tradeWords(trade) {
  const [base, quote] = assetsOf(trade.pair);
  if (trade.kind === "option") return `${trade.pair} ${trade.direction}, ${grouped(trade.stake)} ${quote}`;
  const verb = trade.side === "buy" ? "Bought" : "Sold";
  return `${verb} ${grouped(trade.base_amount)} ${base} for ${grouped(trade.quote_amount)} ${quote}`;
}

/**
 * Who decided an option that does not end by the price: what it was opened under, or a superadmin
 * who ended it by hand.
 * @param {Option} option
 */
export const forcedWords = ({ status, control, outcome }) => (
  control && (status === "open" || control === outcome)
    ? "decided beforehand by trading control" : "decided by a superadmin"
);

/**
 * How a trade stands: open, or how it ended.
 * @param {Trade} trade
 * @returns {Ending}
 */
export function endingOf(trade) {
  if (trade.kind === "spot") return { text: "filled", tone: "" };
  if (trade.status === "open") return { text: "open", tone: "" };
  const [, quote] = assetsOf(trade.pair);
  const forced = trade.forced ? `, ${forcedWords(trade)}` : "";
  switch (trade.outcome) {
    case "win": return { text: `won ${grouped(trade.payout)} ${quote}${forced}`, tone: "good" };
    case "lose": return { text: `lost ${grouped(trade.stake)} ${quote}${forced}`, tone: "bad" };
    case "tie": return { text: `tie${forced}, stake returned`, tone: "warn" };
    default: return { text: `refunded: ${trade.reason}`, tone: "warn" };
  }
}

/**
 * What else is known of a trade, in parts.
 * @param {Trade} trade
 * @returns {string[]}
 */
export function aboutTrade(trade) {
  const { book, price_source: source, client_order_id: order } = trade;
  const [, quote] = assetsOf(trade.pair);
  const parts = trade.kind === "spot"
    ? [`at ${priceWords(trade.price, source)}`, `fee ${grouped(trade.fee)} ${quote}`]
    : [
      trade.settle_price === null ? `opened at ${priceWords(trade.open_price, source)}`
        : `from ${priceWords(trade.open_price, source === trade.settle_source ? null : source)}`
          + ` to ${priceWords(trade.settle_price, trade.settle_source)}`,
      trade.status === "open" ? `a win pays ${grouped(trade.payout)} besides the stake` : "",
      trade.control && trade.status === "open" ? `a ${trade.control}, ${forcedWords(trade)}` : "",
    ];
  return [book, ...parts, order ? `order ${order}` : ""].filter(Boolean);
}

/**
 * What a control does to the options that are opened under it.
 * @param {Control} control
 */
export function controlWords({ mode, book }) {
  return mode === "normal" ? `options in ${book} end by the price` : `options in ${book} ${mode}`;
}

/**
 * How long an option still runs: "1:05 left".
 * @param {string} expiresAt
 * @param {number} now in milliseconds since 1970
 */
export function timeLeft(expiresAt, now) {
  const seconds = Math.ceil((Date.parse(expiresAt) - now) / 1000);
  if (seconds <= 0) return "being settled";
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} left`;
}

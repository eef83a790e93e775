/** What a trade would cost, before it is asked for: as the ledger reckons it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { optionWords, payoutOf, percent, spotCost, spotWords } from "../../static/balance-sync/costs.js";

/** @typedef {import("../../static/parts/prices.js").Pair} Pair */
/** @typedef {import("../../static/tallywire-client.js").Price} Price */

/** @type {Pair} */
const pair = {
  pair: "BTC-USDT", base: "BTC", quote: "USDT", price_decimals: 2, minimum: "0.00001000", fee_bps: 10,
  durations: [{ duration_s: 30, payout_rate: "0.8000" }], maximum_stake: "1000.000000", stale_after_s: 15,
};
/** @type {Price} */
const price = { pair: "BTC-USDT", price: "64225.41", source: "simulated", time: "2026-11-21T10:00:00.000000Z" };
/** @param {"buy" | "sell"} side @param {"base" | "quote"} by @param {string} amount */
const asked = (side, by, amount) => ({ side, by, amount, limit: "" });

test("quote is rounded up for buys and down for sells, the fee up, base down", () => {
  assert.deepEqual(spotCost(pair, price.price, asked("buy", "quote", "150")), {
    base: "0.00233552", quote: "149.999730", fee: "0.150000", total: "150.149730",
  });
  assert.deepEqual(spotCost(pair, price.price, asked("sell", "base", "0.00233552")), {
    base: "0.00233552", quote: "149.999729", fee: "0.150000", total: "149.849729",
  });
  const exact = spotCost(pair, "64000.00", asked("buy", "base", "1"));
  assert.deepEqual(exact, { base: "1.00000000", quote: "64000.000000", fee: "64.000000", total: "64064.000000" });
  assert.throws(() => spotCost(pair, price.price, asked("buy", "base", "0.000000001")), RangeError);
});

test("amounts that no float holds come out whole", () => {
  const coin = { ...pair, price_decimals: 0, minimum: "1", maximum_stake: "1" };
  const cost = spotCost(coin, "3", asked("buy", "base", "1000000000000000001"));
  assert.equal(cost.quote, "3000000000000000003");
  assert.equal(payoutOf(pair, "0.3333", "0.000010"), "0.000003");
  assert.deepEqual(["0.8000", "0.8525", "1.2000", "10.0000"].map(percent), ["80 %", "85.25 %", "120 %", "1000 %"]);
});

test("a spot order in words, or why it would be refused", () => {
  const buy = asked("buy", "quote", "150");
  assert.equal(spotWords(pair, price, buy),
    "Buys 0.00233552 BTC at 64,225.41 (simulated) for 149.999730, fee 0.150000: 150.149730 USDT in all.");
  assert.match(spotWords(pair, price, asked("sell", "base", "1")), /: 64,161\.184590 USDT left for you\.$/);
  assert.match(spotWords(pair, undefined, buy), /no fresh price: orders are refused/);
  assert.match(spotWords(pair, price, { ...buy, limit: "64225.40" }), /the limit is not met/);
  assert.match(spotWords(pair, price, { ...buy, limit: "64225.41" }), /^Buys/);
  assert.match(spotWords(pair, price, { ...asked("sell", "base", "1"), limit: "64225.42" }), /the limit is not met/);
  assert.match(spotWords(pair, price, asked("buy", "quote", "0.1")), /at least 0\.00001000 are traded/);
  assert.match(spotWords(pair, price, asked("buy", "quote", "much")), /at most 6 decimals/);
  assert.match(spotWords(pair, price, asked("buy", "quote", "")), /The fee is 0\.1 % of the USDT/);
});

test("an option in words, or why it would be refused", () => {
  const option = { direction: "down", rate: "0.8000", duration: 30, stake: "25" };
  assert.equal(optionWords(pair, price, option),
    "If BTC-USDT is below 64,225.41 (simulated) after 30 s, you win 20.000000 USDT besides the stake; else the stake is lost. The same price gives it back.");
  assert.match(optionWords(pair, undefined, option), /options are refused/);
  assert.match(optionWords(pair, price, { ...option, stake: "1000.000001" }), /^At most 1,000\.000000 USDT/);
  assert.match(optionWords(pair, price, { ...option, stake: "1.0000001" }), /at most 6 decimals/);
});

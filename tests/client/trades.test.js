/** The trades of one user: in words, in order, read and told meanwhile. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Requests } from "../../static/parts/requests.js";
import { TradeList, listed } from "../../static/parts/trade-list.js";
import { aboutTrade, endingOf, priceWords, timeLeft, tradeWords } from "../../static/parts/trade-words.js";

/** @typedef {import("../../static/parts/identity.js").Identity} Identity */
/** @typedef {import("../../static/parts/trade-list.js").TradesPage} TradesPage */
/** @typedef {import("../../static/tallywire-client.js").Trade} Trade */

/** @param {Record<string, unknown>} [fields] @returns {Trade} */
const option = (fields) => /** @type {Trade} */ (/** @type {unknown} */ ({
  id: "1", kind: "option", book: "demo", pair: "BTC-USDT", status: "open", direction: "up", stake: "1000.000000",
  payout: "850.000000", expires_at: "2026-11-21T10:01:00.000000Z", open_price: "65000.00", settle_price: null, settle_source: null,
  outcome: null, forced: false, price_source: "simulated", client_order_id: null, settled_at: null, reason: null,
  ...fields,
}));
/** @param {Record<string, unknown>} [fields] @returns {Trade} */
const order = (fields) => /** @type {Trade} */ (/** @type {unknown} */ ({
  id: "2", kind: "spot", book: "main", pair: "BTC-USDT", status: "filled", side: "buy", price: "65000.00",
  base_amount: "0.01000000", quote_amount: "650.000000", fee: "0.650000", price_source: "pushed",
  client_order_id: "mine-1", filled_at: "2026-11-21T10:00:00.000000Z", ...fields,
}));
/** @param {string} outcome @param {Record<string, unknown>} [fields] */
const ended = (outcome, fields) => option({
  status: "settled", outcome, settle_price: "65010.00", settle_source: "simulated", settled_at: "2026-11-21T10:01:01.000000Z", ...fields,
});

test("a trade in words, its price's source among them", () => {
  assert.equal(tradeWords(option()), "BTC-USDT up, 1,000.000000 USDT");
  assert.equal(tradeWords(order()), "Bought 0.01000000 BTC for 650.000000 USDT");
  assert.equal(tradeWords(order({ side: "sell" })), "Sold 0.01000000 BTC for 650.000000 USDT");
  assert.deepEqual(aboutTrade(option({ control: "win" })), [
    "demo", "opened at 65,000.00 (simulated)", "a win pays 850.000000 besides the stake",
    "a win, decided beforehand by trading control",
  ]);
  assert.deepEqual(aboutTrade(ended("lose")), ["demo", "from 65,000.00 to 65,010.00 (simulated)"]);
  assert.deepEqual(aboutTrade(order()), ["main", "at 65,000.00", "fee 0.650000 USDT", "order mine-1"]);
  assert.equal(priceWords("65000.00", "pushed"), "65,000.00");
});

test("how it stands", () => {
  const words = [
    order(), option(), ended("win"), ended("lose", { forced: true }), ended("tie"),
    ended("win", { forced: true, control: "win" }), ended("tie", { forced: true, control: "win" }),
    option({ status: "refunded", reason: "no price" }),
  ].map((trade) => Object.values(endingOf(trade)));
  assert.deepEqual(words, [
    ["filled", ""], ["open", ""], ["won 850.000000 USDT", "good"], ["lost 1,000.000000 USDT, decided by a superadmin", "bad"],
    ["tie, stake returned", "warn"], ["won 850.000000 USDT, decided beforehand by trading control", "good"],
    ["tie, decided by a superadmin, stake returned", "warn"], ["refunded: no price", "warn"],
  ]);
  const now = Date.parse("2026-11-21T10:00:00.000000Z");
  assert.equal(timeLeft("2026-11-21T10:01:04.100000Z", now), "1:05 left");
  assert.equal(timeLeft("2026-11-21T10:00:00.000000Z", now), "being settled");
});

test("open options come first, the next to expire on top; then the newest, twenty of them", () => {
  const old = Array.from({ length: 25 }, (_, n) => order({
    id: `old-${n}`, filled_at: `2026-11-20T10:00:${String(n).padStart(2, "0")}.000000Z`,
  }));
  const found = listed([
    ...old, ended("win", { id: "won" }), option({ id: "late", expires_at: "2026-11-21T10:05:00.000000Z" }),
    option({ id: "soon" }),
  ]);
  assert.deepEqual(found.slice(0, 4).map(({ id }) => id), ["soon", "late", "won", "old-24"]);
  assert.equal(found.length, 2 + 20);
});

test("what is told while they are read is newer, and what has ended never opens again", async () => {
  /** @type {string[]} */
  const asked = [];
  /** @type {((list: object) => void)[]} */
  const answers = [];
  const requests = new Requests(/** @type {Identity} */ ({}));
  requests.get = (path) => new Promise((answer) => { asked.push(path); answers.push(answer); });
  const trades = new TradeList(/** @type {TradesPage} */ ({}));
  const reading = trades.read(requests, "Ann & Co");
  assert.deepEqual(asked, [
    "/v1/options?user_id=Ann+%26+Co&limit=20", "/v1/spot/orders?user_id=Ann+%26+Co&limit=20",
    "/v1/options?user_id=Ann+%26+Co&status=open&limit=1000",
  ]);
  trades.changed(ended("win"));
  trades.changed(order({ id: "3" }));
  const [newest, orders, open] = /** @type {[any, any, any]} */ (answers);
  newest({ items: [option()], next_cursor: null });
  orders({ items: [order()], next_cursor: "c2" });
  open({ items: [option()], next_cursor: null });
  assert.equal(await reading, true);
  trades.changed(option()); // read as it was, told late
  assert.deepEqual(trades.trades.map(({ id, status }) => `${id} ${status}`), ["1 settled", "3 filled", "2 filled"]);
  const another = trades.read(requests, "bob");
  trades.clear();
  for (const answer of answers) answer({ items: [], next_cursor: null });
  assert.equal(await another, false);
  assert.equal(trades.trades.length, 0);
});

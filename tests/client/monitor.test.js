/** What the monitor page computes, apart from the page. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { settingsToSend } from "../../static/admin/account-settings.js";
import { besidesWords, entriesOf, filterInWords, filterOf, hasWords, isAmount, passes, spelt, wordsSought } from "../../static/admin/entries.js";
import { requestOf } from "../../static/admin/operations.js";
import { ageWords, rulesOf } from "../../static/admin/prices.js";
import { isOfAll, outcomeWords, scopeWords, valueWords } from "../../static/admin/proof.js";
import { Rates } from "../../static/admin/rates.js";
import { checksInWords, webhookWords } from "../../static/admin/service.js";
import { Totals, differences } from "../../static/admin/totals.js";
import { userAddress, viewOf } from "../../static/admin/views.js";
import { unreadWords } from "../../static/admin/wording.js";
import { claimsOf } from "../../static/parts/identity.js";
import { may } from "../../static/parts/roles.js";
import { isIncome } from "../../static/parts/wording.js";

/** @typedef {import("../../static/tallywire-client.js").Change} Change */
/** @typedef {import("../../static/tallywire-client.js").AdminUpdate} AdminUpdate */

/** @param {Partial<Change>} [given] @returns {Change} */
function change(given) {
  return /** @type {Change} */ ({
    account: "main/alice/USDT", book: "main", asset: "USDT", scale: 6, side: "credit",
    amount: "-12.500000", held_change: "0.000000", balance: "87.500000", held: "0.000000",
    available: "87.500000", floor: "0.000000", suspend_below: null, alert_below: null,
    status: "active", seq: 2, digest: "ab12", ...given,
  });
}

/** @param {Partial<AdminUpdate>} [given] @returns {AdminUpdate} */
function update(given) {
  return /** @type {AdminUpdate} */ ({
    position: 7, transaction_id: "0191-abc", user_id: "alice", change_type: "withdrawal",
    description: "Rent of May", reference: "order-7", metadata: { category: "rent" },
    internal: { note: "by phone" }, reverses: null, actor: "root", actor_role: "admin",
    idempotency_key: "k-1", effective_at: "2026-05-01T10:00:00.000000Z",
    timestamp: "2026-05-01T10:00:00.000000Z", changes: [change()], ...given,
  });
}

test("an update has a row for each change, and one where nothing changed", () => {
  const both = update({ changes: [change(), change({ asset: "BTC" })] });
  assert.deepEqual(entriesOf(both).map((entry) => entry.change?.asset), ["USDT", "BTC"]);
  assert.equal(entriesOf(update({ changes: [] }))[0]?.change, null);
});

test("a filter lets pass what the server's lets pass", () => {
  const [entry] = entriesOf(update());
  assert(entry);
  for (const filter of [
    {}, { user_id: "alice" }, { book: "main", asset: "USDT" }, { change_type: "withdrawal" },
    { min_amount: "12.5" }, { min_amount: "-13" }, { min_amount: "12.500000000000" },
  ]) assert(passes(entry, filter), JSON.stringify(filter));
  for (const filter of [
    { user_id: "bob" }, { book: "demo" }, { asset: "BTC" }, { change_type: "deposit" },
    { min_amount: "12.500000000001" }, { user_id: "alice", asset: "BTC" },
  ]) assert(!passes(entry, filter), JSON.stringify(filter));
  const [empty] = entriesOf(update({ changes: [] }));
  assert(empty);
  assert(passes(empty, { user_id: "alice" }));
  assert(!passes(empty, { asset: "USDT" }));
});

test("an option that loses, and a control, are filtered and found by what they are about", () => {
  const lost = { kind: "option", id: "7", book: "demo", pair: "BTC-USDT", direction: "up", status: "settled",
    stake: "10.000000", outcome: "lose", forced: true, open_price: "65000.00", settle_price: "64999.00",
    price_source: "simulated" };
  const [loss] = entriesOf(update({ changes: [], trade: /** @type {any} */ (lost) }));
  const [control] = entriesOf(update({ changes: [], control: { mode: "win", book: "demo" } }));
  assert(loss && control);
  assert(passes(loss, { book: "demo", asset: "USDT", min_amount: "0" }));
  assert(passes(control, { book: "demo" }));
  for (const [entry, filter] of /** @type {const} */ ([
    [loss, { book: "main" }], [loss, { asset: "BTC" }], [loss, { min_amount: "1" }], [control, { asset: "USDT" }],
  ])) assert(!passes(entry, filter));
  assert.equal(besidesWords(loss.update), "BTC-USDT up, 10.000000 USDT, lost 10.000000 USDT, decided by a superadmin");
  assert(hasWords(loss, wordsSought("btc-usdt superadmin simulated 64,999")));
  assert(hasWords(control, wordsSought("demo win")));
  assert.equal(besidesWords(update()), "");
});

test("the rules of a pair in words", () => {
  const pair = { base: "BTC", quote: "USDT", fee_bps: 15, minimum: "0.00010000", maximum_stake: "1000.000000",
    exposure_limit: "100000.500000", durations: [{ duration_s: 30, payout_rate: "0.8550" }, { duration_s: 60, payout_rate: "1.0000" }] };
  assert.deepEqual(rulesOf(/** @type {any} */ (pair)), {
    fee: "0.15 %", least: "0.0001 BTC", options: "30 s 85.5 %, 60 s 100 %", stake: "1,000 USDT", exposure: "100,000.5 USDT",
  });
  const plain = { ...pair, fee_bps: 0, quote: "COIN", maximum_stake: "1000", exposure_limit: "0", durations: [] };
  assert.deepEqual(rulesOf(/** @type {any} */ (plain)), {
    fee: "0 %", least: "0.0001 BTC", options: "none", stake: "1,000 COIN", exposure: "0 COIN",
  });
});

test("how old a price is, and when that refuses trades", () => {
  const pair = /** @type {any} */ ({ pair: "BTC-USDT", stale_after_s: 15 });
  const now = Date.parse("2026-11-21T10:00:00.000000Z");
  const aged = (/** @type {number} */ seconds) => ageWords(pair, {
    pair: "BTC-USDT", price: "1.00", source: "pushed", time: new Date(now - seconds * 1000).toISOString(),
  }, now);
  assert.deepEqual(aged(15), { text: "15 s", tone: "good" });
  assert.deepEqual(aged(-2), { text: "0 s", tone: "good" }); // the clocks differ
  assert.deepEqual(aged(600), { text: "10 min, stale after 15 s: trades are refused", tone: "bad" });
  assert.equal(ageWords(pair, undefined, now).text, "none yet: trades are refused");
});

test("conditions may be typed as they are read", () => {
  assert.deepEqual(
    filterOf({ user_id: " Ann ", book: "", asset: "btc", change_type: "Hold placed", min_amount: "5", search: "x" }),
    { user_id: "Ann", asset: "BTC", change_type: "hold_placed", min_amount: "5" },
  );
  assert.equal(spelt("type", "Hold voided"), "hold_voided");
  assert.equal(spelt("reference", "Order 7"), "Order 7");
});

test("a search finds all of its words anywhere, in whatever case", () => {
  const [entry] = entriesOf(update());
  assert(entry);
  for (const found of ["rent", "MAY root", "order-7 k-1", "phone", "ab12", "87.5", "main/alice"]) {
    assert(hasWords(entry, wordsSought(found)), found);
  }
  assert(!hasWords(entry, wordsSought("rent june")));
  assert(hasWords(entry, wordsSought("  ")));
});

test("a filter is told in words, and a bad amount is known", () => {
  const words = filterInWords({ user_id: "alice", min_amount: "100" });
  assert.equal(words, "user alice, amount at least 100");
  assert.deepEqual(["1", "0.25", "-3", "", "1e3", "1,5"].map(isAmount), [true, true, false, false, false, false]);
});

test("rates count by the server's clock, however the clocks differ", () => {
  const rates = new Rates(4);
  const ahead = 3_600_000; // this machine is an hour ahead
  for (const committed of [10_100, 10_900, 11_500, 12_200]) {
    rates.add(committed, committed + ahead + 20);
  }
  assert.deepEqual(rates.upTo(13_020 + ahead), [0, 2, 1, 1]);
  rates.add(11_600, 13_900 + ahead); // sent again after a reconnection
  assert.deepEqual(rates.upTo(13_920 + ahead), [0, 2, 2, 1]);
  rates.clear();
  assert.deepEqual(rates.upTo(13_000), [0, 0, 0, 0]);
});

test("totals are exact beyond the exactness of numbers, and begin where the first change does", () => {
  const totals = new Totals(2);
  totals.replace([{ book: "main", asset: "USDT", balance: "9007199254740993.000001", held: "0.000000" }], 5);
  totals.add(update({ changes: [change({ amount: "0.000001", held_change: "2.000000" })] }));
  totals.add(update({ changes: [change({ book: "demo", asset: "BTC", scale: 8, amount: "0.00000001", held_change: "0.00000000" })] }));
  assert.deepEqual(totals.rows.map(({ book, asset, balance, held }) => [book, asset, balance, held]), [
    ["demo", "BTC", 1n, 0n], ["main", "USDT", 9_007_199_254_740_993_000_002n, 2_000_000n],
  ]);
  for (let index = 0; index < 3; index += 1) totals.sample();
  assert.equal(totals.rows[0]?.samples.length, 2);
});

test("totals are held against the trial balance, each book in its own sense", () => {
  const totals = [
    { book: "main", asset: "USDT", balance: "10.00", held: "0.00" },
    { book: "dues", asset: "USD", balance: "7.50", held: "0.00" },
  ];
  const rows = [
    { book: "main", asset: "USDT", owner_kind: "user", balance: "10.00" },
    { book: "main", asset: "USDT", owner_kind: "@world", balance: "-10.00" },
    { book: "dues", asset: "USD", owner_kind: "user", balance: "-7.50" },
  ];
  const sums = { "main/USDT": "0.00", "dues/USD": "0.00" };
  const debit = new Set(["dues"]);
  assert.deepEqual(differences(totals, { rows, sums }, debit), []);
  assert.deepEqual(differences(totals, { rows, sums }, new Set()).map(({ name }) => name), ["dues/USD"]);
  const off = [{ ...rows[0], balance: "10.01" }, ...rows.slice(1)];
  const [found] = differences(totals, { rows: /** @type {any} */ (off), sums }, debit);
  assert.equal(found?.words, "main/USDT is 10.00 here, 10.01 in the journal");
  const missing = differences([], { rows: [], sums: { "main/USDT": "0.01" } }, debit);
  assert.equal(missing[0]?.name, "main/USDT");
});

test("a role may what those before it may", () => {
  assert.deepEqual(["auditor", "admin", "superadmin"].map((needed) => may("admin", /** @type {any} */ (needed))), [true, true, false]);
  const token = (/** @type {object} */ claims) => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.x`;
  assert.deepEqual(claimsOf(token({ sub: "zoë", role: "auditor" })), { user: "zoë", role: "auditor" });
  assert(!may(/** @type {any} */ ("king"), "auditor"));
  assert.equal(claimsOf("nonsense"), null);
});

test("addresses name views and users of any name", () => {
  for (const user of ["alice", "a/b c&d=1#%", "é"]) {
    assert.deepEqual(viewOf(userAddress(user)), { view: "user", user });
  }
  assert.deepEqual(["", "#live", "#proof", "#nothing"].map((hash) => viewOf(hash).view), ["live", "live", "proof", "live"]);
});

test("operations send what was filled in, in the form of their calls", () => {
  const values = {
    amount: " 5 ", asset: "USDT", book: "", to_user: "bob", service_type: "sms", expires_in_s: "60",
    description: "x", reference: "",
  };
  assert.deepEqual(requestOf("transfer", "alice", values), {
    path: "/v1/transfers", body: { from_user: "alice", to_user: "bob", amount: "5", asset: "USDT", description: "x" },
  });
  assert.deepEqual(requestOf("charge", "alice", values).body.service_type, "sms");
  assert.equal(requestOf("hold", "alice", values).body.expires_in_s, 60);
  assert.equal(requestOf("hold", "alice", { ...values, expires_in_s: "soon" }).body.expires_in_s, "soon");
  const set = requestOf("new_balance", "alice", values);
  assert.equal(set.path, "/v1/adjustments");
  assert.deepEqual([set.body.new_balance, "amount" in set.body], ["5", false]);
});

test("settings name only what differs; empty is none", () => {
  const account = /** @type {any} */ ({ floor: "0.00", suspend_below: null, alert_below: "5.00" });
  const shown = { floor: "0.00", suspend_below: "", alert_below: "", status: "" };
  assert.deepEqual(settingsToSend(account, shown), { alert_below: null });
  assert.deepEqual(settingsToSend(account, { ...shown, alert_below: "5.00", status: "frozen" }), { status: "frozen" });
  assert.deepEqual(settingsToSend(account, { alert_below: "9", status: "" }), { alert_below: "9" });
});

test("only a verification of everything says that nothing is wrong anywhere", () => {
  const all = { kind: "verify", status: /** @type {const} */ ("done"), user_id: null, book: null };
  assert.equal(isOfAll(all), true);
  for (const part of [{ user_id: "alice" }, { book: "main" }, { kind: "rebuild" }, { status: /** @type {const} */ ("running") }]) {
    assert.equal(isOfAll({ ...all, ...part }), false);
  }
});

test("money that comes in is income; a hold and money that goes out are none", () => {
  assert.equal(isIncome(change({ amount: "0.000001" })), true);
  assert.equal(isIncome(change({ amount: "-64.500000" })), false);
  assert.equal(isIncome(change({ amount: "0.000000", held_change: "-64.500000" })), false);
});

test("why something is not read ends with one full stop", () => {
  assert.equal(unreadWords(new Error("the token has expired")), "It could not be read: the token has expired.");
  assert.equal(unreadWords(new Error("Nothing was changed.")), "It could not be read: Nothing was changed.");
});

test("a digest is told by its beginning, an amount in full", () => {
  assert.equal(valueWords("9c7ffeab70bee806ce3ce3ef4cb7430ed944111ea2b0db958a2e38fddf4da29c"), "9c7ffeab70bee806…");
  assert.equal(valueWords("-12345678901234567890.123456"), "-12345678901234567890.123456");
  assert.equal(valueWords(null), "nothing");
});

test("verifications and checks are told in words", () => {
  const report = { checked: 9, synced: 0, fixed: 1, errors: 0 };
  const done = /** @type {any} */ ({ status: "done", report, checked: 9, total: 9 });
  assert.equal(outcomeWords(done), "1 stored row put right; all is right");
  assert.equal(outcomeWords({ ...done, report: { ...report, fixed: 0, errors: 2 } }), "2 discrepancies remain");
  assert.equal(outcomeWords({ ...done, report: { ...report, fixed: 0, errors: 1 } }), "1 discrepancy remains");
  assert.equal(outcomeWords({ ...done, status: "running", checked: 1200, total: 5000 }), "running: 1,200 of 5,000");
  assert.equal(outcomeWords({ ...done, status: "failed", report: null, error: null }), "failed: its process ended");
  assert.equal(scopeWords({ kind: "verify", user_id: "alice", book: "main", fix: true }), "user alice, book main, with fix");
  const checks = checksInWords({
    status: "degraded",
    checks: { database: "up", bus: "down", feed: { position: 9, behind: 3 }, queue: { changes: 0 } },
  });
  assert.deepEqual(checks.map(({ name, tone }) => [name, tone]), [
    ["Database", "good"], ["Bus", "warn"], ["Feed lag", "good"], ["Queue", "good"],
  ]);
  const webhook = /** @type {any} */ ({ status: "active", attempts: 3, lag: 5 });
  assert.equal(webhookWords(webhook).text, "failing, 3 attempts in a row");
});

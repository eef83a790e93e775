/** What messages do to what the client shows: in order, each once, and nothing passed over. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Journal } from "./journal.js";
import { Scripted, settled, takeTime } from "./scripted.js";

const MAIN = "main/alice/USDT";
const DEMO = "demo/alice/USDT";

/** @type {Scripted} */
let scripted;
/** @type {Journal} */
let journal;

beforeEach(() => {
  takeTime();
  scripted = new Scripted();
  journal = new Journal();
  journal.change({ amount: 10 });
  journal.change({ accounts: [DEMO], amount: 20 });
});

afterEach(() => {
  scripted.client.close();
  mock.timers.reset();
});

const proofs = () => Object.fromEntries(
  [...scripted.client.accounts].map(([name, { proof }]) => [name, proof.state]),
);
const positions = () => scripted.told("update").map(({ update }) => update.position);
const mismatches = () => scripted.told("mismatch").map(({ account, words }) => [account, words]);

/** What was told leads to a fresh snapshot, whose accounts are then shown. @param {RegExp} words */
async function beginsAfresh(words) {
  const [[account, said]] = mismatches();
  assert.equal(account, null);
  assert.match(said, words);
  assert.equal(scripted.state, "waiting");
  assert.equal(scripted.client.cursor, null);
  const next = await scripted.again();
  assert.equal(next.hello?.resume, undefined);
  await next.tell(journal.init());
  assert.deepEqual(scripted.shown, journal.shown());
  assert.equal(scripted.state, "connected");
}

test("a snapshot is taken as it comes, and what follows is verified", async () => {
  const peer = await scripted.connected(journal.init());
  assert.deepEqual(proofs(), { [MAIN]: "snapshot", [DEMO]: "snapshot" });
  assert.deepEqual(scripted.told("balances"), [{ reason: "connect", position: 2, control: null }]);
  await peer.tell(journal.next({ held: 2 }), journal.next({ amount: -3 }));
  assert.deepEqual(proofs(), { [MAIN]: "verified", [DEMO]: "snapshot" });
  assert.equal(scripted.client.accounts.get(MAIN)?.proof.entries, 2);
  assert.deepEqual(scripted.shown, journal.shown());
  assert.deepEqual(scripted.client.cursor, { epoch: "epoch-1", position: 4 });
});

test("an account's first entry begins its chain", async () => {
  const peer = await scripted.connected(journal.init());
  await peer.tell(journal.next({ accounts: ["main/alice/BTC", MAIN] }));
  assert.deepEqual(proofs(), { [MAIN]: "verified", [DEMO]: "snapshot", "main/alice/BTC": "verified" });
});

test("listeners find everything in place, and the cursor comes last", async () => {
  const peer = await scripted.connected(journal.init());
  /** @type {any[]} */
  const seen = [];
  scripted.client.addEventListener("update", ({ detail }) => {
    seen.push([scripted.client.cursor?.position, scripted.shown[MAIN], detail.update.position]);
  });
  scripted.events = [];
  await peer.tell(journal.next());
  assert.deepEqual(seen, [[3, "11.000000", 3]]);
  assert.deepEqual(scripted.events.map(([name]) => name), ["update", "cursor"]);
});

test("messages that come at once are taken in order", async () => {
  const peer = await scripted.connected(journal.init());
  const messages = Array.from({ length: 300 }, () => journal.next());
  peer.pour(...messages, journal.heartbeat());
  assert.equal(scripted.client.cursor?.position, 2);
  await peer.tell(journal.heartbeat());
  assert.deepEqual(positions(), messages.map(({ position }) => position));
  assert.deepEqual(mismatches(), []);
  assert.equal(scripted.client.accounts.get(MAIN)?.proof.entries, 300);
});

test("a close that comes behind messages waits for them", async () => {
  const peer = await scripted.connected(journal.init());
  peer.pour(journal.next(), journal.next());
  await peer.end(1012);
  while (scripted.state !== "waiting") await settled();
  assert.equal((await scripted.again()).hello?.resume?.position, 4);
});

test("a screen that cannot keep up lets go, and resumes", async () => {
  const peer = await scripted.connected(journal.init());
  peer.pour(journal.next());
  for (let each = 0; each < 20_001; each += 1) peer.pour(journal.heartbeat());
  assert.deepEqual(
    [scripted.state, scripted.client.status.words], ["waiting", "this connection was too slow"],
  );
  assert.ok(peer.closed);
  const next = await scripted.again();
  assert.equal(next.hello?.resume?.position, 2);
  await next.tell(
    journal.resumed(2), Journal.message(journal.updates[2], { replayed: true }), journal.next(),
  );
  assert.deepEqual(positions(), [3, 4]);
  assert.deepEqual(mismatches(), []);
});

test("what is interrupted while its digest is computed comes again", async () => {
  const peer = await scripted.connected(journal.init());
  peer.pour(journal.next());
  scripted.client.interrupt();
  await settled();
  assert.deepEqual([positions(), scripted.client.cursor?.position], [[], 2]);
  const next = await scripted.again();
  await next.tell(journal.resumed(2), Journal.message(journal.updates[2], { replayed: true }));
  assert.deepEqual(positions(), [3]);
  assert.deepEqual(scripted.shown, journal.shown());
});

test("duplicates are dropped and told", async () => {
  const peer = await scripted.connected(journal.init());
  const message = journal.next();
  await peer.tell(message, message, Journal.message(journal.updates[0]));
  assert.deepEqual(positions(), [3]);
  assert.deepEqual(scripted.told("duplicate"), [{ position: 3 }, { position: 1 }]);
  assert.deepEqual(mismatches(), []);
});

/** @type {[string, (change: any) => void, RegExp][]} */
const ALTERED = [
  ["digest", (change) => { change.digest = "0".repeat(64); }, /^entry 2: the digest does not fit$/],
  ["seq", (change) => { change.seq = 3; }, /^entry 3 came where 2 was due$/],
  ["amount", (change) => { change.amount = "2.000000"; }, /balance does not follow/],
  ["balance", (change) => { change.balance = "12.000000"; }, /balance does not follow/],
  ["balance before", (change) => { change.balance_before = "1.000000"; }, /balance does not follow/],
  ["held", (change) => { change.held = "1.000000"; }, /held amount does not follow/],
  ["available", (change) => { change.available = "99.000000"; }, /available is not/],
  ["amounts that agree", (change) => {
    Object.assign(change, { amount: "2.000000", balance: "12.000000", available: "12.000000" });
  }, /the digest does not fit/],
  ["no amount", (change) => { change.amount = 1; }, /cannot be read/],
  ["scale", (change) => { delete change.scale; }, /cannot be read/],
];
for (const [what, alter, words] of ALTERED) {
  test(`an altered entry breaks the account: ${what}`, async () => {
    const peer = await scripted.connected(journal.init());
    const message = journal.next();
    alter(message.changes[0]);
    await peer.tell(message, journal.next(), journal.next({ accounts: [DEMO] }));
    const told = mismatches();
    assert.equal(told.length, 1);
    assert.equal(told[0][0], MAIN);
    assert.match(told[0][1], words);
    assert.deepEqual(proofs(), { [MAIN]: "broken", [DEMO]: "verified" });
    assert.equal(scripted.client.cursor?.position, 5);

    scripted.client.resync();
    await settled();
    await scripted.peer.open().tell(journal.init());
    assert.deepEqual(proofs(), { [MAIN]: "snapshot", [DEMO]: "snapshot" });
    assert.deepEqual(mismatches(), []);
  });
}

test("an account that is broken is not resumed", async () => {
  const peer = await scripted.connected(journal.init());
  journal.next();
  await peer.tell(journal.next());
  assert.deepEqual(mismatches(), [[MAIN, "entry 3 came where 2 was due"]]);
  await peer.end(1006);
  const next = await scripted.again();
  assert.equal(next.hello?.resume, undefined);
  await next.tell(journal.init());
  assert.equal(proofs()[MAIN], "snapshot");
});

test("exactly as many replayed messages come as were announced", async () => {
  await (await scripted.connected(journal.init())).end(1006);
  const next = await scripted.again();
  const [third, fourth] = [journal.change(), journal.change()];
  const replayed = { replayed: true };
  await next.tell(
    journal.resumed(2), Journal.message(third, replayed), Journal.message(third, replayed),
    Journal.message(fourth, replayed), journal.next(),
  );
  assert.deepEqual(scripted.told("resumed").map(({ count }) => count), [2]);
  assert.deepEqual(scripted.told("update").map((each) => each.replayed), [true, true, false]);
  assert.deepEqual(scripted.told("duplicate"), [{ position: 3 }]);
  assert.deepEqual(mismatches(), []);
});

/** @type {[string, () => object[]][]} */
const LOST_REPLAYS = [
  ["the next one is live", () => [journal.next({ accounts: [DEMO] })]],
  ["a heartbeat comes", () => [journal.heartbeat()]],
  ["the last one is the end", () => [Journal.message(journal.change(), { replayed: true })]],
];
for (const [how, rest] of LOST_REPLAYS) {
  test(`a replayed message that is lost is noticed: ${how}`, async () => {
    await (await scripted.connected(journal.init())).end(1006);
    const next = await scripted.again();
    const third = journal.change();
    journal.change();
    const ending = how.startsWith("the last") ? rest() : null;
    await next.tell(
      journal.resumed(2), Journal.message(third, { replayed: true }), ...(ending ?? rest()),
    );
    await beginsAfresh(/^1 replayed messages did not come$/);
  });
}

test("a replayed message that comes twice does not stand for one that is lost", async () => {
  await (await scripted.connected(journal.init())).end(1006);
  const next = await scripted.again();
  const third = Journal.message(journal.change(), { replayed: true });
  journal.change();
  await next.tell(journal.resumed(2), third, third, journal.heartbeat());
  await beginsAfresh(/^1 replayed messages did not come$/);
});

test("a stream that goes on elsewhere than it was asked to is not followed", async () => {
  await (await scripted.connected(journal.init())).end(1006);
  await (await scripted.again()).tell({ ...journal.resumed(2), from: 1 });
  await beginsAfresh(/another position/);
});

test("a reset takes everything anew, and holds it against what was known", async () => {
  await (await scripted.connected(journal.init())).end(1006);
  journal.change();
  await (await scripted.again()).tell(journal.init({ reason: "reset" }));
  assert.deepEqual(scripted.shown, journal.shown());
  assert.deepEqual(mismatches(), []);

  const rewritten = new Journal();
  rewritten.change({ amount: 7 });
  rewritten.change({ accounts: [DEMO], amount: 20 });
  await scripted.peer.tell(rewritten.init({ reason: "reset" }));
  assert.deepEqual(mismatches(), [[MAIN, "entry 1 is not the one known"]]);
  assert.equal(proofs()[DEMO], "snapshot");

  const other = new Journal({ epoch: "epoch-2" });
  other.change({ amount: 5 });
  await scripted.peer.tell(other.init({ reason: "reset" }), other.next());
  assert.deepEqual(mismatches(), []);
  assert.deepEqual(scripted.shown, { [MAIN]: "6.000000" });
  assert.deepEqual(scripted.client.cursor, { epoch: "epoch-2", position: 2 });
});

test("a snapshot that says something else of the same entry, or misses an account, does not fit", async () => {
  const peer = await scripted.connected(journal.init());
  const init = journal.init({ reason: "reset" });
  init.balances[0].balance = init.balances[0].available = "9999.000000";
  init.balances.pop();
  await peer.tell(init);
  assert.deepEqual(mismatches(), [
    [MAIN, "entry 1 is not the one known"], [DEMO, "the account is gone"],
  ]);
  assert.deepEqual(proofs(), { [MAIN]: "broken", [DEMO]: "broken" });
  await peer.tell(journal.init({ reason: "reset", user_id: "bob" }));
  assert.deepEqual(mismatches(), []);
});

test("what is verified stays so where a snapshot says the same", async () => {
  const peer = await scripted.connected(journal.init());
  await peer.tell(journal.next(), journal.init({ reason: "reset" }));
  assert.deepEqual(proofs(), { [MAIN]: "verified", [DEMO]: "snapshot" });
});

test("a message of another epoch begins afresh", async () => {
  const peer = await scripted.connected(journal.init());
  await peer.tell({ ...journal.next(), epoch: "epoch-9" });
  await beginsAfresh(/another epoch/);
});

test("an update of another user begins afresh", async () => {
  const peer = await scripted.connected(journal.init());
  await peer.tell(journal.next({ user_id: "bob", accounts: ["main/bob/USDT"] }));
  await beginsAfresh(/another user/);
});

test("an init in parts counts once it is whole", async () => {
  const peer = await scripted.connecting();
  const [first, second] = journal.init().balances;
  await peer.tell(journal.init({ parts: 2, balances: [first] }));
  assert.deepEqual([scripted.state, scripted.shown], ["connecting", {}]);
  await peer.tell(journal.init({ part: 2, parts: 2, balances: [second] }));
  assert.deepEqual([scripted.state, scripted.shown], ["connected", journal.shown()]);
  assert.equal(scripted.told("balances").length, 1);

  await peer.tell(journal.init({ reason: "reset", parts: 3, balances: [first] }));
  await peer.tell(journal.init({ reason: "reset", part: 3, parts: 3, balances: [] }));
  await beginsAfresh(/a part of the balances/);
});

test("a connection that ends within an init is not resumed", async () => {
  const peer = await scripted.connected(journal.init());
  await peer.tell(journal.init({ reason: "reset", parts: 2 }));
  await peer.end(1006);
  assert.equal((await scripted.again()).hello?.resume, undefined);
});

test("a repair comes in place of an update, also when it is replayed", async () => {
  const peer = await scripted.connected(journal.init());
  journal.change({ amount: 0, type: "repair" });
  await peer.tell(journal.init({ reason: "repair" }), journal.next());
  assert.deepEqual(mismatches(), []);
  assert.deepEqual(scripted.told("balances").map(({ reason }) => reason), ["connect", "repair"]);
  await peer.end(1006);
  journal.change({ amount: 0, type: "repair" });
  await (await scripted.again()).tell(
    journal.resumed(4), journal.init({ reason: "repair", replayed: true }), journal.next(),
  );
  assert.deepEqual(mismatches(), []);
  assert.deepEqual(scripted.shown, journal.shown());
});

for (const text of [
  "not JSON", "null", '{"type":"balance_update"}', '{"type":"heartbeat","epoch":"epoch-1"}',
  '{"type":"balance_update","epoch":"epoch-1","position":"3","changes":[]}',
  '{"type":"balance_update","epoch":"epoch-1","position":3,"user_id":"alice","changes":[null]}',
  '{"type":"balance_update","epoch":"epoch-1","position":3,"user_id":"alice"}',
  '{"type":"user_balance_init","epoch":"epoch-1","position":3,"part":1,"parts":1}',
]) {
  test(`a message that cannot be used is not passed over: ${text}`, async () => {
    const peer = await scripted.connected(journal.init());
    await peer.tell(text);
    await beginsAfresh(/./);
  });
}

test("a balance that cannot be shown is not taken", async () => {
  for (const wrong of [{ seq: "1" }, { digest: "" }, { balance: 5 }, { account: null }]) {
    const peer = await scripted.connecting();
    const init = journal.init();
    Object.assign(init.balances[0], wrong);
    await peer.tell(init);
    assert.equal(scripted.state, "waiting");
    assert.equal(mismatches().length, 1);
    assert.deepEqual(scripted.shown, {});
    scripted.client.close();
  }
});

test("a message before the balances is not taken", async () => {
  await (await scripted.connecting()).tell(journal.heartbeat());
  await beginsAfresh(/before the balances/);
});

test("what a later server says besides is no matter", async () => {
  const peer = await scripted.connected({ ...journal.init(), weather: "fine" });
  await peer.tell(
    { type: "fireworks", position: "no" }, { type: "refreshed", expires_at: "later" },
    { ...journal.next(), trade: { id: "1" } }, { ...journal.heartbeat(), more: {} },
  );
  const [{ update }] = scripted.told("update");
  assert.equal(update.trade.id, "1");
  assert.deepEqual(mismatches(), []);
  assert.equal(scripted.state, "connected");
});

test("the server's error is told and changes nothing", async () => {
  const peer = await scripted.connected(journal.init());
  await peer.tell({ type: "error", code: "invalid_request", message: "unknown type", req_id: 1 });
  assert.equal(scripted.told("refused")[0].code, "invalid_request");
  assert.equal(scripted.state, "connected");
});

test("the cursor never goes back", async () => {
  const peer = await scripted.connected(journal.init());
  await peer.tell(journal.next(), journal.heartbeat(1));
  assert.equal(scripted.client.cursor?.position, 3);
  assert.equal(scripted.state, "connected");
});

test("a trading control counts like an update", async () => {
  const peer = await scripted.connected(journal.init());
  const control = {
    type: "trading_control_update", epoch: "epoch-1", position: 3, user_id: "alice", book: "demo",
    mode: "win", timestamp: "",
  };
  await peer.tell(control, control);
  assert.equal(scripted.told("control")[0].control.mode, "win");
  assert.deepEqual(scripted.told("duplicate"), [{ position: 3 }]);
  assert.equal(scripted.client.cursor?.position, 3);
});

/** A client that also follows the monitor, at position 2. @param {"every" | "latest"} [mode] */
async function monitoring(mode) {
  scripted = new Scripted({ streams: ["balances", "monitor"], filter: { book: "main" }, mode });
  const peer = await scripted.connecting();
  assert.deepEqual(peer.hello?.filter, { book: "main" });
  await peer.tell(journal.init());
  assert.deepEqual([scripted.state, scripted.client.cursor], ["connecting", null]);
  await peer.tell(journal.monitorInit());
  assert.equal(scripted.state, "connected");
  return peer;
}

test("beside a monitor, its messages move the cursor, and the heads are those at it", async () => {
  const peer = await monitoring();
  const before = journal.balance(MAIN);
  await peer.tell(journal.next());
  assert.deepEqual(scripted.shown, journal.shown());
  assert.equal(scripted.client.cursor?.position, 2);
  await peer.end(1006);
  const next = await scripted.again();
  assert.equal(next.hello?.resume?.position, 2);
  assert.equal(next.hello?.resume?.heads[MAIN].seq, before.seq);
  await next.tell(
    journal.resumed(2), Journal.message(journal.updates[2], { replayed: true }), journal.monitor(2),
  );
  assert.deepEqual(scripted.told("duplicate"), [{ position: 3 }]);
  assert.equal(scripted.client.cursor?.position, 3);
  assert.deepEqual(scripted.told("monitor").map(({ updates }) => updates.length), [1]);
  await next.end(1006);
  assert.equal((await scripted.again()).hello?.resume?.heads[MAIN].seq, before.seq + 1);
});

test("a monitor's ranges join, overlap without doubling, and leave no hole", async () => {
  const peer = await monitoring();
  for (let each = 0; each < 3; each += 1) journal.change({ user_id: "bob" });
  await peer.tell(journal.monitor(2, 4), journal.monitor(3, 5), journal.monitor(2, 4));
  const told = scripted.told("monitor").flatMap(({ updates }) => updates);
  assert.deepEqual(told.map(({ position }) => position), [3, 4, 5]);
  assert.deepEqual(scripted.told("duplicate"), [{ position: 4 }]);
  journal.change();
  await peer.tell(journal.monitor(6, 7));
  assert.deepEqual(mismatches(), [[null, "positions 6 to 6 did not come"]]);
});

test("a monitor's message before the replay is whole is a hole", async () => {
  await (await monitoring()).end(1006);
  journal.change();
  await (await scripted.again()).tell(journal.resumed(2), journal.monitor(2));
  assert.deepEqual(mismatches(), [[null, "1 replayed messages did not come"]]);
});

test("a repair that was seen already does not turn time back", async () => {
  const peer = await monitoring();
  journal.change({ amount: 0, type: "repair" });
  const repair = journal.init({ reason: "repair" });
  await peer.tell(repair, journal.next());
  await peer.end(1006);
  await (await scripted.again()).tell(
    journal.resumed(2), { ...repair, replayed: true },
    Journal.message(journal.updates[3], { replayed: true }), journal.monitor(2),
  );
  assert.deepEqual(scripted.shown, journal.shown());
  assert.deepEqual(mismatches(), []);
  assert.deepEqual(scripted.told("duplicate"), [{ position: 3 }, { position: 4 }]);
});

test("mode latest brings accounts as they are, held against what was known", async () => {
  scripted = new Scripted({ mode: "latest" });
  const peer = await scripted.connected(journal.init());
  assert.equal(peer.hello?.mode, "latest");
  journal.change();
  journal.change();
  await peer.tell(journal.latest(2), journal.latest(2));
  assert.deepEqual(scripted.told("latest"), [{ from: 2, to: 4, accounts: [MAIN, DEMO] }]);
  assert.deepEqual(scripted.told("duplicate"), [{ position: 4 }]);
  assert.deepEqual(scripted.shown, journal.shown());
  const rewritten = new Journal();
  for (let each = 0; each < 5; each += 1) rewritten.change({ accounts: [DEMO] });
  await peer.tell(rewritten.latest(4));
  assert.deepEqual(mismatches(), []);
  await peer.tell({ ...rewritten.latest(5), to: 6, balances: [journal.balance(DEMO)] });
  assert.deepEqual(mismatches(), [[DEMO, "entry 1 is not the one known"]]);
  await peer.tell({ ...journal.latest(6), to: 9, balances: [rewritten.balance(DEMO)] });
  assert.equal(proofs()[DEMO], "broken");
  await peer.tell({ ...journal.latest(10), to: 12 });
  assert.deepEqual(mismatches(), [[null, "positions 10 to 10 did not come"]]);
});

test("mode latest beside a monitor does not turn time back after a resume", async () => {
  const peer = await monitoring("latest");
  journal.change();
  const early = journal.latest(2);
  journal.change();
  await peer.tell(journal.latest(2));
  await peer.end(1006);
  await (await scripted.again()).tell(journal.resumed(2, 0), early, journal.monitor(2));
  assert.deepEqual(scripted.shown, journal.shown());
  assert.deepEqual(mismatches(), []);
});

test("an option that loses changes no account, and counts", async () => {
  const peer = await scripted.connected(journal.init());
  const trade = { kind: "option", status: "settled", outcome: "lose" };
  const lost = () => ({ ...journal.next({ accounts: [], type: "option_settled" }), trade });
  await peer.tell(lost());
  assert.deepEqual(scripted.told("update")[0].update.trade, trade);
  assert.equal(scripted.client.cursor?.position, 3);
  await peer.end(1006);
  const missed = { ...lost(), replayed: true };
  const prices = [{ pair: "BTC-USDT", price: "1", source: "pushed", time: "" }];
  await (await scripted.again()).tell(journal.resumed(3, 1), missed, { type: "prices", prices });
  assert.deepEqual(positions(), [4]);
  assert.deepEqual(scripted.told("prices"), [{ prices }]);
  assert.deepEqual(mismatches(), []);
});

test("prices alone follow no position", async () => {
  scripted = new Scripted({ streams: ["prices"] });
  const peer = await scripted.connected(journal.heartbeat());
  assert.equal(scripted.state, "connected");
  const prices = [{ pair: "BTC-USDT", price: "1", source: "simulated", time: "" }];
  await peer.tell({ type: "prices", prices }, { ...journal.heartbeat(), epoch: "epoch-2" });
  assert.deepEqual(scripted.told("prices"), [{ prices }]);
  assert.equal(scripted.state, "connected");
});

test("without WebCrypto numbers and sums are checked, digests are not", async () => {
  scripted = new Scripted({ verify: false });
  const peer = await scripted.connected(journal.init());
  const message = journal.next();
  message.changes[0].digest = "0".repeat(64);
  await peer.tell(message);
  assert.deepEqual(proofs(), { [MAIN]: "unchecked", [DEMO]: "unchecked" });
  journal.change();
  await peer.tell(journal.next());
  assert.deepEqual(proofs(), { [MAIN]: "broken", [DEMO]: "unchecked" });
});

test("heads are named up to a limit, those that changed last first", async () => {
  const names = Array.from({ length: 400 }, (_, index) => `main/alice/COIN${index}`);
  for (const account of names) journal.change({ accounts: [account] });
  const peer = await scripted.connected(journal.init());
  await peer.tell(journal.next({ accounts: ["main/alice/COIN0"] }));
  await peer.end(1006);
  const heads = (await scripted.again()).hello?.resume?.heads ?? {};
  assert.equal(Object.keys(heads)[0], "main/alice/COIN0");
  assert.ok(Object.keys(heads).length > 100);
  assert.ok(JSON.stringify(heads).length < 40_000);
});

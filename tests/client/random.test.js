/** Whatever happens on the way, the client shows the ledger or says that something does not fit. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Journal } from "./journal.js";
import { Scripted, pass, settled, takeTime } from "./scripted.js";

const ACCOUNTS = ["main/alice/USDT", "demo/alice/USDT", "main/alice/BTC"];
const SEEDS = 60;
const STEPS = 60;

beforeEach(takeTime);
afterEach(() => mock.timers.reset());

/** Numbers in [0, 1) that come of a seed (the generator mulberry32). @param {number} seed */
function dice(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A server that keeps the contract, and a way to it that does not. */
class Run {
  journal = new Journal();
  /** Whether anything was lost or altered that the client has to notice. */
  harmed = false;
  /** @type {Set<import("./scripted.js").Peer>} */
  served = new Set();

  /** @param {number} seed @param {string[]} streams @param {number} risk of each loss and each change */
  constructor(seed, streams, risk) {
    this.risk = risk;
    this.roll = dice(seed);
    this.monitor = streams.includes("monitor");
    this.scripted = new Scripted({ streams: /** @type {any} */ (streams) });
    for (const account of ACCOUNTS) this.journal.change({ accounts: [account] });
  }

  /** @template Item @param {Item[]} items @returns {Item} */
  one(items) {
    return items[Math.floor(this.roll() * items.length)];
  }

  change() {
    const accounts = this.roll() < 0.2 ? ACCOUNTS.slice(0, 2) : [this.one(ACCOUNTS)];
    return this.journal.change({ accounts, amount: Math.floor(this.roll() * 100) - 30 });
  }

  /** Serves a connection that has just been opened. */
  async serve() {
    const { peer } = this.scripted;
    if (this.served.has(peer) || peer.closed) return;
    this.served.add(peer);
    const { resume } = peer.open().hello ?? {};
    if (!resume || !this.#fits(resume)) {
      await peer.tell(this.journal.init({ reason: resume ? "reset" : "connect" }));
      if (this.monitor) await peer.tell(this.journal.monitorInit());
      return;
    }
    await peer.tell(this.journal.resumed(resume.position));
    for (const update of this.journal.updates.slice(resume.position)) {
      await this.send(peer, Journal.message(update, { replayed: true }));
    }
    if (this.monitor) await peer.tell(this.journal.monitor(resume.position));
  }

  /** @param {NonNullable<import("../../static/tallywire-client.js").Hello["resume"]>} resume */
  #fits({ position, heads }) {
    return Object.entries(heads).every(([account, { seq, digest }]) => {
      const entries = this.journal.updates.slice(0, position).flatMap(({ changes }) => changes);
      const last = entries.filter((change) => change.account === account).at(-1);
      return last?.seq === seq && last.digest === digest;
    });
  }

  /**
   * Sends what may be doubled, lost or altered on the way.
   * @param {import("./scripted.js").Peer} peer
   * @param {any} original
   */
  async send(peer, original) {
    const { risk } = this;
    const message = structuredClone(original);
    const fate = this.roll();
    if (fate < risk) {
      this.harmed = true;
      return;
    }
    if (fate < risk * 2) {
      this.harmed = true;
      const [change] = message.changes;
      const name = this.one(["amount", "balance", "held", "digest", "available", "seq"]);
      const other = name === "seq" ? change.seq + 1 : change[name].replace(/.$/, "7");
      if (other === change[name]) change[name] = change[name].replace(/.$/, "8");
      else change[name] = other;
      await peer.tell(message);
      return;
    }
    await peer.tell(message, ...(this.roll() < 0.2 ? [message] : []));
    const before = this.journal.updates.slice(0, message.position);
    if (this.roll() < 0.1) await peer.tell(Journal.message(this.one(before)));
  }

  async step() {
    const { peer, client } = this.scripted;
    const what = this.roll();
    if (what < 0.6) {
      const from = this.journal.position;
      const update = this.change();
      if (peer.closed) return;
      await this.send(peer, Journal.message(update));
      if (this.monitor && !peer.closed) await peer.tell(this.journal.monitor(from));
    } else if (what < 0.7) await peer.tell(this.journal.heartbeat(client.cursor?.position ?? 0));
    else if (what < 0.8) client.interrupt();
    else if (what < 0.85) await peer.end(this.one([1006, 1012, 1013, 4008]));
    else if (what < 0.9) {
      peer.pour(Journal.message(this.change()));
      client.interrupt();
    } else await pass(1000);
  }

  async all() {
    this.scripted.client.connect();
    await settled();
    await this.serve();
    for (let step = 0; step < STEPS; step += 1) {
      await this.step();
      await this.serve();
    }
    for (const account of ACCOUNTS) {
      while (this.scripted.state !== "connected") {
        await pass(1000);
        await this.serve();
      }
      // What was lost shows at the next entry at the latest.
      await this.scripted.peer.tell(this.journal.next({ accounts: [account] }));
    }
    this.scripted.client.close();
  }

  get mismatches() {
    return this.scripted.told("mismatch");
  }
}

for (const streams of [["balances"], ["balances", "monitor"]]) {
  test(`cuts and duplicates change nothing: ${streams}`, async () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const run = new Run(seed, streams, 0);
      await run.all();
      assert.deepEqual(run.mismatches, [], `seed ${seed}`);
      assert.deepEqual(run.scripted.shown, run.journal.shown(), `seed ${seed}`);
      const positions = run.scripted.told("update").map(({ update }) => update.position);
      assert.deepEqual(positions, [...new Set(positions)].sort((a, b) => a - b), `seed ${seed}`);
    }
  });

  test(`what is lost or altered is told: ${streams}`, async () => {
    let told = 0;
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const run = new Run(seed, streams, 0.05);
      await run.all();
      const { mismatches } = run;
      told += mismatches.length;
      assert.ok(run.harmed || mismatches.length === 0, `seed ${seed}`);
      for (const [account, balance] of Object.entries(run.journal.shown())) {
        const shown = run.scripted.client.accounts.get(account);
        const noticed = shown?.proof.state === "broken";
        assert.ok(noticed || shown?.balance === balance, `seed ${seed}: ${account}`);
      }
    }
    assert.ok(told > SEEDS);
  });
}

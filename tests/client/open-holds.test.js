/** The open holds of one user: what is read, and what the stream tells meanwhile. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { OpenHolds } from "../../static/parts/open-holds.js";
import { Requests } from "../../static/parts/requests.js";

/** @typedef {import("../../static/parts/open-holds.js").HoldsPage} HoldsPage */
/** @typedef {import("../../static/parts/identity.js").Identity} Identity */
/** @typedef {import("../../static/tallywire-client.js").Hold} Hold */

/** @param {string} id @param {Hold["status"]} [status] @returns {Hold} */
const hold = (id, status = "open") => /** @type {Hold} */ ({ id, status });

/** Answers each path when the test says so. */
class Asked extends Requests {
  /** @type {{path: string, answer: (list: object) => void, refuse: (why: Error) => void}[]} */
  waiting = [];

  constructor() {
    super(/** @type {Identity} */ ({}));
  }

  /** @param {string} path @override */
  get(path) {
    return new Promise((answer, refuse) => this.waiting.push({ path, answer, refuse }));
  }

  /** The request that came first. */
  next() {
    const asked = this.waiting.shift();
    assert.ok(asked, "nothing was asked");
    return asked;
  }
}

const noPage = /** @type {HoldsPage} */ ({});
const turn = () => new Promise((resolve) => { setImmediate(resolve); });

test("all pages are read", async () => {
  const [holds, asked] = [new OpenHolds(noPage), new Asked()];
  const reading = holds.read(asked, "Ann & Co");
  const first = asked.next();
  assert.equal(first.path, "/v1/holds?user_id=Ann+%26+Co&status=open&limit=1000");
  first.answer({ items: [hold("1"), hold("2")], next_cursor: "c2" });
  await turn();
  const second = asked.next();
  assert.match(second.path, /&cursor=c2$/);
  second.answer({ items: [hold("3")], next_cursor: null });
  assert.equal(await reading, true);
  assert.equal(holds.size, 3);
});

test("what is told while they are read is newer than what is read", async () => {
  const [holds, asked] = [new OpenHolds(noPage), new Asked()];
  const reading = holds.read(asked, "alice");
  holds.changed(hold("2", "voided"));
  holds.changed(hold("3"));
  holds.changed(hold("4"));
  asked.next().answer({ items: [hold("1"), hold("2")], next_cursor: null });
  await reading;
  assert.equal(holds.size, 3); // without 2
  holds.changed(hold("1", "confirmed"));
  assert.equal(holds.size, 2);
});

test("an answer about a user who is no longer wanted counts nothing, nor does its failure", async () => {
  const [holds, asked] = [new OpenHolds(noPage), new Asked()];
  const ofAlice = holds.read(asked, "alice");
  const failing = holds.read(asked, "alice");
  holds.clear();
  const ofBob = holds.read(asked, "bob");
  asked.next().answer({ items: [hold("1")], next_cursor: null });
  asked.next().refuse(new Error("away"));
  asked.next().answer({ items: [hold("2"), hold("3")], next_cursor: null });
  assert.deepEqual([await ofAlice, await failing, await ofBob], [false, false, true]);
  assert.equal(holds.size, 2);
});

test("a failure is told to who asked last", async () => {
  const [holds, asked] = [new OpenHolds(noPage), new Asked()];
  const reading = holds.read(asked, "alice");
  asked.next().refuse(new Error("away"));
  await assert.rejects(reading, /away/);
});

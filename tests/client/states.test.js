/** The states as docs/client.md draws them: those and no others. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mock, test } from "node:test";

import { Journal } from "./journal.js";
import { Scripted, settled, takeTime } from "./scripted.js";

const PAGE = readFileSync(new URL("../../docs/client.md", import.meta.url), "utf8");

/** @type {Record<string, (scripted: Scripted) => unknown>} ways to each state, and out of it */
const INTO = {
  idle: () => {},
  connecting: (scripted) => scripted.connecting(),
  connected: (scripted) => scripted.connected(new Journal().init()),
  waiting: async (scripted) => (await scripted.connecting()).end(1006),
  stopped: async (scripted) => (await scripted.connecting()).end(4003),
};

/** @type {((scripted: Scripted) => unknown)[]} */
const OUT = [
  ({ client }) => client.connect(),
  ({ client }) => client.close(),
  ({ client }) => client.resync(),
  ({ client }) => client.wake(),
  ({ client }) => client.interrupt(),
  ({ peers }) => peers.at(-1)?.tell(new Journal().init()),
  ({ peers }) => peers.at(-1)?.tell("not JSON"),
  ({ peers }) => peers.at(-1)?.end(1006),
  ({ peers }) => peers.at(-1)?.end(1012),
  ({ peers }) => peers.at(-1)?.end(4001),
  ({ peers }) => peers.at(-1)?.end(4010),
  () => { mock.timers.tick(60_000); },
];

test("the page draws every way from one state to another", async () => {
  /** @type {Set<string>} */
  const seen = new Set();
  for (const [from, reach] of Object.entries(INTO)) {
    for (const leave of OUT) {
      takeTime();
      const scripted = new Scripted();
      await reach(scripted);
      assert.equal(scripted.state, from);
      scripted.told("status");
      await leave(scripted);
      await settled();
      const [to] = scripted.told("status");
      if (to && to.status.state !== from) seen.add(`${from} --> ${to.status.state}`);
      scripted.client.close();
      mock.timers.reset();
    }
  }
  const drawn = [...PAGE.matchAll(/^ {2}(\w+) --> (\w+):/gm)].map(([, from, to]) => `${from} --> ${to}`);
  const between = drawn.filter((way) => way !== "connected --> connected");
  assert.deepEqual(between.sort(), [...seen].sort());
});

test("the page names every event", () => {
  const source = readFileSync(new URL("../../static/tallywire-client.js", import.meta.url), "utf8");
  const events = /@typedef \{object\} ClientEvents\n([^]*?)\n \*\n/.exec(source)?.[1] ?? "";
  const names = [...events.matchAll(/\}\}?\}? ([\w-]+)$/gm)].map(([, name]) => name);
  assert.equal(names.length, 14);
  const told = PAGE.split("\n").filter((line) => line.startsWith("| `")).join("\n");
  for (const name of names) assert.match(told, new RegExp(`^\\| .*\`${name}\``, "m"));
});

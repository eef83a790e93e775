/**
 * A program that follows a user with the client, for tests that have the server.
 *
 *   node follower.js SERVER TOKEN STREAMS [proxied]
 *
 * It writes each event as a line of JSON, `[name, detail]`, and does what comes by line: `interrupt`,
 * `online`, `upgrades`, `screen POSITION` (once the cursor is there, a line `["screen", …]`), `close`.
 */

import { createInterface } from "node:readline";

import { TallywireClient } from "../../static/tallywire-client.js";
import { Proxy } from "./proxy.js";

const [server, token, streams, proxied] = process.argv.slice(2);
const proxy = proxied ? new Proxy(server) : null;

const page = new EventTarget();
Object.assign(globalThis, { addEventListener: page.addEventListener.bind(page) });

const write = (/** @type {string} */ name, /** @type {unknown} */ detail) => {
  process.stdout.write(`${JSON.stringify([name, detail])}\n`);
};

const client = new TallywireClient({
  url: proxy ? await proxy.listen() : server,
  token,
  streams: /** @type {("balances" | "monitor")[]} */ (streams.split(",")),
  random: () => 0.1, // Backing off is tested elsewhere.
});

/** @type {number[]} */
const own = [];
/** @type {number[]} */
const all = [];
client.addEventListener("status", ({ detail }) => write("status", detail.status));
client.addEventListener("mismatch", ({ detail }) => write("mismatch", detail));
client.addEventListener("balances", ({ detail }) => write("balances", detail));
client.addEventListener("resumed", ({ detail }) => write("resumed", detail));
client.addEventListener("latency", ({ detail }) => write("latency", detail));
client.addEventListener("update", ({ detail }) => own.push(detail.update.position));
client.addEventListener("monitor", ({ detail }) => {
  all.push(...detail.updates.map(({ position }) => position));
});

/** Writes what is shown once everything up to `position` has come. @param {number} position */
function screen(position) {
  if (client.cursor && client.cursor.position >= position) {
    write("screen", { accounts: [...client.accounts.values()], own, all });
  } else client.addEventListener("cursor", () => screen(position), { once: true });
}

const commands = createInterface({ input: process.stdin });
commands.on("line", (line) => {
  const [command, argument] = line.split(" ");
  if (command === "interrupt") client.interrupt();
  else if (command === "online") page.dispatchEvent(new Event("online"));
  else if (command === "upgrades" && proxy) proxy.upgrades = true;
  else if (command === "screen") screen(Number(argument));
  else if (command === "close") {
    client.close();
    proxy?.close();
    process.stdin.destroy();
  }
});
client.connect();

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
  streams: /** @type {("balances" | "monitor" | "prices")[]} */ (streams.split(",")),
  random: () => 0.1, // Backing off is tested elsewhere.
});

/** @type {number[]} */
const own = [];
/** @type {number[]} */
const all = [];
/** @type {Record<string, string | null>} */
const trades = {};
/** @type {Record<string, string>} */
const prices = {};
/** @type {string | null} */
let mode = null;
client.addEventListener("status", ({ detail }) => write("status", detail.status));
client.addEventListener("mismatch", ({ detail }) => write("mismatch", detail));
client.addEventListener("balances", ({ detail }) => write("balances", detail));
client.addEventListener("resumed", ({ detail }) => write("resumed", detail));
client.addEventListener("latency", ({ detail }) => write("latency", detail));
client.addEventListener("update", ({ detail: { update } }) => {
  own.push(update.position);
  if (update.trade?.kind === "option") trades[update.trade.id] = update.trade.outcome;
});
client.addEventListener("control", ({ detail: { control } }) => {
  own.push(control.position);
  mode = control.mode;
});
client.addEventListener("prices", ({ detail }) => {
  for (const { pair, price } of detail.prices) prices[pair] = price;
});
client.addEventListener("monitor", ({ detail }) => {
  all.push(...detail.updates.map(({ position }) => position));
});

const wantsPrices = streams.includes("prices");

/**
 * Writes what is shown once everything up to `position` has come, and prices where they are wanted.
 * @param {number} position
 */
function screen(position) {
  const hasPrices = !wantsPrices || Object.keys(prices).length > 0;
  if (client.cursor && client.cursor.position >= position && hasPrices) {
    write("screen", { accounts: [...client.accounts.values()], own, all, trades, prices, mode });
  } else client.addEventListener(hasPrices ? "cursor" : "prices", () => screen(position), { once: true });
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

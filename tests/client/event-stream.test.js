/** Event streams: the text (HTML standard, section 9.2.6), and the transport that reads it. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";

import { EventStreamParser, openEventStream } from "../../static/tallywire-client.js";

/** @param {string[]} chunks */
function read(...chunks) {
  const parser = new EventStreamParser();
  return chunks.flatMap((chunk) => parser.push(chunk));
}

const event = (/** @type {string} */ data, type = "message", id = "") => ({ type, data, id });

/** @type {[string, string, ReturnType<typeof read>][]} */
const STREAMS = [
  ["an event", "data: YHOO\ndata: +2\ndata: 10\n\n", [event("YHOO\n+2\n10")]],
  ["comments, and an id that stays until it is emptied",
    ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
    [event("first event", "message", "1"), event("second event"), event(" third event")]],
  ["empty data, and an end without an empty line", "data\n\ndata\ndata\n\ndata:", [event(""), event("\n")]],
  ["one space is taken off", "data:test\n\ndata: test\n\n", [event("test"), event("test")]],
  ["the type is for one event", "event: a\ndata: 1\n\ndata: 2\n\n", [event("1", "a"), event("2")]],
  ["a type without data is forgotten", "event: a\n\ndata: 2\n\n", [event("2")]],
  ["the id stays", "id: 7\ndata: 1\n\ndata: 2\n\n", [event("1", "message", "7"), event("2", "message", "7")]],
  ["an id with NULL is none", "id: 1\nid: 2\0\ndata: 1\n\n", [event("1", "message", "1")]],
  ["CR and CRLF end lines too", "event: a\r\ndata: 1\r\n\r\ndata: 2\r\rdata: 3\n\r", [
    event("1", "a"), event("2"), event("3"),
  ]],
  ["other fields, and other line separators, are text",
    "retry: 10\nother: 1\nDATA: 2\ndata: a\u2028b\u0085c\n\n", [event("a\u2028b\u0085c")]],
  ["colons", "data: a: b\ndata::c\n\n", [event("a: b\n:c")]],
];

for (const [what, text, events] of STREAMS) {
  test(`the parser: ${what}, however it is cut`, () => {
    assert.deepEqual(read(text), events);
    assert.deepEqual(read(...text), events);
    for (let cut = 0; cut <= text.length; cut += 1) {
      assert.deepEqual(read(text.slice(0, cut), "", text.slice(cut)), events, `cut at ${cut}`);
    }
  });
}

const HELLO = {
  token: "the-token",
  streams: ["balances", "monitor"],
  mode: /** @type {const} */ ("every"),
  filter: { book: "main" },
  resume: { epoch: "e", position: 7, heads: {} },
};

/**
 * What openEventStream makes of the server's answer, and what it asked.
 * @param {(answer: import("node:http").ServerResponse) => void | Promise<void>} respond
 */
async function streamed(respond, hello = HELLO) {
  /** @type {any} */
  let asked;
  const server = createServer(async (request, answer) => {
    asked = request;
    await respond(answer);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  /** @type {string[]} */
  const received = [];
  const ending = await new Promise((closed) => {
    openEventStream(`http://127.0.0.1:${port}/v1/stream`, () => hello, {
      received: (text) => { received.push(text); },
      closed,
    });
  });
  server.close();
  server.closeAllConnections();
  return { received, ending, asked };
}

const STREAM = { "Content-Type": "text/event-stream; charset=utf-8" };

test("the stream is asked for by token, and from where it stopped", async () => {
  const { asked } = await streamed((answer) => { answer.writeHead(200, STREAM).end(); });
  assert.equal(asked.url, "/v1/stream?streams=balances%2Cmonitor&mode=every&filter.book=main");
  const { authorization, accept, "last-event-id": last } = asked.headers;
  assert.deepEqual([authorization, accept, last], ["Bearer the-token", "text/event-stream", "e:7"]);
});

test("messages come in order, their characters whole, until the server says why it closes", async () => {
  const bytes = Buffer.from('event: balance_update\ndata: {"description":"Größe €😀"}\r\n\r\n');
  const { received, ending } = await streamed(async (answer) => {
    answer.writeHead(200, STREAM);
    for (const byte of bytes) {
      answer.write(Buffer.from([byte]));
      await new Promise((done) => setImmediate(done));
    }
    answer.end('event: close\ndata: {"code":1012,"reason":"the server is restarting"}\n\n');
  });
  assert.deepEqual(received, ['{"description":"Größe €😀"}']);
  assert.equal(ending.code, 1012);
});

test("whoever is slow holds the server back", async () => {
  /** @type {() => void} */
  let go = () => {};
  let taken = 0;
  const server = createServer((_, answer) => {
    answer.writeHead(200, STREAM);
    answer.end("data: 1\n\ndata: 2\n\n");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  const closed = new Promise((done) => {
    openEventStream(`http://127.0.0.1:${port}/`, () => HELLO, {
      received: () => {
        taken += 1;
        return new Promise((free) => { go = free; });
      },
      closed: done,
    });
  });
  while (taken === 0) await new Promise((done) => setImmediate(done));
  for (let turn = 0; turn < 20; turn += 1) await new Promise((done) => setImmediate(done));
  assert.equal(taken, 1);
  go();
  while (taken === 1) await new Promise((done) => setImmediate(done));
  go();
  await closed;
  server.close();
});

const PROBLEM = { "Content-Type": "application/problem+json" };
for (const [status, code] of [[400, 4002], [401, 4001], [403, 4003], [422, 4002], [429, 4029], [503, 1013]]) {
  test(`a refusal of ${status} is close ${code}`, async () => {
    const { ending } = await streamed((answer) => {
      answer.writeHead(status, { ...PROBLEM, "Retry-After": "3" }).end('{"title":"T","detail":"D"}');
    });
    assert.deepEqual(ending, { code, words: "D", retryAfterMs: 3000 });
  });
}

test("Retry-After may be a date", async () => {
  const { ending } = await streamed((answer) => {
    const later = new Date(Date.now() + 60_000).toUTCString();
    answer.writeHead(503, { ...PROBLEM, "Retry-After": later }).end('{"title":"T"}');
  });
  assert.equal(ending.words, "T");
  assert.ok(ending.retryAfterMs > 55_000 && ending.retryAfterMs <= 60_000, `${ending.retryAfterMs}`);
});

/** @type {[string, number, Record<string, string>, string][]} */
const STRANGE = [
  ["a refusal by something in between", 403, { "Content-Type": "text/html" }, "no"],
  ["a status without a meaning", 404, PROBLEM, '{"title":"not found"}'],
  ["a page instead of a stream", 200, { "Content-Type": "text/html" }, "sign in"],
  ["a refusal that cannot be read", 503, PROBLEM, "{"],
  ["a stream that just ends", 200, STREAM, "data: 1\n"],
];
for (const [what, status, headers, body] of STRANGE) {
  test(`${what} is a lost connection`, async () => {
    const { ending, received } = await streamed((answer) => { answer.writeHead(status, headers).end(body); });
    assert.deepEqual([ending.code, received], [1006, []]);
  });
}

test("a server that is not there is a lost connection", async () => {
  const ending = await new Promise((closed) => {
    openEventStream("http://127.0.0.1:1/", () => HELLO, { received() {}, closed });
  });
  assert.equal(ending.code, 1006);
});

/** The client's connections: when it opens, ends and repeats them, and over which transport. */

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { afterEach, beforeEach, mock, test } from "node:test";

import { CLOSE_CODES, openWebSocket, reconnectDelay } from "../../static/tallywire-client.js";
import { Journal } from "./journal.js";
import { Scripted, pass, settled, sleep, takeTime, tokenFor } from "./scripted.js";

/** @type {Scripted} */
let scripted;
/** @type {Journal} */
let journal;

beforeEach(() => {
  takeTime();
  scripted = new Scripted();
  journal = new Journal();
  journal.change();
});

afterEach(() => {
  scripted.client.close();
  mock.timers.reset();
});

test("it says who it is and what it wants, and later where it stopped", async () => {
  const peer = await scripted.connected(journal.init());
  assert.equal(peer.address, "ws://server.test/ws");
  assert.deepEqual(Object.keys(peer.hello ?? {}), ["token", "streams", "mode"]);
  await peer.tell(journal.next());
  await peer.end(1006);
  const { resume } = (await scripted.again()).hello ?? {};
  const { seq, digest } = journal.balance("main/alice/USDT");
  assert.deepEqual(resume, {
    epoch: "epoch-1", position: 2, heads: { "main/alice/USDT": { seq, digest } },
  });
});

test("the server is named by its root, its folder or its WebSocket", async () => {
  for (const [url, websocket, sse] of [
    ["https://a.test", "wss://a.test/ws", "https://a.test/v1/stream"],
    ["http://a.test:1/wire/", "ws://a.test:1/wire/ws", "http://a.test:1/wire/v1/stream"],
    ["wss://a.test/wire/ws", "wss://a.test/wire/ws", "https://a.test/wire/v1/stream"],
  ]) {
    const other = new Scripted({ url });
    await other.connecting();
    assert.equal(other.peer.address, websocket);
    for (let each = 0; each < 3; each += 1) {
      await other.peer.end(1006);
      await other.again();
    }
    assert.equal(other.peer.address, sse);
    other.client.close();
  }
  assert.throws(() => new Scripted({ url: undefined }), /url/);
});

for (const [text, { retry, words, atLeastMs = 0, freshToken = false }] of Object.entries(CLOSE_CODES)) {
  test(`close ${text}: ${words}`, async () => {
    const code = Number(text);
    const peer = await scripted.connected(journal.init());
    await peer.end(code);
    assert.equal(scripted.client.status.words, words);
    assert.equal(scripted.client.transport, null);
    if (retry) {
      assert.equal(scripted.state, "waiting");
      assert.equal(scripted.waits, atLeastMs + 250);
      await scripted.again();
      assert.equal(scripted.asked.at(-1)?.fresh, freshToken);
    } else {
      assert.deepEqual([scripted.state, scripted.client.status.code], ["stopped", code]);
      await pass(600_000);
      scripted.client.wake();
      assert.equal(scripted.peers.length, 1);
      scripted.client.connect();
      await settled();
      assert.equal(scripted.peers.length, 2);
    }
  });
}

test("the table of close codes is the server's", async () => {
  const retried = Object.entries(CLOSE_CODES).filter(([, rule]) => rule.retry).map(([code]) => code);
  assert.deepEqual(retried, ["1012", "1013", "4001", "4008", "4029"]);
  assert.equal(Object.keys(CLOSE_CODES).length, 10);
});

test("the wait is anywhere below a ceiling that doubles up to 30 s", () => {
  const ceilings = [0, 1, 2, 3, 4, 5, 6, 7, 1000].map((attempt) => reconnectDelay(attempt, () => 1));
  assert.deepEqual(ceilings, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  assert.equal(reconnectDelay(1000, () => 0), 0);
});

test("failed attempts wait longer; a connection that lasts starts anew", async () => {
  await scripted.connecting();
  /** @type {number[]} */
  const waits = [];
  for (let attempt = 0; attempt < 4; attempt += 1) {
    await scripted.peer.end(4008);
    waits.push(scripted.waits);
    await scripted.again();
  }
  assert.deepEqual(waits, [250, 500, 1000, 2000]);
  await scripted.peer.tell(journal.init());
  await pass(9_000);
  await scripted.peer.end(1006);
  assert.equal(scripted.waits, 4000);
  await (await scripted.again()).tell(journal.resumed(1));
  await pass(10_000);
  await scripted.peer.end(1006);
  assert.equal(scripted.waits, 250);
});

test("a server that goes says when to come back, and all come a little apart", async () => {
  const peer = await scripted.connected(journal.init());
  await peer.tell({ type: "server_shutdown", reconnect_after_ms: 4000 });
  assert.equal(scripted.state, "connected");
  await peer.end(1012);
  assert.equal(scripted.client.status.words, "the server is restarting");
  assert.equal(scripted.waits, 4250);
  await pass(4249);
  assert.equal(scripted.peers.length, 1);
  await (await scripted.again()).end(1006);
  assert.equal(scripted.waits, 500);
});

test("a wait can be cut short", async () => {
  const peer = await scripted.connected(journal.init());
  await peer.end(4029);
  scripted.client.wake();
  await settled();
  assert.equal(scripted.state, "connecting");
  assert.equal(scripted.peers.length, 2);
});

test("a connection that falls silent is lost after 40 s", async () => {
  const peer = await scripted.connected(journal.init());
  await pass(39_000);
  await peer.tell(journal.heartbeat());
  await pass(39_999);
  assert.equal(scripted.state, "connected");
  await pass(1);
  assert.equal(scripted.state, "waiting");
  assert.ok(peer.closed);
});

test("a connection that never says anything is lost after 15 s", async () => {
  await scripted.connecting();
  await pass(15_000);
  assert.equal(scripted.state, "waiting");
  assert.ok(scripted.peers[0].closed);
});

test("an interrupted connection is resumed like a lost one", async () => {
  const peer = await scripted.connected(journal.init());
  scripted.client.interrupt();
  assert.deepEqual(
    [scripted.state, scripted.client.status.words, peer.closed],
    ["waiting", "the connection was lost", true],
  );
  await peer.tell(journal.next());
  assert.equal(scripted.client.cursor?.position, 1);
  assert.equal((await scripted.again()).hello?.resume?.position, 1);
  scripted.client.close();
  scripted.client.interrupt();
  assert.equal(scripted.state, "idle");
});

test("the latency is that of pings, a few a minute and none while hidden", async () => {
  const page = fakePage();
  try {
    const peer = await scripted.connected(journal.init());
    assert.equal(scripted.client.latency, null);
    const [ping] = peer.sent;
    assert.equal(ping.type, "ping");
    await peer.tell({ type: "pong", req_id: ping.req_id + 1 }, { type: "pong" });
    assert.equal(scripted.client.latency, null);
    await peer.tell({ type: "pong", req_id: ping.req_id });
    const [{ milliseconds }] = scripted.told("latency");
    assert.equal(scripted.client.latency, milliseconds);
    assert.ok(milliseconds >= 0);
    const rest = async () => {
      await pass(30_000);
      await peer.tell(journal.heartbeat());
    };
    await rest();
    await rest();
    assert.equal(peer.sent.length, 5);
    page.hide();
    await rest();
    assert.equal(peer.sent.length, 5);
    page.show();
    assert.equal(peer.sent.length, 6);
    scripted.client.interrupt();
    assert.equal(scripted.client.latency, null);
  } finally {
    page.end();
  }
});

test("a token is refreshed before it expires", async () => {
  const peer = await scripted.connected(journal.init());
  await beating(peer, 2_879_000);
  assert.equal(scripted.asked.length, 1);
  await beating(peer, 2_000);
  assert.deepEqual(scripted.asked, [{ fresh: false }, { fresh: true }]);
  const refresh = peer.sent.find(({ type }) => type === "refresh");
  assert.equal(refresh.token, tokenFor(3_600_000));
  assert.equal(scripted.peers.length, 1);
});

test("a token's time is told by the server's clock", async () => {
  const fast = { ...journal.init(), server_time: new Date(Date.now() + 3_000_000).toISOString() };
  const peer = await scripted.connected(fast);
  assert.equal(scripted.client.serverNow, Date.now() + 3_000_000);
  await beating(peer, 481_000, 3_000_000);
  assert.equal(scripted.asked.length, 2);
});

test("a refresh with an old token, or none, waits for the server to say so", async () => {
  const old = tokenFor(60_000);
  scripted = new Scripted({ token: (request) => {
    scripted.asked.push(request);
    if (scripted.asked.length === 2) throw new Error("away");
    return old;
  } });
  const peer = await scripted.connected(journal.init());
  await beating(peer, 90_000);
  assert.equal(peer.sent.filter(({ type }) => type === "refresh").length, 0);
  assert.ok(scripted.asked.length > 2 && scripted.asked.length < 12, `${scripted.asked.length}`);
  await peer.end(4001);
  for (let attempt = 0; attempt < 2; attempt += 1) await (await scripted.again()).end(4001);
  assert.deepEqual([scripted.state, scripted.client.status.code], ["stopped", 4001]);
  assert.ok(scripted.asked.slice(1).every(({ fresh }) => fresh));
});

test("however long a server was away, a fresh token does not wait for that again", async () => {
  await scripted.connecting();
  for (let attempt = 0; attempt < 4; attempt += 1) {
    await scripted.peer.end(4008);
    await scripted.again();
  }
  await scripted.peer.end(4001);
  assert.equal(scripted.waits, 250);
  await scripted.again();
  assert.deepEqual(scripted.asked.at(-1), { fresh: true });
});

test("a fresh token is still wanted where the wait for it was cut short", async () => {
  const peer = await scripted.connected(journal.init());
  await peer.end(4001);
  scripted.client.wake();
  await settled();
  assert.deepEqual(scripted.asked.at(-1), { fresh: true });
});

test("a token that expired meanwhile is not tried again", async () => {
  const peer = await scripted.connected(journal.init());
  await peer.end(1013);
  await sleep(3_600_000);
  assert.deepEqual(scripted.asked.at(-1), { fresh: true });
});

test("a provider that fails, hangs or gives nothing is asked again later", async () => {
  const hang = new Promise(() => {});
  const answers = [() => { throw new Error("no network"); }, () => hang, () => "", () => "token"];
  const other = new Scripted({ token: () => /** @type {any} */ (answers.shift()?.()) });
  other.client.connect();
  await settled();
  assert.deepEqual([other.state, other.client.status.words], ["waiting", "no network"]);
  await pass(other.waits);
  assert.equal(other.state, "connecting");
  await pass(30_000);
  assert.deepEqual([other.state, other.client.status.words], ["waiting", "no token came in time"]);
  await pass(other.waits);
  assert.deepEqual([other.state, other.client.status.words], ["waiting", "no token could be had"]);
  await pass(other.waits);
  assert.equal(other.peers.length, 1);
  other.client.close();
});

test("a provider may say that asking again is no use", async () => {
  const token = () => Promise.reject(Object.assign(new Error("signed out"), { retry: false }));
  const other = new Scripted({ token });
  other.client.connect();
  await settled();
  const { state, words, code } = other.client.status;
  assert.deepEqual([state, words, code], ["stopped", "signed out", null]);
});

test("a token that is a text is not asked for again", async () => {
  const other = new Scripted({ token: tokenFor(3_600_000) });
  const peer = await other.connected(journal.init());
  await beating(peer, 3_500_000);
  assert.ok(peer.sent.every(({ type }) => type === "ping"));
  await peer.end(4001);
  assert.deepEqual([other.state, other.client.status.code], ["stopped", 4001]);
});

test("three WebSockets that never become live lead to SSE", async () => {
  await scripted.connecting();
  for (const code of [1006, 1002]) {
    await scripted.peer.end(code);
    assert.equal((await scripted.again()).name, "websocket");
  }
  await pass(15_000);
  const peer = await scripted.again();
  assert.deepEqual([peer.name, scripted.client.status.transport], ["sse", "sse"]);
  await peer.tell(journal.init());
  assert.deepEqual([scripted.state, scripted.client.transport], ["connected", "sse"]);
  assert.equal(scripted.client.latency, null);
});

test("refusals that mean something do not, nor does a server that is away", async () => {
  await scripted.connecting();
  for (const code of [1013, 1012, 4008, 4029, 1013]) {
    await scripted.peer.end(code);
    assert.equal((await scripted.again()).name, "websocket");
  }
  /** @type {string[]} */
  const tried = [];
  for (let attempt = 0; attempt < 9; attempt += 1) {
    await scripted.peer.end(1006);
    tried.push((await scripted.again()).name);
  }
  const round = ["websocket", "websocket", "sse", "websocket"];
  assert.deepEqual(tried, [...round, ...round, "websocket"]);
});

/** A client on SSE, whose cursor is at 1. */
async function onSse() {
  await scripted.connecting();
  for (let attempt = 0; attempt < 3; attempt += 1) {
    await scripted.peer.end(1006);
    await scripted.again();
  }
  await scripted.peer.tell(journal.init());
  return scripted.peer;
}

/**
 * Time passes on a connection that is alive.
 * @param {import("./scripted.js").Peer} peer
 * @param {number} milliseconds
 */
async function beating(peer, milliseconds, ahead = 0) {
  for (let left = milliseconds; left > 0; left -= 5_000) {
    mock.timers.tick(Math.min(left, 5_000));
    await settled();
    const server_time = new Date(Date.now() + ahead).toISOString();
    await peer.tell({ ...journal.heartbeat(), server_time });
  }
}

test("it returns to WebSocket after two minutes, and goes on where SSE was", async () => {
  const sse = await onSse();
  await sse.tell(journal.next());
  await beating(sse, 120_000);
  const websocket = scripted.peer;
  assert.equal(websocket.name, "websocket");
  assert.equal(websocket.open().hello?.resume?.position, 2);
  assert.deepEqual([scripted.state, scripted.client.transport], ["connected", "sse"]);

  await websocket.tell({ type: "error", code: "invalid_request", message: "" });
  assert.equal(scripted.client.transport, "sse");
  scripted.events = [];
  await sse.tell(journal.next());
  await websocket.tell(
    journal.resumed(2), Journal.message(journal.updates[2], { replayed: true }), journal.next(),
  );
  assert.deepEqual([scripted.state, scripted.client.transport], ["connected", "websocket"]);
  assert.ok(sse.closed);
  assert.deepEqual(scripted.told("status").map(({ status }) => status.state), ["connected"]);
  assert.deepEqual(scripted.told("update").map(({ update }) => update.position), [3, 4]);
  assert.deepEqual(scripted.told("duplicate"), [{ position: 3 }]);
  assert.deepEqual(scripted.shown, journal.shown());
  await sse.tell(journal.next());
  assert.equal(scripted.client.cursor?.position, 4);
});

test("where WebSocket still fails, SSE goes on, and the next try is later", async () => {
  scripted = new Scripted({ token: "token" });
  const sse = await onSse();
  let tries = 4;
  for (const minutes of [2, 4, 8, 16, 30, 30]) {
    await beating(sse, minutes * 60_000 - 15_000);
    assert.equal(scripted.peers.length, tries);
    await beating(sse, 15_000);
    tries += 1;
    assert.equal(scripted.peers.length, tries);
    if (minutes === 4) await beating(sse, 15_000);
    else await scripted.peer.end(1006);
    assert.ok(minutes !== 4 || scripted.peer.closed);
  }
  assert.deepEqual([scripted.state, scripted.client.transport], ["connected", "sse"]);
  await sse.tell(journal.next());
  assert.deepEqual(scripted.shown, journal.shown());
});

test("on SSE a new token needs a new connection, beside the old one", async () => {
  const sse = await onSse();
  const opened = () => scripted.peers.filter(({ name }) => name === "sse");
  await beating(sse, 2_800_000);
  assert.equal(opened().length, 1);
  await beating(sse, 100_000);
  assert.equal(opened().length, 2);
  const failed = opened()[1].open();
  assert.equal(failed.hello?.token, tokenFor(3_600_000 - 20_000));
  await failed.end(1006);
  assert.deepEqual([scripted.state, sse.closed], ["connected", false]);
  while (opened().length < 3) await beating(sse, 5_000);
  const next = opened()[2].open();
  assert.equal(next.hello?.resume?.position, 1);
  await next.tell(journal.resumed(1));
  assert.deepEqual([sse.closed, next.closed, scripted.state], [true, false, "connected"]);
});

test("on SSE a loss is made good on SSE, and a refusal waits as long as it says", async () => {
  const sse = await onSse();
  await pass(10_000);
  await sse.end(1006);
  assert.equal((await scripted.again()).name, "sse");
  await scripted.peer.end(1013, { retryAfterMs: 7000, words: "overloaded" });
  assert.deepEqual([scripted.waits, scripted.client.status.words], [7000 + 500, "overloaded"]);
  assert.equal((await scripted.again()).name, "sse");
});

test("where only SSE came through before, it has every second try once the server is away", async () => {
  await (await onSse()).end(1006);
  const tried = [(await scripted.again()).name];
  for (let attempt = 0; attempt < 6; attempt += 1) {
    await scripted.peer.end(1006);
    tried.push((await scripted.again()).name);
  }
  const turns = ["sse", "websocket"];
  assert.deepEqual(tried, [...turns, ...turns, ...turns, "sse"]);
  await scripted.peer.end(1006);
  await (await scripted.again()).tell(journal.resumed(1));
  const round = [];
  for (let attempt = 0; attempt < 5; attempt += 1) {
    await scripted.peer.end(1006);
    round.push((await scripted.again()).name);
  }
  assert.deepEqual(round, ["websocket", "websocket", "websocket", "sse", "websocket"]);
});

/** What a page is told of its life, in the test's hands. */
function fakePage() {
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  Object.assign(globalThis, {
    document, addEventListener: window.addEventListener.bind(window),
  });
  return {
    tell: (/** @type {string} */ name) => window.dispatchEvent(new Event(name)),
    tellDocument: (/** @type {string} */ name) => document.dispatchEvent(new Event(name)),
    hide() { document.visibilityState = "hidden"; },
    show() {
      document.visibilityState = "visible";
      document.dispatchEvent(new Event("visibilitychange"));
    },
    listeners: () => [
      ...["online", "offline", "pagehide", "pageshow"].flatMap((name) => (
        getEventListeners(window, name)
      )),
      ...["freeze", "resume", "visibilitychange"].flatMap((name) => (
        getEventListeners(document, name)
      )),
    ].length,
    end() {
      Reflect.deleteProperty(globalThis, "document");
      Reflect.deleteProperty(globalThis, "addEventListener");
    },
  };
}

/** @param {(page: ReturnType<typeof fakePage>) => Promise<void>} body */
const onPage = (body) => async () => {
  const page = fakePage();
  try {
    await body(page);
  } finally {
    scripted.client.close();
    page.end();
  }
};

for (const [target, away, back] of /** @type {const} */ ([
  ["tell", "pagehide", "pageshow"], ["tellDocument", "freeze", "resume"],
])) {
  test(`no connection is held from ${away} to ${back}`, onPage(async (page) => {
    const peer = await scripted.connected(journal.init());
    page[target](away);
    assert.ok(peer.closed);
    assert.equal(scripted.state, "idle");
    page.tell("online");
    await pass(60_000);
    assert.equal(scripted.peers.length, 1);
    page[target](back);
    await settled();
    assert.equal(scripted.peer.open().hello?.resume?.position, 1);
    await scripted.peer.tell(journal.resumed(1));
    assert.equal(scripted.state, "connected");
    page[target](back);
    await settled();
    assert.equal(scripted.peers.length, 2);
  }));
}

test("a network that comes back ends the wait, and SSE's time", onPage(async (page) => {
  const peer = await scripted.connected(journal.init());
  await peer.end(4029);
  page.tell("online");
  await settled();
  assert.equal(scripted.state, "connecting");
  scripted.client.close();
  await onSse();
  page.tell("online");
  await settled();
  mock.timers.tick(0);
  assert.deepEqual([scripted.peer.name, scripted.client.transport], ["websocket", "sse"]);
}));

test("a network that went or a page that is shown is asked whether it still works", onPage(
  async (page) => {
    const peer = await scripted.connected(journal.init());
    await peer.tell({ type: "pong", req_id: peer.sent[0].req_id });
    page.tell("offline");
    page.show();
    page.show();
    assert.equal(peer.sent.length, 2);
    await pass(4_900);
    await peer.tell({ type: "pong", req_id: peer.sent[1].req_id });
    await pass(10_000);
    assert.equal(scripted.state, "connected");
    page.show();
    await pass(5_000);
    assert.equal(scripted.state, "waiting");
  },
));

test("a machine that slept asks first whether its connection still works", async () => {
  const peer = await scripted.connected(journal.init());
  const before = peer.sent.length;
  await sleep(1_000_000);
  assert.deepEqual(peer.sent.slice(before).map(({ type }) => type), ["ping"]);
  assert.equal(scripted.state, "connected");
  await pass(5_000);
  assert.equal(scripted.state, "waiting");
});

test("a machine that slept on SSE connects anew, and one that waited does at once", async () => {
  const sse = await onSse();
  await sleep(60_000);
  assert.ok(sse.closed);
  assert.equal(scripted.state, "waiting");
  await scripted.peer.end(1006);
  await (await scripted.again()).end(1013, { retryAfterMs: 600_000 });
  await sleep(600_000);
  assert.equal(scripted.state, "connecting");
});

test("a clock that is set back holds nothing up", async () => {
  const peer = await scripted.connected(journal.init());
  await sleep(-86_400_000);
  await peer.tell({ type: "pong", req_id: peer.sent.at(-1).req_id });
  const asked = peer.sent.length;
  await pass(15_000);
  assert.equal(peer.sent.length, asked + 1);
  await pass(40_000);
  assert.ok(peer.closed);
});

test("close leaves no connection, listener or timer", onPage(async (page) => {
  const peer = await scripted.connected(journal.init());
  assert.equal(page.listeners(), 7);
  scripted.client.close();
  assert.deepEqual([peer.closed, page.listeners(), scripted.state], [true, 0, "idle"]);
  const before = scripted.events.length;
  await peer.tell(journal.next());
  await peer.end(1006);
  await pass(7_200_000);
  assert.equal(scripted.events.length, before);
  assert.equal(scripted.peers.length, 1);

  await scripted.connected(journal.resumed(1));
  await scripted.peer.end(4003);
  assert.equal(page.listeners(), 0);
}));

test("a client that is closed while it asks for a token opens nothing", async () => {
  /** @type {(token: string) => void} */
  let answer = () => {};
  const other = new Scripted({ token: () => new Promise((done) => { answer = done; }) });
  other.client.connect();
  other.client.connect();
  other.client.close();
  answer("token");
  await settled();
  assert.equal(other.peers.length, 0);
});

test("a first message that the network held up is not one that was refused", () => {
  const { WebSocket } = globalThis;
  const socket = new EventTarget();
  globalThis.WebSocket = /** @type {any} */ (class { constructor() { return socket; } });
  try {
    /** @type {number[]} */
    const codes = [];
    openWebSocket("ws://server.test/ws", () => ({ token: "t", streams: [], mode: "every" }), {
      received: () => {},
      closed: ({ code }) => { codes.push(code); },
    });
    for (const reason of ["no connect in time", "connected already"]) {
      socket.dispatchEvent(Object.assign(new Event("close"), { code: 4002, reason }));
    }
    assert.deepEqual(codes, [1006, 4002]);
  } finally {
    globalThis.WebSocket = WebSocket;
  }
});

test("a WebSocket that cannot even be made counts as one that failed", async () => {
  /** @type {string[]} */
  const made = [];
  const other = new Scripted({ transports: {
    websocket: () => { made.push("websocket"); throw new TypeError("not from this page"); },
    sse: () => { made.push("sse"); return { close() {} }; },
  } });
  other.client.connect();
  await settled();
  assert.equal(other.client.status.words, "not from this page");
  await pass(10_000);
  assert.deepEqual(made, ["websocket", "websocket", "websocket", "sse"]);
  other.client.close();
});

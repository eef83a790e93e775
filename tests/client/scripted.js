/** A client whose server, clock, token and dice are in the test's hands. */

import { mock } from "node:test";

import { TallywireClient } from "../../static/tallywire-client.js";

/** @import { Ending, Hello, Transport, TransportName } from "../../static/tallywire-client.js" */

const START = Date.UTC(2026, 0, 1);

/** What happens by itself in this turn and the next ones has happened. */
export const settled = async () => {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((done) => setImmediate(done));
};

/**
 * Time passes.
 * @param {number} milliseconds
 */
export async function pass(milliseconds) {
  const end = Date.now() + milliseconds;
  while (Date.now() < end) {
    mock.timers.tick(Math.min(500, end - Date.now()));
    await settled();
  }
}

/** From now on the test has the clock, and every timer. */
export function takeTime() {
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: START });
}

/**
 * The machine sleeps: the clock goes on, the timers do not; then they do. Less than 0: the clock is
 * set back.
 * @param {number} milliseconds
 */
export async function sleep(milliseconds) {
  const now = Date.now;
  Date.now = () => now() + milliseconds;
  mock.timers.tick(5_000);
  await settled();
}

/** A JWT that expires in so many milliseconds. @param {number} milliseconds */
export function tokenFor(milliseconds, name = "alice") {
  const payload = { sub: name, exp: Math.floor((Date.now() + milliseconds) / 1000) };
  return `e30.${Buffer.from(JSON.stringify(payload)).toString("base64url")}.${name}`;
}

/** One connection as the server has it. */
export class Peer {
  /** @type {Hello | null} */
  hello = null;
  /** @type {any[]} */
  sent = [];
  closed = false;

  /**
   * @param {TransportName} name
   * @param {string} address
   * @param {() => Hello} ask
   * @param {Parameters<Transport>[2]} handlers
   */
  constructor(name, address, ask, handlers) {
    this.name = name;
    this.address = address;
    this.#ask = ask;
    this.#handlers = handlers;
  }

  #ask;
  #handlers;

  /** It is open: what the client asks for is known. */
  open() {
    this.hello = this.#ask();
    return this;
  }

  /** The client has dealt with these messages. @param {(object | string)[]} messages */
  async tell(...messages) {
    for (const message of messages) {
      const text = typeof message === "string" ? message : JSON.stringify(message);
      await this.#handlers.received(text);
    }
    await settled();
  }

  /** These messages come in one turn. @param {object[]} messages */
  pour(...messages) {
    for (const message of messages) void this.#handlers.received(JSON.stringify(message));
  }

  /** @param {number} code @param {Partial<Ending>} [ending] */
  async end(code, ending = {}) {
    this.#handlers.closed({ code, ...ending });
    await settled();
  }
}

/** The client, its connections so far, and the events that it told. */
export class Scripted {
  /** @type {Peer[]} */
  peers = [];
  /** @type {[string, any][]} */
  events = [];
  /** @type {{fresh: boolean}[]} */
  asked = [];
  luck = 0.5;

  /**
   * @param {Partial<import("../../static/tallywire-client.js").ClientOptions>} [options]
   */
  constructor(options = {}) {
    const transport = (/** @type {TransportName} */ name) => (
      /** @type {Transport} */ (address, hello, handlers) => {
        const peer = new Peer(name, address, hello, handlers);
        this.peers.push(peer);
        const close = () => { peer.closed = true; };
        if (name === "sse") return { close };
        return { close, send: (message) => peer.sent.push(message) };
      }
    );
    this.client = new TallywireClient({
      url: "http://server.test",
      token: (request) => {
        this.asked.push(request);
        return tokenFor(3_600_000);
      },
      random: () => this.luck,
      transports: { websocket: transport("websocket"), sse: transport("sse") },
      ...options,
    });
    for (const name of /** @type {const} */ ([
      "status", "cursor", "balances", "update", "latest", "control", "monitor-init", "monitor",
      "prices", "resumed", "mismatch", "duplicate", "refused", "latency",
    ])) {
      this.client.addEventListener(name, ({ detail }) => this.events.push([name, detail]));
    }
  }

  /** The newest connection. */
  get peer() {
    const peer = this.peers.at(-1);
    if (!peer) throw new Error("there is no connection");
    return peer;
  }

  get state() {
    return this.client.status.state;
  }

  /** How long it waits from now, in milliseconds. */
  get waits() {
    return (this.client.status.retryAt ?? NaN) - Date.now();
  }

  /** The balances that it shows. */
  get shown() {
    return Object.fromEntries([...this.client.accounts].map(([name, { balance }]) => (
      [name, balance]
    )));
  }

  /** The details of the events of that name since the last call for it. @param {string} name */
  told(name) {
    const found = this.events.filter(([each]) => each === name).map(([, detail]) => detail);
    this.events = this.events.filter(([each]) => each !== name);
    return found;
  }

  /** It is connecting, and the connection is open. */
  async connecting() {
    this.client.connect();
    await settled();
    return this.peer.open();
  }

  /** It is connected. @param {object[]} beginning what the server begins with */
  async connected(...beginning) {
    const peer = await this.connecting();
    await peer.tell(...beginning);
    return peer;
  }

  /** The next connection, which is open, after whatever wait. */
  async again() {
    const count = this.peers.length;
    while (this.peers.length === count) {
      if (this.state !== "waiting") throw new Error(`it is ${this.state}`);
      await pass(Math.max(this.waits, 0) + 1);
    }
    return this.peer.open();
  }
}

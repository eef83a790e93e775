// @ts-nocheck
/**
 * Tallywire client: follows balances live, misses nothing, shows nothing twice, and checks the
 * hash chain of every account that it shows.
 *
 *   const client = new TallywireClient({ token: async () => (await login()).token });
 *   client.addEventListener("update", (event) => draw(event.detail.update));
 *   client.connect();
 *
 * Events (`detail` in brackets):
 *   status       {status}                 connection state, see TallywireClient.status
 *   cursor       {epoch, position}        the position up to which everything has been received
 *   balances     {reason, position}       all accounts were replaced (connect, reset, repair)
 *   update       {update, replayed}       one transaction, applied to `accounts` and checked
 *   latest       {from, to, accounts}     mode "latest": accounts as at `to`
 *   control      {control, replayed}      a trading control was set or lifted
 *   monitor-init {message}                monitor stream: totals, connected, recent
 *   monitor      {updates, from, to}      monitor stream: changes of all users
 *   prices       {prices}
 *   resumed      {from, to, count}        the stream goes on where it stopped
 *   mismatch     {account, seq, words}    what came does not fit what was known
 *   duplicate    {position}               a message at or below what is known was dropped
 *   refused      {code, message, req_id}  the server's `error` message
 *
 * No dependencies. Needs ES2022, WebSocket and, for the digests, WebCrypto (a secure context:
 * HTTPS or a loopback host; elsewhere accounts are marked "unchecked", never "verified").
 */

/** The digest before an account's first entry. */
export const FIRST_DIGEST = "0".repeat(64);

/** What each close code means for the client; codes that are not listed are lost connections. */
export const CLOSE_CODES = Object.freeze({
  1009: { retry: false, words: "a message was too big" },
  1012: { retry: true, words: "the server is restarting" },
  1013: { retry: true, atLeastMs: 1000, words: "the server is busy" },
  4001: { retry: true, freshToken: true, words: "not authenticated, or the token has expired" },
  4002: { retry: false, words: "the server did not accept the first message" },
  4003: { retry: false, words: "not allowed" },
  4008: { retry: true, words: "this connection was too slow" },
  4009: { retry: false, words: "too many connections for this user" },
  4010: { retry: false, words: "access was revoked" },
  4029: { retry: true, atLeastMs: 5000, words: "too many messages" },
});

const LOST = { retry: true, words: "the connection was lost" };
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MOST_MS = 30_000;
const STABLE_AFTER_MS = 10_000;
const SILENT_AFTER_MS = 40_000; // the server sends a heartbeat every 15 s
const ANSWER_WITHIN_MS = 5_000;
const REFUSED_TOKENS_MOST = 3;
const HEADS_MOST_BYTES = 32_768; // the server takes messages up to 64 KiB
const TIMER_MOST_MS = 2 ** 31 - 1;

const AMOUNT = /^(-?)(0|[1-9][0-9]{0,18})(?:\.([0-9]{1,12}))?$/;

/**
 * Minor units of a decimal string.
 * @param {string} text for example "-12.50"
 * @param {number} scale decimals of the asset
 * @returns {bigint}
 * @throws {RangeError} where `text` is not an amount of that scale
 */
export function minorUnits(text, scale) {
  const match = AMOUNT.exec(text);
  const fraction = match?.[3] ?? "";
  if (!match || fraction.length > scale) throw new RangeError(`not an amount: ${text}`);
  const units = BigInt(match[2] + fraction.padEnd(scale, "0"));
  return match[1] ? -units : units;
}

/**
 * The decimal string of minor units, with exactly `scale` decimals.
 * @param {bigint} units
 * @param {number} scale
 * @returns {string}
 */
export function decimalText(units, scale) {
  const digits = (units < 0n ? -units : units).toString().padStart(scale + 1, "0");
  const whole = digits.slice(0, digits.length - scale);
  const sign = units < 0n ? "-" : "";
  return sign + (scale ? `${whole}.${digits.slice(-scale)}` : whole);
}

/**
 * An account's digest after an entry (contract, section 2).
 * @param {string} previous the digest before it, FIRST_DIGEST for the first
 * @param {object} change a CHANGE
 * @param {string} transactionId
 * @returns {Promise<string>} lower-case hex
 */
export async function entryDigest(previous, change, transactionId) {
  const units = (name) => minorUnits(change[name], change.scale);
  const text = [
    previous,
    change.account,
    change.seq,
    units("amount"),
    units("held_change"),
    units("balance"),
    units("held"),
    transactionId,
  ].join("|");
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Full jitter: anywhere between 0 and a ceiling that doubles with each failed attempt.
 * @param {number} attempt 0 for the first
 * @param {() => number} random in [0, 1)
 * @returns {number} milliseconds
 */
export function reconnectDelay(attempt, random = Math.random) {
  return random() * Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 16));
}

/** The moment at which a JWT expires, in milliseconds since 1970, or null where it cannot be read. */
function tokenExpiry(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const { exp } = JSON.parse(atob(payload));
    return Number.isFinite(exp) ? exp * 1000 : null;
  } catch {
    return null;
  }
}

/**
 * The WebSocket transport. A transport is a function that opens a connection to `url`, makes the
 * wish of `hello()` (the `connect` message) known to the server in its own way, calls
 * `handlers.received(text)` per message and `handlers.closed(code)` once, and returns
 * `{send(message), close()}`.
 */
export function openWebSocket(url, hello, handlers) {
  const socket = new WebSocket(url, "tallywire.v1");
  socket.addEventListener("open", () => socket.send(JSON.stringify(hello())));
  socket.addEventListener("message", (event) => handlers.received(event.data));
  socket.addEventListener("close", (event) => handlers.closed(event.code));
  return {
    send: (message) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
    },
    close: () => socket.close(1000),
  };
}

/** The `/ws` address of the server that this page came from. */
function ownAddress() {
  const address = new URL("/ws", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return address.href;
}

/** An account's BALANCE as shown, with `proof`: how far it has been checked. */
function shown(balance, proof) {
  return Object.freeze({ ...balance, proof: Object.freeze(proof) });
}

/**
 * Why `change` cannot follow `known`, in words, or null where it does.
 * @param {object | undefined} known the account so far, undefined where it had no entry
 */
function contradiction(known, change) {
  const units = (object, name) => minorUnits(object[name], change.scale);
  const expected = (known?.seq ?? 0) + 1;
  if (change.seq !== expected) return `entry ${change.seq} came where ${expected} was due`;
  const balance = known ? units(known, "balance") : 0n;
  const held = known ? units(known, "held") : 0n;
  if (units(change, "balance") !== balance + units(change, "amount")) {
    return `entry ${change.seq}: the balance does not follow from the one before`;
  }
  if (units(change, "held") !== held + units(change, "held_change")) {
    return `entry ${change.seq}: the held amount does not follow from the one before`;
  }
  if (
    change.available !== null && // null in debit books
    units(change, "available") !== units(change, "balance") - units(change, "held")
  ) {
    return `entry ${change.seq}: available is not balance less held`;
  }
  return null;
}

export class TallywireClient extends EventTarget {
  #options;
  #status = Object.freeze({ state: "idle", words: "not connected" });
  #cursor = null;
  #accounts = new Map();
  #heads = new Map(); // as at the cursor, which is what a resume must name
  #headsAhead = []; // of updates that a monitor message has not covered yet
  #lastUpdate = 0; // highest position of an own update that was applied
  #parts = [];
  #replay = null;
  #connection = null;
  #attempt = 0;
  #refusedTokens = 0;
  #token = null;
  #restartAfterMs = null;
  #tail = Promise.resolve();
  #timers = new Map();
  #requests = 0;

  /**
   * @param {object} options
   * @param {string | (request: {fresh: boolean}) => string | Promise<string>} options.token a JWT,
   *   or where to get one; `fresh` asks for a new one. An error with `retry: false` stops.
   * @param {string} [options.url] the server's `/ws`; by default this page's own server
   * @param {string[]} [options.streams] of "balances", "prices", "monitor"
   * @param {"every" | "latest"} [options.mode]
   * @param {object} [options.filter] for the monitor stream
   * @param {boolean} [options.verify] whether to check digests (default: where WebCrypto is there)
   * @param {() => number} [options.random]
   * @param {typeof openWebSocket} [options.transport]
   */
  constructor(options) {
    super();
    this.#options = {
      streams: ["balances"],
      mode: "every",
      filter: null,
      verify: Boolean(globalThis.crypto?.subtle),
      random: Math.random,
      transport: openWebSocket,
      ...options,
    };
    this.#options.url ??= ownAddress();
  }

  /**
   * `{state, words, …}`, the state one of `idle`, `connecting`, `connected`, `waiting` (with
   * `retryAt`, milliseconds since 1970) and `stopped` (with `code`); it does not go on by itself
   * from `stopped`.
   */
  get status() {
    return this.#status;
  }

  /** `{epoch, position}` up to which everything was received, or null before the first init. */
  get cursor() {
    return this.#cursor;
  }

  /**
   * Account name to BALANCE with `proof`: `{state, entries, words}`. States: `snapshot` (taken as
   * the server gave it), `verified` (`entries` entries since then fit the chain), `broken` (one
   * did not), `unchecked` (digests cannot be computed here).
   */
  get accounts() {
    return this.#accounts;
  }

  /** Connects and stays connected until `close()` or a refusal that repeating cannot mend. */
  connect() {
    if (this.#connection || this.#status.state === "waiting") return;
    this.#attempt = 0;
    this.#refusedTokens = 0;
    this.#open(false);
  }

  /** Ends the connection for good; what was received stays readable. */
  close() {
    this.#abandon();
    this.#setStatus({ state: "idle", words: "not connected" });
  }

  /** Forgets what is known and takes a fresh snapshot, for example after a `mismatch`. */
  resync() {
    this.#abandon();
    this.#tail = this.#tail.then(() => this.#forget());
    this.#open(false);
  }

  /** While waiting: tries now. While connected: makes sure that the server still answers. */
  wake() {
    if (this.#status.state === "waiting") this.#open(false);
    else if (this.#status.state === "connected") {
      this.#send({ type: "ping", req_id: ++this.#requests });
      this.#expectWithin(ANSWER_WITHIN_MS);
    }
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #setStatus(status) {
    this.#status = Object.freeze(status);
    this.#emit("status", { status: this.#status });
  }

  #after(name, milliseconds, action) {
    clearTimeout(this.#timers.get(name));
    this.#timers.set(name, setTimeout(action, Math.min(Math.max(milliseconds, 0), TIMER_MOST_MS)));
  }

  #forget() {
    this.#cursor = null;
    this.#heads.clear();
    this.#headsAhead = [];
    this.#lastUpdate = 0;
    this.#replay = null;
  }

  #abandon() {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    const connection = this.#connection;
    this.#connection = null;
    if (connection) {
      connection.abandoned = true;
      connection.transport?.close();
    }
  }

  // ---- connecting -------------------------------------------------------------------------

  async #open(fresh) {
    this.#abandon();
    const connection = { abandoned: false, transport: null, liveSince: null };
    this.#connection = connection;
    this.#restartAfterMs = null;
    this.#parts = [];
    this.#setStatus({ state: "connecting", words: "connecting" });
    try {
      this.#token = await this.#newToken(fresh);
    } catch (error) {
      if (connection.abandoned) return;
      const words = error?.message || "no token could be had";
      if (error?.retry === false) this.#stop(null, words);
      else this.#retry({ retry: true, words });
      return;
    }
    await this.#tail; // what the last connection brought is part of the cursor
    if (connection.abandoned) return;
    const { transport, url } = this.#options;
    connection.transport = transport(url, () => this.#firstMessage(), {
      received: (text) => {
        this.#tail = this.#tail.then(() => this.#receive(connection, text));
      },
      closed: (code) => {
        if (!connection.abandoned) this.#tail.then(() => this.#closed(connection, code));
      },
    });
    this.#expectWithin(SILENT_AFTER_MS);
  }

  async #newToken(fresh) {
    const { token } = this.#options;
    return typeof token === "function" ? token({ fresh }) : token;
  }

  #firstMessage() {
    const { streams, mode, filter } = this.#options;
    const message = { type: "connect", token: this.#token, streams, mode, req_id: ++this.#requests };
    if (filter && streams.includes("monitor")) message.filter = filter;
    if (this.#cursor) message.resume = { ...this.#cursor, heads: this.#namedHeads() };
    return message;
  }

  #namedHeads() {
    const heads = {};
    let bytes = 0;
    for (const [account, head] of [...this.#heads].reverse()) {
      bytes += account.length + 110;
      if (bytes > HEADS_MOST_BYTES) break;
      heads[account] = head;
    }
    return heads;
  }

  #send(message) {
    this.#connection?.transport?.send(message);
  }

  #expectWithin(milliseconds) {
    const connection = this.#connection;
    this.#after("silence", milliseconds, () => {
      if (connection !== this.#connection) return;
      this.#closed(connection, 1006);
    });
  }

  #closed(connection, code) {
    if (connection.abandoned || connection !== this.#connection) return;
    const rule = CLOSE_CODES[code] ?? LOST;
    if (connection.liveSince !== null && Date.now() - connection.liveSince >= STABLE_AFTER_MS) {
      this.#attempt = 0;
    }
    if (rule.freshToken) {
      this.#refusedTokens += 1;
      const another = typeof this.#options.token === "function";
      if (!another || this.#refusedTokens >= REFUSED_TOKENS_MOST) {
        this.#stop(code, rule.words);
        return;
      }
    }
    if (!rule.retry) this.#stop(code, rule.words);
    else this.#retry(rule);
  }

  #stop(code, words) {
    this.#abandon();
    this.#setStatus({ state: "stopped", code, words });
  }

  #retry(rule) {
    const restart = this.#restartAfterMs;
    const jitter = reconnectDelay(this.#attempt, this.#options.random);
    const delay = restart ?? (rule.atLeastMs ?? 0) + jitter;
    this.#attempt += 1;
    this.#abandon();
    const words = restart === null ? rule.words : CLOSE_CODES[1012].words;
    this.#setStatus({ state: "waiting", words, retryAt: Date.now() + delay });
    this.#after("retry", delay, () => this.#open(Boolean(rule.freshToken)));
  }

  #live() {
    if (this.#connection.liveSince === null) {
      this.#connection.liveSince = Date.now();
      this.#refusedTokens = 0;
      this.#planRefresh();
    }
    if (this.#status.state !== "connected") {
      this.#setStatus({ state: "connected", words: "connected" });
    }
  }

  #planRefresh() {
    const expiry = tokenExpiry(this.#token ?? "");
    if (expiry === null || typeof this.#options.token !== "function") return;
    const early = Math.max((expiry - Date.now()) * 0.8, 1000);
    this.#after("refresh", early, async () => {
      const connection = this.#connection;
      try {
        const token = await this.#newToken(true);
        if (connection !== this.#connection) return;
        this.#token = token;
        this.#send({ type: "refresh", token });
        this.#planRefresh();
      } catch {
        // The server ends the session with 4001 and a fresh token is asked for then.
      }
    });
  }

  // ---- receiving --------------------------------------------------------------------------

  async #receive(connection, text) {
    if (connection.abandoned) return;
    this.#expectWithin(SILENT_AFTER_MS);
    try {
      await this.#handle(JSON.parse(text));
    } catch (error) {
      console.error("tallywire: a message could not be used; taking a fresh snapshot", error);
      if (connection.abandoned) return;
      this.#forget();
      this.#retry({ retry: true, words: "a message could not be understood" });
    }
  }

  async #handle(message) {
    switch (message.type) {
      case "user_balance_init": return this.#balanceInit(message);
      case "admin_monitor_init": return this.#monitorInit(message);
      case "resumed": return this.#resumed(message);
      case "balance_update": return this.#update(message);
      case "balance_latest": return this.#latest(message);
      case "trading_control_update": return this.#control(message);
      case "admin_balance_monitor": return this.#monitor(message);
      case "heartbeat": return this.#heartbeat(message);
      case "prices": return this.#prices(message);
      case "server_shutdown": this.#restartAfterMs = message.reconnect_after_ms; return undefined;
      case "error": return this.#emit("refused", message);
      default: return undefined;
    }
  }

  get #monitoring() {
    return this.#options.streams.includes("monitor");
  }

  #moveTo(epoch, position) {
    if (this.#cursor?.epoch === epoch && this.#cursor.position === position) return;
    this.#cursor = Object.freeze({ epoch, position });
    const covered = this.#headsAhead.findIndex((head) => head.position > position);
    const settled = this.#headsAhead.splice(0, covered < 0 ? this.#headsAhead.length : covered);
    for (const { account, seq, digest } of settled) {
      this.#heads.delete(account); // so that they stay in the order of their last change
      this.#heads.set(account, { seq, digest });
    }
    this.#emit("cursor", this.#cursor);
  }

  /** Whether `message` belongs to what is known; else everything is taken afresh. */
  #fits(message) {
    if (this.#cursor && message.epoch === this.#cursor.epoch) return true;
    this.#missed("a message of another epoch came");
    return false;
  }

  #missed(words) {
    this.#emit("mismatch", { account: null, seq: null, words });
    this.#forget();
    this.#retry({ retry: true, words });
  }

  #counted(message, epoch) {
    if (!this.#replay || this.#replay.left === 0) return true;
    if (message.replayed) {
      this.#replay.left -= 1;
      return true;
    }
    if (epoch === this.#cursor?.epoch && message.position > this.#replay.to) {
      this.#missed(`${this.#replay.left} replayed messages did not come`);
      return false;
    }
    return true;
  }

  #balanceInit(message) {
    if (message.part === 1) this.#parts = [];
    this.#parts.push(...message.balances);
    if (message.part < message.parts) return;
    const { epoch, position, reason } = message;
    if (message.replayed && this.#replay?.left) this.#replay.left -= 1;
    else if (reason !== "repair") this.#replay = null;
    const before = reason === "repair" || epoch === this.#cursor?.epoch ? this.#accounts : new Map();
    const accounts = new Map(
      this.#parts.map((balance) => [balance.account, this.#taken(before.get(balance.account), balance)]),
    );
    this.#parts = [];
    this.#accounts = accounts;
    this.#lastUpdate = position;
    const heads = [...accounts.values()].map(({ account, seq, digest }) => (
      { position, account, seq, digest }
    ));
    if (reason === "repair" && this.#monitoring) this.#headsAhead.push(...heads);
    else {
      this.#heads = new Map();
      this.#headsAhead = heads;
      if (!this.#monitoring) this.#moveTo(epoch, position);
    }
    if (!this.#monitoring) this.#live();
    this.#emit("balances", { reason, position, control: message.control ?? null });
  }

  /** `balance` as the server gave it, held against the same account as it was known. */
  #taken(known, balance) {
    const proof = this.#options.verify
      ? { state: "snapshot", entries: 0, words: `taken over at entry ${balance.seq}` }
      : { state: "unchecked", entries: 0, words: "digests cannot be checked here" };
    const contradicts = known && known.proof.state !== "broken"
      && (balance.seq < known.seq || (balance.seq === known.seq && balance.digest !== known.digest));
    if (contradicts) {
      Object.assign(proof, { state: "broken", words: `entry ${balance.seq} is not the one known` });
      this.#emit("mismatch", { account: balance.account, seq: balance.seq, words: proof.words });
    }
    return shown(balance, proof);
  }

  #monitorInit(message) {
    this.#moveTo(message.epoch, message.position);
    this.#live();
    this.#emit("monitor-init", { message });
  }

  #resumed(message) {
    this.#replay = { left: this.#options.mode === "every" ? message.count : 0, to: message.to };
    this.#live();
    this.#emit("resumed", message);
  }

  async #update(message) {
    const { type, replayed = false, ...update } = message;
    if (!this.#fits(message) || !this.#counted(message, update.epoch)) return;
    if (update.position <= Math.max(this.#lastUpdate, this.#cursor.position)) {
      this.#emit("duplicate", { position: update.position });
      return;
    }
    for (const change of update.changes) {
      const { amount, held_change, balance_before, alert, ...balance } = change;
      const proof = await this.#prove(this.#accounts.get(change.account), change, update);
      this.#accounts.set(change.account, shown(balance, proof));
      if (proof.state !== "broken") {
        const { account, seq, digest } = change;
        this.#headsAhead.push({ position: update.position, account, seq, digest });
      }
    }
    this.#lastUpdate = update.position;
    if (!this.#monitoring) this.#moveTo(update.epoch, update.position);
    this.#emit("update", { update, replayed });
  }

  /** The proof of an account after `change`. What is broken stays so until a fresh snapshot. */
  async #prove(known, change, update) {
    if (known?.proof.state === "broken") return known.proof;
    let words;
    try {
      words = contradiction(known, change);
      if (!words && this.#options.verify) {
        const previous = known?.digest ?? FIRST_DIGEST;
        const digest = await entryDigest(previous, change, update.transaction_id);
        if (digest !== change.digest) words = `entry ${change.seq}: the digest does not fit`;
      }
    } catch (error) {
      words = `entry ${change.seq} cannot be read: ${error.message}`;
    }
    const entries = (known?.proof.entries ?? 0) + 1;
    if (words) {
      this.#emit("mismatch", { account: change.account, seq: change.seq, words });
      return { state: "broken", entries, words };
    }
    if (!this.#options.verify) {
      return { state: "unchecked", entries, words: "digests cannot be checked here" };
    }
    return { state: "verified", entries, words: `${entries} checked, up to entry ${change.seq}` };
  }

  #latest(message) {
    if (!this.#fits(message)) return;
    if (message.to <= this.#cursor.position) {
      this.#emit("duplicate", { position: message.to });
      return;
    }
    for (const balance of message.balances) {
      this.#accounts.set(balance.account, this.#taken(this.#accounts.get(balance.account), balance));
      const { account, seq, digest } = balance;
      this.#headsAhead.push({ position: message.to, account, seq, digest });
    }
    this.#lastUpdate = Math.max(this.#lastUpdate, message.to);
    if (!this.#monitoring) this.#moveTo(message.epoch, message.to);
    const { from, to } = message;
    this.#emit("latest", { from, to, accounts: message.balances.map(({ account }) => account) });
  }

  #control(message) {
    const { type, replayed = false, ...control } = message;
    if (!this.#fits(message) || !this.#counted(message, control.epoch)) return;
    if (control.position <= Math.max(this.#lastUpdate, this.#cursor.position)) {
      this.#emit("duplicate", { position: control.position });
      return;
    }
    this.#lastUpdate = control.position;
    if (!this.#monitoring) this.#moveTo(control.epoch, control.position);
    this.#emit("control", { control, replayed });
  }

  #monitor(message) {
    if (!this.#fits(message)) return;
    const known = this.#cursor.position;
    if (message.to <= known) {
      this.#emit("duplicate", { position: message.to });
      return;
    }
    if (message.from > known) {
      this.#missed(`positions ${known + 1} to ${message.from} did not come`);
      return;
    }
    const updates = message.updates.filter(({ position }) => position > known);
    this.#moveTo(message.epoch, message.to);
    this.#emit("monitor", { updates, from: message.from, to: message.to });
  }

  #heartbeat(message) {
    if (!this.#cursor) this.#live(); // a connection with prices alone begins with one
    else if (!this.#fits(message)) return;
    this.#moveTo(message.epoch, message.position);
  }

  #prices(message) {
    this.#emit("prices", { prices: message.prices });
  }
}

/**
 * Tallywire client: follows balances live, misses nothing, shows nothing twice, and checks the
 * hash chain of every account that it shows.
 *
 *   const client = new TallywireClient({ token: async () => (await login()).token });
 *   client.addEventListener("update", (event) => draw(event.detail.update));
 *   client.connect();
 *
 * The events and what they carry are `ClientEvents` below; docs/client.md explains them.
 *
 * No dependencies: one file for browsers, workers and Node.js 22. Digests need WebCrypto, which a
 * page has on HTTPS and on a loopback host; elsewhere accounts are "unchecked", never "verified".
 */

/**
 * The state of an account. Amounts are decimal strings with exactly `scale` decimals.
 * @typedef {object} Balance
 * @property {string} account `book/owner/asset`
 * @property {string} book
 * @property {string} asset
 * @property {number} scale decimals of the asset
 * @property {"credit" | "debit"} side
 * @property {string} balance
 * @property {string} held
 * @property {string | null} available null in debit books
 * @property {string | null} floor null where there is no limit
 * @property {string | null} suspend_below
 * @property {string | null} alert_below
 * @property {"active" | "suspended" | "frozen" | "closed"} status
 * @property {number} seq the number of its last entry
 * @property {string} digest of its chain of entries
 * @property {string} total_in
 * @property {string} total_out
 */

/**
 * An account after one entry, and what the entry did.
 * @typedef {Balance & EntryAmounts} Change
 *
 * @typedef {object} EntryAmounts
 * @property {string} amount
 * @property {string} held_change
 * @property {string} balance_before
 * @property {"low_balance"} [alert]
 */

/**
 * @typedef {object} Hold
 * @property {string} id
 * @property {string} user_id
 * @property {string} account
 * @property {string} amount
 * @property {string} remaining
 * @property {"open" | "confirmed" | "voided" | "expired"} status
 * @property {string | null} placed_by
 * @property {string | null} expires_at
 * @property {string | null} reference
 */

/**
 * A trade as one of its transactions left it: base bought or sold at once for quote, or a stake on
 * where a price goes. Prices are in quote for one of the base.
 * @typedef {TradeFields & (SpotFields | OptionFields)} Trade
 *
 * @typedef {object} TradeFields
 * @property {string} id
 * @property {string} user_id
 * @property {string} book
 * @property {string} pair `base-quote`
 * @property {"simulated" | "pushed"} price_source
 * @property {string | null} client_order_id
 *
 * @typedef {object} SpotFields
 * @property {"spot"} kind
 * @property {"filled"} status
 * @property {"buy" | "sell"} side
 * @property {string} price
 * @property {string} base_amount
 * @property {string} quote_amount without the fee
 * @property {string} fee in quote
 * @property {string} filled_at
 *
 * @typedef {object} OptionFields
 * @property {"option"} kind
 * @property {"open" | "settled" | "refunded"} status
 * @property {"up" | "down"} direction
 * @property {string} stake in quote
 * @property {number} duration_s
 * @property {string} payout_rate of the stake
 * @property {string} payout what a win pays besides the stake
 * @property {string} opens_at
 * @property {string} expires_at
 * @property {number} settlement_age_s the oldest that the price of its expiry may be
 * @property {string} open_price
 * @property {string | null} settle_price null until it is settled
 * @property {"simulated" | "pushed" | null} settle_source where that price is from
 * @property {"win" | "lose" | "tie" | null} outcome
 * @property {boolean} forced whether its outcome does not go by the price
 * @property {"win" | "lose"} [control] the trading control that it was opened under
 * @property {string | null} settled_at
 * @property {string | null} reason why it was refunded without a price
 */

/**
 * What one of a pair's base is worth in its quote.
 * @typedef {object} Price
 * @property {string} pair
 * @property {string} price
 * @property {"simulated" | "pushed"} source
 * @property {string} time
 */

/**
 * How the outcome of a user's options in a book is decided: `normal` by the price.
 * @typedef {{mode: "win" | "normal" | "lose", book: string}} Control
 */

/**
 * One user's view of one transaction.
 * @typedef {object} Update
 * @property {string} epoch
 * @property {number} position of the transaction in the journal
 * @property {string} transaction_id
 * @property {string} user_id
 * @property {string} change_type
 * @property {string} description
 * @property {string | null} reference
 * @property {Record<string, unknown>} metadata
 * @property {string | null} reverses id of the transaction that it undoes
 * @property {string} effective_at
 * @property {string} timestamp
 * @property {Change[]} changes
 * @property {Hold} [hold] to its owner and to admins
 * @property {Trade} [trade] to its owner and to admins; the owner of an option that loses gets it
 *   without changes
 * @property {Control} [control] where a trading control was set
 */

/**
 * What admins see of it besides. `user_id` is null where no user is touched.
 * @typedef {Omit<Update, "user_id"> & AdminFields} AdminUpdate
 *
 * @typedef {object} AdminFields
 * @property {string | null} user_id
 * @property {unknown} internal
 * @property {string | null} actor
 * @property {string | null} actor_role
 * @property {string | null} idempotency_key
 */

/**
 * How far an account has been checked: `snapshot`: taken as the server gave it; `verified`:
 * `entries` entries since then fit the chain; `broken`: one did not; `unchecked`: digests cannot be
 * computed here, though numbers and sums are still checked.
 * @typedef {object} Proof
 * @property {"snapshot" | "verified" | "broken" | "unchecked"} state
 * @property {number} entries
 * @property {string} words
 */

/** @typedef {Balance & {proof: Proof}} Account */

/** @typedef {"websocket" | "sse"} TransportName */

/**
 * Where the client stands. From `stopped` it does not go on by itself.
 * @typedef {object} Status
 * @property {"idle" | "connecting" | "connected" | "waiting" | "stopped"} state
 * @property {string} words
 * @property {TransportName | null} transport null where there is no connection
 * @property {number} [retryAt] while waiting: milliseconds since 1970
 * @property {number | null} [code] when stopped: the close code, null where there was none
 */

/**
 * Up to where everything has been received.
 * @typedef {{epoch: string, position: number}} Cursor
 */

/**
 * What each event has as its `detail`.
 *
 * - `status`: the connection's state changed
 * - `cursor`: everything up to here has been received
 * - `balances`: all accounts were replaced
 * - `update`: one transaction, applied to `accounts` and checked
 * - `latest`: mode "latest": these accounts are as at `to`
 * - `control`: the user's trading control was set
 * - `monitor-init`, `monitor`: the monitor stream: where it begins, and everybody's changes
 * - `prices`: of all pairs at first, then of those that changed
 * - `resumed`: the stream goes on where it stopped; `count` messages were missed and follow
 * - `mismatch`: what came does not fit what was known; `account` is null where it is about the
 *   stream, which then begins afresh
 * - `duplicate`: a message at or below what is known was dropped
 * - `refused`: the server's `error` message
 * - `latency`: a round trip was measured
 *
 * @typedef {object} ClientEvents
 * @property {{status: Status}} status
 * @property {Cursor} cursor
 * @property {{reason: "connect" | "reset" | "repair", position: number,
 *   control: Control | null}} balances
 * @property {{update: Update, replayed: boolean}} update
 * @property {{from: number, to: number, accounts: string[]}} latest
 * @property {{control: Control & {epoch: string, position: number, user_id: string,
 *   timestamp: string}, replayed: boolean}} control
 * @property {{message: MonitorInit}} monitor-init
 * @property {{updates: AdminUpdate[], from: number, to: number}} monitor
 * @property {{prices: Price[]}} prices
 * @property {{epoch: string, from: number, to: number, count: number}} resumed
 * @property {{account: string | null, seq: number | null, words: string}} mismatch
 * @property {{position: number}} duplicate
 * @property {{code: string, message: string, req_id?: unknown}} refused
 * @property {{milliseconds: number}} latency
 *
 * @typedef {object} MonitorInit
 * @property {string} epoch
 * @property {number} position
 * @property {{book: string, asset: string, balance: string, held: string}[]} totals
 * @property {{users: number, connections: number}} connected
 * @property {AdminUpdate[]} recent newest first
 */

/**
 * What is known of an account's last entry.
 * @typedef {{seq: number, digest: string}} Head
 */

/**
 * What a connection asks for, in the form of the `connect` message.
 * @typedef {object} Hello
 * @property {string} token
 * @property {string[]} streams
 * @property {"every" | "latest"} mode
 * @property {Record<string, string>} [filter]
 * @property {Cursor & {heads: Record<string, Head>}} [resume]
 */

/**
 * How a connection ended. A code that is not among CLOSE_CODES means that it was lost.
 * @typedef {{code: number, retryAfterMs?: number, words?: string}} Ending
 */

/**
 * A way to reach the server: it opens a connection to `address`, tells the server of `hello()` in
 * its own way, calls `received` per message, in order, and `closed` once. `received` may return a
 * promise: whoever can hold the server back waits for it. Without `send` nothing can be told later.
 * @callback Transport
 * @param {string} address
 * @param {() => Hello} hello
 * @param {{received: (text: string) => void | Promise<void>, closed: (ending: Ending) => void}}
 *   handlers
 * @returns {{send?: (message: object) => void, close: () => void}}
 */

/** The digest before an account's first entry. */
export const FIRST_DIGEST = "0".repeat(64);

const AMOUNT = /^(-?)(0|[1-9][0-9]{0,18})(?:\.([0-9]{1,12}))?$/;
const DIGEST = /^[0-9a-f]{64}$/;

/**
 * Minor units of a decimal string.
 * @param {string} text for example "-12.50"
 * @param {number} scale decimals of the asset
 * @returns {bigint}
 * @throws {RangeError} where `text` is not an amount of that scale
 */
export function minorUnits(text, scale) {
  const match = typeof text === "string" ? AMOUNT.exec(text) : null;
  const fraction = match?.[3] ?? "";
  if (!match || !(fraction.length <= scale)) throw new RangeError(`not an amount: ${text}`);
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
 * @param {Pick<Change, "account" | "scale" | "seq" | "amount" | "held_change" | "balance" | "held">}
 *   change
 * @param {string} transactionId
 * @returns {Promise<string>} lower-case hex
 */
export async function entryDigest(previous, change, transactionId) {
  const { account, scale, seq, amount, held_change: heldChange, balance, held } = change;
  const units = [amount, heldChange, balance, held].map((text) => minorUnits(text, scale));
  const text = [previous, account, seq, ...units, transactionId].join("|");
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * What the client does about a close.
 * @typedef {object} CloseRule
 * @property {boolean} retry whether it comes back by itself
 * @property {string} words
 * @property {number} [atLeastMs] how long it stays away at least
 * @property {boolean} [freshToken] whether it needs a new token
 */

/**
 * What each close code means for the client; codes that are not listed are lost connections.
 * @type {Readonly<Record<number, CloseRule>>}
 */
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

/** @type {CloseRule} */
const LOST = { retry: true, words: "the connection was lost" };
const LOST_CODE = 1006;
const TOO_SLOW_CODE = 4008;

/** The close code that says over a WebSocket what an HTTP refusal says by its status. */
const REFUSALS = new Map([
  [400, 4002],
  [401, 4001],
  [403, 4003],
  [422, 4002],
  [429, 4029],
  [503, 1013],
]);

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MOST_MS = 30_000;

/**
 * Full jitter: anywhere between 0 and a ceiling that doubles with each failed attempt.
 * @param {number} attempt 0 for the first
 * @param {() => number} random in [0, 1)
 * @returns {number} milliseconds
 */
export function reconnectDelay(attempt, random = Math.random) {
  return random() * Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 16));
}

/**
 * The moment at which a JWT expires, in milliseconds since 1970, or null where it cannot be read.
 * @param {string} token
 */
function tokenExpiry(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const { exp } = JSON.parse(atob(payload));
    return Number.isFinite(exp) ? exp * 1000 : null;
  } catch {
    return null;
  }
}

const FALLBACK_AFTER = 3;
const RETURN_FIRST_MS = 120_000;
const RETURN_MOST_MS = 1_800_000;

/**
 * Which transport to try next: WebSocket, unless it fails repeatedly without ever becoming live, as
 * behind a proxy that lets no upgrade through; then SSE, until it is time to try WebSocket again.
 * Pure: `now` is milliseconds since 1970.
 */
class TransportChoice {
  /** @type {TransportName} */
  next = "websocket";
  /** When WebSocket is to be tried again, milliseconds since 1970. */
  returnAt = 0;
  #failures = 0;
  #onlySse = false;
  #returnAfterMs = RETURN_FIRST_MS;

  /** @param {TransportName} name it became live */
  worked(name) {
    this.next = name;
    this.#failures = 0;
    this.#onlySse = name === "sse";
    if (name === "websocket") this.#returnAfterMs = RETURN_FIRST_MS;
  }

  /**
   * @param {TransportName} name it ended before it was live, and nobody said why
   * @param {number} now
   */
  failed(name, now) {
    // Where SSE fails too, the server is away, and nothing was learnt about WebSockets; what SSE
    // has shown before still holds, so that the two then take turns.
    const afterSse = this.#onlySse ? FALLBACK_AFTER - 1 : 0;
    this.#failures = name === "websocket" ? this.#failures + 1 : afterSse;
    this.next = this.#failures >= FALLBACK_AFTER ? "sse" : "websocket";
    this.returnAt = now + this.#returnAfterMs;
  }

  /** @param {number} now WebSocket was tried again, and in vain */
  returnFailed(now) {
    this.#returnAfterMs = Math.min(this.#returnAfterMs * 2, RETURN_MOST_MS);
    this.returnAt = now + this.#returnAfterMs;
  }

  /** @param {number} now the network is another: what was learnt of the old one need not hold */
  networkChanged(now) {
    this.#returnAfterMs = RETURN_FIRST_MS;
    this.returnAt = now;
  }
}

/**
 * Reads an event stream (HTML standard, section 9.2.6) from its text, however it is cut up.
 */
export class EventStreamParser {
  #rest = "";
  #afterReturn = false;
  #type = "";
  #data = "";
  #id = "";

  /**
   * @param {string} text the next characters
   * @returns {{type: string, data: string, id: string}[]} the events that they complete
   */
  push(text) {
    const events = [];
    if (this.#afterReturn && text) {
      this.#afterReturn = false;
      if (text[0] === "\n") text = text.slice(1);
    }
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = /** @type {string} */ (lines.pop());
    // A line feed that belongs to a carriage return may still be on its way.
    if (text.endsWith("\r")) this.#afterReturn = true;
    for (const line of lines) {
      if (line) this.#field(line);
      else if (this.#data) events.push(this.#event());
      else this.#type = "";
    }
    return events;
  }

  /** @param {string} line */
  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.#type = value;
    else if (name === "data") this.#data += `${value}\n`;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
  }

  #event() {
    const event = { type: this.#type || "message", data: this.#data.slice(0, -1), id: this.#id };
    this.#type = this.#data = "";
    return event;
  }
}

/** Why the server closes when no `connect` came: the network held up the one that was sent. */
const NO_CONNECT = "no connect in time";

/** @type {Transport} */
export function openWebSocket(address, hello, handlers) {
  const socket = new WebSocket(address, "tallywire.v1");
  socket.addEventListener("open", () => {
    socket.send(JSON.stringify({ type: "connect", ...hello() }));
  });
  socket.addEventListener("message", (event) => handlers.received(event.data));
  socket.addEventListener("close", ({ code, reason }) => {
    handlers.closed({ code: reason === NO_CONNECT ? LOST_CODE : code });
  });
  return {
    send: (message) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
    },
    close: () => socket.close(1000),
  };
}

/** @type {Transport} */
export function openEventStream(address, hello, handlers) {
  const ending = new AbortController();
  readEventStream(address, hello(), handlers.received, ending.signal).then(
    handlers.closed,
    () => handlers.closed({ code: LOST_CODE }),
  );
  return { close: () => ending.abort() };
}

/**
 * @param {string} address
 * @param {Hello} hello
 * @param {(text: string) => void | Promise<void>} received
 * @param {AbortSignal} signal
 * @returns {Promise<Ending>}
 */
async function readEventStream(address, hello, received, signal) {
  const query = new URLSearchParams({ streams: hello.streams.join(","), mode: hello.mode });
  for (const [name, value] of Object.entries(hello.filter ?? {})) query.set(`filter.${name}`, value);
  /** @type {Record<string, string>} */
  const headers = { Accept: "text/event-stream", Authorization: `Bearer ${hello.token}` };
  if (hello.resume) headers["Last-Event-ID"] = `${hello.resume.epoch}:${hello.resume.position}`;
  const answer = await fetch(`${address}?${query}`, { headers, signal, cache: "no-store" });
  if (!answer.ok) return refusal(answer);
  if (!answer.body || contentType(answer) !== "text/event-stream") return { code: LOST_CODE };

  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventStreamParser();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { code: LOST_CODE };
    for (const event of parser.push(decoder.decode(value, { stream: true }))) {
      if (event.type === "close") return { code: JSON.parse(event.data).code };
      await received(event.data);
    }
  }
}

/** @param {Response} answer */
function contentType(answer) {
  return answer.headers.get("Content-Type")?.split(";")[0].trim().toLowerCase();
}

/**
 * The ending that a refused request is. One that is no PROBLEM is not the server's: something in
 * between answered in its place.
 * @param {Response} answer
 * @returns {Promise<Ending>}
 */
async function refusal(answer) {
  const code = REFUSALS.get(answer.status);
  if (!code || contentType(answer) !== "application/problem+json") return { code: LOST_CODE };
  const { detail, title } = await answer.json();
  return { code, words: detail ?? title, retryAfterMs: retryAfterMs(answer) };
}

/**
 * `Retry-After` in milliseconds (RFC 9110, section 10.2.3), 0 where it says nothing.
 * @param {Response} answer
 */
function retryAfterMs(answer) {
  const after = answer.headers.get("Retry-After") ?? "";
  if (/^[0-9]+$/.test(after)) return Number(after) * 1000;
  return Math.max(Date.parse(after) - Date.now(), 0) || 0;
}

/**
 * The addresses of the server that `url` names: by its root, or by its `/ws`.
 * @param {string | URL | undefined} url
 * @returns {Record<TransportName, string>}
 */
function addressesOf(url) {
  const page = globalThis.location?.href;
  if (url === undefined && !page) throw new TypeError("there is no page, so `url` has to be given");
  const root = new URL(url ?? "/", page);
  root.pathname = root.pathname.replace(/\/?(ws)?$/, "/");
  const secure = root.protocol === "https:" || root.protocol === "wss:";
  const under = (/** @type {string} */ path, /** @type {string} */ protocol) => {
    const address = new URL(path, root);
    address.protocol = protocol;
    return address.href;
  };
  return {
    websocket: under("ws", secure ? "wss:" : "ws:"),
    sse: under("v1/stream", secure ? "https:" : "http:"),
  };
}

/** What came does not go on from what is known; the message says how. */
class Gap extends Error {}

/**
 * How far everything has come: the cursor, own messages that are ahead of it, and what a replay
 * still owes. Pure.
 */
class Progress {
  /** @type {Readonly<Cursor> | null} */
  cursor = null;
  #applied = 0;
  /** @type {{left: number, to: number, last: number} | null} */
  #replay = null;

  /** Everything begins afresh: until the last init there is no cursor. */
  forget() {
    this.cursor = null;
    this.#applied = 0;
    this.#replay = null;
  }

  /**
   * A resume was accepted.
   * @param {ClientEvents["resumed"]} resumed
   * @param {Cursor | null} asked
   */
  resume({ epoch, from, to, count }, asked) {
    checkWhole(from, to, count);
    if (epoch !== asked?.epoch || from !== asked.position) {
      throw new Gap("the stream goes on from another position than was asked for");
    }
    this.#replay = { left: count, to, last: from };
  }

  /**
   * Takes note of an own message; whether it is new, else it is a duplicate.
   * @param {{epoch: string, position: number, replayed?: boolean}} message
   */
  admit({ epoch, position, replayed = false }) {
    checkWhole(position);
    const { position: cursor } = this.#of(epoch);
    this.#count(position, replayed);
    return position > Math.max(this.#applied, cursor);
  }

  /**
   * Whether a message for the range (from, to] is new, else it is a duplicate.
   * @param {{epoch: string, from: number, to: number}} message
   * @param {boolean} own whether it is about the user's own accounts
   */
  admitRange({ epoch, from, to }, own) {
    checkWhole(from, to);
    const { position: cursor } = this.#of(epoch);
    if (to <= (own ? Math.max(this.#applied, cursor) : cursor)) return false;
    if (from > cursor) throw new Gap(`positions ${cursor + 1} to ${from} did not come`);
    return true;
  }

  /** @param {number} position an own message of it was applied; the cursor may still be below */
  applied(position) {
    this.#applied = Math.max(this.#applied, position);
  }

  /**
   * Everything up to `position` has come. The cursor never goes back.
   * @param {string} epoch
   * @param {number} position
   */
  moveTo(epoch, position) {
    checkWhole(position);
    this.#owesNothingAt(position);
    if (this.cursor?.epoch === epoch && position <= this.cursor.position) return;
    this.cursor = Object.freeze({ epoch, position });
  }

  /** @param {string} epoch of a message that goes on from the cursor */
  checkEpoch(epoch) {
    this.#of(epoch);
  }

  /** @param {string} epoch */
  #of(epoch) {
    if (!this.cursor) throw new Gap("a message came before the balances");
    if (this.cursor.epoch !== epoch) throw new Gap("a message of another epoch came");
    return this.cursor;
  }

  /** @param {number} position @param {boolean} replayed */
  #count(position, replayed) {
    const replay = this.#replay;
    if (!replay) return;
    if (replayed && position > replay.last) {
      replay.last = position;
      replay.left -= 1;
    }
    this.#owesNothingAt(position);
  }

  /** @param {number} position */
  #owesNothingAt(position) {
    const replay = this.#replay;
    if (!replay || position < replay.to) return;
    if (replay.left > 0) throw new Gap(`${replay.left} replayed messages did not come`);
    this.#replay = null;
  }
}

/** @param {number[]} numbers */
function checkWhole(...numbers) {
  if (!numbers.every(Number.isSafeInteger)) throw new Gap("a position cannot be read");
}

/** The heads of one resume; the server takes messages of up to 64 KiB. */
const HEADS_MOST_BYTES = 32_768;

/**
 * The accounts of one user: what is known of each, how far it is proven, and the heads that a
 * resume has to name. It holds what comes against what it knows; no I/O but the hashing.
 */
class AccountBook {
  /** @type {Map<string, Account>} */
  accounts = new Map();
  /** @type {boolean} */
  #verify;
  /** @type {string | null} */
  #userId = null;
  /** @type {string | null} */
  #epoch = null;
  /** @type {Map<string, Head>} as at the cursor, in the order of their last change */
  #heads = new Map();
  /** @type {(Head & {position: number, account: string})[]} of what the cursor has not covered */
  #ahead = [];

  /** @param {boolean} verify whether to check digests */
  constructor(verify) {
    this.#verify = verify;
  }

  /** What is known counts no more: the next snapshot is taken as it comes. */
  forget() {
    this.#epoch = null;
  }

  /** Whether every account fits what came for it. */
  get isSound() {
    return ![...this.accounts.values()].some(({ proof }) => proof.state === "broken");
  }

  /** The heads to resume with, those that changed last where not all can be named. */
  heads() {
    /** @type {Record<string, Head>} */
    const named = {};
    let bytes = 0;
    for (const [account, head] of [...this.#heads].reverse()) {
      bytes += new TextEncoder().encode(account).length + 110;
      if (bytes > HEADS_MOST_BYTES) break;
      named[account] = head;
    }
    return named;
  }

  /**
   * Takes over a snapshot, held against what was known of the same user in the same epoch.
   * @param {{epoch: string, position: number, user_id: string, balances: Balance[]}} snapshot
   * @param {boolean} keepsHeads whether the cursor stays below the snapshot for now
   * @returns {Account[]} accounts that do not fit what was known
   */
  replace({ epoch, position, user_id: userId, balances }, keepsHeads) {
    const comparable = epoch === this.#epoch && userId === this.#userId;
    const before = comparable ? this.accounts : new Map();
    const after = new Map(
      balances.map((balance) => [balance.account, this.#taken(before.get(balance.account), balance)]),
    );
    for (const [name, known] of before) {
      if (!after.has(name)) after.set(name, broken(known, known.proof.entries, "the account is gone"));
    }
    if (!keepsHeads) {
      this.#heads.clear();
      this.#ahead = [];
    }
    this.#epoch = epoch;
    this.#userId = userId;
    this.accounts = after;
    this.#note(position, [...after.values()]);
    return [...after.values()].filter(({ proof }) => proof.state === "broken");
  }

  /**
   * The accounts that `update` touches, as they are after it; nothing is changed yet.
   * @param {Update} update
   */
  async after(update) {
    if (update.user_id !== this.#userId) throw new Gap("an update of another user came");
    return Promise.all(update.changes.map(async (change) => {
      const { amount, held_change, balance_before, alert, ...balance } = change;
      const proof = await this.#prove(this.accounts.get(change.account), change, update);
      return shown(balance, proof);
    }));
  }

  /**
   * Puts `accounts`, as they are at `position`, in place of what was known of them.
   * @param {number} position
   * @param {Account[]} accounts
   * @returns {Account[]} those that do not fit, and did until now
   */
  put(position, accounts) {
    const newly = accounts.filter(({ account, proof }) => (
      proof.state === "broken" && this.accounts.get(account)?.proof.state !== "broken"
    ));
    for (const account of accounts) this.accounts.set(account.account, account);
    this.#note(position, accounts);
    return newly;
  }

  /**
   * The accounts that a message of mode "latest" brings; nothing is changed yet.
   * @param {Balance[]} balances
   */
  latest(balances) {
    return balances.map((balance) => {
      const known = this.accounts.get(balance.account);
      if (known?.proof.state === "broken") return shown(balance, known.proof);
      return this.#taken(known, balance);
    });
  }

  /** @param {number} position the cursor has come to it */
  cover(position) {
    const beyond = this.#ahead.findIndex((head) => head.position > position);
    const covered = this.#ahead.splice(0, beyond < 0 ? this.#ahead.length : beyond);
    for (const { account, seq, digest } of covered) {
      this.#heads.delete(account);
      this.#heads.set(account, { seq, digest });
    }
  }

  /** @param {number} position @param {Account[]} accounts */
  #note(position, accounts) {
    for (const { account, seq, digest, proof } of accounts) {
      if (proof.state !== "broken") this.#ahead.push({ position, account, seq, digest });
    }
  }

  /**
   * `balance` as the server gave it, held against the same account as it was known.
   * @param {Account | undefined} known
   * @param {Balance} balance
   */
  #taken(known, balance) {
    checkBalance(balance);
    const trusted = known && known.proof.state !== "broken" ? known : null;
    if (trusted && balance.seq === trusted.seq) {
      const { digest, balance: money, held } = trusted;
      if (balance.digest === digest && balance.balance === money && balance.held === held) {
        return shown(balance, trusted.proof);
      }
    }
    if (trusted && balance.seq <= trusted.seq) {
      return broken(balance, trusted.proof.entries, `entry ${balance.seq} is not the one known`);
    }
    return shown(balance, this.#verify
      ? { state: "snapshot", entries: 0, words: `taken over at entry ${balance.seq}` }
      : { state: "unchecked", entries: 0, words: UNCHECKED });
  }

  /**
   * The proof of an account after `change`. What is broken stays so until a fresh snapshot.
   * @param {Account | undefined} known
   * @param {Change} change
   * @param {Update} update
   * @returns {Promise<Proof>}
   */
  async #prove(known, change, update) {
    if (known?.proof.state === "broken") return known.proof;
    const entries = (known?.proof.entries ?? 0) + 1;
    const words = await this.#contradiction(known, change, update.transaction_id);
    if (words) return { state: "broken", entries, words };
    if (!this.#verify) return { state: "unchecked", entries, words: UNCHECKED };
    return { state: "verified", entries, words: `${entries} checked, up to entry ${change.seq}` };
  }

  /**
   * Why `change` cannot follow `known`, in words, or null where it does.
   * @param {Account | undefined} known
   * @param {Change} change
   * @param {string} transactionId
   */
  async #contradiction(known, change, transactionId) {
    try {
      const words = contradiction(known, change);
      if (words || !this.#verify) return words;
      const digest = await entryDigest(known?.digest ?? FIRST_DIGEST, change, transactionId);
      return digest === change.digest ? null : `entry ${change.seq}: the digest does not fit`;
    } catch (error) {
      return `entry ${change.seq} cannot be read: ${messageOf(error)}`;
    }
  }
}

const UNCHECKED = "digests cannot be checked here";

/**
 * @param {Balance} balance
 * @param {Proof} proof
 * @returns {Account}
 */
function shown(balance, proof) {
  return Object.freeze({ ...balance, proof: Object.freeze(proof) });
}

/**
 * @param {Balance} balance
 * @param {number} entries
 * @param {string} words
 */
function broken(balance, entries, words) {
  return shown(balance, { state: "broken", entries, words });
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * @param {Balance} balance
 * @throws {Gap} where it cannot be shown
 */
function checkBalance({ account, scale, seq, digest, balance, held }) {
  const readable = typeof account === "string" && Number.isSafeInteger(seq) && DIGEST.test(digest);
  if (!readable) throw new Gap(`the balance of ${account} cannot be read`);
  minorUnits(balance, scale);
  minorUnits(held, scale);
}

/**
 * Why `change` cannot follow `known` by its numbers, in words, or null where it does.
 * @param {Account | undefined} known the account so far, undefined where it had no entry
 * @param {Change} change
 * @throws {RangeError} where an amount cannot be read
 */
function contradiction(known, change) {
  const { scale, seq } = change;
  const due = (known?.seq ?? 0) + 1;
  if (seq !== due) return `entry ${seq} came where ${due} was due`;
  const balance = minorUnits(change.balance, scale);
  const held = minorUnits(change.held, scale);
  const before = known ? minorUnits(known.balance, known.scale) : 0n;
  const heldBefore = known ? minorUnits(known.held, known.scale) : 0n;
  if (minorUnits(change.balance_before, scale) !== before
    || balance !== before + minorUnits(change.amount, scale)) {
    return `entry ${seq}: the balance does not follow from the one before`;
  }
  if (held !== heldBefore + minorUnits(change.held_change, scale)) {
    return `entry ${seq}: the held amount does not follow from the one before`;
  }
  // Debit books have nothing available.
  if (change.available !== null && minorUnits(change.available, scale) !== balance - held) {
    return `entry ${seq}: available is not balance less held`;
  }
  return null;
}

const INBOX_MOST = 20_000;

/**
 * Hands items on one after the other, each once the one before it is done.
 * @template Item
 */
class Inbox {
  /** @type {Item[]} */
  #waiting = [];
  /** @type {Promise<void> | null} */
  #draining = null;
  #handle;

  /** @param {(item: Item) => void | Promise<void>} handle it does not throw */
  constructor(handle) {
    this.#handle = handle;
  }

  /** How many wait. */
  get length() {
    return this.#waiting.length;
  }

  /**
   * @param {Item} item
   * @returns {Promise<void>} done once all that came so far is
   */
  push(item) {
    this.#waiting.push(item);
    return this.#draining ??= this.#drain();
  }

  async #drain() {
    while (this.#waiting.length) {
      const batch = this.#waiting;
      this.#waiting = [];
      for (const item of batch) await this.#handle(item);
    }
    this.#draining = null;
  }
}

const LOOK_EVERY_MS = 5_000;
const JUMP_MS = 10_000;

/**
 * Actions at moments of the wall clock, which goes on while the machine sleeps, when timers do not.
 */
class Alarms {
  /** @type {Map<string | symbol, {at: number, action: () => void}>} */
  #alarms = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #expected = 0;
  #jumped;

  /** @param {() => void} jumped the clock has jumped, so this machine has perhaps slept */
  constructor(jumped) {
    this.#jumped = jumped;
  }

  /**
   * @param {string | symbol} name an alarm of that name is replaced
   * @param {number} milliseconds from now
   * @param {() => void} action
   */
  set(name, milliseconds, action) {
    const at = Date.now() + Math.max(milliseconds, 0);
    this.#alarms.set(name, { at, action });
    if (this.#timer === undefined || at < this.#expected) this.#plan();
  }

  /** @param {string | symbol} name */
  clear(name) {
    this.#alarms.delete(name);
  }

  /** No alarm is left, and no timer. */
  stop() {
    this.#alarms.clear();
    this.#plan();
  }

  #plan() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#alarms.size === 0) return;
    const now = Date.now();
    const first = Math.min(...[...this.#alarms.values()].map(({ at }) => at));
    this.#expected = Math.min(Math.max(first, now), now + LOOK_EVERY_MS);
    this.#timer = setTimeout(() => this.#look(), this.#expected - now);
  }

  #look() {
    this.#timer = undefined;
    const late = Date.now() - this.#expected;
    if (late < -JUMP_MS) for (const alarm of this.#alarms.values()) alarm.at += late;
    if (Math.abs(late) > JUMP_MS) this.#jumped();
    for (const name of [...this.#alarms.keys()]) {
      const alarm = this.#alarms.get(name);
      if (!alarm || alarm.at > Date.now()) continue;
      this.#alarms.delete(name);
      alarm.action();
    }
    if (this.#timer === undefined) this.#plan();
  }
}

const TOKEN_WITHIN_MS = 30_000;
const REFRESH_LEAST_MS = 1_000;
const REFUSED_TOKENS_MOST = 3;

/** Where tokens come from, and how long they last by the server's clock. */
class Tokens {
  #provider;
  #alarms;
  #serverAheadMs = 0;
  #refused = 0;
  #wantsFresh = false;
  /** The newest one. */
  newest = "";

  /** @param {ClientOptions["token"]} provider @param {Alarms} alarms */
  constructor(provider, alarms) {
    this.#provider = provider;
    this.#alarms = alarms;
  }

  /** @param {string} serverTime */
  heard(serverTime) {
    this.#serverAheadMs = (Date.parse(serverTime) - Date.now()) || 0;
  }

  /** The server's time in milliseconds since 1970, as far as it is known. */
  get now() {
    return Date.now() + this.#serverAheadMs;
  }

  /** A token was taken. */
  accepted() {
    this.#refused = 0;
  }

  /** A token was refused; whether another may do better. */
  refused() {
    this.#wantsFresh = true;
    this.#refused += 1;
    return typeof this.#provider === "function" && this.#refused < REFUSED_TOKENS_MOST;
  }

  /** A token for a new connection; it throws what the provider throws. */
  async forConnection() {
    const token = await this.#ask(this.#wantsFresh || this.#leftMs(this.newest) <= 0);
    this.#wantsFresh = false;
    return token;
  }

  /**
   * A token that lasts longer than `token`, or null where there is none to be had now.
   * @param {string} token
   */
  async newerThan(token) {
    try {
      const newer = await this.#ask(true);
      return this.#leftMs(newer) > this.#leftMs(token) ? newer : null;
    } catch {
      return null;
    }
  }

  /**
   * When to ask for a token that follows `token`: in so many milliseconds, null for never.
   * @param {string} token
   */
  renewalMs(token) {
    const left = this.#leftMs(token);
    // What has expired already the server ends by itself.
    const never = left === Infinity || left <= 0 || typeof this.#provider !== "function";
    return never ? null : Math.max(left * 0.8, REFRESH_LEAST_MS);
  }

  /** @param {string} token without end where it does not say when */
  #leftMs(token) {
    return (tokenExpiry(token) ?? Infinity) - this.now;
  }

  /** @param {boolean} fresh */
  async #ask(fresh) {
    const provider = this.#provider;
    const alarm = Symbol("token");
    const late = new Promise((_, reject) => {
      this.#alarms.set(alarm, TOKEN_WITHIN_MS, () => reject(new Error("no token came in time")));
    });
    try {
      const given = typeof provider === "function" ? provider({ fresh }) : provider;
      const token = await Promise.race([given, late]);
      if (typeof token !== "string" || !token) throw new Error("no token could be had");
      this.newest = token;
      return token;
    } finally {
      this.#alarms.clear(alarm);
    }
  }
}

/**
 * Listens to what a page or worker is told of its life and its network; what there is not (most of
 * it in Node) is not listened to.
 * @param {{woken: () => void, online: () => void, asleep: () => void, awake: () => void}} actions
 * @returns {() => void} ends it
 */
function watchSurroundings({ woken, online, asleep, awake }) {
  const ending = new AbortController();
  const on = (
    /** @type {EventTarget | undefined} */ target,
    /** @type {string} */ name,
    /** @type {(event: Event) => void} */ action,
  ) => target?.addEventListener?.(name, action, { signal: ending.signal });
  on(globalThis, "online", online);
  on(globalThis, "offline", woken);
  on(globalThis, "pagehide", asleep);
  on(globalThis, "pageshow", awake);
  const { document } = globalThis;
  on(document, "freeze", asleep);
  on(document, "resume", awake);
  on(document, "visibilitychange", () => { if (!isHidden()) woken(); });
  return () => ending.abort();
}

function isHidden() {
  return globalThis.document?.visibilityState === "hidden";
}

/** One connection of the client, from its opening to its end. */
class Connection {
  /** @type {ReturnType<Transport> | null} */
  transport = null;
  token = "";
  /** @type {Cursor | null} where it asked to go on */
  asked = null;
  /** @type {number | null} */
  liveSince = null;
  heardAt = Date.now();
  /** @type {number | null} how long the server asked to stay away */
  restartAfterMs = null;
  /** @type {any[]} the parts of an init whose last one has not come yet */
  #parts = [];

  /**
   * @param {TransportName} name
   * @param {(connection: Connection, item: {text: string} | {ending: Ending}) => void | Promise<void>}
   *   handle
   */
  constructor(name, handle) {
    this.name = name;
    /** @type {Inbox<{text: string} | {ending: Ending}>} */
    this.inbox = new Inbox((item) => handle(this, item));
  }

  /**
   * All balances of an init, null until its last part is there.
   * @param {{position: number, part: number, parts: number, balances: Balance[]}} message
   * @returns {Balance[] | null}
   */
  joined(message) {
    if (message.part === 1) this.#parts = [];
    const due = this.#parts.length + 1;
    const goesOn = due === 1 || message.position === this.#parts[0].position;
    if (message.part !== due || !goesOn) throw new Gap("a part of the balances did not come");
    this.#parts.push(message);
    if (due < message.parts) return null;
    const balances = this.#parts.flatMap((each) => each.balances);
    this.#parts = [];
    return balances;
  }

  /** @param {unknown} milliseconds for which the server will be away */
  goesFor(milliseconds) {
    if (typeof milliseconds === "number" && milliseconds >= 0) this.restartAfterMs = milliseconds;
  }
}

/**
 * What the messages of the server do to what is known, whichever connection they come by.
 */
class Following {
  #streams;
  #host;
  #book;
  #progress = new Progress();

  /**
   * @param {string[]} streams
   * @param {boolean} verify
   * @param {object} host
   * @param {<Name extends keyof ClientEvents>(name: Name, detail: ClientEvents[Name]) => void}
   *   host.emit
   * @param {(connection: Connection) => void} host.live the stream of `connection` has begun
   * @param {(connection: Connection) => boolean} host.isCurrent
   */
  constructor(streams, verify, host) {
    this.#streams = streams;
    this.#host = host;
    this.#book = new AccountBook(verify);
  }

  get cursor() {
    return this.#progress.cursor;
  }

  get accounts() {
    return this.#book.accounts;
  }

  /** Where to go on, null where everything has to be told again. */
  resume() {
    const { cursor } = this.#progress;
    return cursor && this.#book.isSound ? { ...cursor, heads: this.#book.heads() } : null;
  }

  /** The next connection begins with a snapshot, which is held against what is known. */
  beginAfresh() {
    this.#progress.forget();
  }

  /** The next connection begins with a snapshot, which is taken as it comes. */
  forget() {
    this.#progress.forget();
    this.#book.forget();
  }

  /**
   * Takes one message: first all that is known is changed, then listeners are told.
   * @param {Connection} connection
   * @param {any} message
   * @throws {Error} where it cannot be used, which leaves what is known as it was
   */
  async take(connection, message) {
    const before = this.cursor;
    await this.#take(connection, message);
    if (this.cursor && this.cursor !== before) this.#host.emit("cursor", this.cursor);
  }

  /**
   * @param {Connection} connection
   * @param {any} message
   * @returns {void | Promise<void>}
   */
  #take(connection, message) {
    switch (message.type) {
      case "user_balance_init": return this.#balanceInit(connection, message);
      case "admin_monitor_init": return this.#monitorInit(connection, message);
      case "resumed": return this.#resumed(connection, message);
      case "balance_update": return this.#update(connection, message);
      case "balance_latest": return this.#latest(message);
      case "trading_control_update": return this.#control(message);
      case "admin_balance_monitor": return this.#monitor(message);
      case "heartbeat": return this.#heartbeat(connection, message);
      case "prices": return this.#host.emit("prices", { prices: message.prices });
      default: return undefined; // Later servers may say more than this client knows.
    }
  }

  get #monitoring() {
    return this.#streams.includes("monitor");
  }

  /** @param {string} epoch @param {number} position */
  #moveTo(epoch, position) {
    this.#progress.moveTo(epoch, position);
    this.#book.cover(position);
  }

  /**
   * An own message was applied. Beside a monitor it is the monitor's that moves the cursor.
   * @param {string} epoch
   * @param {number} position
   */
  #applied(epoch, position) {
    this.#progress.applied(position);
    if (!this.#monitoring) this.#moveTo(epoch, position);
  }

  /** @param {Account[]} accounts */
  #tellBroken(accounts) {
    for (const { account, seq, proof } of accounts) {
      this.#host.emit("mismatch", { account, seq, words: proof.words });
    }
  }

  /** @param {Connection} connection @param {any} message */
  #balanceInit(connection, message) {
    const { epoch, position, reason, control = null } = message;
    const isRepair = reason === "repair";
    // Inits follow: until the last of them there is no cursor.
    if (message.part === 1 && !isRepair) this.#progress.forget();
    const balances = connection.joined(message);
    if (!balances) return;
    if (isRepair && !this.#progress.admit(message)) {
      this.#host.emit("duplicate", { position });
      return;
    }
    const misfits = this.#book.replace({ ...message, balances }, isRepair && this.#monitoring);
    this.#applied(epoch, position);
    if (!this.#monitoring) this.#host.live(connection);
    this.#tellBroken(misfits);
    this.#host.emit("balances", { reason, position, control });
  }

  /** @param {Connection} connection @param {MonitorInit} message */
  #monitorInit(connection, message) {
    this.#moveTo(message.epoch, message.position);
    this.#host.live(connection);
    this.#host.emit("monitor-init", { message });
  }

  /** @param {Connection} connection @param {ClientEvents["resumed"]} message */
  #resumed(connection, message) {
    this.#progress.resume(message, connection.asked);
    this.#host.live(connection);
    this.#host.emit("resumed", message);
  }

  /** @param {Connection} connection @param {any} message */
  async #update(connection, message) {
    const { type, replayed = false, ...update } = message;
    const { epoch, position } = update;
    if (!this.#progress.admit(message)) return this.#host.emit("duplicate", { position });
    const accounts = await this.#book.after(update);
    // What was interrupted here comes again after the resume.
    if (!this.#host.isCurrent(connection)) return undefined;
    const misfits = this.#book.put(position, accounts);
    this.#applied(epoch, position);
    this.#tellBroken(misfits);
    return this.#host.emit("update", { update, replayed });
  }

  /** @param {any} message */
  #latest({ epoch, from, to, balances }) {
    if (!this.#progress.admitRange({ epoch, from, to }, true)) {
      return this.#host.emit("duplicate", { position: to });
    }
    const accounts = this.#book.latest(balances);
    const misfits = this.#book.put(to, accounts);
    this.#applied(epoch, to);
    this.#tellBroken(misfits);
    const names = accounts.map(({ account }) => account);
    return this.#host.emit("latest", { from, to, accounts: names });
  }

  /** @param {any} message */
  #control(message) {
    const { type, replayed = false, ...control } = message;
    const { epoch, position } = control;
    if (!this.#progress.admit(message)) return this.#host.emit("duplicate", { position });
    this.#applied(epoch, position);
    return this.#host.emit("control", { control, replayed });
  }

  /** @param {any} message */
  #monitor({ epoch, from, to, updates }) {
    const known = this.cursor?.position ?? 0;
    if (!this.#progress.admitRange({ epoch, from, to }, false)) {
      return this.#host.emit("duplicate", { position: to });
    }
    /** @type {AdminUpdate[]} */
    const fresh = updates.filter((/** @type {AdminUpdate} */ { position }) => position > known);
    this.#moveTo(epoch, to);
    return this.#host.emit("monitor", { updates: fresh, from, to });
  }

  /** @param {Connection} connection @param {any} message */
  #heartbeat(connection, { epoch, position }) {
    // A connection with prices alone follows no positions, and begins with a heartbeat.
    if (this.#streams.some((stream) => stream !== "prices")) this.#progress.checkEpoch(epoch);
    this.#moveTo(epoch, position);
    this.#host.live(connection);
  }
}

const STABLE_AFTER_MS = 10_000;
const FIRST_WITHIN_MS = 15_000;
const SILENT_AFTER_MS = 40_000; // the server sends a heartbeat every 15 s
const HEARTBEAT_LATE_MS = 20_000;
const ANSWER_WITHIN_MS = 5_000;
const PING_EVERY_MS = 15_000;
/** What a stream begins with. */
const BEGINNINGS = new Set(["resumed", "user_balance_init", "admin_monitor_init", "heartbeat"]);

/**
 * @typedef {object} ClientOptions
 * @property {string | ((request: {fresh: boolean}) => string | Promise<string>)} token a JWT, or
 *   where to get one; `fresh` asks for a new one. An error with `retry: false` stops the client.
 * @property {string | URL} [url] the server, by its root or by its `/ws`; by default this page's own
 * @property {("balances" | "prices" | "monitor")[]} [streams] by default `["balances"]`
 * @property {"every" | "latest"} [mode] every change by itself, or accounts as they are when the
 *   connection has room
 * @property {Record<string, string>} [filter] of the monitor stream
 * @property {boolean} [verify] whether to check digests; by default where WebCrypto is there
 * @property {() => number} [random] in [0, 1)
 * @property {Record<TransportName, Transport>} [transports]
 */

/** Follows the server as one user; see the head of this file. */
export class TallywireClient extends EventTarget {
  #tokens;
  #addresses;
  #wanted;
  #random;
  #transports;
  /** @type {Readonly<Status>} */
  #status = Object.freeze({ state: "idle", words: "not connected", transport: null });
  #following;
  #choice = new TransportChoice();
  #alarms = new Alarms(() => this.wake());
  /** @type {(() => void) | null} */
  #unwatch = null;
  #asleep = false;
  /** @type {Connection | null} */
  #connection = null;
  /** @type {Connection | null} opened beside the connection, to take its place once it is live */
  #successor = null;
  #attempt = 0;
  /** @type {number | null} */
  #latency = null;
  #pings = 0;
  /** @type {{id: number, at: number, urgent: boolean} | null} a ping that is not answered yet */
  #pinged = null;

  /** @param {ClientOptions} options */
  constructor({
    token,
    url,
    streams = ["balances"],
    mode = "every",
    filter,
    verify = Boolean(globalThis.crypto?.subtle),
    random = Math.random,
    transports = { websocket: openWebSocket, sse: openEventStream },
  }) {
    super();
    if (verify && !globalThis.crypto?.subtle) {
      throw new TypeError("digests need WebCrypto: HTTPS or a loopback host");
    }
    this.#tokens = new Tokens(token, this.#alarms);
    this.#addresses = addressesOf(url);
    this.#wanted = { streams, mode, ...(filter && streams.includes("monitor") && { filter }) };
    this.#random = random;
    this.#transports = transports;
    this.#following = new Following(streams, verify, {
      emit: (name, detail) => this.#emit(name, detail),
      live: (connection) => this.#live(connection),
      isCurrent: (connection) => connection === this.#connection,
    });
  }

  /** Where the client stands. */
  get status() {
    return this.#status;
  }

  /** What carries the connection, null where there is none. */
  get transport() {
    return this.#status.transport;
  }

  /** Milliseconds of the last round trip, null where none was measured: over SSE none is. */
  get latency() {
    return this.#latency;
  }

  /** Up to where everything was received, null before the first init. */
  get cursor() {
    return this.#following.cursor;
  }

  /** What the server's clock shows, in milliseconds since 1970, by the last time that it told. */
  get serverNow() {
    return this.#tokens.now;
  }

  /**
   * The user's accounts by name.
   * @returns {ReadonlyMap<string, Account>}
   */
  get accounts() {
    return this.#following.accounts;
  }

  /**
   * @template {keyof ClientEvents} Name
   * @overload
   * @param {Name} type
   * @param {(event: CustomEvent<ClientEvents[Name]>) => void} listener
   * @param {boolean | AddEventListenerOptions} [options]
   * @returns {void}
   */
  /**
   * @overload
   * @param {string} type
   * @param {EventListenerOrEventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   * @returns {void}
   */
  /**
   * As EventTarget's; here so that listeners know the type of `event.detail`.
   * @param {string} type
   * @param {any} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, listener, options);
  }

  /** Connects and stays connected until `close()` or a refusal that repeating cannot mend. */
  connect() {
    if (!this.#connection && this.#status.state !== "waiting") this.#begin();
  }

  /** Ends the connection and all listening for good; what was received stays readable. */
  close() {
    this.#end({ state: "idle", words: "not connected", transport: null });
  }

  /** Forgets what is known and takes a fresh snapshot, for example after a `mismatch`. */
  resync() {
    this.#following.forget();
    this.#begin();
  }

  /** While waiting: tries now. While connected: makes sure that the server still answers. */
  wake() {
    if (this.#status.state === "waiting") this.#open();
    else if (this.#connection && this.#status.state === "connected") this.#probe(this.#connection);
  }

  /** Cuts the connection as if the network had lost it; the client goes on as it would then. */
  interrupt() {
    if (this.#connection) this.#ended(this.#connection, { code: LOST_CODE });
  }

  /**
   * @template {keyof ClientEvents} Name
   * @param {Name} name
   * @param {ClientEvents[Name]} detail
   */
  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** @param {Status} status */
  #setStatus(status) {
    this.#status = Object.freeze(status);
    this.#emit("status", { status });
  }

  #begin() {
    this.#attempt = 0;
    this.#tokens.accepted();
    this.#asleep = false;
    this.#unwatch ??= watchSurroundings({
      woken: () => this.wake(),
      online: () => this.#online(),
      asleep: () => this.#sleep(),
      awake: () => this.#awake(),
    });
    this.#open();
  }

  /** @param {Status} status */
  #end(status) {
    this.#leave();
    this.#unwatch?.();
    this.#unwatch = null;
    this.#asleep = false;
    this.#setStatus(status);
  }

  #leave() {
    this.#alarms.stop();
    const connections = [this.#connection, this.#successor];
    this.#connection = this.#successor = null;
    this.#latency = this.#pinged = null;
    for (const connection of connections) connection?.transport?.close();
  }

  #online() {
    this.#choice.networkChanged(Date.now());
    if (this.#status.state === "connected") this.#planReturn();
    this.wake();
  }

  /** A page that may be kept for later must hold no connection. */
  #sleep() {
    if (this.#asleep) return;
    this.#leave();
    this.#asleep = true;
    this.#setStatus({ state: "idle", words: "the page is not shown", transport: null });
  }

  #awake() {
    if (this.#asleep) this.#begin();
  }

  async #open() {
    this.#leave();
    const connection = this.#connection = this.#newConnection(this.#choice.next);
    this.#setStatus({ state: "connecting", words: "connecting", transport: connection.name });
    try {
      connection.token = await this.#tokens.forConnection();
      if (connection !== this.#connection) return;
    } catch (error) {
      if (connection !== this.#connection) return;
      const words = messageOf(error) || "no token could be had";
      const final = /** @type {{retry?: boolean} | null} */ (error)?.retry === false;
      if (final) this.#stop(null, words);
      else this.#retry(words, 0);
      return;
    }
    this.#start(connection, "silence");
  }

  /** @param {TransportName} name */
  #newConnection(name) {
    return new Connection(name, (connection, item) => (
      "text" in item ? this.#receive(connection, item.text) : this.#ended(connection, item.ending)
    ));
  }

  /**
   * @param {Connection} connection
   * @param {string} alarm the name of the one that minds its first message
   */
  #start(connection, alarm) {
    const { name, inbox } = connection;
    this.#alarms.set(alarm, FIRST_WITHIN_MS, () => this.#ended(connection, { code: LOST_CODE }));
    try {
      connection.transport = this.#transports[name](
        this.#addresses[name],
        () => this.#hello(connection),
        {
          received: (text) => {
            if (inbox.length < INBOX_MOST) return inbox.push({ text });
            // The rest comes again after the resume; so no backlog grows without bound.
            return this.#ended(connection, { code: TOO_SLOW_CODE });
          },
          closed: (ending) => { inbox.push({ ending }); },
        },
      );
    } catch (error) {
      // There is no WebSocket here, or this page may not open that one.
      this.#ended(connection, { code: LOST_CODE, words: messageOf(error) });
    }
  }

  /**
   * @param {Connection} connection
   * @returns {Hello}
   */
  #hello(connection) {
    const resume = this.#following.resume();
    connection.asked = resume;
    return { token: connection.token, ...this.#wanted, ...(resume && { resume }) };
  }

  /**
   * Opens a connection beside the one that there is, which goes on until the new one is live.
   * @param {TransportName} name
   */
  #replaceBy(name) {
    if (this.#successor) return;
    this.#successor = this.#newConnection(name);
    this.#successor.token = this.#tokens.newest;
    this.#start(this.#successor, "successor");
  }

  /** @param {Connection} successor it is live */
  #succeed(successor) {
    this.#alarms.clear("successor");
    this.#alarms.clear("ping");
    this.#connection?.transport?.close();
    this.#connection = successor;
    this.#successor = null;
    this.#pinged = null;
  }

  /** @param {Connection} successor it ended before it was live; the connection goes on */
  #dropSuccessor(successor) {
    this.#alarms.clear("successor");
    this.#successor = null;
    successor.transport?.close();
    if (successor.name === "sse") return this.#planRefresh();
    this.#choice.returnFailed(Date.now());
    return this.#planReturn();
  }

  #planReturn() {
    if (this.#connection?.name !== "sse") return;
    const milliseconds = this.#choice.returnAt - Date.now();
    this.#alarms.set("return", milliseconds, () => this.#replaceBy("websocket"));
  }

  /** @param {Connection} connection @param {Ending} ending */
  #ended(connection, { code, retryAfterMs: afterMs = 0, words }) {
    if (connection === this.#successor) return this.#dropSuccessor(connection);
    if (connection !== this.#connection) return undefined;
    const rule = CLOSE_CODES[code] ?? LOST;
    if (connection.liveSince === null) {
      if (rule === LOST) this.#choice.failed(connection.name, Date.now());
    } else if (Date.now() - connection.liveSince >= STABLE_AFTER_MS) this.#attempt = 0;
    const isFinal = rule.freshToken ? !this.#tokens.refused() : !rule.retry;
    if (isFinal) return this.#stop(code, words ?? rule.words);
    if (rule.freshToken) this.#attempt = 0; // the server is there again, and only the token is not
    const restart = connection.restartAfterMs;
    if (restart !== null) return this.#retry(CLOSE_CODES[1012].words, restart);
    return this.#retry(words ?? rule.words, Math.max(rule.atLeastMs ?? 0, afterMs));
  }

  /** @param {number | null} code @param {string} words */
  #stop(code, words) {
    this.#end({ state: "stopped", words, transport: null, code });
  }

  /** @param {string} words @param {number} atLeastMs */
  #retry(words, atLeastMs) {
    const delay = atLeastMs + reconnectDelay(this.#attempt, this.#random);
    this.#attempt += 1;
    this.#leave();
    const retryAt = Date.now() + delay;
    this.#alarms.set("retry", delay, () => this.#open());
    this.#setStatus({ state: "waiting", words, transport: null, retryAt });
  }

  /** @param {Connection} connection it has begun to tell what was asked for */
  #live(connection) {
    if (connection.liveSince === null) {
      connection.liveSince = Date.now();
      this.#tokens.accepted();
      this.#choice.worked(connection.name);
      this.#planRefresh();
      this.#planReturn();
      this.#keepPinging(connection);
    }
    const { state, transport } = this.#status;
    if (state !== "connected" || transport !== connection.name) {
      this.#setStatus({ state: "connected", words: "connected", transport: connection.name });
    }
  }

  /** @param {Connection} connection */
  #keepPinging(connection) {
    if (!connection.transport?.send) {
      this.#latency = null;
      return;
    }
    if (!isHidden() && !this.#pinged?.urgent) this.#ping(connection, false);
    this.#alarms.set("ping", PING_EVERY_MS, () => this.#keepPinging(connection));
  }

  /**
   * @param {Connection} connection
   * @param {boolean} urgent whether the connection counts as lost without an answer
   */
  #ping(connection, urgent) {
    this.#pings += 1;
    this.#pinged = { id: this.#pings, at: performance.now(), urgent };
    connection.transport?.send?.({ type: "ping", req_id: this.#pings });
  }

  /** @param {Connection} connection */
  #probe(connection) {
    if (connection.transport?.send) {
      if (this.#pinged?.urgent) return;
      this.#ping(connection, true);
      this.#expectWithin(connection, ANSWER_WITHIN_MS);
    } else if (Date.now() - connection.heardAt > HEARTBEAT_LATE_MS) {
      this.#ended(connection, { code: LOST_CODE });
    }
  }

  /** @param {Connection} connection @param {number} milliseconds */
  #expectWithin(connection, milliseconds) {
    this.#alarms.set("silence", milliseconds, () => this.#ended(connection, { code: LOST_CODE }));
  }

  #planRefresh() {
    const milliseconds = this.#connection && this.#tokens.renewalMs(this.#connection.token);
    if (milliseconds !== null) this.#alarms.set("refresh", milliseconds, () => this.#refresh());
  }

  async #refresh() {
    const connection = this.#connection;
    if (!connection) return;
    const token = await this.#tokens.newerThan(connection.token);
    if (connection !== this.#connection) return;
    if (token && !connection.transport?.send) this.#replaceBy("sse");
    else if (token) {
      connection.token = token;
      connection.transport?.send?.({ type: "refresh", token });
    }
    this.#planRefresh();
  }

  /** @param {Connection} connection @param {string} text */
  async #receive(connection, text) {
    if (connection !== this.#connection && connection !== this.#successor) return;
    connection.heardAt = Date.now();
    try {
      const message = JSON.parse(text);
      if (connection === this.#successor) {
        if (!BEGINNINGS.has(message.type)) return;
        this.#succeed(connection);
      }
      this.#expectWithin(connection, SILENT_AFTER_MS);
      if (message.server_time) this.#tokens.heard(message.server_time);
      if (message.type === "pong") this.#answered(message.req_id);
      else if (message.type === "server_shutdown") connection.goesFor(message.reconnect_after_ms);
      else if (message.type === "error") this.#emit("refused", message);
      else await this.#following.take(connection, message);
    } catch (error) {
      if (connection === this.#connection) this.#beginAfresh(error);
      else this.#ended(connection, { code: LOST_CODE });
    }
  }

  /** @param {unknown} id the `req_id` of a pong */
  #answered(id) {
    const pinged = this.#pinged;
    if (!pinged || id !== pinged.id) return;
    this.#pinged = null;
    this.#latency = performance.now() - pinged.at;
    this.#emit("latency", { milliseconds: this.#latency });
  }

  /**
   * A message that cannot be used may be any message, so nothing that is known can be trusted.
   * @param {unknown} error
   */
  #beginAfresh(error) {
    const words = error instanceof Gap
      ? error.message
      : `a message could not be used: ${messageOf(error)}`;
    this.#following.beginAfresh();
    this.#retry(words, 0);
    this.#emit("mismatch", { account: null, seq: null, words });
  }
}

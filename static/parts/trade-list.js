/**
 * One user's trades as rows of a list: open options, the next to expire first, then the newest of
 * the others; read once, then told by the stream.
 */

import { copyOf, one, write } from "./elements.js";
import { aboutTrade, endingOf, timeLeft, tradeWords } from "./trade-words.js";

/** @typedef {import("../tallywire-client.js").Trade} Trade */
/** @typedef {import("./requests.js").Requests} Requests */

const RECENT = 20;
const TICK_MS = 1000;

/**
 * What a page has of its own.
 * @typedef {object} TradesPage
 * @property {HTMLElement} list
 * @property {HTMLElement} title takes the focus of what goes from a row
 * @property {string} template id of a row's
 * @property {(row: HTMLElement, trade: Trade) => void} [draw] what else a row says
 * @property {() => number} [now] what the server's clock shows, in milliseconds since 1970
 */

/** @param {Trade} trade */
const isOpen = ({ status }) => status === "open";

/** When a trade was over. @param {Trade} trade */
const endedAt = (trade) => (trade.kind === "spot" ? trade.filled_at : trade.settled_at ?? "");

/** @param {HTMLElement} row */
function focusIsIn(row) {
  const focused = document.activeElement;
  return row.contains(focused) && Boolean(focused?.checkVisibility());
}

/**
 * Those that a list shows, in its order.
 * @param {Iterable<Trade>} trades
 * @returns {Trade[]}
 */
export function listed(trades) {
  const all = [...trades];
  /** @param {Trade} trade */
  const expiry = (trade) => (trade.kind === "option" ? trade.expires_at + trade.id : "");
  const open = all.filter(isOpen).sort((a, b) => (expiry(a) < expiry(b) ? -1 : 1));
  const ended = all.filter((trade) => !isOpen(trade))
    .sort((a, b) => (endedAt(a) + a.id > endedAt(b) + b.id ? -1 : 1));
  return [...open, ...ended.slice(0, RECENT)];
}

export class TradeList {
  /** @type {Map<string, Trade>} */
  #trades = new Map();
  /** What was told since they were asked for: newer than what is read. @type {Map<string, Trade> | null} */
  #since = null;
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  /** What each row says. @type {WeakMap<HTMLElement, Trade>} */
  #drawn = new WeakMap();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #tick;

  /** @param {TradesPage} page */
  constructor(page) {
    this.page = page;
  }

  /** Those listed, in their order, as far as is known. */
  get trades() {
    return listed(this.#trades.values());
  }

  /** Another user's are wanted. */
  clear() {
    this.#trades.clear();
    this.#since = null;
  }

  /** @param {Trade} trade of this user, as of a transaction */
  changed(trade) {
    this.#since?.set(trade.id, trade);
    this.#put(trade);
  }

  /**
   * @param {Requests} requests
   * @param {string} user whose trades they are
   * @returns {Promise<boolean>} false where they were asked for anew, or another's, meanwhile
   * @throws {import("./requests.js").Refusal | import("./requests.js").NoAnswer | import("./identity.js").NoToken}
   */
  async read(requests, user) {
    /** @type {Map<string, Trade>} */
    const since = new Map();
    this.#since = since;
    /** @type {Trade[]} */
    let found;
    try {
      found = await readAll(requests, user);
    } catch (error) {
      if (this.#since !== since) return false;
      throw error;
    }
    if (this.#since !== since) return false;
    this.#since = null;
    this.#trades.clear();
    for (const trade of [...found, ...since.values()]) this.#put(trade);
    return true;
  }

  /** @param {Trade} trade */
  #put(trade) {
    const known = this.#trades.get(trade.id);
    if (known && !isOpen(known) && isOpen(trade)) return; // told late: it never opens again
    this.#trades.set(trade.id, trade);
  }

  /** Makes the rows say what is known; what is not listed is forgotten. */
  draw() {
    const { list, title } = this.page;
    const { trades } = this;
    this.#trades = new Map(trades.map((trade) => [trade.id, trade]));
    for (const [id, row] of this.#rows) {
      if (this.#trades.has(id)) continue;
      const focused = row.contains(document.activeElement);
      row.remove();
      this.#rows.delete(id);
      if (focused) title.focus();
    }
    trades.forEach((trade, index) => {
      const row = this.#rows.get(trade.id) ?? this.#newRow(trade.id);
      const focused = row.contains(document.activeElement);
      const place = list.children[index];
      if (place !== row) list.insertBefore(row, place ?? null);
      this.#drawOne(row, trade);
      // It moved, or what had the focus is of no use any more.
      if (focused && !focusIsIn(row)) title.focus();
    });
    this.#drawTimes();
  }

  /** @param {string} id */
  #newRow(id) {
    const row = copyOf(this.page.template);
    row.dataset.trade = id;
    this.#rows.set(id, row);
    return row;
  }

  /**
   * @param {HTMLElement} row
   * @param {Trade} trade
   */
  #drawOne(row, trade) {
    if (this.#drawn.get(row) === trade) return;
    this.#drawn.set(row, trade);
    row.dataset.status = trade.status;
    write(one(row, ".what"), tradeWords(trade));
    write(one(row, ".about"), aboutTrade(trade).join(" · "));
    const { text, tone } = endingOf(trade);
    const ending = one(row, ".ending");
    write(ending, text);
    ending.dataset.tone = tone;
    this.page.draw?.(row, trade);
  }

  /** How long open options still run, again and again while there are any. */
  #drawTimes() {
    clearTimeout(this.#tick);
    const running = [...this.#trades.values()].filter((trade) => trade.kind === "option" && isOpen(trade));
    const now = this.page.now?.() ?? Date.now();
    for (const trade of running) {
      const row = this.#rows.get(trade.id);
      if (row && trade.kind === "option") write(one(row, ".ending"), timeLeft(trade.expires_at, now));
    }
    if (running.length) this.#tick = setTimeout(() => this.#drawTimes(), TICK_MS);
  }
}

/**
 * All open options of a user, and the newest trades of each kind.
 * @param {Requests} requests
 * @param {string} user
 */
async function readAll(requests, user) {
  const newest = new URLSearchParams({ user_id: user, limit: String(RECENT) });
  const [options, orders, open] = await Promise.all([
    requests.get(`/v1/options?${newest}`), requests.get(`/v1/spot/orders?${newest}`),
    requests.getAll("/v1/options", { user_id: user, status: "open" }),
  ]);
  return [...open, ...options.items, ...orders.items];
}

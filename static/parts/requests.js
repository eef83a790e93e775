/** Calls over HTTP as one identity, and their refusals in words. */

import { grouped } from "./amounts.js";

/** @typedef {import("./identity.js").Identity} Identity */
/** @typedef {import("./identity.js").NoToken} NoToken */

const ANSWER_WITHIN_MS = 20_000;

/** A PROBLEM of the server. */
export class Refusal extends Error {
  /**
   * @param {Record<string, any>} problem
   * @param {number} status
   * @param {string | null} retryAfter seconds
   */
  constructor(problem, status, retryAfter) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.name = "Refusal";
    this.status = status;
    /** @type {string} */
    this.code = problem.code ?? `http_${status}`;
    /** @type {{pointer: string, detail: string}[]} */
    this.errors = problem.errors ?? [];
    /** @type {string | undefined} */
    this.required = problem.required;
    /** @type {string | undefined} */
    this.available = problem.available;
    this.retryAfter = retryAfter;
  }

  /** Whether the same may be accepted later. */
  get later() {
    return this.status === 503 || this.status === 429;
  }

  /**
   * The words for an amount: how much is needed and there, where the problem says so.
   * @param {string} [detail]
   */
  amountWords(detail = this.message) {
    return this.code === "insufficient_funds" && this.required && this.available
      ? `${grouped(this.required)} needed, ${grouped(this.available)} available.`
      : detail;
  }
}

/** No answer came, or none that the server gave: a change may have been booked or not. */
export class NoAnswer extends Error {
  /**
   * @param {string} message
   * @param {number | null} [status] of an answer that was not the server's
   */
  constructor(message, status = null) {
    super(message);
    this.name = "NoAnswer";
    this.status = status;
  }
}

/** A key that no other request has. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {Response} answer */
const unreadable = (answer) => new NoAnswer(`HTTP ${answer.status} without an answer of the server`, answer.status);

export class Requests {
  /** By path, the request that has had no good answer yet: sent again, it has the same key.
   * @type {Map<string, {same: string, key: string}>} */
  #unanswered = new Map();

  /** @param {Identity} identity */
  constructor(identity) {
    this.identity = identity;
  }

  /**
   * What a GET answers.
   * @param {string} path
   * @returns {Promise<any>}
   * @throws {Refusal | NoAnswer | NoToken}
   */
  async get(path) {
    return (await this.#ask(path, {})).outcome;
  }

  /**
   * All items of a list, asked for page by page.
   * @param {string} path
   * @param {Record<string, string>} [filters]
   * @returns {Promise<any[]>}
   * @throws {Refusal | NoAnswer | NoToken}
   */
  async getAll(path, filters = {}) {
    const found = [];
    const query = new URLSearchParams({ ...filters, limit: "1000" });
    for (let more = true; more;) {
      const { items, next_cursor: next } = await this.get(`${path}?${query}`);
      found.push(...items);
      more = next !== null;
      query.set("cursor", next);
    }
    return found;
  }

  /**
   * The Idempotency-Key of a request: the same until it had a good answer.
   * @param {string} path
   * @param {object} body
   */
  keyOf(path, body) {
    const same = JSON.stringify(body);
    const known = this.#unanswered.get(path);
    if (known?.same === same) return known.key;
    const key = newKey();
    this.#unanswered.set(path, { same, key });
    return key;
  }

  /**
   * Changes something; sent again after a refusal or without an answer, it cannot be booked twice.
   * @param {string} path
   * @param {object} body
   * @param {string} [key] of the caller's own, in place of the one that is kept
   * @returns {Promise<{outcome: any, replayed: boolean}>} replayed: it had been booked already
   * @throws {Refusal | NoAnswer | NoToken}
   */
  post(path, body, key) {
    return this.#change("POST", path, body, key);
  }

  /**
   * As `post`, for what is named by the path.
   * @param {string} path
   * @param {object} body
   * @returns {Promise<{outcome: any, replayed: boolean}>}
   * @throws {Refusal | NoAnswer | NoToken}
   */
  patch(path, body) {
    return this.#change("PATCH", path, body);
  }

  /**
   * As `patch`, for what is set as a whole.
   * @param {string} path
   * @param {object} body
   * @returns {Promise<{outcome: any, replayed: boolean}>}
   * @throws {Refusal | NoAnswer | NoToken}
   */
  put(path, body) {
    return this.#change("PUT", path, body);
  }

  /**
   * What a GET answers as CSV: one page of a list.
   * @param {string} path
   * @returns {Promise<{text: string, next: string | null}>} next: the query of the page after it
   * @throws {Refusal | NoAnswer | NoToken}
   */
  async csv(path) {
    const answer = await this.#answer(path, { headers: { Accept: "text/csv" } });
    const next = /<\?([^>]*)>; rel="next"/.exec(answer.headers.get("Link") ?? "");
    return { text: await answer.text(), next: next?.[1] ?? null };
  }

  /**
   * @param {"POST" | "PATCH" | "PUT"} method
   * @param {string} path
   * @param {object} body
   * @param {string} [key]
   */
  async #change(method, path, body, key = this.keyOf(path, body)) {
    const { outcome, headers } = await this.#ask(path, {
      method,
      headers: { "Content-Type": "application/json", "Idempotency-Key": key },
      body: JSON.stringify(body),
    });
    this.#unanswered.delete(path);
    return { outcome, replayed: headers.get("Idempotent-Replayed") === "true" };
  }

  /**
   * @param {string} path
   * @param {{method?: string, headers?: Record<string, string>, body?: string}} options
   */
  async #ask(path, options) {
    const answer = await this.#answer(path, options);
    const outcome = await answer.json().catch(() => null);
    if (outcome === null) throw unreadable(answer);
    return { outcome, headers: answer.headers };
  }

  /**
   * @param {string} path
   * @param {{method?: string, headers?: Record<string, string>, body?: string}} options
   */
  async #answer(path, options) {
    let answer = await this.#attempt(path, options, false);
    if (answer.status === 401) answer = await this.#attempt(path, options, true);
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => null);
    if (problem === null) throw unreadable(answer);
    throw new Refusal(problem, answer.status, answer.headers.get("Retry-After"));
  }

  /**
   * @param {string} path
   * @param {{method?: string, headers?: Record<string, string>, body?: string}} options
   * @param {boolean} fresh whether the last token was refused
   */
  async #attempt(path, options, fresh) {
    const token = await this.identity.token({ fresh });
    const headers = { ...options.headers, Authorization: `Bearer ${token}` };
    try {
      return await fetch(path, { ...options, headers, signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    } catch (error) {
      const { name } = /** @type {Error} */ (error);
      throw new NoAnswer(name === "TimeoutError"
        ? `no answer from ${location.host} within ${ANSWER_WITHIN_MS / 1000} s`
        : `no answer from ${location.host}: the server is down, or the network is`);
    }
  }
}

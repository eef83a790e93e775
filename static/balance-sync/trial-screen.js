/** A screen of the comprehensive test: a client of its own, and all that it heard and when. */

import { advice } from "../parts/connection-light.js";
import { FIRST_DIGEST, TallywireClient, entryDigest } from "../tallywire-client.js";
import { Failure, LOOK } from "./trial-failures.js";

/** @typedef {import("../parts/identity.js").Identity} Identity */
/** @typedef {import("../tallywire-client.js").ClientOptions} ClientOptions */
/** @typedef {import("../tallywire-client.js").Account} Account */
/** @typedef {import("../tallywire-client.js").AdminUpdate} AdminUpdate */
/** @typedef {import("../tallywire-client.js").Change} Change */
/** @typedef {import("../tallywire-client.js").Control} Control */
/** @typedef {import("../tallywire-client.js").Update} Update */
/** @typedef {{update: Update, replayed: boolean, at: number}} Seen at: of performance.now() */

const WITHIN_MS = 10_000;

/** The screen of a user. */
export class Screen {
  /** Every update, in the order in which it came. @type {Seen[]} */
  seen = [];
  /** Of the event "latest". @type {{to: number, accounts: string[], at: number}[]} */
  latest = [];
  /** Of the event "resumed". @type {{from: number, to: number, count: number}[]} */
  resumed = [];
  /** Of the event "control". @type {{control: Control & {position: number}, at: number}[]} */
  controls = [];
  /** What did not fit, in words. @type {string[]} */
  mismatches = [];
  #heard = new EventTarget();
  /** Holds back the token, so that the client cannot come back. */
  #gate = Promise.resolve();
  #letBack = () => {};

  /**
   * @param {Identity} identity whose balances it shows
   * @param {Partial<ClientOptions>} [options] of the client
   */
  constructor(identity, options = {}) {
    this.user = identity.user;
    this.client = new TallywireClient({
      ...options,
      token: async (request) => {
        await this.#gate;
        return identity.token(request);
      },
    });
    this.on("update", (detail) => this.seen.push({ ...detail, at: performance.now() }));
    this.on("latest", (detail) => this.latest.push({ ...detail, at: performance.now() }));
    this.on("resumed", (detail) => this.resumed.push(detail));
    this.on("control", ({ control }) => this.controls.push({ control, at: performance.now() }));
    this.on("mismatch", ({ account, words }) => {
      this.mismatches.push(account ? `${account}: ${words}` : words);
    });
    for (const name of ["status", "balances", "cursor"]) this.on(name, () => {});
  }

  /** @returns {ReadonlyMap<string, Account>} */
  get accounts() {
    return this.client.accounts;
  }

  /**
   * Hears an event of the client, and looks then whether what is waited for has come.
   * @param {string} name
   * @param {(detail: any) => unknown} handle
   */
  on(name, handle) {
    this.client.addEventListener(name, async (event) => {
      await handle(/** @type {CustomEvent} */ (event).detail);
      this.#heard.dispatchEvent(new Event("heard"));
    });
  }

  /** Connects, and waits for the first balances. */
  async open() {
    this.client.connect();
    await this.until(
      () => this.client.status.state === "connected" && this.client.cursor,
      `the stream of ${this.user} to open`,
      LOOK.stream,
    );
  }

  close() {
    this.#letBack();
    this.client.close();
  }

  /** Loses the connection as if the network had, and stays away until `back()`. */
  async away() {
    this.#gate = new Promise((resolve) => {
      this.#letBack = () => resolve(undefined);
    });
    this.client.interrupt();
    await this.until(
      () => this.client.status.state !== "connected",
      "the client to notice that its connection was cut",
      LOOK.stream,
    );
  }

  back() {
    this.#letBack();
    this.client.wake();
  }

  /**
   * The update of that position, once it is on this screen.
   * @param {number} position
   */
  async shows(position) {
    try {
      return await this.until(
        () => this.seen.find(({ update }) => update.position === position),
        `position ${position} on the screen of ${this.user}`,
        LOOK.notShown,
      );
    } catch (error) {
      if (error instanceof Failure) error.isFinal = true; // a screen with a hole proves nothing
      throw error;
    }
  }

  /**
   * Waits until `met` gives something, asking again after each event.
   * @template T
   * @param {() => T} met
   * @param {string} expected in words, after "Expected "
   * @param {string} look at what, where it does not come
   * @returns {Promise<NonNullable<Exclude<T, false>>>}
   * @throws {Failure} after 10 s, or at once where what came does not fit
   */
  async until(met, expected, look) {
    const deadline = AbortSignal.timeout(WITHIN_MS);
    for (;;) {
      this.#mustFit();
      const found = met();
      if (found) return /** @type {NonNullable<Exclude<T, false>>} */ (found);
      const { state, words } = this.client.status;
      if (state === "stopped") throw new Failure(expected, `the client stopped: ${words}`, advice(this.client.status) || LOOK.stopped);
      if (deadline.aborted) throw new Failure(expected, await this.#came(), look);
      await this.#next(deadline);
    }
  }

  /** @throws {Failure} where something did not fit what was known */
  #mustFit() {
    const [words] = this.mismatches;
    if (!words) return;
    const failure = new Failure("every message to fit what was known", words, LOOK.chain(this.user));
    failure.isFinal = true; // what is broken stays so until a fresh snapshot
    throw failure;
  }

  /** @param {AbortSignal} deadline */
  #next(deadline) {
    return new Promise((resolve) => {
      const done = new AbortController();
      const go = () => {
        done.abort();
        resolve(undefined);
      };
      this.#heard.addEventListener("heard", go, { signal: done.signal });
      deadline.addEventListener("abort", go, { signal: done.signal });
    });
  }

  /** What this screen has instead, with what the server says of itself. */
  async #came() {
    const { state, words } = this.client.status;
    const newest = this.seen.at(-1)?.update.position;
    const screen = [
      `after ${WITHIN_MS / 1000} s the client is ${state}${state === "connected" ? "" : ` (${words})`}`,
      `its cursor is at ${this.client.cursor?.position ?? "nothing"}`,
      newest === undefined ? "it has shown no update" : `the newest update was position ${newest}`,
    ];
    return `${screen.join(", ")}; ${await readiness()}`;
  }
}

/** What a superadmin sees of a user, checked as that user's own client would check it. */
export class WatchedScreen extends Screen {
  /** @type {Map<string, Account>} */
  #accounts;
  #tail = Promise.resolve();

  /**
   * @param {Identity} identity an auditor's or above
   * @param {string} user who is watched
   * @param {ReadonlyMap<string, Account>} known the accounts so far: this stream begins without
   * @param {Partial<ClientOptions>} [options] of the client
   */
  constructor(identity, user, known, options = {}) {
    super(identity, { ...options, streams: ["monitor"], filter: { user_id: user } });
    this.user = user;
    this.#accounts = new Map(known);
    this.on("monitor", ({ updates }) => {
      const at = performance.now();
      this.#tail = this.#tail.then(() => this.#take(updates, at));
      return this.#tail;
    });
  }

  get accounts() {
    return this.#accounts;
  }

  /**
   * @param {AdminUpdate[]} updates
   * @param {number} at
   */
  async #take(updates, at) {
    for (const update of updates) {
      for (const change of update.changes) {
        const { amount, held_change, balance_before, alert, ...balance } = change;
        const proof = await this.#prove(change, update.transaction_id);
        this.#accounts.set(change.account, { ...balance, proof });
      }
      this.seen.push({ update: /** @type {Update} */ (update), replayed: false, at });
    }
  }

  /**
   * @param {Change} change
   * @param {string} transactionId
   * @returns {Promise<Account["proof"]>}
   */
  async #prove(change, transactionId) {
    const { account, seq, digest } = change;
    const known = this.#accounts.get(account);
    if (!globalThis.crypto?.subtle) return { state: "unchecked", entries: seq, words: "no WebCrypto" };
    const due = await entryDigest(known?.digest ?? FIRST_DIGEST, change, transactionId);
    if (seq === (known?.seq ?? 0) + 1 && digest === due) {
      return { state: "verified", entries: seq, words: `${seq} checked` };
    }
    const words = `entry ${seq} does not follow from what came before`;
    this.mismatches.push(`${account}: ${words}`);
    return { state: "broken", entries: seq, words };
  }
}

async function readiness() {
  try {
    const answer = await fetch("/readyz", { signal: AbortSignal.timeout(WITHIN_MS) });
    const { status, checks } = await answer.json();
    return `/readyz says ${status}: ${JSON.stringify(checks)}`;
  } catch (error) {
    return `/readyz gives no answer (${/** @type {Error} */ (error).message})`;
  }
}

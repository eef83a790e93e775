/** One run of the comprehensive test: users of its own, their screens, step after step. */

import { Identity, NoToken, claimsOf } from "../parts/identity.js";
import { NoAnswer, Refusal, Requests, newKey } from "../parts/requests.js";
import { capital } from "../parts/wording.js";
import { decimalText, minorUnits } from "../tallywire-client.js";
import { Failure, LOOK, NotHere, refused, same } from "./trial-failures.js";
import { Screen, WatchedScreen } from "./trial-screen.js";

/** @typedef {import("./trial-steps.js").Step} Step */
/** @typedef {import("./trial-steps.js").Booking} Booking */
/** @typedef {import("../parts/trade-words.js").Option} Option */
/** @typedef {import("../tallywire-client.js").Update} Update */
/** @typedef {import("../tallywire-client.js").ClientOptions} ClientOptions */
/** @typedef {"ann" | "ben"} Name */
/** @typedef {Name | "operator"} Who */

/**
 * In milliseconds: from the request to its answer, and from the answer to the last screen;
 * negative where the screens were first.
 * @typedef {{answer: number, screen: number}} Timing
 */

/**
 * @typedef {object} Result
 * @property {string} name
 * @property {"waiting" | "running" | "passed" | "failed" | "left out"} state
 * @property {Timing} [timing]
 * @property {string} [words] why it failed or was left out
 * @property {string} [look] at what
 */

const BOOK = "demo";
const ASSET = "USDT";
const SCALE = 6;
const COUNT_EVERY_MS = 250;
/** @type {Name[]} */
const NAMES = ["ann", "ben"];

export class Trial {
  names = NAMES;
  bookName = BOOK;
  asset = ASSET;
  /** By what they are called in the steps, as they were opened. @type {Map<string, Option>} */
  options = new Map();
  /** By step, the transaction that it booked. @type {Map<string, string>} */
  #booked = new Map();
  /** @type {Screen[]} */
  #opened = [];
  #isLost = false;
  /** The step that runs. */
  #index = 0;
  #stopped = new AbortController().signal;

  /**
   * @param {Step[]} steps
   * @param {(results: Result[], running: number) => void} told after every change of a result
   * @param {string} [pasted] a superadmin's token, who then does everything and watches the users;
   *   without one all of them have tokens for development
   */
  constructor(steps, told, pasted = "") {
    this.steps = steps;
    this.told = told;
    this.watched = pasted !== "";
    const run = newKey().slice(0, 8);
    this.users = { ann: `test-ann-${run}`, ben: `test-ben-${run}` };
    const claims = claimsOf(pasted);
    this.role = claims?.role;
    const operator = new Identity(claims?.user ?? `test-operator-${run}`, "superadmin", () => pasted);
    this.identities = this.watched ? { operator, ann: operator, ben: operator } : {
      operator,
      ann: new Identity(this.users.ann, "user"),
      ben: new Identity(this.users.ben, "user"),
    };
    this.requests = {
      operator: new Requests(operator),
      ann: new Requests(this.identities.ann),
      ben: new Requests(this.identities.ben),
    };
    /** @type {Record<Name, Screen>} */
    this.screens = { ann: this.newScreen("ann"), ben: this.newScreen("ben") };
    /** @type {Result[]} */
    this.results = steps.map(({ name }) => ({ name, state: "waiting" }));
  }

  /**
   * Runs every step in turn.
   * @param {AbortSignal} stopped nothing is begun after it
   */
  async run(stopped) {
    this.#stopped = stopped;
    try {
      for (const [index, step] of this.steps.entries()) {
        this.#index = index;
        if (this.#isLost || stopped.aborted) {
          this.#tell(index, { state: "left out" });
          continue;
        }
        this.#tell(index, { state: "running" });
        this.#tell(index, { words: "", ...await this.#one(step) });
      }
    } finally {
      for (const screen of this.#opened) screen.close();
    }
  }

  /**
   * @param {number} index
   * @param {Partial<Result>} result
   */
  #tell(index, result) {
    Object.assign(/** @type {Result} */ (this.results[index]), result);
    this.told(this.results, index);
  }

  /**
   * @param {Step} step
   * @returns {Promise<Omit<Result, "name">>}
   */
  async #one(step) {
    try {
      const timing = await ("run" in step ? step.run(this) : this.book(step));
      return { state: "passed", ...(timing && { timing }) };
    } catch (error) {
      if (error instanceof NotHere) return { state: "left out", words: error.message };
      this.#isLost = "vital" in step || (error instanceof Failure && error.isFinal);
      return { state: "failed", ...explained(/** @type {Error} */ (error)) };
    }
  }

  /** Has every token ready, so that none is waited for while time is taken. */
  async getTokens() {
    if (this.watched && this.role !== "superadmin") {
      const came = this.role ? `the pasted one is for the role ${this.role}` : "what was pasted is none";
      throw new Failure("a superadmin's token", came, LOOK.token);
    }
    await Promise.all(Object.values(this.identities).map((identity) => identity.token()));
  }

  /**
   * Another screen of that user, closed at the end at the latest.
   * @param {Name} who
   * @param {Partial<ClientOptions>} [options]
   */
  newScreen(who, options) {
    const identity = this.identities[who];
    const known = this.screens?.[who].accounts ?? new Map();
    const screen = this.watched
      ? new WatchedScreen(identity, this.users[who], known, options)
      : new Screen(identity, options);
    this.#opened.push(screen);
    return screen;
  }

  newKey() {
    return newKey();
  }

  /**
   * Waits until the server's clock shows a moment, and counts down in the step's row.
   * @param {string} moment RFC 3339
   * @param {string} what happens then
   * @throws {NotHere} where the run is stopped meanwhile
   */
  async untilServerTime(moment, what) {
    const { client } = this.screens.ben;
    for (;;) {
      if (this.#stopped.aborted) throw new NotHere("The test was stopped while this was awaited.");
      const left = Date.parse(moment) - client.serverNow;
      if (left <= 0) return;
      this.#tell(this.#index, { words: `${what} in ${Math.ceil(left / 1000)} s.` });
      await new Promise((resolve) => { setTimeout(resolve, Math.min(left, COUNT_EVERY_MS)); });
    }
  }

  /**
   * The sum of two amounts of the test's asset.
   * @param {string} one
   * @param {string} other
   */
  sum(one, other) {
    return decimalText(minorUnits(one, SCALE) + minorUnits(other, SCALE), SCALE);
  }

  /**
   * @template {object} T
   * @param {T} body
   */
  inBook(body) {
    return { ...body, book: BOOK, asset: ASSET };
  }

  /** @param {Name} who */
  accountName(who) {
    return `${BOOK}/${this.users[who]}/${ASSET}`;
  }

  /**
   * The account as that user's screen shows it.
   * @param {Name} who
   */
  account(who) {
    const account = this.screens[who].accounts.get(this.accountName(who));
    if (!account) throw new Failure(`an account of ${this.users[who]}`, "its screen shows none", LOOK.notShown);
    return account;
  }

  /** The transaction that a step booked. @param {string} step */
  booked = (step) => {
    const id = this.#booked.get(step);
    if (!id) throw new NotHere(`It needs what “${step}” books, and that step booked nothing.`);
    return id;
  };

  /**
   * Books what a step says, and holds its answer and every screen against each other.
   * @param {Booking} step
   * @returns {Promise<Timing>}
   */
  async book({ name, by, path, body, bare, type, shows }) {
    const asked = bare ? body(this) : this.inBook(body(this));
    const { outcome, askedAt, answeredAt } = await this.post(by, typeof path === "string" ? path : path(this), asked);
    this.#booked.set(name, outcome.transaction_id);
    let screenAt = 0;
    for (const [who, expected] of Object.entries(shows)) {
      const { update, at } = await this.screens[/** @type {Name} */ (who)].shows(outcome.position);
      same(`the screen of ${update.user_id} to show a`, type, update.change_type, LOOK.wrong);
      same(`one changed account of ${update.user_id}, so`, 1, update.changes.length, LOOK.wrong);
      const [{ amount, held_change: held, balance }] = update.changes;
      const all = { amount, held: "0.000000", balance, ...expected };
      same(`the screen of ${update.user_id} to show`, all, { amount, held, balance }, LOOK.wrong);
      const told = outcome.updates.find((/** @type {Update} */ { user_id: user }) => user === update.user_id);
      if (told) same("the screen to show what the answer says:", told.changes, update.changes, LOOK.wrong);
      const account = this.account(/** @type {Name} */ (who));
      if (account.proof.state === "broken") {
        throw new Failure("the entry to fit", account.proof.words, LOOK.chain(update.user_id));
      }
      screenAt = Math.max(screenAt, at);
    }
    return { answer: answeredAt - askedAt, screen: screenAt - answeredAt };
  }

  /**
   * @param {Who} who
   * @param {string} path
   * @param {object} body
   * @param {string} [key]
   */
  async post(who, path, body, key = newKey()) {
    return accepted(`POST ${path}`, () => this.requests[who].post(path, body, key));
  }

  /**
   * @param {Who} who
   * @param {string} path
   * @param {object} body
   */
  async put(who, path, body) {
    return accepted(`PUT ${path}`, () => this.requests[who].put(path, body));
  }

  /**
   * The code with which that request is refused.
   * @param {Who} who
   * @param {string} path
   * @param {object} body
   * @param {string} [key]
   */
  async refusal(who, path, body, key = newKey()) {
    return codeOf(`POST ${path}`, this.requests[who].post(path, body, key));
  }

  /**
   * The same of a PUT.
   * @param {Who} who
   * @param {string} path
   * @param {object} body
   */
  async refusalOfPut(who, path, body) {
    return codeOf(`PUT ${path}`, this.requests[who].put(path, body));
  }

  /**
   * @param {Who} who
   * @param {string} path
   */
  async get(who, path) {
    return this.requests[who].get(path);
  }

  /**
   * All updates of that user, oldest first.
   * @param {Name} who
   * @returns {Promise<Update[]>}
   */
  async history(who) {
    const { items } = await this.get(who, `/v1/users/${this.users[who]}/history?limit=1000`);
    return items.reverse();
  }
}

/**
 * The answer of a call, and when it was asked for and came.
 * @param {string} call
 * @param {() => Promise<{outcome: any, replayed: boolean}>} ask
 * @throws {Failure} where it is refused
 */
async function accepted(call, ask) {
  const askedAt = performance.now();
  try {
    const { outcome, replayed } = await ask();
    return { outcome, replayed, askedAt, answeredAt: performance.now() };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    throw refused(call, error);
  }
}

/**
 * The code with which a call is refused.
 * @param {string} call
 * @param {Promise<unknown>} answer
 * @throws {Failure} where it is accepted
 */
async function codeOf(call, answer) {
  try {
    await answer;
  } catch (error) {
    if (error instanceof Refusal) return error.code;
    throw error;
  }
  throw new Failure(`${call} to be refused`, "it was accepted", LOOK.refused);
}

/**
 * @param {Error} error
 * @returns {{words: string, look: string}}
 */
function explained(error) {
  if (error instanceof Failure) return { words: error.message, look: error.look };
  if (error instanceof Refusal) {
    const { message, look } = refused("a call", error);
    return { words: message, look };
  }
  if (error instanceof NoToken && !error.retry) return { words: `No token: ${error.message}.`, look: LOOK.token };
  if (error instanceof NoToken) return { words: `No token: ${error.message}.`, look: LOOK.noAnswer };
  if (error instanceof NoAnswer) {
    return { words: `${capital(error.message)}.`, look: error.status ? LOOK.inBetween : LOOK.noAnswer };
  }
  return { words: `${error.name}: ${error.message}`, look: LOOK.page };
}

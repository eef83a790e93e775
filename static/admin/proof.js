/** Discrepancies, verifications and their record. */

import { grouped } from "../parts/amounts.js";
import { element, show, write } from "../parts/elements.js";
import { capital, counted } from "../parts/wording.js";
import { confirmed } from "./confirm.js";
import { Polling } from "./polling.js";
import { number, tableRow } from "./table.js";
import { dateAndTime, failureWords, unreadWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */

/**
 * @typedef {object} Verification
 * @property {string} id
 * @property {string} kind
 * @property {string} requested_by
 * @property {boolean} fix
 * @property {string | null} user_id
 * @property {string | null} book
 * @property {"running" | "done" | "failed"} status
 * @property {number} checked
 * @property {number} total
 * @property {{checked: number, synced: number, fixed: number, errors: number} | null} report
 * @property {string | null} error
 * @property {string} started_at
 */

/**
 * @typedef {object} Discrepancy
 * @property {string} invariant
 * @property {string} what
 * @property {string} account
 * @property {number | null} position
 * @property {string | null} stored
 * @property {string | null} actual
 * @property {string | null} difference
 */

const EVERY_MS = 10_000;
const PROGRESS_EVERY_MS = 400;
const MOST = 200;
const LONGEST_VALUE = 32;

/**
 * What a verification looked at, in words.
 * @param {Pick<Verification, "kind" | "user_id" | "book" | "fix">} verification
 */
export function scopeWords({ kind, user_id: user, book, fix }) {
  const scope = [user && `user ${user}`, book && `book ${book}`].filter(Boolean).join(", ");
  const named = kind === "rebuild" ? "rebuild" : scope || "whole ledger";
  return named + (fix && kind !== "rebuild" ? ", with fix" : "");
}

/**
 * How a verification stands, in words.
 * @param {Verification} verification
 */
export function outcomeWords({ status, checked, total, report, error }) {
  if (status === "running") {
    return total ? `running: ${grouped(String(checked))} of ${grouped(String(total))}` : "running";
  }
  if (status === "failed" || !report) return `failed: ${error ?? "its process ended"}`;
  const { fixed, synced, errors } = report;
  const repaired = [
    fixed && `${counted(fixed, "stored row")} put right`, synced && `${counted(synced, "mirror row")} put right`,
  ].filter(Boolean).join(", ");
  const remaining = errors === 1 ? "1 discrepancy remains" : `${grouped(String(errors))} discrepancies remain`;
  const found = errors ? remaining : "all is right";
  return [repaired, found].filter(Boolean).join("; ");
}

/**
 * A stored or an actual value; a digest by its beginning, so that what it differs from is in view.
 * @param {string | null} value
 */
export function valueWords(value) {
  if (value === null) return "nothing";
  return value.length > LONGEST_VALUE ? `${value.slice(0, LONGEST_VALUE / 2)}…` : value;
}

/** @param {Verification} verification @returns {"warn" | "bad" | "good"} */
function toneOf({ status, report }) {
  if (status === "running") return "warn";
  return status === "done" && report?.errors === 0 ? "good" : "bad";
}

/**
 * Whether it looked at everything: what one of a user or a book, or a rebuild, does not find may
 * still be there.
 * @param {Pick<Verification, "kind" | "status" | "user_id" | "book">} verification
 */
export function isOfAll({ kind, status, user_id: user, book }) {
  return kind === "verify" && status === "done" && user === null && book === null;
}

export class Proof {
  /** @type {Session | null} */
  #session = null;
  #running = "";

  /** @param {() => boolean} isWanted */
  constructor(isWanted) {
    this.polling = new Polling(() => this.#read(), EVERY_MS, isWanted);
    element("verify").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start(false);
    });
    element("verify-fix").addEventListener("click", () => this.#start(true));
  }

  /** @param {Session} session who asks from now on */
  follow(session) {
    this.#session = session;
    this.#running = "";
    show(element("verifying"), false);
    write(element("discrepancies-now"), "–");
    this.polling.follow(session);
  }

  async #read() {
    const session = this.#session;
    if (!session) return;
    const problem = element("discrepancies-problem");
    try {
      const [found, record] = await Promise.all([
        session.requests.get(`/v1/admin/discrepancies?limit=${MOST}`),
        session.requests.get("/v1/admin/verifications?limit=20"),
      ]);
      if (session !== this.#session) return;
      show(problem, false);
      this.#drawDiscrepancies(found.items, found.next_cursor !== null, record.items);
      this.#drawRecord(record.items);
    } catch (error) {
      if (session !== this.#session) return;
      write(problem, unreadWords(error));
      show(problem, true);
      write(element("discrepancies-about"), "not known now");
    }
  }

  /**
   * @param {Discrepancy[]} items
   * @param {boolean} more
   * @param {Verification[]} record newest first
   */
  #drawDiscrepancies(items, more, record) {
    const last = record.find(isOfAll);
    const known = items.length > 0 || last !== undefined;
    const count = known ? `${items.length}${more ? "+" : ""}` : "–";
    write(element("discrepancies-now"), count);
    element("discrepancies-now").dataset.tone = items.length ? "bad" : known ? "good" : "";
    const verified = last ? `all verified ${dateAndTime(last.started_at)}`
      : record.length ? "all not verified lately" : "never verified";
    write(element("discrepancies-about"), verified);
    write(element("discrepancies-of"), `${capital(verified)}${more ? `; the first ${MOST} are listed` : ""}`);
    show(element("not-verified"), !known);
    show(element("no-discrepancies"), last !== undefined && items.length === 0);
    show(element("discrepancies-table"), items.length > 0);
    element("discrepancies").replaceChildren(...items.map((each) => {
      const row = tableRow([
        { text: each.invariant, tone: "bad" }, each.account, each.what, number(valueWords(each.stored)),
        number(valueWords(each.actual)), number(each.difference ?? ""), number(String(each.position ?? "")),
      ]);
      row.dataset.mismatch = each.account;
      return row;
    }));
  }

  /** @param {Verification[]} items newest first */
  #drawRecord(items) {
    show(element("no-verifications"), items.length === 0);
    show(element("verifications-table"), items.length > 0);
    element("verifications").replaceChildren(...items.map((each) => tableRow([
      dateAndTime(each.started_at), scopeWords(each), each.requested_by,
      { text: outcomeWords(each), tone: toneOf(each) },
      number(grouped(String(each.report?.checked ?? each.checked))),
      number(each.report ? String(each.report.fixed) : ""),
      number(each.report ? String(each.report.errors) : ""),
    ])));
  }

  /** @param {boolean} fix */
  async #start(fix) {
    const session = this.#session;
    if (!session) return;
    /** @type {{fix: boolean, user_id?: string, book?: string}} */
    const body = { fix };
    const [user, book] = ["verify-user", "verify-book"].map((id) => element(id, HTMLInputElement).value.trim());
    if (user) body.user_id = user;
    if (book) body.book = book;
    const scope = scopeWords({ kind: "verify", user_id: user ?? null, book: book ?? null, fix: false });
    if (fix && !await confirmed({
      title: "Verify and fix?",
      words: `What is stored wrongly in the ${scope} is written anew from the journal, each account by a`
        + " repair that its user sees. The journal itself is never changed.",
      yes: "Verify and fix",
    })) return;
    this.#tell("", `Verifying the ${scope}…`);
    element("verifying-progress", HTMLProgressElement).removeAttribute("value");
    try {
      const { outcome } = await session.requests.post("/v1/admin/verifications", body);
      this.#running = outcome.id;
      this.#watch(session, outcome.id);
    } catch (error) {
      this.#tell("bad", failureWords(error));
    }
  }

  /**
   * Follows a verification until it ends.
   * @param {Session} session
   * @param {string} id
   */
  async #watch(session, id) {
    if (session !== this.#session || id !== this.#running) return;
    try {
      const found = await session.requests.get(`/v1/admin/verifications/${id}`);
      if (session !== this.#session || id !== this.#running) return;
      const progress = element("verifying-progress", HTMLProgressElement);
      if (found.total) progress.value = found.checked / found.total;
      if (found.status !== "running") {
        progress.value = 1;
        const beyond = found.fix && found.report?.errors
          ? " A fix never changes the journal: what is wrong in there takes a backup." : "";
        this.#tell(toneOf(found), `${capital(scopeWords(found))}: ${outcomeWords(found)}.${beyond}`);
        this.polling.now();
        return;
      }
      this.#tell("", `${capital(scopeWords(found))}: ${outcomeWords(found)}`);
    } catch (error) {
      this.#tell("bad", unreadWords(error));
    }
    setTimeout(() => this.#watch(session, id), PROGRESS_EVERY_MS);
  }

  /**
   * @param {"" | "good" | "bad" | "warn"} tone
   * @param {string} text
   */
  #tell(tone, text) {
    element("verifying").className = `notice ${tone}`;
    write(element("verifying-words"), text);
    show(element("verifying"), true);
  }
}

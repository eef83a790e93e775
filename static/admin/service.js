/** The health of the service, webhooks, and the pause of the ledger. */

import { grouped } from "../parts/amounts.js";
import { element, show, write } from "../parts/elements.js";
import { clockTime, counted } from "../parts/wording.js";
import { confirmed } from "./confirm.js";
import { Polling } from "./polling.js";
import { number, tableRow } from "./table.js";
import { dateAndTime, failureWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {"good" | "warn" | "bad"} Tone */
/** @typedef {{name: string, tone: Tone, words: string}} Check */

/**
 * @typedef {object} Readiness
 * @property {"ready" | "degraded" | "unavailable"} status
 * @property {{database?: string, bus?: string, feed?: {position: number, behind?: number},
 *   queue?: {changes: number}}} checks
 */

/**
 * @typedef {object} Webhook
 * @property {string} name
 * @property {"active" | "paused"} status
 * @property {number} lag
 * @property {number} attempts
 * @property {string | null} last_error
 * @property {string | null} last_delivered_at
 */

const EVERY_MS = 3000;
const ANSWER_WITHIN_MS = 5000;
const FEED_BEHIND_MOST = 1000;
const QUEUE_MOST = 2000;

/** The whole in words. @type {Record<Readiness["status"], {tone: Tone, words: string}>} */
const STATUS_WORDS = {
  ready: { tone: "good", words: "Ready: everything works." },
  degraded: {
    tone: "warn",
    words: "Degraded: the bus between processes is down. Changes are taken and told; those of other processes come later, from the database.",
  },
  unavailable: {
    tone: "bad", words: "Unavailable: the database does not answer, so nothing can be changed or read.",
  },
};

/**
 * What /readyz found, each check in words.
 * @param {Readiness} readiness
 * @returns {Check[]}
 */
export function checksInWords({ checks: { database, bus, feed, queue } }) {
  /** @type {Check[]} */
  const found = [
    database === "up" ? { name: "Database", tone: "good", words: "answers" }
      : { name: "Database", tone: "bad", words: "does not answer" },
    bus === "up" ? { name: "Bus", tone: "good", words: "up" }
      : { name: "Bus", tone: "warn", words: "down: other processes are heard by way of the database" },
  ];
  if (feed?.behind !== undefined) {
    found.push({
      name: "Feed lag",
      tone: feed.behind > FEED_BEHIND_MOST ? "warn" : "good",
      words: feed.behind ? `${counted(feed.behind, "position")} behind the journal` : "none: screens have what the journal has",
    });
  }
  if (queue) {
    found.push({
      name: "Queue",
      tone: queue.changes > QUEUE_MOST ? "warn" : "good",
      words: queue.changes ? `${counted(queue.changes, "change")} waiting to be committed` : "empty",
    });
  }
  return found;
}

/**
 * The state of a webhook in words.
 * @param {Webhook} webhook
 * @returns {{text: string, tone: Tone}}
 */
export function webhookWords({ status, attempts, lag }) {
  if (status === "paused") return { text: "paused", tone: "warn" };
  if (attempts) return { text: `failing, ${counted(attempts, "attempt")} in a row`, tone: "bad" };
  return { text: lag ? "delivering" : "up to date", tone: "good" };
}

export class Service {
  /** @type {Session | null} */
  #session = null;
  /** @type {boolean | null} */
  #paused = null;

  /** @param {() => boolean} isWanted */
  constructor(isWanted) {
    this.polling = new Polling(() => this.#read(), EVERY_MS, isWanted);
    element("pause-ledger").addEventListener("click", () => this.#pauseOrResume());
  }

  /** @param {Session} session who asks from now on */
  follow(session) {
    this.#session = session;
    this.polling.follow(session);
    session.on("status", ({ status }) => {
      if (status.state === "waiting") this.polling.now();
    });
  }

  async #read() {
    const session = this.#session;
    if (!session) return;
    await this.#readHealth();
    try {
      const [{ paused }, { items }] = await Promise.all([
        session.requests.get("/v1/admin/pause"),
        session.requests.get("/v1/admin/webhooks?limit=1000"),
      ]);
      if (session !== this.#session) return;
      this.#drawPause(paused);
      this.#drawWebhooks(items);
    } catch {
      // That it is away is told by the health; what was known stays.
    }
  }

  async #readHealth() {
    try {
      const answer = await fetch("/readyz", { signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
      this.#drawHealth(await answer.json());
    } catch {
      this.#tell("bad", "away", "Away: the server does not answer. It is asked again every few seconds.");
      element("health").replaceChildren();
    }
  }

  /** @param {Readiness} readiness */
  #drawHealth(readiness) {
    const { tone, words } = STATUS_WORDS[readiness.status];
    this.#tell(tone, readiness.status, words);
    element("health").replaceChildren(...checksInWords(readiness).map((check) => {
      const pair = document.createElement("div");
      pair.dataset.check = check.name;
      const [name, value] = [document.createElement("dt"), document.createElement("dd")];
      name.textContent = check.name;
      value.textContent = check.words;
      value.dataset.tone = check.tone;
      pair.append(name, value);
      return pair;
    }));
  }

  /**
   * @param {Tone} tone
   * @param {string} name
   * @param {string} text
   */
  #tell(tone, name, text) {
    element("health-words").className = `notice ${tone}`;
    write(element("health-words"), text);
    write(element("health-at"), `at ${clockTime(Date.now())}`);
    write(element("service-now"), name);
    element("service-now").dataset.tone = tone;
    this.#drawTile();
  }

  #drawTile() {
    write(element("service-about"), this.#paused ? "the ledger is paused" : "database, bus, feed, queue");
  }

  /** @param {boolean} paused */
  #drawPause(paused) {
    this.#paused = paused;
    element("ledger-state").className = `notice ${paused ? "warn" : "good"}`;
    write(element("ledger-state"), paused ? "Paused: changes are refused." : "Open: changes are taken.");
    write(element("pause-ledger"), paused ? "Resume the ledger" : "Pause the ledger");
    show(element("pause-ledger"), Boolean(this.#session?.may("superadmin")));
    this.#drawTile();
  }

  /** @param {Webhook[]} items by name */
  #drawWebhooks(items) {
    show(element("no-webhooks"), items.length === 0);
    show(element("webhooks-list"), items.length > 0);
    element("webhooks").replaceChildren(...items.map((webhook) => tableRow([
      webhook.name, webhookWords(webhook), number(grouped(String(webhook.lag))),
      webhook.last_delivered_at ? dateAndTime(webhook.last_delivered_at) : "never",
      webhook.last_error ?? "",
    ])));
  }

  async #pauseOrResume() {
    const session = this.#session;
    if (!session) return;
    const resume = this.#paused;
    const sure = await confirmed(resume
      ? { title: "Resume the ledger?", words: "Changes are taken again, from everybody.", yes: "Resume" }
      : {
        title: "Pause the ledger?",
        words: "Every change is refused until it is resumed: deposits, withdrawals, transfers, new holds, trades. Reads go on; options still end in time.",
        yes: "Pause",
      });
    if (!sure) return;
    const problem = element("pause-problem");
    try {
      const path = resume ? "/v1/admin/resume" : "/v1/admin/pause";
      const { outcome } = await session.requests.post(path, {});
      show(problem, false);
      this.#drawPause(outcome.paused);
    } catch (error) {
      write(problem, failureWords(error));
      show(problem, true);
    }
  }
}

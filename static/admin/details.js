/** A change in detail: what was told of it, its postings, and its reversal. */

import { grouped, isZero, signed } from "../parts/amounts.js";
import { element, one, show, write } from "../parts/elements.js";
import { aboutTrade, controlWords, endingOf, tradeWords } from "../parts/trade-words.js";
import { capital, movement, words } from "../parts/wording.js";
import { number, link, tableRow } from "./table.js";
import { userAddress } from "./views.js";
import { dateAndTime, failureWords, unreadWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("./entries.js").Update} Update */
/** @typedef {import("./entries.js").Change} Change */

/** @param {unknown} value */
const asText = (value) => (value && Object.keys(value).length ? JSON.stringify(value, null, 1) : "");

/**
 * What is known of an account after a change, in pairs.
 * @param {Change} change
 */
function changePairs(change) {
  return [
    [change.account, movement(change) || "nothing moved"],
    ["balance", `${grouped(change.balance)} ${change.asset}${isZero(change.held) ? "" : `, ${grouped(change.held)} held`}`],
    ["entry", `${change.seq}, account ${change.status}${change.alert ? `, ${words(change.alert)}` : ""}`],
    ["digest", change.digest],
  ];
}

/**
 * What is known of an update, in pairs; those that say nothing are left out.
 * @param {Update} update
 */
function pairsOf(update) {
  const { hold, trade, control } = update;
  return [
    ["position", String(update.position)],
    ["transaction", update.transaction_id],
    ["booked", dateAndTime(update.timestamp)],
    ["effective", update.effective_at === update.timestamp ? "" : dateAndTime(update.effective_at)],
    ["description", update.description],
    ["reference", update.reference],
    ["by", update.actor && `${update.actor}${update.actor_role ? `, ${update.actor_role}` : ""}`],
    ["key", update.idempotency_key],
    ["metadata", asText(update.metadata)],
    ["internal", asText(update.internal)],
    ["reverses", update.reverses],
    ["hold", hold && `${hold.id}: ${hold.status}, ${grouped(hold.remaining)} of ${grouped(hold.amount)} remain`],
    ["trade", trade && `${tradeWords(trade)}: ${endingOf(trade).text}\n${aboutTrade(trade).join(" · ")}\n${trade.id}`],
    ["control", control && controlWords(control)],
    ...update.changes.flatMap(changePairs),
  ].filter((pair) => pair[1]);
}

export class Details {
  /** @type {Session | null} */
  #session = null;
  /** @type {Update | null} */
  #update = null;

  constructor() {
    this.dialog = element("change-dialog", HTMLDialogElement);
    one(this.dialog, ".close").addEventListener("click", () => this.dialog.close());
    element("change-user").addEventListener("click", () => this.dialog.close());
    element("reversal").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#reverse();
    });
  }

  /** @param {Session} session who looks from now on */
  follow(session) {
    this.#session = session;
    this.dialog.close();
  }

  /** @param {Update} update */
  open(update) {
    this.#update = update;
    write(element("change-title"), capital(words(update.change_type)));
    const { user_id: user } = update;
    element("change-user").replaceChildren(user ? link(user, userAddress(user)) : "No user is touched.");
    element("change-facts").replaceChildren(...pairsOf(update).map(([name, value]) => {
      const pair = document.createElement("div");
      pair.append(document.createElement("dt"), document.createElement("dd"));
      one(pair, "dt").textContent = String(name);
      one(pair, "dd").textContent = String(value);
      return pair;
    }));
    element("reversal", HTMLFormElement).reset();
    show(element("reversal-result"), false);
    element("postings").replaceChildren();
    show(element("reversed-by"), false);
    if (!this.dialog.open) this.dialog.showModal();
    this.#readPostings(update);
  }

  /** @param {Update} update */
  async #readPostings(update) {
    const problem = element("postings-problem");
    show(problem, false);
    try {
      const path = `/v1/transactions/${update.transaction_id}`;
      const found = await this.#session?.requests.get(path);
      if (update !== this.#update) return;
      element("postings").replaceChildren(...found.postings.map((
        /** @type {{account: string, amount: string, held_change: string}} */ posting,
      ) => tableRow([
        posting.account, number(signed(posting.amount)),
        number(isZero(posting.held_change) ? "" : signed(posting.held_change)),
      ])));
      show(element("reversed-by"), Boolean(found.reversed_by));
      write(element("reversed-by"), `Reversed by ${found.reversed_by}.`);
    } catch (error) {
      if (update !== this.#update) return;
      write(problem, unreadWords(error));
      show(problem, true);
    }
  }

  async #reverse() {
    const [session, update] = [this.#session, this.#update];
    if (!session || !update) return;
    /** @type {{description: string, force?: boolean}} */
    const body = { description: element("reversal-description", HTMLInputElement).value.trim() };
    if (element("reversal-force", HTMLInputElement).checked) body.force = true;
    const result = element("reversal-result");
    try {
      const path = `/v1/transactions/${update.transaction_id}/reversal`;
      const { outcome, replayed } = await session.requests.post(path, body);
      result.className = "notice good span";
      write(result, `Reversed, position ${outcome.position}${replayed ? "; it had been already" : ""}.`);
    } catch (error) {
      result.className = "notice bad span";
      write(result, failureWords(error));
    }
    show(result, true);
    if (update === this.#update) this.#readPostings(update);
  }
}

/** Changes of all users as the monitor keeps them: what passes a filter, and what a search finds. */

import { aboutTrade, assetsOf, controlWords, endingOf, tradeWords } from "../parts/trade-words.js";
import { minorUnits } from "../tallywire-client.js";

/** @typedef {import("../tallywire-client.js").Change} Change */
/** @typedef {import("../tallywire-client.js").AdminUpdate} Update */
/** @typedef {{update: Update, change: Change | null}} Entry one row; null where no account changed */

/**
 * The conditions of the contract's monitor filter, as far as given.
 * @typedef {{user_id?: string, asset?: string, book?: string, change_type?: string,
 *   min_amount?: string}} Filter
 */

const MOST_DECIMALS = 12;
const CONDITIONS = /** @type {const} */ (["user_id", "book", "asset", "change_type", "min_amount"]);

/**
 * The rows of an update, one a change.
 * @param {Update} update
 * @returns {Entry[]}
 */
export function entriesOf(update) {
  if (!update.changes.length) return [{ update, change: null }];
  return update.changes.map((change) => ({ update, change }));
}

/**
 * What an update tells besides its changes, in words: its trade, or the control that it set.
 * @param {Update} update
 */
export function besidesWords({ trade, control }) {
  if (control) return controlWords(control);
  if (!trade) return "";
  const ending = trade.kind === "option" && trade.status !== "open" ? `, ${endingOf(trade).text}` : "";
  return tradeWords(trade) + ending;
}

/**
 * What was typed for a condition in the ledger's spelling: a type may be typed as rows show it.
 * @param {string} name
 * @param {string} text
 */
export function spelt(name, text) {
  if (name === "asset") return text.toUpperCase();
  return name.endsWith("type") ? text.toLowerCase().replaceAll(/\s+/g, "_") : text;
}

/**
 * The conditions that were typed, in the ledger's spelling.
 * @param {Record<string, string>} typed by condition, "" for none
 * @returns {Filter}
 */
export function filterOf(typed) {
  /** @type {Filter} */
  const filter = {};
  for (const name of CONDITIONS) {
    const text = (typed[name] ?? "").trim();
    if (!text) continue;
    filter[name] = spelt(name, text);
  }
  return filter;
}

/**
 * Whether an amount can be looked for; which way money went is told by the type, not by a sign.
 * @param {string} text
 */
export function isAmount(text) {
  try {
    return Boolean(text) && minorUnits(text, MOST_DECIMALS) >= 0n;
  } catch {
    return false;
  }
}

/** @param {string} amount a decimal string */
function size(amount) {
  const units = minorUnits(amount, MOST_DECIMALS);
  return units < 0n ? -units : units;
}

/**
 * What stands for the changes of an update that has none, as for the server's filters.
 * @param {Update} update
 * @returns {Pick<Change, "book" | "amount"> & {asset: string | null} | null}
 */
function aboutNothing({ trade, control }) {
  if (trade) return { book: trade.book, asset: assetsOf(trade.pair)[1], amount: "0" };
  return control ? { book: control.book, asset: null, amount: "0" } : null;
}

/**
 * Whether a row passes: it is of such an update, and its change meets every condition.
 * @param {Entry} entry
 * @param {Filter} filter
 */
export function passes({ update, change }, filter) {
  const { user_id: user, change_type: type, asset, book, min_amount: least } = filter;
  if (user && user !== update.user_id) return false;
  if (type && type !== update.change_type) return false;
  if (!asset && !book && !least) return true;
  const meant = change ?? aboutNothing(update);
  return meant !== null
    && (!asset || asset === meant.asset)
    && (!book || book === meant.book)
    && (!least || size(meant.amount) >= minorUnits(least, MOST_DECIMALS));
}

/**
 * Whether a row has every word of a search, in whatever case.
 * @param {Entry} entry
 * @param {string[]} sought lower-case words
 */
export function hasWords({ update, change }, sought) {
  if (!sought.length) return true;
  const text = [
    update.position, update.transaction_id, update.user_id, update.change_type, update.description,
    update.reference, update.actor, update.idempotency_key, update.reverses,
    JSON.stringify(update.metadata), JSON.stringify(update.internal ?? ""),
    besidesWords(update), update.trade && [update.trade.pair, update.trade.id, ...aboutTrade(update.trade)].join("\n"),
    change?.account, change?.amount, change?.balance, change?.digest,
  ].join("\n").toLowerCase();
  return sought.every((word) => text.includes(word));
}

/** @param {string} search as typed */
export function wordsSought(search) {
  return search.toLowerCase().split(/\s+/).filter(Boolean);
}

/**
 * The filter in words, "" where it lets everything pass.
 * @param {Filter} filter
 */
export function filterInWords({ user_id: user, asset, book, change_type: type, min_amount: least }) {
  return [
    user && `user ${user}`, book && `book ${book}`, asset && `asset ${asset}`,
    type && `type ${type}`, least && `amount at least ${least}`,
  ].filter(Boolean).join(", ");
}

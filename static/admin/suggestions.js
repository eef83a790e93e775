/** What fields offer: the ledger's books and assets, and the types of changes. */

import { element } from "../parts/elements.js";

/** @typedef {import("./session.js").Session} Session */

const TYPES = [
  "deposit", "withdrawal", "transfer", "charge", "shared_charge", "recharge", "payment", "adjustment",
  "adoption", "opening_balance", "hold_placed", "hold_confirmed", "hold_voided", "hold_expired",
  "account_opened", "account_changed", "repair", "reversal",
];

/**
 * @param {string} list id of a datalist
 * @param {string[]} values
 */
function offer(list, values) {
  element(list).replaceChildren(...values.map((value) => new Option("", value)));
}

/** @param {Session} session */
export async function suggest(session) {
  offer("known-types", TYPES);
  try {
    const [books, assets] = await Promise.all([
      session.requests.get("/v1/books?limit=1000"), session.requests.get("/v1/assets?limit=1000"),
    ]);
    offer("known-books", books.items.map((/** @type {{name: string}} */ { name }) => name));
    offer("known-assets", assets.items.map((/** @type {{code: string}} */ { code }) => code));
  } catch {
    // The fields take anything, also without suggestions.
  }
}

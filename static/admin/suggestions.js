/** What the filters offer. */

import { offer, offerBooksAndAssets } from "../parts/suggestions.js";

/** @typedef {import("../parts/session.js").Session} Session */

const TYPES = [
  "deposit", "withdrawal", "transfer", "charge", "shared_charge", "recharge", "payment", "adjustment",
  "adoption", "opening_balance", "hold_placed", "hold_confirmed", "hold_voided", "hold_expired",
  "spot_buy", "spot_sell", "option_opened", "option_settled", "option_refunded", "trading_control",
  "account_opened", "account_changed", "repair", "reversal",
];

/** @param {Session} session */
export function suggest(session) {
  offer("known-types", TYPES);
  offerBooksAndAssets(session.requests);
}

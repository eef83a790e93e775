/**
 * The trades of the comprehensive test, in the demo book: ben's options, opened early with the
 * shortest duration and awaited at the end, how trading control decides them, ann's spot orders.
 */

import { isStale } from "../parts/prices.js";
import { payoutOf } from "./costs.js";
import { Failure, LOOK, NotHere, same } from "./trial-failures.js";

/** @typedef {import("./trial.js").Trial} Trial */
/** @typedef {import("./trial.js").Timing} Timing */
/** @typedef {import("../parts/prices.js").Pair} Pair */
/** @typedef {import("../parts/trade-words.js").Option} Option */
/** @typedef {import("../tallywire-client.js").Price} Price */
/** @typedef {import("../tallywire-client.js").Trade} Trade */
/** @typedef {import("../tallywire-client.js").Update} Update */
/** @typedef {import("../tallywire-client.js").Control["mode"]} Mode */

const STAKE = "10.000000";
const SPENT = "50";

/**
 * The first pair that is traded against the test's asset and has a fresh price.
 * @param {Trial} trial
 * @returns {Promise<Pair>}
 * @throws {NotHere} where there is none, or the users' own tokens are not to be had
 */
async function market(trial) {
  if (trial.watched) throw new NotHere("Trades are one's own: they need the users' tokens, which a superadmin does not have.");
  const [pairs, prices] = await Promise.all([trial.get("ann", "/v1/pairs"), trial.get("ann", "/v1/prices")]);
  const { serverNow } = trial.screens.ann.client;
  const found = pairs.items.find((/** @type {Pair} */ pair) => {
    const price = prices.items.find((/** @type {Price} */ each) => each.pair === pair.pair);
    return pair.quote === trial.asset && !isStale(pair, price, serverNow);
  });
  if (!found) throw new NotHere(`No pair against ${trial.asset} has a fresh price, so nothing can be traded.`);
  return found;
}

/**
 * The trade that an answer and the update of its position tell of: the same on the screen.
 * @param {Trial} trial
 * @param {"ann" | "ben"} who
 * @param {{position: number, trade: Trade}} outcome
 */
async function shown(trial, who, { position, trade }) {
  const seen = await trial.screens[who].shows(position);
  same("the screen to show the trade that the answer says:", trade, seen.update.trade, LOOK.wrong);
  return seen;
}

/**
 * By account, what an update moved.
 * @param {Update} update
 */
const moves = ({ changes }) => (
  Object.fromEntries(changes.map(({ asset, amount }) => [asset, amount]).sort())
);

/**
 * Opens ben's option under the control that is on, and holds its deduction against his screen.
 * @param {"by the price" | "win" | "lose" | "by hand"} name by which it is found again
 * @param {Mode} mode of the control that is on
 */
export function opened(name, mode) {
  return async (/** @type {Trial} */ trial) => {
    const { pair, durations } = await market(trial);
    const duration = durations.at(name === "by hand" ? -1 : 0); // what is ended by hand must not expire before
    if (!duration) throw new NotHere(`${pair} offers no options.`);
    const { outcome, askedAt, answeredAt } = await trial.post("ben", "/v1/options", {
      pair, book: trial.bookName, direction: "up", stake: "10", duration_s: duration.duration_s,
    });
    trial.options.set(name, outcome.trade);
    const { update, at } = await shown(trial, "ben", outcome);
    same("the stake to be taken at once:", { [trial.asset]: `-${STAKE}` }, moves(update), LOOK.wrong);
    const forced = mode !== "normal";
    same("the option to be decided beforehand:", forced, outcome.trade.forced, LOOK.trade);
    if (forced) same("the control that it was opened under to be", mode, outcome.trade.control, LOOK.trade);
    return { answer: answeredAt - askedAt, screen: at - answeredAt };
  };
}

/**
 * Sets ben's trading control, which his screen must tell.
 * @param {Mode} mode
 */
export function controlled(mode) {
  return async (/** @type {Trial} */ trial) => {
    await market(trial);
    const { ben } = trial.screens;
    const told = ben.controls.length;
    const { askedAt, answeredAt } = await trial.put("operator", pathOfControl(trial), { mode });
    const { control, at } = await ben.until(
      () => ben.controls[told],
      `the control ${mode} on the screen of ${ben.user}`,
      LOOK.notShown,
    );
    same("the control on the screen to be", [mode, trial.bookName], [control.mode, control.book], LOOK.wrong);
    return { answer: answeredAt - askedAt, screen: at - answeredAt };
  };
}

/** @param {Trial} trial */
const pathOfControl = ({ users }) => `/v1/admin/trading-controls/${users.ben}`;

/** @param {Trial} trial */
export async function controlElsewhere(trial) {
  await market(trial);
  const { ben } = trial.screens;
  const told = ben.controls.length;
  const code = await trial.refusalOfPut("operator", pathOfControl(trial), { mode: "win", book: "main" });
  same("the refusal to be", "demo_only", code, LOOK.refused);
  const { mode } = await trial.get("operator", pathOfControl(trial));
  same("the control to be as before:", "normal", mode, LOOK.refused);
  same("controls told meanwhile", 0, ben.controls.length - told, LOOK.wrong);
}

/**
 * An open option is ended by hand: its stake comes back.
 * @param {Trial} trial
 */
export async function endedByHand(trial) {
  await opened("by hand", "normal")(trial);
  const { id } = option(trial, "by hand");
  const { outcome, askedAt, answeredAt } = await trial.post("operator", `/v1/options/${id}/force`, { outcome: "tie" });
  const { update, at } = await shown(trial, "ben", outcome);
  same("the stake to come back:", { [trial.asset]: STAKE }, moves(update), LOOK.wrong);
  const { status, outcome: tie, forced } = outcome.trade;
  same("it to have ended by hand:", ["settled", "tie", true], [status, tie, forced], LOOK.trade);
  return { answer: answeredAt - askedAt, screen: at - answeredAt };
}

/**
 * @param {Trial} trial
 * @param {string} name
 * @returns {Option}
 */
function option({ options }, name) {
  const found = options.get(name);
  if (!found) throw new NotHere("It needs an option, and none was opened.");
  return found;
}

/**
 * Waits until an option is settled, and checks how.
 * @param {"by the price" | "win" | "lose"} name
 */
export function settled(name) {
  return async (/** @type {Trial} */ trial) => {
    const before = option(trial, name);
    const { id, expires_at: expiresAt, pair, payout_rate: rate } = before;
    const { ben } = trial.screens;
    await trial.untilServerTime(expiresAt, "The option expires");
    const { update } = await ben.until(
      () => ben.seen.find(({ update: { trade } }) => trade?.id === id && trade.status !== "open"),
      `the option ${id} to be settled, which expired at ${expiresAt}`,
      LOOK.settlement,
    );
    const after = /** @type {Option} */ (update.trade);
    const { outcome, settle_price: price, open_price: from } = after;
    same("the option to be", "settled", after.status, LOOK.trade);
    const due = name === "by the price" ? byThePrice(from, price ?? "") : name;
    same(`its outcome, from ${from} to ${price}, to be`, due, outcome, LOOK.trade);
    same("what was decided beforehand to be as at its opening:", before.forced, after.forced, LOOK.trade);
    const offered = (await trial.get("ben", "/v1/pairs")).items.find((/** @type {Pair} */ each) => each.pair === pair);
    same("a win to pay", payoutOf(offered, rate, STAKE), after.payout, LOOK.trade);
    /** @type {Record<string, object>} */
    const paid = { win: { [trial.asset]: trial.sum(STAKE, after.payout) }, tie: { [trial.asset]: STAKE }, lose: {} };
    same("its owner to be paid", paid[due], moves(update), LOOK.trade);
  };
}

/**
 * How an option up ends.
 * @param {string} from
 * @param {string} to with as many decimals
 */
function byThePrice(from, to) {
  const [before, after] = [from, to].map((price) => BigInt(price.replace(".", "")));
  if (before === undefined || after === undefined || before === after) return "tie";
  return after > before ? "win" : "lose";
}

/** @param {Trial} trial */
export async function bought(trial) {
  const { pair, base } = await market(trial);
  const { outcome, askedAt, answeredAt } = await trial.post("ann", "/v1/spot/orders", {
    pair, book: trial.bookName, side: "buy", quote_amount: SPENT,
  });
  const { update, at } = await shown(trial, "ann", outcome);
  const { base_amount: got, quote_amount: quote, fee } = outcome.trade;
  const due = Object.entries({ [base]: got, [trial.asset]: `-${trial.sum(quote, fee)}` }).sort();
  same("both assets and the fee in one update:", Object.fromEntries(due), moves(update), LOOK.trade);
  return { answer: answeredAt - askedAt, screen: at - answeredAt };
}

/** @param {Trial} trial */
export async function sold(trial) {
  const { pair, base } = await market(trial);
  const account = trial.screens.ann.accounts.get(`${trial.bookName}/${trial.users.ann}/${base}`);
  if (!account) throw new NotHere(`It needs ${base}, and none was bought.`);
  const { outcome, askedAt, answeredAt } = await trial.post("ann", "/v1/spot/orders", {
    pair, book: trial.bookName, side: "sell", base_amount: account.balance,
  });
  const { update, at } = await shown(trial, "ann", outcome);
  const { base_amount: given, quote_amount: quote, fee } = outcome.trade;
  const due = Object.entries({ [base]: `-${given}`, [trial.asset]: trial.sum(quote, `-${fee}`) }).sort();
  same("both assets and the fee in one update:", Object.fromEntries(due), moves(update), LOOK.trade);
  const left = update.changes.find(({ asset }) => asset === base);
  same(`nothing of ${base} to be left:`, true, /^0(\.0+)?$/.test(left?.balance ?? ""), LOOK.trade);
  return { answer: answeredAt - askedAt, screen: at - answeredAt };
}

/** @param {Trial} trial */
export async function limitNotMet(trial) {
  const { pair, price_decimals: decimals } = await market(trial);
  const before = trial.account("ann").seq;
  const least = decimals ? `0.${"1".padStart(decimals, "0")}` : "1";
  const code = await trial.refusal("ann", "/v1/spot/orders", {
    pair, book: trial.bookName, side: "buy", quote_amount: SPENT, limit_price: least,
  });
  same("the refusal to be", "limit_not_met", code, LOOK.refused);
  const { balances } = await trial.get("ann", `/v1/users/${trial.users.ann}/balances`);
  const { seq } = balances.find((/** @type {{account: string}} */ { account }) => account === trial.accountName("ann"));
  same("no entry to be made, so the newest to be number", before, seq, LOOK.ledger);
}

/**
 * The trades that the screens were told of last, held against those over HTTP.
 * @param {Trial} trial
 */
export async function tradesEqualLedger(trial) {
  await market(trial);
  for (const who of trial.names) {
    const { seen, user } = trial.screens[who];
    const told = new Map(seen.flatMap(({ update: { trade } }) => (trade ? [[trade.id, trade]] : [])));
    if (!told.size) throw new Failure(`trades of ${user}`, "its screen was told of none", LOOK.notShown);
    const [options, orders] = await Promise.all(["/v1/options", "/v1/spot/orders"].map((path) => (
      trial.get(who, `${path}?user_id=${user}&limit=1000`)
    )));
    const listed = [...options.items, ...orders.items];
    same(`the trades of ${user} on its screen to be those over HTTP:`, byId(listed), byId([...told.values()]), LOOK.trade);
  }
}

/** @param {Trade[]} trades */
const byId = (trades) => (
  trades
    .map((trade) => Object.fromEntries(Object.entries(trade).sort()))
    .sort((a, b) => (String(a.id) < String(b.id) ? -1 : 1))
);

/**
 * The comprehensive test as data: what is done, by whom, and what its users' screens must show.
 * The options that it opens early are awaited near its end.
 *
 * A step either books something (`by`, `path`, `body`, `type`, `shows`) or has a `run` of its own.
 * Its users are `ann` and `ben`, made for this run, in the demo book.
 */

import { FIRST_DIGEST, entryDigest, openEventStream } from "../tallywire-client.js";
import { Failure, LOOK, NotHere, same } from "./trial-failures.js";
import {
  bought, controlElsewhere, controlled, endedByHand, limitNotMet, opened, settled, sold, tradesEqualLedger,
} from "./trial-trading.js";

/** @typedef {import("./trial.js").Trial} Trial */
/** @typedef {import("./trial.js").Timing} Timing */
/** @typedef {import("../tallywire-client.js").Update} Update */

/**
 * @typedef {object} Booking
 * @property {string} name
 * @property {"operator" | "ann" | "ben"} by who asks for it
 * @property {string | ((trial: Trial) => string)} path of the POST
 * @property {(trial: Trial) => object} body without book and asset
 * @property {boolean} [bare] whether book and asset are left out, as for steps of a hold
 * @property {string} type the change_type that must come
 * @property {Record<string, Shown>} shows by user, what its entry must be
 */

/**
 * @typedef {object} Shown
 * @property {string} [amount] that moves
 * @property {string} [held] that moves, by default nothing
 * @property {string} [balance] after it
 */

/**
 * @typedef {object} Check
 * @property {string} name
 * @property {boolean} [vital] whether nothing after it makes sense once it failed
 * @property {(trial: Trial) => Promise<Timing | void>} run
 */

/** @typedef {Booking | Check} Step */

/** @type {Step[]} */
export const STEPS = [
  { name: "Open the streams of two new users", vital: true, run: openScreens },
  {
    name: "Deposit",
    by: "operator",
    path: "/v1/deposits",
    body: ({ users }) => ({ user_id: users.ann, amount: "500.25" }),
    type: "deposit",
    shows: { ann: { amount: "500.250000" } },
  },
  {
    name: "Withdrawal",
    by: "ann",
    path: "/v1/withdrawals",
    body: ({ users }) => ({ user_id: users.ann, amount: "100" }),
    type: "withdrawal",
    shows: { ann: { amount: "-100.000000" } },
  },
  {
    name: "Adjustment up",
    by: "operator",
    path: "/v1/adjustments",
    body: ({ users }) => ({ user_id: users.ann, amount: "10.5", description: "Found" }),
    type: "adjustment",
    shows: { ann: { amount: "10.500000" } },
  },
  {
    name: "Adjustment down",
    by: "operator",
    path: "/v1/adjustments",
    body: ({ users }) => ({ user_id: users.ann, amount: "-0.75", description: "Counted twice" }),
    type: "adjustment",
    shows: { ann: { amount: "-0.750000" } },
  },
  {
    name: "Transfer, on both screens",
    by: "ann",
    path: "/v1/transfers",
    body: ({ users }) => ({ from_user: users.ann, to_user: users.ben, amount: "60" }),
    type: "transfer",
    shows: { ann: { amount: "-60.000000" }, ben: { amount: "60.000000" } },
  },
  { name: "Option opened: the stake is taken at once", run: opened("by the price", "normal") },
  { name: "Trading control “win” in demo, told on the user’s screen", run: controlled("win") },
  { name: "Option opened under “win”", run: opened("win", "win") },
  { name: "Trading control “lose”", run: controlled("lose") },
  { name: "Option opened under “lose”", run: opened("lose", "lose") },
  { name: "Trading control back to normal", run: controlled("normal") },
  { name: "Trading control in another book: refused", run: controlElsewhere },
  { name: "Option ended by hand before its time", run: endedByHand },
  {
    name: "Charge",
    by: "operator",
    path: "/v1/charges",
    body: ({ users }) => ({ user_id: users.ann, amount: "25", service_type: "storage" }),
    type: "charge",
    shows: { ann: { amount: "-25.000000" } },
  },
  {
    name: "Reversal of the charge",
    by: "operator",
    path: ({ booked }) => `/v1/transactions/${booked("Charge")}/reversal`,
    body: () => ({ description: "Not used after all" }),
    bare: true,
    type: "reversal",
    shows: { ann: { amount: "25.000000" } },
  },
  {
    name: "Recharge",
    by: "operator",
    path: "/v1/recharges",
    body: ({ users }) => ({ user_id: users.ann, amount: "40" }),
    type: "recharge",
    shows: { ann: { amount: "40.000000" } },
  },
  {
    name: "Hold placed",
    by: "ann",
    path: "/v1/holds",
    body: ({ users }) => ({ user_id: users.ann, amount: "100" }),
    type: "hold_placed",
    shows: { ann: { amount: "0.000000", held: "100.000000" } },
  },
  {
    name: "Hold confirmed in part, to the other user",
    by: "ann",
    path: ({ booked }) => `/v1/holds/${booked("Hold placed")}/confirm`,
    body: ({ users }) => ({ amount: "35.5", to_user: users.ben }),
    bare: true,
    type: "hold_confirmed",
    shows: { ann: { amount: "-35.500000", held: "-35.500000" }, ben: { amount: "35.500000" } },
  },
  {
    name: "The rest of the hold voided",
    by: "ann",
    path: ({ booked }) => `/v1/holds/${booked("Hold placed")}/void`,
    body: () => ({}),
    bare: true,
    type: "hold_voided",
    shows: { ann: { amount: "0.000000", held: "-64.500000" } },
  },
  { name: "Spot order: buys for an amount of quote", run: bought },
  { name: "Spot order: sells an amount of base", run: sold },
  { name: "Limit not met: refused, nothing changes", run: limitNotMet },
  { name: "Refused withdrawal: nothing changes, nothing is shown", run: refusedWithdrawal },
  { name: "The same request twice at once: booked once", run: sameKeyTwice },
  { name: "Disconnected: what was missed comes, once and in order", run: disconnected },
  { name: "A screen in mode “latest”", run: latestMode },
  { name: "Without WebSockets: falls back to SSE, which shows the same", run: eventStream },
  { name: "The first option is settled by the price of its expiry", run: settled("by the price") },
  { name: "The option under “win” is won", run: settled("win") },
  { name: "The option under “lose” is lost", run: settled("lose") },
  {
    name: "Adjustment to a new balance: back to zero",
    by: "operator",
    path: "/v1/adjustments",
    body: ({ users }) => ({ user_id: users.ann, new_balance: "0", description: "End of the test" }),
    type: "adjustment",
    shows: { ann: { balance: "0.000000" } },
  },
  {
    name: "The same for the other user",
    by: "operator",
    path: "/v1/adjustments",
    body: ({ users }) => ({ user_id: users.ben, new_balance: "0", description: "End of the test" }),
    type: "adjustment",
    shows: { ben: { balance: "0.000000" } },
  },
  { name: "Every digest, from the first entry on", run: digests },
  { name: "The screens equal balances and history", run: screensEqualLedger },
  { name: "The trades on the screens equal those over HTTP", run: tradesEqualLedger },
];

/** @param {Trial} trial */
async function openScreens(trial) {
  await trial.getTokens();
  await Promise.all(Object.values(trial.screens).map((screen) => screen.open()));
  for (const { user, accounts } of Object.values(trial.screens)) {
    same(`no account of ${user} yet, so`, [], [...accounts.keys()], LOOK.ledger);
  }
}

/**
 * The next entry follows the one before the refusal, so nothing came between.
 * @param {Trial} trial
 */
async function refusedWithdrawal(trial) {
  const { ann } = trial.screens;
  const before = trial.account("ann");
  const shown = ann.seen.length;
  const body = trial.inBook({ user_id: trial.users.ann, amount: "1000000" });
  const code = await trial.refusal("ann", "/v1/withdrawals", body);
  same("the refusal to be", "insufficient_funds", code, LOOK.refused);
  const timing = await trial.book({
    name: "Deposit after the refusal",
    by: "operator",
    path: "/v1/deposits",
    body: ({ users }) => ({ user_id: users.ann, amount: "0.000001" }),
    type: "deposit",
    shows: { ann: { amount: "0.000001" } },
  });
  same("the next entry to be number", before.seq + 1, trial.account("ann").seq, LOOK.ledger);
  same("updates shown since the refusal", 1, ann.seen.length - shown, LOOK.twice);
  return timing;
}

/** @param {Trial} trial */
async function sameKeyTwice(trial) {
  const { ann } = trial.screens;
  const before = trial.account("ann").seq;
  const body = trial.inBook({ user_id: trial.users.ann, amount: "1" });
  const key = trial.newKey();
  const twice = () => trial.post("operator", "/v1/deposits", body, key);
  const [first, second] = await Promise.all([twice(), twice()]);
  const ids = [first.outcome.transaction_id, second.outcome.transaction_id];
  same("both answers to name the transaction", ids[0], ids[1], LOOK.twice);
  same("answers that say Idempotent-Replayed", 1, [first, second].filter(({ replayed }) => replayed).length, LOOK.twice);
  const { at } = await ann.shows(first.outcome.position);
  const other = trial.inBook({ user_id: trial.users.ann, amount: "2" });
  const code = await trial.refusal("operator", "/v1/deposits", other, key);
  same("another request under that key to be refused as", "idempotency_key_reused", code, LOOK.refused);
  same("the newest entry to be number", before + 1, trial.account("ann").seq, LOOK.twice);
  const answered = Math.min(first.answeredAt, second.answeredAt);
  return { answer: answered - first.askedAt, screen: at - answered };
}

/** @param {Trial} trial */
async function disconnected(trial) {
  const { ann } = trial.screens;
  const before = ann.seen.length;
  const entry = trial.account("ann").seq;
  await ann.away();
  const items = ["1", "2", "3"].map((amount) => (
    trial.inBook({ operation: "deposit", user_id: trial.users.ann, amount })
  ));
  const { outcome, askedAt, answeredAt } = await trial.post("operator", "/v1/batches", { atomic: true, items });
  /** @type {number[]} */
  const missed = outcome.results.map((/** @type {{position: number}} */ { position }) => position);
  same("updates shown while away", 0, ann.seen.length - before, LOOK.resumed);
  const backAt = performance.now();
  ann.back();
  const { at } = await ann.shows(missed.at(-1) ?? 0);
  const came = ann.seen.slice(before);
  same("the missed positions in order, each once:", missed, came.map(({ update }) => update.position), LOOK.resumed);
  if (!trial.watched) {
    same("all of them marked as replayed:", [true, true, true], came.map(({ replayed }) => replayed), LOOK.resumed);
    same("`resumed` to count", 3, ann.resumed.at(-1)?.count, LOOK.resumed);
  }
  same("the newest entry to be number", entry + 3, trial.account("ann").seq, LOOK.resumed);
  return { answer: answeredAt - askedAt, screen: at - backAt };
}

/** @param {Trial} trial */
async function latestMode(trial) {
  if (trial.watched) throw new NotHere("The mode is of a user's own stream, which a superadmin does not see.");
  const screen = trial.newScreen("ann", { mode: "latest" });
  await screen.open();
  const body = trial.inBook({ user_id: trial.users.ann, amount: "4" });
  const { outcome, askedAt, answeredAt } = await trial.post("operator", "/v1/deposits", body);
  const { at } = await screen.until(
    () => screen.latest.find(({ to }) => to >= outcome.position),
    `position ${outcome.position} to be covered by a balance_latest`,
    LOOK.notShown,
  );
  await trial.screens.ann.shows(outcome.position);
  const [every, latest] = [trial.screens.ann, screen].map(({ accounts }) => accounts.get(trial.accountName("ann")));
  same("both modes to show the balance", every?.balance, latest?.balance, LOOK.wrong);
  same("both modes to show the digest", every?.digest, latest?.digest, LOOK.wrong);
  screen.close();
  return { answer: answeredAt - askedAt, screen: at - answeredAt };
}

/** Every connection fails at once. @type {import("../tallywire-client.js").Transport} */
function noWebSocket(_address, _hello, { closed }) {
  queueMicrotask(() => closed({ code: 1006 }));
  return { close: () => {} };
}

/** @param {Trial} trial */
async function eventStream(trial) {
  const screen = trial.newScreen("ann", {
    transports: { websocket: noWebSocket, sse: openEventStream },
    random: () => 0, // so that it tries again at once
  });
  await screen.open();
  same("the transport to be", "sse", screen.client.transport, LOOK.stream);
  const body = trial.inBook({ user_id: trial.users.ann, amount: "8" });
  const { outcome, askedAt, answeredAt } = await trial.post("operator", "/v1/deposits", body);
  const [overSse, overWebSocket] = await Promise.all([
    screen.shows(outcome.position), trial.screens.ann.shows(outcome.position),
  ]);
  same("the update over SSE to be", overWebSocket.update, overSse.update, LOOK.wrong);
  screen.close();
  return { answer: answeredAt - askedAt, screen: overSse.at - answeredAt };
}

/** @param {Trial} trial */
async function digests(trial) {
  if (!globalThis.crypto?.subtle) {
    throw new Failure("digests to be checked", "this page has no WebCrypto", LOOK.crypto);
  }
  for (const who of trial.names) {
    const { user, accounts } = trial.screens[who];
    /** @type {Map<string, string>} */
    const chains = new Map();
    for (const update of await trial.history(who)) {
      for (const change of update.changes) {
        const previous = chains.get(change.account) ?? FIRST_DIGEST;
        const digest = await entryDigest(previous, change, update.transaction_id);
        same(`${change.account}, entry ${change.seq}: the digest`, digest, change.digest, LOOK.chain(user));
        chains.set(change.account, digest);
      }
    }
    for (const { account, digest, proof } of accounts.values()) {
      same(`${account} on the screen to be`, "verified", proof.state, LOOK.chain(user));
      same(`${account} on the screen to have the digest`, chains.get(account), digest, LOOK.chain(user));
    }
  }
}

/** @param {Trial} trial */
async function screensEqualLedger(trial) {
  for (const who of trial.names) {
    const screen = trial.screens[who];
    const history = await trial.history(who);
    /** @param {Update[]} updates */
    const positions = (updates) => updates.map(({ position }) => position);
    const changes = positions(history.filter(({ control }) => !control));
    const shown = positions(screen.seen.map(({ update }) => update));
    same(`the screen of ${screen.user} to have shown exactly its history:`, changes, shown, LOOK.resumed);
    const controls = positions(history.filter(({ control }) => control));
    const told = screen.controls.map(({ control }) => control.position);
    same(`the screen of ${screen.user} to have been told of every control:`, controls, told, LOOK.resumed);
    const { balances } = await trial.get(who, `/v1/users/${screen.user}/balances`);
    const accounts = [...screen.accounts.values()].map(({ proof, ...balance }) => balance);
    same(`the screen of ${screen.user} to equal its balances:`, sorted(balances), sorted(accounts), LOOK.ledger);
  }
}

/** @param {{account: string}[]} balances */
function sorted(balances) {
  return balances
    .map((balance) => Object.fromEntries(Object.entries(balance).sort()))
    .sort((a, b) => (String(a.account) < String(b.account) ? -1 : 1));
}

/** A small ledger of the contract, which makes the messages that a server would send. */

import { createHash } from "node:crypto";

import { FIRST_DIGEST, decimalText } from "../../static/tallywire-client.js";

/** @import { Balance, Change, Update } from "../../static/tallywire-client.js" */

const SCALE = 6;

/** Alice's accounts, entry by entry. Amounts are given in whole units. */
export class Journal {
  epoch = "epoch-1";
  position = 0;
  /** @type {Map<string, {seq: number, balance: bigint, held: bigint, digest: string}>} */
  accounts = new Map();
  /** @type {Update[]} */
  updates = [];

  /** @param {{epoch?: string}} [options] */
  constructor({ epoch } = {}) {
    if (epoch) this.epoch = epoch;
  }

  /**
   * One transaction with an entry in each of `accounts`.
   * @param {{accounts?: string[], amount?: number, held?: number, type?: string, user_id?: string}}
   *   [what]
   * @returns {Update}
   */
  change({
    accounts = ["main/alice/USDT"], amount = 1, held = 0, type = "deposit", user_id = "alice",
  } = {}) {
    this.position += 1;
    const transactionId = `transaction-${this.position}`;
    const time = "2026-01-01T00:00:00.000000Z";
    const update = {
      epoch: this.epoch,
      position: this.position,
      transaction_id: transactionId,
      user_id,
      change_type: type,
      description: "",
      reference: null,
      metadata: {},
      reverses: null,
      effective_at: time,
      timestamp: time,
      changes: accounts.map((account) => this.#entry(account, amount, held, transactionId)),
    };
    this.updates.push(update);
    return update;
  }

  /**
   * @param {string} account
   * @param {number} amount
   * @param {number} held
   * @param {string} transactionId
   * @returns {Change}
   */
  #entry(account, amount, held, transactionId) {
    const unit = 10n ** BigInt(SCALE);
    const before = this.accounts.get(account)
      ?? { seq: 0, balance: 0n, held: 0n, digest: FIRST_DIGEST };
    const moved = BigInt(amount) * unit;
    const heldChange = BigInt(held) * unit;
    const after = {
      seq: before.seq + 1,
      balance: before.balance + moved,
      held: before.held + heldChange,
      digest: "",
    };
    const fields = [before.digest, account, after.seq, moved, heldChange, after.balance, after.held];
    after.digest = createHash("sha256").update([...fields, transactionId].join("|")).digest("hex");
    this.accounts.set(account, after);
    return {
      ...this.balance(account),
      amount: decimalText(moved, SCALE),
      held_change: decimalText(heldChange, SCALE),
      balance_before: decimalText(before.balance, SCALE),
    };
  }

  /**
   * @param {string} account
   * @returns {Balance}
   */
  balance(account) {
    const state = this.accounts.get(account);
    if (!state) throw new Error(`no account ${account}`);
    const [book, , asset] = account.split("/");
    const text = (/** @type {bigint} */ units) => decimalText(units, SCALE);
    return {
      account,
      book,
      asset,
      scale: SCALE,
      side: "credit",
      balance: text(state.balance),
      held: text(state.held),
      available: text(state.balance - state.held),
      floor: text(0n),
      suspend_below: null,
      alert_below: null,
      status: "active",
      seq: state.seq,
      digest: state.digest,
      total_in: text(0n),
      total_out: text(0n),
    };
  }

  /** The balances by account, as a screen has to show them. */
  shown() {
    return Object.fromEntries([...this.accounts.keys()].map((account) => (
      [account, this.balance(account).balance]
    )));
  }

  /**
   * The accounts as of now.
   * @param {{reason?: string, user_id?: string, balances?: Balance[], part?: number,
   *   parts?: number, replayed?: boolean}} [what]
   */
  init({ reason = "connect", user_id = "alice", ...rest } = {}) {
    return {
      type: "user_balance_init",
      epoch: this.epoch,
      position: this.position,
      user_id,
      reason,
      balances: [...this.accounts.keys()].map((account) => this.balance(account)),
      control: null,
      part: 1,
      parts: 1,
      server_time: new Date(Date.now()).toISOString(),
      ...rest,
    };
  }

  /** @param {Update} update */
  static message(update, { replayed = false } = {}) {
    return { type: "balance_update", ...(replayed && { replayed }), ...update };
  }

  /** A new transaction, as it comes live. @param {Parameters<Journal["change"]>[0]} [what] */
  next(what) {
    return Journal.message(this.change(what));
  }

  /** @param {number} from */
  resumed(from, count = this.position - from) {
    return { type: "resumed", epoch: this.epoch, from, to: this.position, count };
  }

  /** @param {number} [position] */
  heartbeat(position = this.position) {
    return { type: "heartbeat", epoch: this.epoch, position, server_time: new Date(Date.now()).toISOString() };
  }

  monitorInit() {
    return {
      type: "admin_monitor_init",
      epoch: this.epoch,
      position: this.position,
      totals: [],
      connected: { users: 1, connections: 1 },
      recent: [],
    };
  }

  /** @param {number} from */
  monitor(from, to = this.position) {
    const updates = this.updates.filter(({ position }) => position > from && position <= to);
    return { type: "admin_balance_monitor", epoch: this.epoch, from, to, updates };
  }

  /** @param {number} from */
  latest(from) {
    return {
      type: "balance_latest",
      epoch: this.epoch,
      from,
      to: this.position,
      balances: [...this.accounts.keys()].map((account) => this.balance(account)),
    };
  }
}

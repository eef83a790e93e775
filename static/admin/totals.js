/** What all users together have, per book and asset: exact, moved by every change. */

import { decimalText, minorUnits } from "../tallywire-client.js";

/** @typedef {import("./entries.js").Update} Update */
/** @typedef {{book: string, asset: string, balance: string, held: string}} TotalRow */
/** @typedef {{book: string, asset: string, scale: number, balance: bigint, held: bigint,
 *   samples: bigint[]}} Total `samples`: the balance at equal distances in time, oldest first */

/** @param {string} amount with all the decimals of its asset */
const scaleOf = (amount) => amount.split(".")[1]?.length ?? 0;

export class Totals {
  /** By book and asset. @type {Map<string, Total>} */
  #totals = new Map();
  /** The position that they are of. */
  position = 0;

  /** @param {number} samples how many are kept of each */
  constructor(samples) {
    this.samples = samples;
  }

  /**
   * Begins anew from what the server says; lines of samples go on.
   * @param {TotalRow[]} rows
   * @param {number} position
   */
  replace(rows, position) {
    const before = this.#totals;
    this.position = position;
    this.#totals = new Map(rows.map(({ book, asset, balance, held }) => {
      const key = `${book}/${asset}`;
      const scale = scaleOf(balance);
      return [key, {
        book,
        asset,
        scale,
        balance: minorUnits(balance, scale),
        held: minorUnits(held, scale),
        samples: before.get(key)?.samples ?? [],
      }];
    }));
  }

  /** @param {Update} update */
  add({ changes }) {
    for (const { book, asset, scale, amount, held_change: heldChange } of changes) {
      const key = `${book}/${asset}`;
      const total = this.#totals.get(key)
        ?? { book, asset, scale, balance: 0n, held: 0n, samples: [] };
      total.balance += minorUnits(amount, scale);
      total.held += minorUnits(heldChange, scale);
      this.#totals.set(key, total);
    }
  }

  /** Remembers what all of them are now. */
  sample() {
    for (const total of this.#totals.values()) {
      total.samples.push(total.balance);
      if (total.samples.length > this.samples) total.samples.shift();
    }
  }

  /** By book and asset. */
  get rows() {
    return [...this.#totals.keys()].sort().map((key) => /** @type {Total} */ (this.#totals.get(key)));
  }
}

/**
 * Where totals differ from the ledger's trial balance of the same position.
 * @param {TotalRow[]} totals in the users' own sense
 * @param {{rows: {book: string, asset: string, owner_kind: string, balance: string}[],
 *   sums: Record<string, string>}} trial credit-positive
 * @param {Set<string>} debitBooks books whose own sense is the other way round
 * @returns {{name: string, words: string}[]} empty where all is equal
 */
export function differences(totals, trial, debitBooks) {
  /** @type {Map<string, {shown: bigint, booked: bigint, scale: number}>} */
  const found = new Map();
  /** @param {string} name @param {number} scale */
  const at = (name, scale) => {
    const known = found.get(name) ?? { shown: 0n, booked: 0n, scale };
    found.set(name, known);
    return known;
  };
  for (const { book, asset, balance } of totals) {
    const scale = scaleOf(balance);
    at(`${book}/${asset}`, scale).shown = minorUnits(balance, scale);
  }
  for (const { book, asset, owner_kind: kind, balance } of trial.rows) {
    if (kind !== "user") continue;
    const scale = scaleOf(balance);
    const units = minorUnits(balance, scale);
    at(`${book}/${asset}`, scale).booked = debitBooks.has(book) ? -units : units;
  }
  const unequal = [...found].filter(([, { shown, booked }]) => shown !== booked)
    .map(([name, { shown, booked, scale }]) => ({
      name,
      words: `${name} is ${decimalText(shown, scale)} here, ${decimalText(booked, scale)} in the journal`,
    }));
  const unbalanced = Object.entries(trial.sums)
    .filter(([, sum]) => minorUnits(sum, scaleOf(sum)) !== 0n)
    .map(([name, sum]) => ({ name, words: `the accounts of ${name} sum to ${sum}, not to zero` }));
  return [...unequal, ...unbalanced];
}

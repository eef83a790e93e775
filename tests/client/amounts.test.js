/** Amounts and digests are those of the contract. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { decimalText, entryDigest, minorUnits } from "../../static/tallywire-client.js";

const VECTORS = JSON.parse(readFileSync(new URL("../vectors.json", import.meta.url), "utf8"));

test("every entry's digest is the one of the vectors", async () => {
  let checked = 0;
  for (const { account, scale, entries } of VECTORS.chains) {
    for (const entry of entries) {
      const text = (/** @type {string} */ name) => decimalText(BigInt(entry[name]), scale);
      const change = {
        account,
        scale,
        seq: entry.seq,
        amount: text("amount"),
        held_change: text("held_change"),
        balance: text("balance"),
        held: text("held"),
      };
      assert.equal(await entryDigest(entry.previous, change, entry.transaction_id), entry.digest);
      checked += 1;
    }
  }
  assert.ok(checked > 10);
});

test("amounts are exact", () => {
  /** @type {[string, number, string, string][]} */
  const exact = [
    ["9223372036854775807", 0, "9223372036854775807", "9223372036854775807"],
    ["-92233720368.54775807", 8, "-9223372036854775807", "-92233720368.54775807"],
    ["0.000001", 6, "1", "0.000001"],
    ["-0.05", 2, "-5", "-0.05"],
    ["-0", 2, "0", "0.00"],
    ["1.5", 6, "1500000", "1.500000"],
  ];
  for (const [text, scale, units, written] of exact) {
    assert.equal(minorUnits(text, scale), BigInt(units));
    assert.equal(decimalText(BigInt(units), scale), written);
  }
});

test("what is no amount is refused", () => {
  for (const text of ["01", "1e3", "", "1,000", " 1", "1.", ".5", "+1", "1.234", "١", 1, null, undefined]) {
    assert.throws(() => minorUnits(/** @type {string} */ (text), 2), RangeError);
  }
  assert.throws(() => minorUnits("1.0", /** @type {any} */ (undefined)), RangeError);
});

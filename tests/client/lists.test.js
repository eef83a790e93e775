/** Lists and small charts of the pages, as far as they need no page. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { roundedUp } from "../../static/parts/chart.js";
import { Newest } from "../../static/parts/newest.js";
import { rowAfterKey, rowsInView, topShowing } from "../../static/parts/rows.js";
import { linePath, shares, valuesInWords } from "../../static/parts/sparkline.js";

test("the newest are kept, newest first, and all that ever came are counted", () => {
  const newest = new Newest(3);
  for (const item of "abcde") newest.add(item);
  assert.deepEqual([...newest], ["e", "d", "c"]);
  assert.deepEqual([newest.at(0), newest.at(2), newest.at(3)], ["e", "c", undefined]);
  assert.deepEqual([newest.length, newest.added], [3, 5]);
  newest.clear();
  assert.deepEqual([...newest], []);
});

test("as many rows are drawn as fit, wherever the list is scrolled", () => {
  const view = { height: 400, rowHeight: 40, count: 10_000 };
  assert.deepEqual(rowsInView({ ...view, top: 0 }), { first: 0, end: 13 });
  assert.deepEqual(rowsInView({ ...view, top: 4_010 }), { first: 97, end: 114 });
  assert.deepEqual(rowsInView({ ...view, top: 399_600 }), { first: 9_987, end: 10_000 });
  assert.deepEqual(rowsInView({ ...view, top: 0, count: 2 }), { first: 0, end: 2 });
  assert.deepEqual(rowsInView({ ...view, top: 4_000, count: 2 }), { first: 2, end: 2 });
});

test("a chosen row comes into view by the shortest way", () => {
  const view = { top: 400, height: 200, rowHeight: 40 };
  assert.equal(topShowing(12, view), 400);
  assert.equal(topShowing(9, view), 360);
  assert.equal(topShowing(15, view), 440);
});

test("keys move among the rows and stay within them", () => {
  const view = { page: 9, count: 20 };
  assert.equal(rowAfterKey("ArrowDown", -1, view), 0);
  assert.equal(rowAfterKey("ArrowUp", 0, view), 0);
  assert.equal(rowAfterKey("PageDown", 15, view), 19);
  assert.equal(rowAfterKey("Home", 7, view), 0);
  assert.equal(rowAfterKey("End", 7, view), 19);
  assert.equal(rowAfterKey("Tab", 7, view), null);
  assert.equal(rowAfterKey("End", -1, { page: 9, count: 0 }), null);
});

test("values beyond the exactness of numbers keep their places in a line", () => {
  const large = 2n ** 62n;
  assert.deepEqual(shares([large, large + 2n, large + 1n]), [0, 1, 0.5]);
  assert.deepEqual(shares([7n, 7n]), [0.5, 0.5]);
  assert.equal(linePath([0, 1, 0.5], 100, 24), "M0.00 24.00L50.00 0.00L100.00 12.00");
  assert.equal(linePath([0.5], 100, 24), "M0.00 12.00H100");
});

test("a line is told in words", () => {
  const values = [[3n, "3.00"], [9n, "9.00"], [1n, "1.00"], [5n, "5.00"]]
    .map(([units, label]) => ({ units: /** @type {bigint} */ (units), label: String(label) }));
  const words = "4 values, from 3.00 to 5.00; lowest 1.00, highest 9.00.";
  assert.equal(valuesInWords(values), words);
  assert.equal(valuesInWords([]), "No values yet.");
});

test("a scale ends at a round number", () => {
  assert.deepEqual([0n, 1n, 3n, 17n, 1_999n, 2_001n].map(roundedUp), [1n, 1n, 5n, 20n, 2_000n, 5_000n]);
});

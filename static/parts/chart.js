/** A chart of values over time, with its scale and the same in words. */

import { one, write } from "./elements.js";
import { greatest, least, linePath, shares, valuesInWords } from "./sparkline.js";

/** @typedef {import("./sparkline.js").Value} Value */

const WIDTH = 1000;
const HEIGHT = 100;

/**
 * The smallest of 1, 2 and 5 times a power of ten that is not below `units`: the top of a scale.
 * @param {bigint} units not negative
 */
export function roundedUp(units) {
  for (let power = 1n; ; power *= 10n) {
    for (const step of [1n, 2n, 5n]) if (step * power >= units) return step * power;
  }
}

/**
 * Draws `values` into a figure that has an `svg` with `.area` and `.line`, `.high` and `.low` for
 * the ends of its scale, and a `figcaption`, hidden to the eye, for the words.
 * @param {HTMLElement} figure
 * @param {Value[]} values oldest first, at equal distances in time
 * @param {{fromZero: boolean, text: (units: bigint) => string}} scale whether it begins at zero
 *   and ends at a round number, and what its ends are called
 */
export function chart(figure, values, { fromZero, text }) {
  const units = values.map((value) => value.units);
  if (!units.length) units.push(0n);
  const low = fromZero ? 0n : least(units);
  const high = fromZero ? roundedUp(greatest(units)) : greatest(units);
  const line = linePath(shares(units, low, high), WIDTH, HEIGHT);
  one(figure, ".line", SVGElement).setAttribute("d", line);
  one(figure, ".area", SVGElement).setAttribute("d", `${line}V${HEIGHT}H0Z`);
  write(one(figure, ".high"), text(high));
  write(one(figure, ".low"), text(low));
  write(one(figure, "figcaption"), valuesInWords(values));
}

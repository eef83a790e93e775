/** A small line of values over time, drawn into an SVG, with the same in words. */

/** @typedef {{units: bigint, label: string}} Value a value in minor units, and what it is called */

const WIDTH = 100;
const HEIGHT = 24;
const STEPS = 10_000n;

/**
 * Where each value lies between the lowest, 0, and the highest, 1.
 * @param {bigint[]} units
 * @param {bigint} [low]
 * @param {bigint} [high]
 * @returns {number[]} one half each where low is high
 */
export function shares(units, low = least(units), high = greatest(units)) {
  const span = high - low;
  return units.map((each) => (span ? Number(((each - low) * STEPS) / span) / Number(STEPS) : 0.5));
}

/** @param {bigint[]} units at least one */
export function least(units) {
  return units.reduce((low, each) => (each < low ? each : low));
}

/** @param {bigint[]} units at least one */
export function greatest(units) {
  return units.reduce((high, each) => (each > high ? each : high));
}

/**
 * The path of a line through shares of the height, from the left edge to the right.
 * @param {number[]} heights each 0 to 1
 * @param {number} width
 * @param {number} height
 */
export function linePath(heights, width, height) {
  const step = width / Math.max(1, heights.length - 1);
  const points = heights.map((share, index) => (
    `${(index * step).toFixed(2)} ${(height * (1 - share)).toFixed(2)}`
  ));
  return points.length === 1 ? `M${points[0]}H${width}` : `M${points.join("L")}`;
}

/**
 * The values in words: from which to which, the lowest and the highest.
 * @param {Value[]} values oldest first
 */
export function valuesInWords(values) {
  const [first, last] = [values.at(0), values.at(-1)];
  if (!first || !last) return "No values yet.";
  if (values.length === 1) return `${first.label}.`;
  /** @param {bigint} units */
  const labelOf = (units) => values.find((value) => value.units === units)?.label;
  const units = values.map((value) => value.units);
  return `${values.length} values, from ${first.label} to ${last.label};`
    + ` lowest ${labelOf(least(units))}, highest ${labelOf(greatest(units))}.`;
}

/**
 * Draws `values`; it has no text of its own, so the words become its label.
 * @param {SVGSVGElement} svg as wide and high as its styles say
 * @param {Value[]} values oldest first
 */
export function sparkline(svg, values) {
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", valuesInWords(values));
  svg.setAttribute("viewBox", `0 -2 ${WIDTH} ${HEIGHT + 4}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const path = svg.querySelector("path")
    ?? svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  const units = values.map((value) => value.units);
  path.setAttribute("d", units.length ? linePath(shares(units), WIDTH, HEIGHT) : "");
}

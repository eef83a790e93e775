/** What the comprehensive test found, in words: for the summary, and to be copied. */

/** @typedef {import("./trial.js").Result} Result */

/** @param {number} milliseconds */
export const inMilliseconds = (milliseconds) => `${milliseconds.toFixed(1)} ms`;

/**
 * From the answer to the screen; the screen is often first, since both leave at the commit.
 * @param {number} milliseconds
 */
export const afterAnswer = (milliseconds) => (
  milliseconds <= 0 ? `${inMilliseconds(-milliseconds)} before` : inMilliseconds(milliseconds)
);

/** @param {number[]} values at least one */
function middle(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
}

/**
 * One sentence or two.
 * @param {Result[]} results
 * @param {number} milliseconds that it took
 */
export function summary(results, milliseconds) {
  const counted = (/** @type {Result["state"]} */ wanted) => results.filter(({ state }) => state === wanted).length;
  const [failed, leftOut] = [counted("failed"), counted("left out")];
  const took = `in ${(milliseconds / 1000).toFixed(1)} s`;
  if (!failed && !leftOut) return `All ${results.length} steps passed ${took}.`;
  return [
    `${counted("passed")} of ${results.length} steps passed ${took}`,
    failed && `${failed} failed`,
    leftOut && `${leftOut} left out`,
  ].filter(Boolean).join(", ").concat(".");
}

/**
 * The usual and the longest times; "" where none was taken.
 * @param {Result[]} results
 */
export function times(results) {
  const timings = results.flatMap(({ timing }) => timing ?? []);
  if (!timings.length) return "";
  const answers = timings.map(({ answer }) => answer);
  const screens = timings.map(({ answer, screen }) => answer + screen);
  return `Request to answer: median ${inMilliseconds(middle(answers))}, at most ${inMilliseconds(Math.max(...answers))}.`
    + ` Request to screen: median ${inMilliseconds(middle(screens))}, at most ${inMilliseconds(Math.max(...screens))}.`;
}

/**
 * Everything, as text.
 * @param {Result[]} results
 * @param {number} milliseconds that it took
 * @param {string[]} about when, where and with what
 */
export function report(results, milliseconds, about) {
  const lines = results.map(({ name, state, timing, words, look }) => [
    `${state.padEnd(8)}  ${name}`,
    timing && `          answer ${inMilliseconds(timing.answer)}, screen ${afterAnswer(timing.screen)}`,
    words && `          ${words}`,
    look && `          What to look at: ${look}`,
  ].filter(Boolean).join("\n"));
  return ["Tallywire: comprehensive test", ...about, "", summary(results, milliseconds), times(results), "", ...lines, ""].join("\n");
}

/** The comprehensive test on the page: its button, its progress, its table and its report. */

import { copyOf, element, one, show, write } from "../parts/elements.js";
import { Trial } from "./trial.js";
import { afterAnswer, inMilliseconds, report, summary, times } from "./trial-report.js";
import { STEPS } from "./trial-steps.js";

/** @typedef {import("./trial.js").Result} Result */

/** @type {Record<Result["state"], string>} */
const STATES = {
  waiting: "",
  running: "running",
  passed: "passed",
  failed: "failed",
  "left out": "left out",
};

export class TrialPanel {
  /** @type {HTMLElement[]} */
  #rows = [];
  /** @type {AbortController | null} */
  #running = null;
  #report = "";

  constructor() {
    element("trial-run").addEventListener("click", () => this.run());
    element("trial-stop").addEventListener("click", () => this.#running?.abort());
    element("trial-copy").addEventListener("click", () => this.#copy());
  }

  /** Runs it once, from the first step to the last. */
  async run() {
    if (this.#running) return;
    const running = new AbortController();
    this.#running = running;
    const beganAt = performance.now();
    const began = new Date();
    const pasted = element("token", HTMLInputElement).value.trim();
    const trial = new Trial(STEPS, (results, index) => this.#told(results, index), pasted);
    this.#begin(trial.results);
    await trial.run(running.signal);
    const took = performance.now() - beganAt;
    if (trial.identities.operator.mustPaste) show(element("token-field"), true);
    this.#running = null;
    this.#report = report(trial.results, took, [
      began.toISOString(), location.origin, navigator.userAgent, `users ${Object.values(trial.users).join(", ")}`,
    ]);
    this.#end(trial.results, took, running.signal.aborted);
  }

  /** @param {Result[]} results */
  #begin(results) {
    const pressed = document.activeElement === element("trial-run");
    element("trial").dataset.state = "running";
    show(element("trial-table"), true);
    show(element("trial-stop"), true);
    show(element("trial-copy"), false);
    show(element("trial-progress"), true);
    element("trial-run", HTMLButtonElement).disabled = true;
    element("trial-progress", HTMLProgressElement).max = results.length;
    write(element("trial-summary"), "");
    write(element("trial-copied"), "");
    this.#rows = results.map(({ name }) => {
      const row = copyOf("trial-template");
      write(one(row, ".name"), name);
      return row;
    });
    const table = element("trial-table", HTMLTableElement);
    for (const body of [...table.tBodies]) body.remove();
    table.append(...this.#rows);
    if (pressed) element("trial-stop").focus();
  }

  /**
   * @param {Result[]} results
   * @param {number} index whose result is another
   */
  #told(results, index) {
    const { name, state, timing, words, look } = /** @type {Result} */ (results[index]);
    const row = /** @type {HTMLElement} */ (this.#rows[index]);
    row.dataset.state = state;
    write(one(row, ".result"), STATES[state]);
    write(one(row, ".answer"), timing ? inMilliseconds(timing.answer) : "");
    write(one(row, ".screen"), timing ? afterAnswer(timing.screen) : "");
    write(one(row, ".words"), words ?? "");
    write(one(row, ".look"), look ? `What to look at: ${look}` : "");
    show(one(row, ".why"), Boolean(words));
    element("trial-progress", HTMLProgressElement).value = index;
    if (state === "running") write(element("trial-times"), `Step ${index + 1} of ${results.length}: ${name}`);
  }

  /**
   * @param {Result[]} results
   * @param {number} took milliseconds
   * @param {boolean} stopped
   */
  #end(results, took, stopped) {
    const failed = stopped || results.some(({ state }) => state === "failed");
    element("trial").dataset.state = failed ? "failed" : "passed";
    write(element("trial-summary"), summary(results, took));
    write(element("trial-times"), times(results));
    show(element("trial-progress"), false);
    const waited = document.activeElement === element("trial-stop");
    const button = element("trial-run", HTMLButtonElement);
    button.disabled = false;
    write(button, "Run again");
    if (waited) button.focus();
    show(element("trial-stop"), false);
    show(element("trial-copy"), true);
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.#report);
      write(element("trial-copied"), "Report copied");
    } catch {
      write(element("trial-copied"), "The browser does not let this page copy; select the table instead");
    }
  }
}

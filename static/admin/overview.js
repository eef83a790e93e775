/** Rate and totals, live: charts, numbers, and the check against the ledger's trial balance. */

import { grouped } from "../parts/amounts.js";
import { chart } from "../parts/chart.js";
import { copyOf, element, oncePerFrame, one, show, write } from "../parts/elements.js";
import { sparkline } from "../parts/sparkline.js";
import { clockTime, counted } from "../parts/wording.js";
import { decimalText } from "../tallywire-client.js";
import { Rates } from "./rates.js";
import { Totals, differences } from "./totals.js";
import { unreadWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("./totals.js").Total} Total */

const SECONDS = 300;
const SAMPLE_EVERY_S = 2;
const AVERAGED_S = 5;

export class Overview {
  #rates = new Rates(SECONDS);
  #totals = new Totals(SECONDS / SAMPLE_EVERY_S);
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  /** @type {Session | null} */
  #session = null;
  #ticks = 0;

  /** @param {() => boolean} isShown */
  constructor(isShown) {
    this.isShown = isShown;
    this.drawTotals = oncePerFrame(() => this.#drawTotals());
    element("check-totals").addEventListener("click", () => this.#check());
    setInterval(() => this.#tick(), 1000);
  }

  /** @param {Session} session whose changes are counted from now on */
  follow(session) {
    this.#session = session;
    this.#rates.clear();
    this.#totals = new Totals(SECONDS / SAMPLE_EVERY_S);
    show(element("checked"), false);
    this.drawTotals();
    session.on("monitor-init", ({ message }) => {
      this.#totals.replace(message.totals, message.position);
      this.drawTotals();
    });
    session.on("monitor", ({ updates, to }) => {
      const now = Date.now();
      for (const update of updates) {
        this.#rates.add(Date.parse(update.timestamp), now);
        this.#totals.add(update);
      }
      this.#totals.position = to;
      if (updates.length) this.drawTotals();
    });
  }

  /** Draws what is on show, after it was not. */
  draw() {
    this.#drawRates();
    this.drawTotals();
    this.#drawLines();
  }

  #tick() {
    this.#ticks += 1;
    const sampled = this.#ticks % SAMPLE_EVERY_S === 0;
    if (sampled) this.#totals.sample();
    if (document.hidden || !this.isShown() || !this.#session) return;
    this.#drawRates();
    if (sampled) this.#drawLines();
  }

  #drawRates() {
    const counts = this.#rates.upTo(Date.now());
    const lately = counts.slice(-AVERAGED_S).reduce((sum, count) => sum + count, 0) / AVERAGED_S;
    const average = lately > 0 && lately < 10 ? lately.toFixed(1) : String(Math.round(lately));
    write(element("rate-now"), grouped(average));
    /** @param {bigint} units */
    const text = (units) => grouped(String(units));
    chart(element("rate-chart"), counts.map((count) => (
      { units: BigInt(count), label: `${grouped(String(count))} a second` }
    )), { fromZero: true, text });
  }

  #drawTotals() {
    const { rows } = this.#totals;
    show(element("no-totals"), rows.length === 0);
    write(element("no-totals"), this.#session?.client.cursor ? "No account yet." : "Not known yet.");
    const names = new Set(rows.map(nameOf));
    for (const [name, row] of this.#rows) {
      if (names.has(name)) continue;
      row.remove();
      this.#rows.delete(name);
    }
    rows.forEach((total, index) => {
      const row = this.#rows.get(nameOf(total)) ?? this.#newRow(total);
      const place = element("totals").children[index];
      if (place !== row) element("totals").insertBefore(row, place ?? null);
      write(one(row, ".value"), grouped(decimalText(total.balance, total.scale)));
      const held = total.held ? `${grouped(decimalText(total.held, total.scale))} held` : "";
      write(one(row, ".held"), held);
    });
  }

  /** @param {Total} total */
  #newRow(total) {
    const row = copyOf("total-template");
    row.dataset.total = nameOf(total);
    write(one(row, "th"), `${total.book} ${total.asset}`);
    this.#rows.set(nameOf(total), row);
    return row;
  }

  #drawLines() {
    for (const { book, asset, scale, samples } of this.#totals.rows) {
      const row = this.#rows.get(`${book}/${asset}`);
      if (!row) continue;
      sparkline(one(row, "svg", SVGSVGElement), samples.map((units) => (
        { units, label: `${grouped(decimalText(units, scale))} ${asset}` }
      )));
    }
  }

  /** Asks the ledger for its trial balance of the very position that is shown, and compares. */
  async #check() {
    const session = this.#session;
    if (!session) return;
    const { position } = this.#totals;
    const shown = this.#totals.rows.map(({ book, asset, scale, balance, held }) => (
      { book, asset, balance: decimalText(balance, scale), held: decimalText(held, scale) }
    ));
    this.#tell("", "Checking…");
    try {
      const [trial, debit] = await Promise.all([
        session.requests.get(`/v1/admin/trial-balance?as_of_position=${position}`),
        debitBooks(session),
      ]);
      if (session !== this.#session) return;
      const found = differences(shown, trial, debit);
      if (found.length) {
        this.#tell("bad", `Not equal at position ${position}: ${found.map((each) => each.words).join("; ")}.`
          + " See Proof: a verification says what is wrong, and fix repairs it.");
      } else {
        this.#tell("good", `Equal to the ledger's trial balance at position ${position}: ${
          counted(shown.length, "total")}, and every book and asset sums to zero. ${clockTime(Date.now())}`);
      }
    } catch (error) {
      if (session === this.#session) this.#tell("bad", unreadWords(error));
    }
  }

  /**
   * @param {"" | "good" | "bad"} tone
   * @param {string} text
   */
  #tell(tone, text) {
    const notice = element("checked");
    notice.className = `notice ${tone}`;
    write(notice, text);
    show(notice, true);
  }
}

/** @param {{book: string, asset: string}} total */
const nameOf = ({ book, asset }) => `${book}/${asset}`;

/** @param {Session} session */
async function debitBooks(session) {
  /** @type {{name: string, side: string}[]} */
  const books = await session.requests.getAll("/v1/books");
  return new Set(books.filter(({ side }) => side === "debit").map(({ name }) => name));
}

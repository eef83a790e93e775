/** The history of one user: page by page, filtered, and as CSV. */

import { grouped } from "../parts/amounts.js";
import { element, show, write } from "../parts/elements.js";
import { counted, isIncome, movement, words } from "../parts/wording.js";
import { besidesWords, entriesOf, spelt } from "./entries.js";
import { button, number, tableRow } from "./table.js";
import { dateAndTime, unreadWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("./entries.js").Update} Update */

const PAGE = 50;
const CSV_PAGE = 1000;
const CSV_PAGES_MOST = 100;

/** @param {string} day of a date field, in this machine's time */
const startOf = (day) => new Date(`${day}T00:00:00`).toISOString();

export class History {
  /** @type {Session | null} */
  #session = null;
  #user = "";
  /** @type {string | null} */
  #next = null;
  #newer = 0;
  #asked = 0;

  /** @param {(update: Update) => void} open shows the details of a change */
  constructor(open) {
    this.open = open;
    this.form = element("history-filter", HTMLFormElement);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.read();
    });
    element("history-again").addEventListener("click", () => this.read());
    element("history-more").addEventListener("click", () => this.#readMore());
    element("history-csv").addEventListener("click", () => this.#download());
  }

  /**
   * @param {Session} session
   * @param {string} user whose history is shown from now on
   */
  follow(session, user) {
    this.#session = session;
    this.#user = user;
    this.form.reset();
    element("history").replaceChildren();
    this.read();
  }

  /** Reads from the newest. */
  read() {
    this.#newer = 0;
    this.#drawNewer();
    return this.#page(this.#query(PAGE), true);
  }

  /** A change of this user came, which may belong above what is shown. */
  changed() {
    this.#newer += 1;
    this.#drawNewer();
  }

  #drawNewer() {
    show(element("history-again"), this.#newer > 0);
    write(element("history-again"), `Show ${counted(this.#newer, "newer change")}`);
  }

  /** @param {number} limit */
  #query(limit) {
    const query = new URLSearchParams({ limit: String(limit) });
    for (const [name, value] of new FormData(this.form)) {
      const text = String(value).trim();
      if (text) query.set(name, name === "from" || name === "to" ? startOf(text) : spelt(name, text));
    }
    return query.toString();
  }

  async #readMore() {
    if (this.#next) {
      const query = new URLSearchParams({ limit: String(PAGE), cursor: this.#next });
      await this.#page(query.toString(), false);
    }
  }

  /** @param {string} query */
  #path(query) {
    return `/v1/users/${encodeURIComponent(this.#user)}/history?${query}`;
  }

  /**
   * @param {string} query
   * @param {boolean} first whether it takes the place of what is shown
   */
  async #page(query, first) {
    const session = this.#session;
    if (!session) return;
    this.#asked += 1;
    const asked = this.#asked;
    try {
      const { items, next_cursor: next } = await session.requests.get(this.#path(query));
      if (asked !== this.#asked) return;
      this.#next = next;
      const rows = items.flatMap((/** @type {Update} */ update) => this.#rows(update));
      if (first) element("history").replaceChildren(...rows);
      else element("history").append(...rows);
      this.#tell("");
    } catch (error) {
      if (asked === this.#asked) this.#tell(unreadWords(error));
    }
    const isRead = element("history-problem").hidden;
    show(element("no-history"), isRead && element("history").childElementCount === 0);
    show(element("history-more"), this.#next !== null);
  }

  /** @param {Update} update */
  #rows(update) {
    return entriesOf(update).map(({ change }) => tableRow([
      dateAndTime(update.timestamp),
      [words(update.change_type), besidesWords(update), update.description].filter(Boolean).join(": "),
      change ? `${change.book} ${change.asset}` : "",
      {
        text: change ? movement(change) : "",
        number: true,
        ...(change && isIncome(change) && { tone: "good" }),
      },
      number(change ? grouped(change.balance) : ""),
      button("Details", `Details of position ${update.position}`, () => this.open(update)),
    ]));
  }

  /** @param {string} text */
  #tell(text) {
    write(element("history-problem"), text);
    show(element("history-problem"), Boolean(text));
  }

  /** All pages that the filter lets pass, as one file. */
  async #download() {
    const session = this.#session;
    if (!session) return;
    const name = `history-${this.#user.replaceAll(/[^A-Za-z0-9_.-]+/g, "-")}.csv`;
    try {
      const parts = [];
      /** @type {string | null} */
      let query = this.#query(CSV_PAGE);
      for (let page = 0; query; page += 1) {
        if (page === CSV_PAGES_MOST) {
          this.#tell(`Only the newest ${grouped(String(CSV_PAGE * CSV_PAGES_MOST))} are in the file: filter by date for the others.`);
          break;
        }
        const { text, next } = await session.requests.csv(this.#path(query));
        parts.push(page === 0 ? text : text.slice(text.indexOf("\n") + 1)); // one header is enough
        query = next;
      }
      const anchor = document.createElement("a");
      anchor.href = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
      anchor.download = name;
      anchor.click();
      setTimeout(() => URL.revokeObjectURL(anchor.href), 0);
    } catch (error) {
      this.#tell(unreadWords(error));
    }
  }
}

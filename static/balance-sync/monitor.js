/** What a superadmin sees besides: the totals of all users, and their changes. */

import { grouped } from "../parts/amounts.js";
import { copyOf, element, oncePerFrame, show, write } from "../parts/elements.js";
import { Rows } from "../parts/rows.js";
import { clockTime, counted, words } from "../parts/wording.js";
import { decimalText, minorUnits } from "../tallywire-client.js";
import { fillRow, moved, tradeTold } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */
/** @typedef {import("./wording.js").Row} Row */
/** @typedef {import("../tallywire-client.js").AdminUpdate} AdminUpdate */
/** @typedef {import("../tallywire-client.js").MonitorInit["totals"][number]} Total */

const CHANGES_MOST = 2000;

export class Monitor {
  /** @type {Rows<Row>} */
  #changes = new Rows(element("changes"), {
    most: CHANGES_MOST,
    make: () => copyOf("row-template"),
    fill: fillRow,
    drawn: () => show(element("no-changes"), this.#changes.count === 0),
  });
  /** @type {Map<string, Total>} */
  #totals = new Map();
  #drawTotals = oncePerFrame(() => this.#draw());

  /** @param {Session} session shown from now on */
  follow(session) {
    this.#changes.clear();
    this.#totals.clear();
    this.#drawTotals();
    write(element("connected"), "");
    show(element("monitor"), session.identity.superadmin);
    session.on("monitor-init", ({ message }) => {
      const { totals, connected, recent } = message;
      this.#totals = new Map(totals.map((row) => [`${row.book} ${row.asset}`, row]));
      this.#drawTotals();
      const { users, connections } = connected;
      write(
        element("connected"),
        `${counted(users, "user")}, ${counted(connections, "connection")} at ${clockTime(new Date())}`,
      );
      this.#changes.clear();
      for (const update of [...recent].reverse()) this.#addRows(update);
    });
    session.on("monitor", ({ updates }) => {
      for (const update of updates) {
        this.#addToTotals(update);
        this.#addRows(update);
      }
    });
  }

  /** @param {AdminUpdate} update */
  #addRows(update) {
    const { change_type: type, position, user_id: user, actor, timestamp } = update;
    const about = [
      `position ${position}`, clockTime(timestamp), words(type), actor && `by ${actor}`, update.trade && tradeTold(update.trade),
    ];
    const subject = user ?? "nobody";
    if (update.changes.length === 0) {
      const { control } = update;
      const what = control ? `${subject} trading control ${control.mode}` : subject;
      this.#changes.add({ what, about: about.filter(Boolean).join(" · "), position });
    }
    for (const change of update.changes) {
      this.#changes.add({
        what: `${subject} ${change.book} ${change.asset}`,
        ...moved(change),
        about: [...about, `balance ${grouped(change.balance)}`].filter(Boolean).join(" · "),
        position,
      });
    }
  }

  /** @param {AdminUpdate} update */
  #addToTotals(update) {
    for (const { book, asset, scale, amount, held_change: heldChange } of update.changes) {
      const key = `${book} ${asset}`;
      const zero = decimalText(0n, scale);
      const row = this.#totals.get(key) ?? { book, asset, balance: zero, held: zero };
      /** @type {(a: string, b: string) => string} */
      const sum = (a, b) => decimalText(minorUnits(a, scale) + minorUnits(b, scale), scale);
      this.#totals.set(key, {
        ...row, balance: sum(row.balance, amount), held: sum(row.held, heldChange),
      });
    }
    this.#drawTotals();
  }

  #draw() {
    const body = document.createDocumentFragment();
    for (const [, { book, asset, balance, held }] of [...this.#totals].sort()) {
      const row = document.createElement("tr");
      row.dataset.total = `${book}/${asset}`;
      for (const text of [book, asset, grouped(balance), grouped(held)]) {
        const cell = document.createElement("td");
        cell.textContent = text;
        row.append(cell);
      }
      for (const cell of [...row.children].slice(2)) cell.className = "number";
      body.append(row);
    }
    element("totals").replaceChildren(body);
  }
}

// @ts-nocheck
/** The holds of the shown user: a list kept up to date by the stream, and forms to end each. */

const element = (id) => document.getElementById(id);
const show = (node, visible) => { node.hidden = !visible; };
const write = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

const UNHEARD = "No answer came, so it may have been booked or not."
  + " Send it again to find out: it cannot be booked twice.";

/** A number of seconds as people count them. */
function span(seconds) {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** Until when a hold lasts, in words; `now` in milliseconds. */
export function expiryWords(expiresAt, now) {
  if (!expiresAt) return "until it is confirmed or voided";
  const when = new Date(expiresAt);
  const left = Math.ceil((when - now) / 1000);
  if (left <= 0) return "expired, about to be released";
  const today = when.toDateString() === new Date(now).toDateString();
  const at = today
    ? when.toLocaleTimeString(undefined, { hour12: false })
    : when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short", hour12: false });
  return `expires ${today ? "at " : ""}${at}, in ${span(left)}`;
}

/**
 * The panel of open holds.
 *
 * read(path, who): the answer of a GET, or an error; post(path, body, who): `{problem}` where it
 * was refused, else `{position, replayed}`, or an error where no answer came; told(text, bad):
 * what became of it, for the log; grouped(amount): an amount for people.
 */
export class HoldsPanel {
  #holds = new Map();
  #rows = new Map();
  #since = null; // what the stream told since the holds were asked for
  #who = null;
  #known = false;

  constructor({ read, post, told, grouped }) {
    this.read = read;
    this.post = post;
    this.told = told;
    this.grouped = grouped;
    element("read-holds").addEventListener("click", () => this.load());
    setInterval(() => this.#drawExpiry(), 1000);
  }

  /** Forget everything: `who` is {user, superadmin}, the user shown from now on. */
  clear(who) {
    this.#who = who;
    this.#holds.clear();
    this.#since = null;
    this.#known = false;
    show(element("holds-unread"), false);
    this.#draw();
  }

  /** Read the open holds; what the stream tells meanwhile is newer than what is read. */
  async load() {
    const since = new Map();
    this.#since = since;
    let found;
    try {
      found = await this.#readAll();
    } catch (error) {
      if (this.#since !== since) return;
      write(element("holds-unread-words"), `The holds could not be read: ${error.message}`);
      show(element("holds-unread"), true);
      return;
    }
    if (this.#since !== since) return;
    this.#since = null;
    this.#known = true;
    this.#holds = new Map(found.map((hold) => [hold.id, hold]));
    for (const hold of since.values()) this.#put(hold);
    show(element("holds-unread"), false);
    this.#draw();
  }

  async #readAll() {
    const found = [];
    const query = new URLSearchParams({ user_id: this.#who.user, status: "open", limit: "1000" });
    for (let more = true; more;) {
      const { items, next_cursor: next } = await this.read(`/v1/holds?${query}`, this.#who);
      found.push(...items);
      more = next !== null;
      query.set("cursor", next);
    }
    return found;
  }

  /** A transaction's hold, as of that transaction. */
  changed(hold) {
    if (hold.user_id !== this.#who.user) return;
    this.#since?.set(hold.id, hold);
    this.#put(hold);
    this.#draw();
  }

  #put(hold) {
    if (hold.status === "open") this.#holds.set(hold.id, hold);
    else this.#holds.delete(hold.id);
  }

  #draw() {
    show(element("holds-panel"), true);
    show(element("no-holds"), this.#known && this.#holds.size === 0);
    write(element("no-holds"), `${this.#who.user} has no open holds.`);
    for (const [id, row] of this.#rows) {
      if (this.#holds.has(id)) continue;
      const focused = row.contains(document.activeElement);
      row.remove();
      this.#rows.delete(id);
      if (focused) element("holds-title").focus();
    }
    const newestFirst = [...this.#holds.keys()].sort().reverse(); // an id begins with its time
    newestFirst.forEach((id, index) => {
      const row = this.#rows.get(id) ?? this.#newRow(id);
      const place = element("holds").children[index];
      if (place !== row) element("holds").insertBefore(row, place ?? null);
      this.#drawOne(row, this.#holds.get(id));
    });
    this.#drawExpiry();
  }

  #newRow(id) {
    const row = element("hold-template").content.firstElementChild.cloneNode(true);
    row.dataset.hold = id;
    row.querySelector(".error").id = `error-${id}`;
    row.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#end(id, row, "confirm");
    });
    row.querySelector(".void").addEventListener("click", () => this.#end(id, row, "void"));
    this.#rows.set(id, row);
    return row;
  }

  #drawOne(row, hold) {
    const [book, , asset] = hold.account.split("/");
    const what = `${this.grouped(hold.remaining)} ${asset}`;
    const put = (part, text) => write(row.querySelector(`.${part}`), text);
    put("remaining", what);
    put("about", [
      book,
      hold.remaining === hold.amount ? null : `of ${this.grouped(hold.amount)}`,
      hold.reference && `reference ${hold.reference}`,
      `placed by ${hold.placed_by ?? "an operator"}`,
    ].filter(Boolean).join(" · "));
    const ends = this.#who.superadmin || hold.placed_by === this.#who.user;
    show(row.querySelector("form"), ends);
    show(row.querySelector(".not-yours"), !ends);
    row.querySelector(".part").placeholder = hold.remaining;
    row.querySelector("form").setAttribute("aria-label", `Hold of ${what}`);
    row.querySelector(".confirm").setAttribute("aria-label", `Confirm the hold of ${what}`);
    row.querySelector(".void").setAttribute("aria-label", `Void the hold of ${what}`);
  }

  #drawExpiry() {
    for (const [id, row] of this.#rows) {
      const hold = this.#holds.get(id);
      if (hold) write(row.querySelector(".expiry"), expiryWords(hold.expires_at, Date.now()));
    }
  }

  async #end(id, row, step) {
    if (row.ariaBusy) return;
    const who = this.#who;
    const value = (part) => row.querySelector(`.${part}`).value.trim();
    const body = {};
    if (step === "confirm" && value("part")) body.amount = value("part");
    if (step === "confirm" && value("to")) body.to_user = value("to");
    this.#refuse(row, "");
    row.ariaBusy = "true"; // the buttons stay enabled, so that the focus stays where it is
    const done = step === "confirm" ? "confirmed" : "voided";
    try {
      const { problem, position, replayed } = await this.post(`/v1/holds/${id}/${step}`, body, who);
      if (who !== this.#who) return;
      if (problem) {
        const errors = problem.errors ?? [];
        const text = errors.map(({ detail }) => detail).join(" ") || problem.detail || problem.title;
        this.#refuse(row, text, errors.map(({ pointer }) => pointer));
        this.told(`Hold not ${done}: ${text}`, true);
        return;
      }
      row.querySelector("form").reset();
      this.told(replayed
        ? `Hold ${done} already, position ${position}; nothing moved twice.`
        : `Hold ${done}, position ${position}.`, false);
    } catch {
      if (who !== this.#who) return;
      this.#refuse(row, UNHEARD);
      this.told(`Hold not known to be ${done}: no answer`, true);
    } finally {
      row.ariaBusy = null;
    }
  }

  /** Tells `text` below the hold, and marks the fields that it is about; "" where all is well. */
  #refuse(row, text, pointers = []) {
    const error = row.querySelector(".error");
    write(error, text);
    show(error, Boolean(text));
    for (const [part, pointer] of [["part", "/amount"], ["to", "/to_user"]]) {
      const input = row.querySelector(`.${part}`);
      const wrong = pointers.includes(pointer);
      input.ariaInvalid = wrong ? "true" : null;
      if (wrong) {
        input.setAttribute("aria-describedby", error.id);
        input.focus();
      } else input.removeAttribute("aria-describedby");
    }
  }
}

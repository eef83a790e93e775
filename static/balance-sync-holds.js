/** The holds of the shown user: a list kept up to date by the stream, and forms to end each. */

const element = (id) => document.getElementById(id);
const write = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

/** Until when a hold lasts, in words; `now` in milliseconds. */
export function expiryWords(expiresAt, now) {
  if (!expiresAt) return "until it is confirmed or voided";
  const left = Math.ceil((Date.parse(expiresAt) - now) / 1000);
  if (left <= 0) return "expired, about to be released";
  const time = new Date(expiresAt).toLocaleTimeString(undefined, { hour12: false });
  if (left < 120) return `expires at ${time}, in ${left} s`;
  const minutes = Math.round(left / 60);
  return `expires at ${time}, in ${minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`}`;
}

/**
 * The panel of open holds.
 *
 * ask(path): the answer of a GET; post(path, body): `{ok, detail}`, what became of a change;
 * told(text, bad): what became of it, for the log; grouped(amount): an amount for people.
 */
export class HoldsPanel {
  #holds = new Map();
  #rows = new Map();
  #since = null;
  #user = null;

  constructor({ ask, post, told, grouped }) {
    this.ask = ask;
    this.post = post;
    this.told = told;
    this.grouped = grouped;
    setInterval(() => this.#drawExpiry(), 1000);
  }

  /** Forget everything: another user is shown. */
  clear(user) {
    this.#user = user;
    this.#holds.clear();
    this.#since = null;
    this.#draw();
  }

  /** Read the open holds; what the stream tells meanwhile is newer than what is read. */
  async load() {
    const user = this.#user;
    const since = new Map();
    this.#since = since;
    const query = new URLSearchParams({ user_id: user, status: "open", limit: "1000" });
    const answer = await this.ask(`/v1/holds?${query}`).catch(() => null);
    if (this.#since !== since || !answer) return;
    this.#since = null;
    this.#holds = new Map(answer.items.reverse().map((hold) => [hold.id, hold]));
    for (const hold of since.values()) this.#put(hold);
    this.#draw();
  }

  /** A transaction's hold, as of that transaction. */
  changed(hold) {
    if (hold.user_id !== this.#user) return;
    this.#since?.set(hold.id, hold);
    this.#put(hold);
    this.#draw();
  }

  #put(hold) {
    if (hold.status === "open") this.#holds.set(hold.id, hold);
    else this.#holds.delete(hold.id);
  }

  #draw() {
    element("holds-panel").hidden = this.#user === null;
    element("no-holds").hidden = this.#holds.size > 0;
    for (const [id, row] of this.#rows) {
      if (this.#holds.has(id)) continue;
      const focused = row.contains(document.activeElement);
      row.remove();
      this.#rows.delete(id);
      if (focused) element("holds-title").focus();
    }
    for (const hold of this.#holds.values()) this.#drawOne(hold);
    this.#drawExpiry();
  }

  #drawOne(hold) {
    const [book, , asset] = hold.account.split("/");
    const what = `${this.grouped(hold.remaining)} ${asset}`;
    let row = this.#rows.get(hold.id);
    if (!row) {
      row = element("hold-template").content.firstElementChild.cloneNode(true);
      row.dataset.hold = hold.id;
      row.querySelector("form").addEventListener("submit", (event) => {
        event.preventDefault();
        this.#end(hold.id, row, "confirm");
      });
      row.querySelector(".void").addEventListener("click", () => this.#end(hold.id, row, "void"));
      this.#rows.set(hold.id, row);
      element("holds").prepend(row);
    }
    const put = (part, text) => write(row.querySelector(`.${part}`), text);
    put("remaining", what);
    put("about", [
      book,
      hold.remaining === hold.amount ? null : `of ${this.grouped(hold.amount)}`,
      hold.reference,
      hold.placed_by && hold.placed_by !== hold.user_id ? `placed by ${hold.placed_by}` : null,
    ].filter(Boolean).join(" · "));
    row.querySelector(".part").placeholder = hold.remaining;
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
    const value = (part) => row.querySelector(`.${part}`).value.trim();
    const body = {};
    if (step === "confirm" && value("part")) body.amount = value("part");
    if (step === "confirm" && value("to")) body.to_user = value("to");
    const error = row.querySelector(".error");
    error.hidden = true;
    for (const button of row.querySelectorAll("button")) button.disabled = true;
    const { ok, detail } = await this.post(`/v1/holds/${id}/${step}`, body);
    for (const button of row.querySelectorAll("button")) button.disabled = false;
    if (ok) {
      row.querySelector("form").reset();
      this.told(step === "confirm" ? "Hold confirmed" : "Hold voided", false);
      return;
    }
    write(error, detail);
    error.hidden = false;
    this.told(`Hold not ${step === "confirm" ? "confirmed" : "voided"}: ${detail}`, true);
  }
}

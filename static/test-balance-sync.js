// @ts-nocheck
/** The balance sync test page: one identity per tab, its live balances, and forms to move money. */

import { HoldsPanel } from "./balance-sync-holds.js";
import { TallywireClient, decimalText, minorUnits } from "./tallywire-client.js";

const ROWS_MOST = 300;
const ANSWER_WITHIN_MS = 20_000;

const element = (id) => document.getElementById(id);
const show = (node, visible) => { node.hidden = !visible; };
const write = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

/** "-1234567.50" as "-1,234,567.50"; text only, so nothing is lost. */
const grouped = (amount) => {
  const [whole, fraction] = amount.split(".");
  const spaced = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction === undefined ? spaced : `${spaced}.${fraction}`;
};
const signed = (amount) => (amount.startsWith("-") ? grouped(amount) : `+${grouped(amount)}`);
const isZero = (amount) => /^-?0(\.0*)?$/.test(amount);
const words = (type) => type.replaceAll("_", " ");
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const clockTime = (when) => new Date(when).toLocaleTimeString(undefined, { hour12: false });

/** Runs `draw` once before the next frame, however often it is asked for. */
function oncePerFrame(draw) {
  let planned = false;
  return () => {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      draw();
    });
  };
}

/** A list of rows, newest first, of at most ROWS_MOST. */
class Rows {
  constructor(list, empty) {
    this.list = list;
    this.empty = empty;
    this.entries = [];
    this.undrawn = [];
    this.draw = oncePerFrame(() => this.#draw());
  }

  /** entry: {what, amount?, about, tone?, kind?, position?} */
  add(entry) {
    this.entries.unshift(entry);
    this.entries.length = Math.min(this.entries.length, ROWS_MOST);
    this.undrawn.push(entry);
    if (this.undrawn.length > ROWS_MOST) this.undrawn.shift();
    this.draw();
  }

  clear() {
    this.entries = [];
    this.undrawn = [];
    this.list.replaceChildren();
    show(this.empty, true);
  }

  #draw() {
    const fresh = document.createDocumentFragment();
    for (const entry of this.undrawn.splice(0)) fresh.prepend(this.#row(entry));
    this.list.prepend(fresh);
    while (this.list.childElementCount > ROWS_MOST) this.list.lastElementChild.remove();
    show(this.empty, this.list.childElementCount === 0);
  }

  #row({ what, amount = "", about, tone, kind, position }) {
    const row = element("row-template").content.firstElementChild.cloneNode(true);
    row.querySelector(".what").textContent = what;
    row.querySelector(".amount").textContent = amount;
    row.querySelector(".about").textContent = about;
    if (tone) row.dataset.tone = tone;
    if (kind) row.dataset.kind = kind;
    if (position !== undefined) row.dataset.position = position;
    return row;
  }
}

const log = new Rows(element("log"), element("no-entries"));
const changes = new Rows(element("changes"), element("no-changes"));

function note(kind, what, details = {}) {
  const { about = "", ...rest } = details;
  const time = new Date();
  log.add({ kind, what, time, about: [clockTime(time), about].filter(Boolean).join(" · "), ...rest });
}

// ---- identity and connection ----------------------------------------------------------------

/** Who this tab is: {user, superadmin, token}; null before the first connect. */
let identity = null;
let client = null;

class Refused extends Error {
  constructor(message, retry) {
    super(message);
    this.retry = retry;
  }
}

/** A development token for `who`, kept until a fresh one is wanted. */
async function tokenFor(who, { fresh = false } = {}) {
  if (who.token && !fresh) return who.token;
  const pasted = element("token").value.trim();
  if (pasted) return pasted;
  const answer = await fetch("/dev/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ user_id: who.user, role: who.superadmin ? "superadmin" : "user" }),
    signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
  });
  if (answer.status === 404 || answer.status === 405) {
    show(element("token-field"), true);
    throw new Refused("this server gives out no development tokens; paste a token", false);
  }
  if (!answer.ok) {
    const { detail, title } = await answer.json().catch(() => ({}));
    throw new Refused(detail ?? title ?? `no token: HTTP ${answer.status}`, answer.status >= 500);
  }
  who.token = (await answer.json()).token;
  return who.token;
}

function drawStatus() {
  const { state, words: reason, retryAt } = client?.status ?? { state: "idle" };
  const reconnecting = client?.cursor && state === "connecting";
  element("light").dataset.state = state;
  write(element("state"), {
    idle: "Not connected",
    connecting: reconnecting ? "Reconnecting…" : "Connecting…",
    connected: "Connected",
    waiting: `Reconnecting: ${reason}`,
    stopped: `Stopped: ${reason}`,
  }[state]);
  const left = Math.max(0, Math.ceil(((retryAt ?? 0) - Date.now()) / 1000));
  write(element("countdown"), state === "waiting" ? `in ${left} s` : "");
  show(element("retry"), state === "waiting" || state === "stopped");
  show(element("disconnect"), state !== "idle" && state !== "stopped");
}
setInterval(() => {
  if (client?.status.state === "waiting") drawStatus();
}, 500);

function drawCursor() {
  write(element("position"), client?.cursor ? String(client.cursor.position) : "–");
  write(element("epoch"), client?.cursor?.epoch ?? "–");
}

function start(who) {
  client?.close();
  identity = who;
  accounts.clear();
  changes.clear();
  totals.clear();
  holds.clear(who);
  resetForm();
  show(element("superadmin-banner"), who.superadmin);
  show(element("monitor"), who.superadmin);
  write(element("connected"), "");
  write(element("owner"), who.superadmin ? `${who.user}, as superadmin` : who.user);
  document.title = `${who.superadmin ? `${who.user} (superadmin)` : who.user} · Tallywire`;
  const query = new URLSearchParams({ user: who.user });
  if (who.superadmin) query.set("operate", "superadmin");
  history.replaceState(null, "", `?${query}`);

  client = new TallywireClient({
    token: (request) => tokenFor(who, request),
    streams: who.superadmin ? ["balances", "monitor"] : ["balances"],
  });
  listen(client);
  client.connect();
  suggest();
}

function listen(to) {
  const on = (name, handle) => to.addEventListener(name, (event) => {
    if (to === client) handle(event.detail);
  });
  on("status", ({ status }) => {
    drawStatus();
    accounts.dirty();
    const tone = { waiting: "warn", stopped: "bad" }[status.state];
    if (status.state !== "idle") note("status", sentence(status), { tone });
  });
  on("cursor", oncePerFrame(drawCursor));
  on("balances", ({ reason, position }) => {
    accounts.replaced();
    holds.load();
    const repaired = reason === "repair";
    note("init", repaired
      ? "Repaired: a copy of a balance was wrong and was rebuilt from the ledger's entries"
      : `All balances taken over (${reason})`,
    { about: `position ${position}`, position, tone: repaired ? "warn" : undefined });
  });
  on("resumed", ({ from, to: end, count }) => {
    holds.load();
    note("resumed", `Resumed: ${count} missed`, { about: `positions ${from} to ${end}` });
  });
  on("update", ({ update, replayed }) => {
    accounts.changed(update);
    if (update.hold) holds.changed(update.hold);
    noteUpdate(update, replayed);
  });
  on("control", ({ control, replayed }) => {
    note("control", `Trading control ${control.mode} in ${control.book}`, {
      about: [`position ${control.position}`, replayed && "replayed"].filter(Boolean).join(" · "),
      position: control.position,
      tone: "warn",
    });
  });
  on("duplicate", ({ position }) => note("duplicate", "A duplicate was dropped", {
    about: `position ${position}`, position,
  }));
  on("mismatch", ({ account, words: reason }) => {
    accounts.dirty();
    note("mismatch", account ? `${account}: ${reason}` : reason, { tone: "bad" });
  });
  on("refused", ({ code, message }) => note("refused", message ?? code, { about: code, tone: "bad" }));
  on("monitor-init", ({ message }) => {
    totals.replaced(message.totals);
    const { users, connections } = message.connected;
    const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
    write(
      element("connected"),
      `${count(users, "user")}, ${count(connections, "connection")} at ${clockTime(new Date())}`,
    );
    changes.clear();
    for (const update of [...message.recent].reverse()) addChanges(update);
  });
  on("monitor", ({ updates }) => {
    for (const update of updates) {
      totals.add(update);
      addChanges(update);
    }
  });
}

function sentence({ state, words: reason, code }) {
  const text = {
    connecting: "Connecting",
    connected: "Connected",
    waiting: `Connection lost: ${reason}`,
    stopped: `Stopped: ${reason}`,
  }[state];
  return code ? `${text} (${code})` : text;
}

function noteUpdate(update, replayed) {
  const { change_type: type, position, changes: moved, description } = update;
  const about = [
    `position ${position}`, description, replayed && "replayed", stillHeld(update.hold),
  ].filter(Boolean);
  if (moved.length === 0) {
    note("update", capital(words(type)), { about: about.join(" · "), position, data: update });
  }
  moved.forEach((change, index) => note("update", `${capital(words(type))} ${change.book} ${change.asset}`, {
    ...movement(change),
    about: [...about, `balance ${grouped(change.balance)}`, ...noticed(change)].join(" · "),
    position,
    ...(index === 0 && { data: update }),
  }));
}

/** What a hold reserves after a part of it was confirmed. */
function stillHeld(hold) {
  const partly = hold?.status === "open" && hold.remaining !== hold.amount;
  return partly && `${grouped(hold.remaining)} of ${grouped(hold.amount)} still held`;
}

/** What a change brought about besides its amount. */
function noticed({ alert, status }) {
  return [alert && words(alert), status !== "active" && status].filter(Boolean);
}

/** The amount of a change as a row shows it: what was held where no money moved. */
function movement(change) {
  if (!isZero(change.amount)) {
    return { amount: signed(change.amount), tone: change.amount.startsWith("-") ? undefined : "good" };
  }
  return isZero(change.held_change) ? {} : { amount: `held ${signed(change.held_change)}` };
}

function addChanges(update) {
  const { change_type: type, position, user_id: user, actor, timestamp } = update;
  const about = [`position ${position}`, clockTime(timestamp), words(type), actor && `by ${actor}`];
  const subject = user ?? "nobody";
  if (update.changes.length === 0) {
    const { control } = update;
    const what = control ? `${subject} trading control ${control.mode}` : subject;
    changes.add({ what, about: about.filter(Boolean).join(" · "), position });
  }
  for (const change of update.changes) {
    changes.add({
      what: `${subject} ${change.book} ${change.asset}`,
      ...movement(change),
      about: [...about, `balance ${grouped(change.balance)}`].filter(Boolean).join(" · "),
      position,
    });
  }
}

// ---- balances -------------------------------------------------------------------------------

const PROOF_WORDS = {
  snapshot: "snapshot",
  verified: "verified",
  broken: "does not fit",
  unchecked: "not checked",
};

/** What an account's status keeps from moving, or that it is below its alert; "" where neither. */
function warningOf({ status, available, scale, alert_below: alertBelow, suspend_below: below }) {
  if (status === "closed") return "Closed: nothing moves in or out.";
  if (status === "frozen") return "Frozen by an operator: nothing moves in or out.";
  if (status === "suspended") {
    const why = below === null ? "" : ` Available was below ${grouped(below)}.`;
    return `Suspended: no money goes out until a recharge.${why}`;
  }
  const low = alertBelow !== null && available !== null
    && minorUnits(available, scale) < minorUnits(alertBelow, scale);
  return low ? `Low balance: available is below ${grouped(alertBelow)}.` : "";
}

const accounts = {
  cards: new Map(),
  last: new Map(),
  newest: new Set(),

  clear() {
    this.cards.clear();
    this.last.clear();
    this.newest.clear();
    element("accounts").replaceChildren();
    this.dirty();
    drawCursor();
  },

  replaced() {
    this.last.clear();
    this.newest.clear();
    this.dirty();
  },

  changed(update) {
    if (update.changes.length) this.newest.clear();
    for (const change of update.changes) {
      this.newest.add(change.account);
      this.last.set(change.account, { change, type: update.change_type, at: update.timestamp });
    }
    this.dirty();
    announce(update);
  },

  dirty: oncePerFrame(() => accounts.draw()),

  draw() {
    const known = client?.accounts ?? new Map();
    for (const [name, card] of this.cards) {
      if (known.has(name)) continue;
      card.remove();
      this.cards.delete(name);
    }
    for (const name of [...known.keys()].sort()) this.drawOne(known.get(name));
    this.drawNotices(known);
  },

  drawOne(account) {
    const { account: name, proof } = account;
    let card = this.cards.get(name);
    if (!card) {
      card = element("account-template").content.firstElementChild.cloneNode(true);
      card.dataset.account = name;
      card.querySelector(".asset").textContent = account.asset;
      card.querySelector(".book").textContent = account.book;
      this.cards.set(name, card);
    }
    const names = [...this.cards.keys()].sort();
    const place = element("accounts").children[names.indexOf(name)];
    if (place !== card) element("accounts").insertBefore(card, place ?? null);

    const put = (part, text) => write(card.querySelector(`.${part}`), text);
    put("value", grouped(account.balance));
    put("available", account.available === null ? "–" : grouped(account.available));
    put("held", grouped(account.held));
    put("seq", String(account.seq));
    put("last", this.lastChange(name));
    put("status", account.status);
    show(card.querySelector(".status"), account.status !== "active");
    const warning = warningOf(account);
    put("warning", warning);
    show(card.querySelector(".warning"), Boolean(warning));
    put("mark", PROOF_WORDS[proof.state]);
    put("words", proof.words);
    card.querySelector(".proof").dataset.proof = proof.state;
    card.classList.toggle("latest", this.newest.has(name));
    card.classList.toggle("broken", proof.state === "broken");
  },

  lastChange(name) {
    const last = this.last.get(name);
    if (!last) return "No change yet";
    const { amount = "" } = movement(last.change);
    const alert = last.change.alert ? `, ${words(last.change.alert)}` : "";
    return `${amount} ${words(last.type)}, ${clockTime(last.at)}${alert}`.trim();
  },

  drawNotices(known) {
    const empty = element("no-accounts");
    show(empty, known.size === 0);
    write(empty, client?.cursor
      ? "No account yet. The first deposit or transfer makes one."
      : "Choose a user and connect.");
    const broken = [...known.values()].filter(({ proof }) => proof.state === "broken");
    show(element("mismatch"), broken.length > 0);
    if (broken.length) {
      const which = broken.map(({ account, proof }) => `${account} (${proof.words})`).join("; ");
      write(element("mismatch-words"), `What came does not fit what was known, so these numbers cannot be trusted: ${which}.`);
    }
  },
};

/** Tells a screen reader the newest change, at most once a second. */
const announce = (() => {
  let pending = null;
  let timer = null;
  const speak = () => {
    timer = null;
    if (pending === null) return;
    write(element("announcer"), pending);
    pending = null;
    timer = setTimeout(speak, 1000);
  };
  return ({ change_type: type, changes: moved }) => {
    if (!moved.length) return;
    pending = `${words(type)}: ${moved.map((change) => (
      `${signed(change.amount)} ${change.asset} in ${change.book}, balance ${grouped(change.balance)}`
    )).join("; ")}`;
    timer ??= setTimeout(speak, 0);
  };
})();

// ---- totals of all users --------------------------------------------------------------------

const totals = {
  rows: new Map(),

  clear() {
    this.replaced([]);
  },

  replaced(list) {
    this.rows = new Map(list.map((row) => [`${row.book} ${row.asset}`, { ...row }]));
    this.dirty();
  },

  add(update) {
    for (const { book, asset, scale, amount, held_change: heldChange } of update.changes) {
      const key = `${book} ${asset}`;
      const zero = decimalText(0n, scale);
      const row = this.rows.get(key) ?? { book, asset, balance: zero, held: zero };
      const sum = (a, b) => decimalText(minorUnits(a, scale) + minorUnits(b, scale), scale);
      this.rows.set(key, {
        ...row, balance: sum(row.balance, amount), held: sum(row.held, heldChange),
      });
    }
    this.dirty();
  },

  dirty: oncePerFrame(() => totals.draw()),

  draw() {
    const body = document.createDocumentFragment();
    for (const key of [...this.rows.keys()].sort()) {
      const { book, asset, balance, held } = this.rows.get(key);
      const row = document.createElement("tr");
      row.dataset.total = `${book}/${asset}`;
      for (const [text, number] of [[book], [asset], [grouped(balance), true], [grouped(held), true]]) {
        const cell = document.createElement("td");
        cell.textContent = text;
        if (number) cell.className = "number";
        row.append(cell);
      }
      body.append(row);
    }
    element("totals").replaceChildren(body);
  },
};

// ---- holds ----------------------------------------------------------------------------------

const holds = new HoldsPanel({
  grouped,
  async read(path, who) {
    const ask = async (fresh) => fetch(path, {
      headers: { Authorization: `Bearer ${await tokenFor(who, { fresh })}` },
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    });
    let answer = await ask(false);
    if (answer.status === 401) answer = await ask(true);
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.detail || found.title || `HTTP ${answer.status}`);
    return found;
  },
  async post(path, body, who) {
    const answer = await send({ path, body, key: keyOf(path, body) }, who);
    const outcome = await answer.json();
    if (answer.ok) unanswered.delete(path);
    return answer.ok
      ? { position: outcome.position, replayed: answer.headers.get("Idempotent-Replayed") === "true" }
      : { problem: outcome };
  },
  told: (text, bad) => note("request", text, { tone: bad ? "bad" : undefined }),
});

// ---- moving money ---------------------------------------------------------------------------

const OPERATIONS = {
  deposit: { path: "/v1/deposits", submit: "Deposit", done: "Deposited" },
  withdrawal: { path: "/v1/withdrawals", submit: "Withdraw", done: "Withdrawn" },
  transfer: { path: "/v1/transfers", submit: "Transfer", done: "Transferred" },
  hold: { path: "/v1/holds", submit: "Hold", done: "Held" },
};
const FIELD_OF_CODE = {
  invalid_amount: "amount",
  insufficient_funds: "amount",
  unknown_asset: "asset",
  unknown_book: "book",
};

/** By path, the request that has had no good answer yet: sent again, it has the same key. */
const unanswered = new Map();

function keyOf(path, body) {
  const same = JSON.stringify(body);
  if (unanswered.get(path)?.same !== same) unanswered.set(path, { same, key: newKey() });
  return unanswered.get(path).key;
}

const chosen = () => document.querySelector("input[name=operation]:checked").value;

function resetForm() {
  unanswered.clear();
  document.querySelector(
    `input[name=operation][value=${identity.superadmin ? "deposit" : "withdrawal"}]`,
  ).checked = true;
  element("subject").value = identity.user;
  clearErrors();
  show(element("result"), false);
  drawForm();
}

function drawForm() {
  const operation = chosen();
  const superadmin = Boolean(identity?.superadmin);
  const allowed = Boolean(identity) && (superadmin || operation !== "deposit");
  show(field("subject"), superadmin);
  show(field("to_user"), operation === "transfer");
  show(field("expires_in_s"), operation === "hold");
  show(element("not-for-users"), Boolean(identity) && !allowed);
  write(element("subject-label"), operation === "transfer" ? "From user" : "For user");
  write(element("submit"), OPERATIONS[operation].submit);
  element("fields").disabled = !allowed;
}

const field = (name) => document.querySelector(`[data-field=${name}]`);

function clearErrors() {
  for (const message of document.querySelectorAll("#fields .error")) show(message, false);
  for (const input of document.querySelectorAll("#fields input")) input.removeAttribute("aria-invalid");
}

function fieldError(name, text) {
  const input = element(name);
  if (!input || field(name).hidden) return false;
  input.setAttribute("aria-invalid", "true");
  const message = element(`${name}-error`);
  write(message, message.hidden ? text : `${message.textContent} ${text}`);
  show(message, true);
  return true;
}

function tell(tone, text, about = "") {
  const result = element("result");
  show(result, true);
  result.classList.toggle("good", tone === "good");
  result.classList.toggle("bad", tone === "bad");
  write(element("result-words"), text);
  write(element("result-key"), about);
  show(element("result-key"), Boolean(about));
}

function request() {
  const operation = chosen();
  const value = (id) => element(id).value.trim();
  const subject = identity.superadmin ? value("subject") : "me";
  const body = operation === "transfer"
    ? { from_user: subject, to_user: value("to_user") }
    : { user_id: subject };
  Object.assign(body, { amount: value("amount"), asset: value("asset") });
  if (value("book")) body.book = value("book");
  if (value("description")) body.description = value("description");
  const expires = value("expires_in_s");
  // What is no number goes as it is: the server's refusal tells what is wrong with it.
  if (operation === "hold" && expires) body.expires_in_s = /^\d+$/.test(expires) ? Number(expires) : expires;
  return { operation, path: OPERATIONS[operation].path, body };
}

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function send({ path, body, key }, who) {
  const attempt = async (fresh) => fetch(path, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Authorization: `Bearer ${await tokenFor(who, { fresh })}`,
      "Idempotency-Key": key,
    },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
  });
  const answer = await attempt(false);
  return answer.status === 401 ? attempt(true) : answer;
}

async function submit() {
  const who = identity;
  const asked = request();
  const key = keyOf(asked.path, asked.body);
  clearErrors();
  element("submit").disabled = true;
  try {
    const answer = await send({ ...asked, key }, who);
    const outcome = await answer.json();
    if (who !== identity) return;
    if (answer.ok) accepted(asked, outcome, answer.headers.get("Idempotent-Replayed") === "true");
    else refused(asked, outcome, key, answer.headers.get("Retry-After"));
  } catch (error) {
    if (who === identity) unheard(asked, error, key);
  } finally {
    element("submit").disabled = false;
  }
}

function accepted({ operation, path, body }, { transaction_id: id, position }, replayed) {
  unanswered.delete(path);
  const text = `${OPERATIONS[operation].done} ${grouped(body.amount)} ${body.asset}`
    + (replayed ? ". It had been booked already; nothing moved twice." : `, position ${position}.`);
  tell("good", text, `Transaction ${id}`);
  note("request", text, { about: `transaction ${id}` });
  element("amount").value = "";
}

function refused({ operation, body }, problem, key, retryAfter) {
  const { code, title, status } = problem;
  const detail = problem.detail || title || `HTTP ${status}`;
  const fields = (problem.errors ?? []).filter((error) => {
    const name = error.pointer.slice(1);
    const text = name === "amount" ? amountWords(problem, error.detail) : error.detail;
    return fieldError(["user_id", "from_user"].includes(name) ? "subject" : name, text);
  });
  if (!fields.length && FIELD_OF_CODE[code]) {
    fieldError(FIELD_OF_CODE[code], amountWords(problem, detail));
  }
  if (!fields.length && code === "unknown_user") {
    fieldError(operation === "transfer" ? "to_user" : "subject", detail);
  }
  const later = status === 503 || status === 429;
  const wait = later && retryAfter ? ` Try again in ${retryAfter} s.` : "";
  tell("bad", `Refused: ${detail}${wait}`, later
    ? `Sending it again uses the same Idempotency-Key (${key}), so it cannot be booked twice.`
    : code);
  note("request", `${capital(operation)} refused: ${detail}`, {
    about: [code, body.amount && `${body.amount} ${body.asset}`].filter(Boolean).join(" · "),
    tone: "bad",
  });
  document.querySelector("#fields [aria-invalid]")?.focus();
}

/** The words for the amount: how much is needed and there, where the problem says so. */
function amountWords({ code, required, available }, detail) {
  return code === "insufficient_funds" && required !== undefined && available !== undefined
    ? `${grouped(required)} needed, ${grouped(available)} available.`
    : detail;
}

function unheard({ operation }, error, key) {
  write(element("submit"), "Send again");
  tell(
    "bad",
    "No answer came, so it may have been booked or not. Send it again to find out.",
    `Sending it again uses the same Idempotency-Key (${key}), so it cannot be booked twice.`,
  );
  note("request", `${capital(operation)}: no answer`, { about: error.message, tone: "bad" });
}

/** Offers the server's assets and books; the fields take anything, so its refusals can be seen. */
async function suggest() {
  const who = identity;
  try {
    const token = await tokenFor(who);
    for (const [path, list, name] of [
      ["/v1/assets", "known-assets", "code"],
      ["/v1/books", "known-books", "name"],
    ]) {
      const answer = await fetch(path, { headers: { Authorization: `Bearer ${token}` } });
      if (!answer.ok) continue;
      const { items = [] } = await answer.json();
      element(list).replaceChildren(...items.map((item) => {
        const option = document.createElement("option");
        option.value = item[name];
        return option;
      }));
    }
  } catch {
    // The fields work without suggestions.
  }
}

// ---- controls -------------------------------------------------------------------------------

function identityError(text) {
  write(element("identity-error"), text);
  show(element("identity-error"), Boolean(text));
}

element("identity").addEventListener("submit", (event) => {
  event.preventDefault();
  const user = element("user").value.trim();
  identityError(user ? "" : "Name a user, for example alice.");
  if (user) start({ user, superadmin: element("operate").checked, token: null });
  else element("user").focus();
});
element("disconnect").addEventListener("click", () => {
  client.close();
  drawStatus();
});
element("retry").addEventListener("click", () => {
  client.wake();
  client.connect();
});
element("resync").addEventListener("click", () => client.resync());
element("operation").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
element("operation").addEventListener("input", () => drawForm());
element("clear").addEventListener("click", () => log.clear());
element("copy").addEventListener("click", async () => {
  const lines = log.entries.map(({ time, kind, what, amount, about, data }) => (
    JSON.stringify({ time: time.toISOString(), kind, what, amount, about, data })
  ));
  try {
    await navigator.clipboard.writeText(lines.join("\n"));
    write(element("copied"), `${lines.length} lines copied`);
  } catch {
    getSelection().selectAllChildren(element("log"));
    write(element("copied"), "Selected: copy with the keyboard");
  }
});
addEventListener("online", () => client?.wake());
addEventListener("offline", () => {
  if (client?.status.state === "connected") client.wake(); // loopback may well go on
});
addEventListener("pagehide", () => client?.close());
addEventListener("pageshow", (event) => {
  if (event.persisted) client?.connect();
});

const query = new URLSearchParams(location.search);
element("user").value = query.get("user") ?? "alice";
element("operate").checked = query.get("operate") === "superadmin";
document.querySelector("input[name=operation][value=deposit]").checked = true;
drawForm();
drawStatus();
if (query.get("user")) start({
  user: query.get("user"), superadmin: element("operate").checked, token: null,
});

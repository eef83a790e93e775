/** The monitor: who looks, which view is shown, and the panels that follow. */

import { ConnectionLight } from "../parts/connection-light.js";
import { element, one, show, write } from "../parts/elements.js";
import { Identity, claimsOf } from "../parts/identity.js";
import { may } from "../parts/roles.js";
import { Session } from "../parts/session.js";
import { Connections } from "./connections.js";
import { Details } from "./details.js";
import { Overview } from "./overview.js";
import { Prices } from "./prices.js";
import { Proof } from "./proof.js";
import { Service } from "./service.js";
import { Stream } from "./stream.js";
import { suggest } from "./suggestions.js";
import { UserPage } from "./user-page.js";
import { userAddress, viewOf } from "./views.js";

/** @typedef {import("./views.js").View} View */
/** @typedef {import("../parts/roles.js").Role} Role */

/** @type {View} */
let shown = viewOf(location.hash);
/** Who was refused for good asks for nothing more. @param {View["view"][]} views */
const isWanted = (...views) => () => (
  views.includes(shown.view) && session?.client.status.state !== "stopped"
);

const light = new ConnectionLight(element("connection"));
const details = new Details();
const stream = new Stream((update) => details.open(update));
const overview = new Overview(() => shown.view === "live");
const connections = new Connections(isWanted("live", "users"));
const userPage = new UserPage((update) => details.open(update));
const proof = new Proof(isWanted("live", "proof"));
const service = new Service(isWanted("live", "service"));
const prices = new Prices(isWanted("service"));
const panels = [stream, overview, connections, userPage, proof, service, prices, details];

/** @type {Session | null} */
let session = null;

const input = (/** @type {string} */ id) => element(id, HTMLInputElement);
const select = element("role", HTMLSelectElement);

function drawView() {
  shown = viewOf(location.hash);
  show(element("not-started"), !session);
  for (const view of document.querySelectorAll("[data-of]")) {
    const node = /** @type {HTMLElement} */ (view);
    show(node, Boolean(session) && node.dataset.of === shown.view);
  }
  for (const anchor of document.querySelectorAll("[data-view]")) {
    const { view } = /** @type {HTMLElement} */ (anchor).dataset;
    const current = view === shown.view || (view === "users" && shown.view === "user");
    if (current) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  if (!session) return;
  // As in the paths of calls, `me` is who asks.
  userPage.open(shown.user === "me" ? session.identity.user : shown.user ?? "");
  overview.draw();
  for (const { polling } of [connections, proof, service, prices]) polling.now();
  document.title = `${shown.user ?? "Monitor"} · Tallywire`;
}

/** Shows what the operator's role may use, and says why the rest is not there. */
function drawRole() {
  for (const node of document.querySelectorAll("[data-needs], [data-without]")) {
    const part = /** @type {HTMLElement} */ (node);
    const { needs, without } = part.dataset;
    const may = Boolean(session?.may(/** @type {Role} */ (needs ?? without)));
    show(part, needs ? may : !may);
  }
}

/** @param {string} text */
function tell(text) {
  write(element("identity-error"), text);
  show(element("identity-error"), Boolean(text));
}

/**
 * @param {string} user
 * @param {Role} role
 */
function start(user, role) {
  session?.end();
  const identity = new Identity(user, role, () => input("token").value.trim());
  session = new Session(identity, ["monitor"]);
  const started = session;
  history.replaceState(null, "", `?${new URLSearchParams({ user, role })}${location.hash}`);
  drawRole();
  light.follow(started.client, started.ended);
  for (const panel of panels) panel.follow(started);
  started.on("status", () => {
    if (!started.identity.mustPaste) return;
    show(element("token-field"), true);
    show(element("role-field"), false); // the token says it
    tell("This server gives out no development tokens. Paste one of an auditor, admin or superadmin.");
  });
  drawView();
  started.client.connect();
  suggest(started);
}

function choose() {
  const pasted = input("token").value.trim();
  const claims = pasted ? claimsOf(pasted) : null;
  if (pasted && !claims) return tell("This is not a token of this ledger.");
  if (claims && !may(claims.role, "auditor")) {
    return tell(`This token is of the role ${claims.role}. The monitor takes an auditor, admin or superadmin.`);
  }
  const user = claims?.user ?? input("user").value.trim();
  if (!user) {
    tell("Name who you are, for example root.");
    return input("user").focus();
  }
  tell("");
  input("user").value = user;
  return start(user, claims?.role ?? /** @type {Role} */ (select.value));
}

element("identity").addEventListener("submit", (event) => {
  event.preventDefault();
  choose();
});
element("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const user = input("find-user").value.trim();
  if (user) location.hash = userAddress(user);
  else input("find-user").focus();
});
one(document, ".skip").addEventListener("click", (event) => {
  event.preventDefault(); // its address would be another view
  element("main").focus();
});
addEventListener("hashchange", () => {
  drawView();
  scrollTo(0, 0);
  if (shown.view === "user") element("user-title").focus({ preventScroll: true });
});

const desk = matchMedia("(min-width: 761px)"); // there the filter is always open
const fold = () => { element("filter-fold", HTMLDetailsElement).open = desk.matches; };
desk.addEventListener("change", fold);
fold();
const query = new URLSearchParams(location.search);
input("user").value = query.get("user") ?? "root";
select.value = query.get("role") ?? "superadmin";
if (select.selectedIndex < 0) {
  select.value = "auditor";
  tell(`The monitor is for auditors, admins and superadmins, not for the role ${query.get("role")}.`);
} else if (query.get("user")) choose();
drawRole();
drawView();

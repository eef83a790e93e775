/** The balance sync test page: one identity per tab, its live balances, and forms to move money and to trade. */

import { ConnectionLight } from "../parts/connection-light.js";
import { element, show, write } from "../parts/elements.js";
import { Identity, claimsOf } from "../parts/identity.js";
import { Session } from "../parts/session.js";
import { Accounts } from "./accounts.js";
import { Holds } from "./holds.js";
import { Log } from "./log.js";
import { Monitor } from "./monitor.js";
import { Operations } from "./operations.js";
import { drawBadge } from "./tab-badge.js";
import { Trading } from "./trading.js";
import { TrialPanel } from "./trial-panel.js";

const log = new Log();
const light = new ConnectionLight(element("connection"));
const trial = new TrialPanel();
const panels = [new Accounts(), new Monitor(), new Holds(log), new Operations(log), new Trading(log), log];

/** @type {Session | null} */
let session = null;

/**
 * @param {string} user
 * @param {boolean} superadmin
 */
function start(user, superadmin) {
  session?.end();
  const pasted = () => element("token", HTMLInputElement).value.trim();
  const identity = new Identity(user, superadmin ? "superadmin" : "user", pasted);
  session = new Session(identity, superadmin ? ["balances", "prices", "monitor"] : ["balances", "prices"]);
  show(element("superadmin-banner"), superadmin);
  drawBadge(identity);
  const query = new URLSearchParams(location.search);
  query.set("user", user);
  query.delete("operate");
  if (superadmin) query.set("operate", "superadmin");
  history.replaceState(null, "", `?${query}`);
  light.follow(session.client, session.ended);
  for (const panel of panels) panel.follow(session);
  session.on("status", () => {
    if (identity.mustPaste) show(element("token-field"), true);
  });
  session.client.connect();
}

element("identity").addEventListener("submit", (event) => {
  event.preventDefault();
  const pasted = claimsOf(element("token", HTMLInputElement).value.trim());
  if (pasted) {
    element("user", HTMLInputElement).value = pasted.user;
    element("operate", HTMLInputElement).checked = pasted.role === "superadmin";
  }
  const user = element("user", HTMLInputElement).value.trim();
  const error = element("identity-error");
  write(error, "Name a user, for example alice.");
  show(error, !user);
  if (user) start(user, element("operate", HTMLInputElement).checked);
  else element("user").focus();
});

const query = new URLSearchParams(location.search);
element("user", HTMLInputElement).value = query.get("user") ?? "alice";
element("operate", HTMLInputElement).checked = query.get("operate") === "superadmin";
if (query.get("user")) {
  start(query.get("user") ?? "", element("operate", HTMLInputElement).checked);
}
if (query.get("test") === "run") {
  trial.run();
  element("trial").scrollIntoView();
}

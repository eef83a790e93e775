/** What tells several tabs apart: the title, a letter and a colour for each user. */

import { element, write } from "../parts/elements.js";

/** @typedef {import("../parts/identity.js").Identity} Identity */

/**
 * The hue of a user's colour, the same every time, in degrees.
 * @param {string} user
 */
export function hueOf(user) {
  let sum = 0;
  for (const character of user) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 3600;
  return (sum * 137.5) % 360;
}

/** @param {Identity} identity of this tab from now on */
export function drawBadge({ user, superadmin }) {
  document.title = `${superadmin ? `${user} (superadmin)` : user} · Tallywire`;
  document.documentElement.style.setProperty("--hue", String(hueOf(user)));
  document.body.dataset.role = superadmin ? "superadmin" : "user";
  write(element("badge"), [...user][0]?.toUpperCase() ?? "");
  write(element("owner"), superadmin ? `${user}, as superadmin` : user);
  for (const link of element("beside").querySelectorAll("a")) {
    const { pathname, searchParams: query } = new URL(link.href);
    link.hidden = pathname === location.pathname && query.get("user") === user && query.has("operate") === superadmin;
  }
}

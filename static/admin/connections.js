/** Who is connected now, and how to end that. */

import { element, show, write } from "../parts/elements.js";
import { clockTime, counted } from "../parts/wording.js";
import { confirmed } from "./confirm.js";
import { Polling } from "./polling.js";
import { button, link, number, tableRow } from "./table.js";
import { userAddress } from "./views.js";
import { failureWords, unreadWords } from "./wording.js";

/** @typedef {import("../parts/session.js").Session} Session */

const EVERY_MS = 5000;

/**
 * Asks once more, then disconnects a user; tells what became of it.
 * @param {Session} session
 * @param {string} user
 * @param {HTMLElement} result
 */
export async function disconnect(session, user, result) {
  const sure = await confirmed({
    title: `Disconnect ${user}?`,
    words: "All their connections end, and the tokens that they have stop working: they must sign in again.",
    yes: "Disconnect",
  });
  if (!sure) return;
  try {
    await session.requests.post(`/v1/admin/users/${encodeURIComponent(user)}/disconnect`, {});
    result.className = "notice good";
    write(result, `${user} is disconnected; their tokens up to now are revoked.`);
  } catch (error) {
    result.className = "notice bad";
    write(result, failureWords(error));
  }
  show(result, true);
}

export class Connections {
  /** @type {Session | null} */
  #session = null;

  /** @param {() => boolean} isWanted */
  constructor(isWanted) {
    this.polling = new Polling(() => this.#read(), EVERY_MS, isWanted);
  }

  /** @param {Session} session who asks from now on */
  follow(session) {
    this.#session = session;
    show(element("disconnected"), false);
    write(element("connected-users"), "–");
    this.polling.follow(session);
  }

  async #read() {
    const session = this.#session;
    if (!session) return;
    const problem = element("connections-problem");
    try {
      const found = await session.requests.get("/v1/admin/connections?limit=1000");
      if (session !== this.#session) return;
      show(problem, false);
      this.#draw(session, found);
    } catch (error) {
      if (session !== this.#session) return;
      write(problem, unreadWords(error));
      show(problem, true);
      write(element("connected-about"), "not known now");
    }
  }

  /**
   * @param {Session} session
   * @param {{users: number, connections: number, items: {user_id: string, connections: number}[],
   *   next_cursor: string | null}} found
   */
  #draw(session, { users, connections, items, next_cursor: more }) {
    const about = `${counted(users, "user")}, ${counted(connections, "connection")}`;
    write(element("connected-users"), String(users));
    write(element("connected-about"), `${counted(connections, "connection")}`);
    write(element("connections-about"), `${about} at ${clockTime(Date.now())}${
      more ? `; the first ${items.length} are listed` : ""}`);
    show(element("no-connections"), items.length === 0);
    const body = element("connections");
    const known = new Map([...body.children].map((row) => [/** @type {HTMLElement} */ (row).dataset.user, row]));
    body.replaceChildren(...items.map(({ user_id: user, connections: count }) => {
      const text = String(count);
      const row = known.get(user) ?? this.#newRow(session, user);
      write(/** @type {Element} */ (row.children[1]), text);
      return row;
    }));
  }

  /**
   * @param {Session} session
   * @param {string} user
   */
  #newRow(session, user) {
    const row = tableRow([link(user, userAddress(user)), number(""), session.may("superadmin")
      ? button("Disconnect", `Disconnect ${user}`, async () => {
        await disconnect(session, user, element("disconnected"));
        this.polling.now();
      }) : ""]);
    row.dataset.user = user;
    return row;
  }
}

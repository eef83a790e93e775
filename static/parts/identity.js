/** Who this tab is, and the token that proves it. */

const ANSWER_WITHIN_MS = 20_000;
const PASTE = "this server gives out no development tokens; paste a token";

/** No token could be had; `retry` says whether asking again may help. */
export class NoToken extends Error {
  /**
   * @param {string} message
   * @param {boolean} retry
   */
  constructor(message, retry) {
    super(message);
    this.name = "NoToken";
    this.retry = retry;
  }
}

/**
 * Whom a token is for, or null where it cannot be read; the server alone says whether it is good.
 * @param {string} token a JWT
 * @returns {{user: string, role: Role} | null}
 */
export function claimsOf(token) {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    const { sub, role = "user" } = JSON.parse(new TextDecoder().decode(bytes));
    return typeof sub === "string" ? { user: sub, role } : null;
  } catch {
    return null;
  }
}

/** @typedef {"user" | "auditor" | "admin" | "superadmin"} Role */

export class Identity {
  /** Whether the server gave out no development token, so that one must be pasted. */
  mustPaste = false;
  #token = "";

  /**
   * @param {string} user
   * @param {Role} role
   * @param {() => string} pasted a token that was pasted, "" for none
   */
  constructor(user, role, pasted = () => "") {
    this.user = user;
    this.role = role;
    this.pasted = pasted;
  }

  get superadmin() {
    return this.role === "superadmin";
  }

  /**
   * The pasted token, or one for development, kept until a fresh one is asked for.
   * @param {{fresh?: boolean}} [request]
   * @returns {Promise<string>}
   * @throws {NoToken}
   */
  async token({ fresh = false } = {}) {
    if (this.#token && !fresh) return this.#token;
    const pasted = this.pasted();
    if (pasted) return pasted;
    if (this.mustPaste) throw new NoToken(PASTE, false);
    const answer = await this.#ask();
    if (answer.status === 404 || answer.status === 405) {
      this.mustPaste = true;
      throw new NoToken(PASTE, false);
    }
    if (!answer.ok) {
      const { detail, title } = await answer.json().catch(() => ({}));
      this.mustPaste = answer.status === 403;
      const words = detail ?? title ?? `HTTP ${answer.status} in place of one`;
      throw new NoToken(this.mustPaste ? `${words}; paste a token` : words, answer.status >= 500);
    }
    this.#token = (await answer.json()).token;
    return this.#token;
  }

  async #ask() {
    try {
      return await fetch("/dev/token", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ user_id: this.user, role: this.role }),
        signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
      });
    } catch {
      throw new NoToken(`the server at ${location.host} gives no answer`, true);
    }
  }
}

/** Who this tab is, and the token that proves it. */

const ANSWER_WITHIN_MS = 20_000;

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

export class Identity {
  /** Whether the server gave out no development token, so that one must be pasted. */
  mustPaste = false;
  #token = "";

  /**
   * @param {string} user
   * @param {"user" | "auditor" | "admin" | "superadmin"} role
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
    const answer = await fetch("/dev/token", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user_id: this.user, role: this.role }),
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    });
    if (answer.status === 404 || answer.status === 405) {
      this.mustPaste = true;
      throw new NoToken("this server gives out no development tokens; paste a token", false);
    }
    if (!answer.ok) {
      const { detail, title } = await answer.json().catch(() => ({}));
      const words = detail ?? title ?? `no token: HTTP ${answer.status}`;
      throw new NoToken(words, answer.status >= 500);
    }
    this.#token = (await answer.json()).token;
    return this.#token;
  }
}

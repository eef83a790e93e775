/** Why a step of the comprehensive test failed, and what to look at then. */

export const LOOK = Object.freeze({
  noAnswer: "Is the server running? Look at the terminal or journal that it runs in, and at GET /healthz.",
  refused: "Look at this call in the browser's network panel and at its line in the server's log; /docs says what each code means.",
  token: "Users of the test get their tokens from POST /dev/token, which is there in development mode only, from this machine; elsewhere paste a superadmin's token at the head of the page, and the users are watched by it.",
  stream: "Look at the frames of /ws in the browser's network panel, at the close code there, and at the server's log; a proxy in between has to pass upgrades on.",
  stopped: "The client does not go on by itself after this. Look at the close code of /ws in the network panel (docs/contract.md, section 5, says what each means).",
  notShown: "Look at GET /readyz: where feed.behind is not 0, this process does not see the newest commits (look at its log and at the bus); else look at the frames of /ws in the network panel.",
  wrong: "Compare the answer of the call with the frame of /ws in the network panel: the server encodes both once, at the commit.",
  twice: "Look at GET /v1/users/USER/history: two transactions under one key would be a fault of the ledger, one transaction shown twice a fault of the client.",
  resumed: "Look at the `connect` message in the frames of /ws (its `resume`) and at the `resumed` that answers it; GET /v1/users/USER/history has what should have come.",
  crypto: "Digests need WebCrypto, which browsers give to HTTPS and loopback addresses only: open the page by one of these.",
  ledger: "Run `tallywire verify`: it proves what is stored; where it finds nothing, what was shown is wrong.",
  page: "This is a fault of the page or the browser: look at the browser's console.",
  /** @param {string} user */
  chain: (user) => `Run \`tallywire verify --user-id ${user}\`: where it finds nothing, the ledger is right, and something between server and page alters messages (a proxy, an extension).`,
});

export class Failure extends Error {
  /** Whether nothing that comes after it makes sense. */
  isFinal = false;

  /**
   * @param {string} expected in words, after "Expected "
   * @param {string} came in words
   * @param {string} look at what
   */
  constructor(expected, came, look) {
    super(`Expected ${expected}; ${came}.`);
    this.name = "Failure";
    this.look = look;
  }
}

/** A step cannot be made as this run is made; that is no failure. */
export class NotHere extends Error {}

/**
 * @param {string} what
 * @param {unknown} expected
 * @param {unknown} came
 * @param {string} look at what, where they differ
 * @throws {Failure} where they differ as JSON
 */
export function same(what, expected, came, look) {
  const [left, right] = [JSON.stringify(expected), JSON.stringify(came)];
  if (left !== right) throw new Failure(`${what} ${left}`, `it is ${right}`, look);
}

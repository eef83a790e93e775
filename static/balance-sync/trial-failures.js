/** Why a step of the comprehensive test failed, and what to look at then. */

export const LOOK = Object.freeze({
  noAnswer: "Is the server running? Look at the terminal or journal that it runs in, and at GET /healthz.",
  inBetween: "Something between this page and the server answered in its place, as a proxy does that cannot reach it: look at the proxy's log, and whether the server runs where the proxy looks for it.",
  refused: "Look at this call in the browser's network panel and at its line in the server's log; /docs says what each code means.",
  token: "Users of the test get their tokens from POST /dev/token, which is there in development mode only, from this machine; elsewhere paste a superadmin's token at the head of the page, and the users are watched by it.",
  stream: "Look at the frames of /ws in the browser's network panel, at the close code there, and at the server's log; a proxy in between has to pass upgrades on.",
  stopped: "The client does not go on by itself after this. Look at the close code of /ws in the network panel (docs/contract.md, section 5, says what each means).",
  notShown: "Look at GET /readyz: where feed.behind is not 0, this process does not see the newest commits (look at its log and at the bus); else look at the frames of /ws in the network panel.",
  wrong: "Compare the answer of the call with the frame of /ws in the network panel: the server encodes both once, at the commit.",
  twice: "Look at GET /v1/users/USER/history: two transactions under one key would be a fault of the ledger, one transaction shown twice a fault of the client.",
  resumed: "Look at the `connect` message in the frames of /ws (its `resume`) and at the `resumed` that answers it; GET /v1/users/USER/history has what should have come.",
  trade: "Compare the answer of the call with the frame of /ws in the network panel, and with GET /v1/options or /v1/spot/orders; docs/contract.md, section 3, has the rules of trades. `tallywire verify` holds every trade against the journal.",
  settlement: "Options are settled by the worker (in development mode by the server): is it running? /metrics tells how long an expired option has been open.",
  crypto: "Digests need WebCrypto, which browsers give to HTTPS and loopback addresses only: open the page by one of these.",
  ledger: "Run `tallywire verify`: it proves what is stored; where it finds nothing, what was shown is wrong.",
  page: "This is a fault of the page or the browser: look at the browser's console.",
  /** @param {string} user */
  chain: (user) => `Run \`tallywire verify --user-id ${user}\`: where it finds nothing, the ledger is right, and something between server and page alters messages (a proxy, an extension).`,
});

/** By a refusal's code, what to look at where that is not the call. @type {Record<string, string>} */
const LOOK_OF_CODE = {
  account_inconsistent: "The account's row was changed by something else than the ledger. Run `tallywire verify`, which tells by how much; `tallywire verify --fix` puts it right.",
  not_allowed: "The token's role may not do this: the test needs development mode, or a superadmin's token at the head of the page.",
  paused: "An operator paused all changes: `tallywire resume` takes them again.",
  too_many_requests: "TALLYWIRE_USER_RATE is the limit of changes a second for one user.",
};

/**
 * That a call was not to be refused.
 * @param {string} call
 * @param {{status: number, code: string, message: string}} refusal
 */
export function refused(call, { status, code, message }) {
  const look = LOOK_OF_CODE[code] ?? LOOK.refused;
  const failure = new Failure(`${call} to be accepted`, `it was refused with ${status} ${code}: ${message}`, look);
  failure.isFinal = code in LOOK_OF_CODE && code !== "too_many_requests"; // it would refuse the rest too
  return failure;
}

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
 * @throws {Failure} where they differ as JSON; of objects it names only what differs
 */
export function same(what, expected, came, look) {
  if (JSON.stringify(expected) === JSON.stringify(came)) return;
  const [left, right] = [leaves(expected), leaves(came)];
  const differing = [...new Set([...left.keys(), ...right.keys()])]
    .filter((path) => left.get(path) !== right.get(path));
  /** @param {Map<string, string>} found */
  const words = (found) => (
    differing.map((path) => `${path} ${found.get(path) ?? "absent"}`.trim()).join(", ")
  );
  throw new Failure(`${what} ${words(left)}`, `it is ${words(right)}`, look);
}

/**
 * What a value consists of, as JSON, by path; a list without objects is one.
 * @param {any} value
 * @param {string} [path]
 * @returns {Map<string, string>}
 */
function leaves(value, path = "") {
  const isList = Array.isArray(value) && !value.some((each) => each instanceof Object);
  if (!(value instanceof Object) || isList) return new Map([[path, JSON.stringify(value)]]);
  return new Map(Object.entries(value).flatMap(([name, each]) => (
    [...leaves(each, path ? `${path}.${name}` : name)]
  )));
}

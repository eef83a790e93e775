/** Which view an address shows: the part of it after `#`. */

/** @typedef {{view: "live" | "users" | "user" | "proof" | "service", user?: string}} View */

/**
 * @param {string} hash for example "#user=alice"
 * @returns {View}
 */
export function viewOf(hash) {
  const user = new URLSearchParams(hash.slice(1)).get("user");
  if (user) return { view: "user", user };
  const named = hash.slice(1);
  return named === "users" || named === "proof" || named === "service"
    ? { view: named } : { view: "live" };
}

/**
 * The address of a user's page.
 * @param {string} user
 */
export function userAddress(user) {
  return `#${new URLSearchParams({ user })}`;
}

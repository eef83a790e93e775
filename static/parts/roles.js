/** Which role may what (contract, section 4): what it may not is not offered. */

/** @typedef {import("./identity.js").Role} Role */

/** @type {Role[]} from the least to the most */
const ROLES = ["user", "auditor", "admin", "superadmin"];

/**
 * @param {Role} role
 * @param {Role} needed
 */
export function may(role, needed) {
  return ROLES.indexOf(role) >= ROLES.indexOf(needed);
}

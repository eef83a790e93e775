/** Decimal strings as people read them; as text only, so nothing is lost. */

/**
 * "-1234567.50" as "-1,234,567.50".
 * @param {string} amount a decimal string
 */
export function grouped(amount) {
  const [whole = "", fraction] = amount.split(".");
  const spaced = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction === undefined ? spaced : `${spaced}.${fraction}`;
}

/**
 * Grouped and with its sign, plus too.
 * @param {string} amount a decimal string
 */
export function signed(amount) {
  return amount.startsWith("-") ? grouped(amount) : `+${grouped(amount)}`;
}

/** @param {string} amount a decimal string */
export function isZero(amount) {
  return /^-?0(\.0*)?$/.test(amount);
}

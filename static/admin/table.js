/** Rows of tables. */

/**
 * @typedef {string | Node | {text: string, tone?: "good" | "warn" | "bad", number?: boolean}} Cell
 */

/**
 * A row of a table; texts of `{number: true}` stand on the right.
 * @param {Cell[]} cells the first names the row
 */
export function tableRow(cells) {
  const row = document.createElement("tr");
  cells.forEach((cell, index) => {
    const node = document.createElement(index === 0 ? "th" : "td");
    if (index === 0) node.setAttribute("scope", "row");
    if (typeof cell === "string" || cell instanceof Node) node.append(cell);
    else {
      node.append(cell.text);
      if (cell.number) node.className = "number";
      if (cell.tone) node.dataset.tone = cell.tone;
    }
    row.append(node);
  });
  return row;
}

/** @param {string} text */
export const number = (text) => ({ text, number: true });

/**
 * @param {string} text
 * @param {string} address
 */
export function link(text, address) {
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.textContent = text;
  return anchor;
}

/**
 * @param {string} text
 * @param {string} label what it does to which, for those who hear it
 * @param {() => void} pressed
 */
export function button(text, label, pressed) {
  const node = document.createElement("button");
  node.type = "button";
  node.className = "small";
  node.textContent = text;
  node.setAttribute("aria-label", label);
  node.addEventListener("click", pressed);
  return node;
}

/** What fields offer; they take anything, so that the server's refusals can be seen. */

import { element } from "./elements.js";

/**
 * @param {string} list id of a datalist
 * @param {string[]} values
 */
export function offer(list, values) {
  element(list).replaceChildren(...values.map((value) => new Option("", value)));
}

/**
 * Offers the ledger's books and assets, as far as they can be read.
 * @param {import("./requests.js").Requests} requests
 */
export async function offerBooksAndAssets(requests) {
  try {
    const [books, assets] = await Promise.all([
      requests.get("/v1/books?limit=1000"), requests.get("/v1/assets?limit=1000"),
    ]);
    offer("known-books", books.items.map((/** @type {{name: string}} */ { name }) => name));
    offer("known-assets", assets.items.map((/** @type {{code: string}} */ { code }) => code));
  } catch {
    // The fields work without suggestions.
  }
}

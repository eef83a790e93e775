/**
 * A list of rows, newest first, of which the page has only those in view: its number of nodes is
 * constant, whatever comes. It draws once a frame.
 *
 * It follows the newest entry until it is read: scrolled away from the top, with a row chosen, or
 * paused, it stands still, and what comes meanwhile is counted.
 *
 * It works on a scroller `[role=rowgroup]` with `tabindex=0` inside a `[role=grid]`, whose rows are
 * `--row-height` pixels high. Arrows, Page Up and Down, Home and End move among the rows, Enter
 * opens one, Escape goes back to the newest.
 */

import { oncePerFrame } from "./elements.js";
import { Newest } from "./newest.js";

const BEYOND_VIEW = 3;

/**
 * The rows to draw.
 * @param {{top: number, height: number, rowHeight: number, count: number}} view how far it is
 *   scrolled, how high it is and how high each of `count` rows is, all in pixels
 * @returns {{first: number, end: number}} the first row, and the one after the last
 */
export function rowsInView({ top, height, rowHeight, count }) {
  const first = Math.max(0, Math.floor(top / rowHeight) - BEYOND_VIEW);
  const end = Math.min(count, Math.ceil((top + height) / rowHeight) + BEYOND_VIEW);
  return { first: Math.min(first, end), end };
}

/**
 * How far to scroll so that a row is in view, moving as little as possible; in pixels.
 * @param {number} index
 * @param {{top: number, height: number, rowHeight: number}} view
 */
export function topShowing(index, { top, height, rowHeight }) {
  const above = index * rowHeight;
  return Math.min(Math.max(top, above + rowHeight - height), above);
}

/**
 * The row that a key moves to, or null where it moves to none.
 * @param {string} key
 * @param {number} index the row chosen now, -1 for none
 * @param {{page: number, count: number}} view rows on a page, and of all
 */
export function rowAfterKey(key, index, { page, count }) {
  const target = {
    ArrowDown: index + 1,
    ArrowUp: index - 1,
    PageDown: Math.max(index, 0) + page,
    PageUp: index - page,
    Home: 0,
    End: count - 1,
  }[key];
  return target === undefined || count === 0 ? null : Math.min(Math.max(target, 0), count - 1);
}

/** @template T */
export class Rows {
  /** @type {Newest<T>} */
  #newest;
  /** What is shown while it stands still. @type {T[] | null} */
  #still = null;
  #seen = 0;
  #paused = false;
  #chosen = -1;
  #top = 0;
  #height = 0;
  #rowHeight = 1;
  /** By index. @type {Map<number, {row: HTMLElement, entry: T | undefined}>} */
  #drawn = new Map();

  /**
   * @param {HTMLElement} scroller
   * @param {object} options
   * @param {number} options.most how many entries are kept
   * @param {() => HTMLElement} options.make a new empty row, its cells with their roles
   * @param {(row: HTMLElement, entry: T) => void} options.fill writes an entry into a row
   * @param {(entry: T) => void} [options.open] a row was clicked, or Enter pressed on it
   * @param {() => void} [options.drawn] after each drawing, for counts beside the list
   */
  constructor(scroller, { most, make, fill, open = () => {}, drawn = () => {} }) {
    this.scroller = scroller;
    this.options = { make, fill, open, drawn };
    this.#newest = new Newest(most);
    this.grid = /** @type {HTMLElement} */ (scroller.closest("[role=grid]"));
    this.headers = this.grid.querySelector("[role=columnheader]") ? 1 : 0;
    this.extent = scroller.appendChild(document.createElement("div"));
    this.extent.setAttribute("role", "presentation");
    this.extent.className = "extent";
    this.draw = oncePerFrame(() => this.#draw());
    new ResizeObserver(() => this.#measure()).observe(scroller);
    scroller.addEventListener("scroll", () => this.#scrolled());
    scroller.addEventListener("keydown", (event) => this.#pressed(event));
    // Chosen as the pointer goes down: by the time of the click another entry would be there.
    scroller.addEventListener("pointerdown", (event) => this.#choose(this.#indexAt(event), false));
    scroller.addEventListener("click", (event) => this.#open(this.#indexAt(event)));
    this.#measure();
  }

  /** What is kept, newest first; also what is not shown yet. */
  get entries() {
    return [...this.#newest];
  }

  /** How many are shown, of those kept. */
  get count() {
    return this.#still?.length ?? this.#newest.length;
  }

  /** How many came since it stands still. */
  get waiting() {
    return this.#still ? this.#newest.added - this.#seen : 0;
  }

  /** Whether it stands still. */
  get isStill() {
    return this.#still !== null;
  }

  /** Whether somebody reads below the top, or has a row chosen. */
  get isRead() {
    return this.#top > 0 || this.#chosen >= 0;
  }

  get paused() {
    return this.#paused;
  }

  set paused(paused) {
    this.#paused = paused;
    this.#settle();
  }

  /** @param {T} entry the newest */
  add(entry) {
    this.#newest.add(entry);
    this.draw();
  }

  /**
   * Shows other entries from now on, from the top.
   * @param {T[]} entries newest first
   */
  replace(entries) {
    this.#newest.clear();
    for (const entry of entries.slice(0, this.#newest.most).reverse()) this.#newest.add(entry);
    this.#still = null;
    this.showNewest();
  }

  clear() {
    this.replace([]);
  }

  /** Goes back to the top, where it follows the newest entry unless it is paused. */
  showNewest() {
    const focused = this.scroller.contains(document.activeElement);
    this.#chosen = -1;
    this.#top = 0;
    this.scroller.scrollTop = 0;
    if (focused) this.scroller.focus({ preventScroll: true });
    this.#still = null;
    this.#settle();
  }

  /** Stands still or follows, as it is read. */
  #settle() {
    const still = this.#paused || this.isRead;
    if (still && !this.#still) {
      this.#still = [...this.#newest];
      this.#seen = this.#newest.added;
    } else if (!still) this.#still = null;
    this.draw();
  }

  #measure() {
    this.#height = this.scroller.clientHeight;
    const styled = getComputedStyle(this.scroller).getPropertyValue("--row-height");
    this.#rowHeight = Number.parseFloat(styled) || 44;
    this.draw();
  }

  #scrolled() {
    this.#top = this.scroller.scrollTop;
    this.#settle();
  }

  /** @param {Event} event */
  #indexAt({ target }) {
    for (const [index, { row }] of this.#drawn) if (row.contains(/** @type {Node} */ (target))) return index;
    return -1;
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.#height / this.#rowHeight) - 1);
    const target = rowAfterKey(event.key, this.#chosen, { page, count: this.count });
    if (target !== null) this.#choose(target, true);
    else if (event.key === "Enter" && this.#chosen >= 0) this.#open(this.#chosen);
    else if (event.key === "Escape" && this.isStill) this.showNewest();
    else return;
    event.preventDefault();
  }

  /**
   * @param {number} index
   * @param {boolean} scroll whether to bring it into view
   */
  #choose(index, scroll) {
    if (index < 0) return;
    this.#chosen = index;
    this.#settle();
    if (scroll) {
      const view = { top: this.#top, height: this.#height, rowHeight: this.#rowHeight };
      this.#top = topShowing(index, view);
      this.scroller.scrollTop = this.#top;
    }
    this.#draw();
    this.#drawn.get(index)?.row.focus({ preventScroll: true });
  }

  /** @param {number} index */
  #open(index) {
    const entry = this.#drawn.get(index)?.entry;
    if (entry !== undefined) this.options.open(entry);
  }

  #draw() {
    const count = this.count;
    const { first, end } = rowsInView({
      top: this.#top, height: this.#height, rowHeight: this.#rowHeight, count,
    });
    const free = this.#free(first, end);
    this.extent.style.height = `${count * this.#rowHeight}px`;
    this.grid.setAttribute("aria-rowcount", String(count + this.headers));
    /** @type {Element | null} */
    let place = this.extent.firstElementChild;
    for (let index = first; index < end; index += 1) {
      const drawn = this.#drawn.get(index) ?? { row: free.pop() ?? this.#newRow(), entry: undefined };
      if (drawn.row === place) place = place.nextElementSibling;
      else this.extent.insertBefore(drawn.row, place);
      this.#drawOne(index, drawn);
    }
    for (const row of free) row.remove();
    this.options.drawn();
  }

  /**
   * The rows that are no longer in view, for use elsewhere.
   * @param {number} first
   * @param {number} end
   */
  #free(first, end) {
    const free = [];
    for (const [index, { row }] of this.#drawn) {
      if (index >= first && index < end) continue;
      // The next key goes on from the chosen row, wherever it is.
      if (row === document.activeElement) this.scroller.focus({ preventScroll: true });
      this.#drawn.delete(index);
      free.push(row);
    }
    return free;
  }

  #newRow() {
    const row = this.options.make();
    row.setAttribute("role", "row");
    row.tabIndex = -1;
    return row;
  }

  /**
   * @param {number} index
   * @param {{row: HTMLElement, entry: T | undefined}} drawn
   */
  #drawOne(index, drawn) {
    const { row } = drawn;
    const entry = this.#still ? this.#still[index] : this.#newest.at(index);
    if (!this.#drawn.has(index) || row.dataset.top !== String(index * this.#rowHeight)) {
      row.dataset.top = String(index * this.#rowHeight);
      row.style.transform = `translateY(${index * this.#rowHeight}px)`;
      row.setAttribute("aria-rowindex", String(index + 1 + this.headers));
      this.#drawn.set(index, drawn);
    }
    row.setAttribute("aria-selected", String(index === this.#chosen));
    if (entry === undefined || entry === drawn.entry) return;
    drawn.entry = entry;
    this.options.fill(row, entry);
  }
}

/** Finding and writing nodes of the page. */

/**
 * The element with that id.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {abstract new (...args: never[]) => T} [kind] for example HTMLInputElement
 * @returns {T}
 * @throws {TypeError} where the page has none of that kind
 */
export function element(id, kind) {
  return one(document, `#${CSS.escape(id)}`, kind);
}

/**
 * The first element below `root` that `selector` finds.
 * @template {Element} [T=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {abstract new (...args: never[]) => T} [kind] HTMLElement, unless told
 * @returns {T}
 * @throws {TypeError} where there is none of that kind
 */
export function one(root, selector, kind) {
  const found = root.querySelector(selector);
  if (found instanceof (kind ?? HTMLElement)) return /** @type {T} */ (found);
  throw new TypeError(`the page has no ${selector}`);
}

/**
 * A fresh copy of the first element of a template.
 * @param {string} id of the template
 */
export function copyOf(id) {
  const content = element(id, HTMLTemplateElement).content.firstElementChild;
  if (content instanceof HTMLElement) return /** @type {HTMLElement} */ (content.cloneNode(true));
  throw new TypeError(`the template ${id} is empty`);
}

/**
 * @param {HTMLElement} node
 * @param {boolean} visible
 */
export function show(node, visible) {
  node.hidden = !visible;
}

/**
 * Writes text where it differs, so that what did not change is neither drawn nor read out again.
 * @param {Element} node
 * @param {string} text
 */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * A function that runs `draw` once before the next frame, however often it is called.
 * @param {() => void} draw
 */
export function oncePerFrame(draw) {
  let planned = false;
  return () => {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      draw();
    });
  };
}

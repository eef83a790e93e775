// Shows /openapi.json and /asyncapi.json as a page. Text goes in as text nodes only, never as HTML.

import { one } from "./parts/elements.js";

/**
 * What is read of a JSON Schema, of an OpenAPI and of an AsyncAPI document.
 * @typedef {object} Schema
 * @property {string} [$ref]
 * @property {string} [type]
 * @property {string} [description]
 * @property {unknown[]} [enum]
 * @property {Schema[]} [anyOf]
 * @property {Schema[]} [oneOf]
 * @property {Schema[]} [allOf]
 * @property {Schema} [items]
 * @property {string[]} [required]
 * @property {Record<string, Schema>} [properties]
 *
 * @typedef {{ components: { schemas: Record<string, Schema> } }} Components
 *
 * @typedef {object} Operation
 * @property {string} operationId
 * @property {string} summary
 * @property {string} description
 * @property {{ name: string, required: boolean, description?: string, schema: Schema }[]} parameters
 * @property {{ content: Record<string, { schema: Schema }> }} [requestBody]
 * @property {Record<string, { content?: Record<string, { schema: Schema }> }>} responses
 *
 * @typedef {Components & { paths: Record<string, Record<string, Operation>> }} OpenApi
 *
 * @typedef {{ name: string, title: string, summary: string, description?: string, payload: Schema }} Message
 * @typedef {{ code: number, reason: string, reconnect: boolean }} Close
 * @typedef {object} AsyncApi
 * @property {{ schemas: Record<string, Schema>, messages: Record<string, Message> }} components
 * @property {Record<string, { messages: { $ref: string }[] }>} operations
 * @property {{ ws: { "x-close-codes": Close[] } }} channels
 */

const target = one(document, "#calls");
const METHODS = ["get", "post", "put", "patch", "delete"];

/** @param {string} name @param {Record<string, string>} attributes @param {(string | Node)[]} children */
function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// What stands between backticks is code.
/** @param {string} [text] */
function prose(text = "") {
  return text.split("`").map((part, at) => (at % 2 ? element("code", {}, part) : part));
}

/** @param {string} reference */
function nameIn(reference) {
  return reference.slice(reference.lastIndexOf("/") + 1);
}

/** @param {Components} described @param {Schema} schema @returns {Schema} */
function resolve(described, schema) {
  if (!schema.$ref) return schema;
  return described.components.schemas[nameIn(schema.$ref)];
}

/** @param {Schema} schema @returns {string} */
function typeName(schema) {
  if (schema.$ref) return nameIn(schema.$ref);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map(typeName).join(" | ");
  if (schema.oneOf) return schema.oneOf.map(typeName).join(" | ");
  if (schema.allOf) return typeName(schema.allOf[0]);
  if (schema.type === "array") return `[${typeName(schema.items ?? {})}]`;
  return schema.type ?? "any";
}

/** @param {Schema} schema */
function descriptionOf(schema) {
  const inner = (schema.anyOf ?? []).map((each) => each.description).find(Boolean);
  return schema.description ?? inner ?? "";
}

/** @param {string} name @param {Schema} schema @param {boolean} required */
function fieldRow(name, schema, required) {
  return element("tr", {},
    element("td", {}, element("code", {}, name), required ? "" : element("span", { class: "muted" }, " optional")),
    element("td", {}, element("code", {}, typeName(schema))),
    element("td", {}, ...prose(descriptionOf(schema))));
}

/** @param {string} caption @param {Node[]} rows */
function table(caption, rows) {
  return element("table", {}, element("caption", {}, caption), element("tbody", {}, ...rows));
}

/** @param {Schema} schema */
function fieldRows(schema) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {})
    .sort(([a], [b]) => Number(required.has(b)) - Number(required.has(a)))
    .map(([name, field]) => fieldRow(name, field, required.has(name)));
}

/** @param {OpenApi} openapi @param {Schema} schema */
function bodyTable(openapi, schema) {
  return table("Body", fieldRows(resolve(openapi, schema)));
}

/** @param {Operation} operation */
function answers(operation) {
  return Object.entries(operation.responses).map(([status, answer]) => {
    const schema = Object.values(answer.content ?? {})[0]?.schema ?? {};
    return element("li", {}, `${status === "default" ? "refused" : status}: `,
      element("code", {}, typeName(schema)));
  });
}

/** @param {OpenApi} openapi @param {string} path @param {string} method @param {Operation} operation */
function call(openapi, path, method, operation) {
  const section = element("section", { class: "panel", id: operation.operationId },
    element("h3", {}, element("code", {}, `${method.toUpperCase()} ${path}`)),
    element("p", {}, ...prose(operation.summary)),
    element("p", { class: "muted" }, ...prose(operation.description)));
  if (operation.parameters.length > 0) {
    section.append(table("Parameters", operation.parameters.map((parameter) =>
      fieldRow(parameter.name, { ...parameter.schema, description: parameter.description },
        parameter.required))));
  }
  if (operation.requestBody) {
    section.append(bodyTable(openapi, operation.requestBody.content["application/json"].schema));
  }
  section.append(element("ul", {}, ...answers(operation)));
  return section;
}

/** @param {string} name @param {Schema} schema */
function schemaSection(name, schema) {
  return element("section", { class: "panel", id: `schema-${name}` },
    element("h3", {}, element("code", {}, name)),
    element("p", {}, ...prose(schema.description)), table("Fields", fieldRows(schema)));
}

/** @param {AsyncApi} asyncapi @param {string} said @param {Message} message */
function message(asyncapi, said, { name, summary, description, payload }) {
  const { properties: { type, ...properties } = {}, required } = resolve(asyncapi, payload);
  const section = element("section", { class: "panel", id: `message-${name}` },
    element("h3", {}, element("code", {}, name)),
    element("p", {}, ...prose(summary)), element("p", { class: "muted" }, ...prose(description)));
  if (Object.keys(properties).length > 0) {
    section.append(table(said, fieldRows({ properties, required })));
  }
  return section;
}

/** @param {AsyncApi} asyncapi */
function messages(asyncapi) {
  const { connect, refresh, ping, tell } = asyncapi.operations;
  /** @param {string} said @param {{ messages: { $ref: string }[] }[]} operations */
  const sections = (said, operations) => operations.flatMap((operation) => operation.messages)
    .map(({ $ref }) => message(asyncapi, said, asyncapi.components.messages[nameIn($ref)]));
  return [...sections("A client says", [connect, refresh, ping]),
    ...sections("The server says", [tell]), closes(asyncapi.channels.ws["x-close-codes"])];
}

/** @param {Close[]} codes */
function closes(codes) {
  const rows = codes.map(({ code, reason, reconnect }) => element("tr", {},
    element("td", {}, element("code", {}, String(code))), element("td", {}, reason),
    element("td", {}, reconnect ? "comes back by itself" : "does not come back")));
  return element("section", { class: "panel", id: "close-codes" },
    element("h3", {}, "Close codes"), table("What a client does then", rows));
}

/** A heading with links to its sections, and these. @param {string} title @param {HTMLElement[]} sections */
function chapter(title, sections) {
  const links = sections.map((section) => element("li", {},
    element("a", { href: `#${section.id}` }, one(section, "h3").textContent ?? "")));
  return [element("h2", {}, title),
    element("nav", { "aria-label": title }, element("ul", { class: "index" }, ...links)), ...sections];
}

/** @param {OpenApi} openapi @param {AsyncApi} asyncapi */
function show(openapi, asyncapi) {
  /** @type {HTMLElement[]} */
  const parts = [];
  for (const [path, operations] of Object.entries(openapi.paths)) {
    for (const method of METHODS) {
      if (operations[method]) parts.push(call(openapi, path, method, operations[method]));
    }
  }
  const said = new Set(Object.values(asyncapi.components.messages).map(({ title }) => title));
  const objects = { ...asyncapi.components.schemas, ...openapi.components.schemas };
  const schemas = Object.entries(objects).filter(([name]) => !said.has(name))
    .map(([name, schema]) => schemaSection(name, schema));
  target.replaceChildren(
    ...chapter("Calls", parts), ...chapter("Live messages", messages(asyncapi)),
    ...chapter("Objects", schemas));
  document.getElementById(location.hash.slice(1))?.scrollIntoView(); // it was not there before
}

/** @param {string} address */
async function load(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address} answers ${answer.status}`);
  return answer.json();
}

try {
  const [openapi, asyncapi] = await Promise.all([load("/openapi.json"), load("/asyncapi.json")]);
  show(openapi, asyncapi);
} catch (error) {
  target.replaceChildren(element("p", { role: "alert" }, `Not loaded: ${error}`));
}

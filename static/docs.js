// @ts-nocheck
// Shows /openapi.json and /asyncapi.json as a page. Text goes in as text nodes only, never as HTML.

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// What stands between backticks is code.
function prose(text = "") {
  return text.split("`").map((part, at) => (at % 2 ? element("code", {}, part) : part));
}

function resolve(openapi, schema) {
  if (!schema.$ref) return schema;
  return openapi.components.schemas[schema.$ref.split("/").pop()];
}

function typeName(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map(typeName).join(" | ");
  if (schema.oneOf) return schema.oneOf.map(typeName).join(" | ");
  if (schema.allOf) return typeName(schema.allOf[0]);
  if (schema.type === "array") return `[${typeName(schema.items ?? {})}]`;
  return schema.type ?? "any";
}

function descriptionOf(schema) {
  const inner = (schema.anyOf ?? []).map((each) => each.description).find(Boolean);
  return schema.description ?? inner ?? "";
}

function fieldRow(name, schema, required) {
  return element("tr", {},
    element("td", {}, element("code", {}, name), required ? "" : " ?"),
    element("td", {}, element("code", {}, typeName(schema))),
    element("td", {}, ...prose(descriptionOf(schema))));
}

function table(caption, rows) {
  return element("table", {}, element("caption", {}, caption), element("tbody", {}, ...rows));
}

function fieldRows(schema) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {})
    .sort(([a], [b]) => required.has(b) - required.has(a))
    .map(([name, field]) => fieldRow(name, field, required.has(name)));
}

function bodyTable(openapi, operation) {
  const { schema } = operation.requestBody.content["application/json"];
  return table("Body", fieldRows(resolve(openapi, schema)));
}

function answers(operation) {
  return Object.entries(operation.responses).map(([status, answer]) => {
    const schema = Object.values(answer.content ?? {})[0]?.schema ?? {};
    return element("li", {}, `${status === "default" ? "refused" : status}: `,
      element("code", {}, typeName(schema)));
  });
}

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
  if (operation.requestBody) section.append(bodyTable(openapi, operation));
  section.append(element("ul", {}, ...answers(operation)));
  return section;
}

function schemaSection(name, schema) {
  return element("section", { class: "panel", id: `schema-${name}` },
    element("h3", {}, element("code", {}, name)),
    element("p", {}, ...prose(schema.description)), table("Fields", fieldRows(schema)));
}

function message(asyncapi, said, { name, summary, description, payload }) {
  const { type, ...properties } = resolve(asyncapi, payload).properties;
  const { required } = resolve(asyncapi, payload);
  const section = element("section", { class: "panel", id: `message-${name}` },
    element("h3", {}, element("code", {}, name)),
    element("p", {}, ...prose(summary)), element("p", { class: "muted" }, ...prose(description)));
  if (Object.keys(properties).length > 0) {
    section.append(table(said, fieldRows({ properties, required })));
  }
  return section;
}

function messages(asyncapi) {
  const { connect, refresh, ping, tell } = asyncapi.operations;
  const sections = (said, operations) => operations.flatMap((operation) => operation.messages)
    .map(({ $ref }) => asyncapi.components.messages[$ref.split("/").pop()])
    .map((each) => message(asyncapi, said, each));
  return [...sections("A client says", [connect, refresh, ping]),
    ...sections("The server says", [tell]), closes(asyncapi.channels.ws["x-close-codes"])];
}

function closes(codes) {
  const rows = codes.map(({ code, reason, reconnect }) => element("tr", {},
    element("td", {}, element("code", {}, String(code))), element("td", {}, reason),
    element("td", {}, reconnect ? "comes back by itself" : "does not come back")));
  return element("section", { class: "panel", id: "close-codes" },
    element("h3", {}, "Close codes"), table("What a client does then", rows));
}

function show(openapi, asyncapi) {
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
  document.getElementById("calls").replaceChildren(
    element("h2", {}, "Calls"), ...parts,
    element("h2", {}, "Live messages"), ...messages(asyncapi), element("h2", {}, "Objects"), ...schemas);
}

async function load(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address} answers ${answer.status}`);
  return answer.json();
}

const target = document.getElementById("calls");
try {
  show(...await Promise.all(["/openapi.json", "/asyncapi.json"].map(load)));
} catch (error) {
  target.replaceChildren(element("p", { role: "alert" }, `Not loaded: ${error.message}`));
}

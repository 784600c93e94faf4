// Shows the OpenAPI description of the server as a page.
import { element, make } from "./dom.js";

const EXAMPLES = {
  "/v1/predict": "curl -F file=@one.wav -F file=@two.flac",
  "/v1/segments": "curl -F file=@talk.wav",
  "/v1/profile": "curl -o profile.json -F file=@one.wav -F file=@two.wav",
};

/** Text in which `code` stands between backquotes. */
function words(text) {
  return (text || "").split("`").map((part, at) => (at % 2 ? make("code", {}, part) : part));
}

function typeOf(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    return [make("a", { href: `#${name}` }, name)];
  }
  const choices = schema.anyOf || schema.oneOf;
  if (choices) return choices.flatMap((one, at) => (at ? [" or ", ...typeOf(one)] : typeOf(one)));
  if (schema.enum) return schema.enum.flatMap((one, at) => [at ? ", " : "", make("code", {}, one)]);
  if (schema.const) return [make("code", {}, schema.const)];
  if (schema.items?.format === "binary") return ["files"];
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items || {})];
  if (schema.type === "object" && schema.additionalProperties?.type) return ["name → ", ...typeOf(schema.additionalProperties)];
  return [schema.format === "binary" ? "file" : schema.type || "any"];
}

function boundsOf({ anyOf = [], ...schema }) {
  const bounds = Object.assign({}, ...anyOf, schema);
  const found = [["minimum", "at least"], ["exclusiveMinimum", "above"], ["maximum", "at most"]]
    .filter(([name]) => bounds[name] != null).map(([name, text]) => `${text} ${bounds[name]}`);
  return found.length ? ` (${found.join(", ")})` : "";
}

function tableOf(name, heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map(([first, ...others]) => make("tr", {},
    make("th", { scope: "row" }, make("code", {}, first)), ...others.map((cell) => make("td", {}, ...[cell].flat()))));
  const place = make("div", { className: "scroll", tabIndex: 0 },
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
  place.setAttribute("role", "region");
  place.setAttribute("aria-label", name);
  return place;
}

function fieldsOf(name, schema) {
  const rows = Object.entries(schema.properties).map(([field, one]) => [field, typeOf(one), words(one.description)]);
  return tableOf(name, ["Field", "Type", "Meaning"], rows);
}

function sectionOf(path, method, operation) {
  const id = `${method}${path}`;
  const title = make("h2", { id }, `${method.toUpperCase()} `, make("code", {}, path));
  const section = make("section", {}, title, ...operation.description.split("\n\n").map((text) => make("p", {}, ...words(text))));
  section.setAttribute("aria-labelledby", id);
  if (EXAMPLES[path]) section.append(make("pre", {}, `${EXAMPLES[path]} ${location.origin}${path}`));
  const parameters = (operation.parameters || []).filter((one) => one.in === "query");
  if (parameters.length) {
    const rows = parameters.map((one) => [one.name, [...typeOf(one.schema), boundsOf(one.schema)],
      one.schema.default == null ? "" : String(one.schema.default), words(one.description || one.schema.description)]);
    section.append(make("h3", {}, "Query parameters"),
      tableOf(`Query parameters of ${path}`, ["Name", "Type", "Default", "Meaning"], rows));
  }
  const form = operation.requestBody?.content["multipart/form-data"]?.schema;
  if (form) section.append(make("h3", {}, "Fields of the form"), fieldsOf(`Fields of ${path}`, form));
  const rows = Object.entries(operation.responses).map(([status, one]) => {
    const schema = Object.values(one.content || {})[0]?.schema;
    return [status, status === "200" ? "It worked." : one.description, schema && Object.keys(schema).length ? typeOf(schema) : ""];
  });
  section.append(make("h3", {}, "Answers"), tableOf(`Answers of ${path}`, ["Status", "When", "Content"], rows));
  return section;
}

async function start() {
  const { paths, components } = await (await fetch("/openapi.json")).json();
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const link = make("a", { href: `#${method}${path}` }, `${method.toUpperCase()} ${path}`);
      element("routes").append(make("li", {}, link));
      element("operations").append(sectionOf(path, method, operation));
    }
  }
  for (const [name, schema] of Object.entries(components.schemas).filter(([, one]) => one.properties)) {
    const title = make("h2", { id: name }, make("code", {}, name));
    const section = make("section", {}, title, make("p", {}, ...words(schema.description)),
      fieldsOf(`Fields of ${name}`, schema));
    section.setAttribute("aria-labelledby", name);
    element("operations").append(section);
  }
}

start().catch(() => {
  element("problem").textContent = "The server does not answer. Is it still running?";
  element("problem").hidden = false;
});

// The part of OpenAPI 3.1 that our own schema uses, made ready for a page.

export interface Schema {
  $ref?: string;
  type?: string;
  title?: string;
  description?: string;
  default?: unknown;
  examples?: unknown[];
  required?: string[];
  minimum?: number;
  maximum?: number;
  enum?: unknown[];
  const?: unknown;
  items?: Schema;
  prefixItems?: Schema[];
  anyOf?: Schema[];
  properties?: Record<string, Schema>;
}

interface Parameter {
  name: string;
  in?: string;
  required?: boolean;
  description?: string;
  schema: Schema;
}

interface Operation {
  description?: string;
  tags?: string[];
  parameters?: Parameter[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { description: string; content?: Record<string, { schema: Schema }> }>;
}

export interface OpenApi {
  info: { title: string; version: string; description: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

export interface Field {
  name: string;
  type: string;
  description: string;
}

export interface Entry {
  method: string;
  path: string;
  tag: string;
  description: string;
  parameters: (Field & { required: boolean; preset: string; inPath: boolean })[];
  /** What is sent with it: its fields, and those that must be there with something in them, as JSON to begin with. */
  body: { type: string; fields: Field[]; draft: Record<string, unknown> } | null;
  /** Type of the answer and, for an object or a list of them, its fields. */
  answer: string;
  fields: Field[];
  refusals: { status: string; description: string }[];
}

function resolved(schema: Schema, api: OpenApi): Schema {
  const name = schema.$ref?.split("/").at(-1);
  return name === undefined ? schema : (api.components.schemas[name] ?? schema);
}

/** A schema as a short type: `string or null`, `list of Trade`, `1 to 25`. */
export function typeOf(schema: Schema): string {
  const name = schema.$ref?.split("/").at(-1);
  if (name !== undefined) return name;
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum !== undefined) return schema.enum.map((value) => `"${String(value)}"`).join(", ");
  if (schema.const !== undefined) return `"${String(schema.const)}"`;
  if (schema.prefixItems !== undefined) return `[${schema.prefixItems.map(typeOf).join(", ")}]`;
  if (schema.type === "array") return `list of ${typeOf(schema.items ?? {})}`;
  const bounds = schema.minimum !== undefined && schema.maximum !== undefined ? `, ${schema.minimum} to ${schema.maximum}` : "";
  return `${schema.type ?? "any"}${bounds}`;
}

/** Something that a field takes. */
function sample(schema: Schema): unknown {
  return schema.examples?.[0] ?? schema.default ?? schema.enum?.[0] ?? (schema.type === "integer" ? 0 : schema.type === "boolean" ? false : "");
}

function fieldsOf(shape: Schema): Field[] {
  return Object.entries(shape.properties ?? {}).map(([name, field]) => ({
    name,
    type: typeOf(field) + (shape.required?.includes(name) === true ? ", required" : ""),
    description: field.description ?? "",
  }));
}

function bodyOf(operation: Operation, api: OpenApi): Entry["body"] {
  const schema = operation.requestBody?.content["application/json"]?.schema;
  if (schema === undefined) return null;
  const shape = resolved(schema, api);
  const draft = Object.fromEntries((shape.required ?? []).map((name) => [name, sample(shape.properties?.[name] ?? {})]));
  return { type: typeOf(schema), fields: fieldsOf(shape), draft };
}

/** The request that an operation makes of what was typed in; which parameters of its path are still empty where some are. */
export function requestOf(entry: Entry, valueOf: (name: string, preset: string) => string): { address: string; missing: string[] } {
  const values = entry.parameters.map((one) => ({ ...one, value: valueOf(one.name, one.preset) }));
  let path = entry.path;
  for (const { name, value, inPath } of values) if (inPath && value !== "") path = path.replace(`{${name}}`, encodeURIComponent(value));
  // What is left empty is not asked for.
  const asked = values.filter(({ inPath, value }) => !inPath && value !== "").map(({ name, value }) => [name, value]);
  const missing = values.filter(({ inPath, value }) => inPath && value === "").map(({ name }) => name);
  return { address: asked.length > 0 ? `${path}?${new URLSearchParams(asked)}` : path, missing };
}

export function entriesOf(api: OpenApi): Entry[] {
  const entries: Entry[] = [];
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const answer = operation.responses["200"]?.content?.["application/json"]?.schema ?? {};
      const shape = resolved(answer.type === "array" ? (answer.items ?? {}) : answer, api);
      entries.push({
        method: method.toUpperCase(),
        path,
        tag: operation.tags?.[0] ?? "other",
        description: operation.description ?? "",
        parameters: (operation.parameters ?? []).map((one) => ({
          name: one.name,
          type: typeOf(one.schema),
          description: one.description ?? "",
          required: one.required ?? false,
          inPath: one.in === "path",
          preset: one.schema.default === undefined ? "" : String(one.schema.default),
        })),
        body: bodyOf(operation, api),
        answer: typeOf(answer),
        fields: fieldsOf({ properties: shape.properties ?? {} }),
        refusals: Object.entries(operation.responses)
          .filter(([status]) => status !== "200")
          .map(([status, response]) => ({ status, description: response.description })),
      });
    }
  }
  return entries;
}

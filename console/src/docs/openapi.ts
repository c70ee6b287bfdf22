// The part of OpenAPI 3.1 that our own schema uses, made ready for a page.

export interface Schema {
  $ref?: string;
  type?: string;
  title?: string;
  description?: string;
  default?: unknown;
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
  required?: boolean;
  description?: string;
  schema: Schema;
}

interface Operation {
  description?: string;
  tags?: string[];
  parameters?: Parameter[];
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
  parameters: (Field & { required: boolean; preset: string })[];
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
          preset: one.schema.default === undefined ? "" : String(one.schema.default),
        })),
        answer: typeOf(answer),
        fields: Object.entries(shape.properties ?? {}).map(([name, field]) => ({
          name,
          type: typeOf(field),
          description: field.description ?? "",
        })),
        refusals: Object.entries(operation.responses)
          .filter(([status]) => status !== "200")
          .map(([status, response]) => ({ status, description: response.description })),
      });
    }
  }
  return entries;
}

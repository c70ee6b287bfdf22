import { expect, test } from "vitest";
import { entriesOf, requestOf, typeOf, type OpenApi } from "../src/docs/openapi";

test("types read as words", () => {
  expect(typeOf({ anyOf: [{ type: "string" }, { type: "null" }] })).toBe("string or null");
  expect(typeOf({ type: "array", items: { $ref: "#/components/schemas/Trade" } })).toBe("list of Trade");
  expect(typeOf({ type: "array", items: { type: "array", prefixItems: [{ type: "string" }, { type: "string" }] } })).toBe("list of [string, string]");
  expect(typeOf({ type: "integer", minimum: 1, maximum: 25 })).toBe("integer, 1 to 25");
  expect(typeOf({ enum: ["buy", "sell"] })).toBe('"buy", "sell"');
});

test("an operation carries its parameters, the fields behind its reference, and its refusals", () => {
  const api = {
    info: { title: "", version: "", description: "" },
    components: { schemas: { Trade: { properties: { id: { type: "integer", description: "The id." } } } } },
    paths: {
      "/trades": {
        get: {
          description: "The newest.",
          tags: ["market data"],
          parameters: [{ name: "limit", schema: { type: "integer", default: 100 } }],
          responses: {
            "200": { description: "", content: { "application/json": { schema: { type: "array", items: { $ref: "#/x/Trade" } } } } },
            "404": { description: "None." },
          },
        },
      },
    },
  } satisfies OpenApi;
  expect(entriesOf(api)).toEqual([
    {
      method: "GET",
      path: "/trades",
      tag: "market data",
      description: "The newest.",
      parameters: [{ name: "limit", type: "integer", description: "", required: false, preset: "100", inPath: false }],
      body: null,
      answer: "list of Trade",
      fields: [{ name: "id", type: "integer", description: "The id." }],
      refusals: [{ status: "404", description: "None." }],
    },
  ]);
});

test("what an operation sends begins with what it must have, and goes to the path that its parameters make", () => {
  const shape = {
    required: ["side", "size"],
    properties: {
      side: { enum: ["buy", "sell"] },
      size: { type: "string", examples: ["0.5"], description: "How much." },
      post_only: { type: "boolean", default: false },
    },
  };
  const api = {
    info: { title: "", version: "", description: "" },
    components: { schemas: { Place: shape } },
    paths: {
      "/accounts/{account}/orders": {
        post: {
          parameters: [
            { name: "account", in: "path", required: true, schema: { type: "string" } },
            { name: "wait", in: "query", schema: { type: "string" } },
          ],
          requestBody: { content: { "application/json": { schema: { $ref: "#/x/Place" } } } },
          responses: {},
        },
      },
    },
  } satisfies OpenApi;
  const [entry] = entriesOf(api);
  expect(entry?.body).toEqual({
    type: "Place",
    draft: { side: "buy", size: "0.5" },
    fields: [
      { name: "side", type: '"buy", "sell", required', description: "" },
      { name: "size", type: "string, required", description: "How much." },
      { name: "post_only", type: "boolean", description: "" },
    ],
  });
  if (entry === undefined) throw new Error("there is one");
  const given: Record<string, string> = { account: "a/b", wait: "memory" };
  expect(requestOf(entry, (name) => given[name] ?? "")).toEqual({ address: "/accounts/a%2Fb/orders?wait=memory", missing: [] });
  expect(requestOf(entry, () => "")).toEqual({ address: "/accounts/{account}/orders", missing: ["account"] });
});

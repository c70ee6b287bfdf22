import { expect, test } from "vitest";
import { entriesOf, typeOf, type OpenApi } from "../src/docs/openapi";

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
      parameters: [{ name: "limit", type: "integer", description: "", required: false, preset: "100" }],
      answer: "list of Trade",
      fields: [{ name: "id", type: "integer", description: "The id." }],
      refusals: [{ status: "404", description: "None." }],
    },
  ]);
});

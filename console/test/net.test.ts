import { expect, test } from "vitest";
import { backoffMs, LAST_MS } from "../src/net/backoff";
import { streamOf, streamParts } from "../src/net/protocol";

test("waits double from a quarter second to eight seconds, jittered over their upper half", () => {
  expect([1, 2, 3, 6, 50].map((attempt) => backoffMs(attempt, 0))).toEqual([125, 250, 500, 4_000, 4_000]);
  expect([1, 2, 3, 6, 50].map((attempt) => backoffMs(attempt, 1))).toEqual([250, 500, 1_000, LAST_MS, LAST_MS]);
});

test("streams are named after the instrument, which may hold slashes and points", () => {
  expect(streamOf("BTC/USD.KRAKEN", "depth20_step_0.5")).toBe("btc/usd.kraken@depth20_step_0.5");
  expect(streamParts("btc/usd.kraken@depth20")).toEqual({ instrument: "BTC/USD.KRAKEN", kind: "depth20" });
  expect(streamParts("btc/usd.kraken@depth20_step_0.5")).toEqual({ instrument: "BTC/USD.KRAKEN", kind: "depth20_step_0.5" });
  expect(streamParts("!feeds")).toBeNull();
});

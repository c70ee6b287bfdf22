import { expect, test } from "vitest";
import { axisMarks, Flow, WINDOW_US } from "../src/model/flow";
import type { Depth, Trade } from "../src/net/protocol";

const depth = (bid: string, ask: string, usable = true): Depth => ({ usable, bids: [[bid, "1"]], asks: [[ask, "1"]] }) as unknown as Depth;

test("the window reaches back to the first that is known, at least twenty seconds and at most two minutes", () => {
  const flow = new Flow();
  expect(flow.window(500e6)).toBe(20e6);
  flow.top(400e6, depth("1", "2"));
  expect(flow.window(450e6)).toBe(50e6);
  expect(flow.window(900e6)).toBe(WINDOW_US);
});

test("the range holds tops and trades of the window, with a margin", () => {
  const flow = new Flow();
  expect(flow.range(0)).toBeNull();
  flow.top(1e6, depth("1", "900"));
  flow.top(50e6, depth("100", "102"));
  flow.trade({ price: "110", size: "1", side: "buy", ts_recv: 51e6 } as Trade);
  const [low, high] = flow.range(20e6) as [number, number];
  expect(low).toBeCloseTo(99.2);
  expect(high).toBeCloseTo(110.8);
});

test("trades of one side, price and moment are one bubble", () => {
  const flow = new Flow();
  const trade = (us: number, price: string, size: string, side: "buy" | "sell"): void => flow.trade({ price, size, side, ts_recv: us } as Trade);
  trade(1, "9", "5", "buy");
  trade(100, "10", "1", "buy");
  trade(150, "10", "2", "buy");
  trade(160, "10", "4", "sell");
  trade(170, "11", "8", "buy");
  trade(210, "10", "16", "buy");
  expect(flow.bubbles(50, 100).map(({ price, size, buy }) => [price, size, buy])).toEqual([
    [10, 3, true],
    [10, 4, false],
    [11, 8, true],
    [10, 16, true],
  ]);
  expect(flow.trades).toHaveLength(6);
});

test("an unusable book draws nothing", () => {
  const flow = new Flow();
  flow.top(1e6, depth("1", "2", false));
  expect(flow.tops).toEqual([]);
});

test("axis marks are round and within the range", () => {
  expect(axisMarks(99.2, 110.8, 5)).toEqual([100, 105, 110]);
  expect(axisMarks(0.6211, 0.6219, 5).map((mark) => mark.toFixed(4))).toEqual(["0.6212", "0.6214", "0.6216", "0.6218"]);
  expect(axisMarks(5, 5, 5)).toEqual([]);
});

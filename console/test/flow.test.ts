import { expect, test } from "vitest";
import { axisMarks, Flow, midText, segments, WINDOW_US } from "../src/model/flow";
import type { Depth, Trade } from "../src/net/protocol";

const depth = (us: number, bid: string, ask: string, usable = true): Depth => ({ ts_recv: us, usable, bids: [[bid, "1"]], asks: [[ask, "1"]] }) as unknown as Depth;

test("the window reaches back to the first that is known, at least twenty seconds and at most two minutes", () => {
  const flow = new Flow();
  expect(flow.window(500e6)).toBe(20e6);
  flow.top(depth(400e6, "1", "2"));
  expect(flow.window(450e6)).toBe(50e6);
  expect(flow.window(900e6)).toBe(WINDOW_US);
});

test("the range holds tops and trades of the window, with a margin", () => {
  const flow = new Flow();
  expect(flow.range(0)).toBeNull();
  flow.top(depth(1e6, "1", "900"));
  flow.top(depth(50e6, "100", "102"));
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

test("a line ends where the book was lost and begins where it is good again", () => {
  const flow = new Flow();
  const us = (of: readonly { us: number }[]): number[] => of.map((point) => point.us);
  flow.top(depth(1, "1", "2", false));
  expect(flow.tops).toEqual([]);
  for (const [at, usable] of [[2, true], [3, true], [5, false], [6, false], [8, true]] as const) flow.top(depth(at, `${at}`, "9", usable));
  expect(segments(flow.tops).map(us)).toEqual([[2, 3, 5], [8]]);
  expect(flow.tops[2]).toEqual({ us: 5, bid: 3, ask: 9, ends: true });
  flow.top(depth(9, "1", "2", false));
  expect(segments(flow.tops).map(us)).toEqual([[2, 3, 5], [8, 9]]);
});

test("axis marks are round and within the range", () => {
  expect(axisMarks(99.2, 110.8, 5)).toEqual([100, 105, 110]);
  expect(axisMarks(0.6211, 0.6219, 5).map((mark) => mark.toFixed(4))).toEqual(["0.6212", "0.6214", "0.6216", "0.6218"]);
  expect(axisMarks(5, 5, 5)).toEqual([]);
});

test("the middle is neither of the prices it is between", () => {
  expect(midText(61_837.5, 61_837.6, 1)).toBe("61837.55");
  expect(midText(61_837.5, 61_837.7, 1)).toBe("61837.6");
  expect(midText(2, 3, 0)).toBe("2.5");
  expect(midText(2, 4, 0)).toBe("3");
  expect(midText(0.6212, 0.6213, 4)).toBe("0.62125");
});

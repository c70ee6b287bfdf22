import { expect, test } from "vitest";
import { curveOf, fitting, GROUPS, upTo, widthFor, type DepthCurve } from "../src/model/depth";
import { laddersSteps, stepAbove, stepText } from "../src/model/steps";
import type { Depth, Level } from "../src/net/protocol";

function depth(bids: Level[], asks: Level[]): Depth {
  return { usable: true, whole: true, bids, asks } as unknown as Depth;
}

test("both sides are summed up from the touch, as far as the range goes", () => {
  const curve = curveOf(depth([["99", "1"], ["98", "2"], ["90", "4"]], [["101", "3"], ["104", "5"], ["106", "7"]]), 100, 500);
  expect(curve).toMatchObject({ low: 95, high: 105, top: 8, usable: true, whole: true });
  expect(curve?.bids).toEqual([
    { price: 99, size: 1, worth: 99 },
    { price: 98, size: 3, worth: 295 },
  ]);
  expect(curve?.asks.at(-1)).toEqual({ price: 104, size: 8, worth: 823 });
});

test("an empty book has no curve, and one side alone has its own", () => {
  expect(curveOf(depth([], []), 1, 10)).toBeNull();
  expect(curveOf(depth([], [["1", "1"]]), 1, 10)).toMatchObject({ bids: [], asks: [{ price: 1, size: 1 }], top: 1, bidsEnd: true });
  expect(curveOf(depth([["1", "2"]], []), 1, 10)).toMatchObject({ bids: [{ price: 1, size: 2 }], asks: [], top: 2, asksEnd: true });
});

test("the pointer reads what rests between it and the middle", () => {
  const curve = curveOf(depth([["99", "1"], ["98", "2"]], [["101", "3"], ["104", "5"]]), 100, 500) as DepthCurve;
  expect(upTo(curve, 98.5)).toEqual({ side: "bid", point: { price: 99, size: 1, worth: 99 } });
  expect(upTo(curve, 95)?.point.size).toBe(3);
  expect(upTo(curve, 103)).toEqual({ side: "ask", point: { price: 101, size: 3, worth: 303 } });
  expect(upTo(curve, 104)?.point.size).toBe(8);
  expect(upTo(curve, 99.5)).toBeNull();
});

test("steps are decimal text that loses nothing", () => {
  expect([stepText(5, -2), stepText(1, 0), stepText(2, 3), stepText(1, -8)]).toEqual(["0.05", "1", "2000", "0.00000001"]);
  expect([stepAbove(0.03, 2), stepAbove(0.001, 2), stepAbove(1, 2), stepAbove(2.1, 0)]).toEqual(["0.05", "0.01", "1", "5"]);
  expect(stepAbove(widthFor(61_837, 25), 2)).toBe("2");
});

test("a ladder offers the venue's levels and multiples of the tick up to a fiftieth of the price", () => {
  expect(laddersSteps("0.01", 2, 100)).toEqual([null, "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]);
  expect(laddersSteps("0.25", 2, 100)).toEqual([null, "0.5", "1", "2"]);
  expect(laddersSteps(null, 4, 0.62)).toEqual([null, "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01"]);
  expect(laddersSteps("0.01", 2, 0)).toEqual([null]);
});

test("a book that ends within the range says so, and which range fits it", () => {
  const narrow = curveOf(depth([["99.99", "1"], ["99.98", "2"]], [["100.01", "3"]]), 100, 25) as DepthCurve;
  expect([narrow.bidsEnd, narrow.asksEnd, fitting(narrow, 25)]).toEqual([true, true, 2]);
  expect(fitting(narrow, 2)).toBeNull();
  const levels = Array.from({ length: GROUPS }, (_, at): Level => [String(100 + (at + 1) / 1e4), "1"]);
  const deep = curveOf(depth([["99.99", "1"]], levels), 100, 25) as DepthCurve;
  expect([deep.asksEnd, fitting(deep, 25)]).toEqual([false, null]);
});

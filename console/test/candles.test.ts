import { expect, test } from "vitest";
import { BARS_MAX, Candles, placeOf, supersedes, type Point } from "../src/model/candles";
import type { Bar } from "../src/net/protocol";

const S = 1e6;

/** A bar that begins at so many seconds. */
function bar(second: number, fields: Partial<Bar> = {}): Bar {
  const prices = { open: "1", high: "1", low: "1", close: "1", volume: "1", buy_volume: "0" };
  return { ts_open: second * S, ...prices, trade_count: 1, closed: true, revision: 0, unproven: false, ...fields };
}

const times = (points: readonly Point[]): (number | null)[] => points.map((point) => (point.bar === null ? null : point.time));

test("bars from everywhere are one rising row, each once", () => {
  const candles = new Candles("1m");
  candles.take([bar(180), bar(240, { closed: false })]);
  candles.take([bar(0), bar(60), bar(120), bar(180)]);
  expect(candles.all.map((one) => one.ts_open / S)).toEqual([0, 60, 120, 180, 240]);
  expect([candles.first?.ts_open, candles.last?.closed]).toEqual([0, false]);
});

test.each<[string, Partial<Bar>, Partial<Bar>, boolean]>([
  ["a closed bar takes the place of the open one", { closed: true, trade_count: 3 }, { closed: false, trade_count: 9 }, true],
  ["an open bar never that of a closed one", { closed: false, trade_count: 9 }, { closed: true, trade_count: 3 }, false],
  ["a later revision", { revision: 2 }, { revision: 1, trade_count: 9 }, true],
  ["an answer that a frame overtook", { revision: 0 }, { revision: 1 }, false],
  ["an open bar with more trades", { closed: false, trade_count: 5 }, { closed: false, trade_count: 4 }, true],
  ["an open bar from before", { closed: false, trade_count: 3 }, { closed: false, trade_count: 4 }, false],
])("%s", (_, fresh, known, expected) => {
  expect(supersedes(bar(0, fresh), bar(0, known))).toBe(expected);
  const candles = new Candles("1m");
  candles.take([bar(0, { ...known, close: "1" })]);
  candles.take([bar(0, { ...fresh, close: "2" })]);
  expect(candles.last?.close).toBe(expected ? "2" : "1");
});

test("what changed is told once, from the oldest bar on", () => {
  const candles = new Candles("1s");
  candles.take([bar(5), bar(7)]);
  expect(candles.takeChanges()).toBe(5 * S);
  expect(candles.takeChanges()).toBe(Infinity);
  candles.take([bar(7, { revision: 1 }), bar(9)]);
  expect(candles.takeChanges()).toBe(7 * S);
});

test("a second without trades keeps its width, a long hole less, and a silence goes on to now", () => {
  const candles = new Candles("1s");
  candles.take([bar(10), bar(13), bar(20)]);
  expect(times(candles.points(20 * S))).toEqual([10, null, null, 13, null, null, null, null, null, null, 20]);
  expect(times(candles.points(23.5 * S)).slice(10)).toEqual([20, null, null]);
  const far = new Candles("1s");
  far.take([bar(0), bar(100_000)]);
  const points = far.points(0);
  expect(points.length).toBeLessThan(30);
  expect(points.every((point, at) => at === 0 || point.time > (points[at - 1] as Point).time)).toBe(true);
});

test("the bar under a moment", () => {
  const candles = new Candles("1m");
  candles.take([bar(60), bar(180)]);
  expect([59, 60, 119, 120, 200].map((second) => (candles.at(second * S)?.ts_open ?? 0) / S)).toEqual([0, 60, 60, 0, 180]);
});

test("a moment has its place between bars, also within one and behind the last", () => {
  const points: Point[] = [0, 60, 120].map((time) => ({ time, bar: null }));
  expect([-5, 0, 30, 60, 150, 180, 900].map((second) => placeOf(points, second * S, 60 * S))).toEqual([-0.5, -0.5, 0, 0.5, 2, 2.5, 2.5]);
  expect(placeOf([], 0, S)).toBeNull();
});

test("memory is bounded", () => {
  const candles = new Candles("1s");
  candles.take(Array.from({ length: BARS_MAX + 9 }, (_, second) => bar(second)));
  expect([candles.all.length, candles.first?.ts_open]).toEqual([BARS_MAX, 9 * S]);
});

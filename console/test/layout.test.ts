import { expect, test } from "vitest";
import { bounded, layoutOf, USUAL } from "../src/model/layout";

test("a stored layout is taken as far as it makes sense", () => {
  expect(layoutOf(null)).toEqual(USUAL);
  expect(layoutOf("x")).toEqual(USUAL);
  expect(layoutOf({ book: 400, tape: "wide", candles: Number.NaN })).toEqual({ ...USUAL, book: 400 });
  expect(layoutOf({ book: 1, tape: 9_000, candles: 50.4 })).toEqual({ book: 290, tape: 520, candles: 50 });
});

test("sizes stay within their bounds", () => {
  expect([bounded("candles", 10), bounded("candles", 99), bounded("book", 333.3)]).toEqual([30, 78, 333]);
});

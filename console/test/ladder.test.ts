import { expect, test } from "vitest";
import { difference, ladderOf, precisionOf } from "../src/model/ladder";
import type { Depth, Level } from "../src/net/protocol";

function depth(bids: Level[], asks: Level[], step: string | null = null): Depth {
  const state = { usable: true, unusable_since: null, unusable_reason: null };
  return { instrument: "X", last_update_id: 1, ...state, ts_event: 0, ts_recv: 0, bid_count: 0, ask_count: 0, step, whole: true, bids, asks };
}

test("rows carry cumulative sizes and bars as shares of the deeper side", () => {
  const ladder = ladderOf(depth([["10.00", "1.0"], ["9.99", "3.0"]], [["10.01", "2.0"]]), { price: 2, size: 1 });
  expect(ladder.bids).toEqual([
    { price: "10.00", size: "1.0", total: "1.0", totalShare: 0.25, sizeShare: 1 / 3 },
    { price: "9.99", size: "3.0", total: "4.0", totalShare: 1, sizeShare: 1 },
  ]);
  expect(ladder.asks).toEqual([{ price: "10.01", size: "2.0", total: "2.0", totalShare: 0.5, sizeShare: 2 / 3 }]);
  expect(ladder.bidShare).toBeCloseTo(4 / 6);
});

test("the spread is exact and also in basis points", () => {
  const ladder = ladderOf(depth([["61837.62", "1"]], [["61837.63", "1"]]), { price: 2, size: 0 });
  expect(ladder.spread).toBe("0.01");
  expect(ladder.mid).toBeCloseTo(61_837.625);
  expect(ladder.spreadBp).toBeCloseTo(0.001617, 5);
});

test("a book with one side or none has no spread and no mid", () => {
  for (const one of [depth([["1", "1"]], []), depth([], [["1", "1"]]), depth([], [])]) {
    expect(ladderOf(one, { price: 0, size: 0 })).toMatchObject({ spread: null, mid: null, spreadBp: null });
  }
  expect(ladderOf(depth([], []), { price: 0, size: 0 })).toMatchObject({ bidShare: null, bids: [], asks: [] });
});

test("precision comes from tick and lot, else from the digits, and never shrinks", () => {
  const wire = depth([["0.62130000", "12.00000000"]], [["0.62140000", "3.50000000"]]);
  expect(precisionOf(wire, "0.00010000", "1.00000000", null)).toEqual({ price: 4, size: 0 });
  const first = precisionOf(wire, null, null, null);
  expect(first).toEqual({ price: 4, size: 1 });
  expect(precisionOf(depth([["0.5", "1"]], []), null, null, first)).toEqual(first);
});

test("differences are exact, also negative and beyond a double", () => {
  expect(difference("0.3", "0.1")).toBe("0.2");
  expect(difference("100", "0.01")).toBe("99.99");
  expect(difference("1.5", "2.25")).toBe("-0.75");
  expect(difference("9007199254740993.02", "9007199254740993.01")).toBe("0.01");
  expect(difference("5", "2")).toBe("3");
});

test("groups have the decimals of their step, and the spread of the best prices", () => {
  const best = depth([["10.01", "1"]], [["10.02", "1"]]);
  const ladder = ladderOf(depth([["10.00", "4"]], [["10.50", "6"]], "0.5"), { price: 2, size: 0 }, best);
  expect([ladder.bids[0]?.price, ladder.asks[0]?.price]).toEqual(["10.0", "10.5"]);
  expect([ladder.spread, ladder.bidShare]).toEqual(["0.01", 0.4]);
});

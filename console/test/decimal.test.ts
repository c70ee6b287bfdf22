import { describe, expect, test } from "vitest";
import { grouped, shownDecimals, significantDecimals, splitTail, withDecimals } from "../src/model/decimal";

test("digits are cut and padded, never lost or computed", () => {
  expect(withDecimals("61837.63000000", 2)).toBe("61837.63");
  expect(withDecimals("61837.6", 2)).toBe("61837.60");
  expect(withDecimals("3", 0)).toBe("3");
  expect(withDecimals("3", 2)).toBe("3.00");
  expect(withDecimals("3.000", 0)).toBe("3");
  // More digits than asked for carry value and stay.
  expect(withDecimals("0.00005100", 2)).toBe("0.000051");
  // Beyond what a double holds.
  expect(withDecimals("9007199254740993.10", 2)).toBe("9007199254740993.10");
});

test("decimals come from the step, else from what is shown", () => {
  expect(significantDecimals("1.0500")).toBe(2);
  expect(significantDecimals("100")).toBe(0);
  expect(shownDecimals("0.00010000", ["1.12345"])).toBe(4);
  expect(shownDecimals("1", ["1.12345"])).toBe(0);
  expect(shownDecimals(null, ["1.50", "2.125", "3"])).toBe(3);
  expect(shownDecimals(null, [])).toBe(0);
});

test("thousands are grouped in the whole part only", () => {
  expect(grouped("1234567.1234567")).toBe("1,234,567.1234567");
  expect(grouped("999")).toBe("999");
  expect(grouped("-1000.5")).toBe("-1,000.5");
});

describe("the tail of a size is its trailing zeros", () => {
  test.each([
    ["0.50000", "0.5", "0000"],
    ["3.000", "3", ".000"],
    ["0.12345", "0.12345", ""],
    ["100", "100", ""],
  ])("%s", (text, lead, tail) => {
    expect(splitTail(text)).toEqual([lead, tail]);
  });
});

import { expect, test } from "vitest";
import { count, span, timeOfDay } from "../src/model/clock";

test("times are UTC with milliseconds", () => {
  expect(timeOfDay(1_723_161_253_937_085)).toBe("23:54:13.937");
  expect(timeOfDay(0)).toBe("00:00:00.000");
});

test.each([
  [400, "0.4 ms"],
  [12_300, "12 ms"],
  [-1_274_000, "−1.3 s"],
  [3_100_000, "3.1 s"],
  [240_000_000, "4 min"],
  [3 * 3_600_000_000, "3 h"],
])("%d µs reads %s", (us, said) => {
  expect(span(us)).toBe(said);
});

test("counts are grouped, small rates keep a decimal", () => {
  expect(count(1_234_567)).toBe("1,234,567");
  expect(count(12.34)).toBe("12.3");
  expect(count(247.4)).toBe("247");
});

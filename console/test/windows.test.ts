import { describe, expect, it } from "vitest";
import { newestClosed, windowText, type Window } from "../src/model/windows";

const MINUTE: Window = {
  ts_open: 60_000_000,
  closed: true,
  whole: true,
  volume: 12.3456,
  vwap: 61_837.249,
  spread_bps: 0.1234,
  volatility: 0.000_14,
  trade_imbalance: 0.24,
};

describe("the line of the last minute", () => {
  it("tells three digits of each number, and the price as the market writes it", () => {
    expect(windowText(MINUTE, 1)).toBe("1 min: 12.3 traded · VWAP 61,837.2 · spread 0.123 bp · volatility 1.4 bp · buyers 62 %");
  });

  it("leaves out what is not known and says that something is missing", () => {
    const quiet = { ...MINUTE, whole: false, volume: 0, vwap: null, trade_imbalance: null, spread_bps: null, volatility: null };
    expect(windowText(quiet, 1)).toBe("1 min*: 0 traded");
  });

  it("keeps large volumes whole", () => {
    expect(windowText({ ...MINUTE, volume: 1_234_567.8 }, 2)).toContain("1,234,568 traded");
  });

  it("is of the newest window that has ended", () => {
    const open = { ...MINUTE, ts_open: 120_000_000, closed: false };
    expect(newestClosed([{ ...MINUTE, ts_open: 0 }, MINUTE, open])).toBe(MINUTE);
    expect(newestClosed([open])).toBeNull();
  });
});

import { expect, test } from "vitest";
import { ago, arranged, gapIsRecent, lineOf, silentVenues, topsOf, whyOf } from "../src/model/markets";
import { NO_FILTERS, type Filters } from "../src/model/route";
import type { Feed, Top } from "../src/net/protocol";

function top(instrument: string, venue: string, change: Partial<Top> = {}): Top {
  const made = { instrument, venue, book: "usable", bid_price: "100", bid_size: "1", ask_price: "101", ask_size: "1", last_price: null, last_size: null };
  return { ...made, last_side: "none", last_at: 0, updated_at: 0, gaps: 0, session: null, indicative_price: null, indicative_size: null, ...change } as Top;
}

const LINES = [
  lineOf(top("BTCUSDT.BINANCE", "binance", { ask_price: "100.1", updated_at: 3e6 }), false),
  lineOf(top("ETHUSDT.BINANCE", "binance", { book: "unusable", gaps: 2, updated_at: 1e6 }), false),
  lineOf(top("BTC/USD.KRAKEN", "kraken", { ask_price: null, updated_at: 2e6 }), true),
];

const names = (filters: Partial<Filters>): string[] => arranged(LINES, { ...NO_FILTERS, ...filters }).map((line) => line.top.instrument);

test("rows are read by the names of their fields, in any order", () => {
  const [read] = topsOf({ fields: ["venue", "instrument"], rows: [["kraken", "BTC/USD.KRAKEN"]] });
  expect(read).toEqual({ venue: "kraken", instrument: "BTC/USD.KRAKEN" });
});

test("a usable book of a silent feed is stale; an unusable one stays what is worse", () => {
  expect(LINES.map((line) => line.condition)).toEqual(["usable", "unusable", "stale"]);
  expect(lineOf(top("A", "x", { book: "unusable" }), true).condition).toBe("unusable");
  expect(lineOf(top("A", "x", { book: "none" }), true).condition).toBe("none");
});

test("a feed is silent when it is cut off, or when what was said of it plus the time since exceeds two seconds", () => {
  const feed = (venue: string, state: string, age_us: number | null): Feed => ({ venue, state, age_us }) as Feed;
  const feeds = [feed("a", "live", 500_000), feed("b", "live", 1_500_000), feed("c", "disconnected", 0), feed("d", "waiting", null)];
  expect([...silentVenues(feeds, 0)]).toEqual(["c"]);
  expect([...silentVenues(feeds, 1_000)]).toEqual(["b", "c"]);
});

test("the spread is in basis points of the middle; without both sides there is none", () => {
  expect(LINES[0]?.spreadBp).toBeCloseTo(9.995);
  expect(LINES[2]?.spreadBp).toBeNull();
});

test("orders that wait for each other have no spread, and the line says its session and what an auction would give", () => {
  const crossed = { bid_price: "101", ask_price: "100", indicative_price: "100.5", indicative_size: "0.5" } as const;
  const auction = lineOf(top("A", "local", { ...crossed, session: "auction" }), false);
  expect([auction.condition, auction.spreadBp]).toEqual(["auction", null]);
  expect(whyOf(auction, 0, { price: 2, size: 3 })).toBe("0.500 at 100.50");
  const halted = lineOf(top("A", "local", { session: "halted" }), false);
  expect([halted.condition, halted.spreadBp, whyOf(halted, 0)]).toEqual(["halted", null, null]);
  expect(lineOf(top("A", "local", { session: "continuous" }), false).condition).toBe("usable");
  expect(lineOf(top("A", "local", { ...crossed, session: "auction" }), true).condition).toBe("stale");
});

test("words of the filter may be anywhere in name and venue; venue and trouble narrow further", () => {
  expect(names({ text: "btc" })).toEqual(["BTC/USD.KRAKEN", "BTCUSDT.BINANCE"]);
  expect(names({ text: " usd  kraken " })).toEqual(["BTC/USD.KRAKEN"]);
  expect(names({ venue: "binance" })).toEqual(["BTCUSDT.BINANCE", "ETHUSDT.BINANCE"]);
  expect(names({ trouble: true })).toEqual(["BTC/USD.KRAKEN", "ETHUSDT.BINANCE"]);
  expect(names({ text: "doge" })).toEqual([]);
});

test("lines are ordered by what was asked, equals by name, those without a value last either way", () => {
  expect(names({ sort: "instrument", down: true })).toEqual(["ETHUSDT.BINANCE", "BTCUSDT.BINANCE", "BTC/USD.KRAKEN"]);
  expect(names({ sort: "spread" })).toEqual(["BTCUSDT.BINANCE", "ETHUSDT.BINANCE", "BTC/USD.KRAKEN"]);
  expect(names({ sort: "spread", down: true })).toEqual(["ETHUSDT.BINANCE", "BTCUSDT.BINANCE", "BTC/USD.KRAKEN"]);
  expect(names({ sort: "age" })).toEqual(["BTCUSDT.BINANCE", "BTC/USD.KRAKEN", "ETHUSDT.BINANCE"]);
  expect(names({ sort: "gaps", down: true })).toEqual(["ETHUSDT.BINANCE", "BTC/USD.KRAKEN", "BTCUSDT.BINANCE"]);
  expect(names({ sort: "book", down: true })).toEqual(["ETHUSDT.BINANCE", "BTC/USD.KRAKEN", "BTCUSDT.BINANCE"]);
});

test("ages are said so that they seldom change", () => {
  expect([0.2e6, 12.9e6, 240e6, 3 * 3600e6].map(ago)).toEqual(["now", "12 s", "4 min", "3 h"]);
});

test("a line says why its book must not be traded on and for how long", () => {
  const now = 100e6;
  const why = (change: Partial<Top>, silent = false): string | null => whyOf(lineOf(top("A", "x", change), silent), now);
  expect(why({})).toBeNull();
  expect(why({ book: "unusable", unusable_reason: "checksum_mismatch", unusable_since: 95e6 })).toBe("checksum wrong · 5 s");
  expect(why({ book: "none", unusable_reason: "started", unusable_since: 99.5e6 })).toBe("no snapshot yet · now");
  expect(why({ book: "unusable", unusable_reason: null, unusable_since: null })).toBeNull();
  expect(why({ updated_at: 70e6 }, true)).toBe("silent · 30 s");
});

test("a gap is worth a mark for ten minutes", () => {
  const one = (gaps: number, gap_at: number): Top => top("A", "x", { gaps, gap_at });
  expect([one(0, 0), one(2, 500e6), one(2, 399e6)].map((line) => gapIsRecent(line, 1_000e6))).toEqual([false, true, false]);
});

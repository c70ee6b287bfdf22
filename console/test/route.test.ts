import { expect, test } from "vitest";
import { bookPath, filtersOf, lookOf, marketsPath, NO_FILTERS, routeOf } from "../src/model/route";

test("an address names a book, with or without its slash encoded, also the way older links did", () => {
  expect(routeOf("/m/BTCUSDT.BINANCE", "")).toEqual({ page: "book", instrument: "BTCUSDT.BINANCE" });
  expect(routeOf("/m/btc/usd.kraken", "")).toEqual({ page: "book", instrument: "BTC/USD.KRAKEN" });
  expect(routeOf("/m/BTC%2FUSD.KRAKEN", "")).toEqual({ page: "book", instrument: "BTC/USD.KRAKEN" });
  expect(routeOf("/", "?instrument=btcusdt.binance")).toEqual({ page: "book", instrument: "BTCUSDT.BINANCE" });
  expect(routeOf("/m/100%", "")).toEqual({ page: "book", instrument: "100%" });
});

test("everything else is the markets", () => {
  for (const [path, search] of [["/", ""], ["/m/", ""], ["/", "?instrument="], ["/", "?q=btc"]] as const) {
    expect(routeOf(path, search)).toEqual({ page: "markets" });
  }
});

test("a book's address leads back to it", () => {
  for (const name of ["BTCUSDT.BINANCE", "BTC/USD.KRAKEN", "A%B C.X"]) {
    expect(routeOf(bookPath(name), "")).toEqual({ page: "book", instrument: name });
  }
  expect(bookPath("BTC/USD.KRAKEN")).toBe("/m/BTC/USD.KRAKEN");
});

test("filters survive the address, and the usual ones leave it bare", () => {
  expect(marketsPath(NO_FILTERS)).toBe("/");
  const filters = { text: "btc usd", venue: "kraken", trouble: true, sort: "spread", down: true } as const;
  const path = marketsPath(filters);
  expect(path).toBe("/?q=btc+usd&venue=kraken&show=trouble&sort=-spread");
  expect(filtersOf(path.slice(1))).toEqual(filters);
  expect(filtersOf("?sort=-nothing")).toEqual(NO_FILTERS);
});

test("an address says how a book is looked at, and the usual look leaves it bare", () => {
  const path = bookPath("BTC/USD.KRAKEN", { timeframe: "5m", step: "0.5" });
  expect(path).toBe("/m/BTC/USD.KRAKEN?tf=5m&step=0.5");
  expect(lookOf(path.slice(path.indexOf("?")))).toEqual({ timeframe: "5m", step: "0.5" });
  expect(bookPath("X", { timeframe: "1m", step: null })).toBe("/m/X");
  for (const search of ["", "?tf=2m&step=3", "?step=1e5", "?step=abc"]) expect(lookOf(search)).toEqual({});
});

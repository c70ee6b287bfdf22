import { expect, test } from "vitest";
import { freshness, type Signs } from "../src/model/freshness";
import type { Depth, Feed } from "../src/net/protocol";

const depth = { usable: true } as Depth;
const feed = (age_us: number | null): Feed => ({ age_us }) as Feed;

/** At 100 s everything has just arrived. */
const now: Signs = { depth, nowMs: 100_000, heardAtMs: 100_000, feed: feed(0), feedAtMs: 100_000, dataAtMs: 100_000 };

test.each<[string, Partial<Signs>, object]>([
  ["nothing has come", { depth: null }, { state: "empty" }],
  ["all is new", {}, { state: "fresh" }],
  [
    "the book has a gap",
    { depth: { usable: false, unusable_reason: "gap", unusable_since: 7 } as Depth },
    { state: "unusable", reason: "gap", sinceUs: 7 },
  ],
  [
    "nobody knows why the book is unusable",
    { depth: { usable: false, unusable_reason: null, unusable_since: null } as Depth },
    { state: "unusable", reason: "unknown", sinceUs: null },
  ],
  ["the server is silent", { heardAtMs: 96_900 }, { state: "stale", ageMs: 3_100, silent: "server" }],
  ["the server talks, the feed does not", { feed: feed(5_000_000), dataAtMs: 95_000 }, { state: "stale", ageMs: 5_000, silent: "feed" }],
  [
    "the feed's report ages with our clock",
    { feed: feed(1_500_000), feedAtMs: 99_000, dataAtMs: 90_000 },
    { state: "stale", ageMs: 2_500, silent: "feed" },
  ],
  ["a quiet market of a living feed", { dataAtMs: 40_000 }, { state: "fresh" }],
  ["data newer than the last report", { feed: feed(9_000_000), feedAtMs: 99_500 }, { state: "fresh" }],
  ["no report yet", { feed: null }, { state: "fresh" }],
])("%s", (_, signs, expected) => {
  expect(freshness({ ...now, ...signs })).toEqual(expected);
});

import { expect, test } from "vitest";
import { bandsOf, joined, reasonWords } from "../src/model/outages";

test("outages that touch are one band with all their reasons, and one that lasts goes on to now", () => {
  const outages = [
    { since: 50, until: null, reason: "silent" },
    { since: 10, until: 20, reason: "silent" },
    { since: 15, until: 30, reason: "disconnected" },
    { since: 30, until: 31, reason: "disconnected" },
    { since: 60, until: 70, reason: "gap" },
  ];
  expect(bandsOf(outages, 99)).toEqual([
    { since: 10, until: 31, lasts: false, reasons: ["silent", "disconnected"] },
    { since: 50, until: 99, lasts: true, reasons: ["silent", "gap"] },
  ]);
  expect(bandsOf([{ since: 50, until: null, reason: "gap" }], 40)).toEqual([{ since: 50, until: 50, lasts: true, reasons: ["gap"] }]);
});

test("the stream counts where the store tells the same, and what lasted in the store says nothing of now", () => {
  const stored = [
    { since: 1, until: 2, reason: "gap" },
    { since: 5, until: 6, reason: "gap" },
    { since: 7, until: null, reason: "gap" },
  ];
  const live = [{ since: 5, until: null, reason: "gap" }];
  expect(joined(stored, live)).toEqual([stored[0], live[0]]);
});

test("reasons are words, those of a later version too", () => {
  expect([reasonWords("gap"), reasonWords("some_new_reason")]).toEqual(["messages lost", "some new reason"]);
});

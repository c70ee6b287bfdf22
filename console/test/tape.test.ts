import { expect, test } from "vitest";
import { SizeScale, Tape, TAPE_MAX } from "../src/model/tape";
import type { Frame, Trade } from "../src/net/protocol";

const trade = (id: number): Trade => ({ id, price: "1", size: "1", side: "buy", ts_event: 0, ts_recv: 0 });
const frame = (seq: number, ids: number[], more: Partial<Frame> = {}): Frame => ({ stream: "x@trade", seq, ts: 0, data: ids.map(trade), ...more });
const shown = (tape: Tape): (number | string)[] => tape.prints.map((print) => (print.kind === "trade" ? print.trade.id : `missed ${print.missed}`));

test("trades of a frame are oldest first and end on top", () => {
  const tape = new Tape();
  tape.take(frame(4, [1, 2], { snapshot: true }));
  tape.take(frame(5, [3, 4]));
  expect(shown(tape)).toEqual([4, 3, 2, 1]);
  expect(tape.last()?.id).toBe(4);
});

test("a hole said by the server or seen in the sequence stands in the tape", () => {
  const tape = new Tape();
  tape.take(frame(4, [1], { snapshot: true }));
  tape.take(frame(5, [9], { missed: 7 }));
  tape.take(frame(8, [12]));
  expect(shown(tape)).toEqual([12, "missed 0", 9, "missed 7", 1]);
});

test("a snapshot replaces everything and starts the sequence anew", () => {
  const tape = new Tape();
  tape.take(frame(4, [1], { snapshot: true }));
  tape.take(frame(99, [5, 6], { snapshot: true }));
  tape.take(frame(100, [7]));
  expect(shown(tape)).toEqual([7, 6, 5]);
});

test("only the newest are kept while the count goes on", () => {
  const tape = new Tape();
  for (let seq = 1; seq <= TAPE_MAX + 10; seq += 1) tape.take(frame(seq, [seq]));
  expect([tape.prints.length, tape.count]).toEqual([TAPE_MAX, TAPE_MAX + 10]);
});

test("a size stands out by how far it is above the usual one", () => {
  const scale = new SizeScale();
  for (let index = 0; index < 50; index += 1) scale.strength(1);
  expect(scale.strength(1)).toBeLessThan(0.4);
  expect(scale.strength(20)).toBe(1);
  expect(scale.strength(0)).toBe(0);
});

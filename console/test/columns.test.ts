import { describe, expect, it } from "vitest";
import { fitted, type Needs } from "../src/model/columns";

const NEEDS: Needs = { name: 100, venue: 70, size: 90, price: 80, spread: 80, last: 90, age: 60, gaps: 60, book: 78, why: 0, air: 12 };

describe("columns of the markets table", () => {
  it("are all shown where there is room, and share what is left", () => {
    const { widths, without, total } = fitted(1_000, NEEDS);
    expect(without).toEqual([]);
    expect(total).toBe(890);
    expect(widths).toEqual({ name: 110, venue: 80, size: 100, price: 90, spread: 90, last: 100, age: 70, gaps: 70, book: 100 });
  });

  it("leave the name what it needs to be whole before they share the rest", () => {
    expect(fitted(900, NEEDS, 160).widths).toMatchObject({ name: 110, price: 80, book: 90 });
    expect(fitted(1_061, NEEDS, 160).widths).toMatchObject({ name: 170, price: 90, book: 100 });
  });

  it("are given up one after another, and those that stay are never narrower than their figures", () => {
    const order = ["why", "venue", "size", "age", "spread", "gaps", "last", "air"];
    let before = 0;
    for (let room = 1_000; room > 200; room -= 1) {
      const { widths, without, total } = fitted(room, { ...NEEDS, why: 150 });
      expect(without).toEqual(order.slice(0, without.length));
      expect(without.length).toBeGreaterThanOrEqual(before);
      before = without.length;
      for (const [column, width] of Object.entries(widths)) expect(width).toBeGreaterThanOrEqual(NEEDS[column as keyof Needs]);
      if (without.length < order.length) expect(total).toBeLessThanOrEqual(room);
    }
    expect(before).toBe(order.length);
  });

  it("keep name, prices and book whatever the room: the table then scrolls", () => {
    const { widths, total } = fitted(200, NEEDS);
    expect(Object.keys(widths)).toEqual(["name", "price", "book"]);
    expect(total).toBe(100 + 160 + 78);
  });
});

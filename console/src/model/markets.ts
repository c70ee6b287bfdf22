// The markets table without its pixels: which instruments, in which order, and whether each can be trusted.

import { STALE_AFTER_MS } from "./freshness";
import { reasonWords } from "./outages";
import type { Filters } from "./route";
import { indicativeOf, isContinuous } from "./trading";
import type { Feed, SessionName, Top, Tops } from "../net/protocol";

/**
 * What may be done with a market: `stale` when its feed or our server is silent, its session where orders do not meet as they
 * come, the others as the server says.
 */
export type Condition = "usable" | "unusable" | "stale" | "none" | Exclude<SessionName, "continuous">;

export interface Line {
  top: Top;
  condition: Condition;
  spreadBp: number | null;
}

/** Worst first when sorted down. */
const RANK: Record<Condition, number> = { usable: 0, auction: 1, pre_open: 1, closed: 1, none: 2, halted: 3, stale: 4, unusable: 5 };

/** Rows of a `!tops` frame as objects. */
export function topsOf(data: Tops): Top[] {
  return data.rows.map((row) => {
    const top: Record<string, unknown> = {};
    data.fields.forEach((name, at) => (top[name] = row[at]));
    return top as unknown as Top;
  });
}

/** Venues whose feed has been silent too long, `sinceMs` after the feeds were said. */
export function silentVenues(feeds: readonly Feed[], sinceMs: number): ReadonlySet<string> {
  const silent = (feed: Feed): boolean => feed.state === "disconnected" || (feed.age_us !== null && feed.age_us / 1000 + sinceMs > STALE_AFTER_MS);
  return new Set(feeds.filter(silent).map((feed) => feed.venue));
}

export function lineOf(top: Top, silent: boolean): Line {
  const trading = top.session === null || top.session === "continuous" ? "usable" : top.session;
  const condition = top.book !== "usable" ? top.book : silent ? "stale" : trading;
  const [bid, ask] = [Number(top.bid_price), Number(top.ask_price)];
  // Orders that wait for each other may cross: between them there is no spread to trade at.
  const both = isContinuous(top.session) && top.bid_price !== null && top.ask_price !== null && bid + ask !== 0;
  return { top, condition, spreadBp: both ? ((ask - bid) / ((ask + bid) / 2)) * 10_000 : null };
}

const RECENT_US = 600_000_000;

/** A gap that a trader should know of now: of the last ten minutes. */
export function gapIsRecent(top: Top, nowUs: number): boolean {
  return top.gaps > 0 && nowUs - top.gap_at < RECENT_US;
}

/** Why a book must not be traded on, and for how long, or what its auction would give; null when nothing more is known than that. */
export function whyOf(line: Line, nowUs: number, decimals = { price: 0, size: 0 }): string | null {
  const { top, condition } = line;
  if (condition === "auction" || condition === "pre_open") return indicativeOf(top, decimals);
  if (condition === "stale") return top.updated_at === 0 ? null : `silent · ${ago(Math.max(0, nowUs - top.updated_at))}`;
  if (!isTrouble(condition) && condition !== "none") return null;
  if (top.unusable_reason === null || top.unusable_since === null) return null;
  return `${reasonWords(top.unusable_reason)} · ${ago(Math.max(0, nowUs - top.unusable_since))}`;
}

export function isTrouble(condition: Condition): boolean {
  return condition === "unusable" || condition === "stale";
}

/** Every word of the text is somewhere in the instrument or its venue. */
export function matches(line: Line, filters: Filters): boolean {
  if (filters.venue !== null && line.top.venue !== filters.venue) return false;
  if (filters.trouble && !isTrouble(line.condition)) return false;
  const whole = `${line.top.instrument} ${line.top.venue}`.toUpperCase();
  return filters.text
    .toUpperCase()
    .split(/\s+/)
    .every((word) => whole.includes(word));
}

/** The lines to show, in order; equals go by name, and lines without a value come last either way. */
export function arranged(lines: Iterable<Line>, filters: Filters): Line[] {
  const sign = filters.down ? -1 : 1;
  const byName = (a: Line, b: Line): number => (a.top.instrument < b.top.instrument ? -1 : a.top.instrument > b.top.instrument ? 1 : 0);
  const value = (line: Line): number | string | null => {
    switch (filters.sort) {
      case "instrument":
        return line.top.instrument;
      case "venue":
        return line.top.venue;
      case "spread":
        return line.spreadBp;
      case "age":
        return line.top.updated_at === 0 ? null : -line.top.updated_at;
      case "gaps":
        return line.top.gaps;
      case "book":
        return RANK[line.condition];
    }
  };
  const compare = (a: Line, b: Line): number => {
    const [left, right] = [value(a), value(b)];
    if (left === null || right === null) return left === right ? byName(a, b) : left === null ? 1 : -1;
    if (left === right) return byName(a, b);
    return left < right ? -sign : sign;
  };
  return [...lines].filter((line) => matches(line, filters)).sort(compare);
}

/** How long ago, for a cell that should not change without need: `now`, `12 s`, `4 min`, `3 h`. */
export function ago(us: number): string {
  const seconds = us / 1e6;
  if (seconds < 1) return "now";
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 6_000) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

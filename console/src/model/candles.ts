// The candles of one market and timeframe: bars from the store, from memory and live, merged by their start. Whoever comes
// later does not win by that: an answer over REST may be older than a frame that overtook it.

import type { Bar } from "../net/protocol";

export const TIMEFRAMES = ["1s", "1m", "5m", "1h", "1d"] as const;
export type Timeframe = (typeof TIMEFRAMES)[number];
export const SECONDS: Readonly<Record<Timeframe, number>> = { "1s": 1, "1m": 60, "5m": 300, "1h": 3_600, "1d": 86_400 };

export const BARS_MAX = 5_000;
/** A hole up to so many intervals keeps its width on the axis; a longer one is as wide as the next number. */
const HOLE_MAX = 60;
const LONG_HOLE = 24;

/** A place on the time axis: a bar, or none where none was. */
export interface Point {
  /** Seconds since 1970 UTC. */
  time: number;
  bar: Bar | null;
}

export class Candles {
  private bars: Bar[] = [];
  /** Rises with every change. */
  version = 0;
  /** Start of the oldest bar that changed since `takeChanges`, microseconds; Infinity: none. */
  private changedFrom = Infinity;
  /** Nothing older is known anywhere. */
  complete = false;

  constructor(readonly timeframe: Timeframe) {}

  get intervalUs(): number {
    return SECONDS[this.timeframe] * 1e6;
  }

  /** Rising. */
  get all(): readonly Bar[] {
    return this.bars;
  }

  get first(): Bar | null {
    return this.bars[0] ?? null;
  }

  get last(): Bar | null {
    return this.bars.at(-1) ?? null;
  }

  /** Merges bars in rising order. */
  take(bars: readonly Bar[]): void {
    for (const bar of bars) this.put(bar);
    if (this.bars.length > BARS_MAX) {
      this.bars = this.bars.slice(-BARS_MAX);
      this.changedFrom = -Infinity;
    }
  }

  /** The bar that holds `us`. */
  at(us: number): Bar | null {
    const index = this.indexOf(us);
    const bar = this.bars[index];
    return bar !== undefined && us < bar.ts_open + this.intervalUs ? bar : null;
  }

  /** Oldest change since the last call. */
  takeChanges(): number {
    const from = this.changedFrom;
    this.changedFrom = Infinity;
    return from;
  }

  /** Bars and the holes between them, and a hole behind them up to the interval that holds `nowUs`. */
  points(nowUs: number): Point[] {
    const points: Point[] = [];
    const interval = this.intervalUs;
    let next = this.bars[0]?.ts_open ?? 0;
    for (const bar of this.bars) {
      hole(points, next, bar.ts_open, interval);
      points.push({ time: bar.ts_open / 1e6, bar });
      next = bar.ts_open + interval;
    }
    if (this.bars.length > 0) hole(points, next, Math.floor(nowUs / interval) * interval, interval);
    return points;
  }

  /** Place of the last bar that begins at or before `us`; -1 for none. */
  private indexOf(us: number): number {
    let [low, high] = [0, this.bars.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.bars[middle] as Bar).ts_open <= us) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  private put(bar: Bar): void {
    const index = this.indexOf(bar.ts_open);
    const known = this.bars[index];
    if (known?.ts_open !== bar.ts_open) this.bars.splice(index + 1, 0, bar);
    else if (supersedes(bar, known)) this.bars[index] = bar;
    else return;
    this.changedFrom = Math.min(this.changedFrom, bar.ts_open);
    this.version += 1;
  }
}

/** Whether `bar` is at least as new as `known`, of the same interval. */
export function supersedes(bar: Bar, known: Bar): boolean {
  if (bar.closed !== known.closed) return bar.closed;
  if (bar.revision !== known.revision) return bar.revision > known.revision;
  return bar.trade_count >= known.trade_count;
}

/** Places from `from` up to `until`, without it. */
function hole(points: Point[], from: number, until: number, interval: number): void {
  const count = Math.round((until - from) / interval);
  const shown = count > HOLE_MAX ? LONG_HOLE : count;
  for (let index = 0; index < shown; index += 1) {
    const us = from + Math.floor((index * count) / shown) * interval;
    points.push({ time: us / 1e6, bar: null });
  }
}

/** Where a moment lies among points, in bars: `2.5` is the end of the bar of place 2, which covers 1.5 to 2.5. */
export function placeOf(points: readonly Point[], us: number, intervalUs: number): number | null {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined) return null;
  const seconds = us / 1e6;
  if (seconds <= first.time) return -0.5;
  let [low, high] = [0, points.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((points[middle] as Point).time <= seconds) low = middle + 1;
    else high = middle;
  }
  const at = points[low - 1] as Point;
  const next = points[low]?.time ?? at.time + intervalUs / 1e6;
  return low - 1.5 + Math.min(1, (seconds - at.time) / (next - at.time));
}

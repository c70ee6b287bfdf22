// What the flow chart draws: the best bid and ask over the last two minutes and the trades between them.

import type { Depth, Trade } from "../net/protocol";

export const WINDOW_US = 120_000_000;
const WINDOW_LEAST_US = 20_000_000;
const POINTS_MAX = 2_400;
const TRADES_MAX = 6_000;

export interface TopPoint {
  us: number;
  bid: number;
  ask: number;
  /** From here on the book could not be used: no line goes from this point to the next. */
  ends: boolean;
}

export interface TradePoint {
  us: number;
  price: number;
  size: number;
  buy: boolean;
}

export class Flow {
  tops: TopPoint[] = [];
  trades: TradePoint[] = [];

  clear(): void {
    this.tops = [];
    this.trades = [];
  }

  /** Takes the state of a book at the receipt of what made it so: that of a silent feed is as old as its silence. */
  top(depth: Depth): void {
    const us = depth.ts_recv;
    const [bid, ask, last] = [depth.bids[0], depth.asks[0], this.tops.at(-1)];
    if (depth.usable && bid !== undefined && ask !== undefined) {
      this.tops.push({ us, bid: Number(bid[0]), ask: Number(ask[0]), ends: false });
    } else if (last !== undefined && !last.ends) {
      this.tops.push({ ...last, us, ends: true });
    }
    if (this.tops.length > POINTS_MAX) this.tops.shift();
  }

  trade(trade: Trade): void {
    this.trades.push({ us: trade.ts_recv, price: Number(trade.price), size: Number(trade.size), buy: trade.side !== "sell" });
    if (this.trades.length > TRADES_MAX) this.trades.shift();
  }

  /** Microseconds to show up to `now`: as far back as anything is known, between twenty seconds and two minutes. */
  window(now: number): number {
    const first = Math.min(this.tops[0]?.us ?? now, this.trades[0]?.us ?? now);
    return Math.min(WINDOW_US, Math.max(WINDOW_LEAST_US, now - first));
  }

  /** Trades since `from` as bubbles: those of one side at one price within `binUs` are one, as large as all of them. */
  bubbles(from: number, binUs: number): TradePoint[] {
    const merged = new Map<string, TradePoint>();
    for (const trade of this.trades) {
      if (trade.us < from) continue;
      const key = `${Math.floor(trade.us / binUs)} ${trade.price} ${trade.buy}`;
      const found = merged.get(key);
      if (found === undefined) merged.set(key, { ...trade });
      else found.size += trade.size;
    }
    return [...merged.values()];
  }

  /** Lowest and highest price since `from`, with a margin; null while there is nothing. */
  range(from: number): readonly [low: number, high: number] | null {
    let [low, high] = [Infinity, -Infinity];
    for (const point of this.tops) {
      if (point.us < from) continue;
      low = Math.min(low, point.bid);
      high = Math.max(high, point.ask);
    }
    for (const point of this.trades) {
      if (point.us < from) continue;
      low = Math.min(low, point.price);
      high = Math.max(high, point.price);
    }
    if (low > high) return null;
    const margin = Math.max((high - low) * 0.08, high * 2e-6);
    return [low - margin, high + margin];
  }
}

/** Points between which a line goes, in order. */
export function segments(tops: readonly TopPoint[]): TopPoint[][] {
  const found: TopPoint[][] = [[]];
  for (const point of tops) {
    found.at(-1)?.push(point);
    if (point.ends) found.push([]);
  }
  return found.filter((segment) => segment.length > 0);
}

/** Round steps for an axis: at most `most` marks between `low` and `high`. */
export function axisMarks(low: number, high: number, most: number): number[] {
  const rough = (high - low) / most;
  if (!(rough > 0)) return [];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
  const marks: number[] = [];
  for (let index = Math.ceil(low / step); index * step <= high; index += 1) marks.push(index * step);
  return marks;
}

/** The middle of the best prices, exactly: between two neighbouring ticks it has a decimal more than they have. */
export function midText(bid: number, ask: number, decimals: number): string {
  const text = ((bid + ask) / 2).toFixed(decimals + 1);
  return text.endsWith("0") ? text.slice(0, decimals === 0 ? -2 : -1) : text;
}

// A depth image as the rows a ladder prints: cumulative sizes, bars as shares of the deeper side, spread, imbalance.
// The sums are for bars and totals only and may be floats; prices and sizes are passed through as they came.

import { shownDecimals, significantDecimals, withDecimals } from "./decimal";
import type { Depth, Level } from "../net/protocol";

export interface Row {
  price: string;
  size: string;
  total: string;
  /** Cumulative size from the touch, as a share of the deeper side's sum. */
  totalShare: number;
  /** The level's own size, as a share of the largest level shown. */
  sizeShare: number;
}

export interface Ladder {
  /** Best first. */
  bids: Row[];
  /** Best first. */
  asks: Row[];
  spread: string | null;
  spreadBp: number | null;
  mid: number | null;
  /** Bids' share of all size shown, 0 to 1. */
  bidShare: number | null;
}

export interface Precision {
  price: number;
  size: number;
}

/** Decimals to print; never fewer than `before`, so that columns do not jump while digits come and go. */
export function precisionOf(depth: Depth, tick: string | null, lot: string | null, before: Precision | null): Precision {
  const levels = [...depth.bids, ...depth.asks];
  const price = shownDecimals(tick, levels.map(([text]) => text));
  const size = shownDecimals(lot, levels.map(([, text]) => text));
  return { price: Math.max(price, before?.price ?? 0), size: Math.max(size, before?.size ?? 0) };
}

/** The ladder of `depth`; `top` has the best bid and ask where `depth` has groups, whose edges are no prices. */
export function ladderOf(depth: Depth, precision: Precision, top: Depth = depth): Ladder {
  const sum = (levels: readonly Level[]): number => levels.reduce((total, [, size]) => total + Number(size), 0);
  const [bidSum, askSum] = [sum(depth.bids), sum(depth.asks)];
  const deepest = Math.max(bidSum, askSum);
  let largest = 0;
  for (const levels of [depth.bids, depth.asks]) for (const [, size] of levels) largest = Math.max(largest, Number(size));

  const priceDecimals = depth.step === null ? precision.price : significantDecimals(depth.step);
  const rows = (levels: readonly Level[]): Row[] => {
    let total = 0;
    return levels.map(([price, size]) => {
      total += Number(size);
      return {
        price: withDecimals(price, priceDecimals),
        size: withDecimals(size, precision.size),
        total: total.toFixed(precision.size),
        totalShare: deepest > 0 ? total / deepest : 0,
        sizeShare: largest > 0 ? Number(size) / largest : 0,
      };
    });
  };

  const bid = top.bids[0]?.[0];
  const ask = top.asks[0]?.[0];
  const both = bid !== undefined && ask !== undefined;
  const spread = both ? difference(ask, bid) : null;
  const mid = both ? (Number(bid) + Number(ask)) / 2 : null;
  return {
    bids: rows(depth.bids),
    asks: rows(depth.asks),
    spread: spread === null ? null : withDecimals(spread, precision.price),
    spreadBp: spread === null || mid === null || mid === 0 ? null : (Number(spread) / mid) * 10_000,
    mid,
    bidShare: bidSum + askSum > 0 ? bidSum / (bidSum + askSum) : null,
  };
}

/** `a - b` of two decimal strings, exactly. */
export function difference(a: string, b: string): string {
  const decimals = Math.max(significantDecimals(a), significantDecimals(b));
  const units = (text: string): bigint => BigInt(withDecimals(text, decimals).replace(".", ""));
  const result = units(a) - units(b);
  const digits = (result < 0n ? -result : result).toString().padStart(decimals + 1, "0");
  const sign = result < 0n ? "-" : "";
  return decimals === 0 ? sign + digits : `${sign}${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
}

// What the depth chart draws: size summed up from the touch outwards, on both sides, within a range of the middle.

import type { Depth } from "../net/protocol";

/** Half widths of the chart, in hundredths of a percent of the middle. */
export const RANGES_BP = [2, 5, 10, 25, 50, 100, 250, 500] as const;
export const USUAL_RANGE_BP = 25;
/** Groups a side that the server is asked for. */
export const GROUPS = 100;

export interface DepthPoint {
  price: number;
  /** Sum of sizes from the best price to here. */
  size: number;
  /** What a market order that goes to here pays or gets: sum of price times size. */
  worth: number;
}

export interface DepthCurve {
  mid: number;
  low: number;
  high: number;
  /** From the touch outwards. */
  bids: DepthPoint[];
  asks: DepthPoint[];
  /** Largest sum within the range. */
  top: number;
  /** Nothing is known beyond the last level of a side: the book of the feed ends there. */
  bidsEnd: boolean;
  asksEnd: boolean;
  usable: boolean;
  whole: boolean;
}

/** Width of a group so that `GROUPS` of them cover `bp` of `mid`. */
export function widthFor(mid: number, bp: number): number {
  return (mid * bp) / 1e4 / GROUPS;
}

/** The curve within `bp` of the middle; null of an empty book. */
export function curveOf(depth: Depth, mid: number, bp: number): DepthCurve | null {
  if (depth.bids.length + depth.asks.length === 0 || !(mid > 0)) return null;
  const reach = (mid * bp) / 1e4;
  const side = (levels: Depth["bids"]): DepthPoint[] => {
    const points: DepthPoint[] = [];
    let [size, worth] = [0, 0];
    for (const [priceText, sizeText] of levels) {
      const price = Number(priceText);
      if (Math.abs(price - mid) > reach) break;
      size += Number(sizeText);
      worth += price * Number(sizeText);
      points.push({ price, size, worth });
    }
    return points;
  };
  const [bids, asks] = [side(depth.bids), side(depth.asks)];
  const top = Math.max(bids.at(-1)?.size ?? 0, asks.at(-1)?.size ?? 0);
  const ends = (levels: Depth["bids"], points: DepthPoint[]): boolean => points.length === levels.length && levels.length < GROUPS;
  return { mid, low: mid - reach, high: mid + reach, bids, asks, top, bidsEnd: ends(depth.bids, bids), asksEnd: ends(depth.asks, asks), usable: depth.usable, whole: depth.whole };
}

/** The smallest range that shows all of a book that is much narrower than the range shown; null when there is no need. */
export function fitting(curve: DepthCurve, bp: number): number | null {
  if (!curve.bidsEnd || !curve.asksEnd) return null;
  const outermost = Math.max(curve.mid - (curve.bids.at(-1)?.price ?? curve.mid), (curve.asks.at(-1)?.price ?? curve.mid) - curve.mid);
  const reach = (outermost / curve.mid) * 1e4;
  const fits = RANGES_BP.find((range) => range >= reach) ?? bp;
  return fits < bp ? fits : null;
}

/** What is there up to `price` on its side of the middle; null where nothing is. */
export function upTo(curve: DepthCurve, price: number): { side: "bid" | "ask"; point: DepthPoint } | null {
  const side = price < curve.mid ? "bid" : "ask";
  const points = side === "bid" ? curve.bids : curve.asks;
  const reached = points.filter((point) => (side === "bid" ? point.price >= price : point.price <= price));
  const point = reached.at(-1);
  return point === undefined ? null : { side, point };
}

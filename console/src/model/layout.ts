// Sizes of the panels of a book's page that a person may change, and their bounds.

export interface Layout {
  /** Width of the ladder, pixels. */
  book: number;
  /** Width of the tape, pixels. */
  tape: number;
  /** Share of the height between ladder and tape that candles have, percent. */
  candles: number;
}

export type Edge = keyof Layout;

export const USUAL: Layout = { book: 340, tape: 316, candles: 57 };
export const BOUNDS: Readonly<Record<Edge, readonly [least: number, most: number]>> = { book: [290, 560], tape: [250, 520], candles: [30, 78] };
export const NAMES: Readonly<Record<Edge, string>> = { book: "Width of the ladder", tape: "Width of the tape", candles: "Height of the candles" };

/** The nearest size that is allowed. */
export function bounded(edge: Edge, size: number): number {
  const [least, most] = BOUNDS[edge];
  return Math.round(Math.min(most, Math.max(least, size)));
}

/** A layout of whatever was stored: what is no size is as usual. */
export function layoutOf(stored: unknown): Layout {
  const found = (typeof stored === "object" && stored !== null ? stored : {}) as Partial<Record<Edge, unknown>>;
  const size = (edge: Edge): number => {
    const value = found[edge];
    return typeof value === "number" && Number.isFinite(value) ? bounded(edge, value) : USUAL[edge];
  };
  return { book: size("book"), tape: size("tape"), candles: size("candles") };
}

// Widths of price groups: 1, 2 and 5 times powers of ten, as decimal text, because the server takes them as text.

import { significantDecimals } from "./decimal";

const DIGITS = [1, 2, 5] as const;

/** `5` and `-2` as `0.05`, `1` and `2` as `100`. */
export function stepText(digit: number, exponent: number): string {
  return exponent >= 0 ? `${digit}${"0".repeat(exponent)}` : `0.${"0".repeat(-exponent - 1)}${digit}`;
}

/** The smallest step that is at least `least`, and no smaller than one unit of `decimals`. */
export function stepAbove(least: number, decimals: number): string {
  for (let exponent = -decimals; exponent < 18; exponent += 1) {
    for (const digit of DIGITS) {
      const text = stepText(digit, exponent);
      if (Number(text) >= least * (1 - 1e-9)) return text;
    }
  }
  return stepText(5, 17);
}

/** Decimals of a price step: those of the tick where it is known. */
export function finestDecimals(tick: string | null, shown: number): number {
  return tick === null ? shown : significantDecimals(tick);
}

/**
 * Widths that a ladder offers, from the venue's own levels (null) to a fiftieth of the price: multiples of the tick, so that
 * no group has more levels than its neighbour by accident.
 */
export function laddersSteps(tick: string | null, shownDecimals: number, price: number): (string | null)[] {
  const finest = tick === null ? 10 ** -shownDecimals : Number(tick);
  const steps: (string | null)[] = [null];
  if (!(price > 0) || !(finest > 0)) return steps;
  let least = finest * 1.0001;
  for (let count = 0; count < 60; count += 1) {
    const text = stepAbove(least, finestDecimals(tick, shownDecimals));
    const width = Number(text);
    if (width > price / 50) break;
    const ticks = width / finest;
    if (Math.abs(ticks - Math.round(ticks)) < 1e-6) steps.push(text);
    least = width * 1.0001;
  }
  return steps;
}

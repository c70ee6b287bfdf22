// What the last minute of a market came to, in one line, from the windows of analytics.

import { grouped } from "./decimal";

/** The parts of a window that the line has; null is "not known". */
export interface Window {
  ts_open: number;
  closed: boolean;
  whole: boolean;
  volume: number;
  vwap: number | null;
  spread_bps: number | null;
  volatility: number | null;
  trade_imbalance: number | null;
}

/** The newest window that has ended. */
export function newestClosed(windows: readonly Window[]): Window | null {
  return windows.findLast((one) => one.closed) ?? null;
}

/** Such as `1 min: 12.3 traded · VWAP 61,837.2 · spread 0.12 bp · volatility 1.4 bp · buyers 62 %`, with a star where something is not known. */
export function windowText(window: Window, priceDecimals: number): string {
  const parts = [`${short(window.volume)} traded`];
  if (window.vwap !== null) parts.push(`VWAP ${grouped(window.vwap.toFixed(priceDecimals))}`);
  if (window.spread_bps !== null) parts.push(`spread ${short(window.spread_bps)} bp`);
  if (window.volatility !== null) parts.push(`volatility ${short(window.volatility * 10_000)} bp`);
  if (window.trade_imbalance !== null) parts.push(`buyers ${Math.round(50 * (1 + window.trade_imbalance))} %`);
  return `1 min${window.whole ? "" : "*"}: ${parts.join(" · ")}`;
}

/** Three digits are enough to see what changes. */
function short(value: number): string {
  if (value === 0) return "0";
  const decimals = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  const text = value.toFixed(Math.min(8, decimals));
  return grouped(text.includes(".") ? text.replace(/\.?0+$/, "") : text);
}

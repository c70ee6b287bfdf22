// What was before the page was opened: bars and outages over REST, from the server's memory and behind that from the store.

import { BARS_MAX, type Candles } from "./model/candles";
import type { Bar, Outage } from "./net/protocol";
import { get } from "./net/rest";

const BARS_AT_ONCE = 500;

function address(what: string, instrument: string, query: Record<string, string | number>): string {
  const asked = new URLSearchParams({ instrument });
  for (const [name, value] of Object.entries(query)) asked.set(name, String(value));
  return `/api/v1/${what}?${asked}`;
}

/** Takes the newest bars. */
export async function newestBars(instrument: string, candles: Candles): Promise<void> {
  const bars = await get<Bar[]>(address("klines", instrument, { timeframe: candles.timeframe, limit: BARS_AT_ONCE }));
  candles.take(bars);
  candles.complete ||= bars.length < BARS_AT_ONCE;
}

/** Takes bars from before the first one. */
export async function olderBars(instrument: string, candles: Candles): Promise<void> {
  const { first } = candles;
  if (first === null || candles.complete) return;
  const query = { timeframe: candles.timeframe, limit: BARS_AT_ONCE, before: first.ts_open };
  const bars = await get<Bar[]>(address("klines", instrument, query));
  candles.take(bars);
  candles.complete = bars.length === 0 || candles.all.length >= BARS_MAX;
}

/** Outages of the time that the candles show. */
export function outagesOf(instrument: string, candles: Candles): Promise<Outage[]> {
  return get<Outage[]>(address("outages", instrument, { start: candles.first?.ts_open ?? 0 }));
}

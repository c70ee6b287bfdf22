// How an instrument is traded, in words: the venue's session, and what an auction would give.

import type { Listing, Session, SessionName } from "../net/protocol";
import { clockTime } from "./clock";
import { grouped, withDecimals } from "./decimal";

export const SESSION_WORDS: Record<SessionName, string> = {
  closed: "closed",
  pre_open: "pre-open",
  auction: "auction",
  continuous: "continuous",
  halted: "halted",
};

/** Whether orders meet as they come, so that best bid and ask are prices to trade at. */
export function isContinuous(session: SessionName | null): boolean {
  return session === null || session === "continuous";
}

/** `0.500 at 3,000.00`, with the instrument's decimals; null where an auction would give nothing. */
export function indicativeOf(said: { indicative_price: string | null; indicative_size: string | null }, decimals: { price: number; size: number }): string | null {
  if (said.indicative_price === null || said.indicative_size === null) return null;
  return `${grouped(withDecimals(said.indicative_size, decimals.size))} at ${grouped(withDecimals(said.indicative_price, decimals.price))}`;
}

/** Since when, and the band that orders have to keep to. */
export function sessionDetail(session: Session, listing: Listing | null): string {
  const since = `since ${clockTime(new Date(session.since / 1000))} UTC`;
  const ppm = listing?.band_ppm ?? 0;
  return ppm > 0 ? `${since} · price band ±${+(ppm / 10_000).toFixed(4)} %` : since;
}

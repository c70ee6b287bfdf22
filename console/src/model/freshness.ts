// Is what the page shows still true? Two clocks decide: how long the server has been silent, and how long the feed has
// been silent towards the server. The server's ages are aged on with our own clock, so no two clocks are compared.

import type { Depth, Feed } from "../net/protocol";

export const STALE_AFTER_MS = 2_000;

export type Freshness =
  | { state: "empty" }
  | { state: "fresh" }
  | { state: "unusable"; reason: string; sinceUs: number | null }
  | { state: "stale"; ageMs: number; silent: "server" | "feed" };

export interface Signs {
  depth: Depth | null;
  /** Our clock now, milliseconds. */
  nowMs: number;
  /** Our clock at the newest frame of any stream. */
  heardAtMs: number;
  feed: Feed | null;
  /** Our clock when `feed` arrived. */
  feedAtMs: number;
  /** Our clock at the newest book or trade of this feed. */
  dataAtMs: number;
}

/** State of one instrument's panels. */
export function freshness(signs: Signs): Freshness {
  if (signs.depth === null) return { state: "empty" };
  const silent = signs.nowMs - signs.heardAtMs;
  const feedAge = signs.feed?.age_us ?? null;
  // The feed's last sign of life: what the server reported, or what has arrived here since.
  const byReport = feedAge === null ? Infinity : feedAge / 1000 + (signs.nowMs - signs.feedAtMs);
  const ageMs = Math.max(silent, Math.min(byReport, signs.nowMs - signs.dataAtMs));
  if (ageMs > STALE_AFTER_MS) return { state: "stale", ageMs, silent: silent > STALE_AFTER_MS ? "server" : "feed" };
  if (signs.depth.usable) return { state: "fresh" };
  return { state: "unusable", reason: signs.depth.unusable_reason ?? "unknown", sinceUs: signs.depth.unusable_since };
}

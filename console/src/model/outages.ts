// When a market's numbers could not be trusted, in words and as bands on a time axis.

import type { Outage } from "../net/protocol";

const WORDS: Readonly<Record<string, string>> = {
  silent: "no message from the venue",
  gap: "messages lost",
  disconnected: "connection lost",
  connection_changed: "connection changed",
  checksum_mismatch: "checksum wrong",
  oracle_disagrees: "top is not the venue's",
  crossed: "book crossed",
  malformed: "damaged message",
  out_of_order: "levels out of order",
  precision_changed: "precision changed",
  snapshot_ahead: "snapshot ahead of the stream",
  buffer_full: "no snapshot in time",
  started: "no snapshot yet",
  unsubscribed: "unsubscribed",
  trading_halted: "trading halted",
  overtaken: "not read in time",
  unknown: "reason not known",
};

/** A reason as a person reads it. */
export function reasonWords(reason: string): string {
  return WORDS[reason] ?? reason.replaceAll("_", " ");
}

/** Outages that touch each other, as one. */
export interface Band {
  since: number;
  /** Microseconds; that of now where one of them lasts. */
  until: number;
  lasts: boolean;
  reasons: string[];
}

export function bandsOf(outages: readonly Outage[], nowUs: number): Band[] {
  const bands: Band[] = [];
  for (const outage of [...outages].sort((a, b) => a.since - b.since)) {
    const until = outage.until ?? Math.max(nowUs, outage.since);
    const last = bands.at(-1);
    if (last === undefined || outage.since > last.until) {
      bands.push({ since: outage.since, until, lasts: outage.until === null, reasons: [outage.reason] });
      continue;
    }
    last.until = Math.max(last.until, until);
    last.lasts ||= outage.until === null;
    if (!last.reasons.includes(outage.reason)) last.reasons.push(outage.reason);
  }
  return bands;
}

/** What the stream tells now, and before it what was stored; the stream counts where both tell the same one. */
export function joined(stored: readonly Outage[], live: readonly Outage[]): Outage[] {
  const told = new Set(live.map((outage) => outage.since));
  return [...stored.filter((outage) => !told.has(outage.since) && outage.until !== null), ...live];
}

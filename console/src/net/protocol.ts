// What the API says, as `/openapi.json` and the WebSocket frames have it. Prices and sizes are decimal strings and
// stay strings up to the pixel; times are microseconds since 1970 UTC.

export type Level = readonly [price: string, size: string];
export type Side = "buy" | "sell" | "none";
export type SessionName = "closed" | "pre_open" | "auction" | "continuous" | "halted";
export type FeedState = "waiting" | "live" | "quiet" | "disconnected";

export interface Depth {
  instrument: string;
  last_update_id: number;
  usable: boolean;
  unusable_since: number | null;
  unusable_reason: string | null;
  ts_event: number;
  ts_recv: number;
  bid_count: number;
  ask_count: number;
  /** Width of the groups that levels were put into; null for the venue's own levels. */
  step: string | null;
  /** All levels are known to the server. */
  whole: boolean;
  bids: Level[];
  asks: Level[];
}

/** One instrument in a line. */
export interface Top {
  instrument: string;
  venue: string;
  book: "usable" | "unusable" | "none";
  bid_price: string | null;
  bid_size: string | null;
  ask_price: string | null;
  ask_size: string | null;
  last_price: string | null;
  last_size: string | null;
  last_side: Side;
  last_at: number;
  updated_at: number;
  gaps: number;
  gap_at: number;
  unusable_since: number | null;
  unusable_reason: string | null;
  session: SessionName | null;
  indicative_price: string | null;
  indicative_size: string | null;
}

/** How an instrument is traded, where its venue says so. */
export interface Session {
  instrument: string;
  session: SessionName;
  since: number;
  indicative_price: string | null;
  indicative_size: string | null;
}

/** What the node's own venue lists, as far as the page shows it. */
export interface Listing {
  instrument: string;
  band_ppm: number | null;
}

/** Data of `!tops`: names once, then a row of values per instrument. */
export interface Tops {
  fields: string[];
  rows: unknown[][];
}

export interface Trade {
  id: number;
  price: string;
  size: string;
  side: Side;
  ts_event: number;
  ts_recv: number;
}

export interface Bar {
  ts_open: number;
  open: string;
  high: string;
  low: string;
  close: string;
  volume: string;
  buy_volume: string;
  trade_count: number;
  closed: boolean;
  revision: number;
  unproven: boolean;
}

/** A time in which the book could not be used or nothing came; `until` is null while it lasts. */
export interface Outage {
  since: number;
  until: number | null;
  reason: string;
}

export interface Instrument {
  instrument: string;
  venue: string;
  version: number;
  price_decimals: number;
  size_decimals: number;
  tick: string | null;
  lot: string | null;
}

export interface Feed {
  venue: string;
  state: FeedState;
  messages: number;
  messages_per_second: number;
  last_message_at: number;
  age_us: number | null;
  venue_delay_us: number | null;
  delay_us: number | null;
  gaps: number;
  resyncs: number;
  quarantined: number;
  checks_failed: number;
  reconnects: number;
  missed_records: number;
  instruments: number;
  books_usable: number;
}

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  instance: string;
  code: string;
  trace_id: string;
}

/** One push of a stream. */
export interface Frame {
  stream: string;
  seq: number;
  ts: number;
  data?: unknown;
  snapshot?: boolean;
  missed?: number;
}

export interface Answer {
  id: number | null;
  result?: unknown;
  error?: Problem;
}

export type Message = Frame | Answer;

export function isFrame(message: Message): message is Frame {
  return "stream" in message;
}

/** `btcusdt.binance@depth20` as its two parts; null for a stream of no instrument. */
export function streamParts(stream: string): { instrument: string; kind: string } | null {
  const at = stream.lastIndexOf("@");
  return at < 0 ? null : { instrument: stream.slice(0, at).toUpperCase(), kind: stream.slice(at + 1) };
}

export function streamOf(instrument: string, kind: string): string {
  return `${instrument.toLowerCase()}@${kind}`;
}

// What the API says, as `/openapi.json` and the WebSocket frames have it. Prices and sizes are decimal strings and
// stay strings up to the pixel; times are microseconds since 1970 UTC.

export type Level = readonly [price: string, size: string];
export type Side = "buy" | "sell" | "none";
export type FeedState = "waiting" | "live" | "quiet" | "disconnected";

export interface Depth {
  instrument: string;
  last_update_id: number;
  usable: boolean;
  ts_event: number;
  ts_recv: number;
  bid_count: number;
  ask_count: number;
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

export type StreamKind = "depth20" | "trade";

/** The streams of one instrument that the page shows. */
export function streamsOf(instrument: string): string[] {
  return [`${instrument.toLowerCase()}@depth20`, `${instrument.toLowerCase()}@trade`];
}

/** `btcusdt.binance@depth20` as its two parts; null for a stream of no instrument. */
export function streamParts(stream: string): { instrument: string; kind: string } | null {
  const at = stream.lastIndexOf("@");
  return at < 0 ? null : { instrument: stream.slice(0, at).toUpperCase(), kind: stream.slice(at + 1) };
}

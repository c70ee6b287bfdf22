// Everything the page knows, and the only place that changes it. What moves slowly (connection, instruments, feed
// health) is signals that components read; what moves with the market is plain state, painted by `draw.ts`.

import { computed, signal } from "@preact/signals";
import { freeze, touch } from "./draw";
import { Flow } from "./model/flow";
import { freshness, type Freshness } from "./model/freshness";
import { ladderOf, precisionOf, type Ladder, type Precision } from "./model/ladder";
import { Tape } from "./model/tape";
import { streamParts, streamsOf, type Depth, type Feed, type Frame, type Instrument, type Problem } from "./net/protocol";
import { get, ProblemError } from "./net/rest";
import { Socket, type Link } from "./net/socket";

// ---- slow state -----------------------------------------------------------------------------------------------------

export const link = signal<Link>({ state: "connecting", attempt: 1 });
export const instruments = signal<Instrument[] | null>(null);
export const selected = signal<string | null>(wantedFromAddress());
export const feeds = signal<Feed[] | null>(null);
export const rates = signal<ReadonlyMap<string, readonly number[]>>(new Map());
export const problem = signal<Problem | null>(null);
export const frozen = signal(false);
export const fresh = signal<Freshness>({ state: "empty" });
export const version = signal<string | null>(null);

export const instrument = computed(() => instruments.value?.find((one) => one.instrument === selected.value) ?? null);

// ---- state of the chosen market -------------------------------------------------------------------------------------

export const market = {
  depth: null as Depth | null,
  ladder: null as Ladder | null,
  precision: null as Precision | null,
  tape: new Tape(),
  flow: new Flow(),
  /** Server's clock at the newest frame, microseconds, and ours then, milliseconds. */
  serverUs: 0,
  serverAtMs: 0,
};

let dataAtMs = 0;
let feedAtMs = 0;
const RATES_KEPT = 60;

const socket = new Socket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/v1`, {
  link(state) {
    link.value = state;
    if (state.state === "open") void loadInstruments();
    judge();
  },
  frame: take,
  refused(refusal) {
    // An instrument the server has not seen yet: the next list of instruments brings us back.
    if (refusal.code === "unknown_instrument") instruments.value = null;
    else problem.value = refusal;
  },
});

/** The server's clock now, microseconds, as far as the newest frame tells. */
export function serverNowUs(): number {
  return market.serverUs + (performance.now() - market.serverAtMs) * 1000;
}

export function start(): void {
  socket.open();
  subscribe();
  setInterval(judge, 250);
  document.addEventListener("visibilitychange", subscribe);
}

export function retryNow(): void {
  socket.retryNow();
}

export function choose(name: string): void {
  if (name === selected.value) return;
  selected.value = name;
  const address = new URL(location.href);
  address.searchParams.set("instrument", name);
  history.replaceState(null, "", address);
  market.depth = market.ladder = market.precision = null;
  market.tape.clear();
  market.flow.clear();
  for (const topic of ["book", "tape", "flow"] as const) touch(topic);
  setFrozen(false);
  subscribe();
  judge();
}

/** The instrument `steps` further in the list, round about. */
export function chooseNeighbour(steps: number): void {
  const known = instruments.value ?? [];
  const at = known.findIndex((one) => one.instrument === selected.value);
  const next = known[(at + steps + known.length) % known.length];
  if (next !== undefined) choose(next.instrument);
}

export function setFrozen(on: boolean): void {
  frozen.value = on;
  freeze(on);
}

export async function loadInstruments(): Promise<void> {
  try {
    const found = await get<Instrument[]>("/api/v1/instruments");
    version.value ??= (await get<{ version: string }>("/api/v1/version")).version;
    problem.value = null;
    instruments.value = found;
    const first = found[0];
    if (selected.value === null && first !== undefined) choose(first.instrument);
    else subscribe();
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    // While the connection is down, that is what the page says; a failed list adds nothing to it.
    if (link.value.state === "open") problem.value = error.problem;
  }
}

function wantedFromAddress(): string | null {
  return new URLSearchParams(location.search).get("instrument")?.toUpperCase() ?? null;
}

function subscribe(): void {
  const wanted = ["!feeds"];
  // A hidden page needs no market; its feed health keeps the connection's truth.
  if (instrument.value !== null && !document.hidden) wanted.push(...streamsOf(instrument.value.instrument));
  socket.want(wanted);
}

function take(frame: Frame): void {
  market.serverUs = frame.ts;
  market.serverAtMs = performance.now();
  if (frame.stream === "!feeds") {
    takeFeeds(frame.data as Feed[]);
    return;
  }
  const parts = streamParts(frame.stream);
  if (parts === null || parts.instrument !== selected.value) return;
  if (parts.kind === "depth20") takeDepth(frame.ts, frame.data as Depth);
  if (parts.kind === "trade") takeTrades(frame);
}

/** Our clock when the server received what was received at `recvUs` and said at `saidUs`: a snapshot may be old. */
function arrivedAtMs(saidUs: number, recvUs: number): number {
  return performance.now() - Math.max(0, saidUs - recvUs) / 1000;
}

function takeDepth(us: number, depth: Depth): void {
  const known = instrument.value;
  market.precision = precisionOf(depth, known?.tick ?? null, known?.lot ?? null, market.precision);
  market.depth = depth;
  market.ladder = ladderOf(depth, market.precision);
  market.flow.top(us, depth);
  dataAtMs = Math.max(dataAtMs, arrivedAtMs(us, depth.ts_recv));
  touch("book");
  touch("flow");
  if (fresh.value.state !== "fresh") judge();
}

function takeTrades(frame: Frame): void {
  const before = market.tape.count;
  market.tape.take(frame);
  const fresh = frame.snapshot === true ? market.tape.count : market.tape.count - before;
  if (frame.snapshot === true) market.flow.trades = [];
  for (const print of market.tape.prints.slice(0, fresh).reverse()) {
    if (print.kind === "trade") market.flow.trade(print.trade);
  }
  const last = market.tape.last();
  if (last !== null) dataAtMs = Math.max(dataAtMs, arrivedAtMs(frame.ts, last.ts_recv));
  touch("tape");
  touch("flow");
}

function takeFeeds(now: Feed[]): void {
  feedAtMs = performance.now();
  const kept = new Map<string, readonly number[]>();
  for (const feed of now) {
    kept.set(feed.venue, [...(rates.value.get(feed.venue) ?? []), feed.messages_per_second].slice(-RATES_KEPT));
  }
  rates.value = kept;
  const count = (list: Feed[]): number => list.reduce((total, feed) => total + feed.instruments, 0);
  const more = instruments.value === null || count(now) !== instruments.value.length;
  feeds.value = now;
  if (more) void loadInstruments();
}

function judge(): void {
  const next = freshness({
    depth: market.depth,
    nowMs: performance.now(),
    heardAtMs: link.value.state === "open" ? socket.heardAt : Math.min(socket.heardAt, dataAtMs),
    feed: feeds.value?.find((feed) => feed.venue === instrument.value?.venue) ?? null,
    feedAtMs,
    dataAtMs,
  });
  const same = next.state === fresh.value.state && next.state !== "stale";
  if (!same) fresh.value = next;
}

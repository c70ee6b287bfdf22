// Everything the page knows, and the only place that changes it. What moves slowly (connection, instruments, feed
// health) is signals that components read; what moves with the market is plain state, painted by `draw.ts`.

import { computed, signal } from "@preact/signals";
import { freeze, touch } from "./draw";
import { Flow } from "./model/flow";
import { freshness, STALE_AFTER_MS, type Freshness } from "./model/freshness";
import { ladderOf, precisionOf, type Ladder, type Precision } from "./model/ladder";
import { lineOf, silentVenues, topsOf, type Line } from "./model/markets";
import { bookPath, filtersOf, marketsPath, routeOf, type Filters, type Route } from "./model/route";
import { Tape } from "./model/tape";
import { streamParts, streamsOf, type Depth, type Feed, type Frame, type Instrument, type Problem, type Top, type Tops } from "./net/protocol";
import { get, ProblemError } from "./net/rest";
import { Socket, type Link } from "./net/socket";

// ---- slow state -----------------------------------------------------------------------------------------------------

export const link = signal<Link>({ state: "connecting", attempt: 1 });
export const instruments = signal<Instrument[] | null>(null);
export const route = signal<Route>(routeOf(location.pathname, location.search));
export const selected = computed(() => (route.value.page === "book" ? route.value.instrument : null));
/** What the markets page shows; kept while a book is looked at, so that the way back leads to the same table. */
export const filters = signal<Filters>(filtersOf(location.search));
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

// ---- state of all markets -------------------------------------------------------------------------------------------

export const markets = {
  tops: null as Top[] | null,
  /** Rises with every frame. */
  version: 0,
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
  if (route.value.page === "book") history.replaceState(null, "", bookPath(route.value.instrument));
  socket.open();
  subscribe();
  setInterval(judge, 250);
  document.addEventListener("visibilitychange", subscribe);
  document.addEventListener("click", onClick);
  addEventListener("popstate", () => {
    const next = routeOf(location.pathname, location.search);
    if (next.page === "markets") filters.value = filtersOf(location.search);
    enter(next);
  });
}

/** Opens the page of an address of ours without loading it anew; anything but a plain click is the browser's. */
function onClick(event: MouseEvent): void {
  const anchor = (event.target as Element).closest("a");
  if (anchor === null || anchor.target !== "" || anchor.origin !== location.origin || event.defaultPrevented) return;
  if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const ours = anchor.pathname === "/" || anchor.pathname.startsWith("/m/");
  if (!ours || (anchor.hash !== "" && anchor.pathname === location.pathname)) return;
  event.preventDefault();
  go(anchor.pathname + anchor.search);
}

/** Goes to an address of ours. */
export function go(path: string, replace = false): void {
  const address = new URL(path, location.href);
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  const next = routeOf(address.pathname, address.search);
  if (next.page === "markets") filters.value = filtersOf(address.search);
  enter(next);
}

function enter(next: Route): void {
  const before = selected.value;
  const moved = next.page !== route.value.page;
  route.value = next;
  setFrozen(false);
  if (selected.value !== before) clearMarket();
  if (moved) scrollTo(0, 0);
  subscribe();
  judge();
}

export function filter(change: Partial<Filters>): void {
  filters.value = { ...filters.value, ...change };
  if (route.value.page === "markets") history.replaceState(null, "", marketsPath(filters.value));
  touch("markets");
}

/** Every instrument with what is thought of it now. */
export function linesNow(): Line[] {
  const now = performance.now();
  const dead = link.value.state !== "open" || now - socket.heardAt > STALE_AFTER_MS;
  const silent = silentVenues(feeds.value ?? [], now - feedAtMs);
  return (markets.tops ?? []).map((top) => lineOf(top, dead || silent.has(top.venue)));
}

export function retryNow(): void {
  socket.retryNow();
}

/** Shows the book of `name`; from one book to the next no step of the history is made. */
export function choose(name: string): void {
  if (name !== selected.value) go(bookPath(name), selected.value !== null);
}

function clearMarket(): void {
  market.depth = market.ladder = market.precision = null;
  market.tape.clear();
  market.flow.clear();
  for (const topic of ["book", "tape", "flow"] as const) touch(topic);
}

/** The instrument `steps` further in the list, round about. */
export function chooseNeighbour(steps: number): void {
  if (route.value.page !== "book") return;
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
    subscribe();
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    // While the connection is down, that is what the page says; a failed list adds nothing to it.
    if (link.value.state === "open") problem.value = error.problem;
  }
}

function subscribe(): void {
  const wanted = ["!feeds"];
  // A hidden page needs no market; its feed health keeps the connection's truth.
  if (route.value.page === "markets" && !document.hidden) wanted.push("!tops");
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
  if (frame.stream === "!tops") {
    markets.tops = topsOf(frame.data as Tops);
    markets.version += 1;
    touch("markets");
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
  if (route.value.page === "markets") touch("markets");
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

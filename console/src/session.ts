// Everything the page knows, and the only place that changes it. What moves slowly (connection, instruments, feed
// health) is signals that components read; what moves with the market is plain state, painted by `draw.ts`.

import { computed, signal } from "@preact/signals";
import { freeze, touch } from "./draw";
import { Candles, type Timeframe } from "./model/candles";
import { RANGES_BP, USUAL_RANGE_BP, widthFor } from "./model/depth";
import { Flow } from "./model/flow";
import { freshness, STALE_AFTER_MS, type Freshness } from "./model/freshness";
import { ladderOf, precisionOf, type Ladder, type Precision } from "./model/ladder";
import { lineOf, silentVenues, topsOf, type Line } from "./model/markets";
import { significantDecimals } from "./model/decimal";
import { joined } from "./model/outages";
import { bookPath, filtersOf, lookOf, marketsPath, routeOf, USUAL_TIMEFRAME, type Filters, type Look, type Route } from "./model/route";
import { finestDecimals, laddersSteps, stepAbove } from "./model/steps";
import { Tape } from "./model/tape";
import { streamOf, streamParts, type Bar, type Depth, type Feed, type Frame, type Instrument, type Listing, type Outage, type Problem, type Session, type Top, type Tops } from "./net/protocol";
import { get, ProblemError } from "./net/rest";
import { Socket, type Link } from "./net/socket";
import { newestBars, olderBars, outagesOf } from "./past";
import { remembered } from "./remembered";

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

/** Length of the candles. */
export const timeframe = signal<Timeframe>(lookOf(location.search).timeframe ?? remembered.timeframe());
/** Half width of the depth chart, hundredths of a percent. */
export const rangeBp = signal<number>(remembered.rangeBp() ?? USUAL_RANGE_BP);
/** Width of the ladder's groups; null for the venue's own levels. */
export const step = signal<string | null>(null);
/** Why older candles could not be had, if they could not. */
export const pastProblem = signal<Problem | null>(null);

/** How the chosen market is traded, where its venue says so, and what the venue lists of it. */
export const session = signal<Session | null>(null);
export const listing = signal<Listing | null>(null);

export const instrument = computed(() => instruments.value?.find((one) => one.instrument === selected.value) ?? null);

// ---- state of the chosen market -------------------------------------------------------------------------------------

export const market = {
  depth: null as Depth | null,
  /** The same in groups, while the ladder shows groups. */
  grouped: null as Depth | null,
  /** A wider part of the book, in the groups of the depth chart. */
  deep: null as Depth | null,
  candles: new Candles(USUAL_TIMEFRAME),
  outages: [] as Outage[],
  ladder: null as Ladder | null,
  precision: null as Precision | null,
  tape: new Tape(),
  flow: new Flow(),
};

/** Server's clock less ours, microseconds. */
let clockAheadUs: number | null = null;

// ---- state of all markets -------------------------------------------------------------------------------------------

export const markets = {
  tops: null as Top[] | null,
  /** Rises with every frame. */
  version: 0,
};

/** The node's own venue, which tells sessions. */
const OWN_VENUE = "local";
const GROUPS_STREAM = "depth100_step_";

/** Server's clock at its receipt of the newest book or trade of the chosen market, microseconds. */
let dataUs = 0;
/** Width of the groups of the depth chart. */
let deepStep: string | null = null;
/** Widths that the server refused for this market. */
const refusedSteps = new Set<string>();
let pastOutages: Outage[] = [];
let liveOutages: Outage[] = [];
let lookingBack = false;
let feedAtMs = 0;
const RATES_KEPT = 60;

const socket = new Socket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/v1`, {
  link(state) {
    link.value = state;
    if (state.state === "open") void loadInstruments();
    judge();
  },
  frame: take,
  refused(refusal, streams) {
    // An instrument the server has not seen yet: the next list of instruments brings us back.
    if (refusal.code === "unknown_instrument") instruments.value = null;
    else if (streams.some((stream) => stream.includes("_step_"))) forgetSteps();
    else problem.value = refusal;
  },
});

/** The server's clock now, microseconds, as far as frames have told; 0 before the first. */
export function serverNowUs(): number {
  return clockAheadUs === null ? 0 : clockAheadUs + performance.now() * 1000;
}

/** Learns from a frame. A heartbeat has just been said; the first frame of a state may be as old as the state. */
function setClock(frame: Frame): void {
  const ahead = frame.ts - performance.now() * 1000;
  if (clockAheadUs === null || frame.stream === "!heartbeat" || ahead > clockAheadUs) clockAheadUs = ahead;
}

export function start(): void {
  if (route.value.page === "book") look(route.value.instrument);
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

/** Takes the look of a book from its address, else as it was looked at last, and makes the address say it. */
function look(name: string): void {
  const asked = lookOf(location.search);
  timeframe.value = asked.timeframe ?? remembered.timeframe();
  if (market.candles.timeframe !== timeframe.value) market.candles = new Candles(timeframe.value);
  step.value = asked.step ?? remembered.step(name);
  history.replaceState(null, "", bookPath(name, { timeframe: timeframe.value, step: step.value }));
}

/** Looks at the same book otherwise. */
function lookOtherwise(change: Partial<Look>): void {
  const name = selected.value;
  if (name === null) return;
  if (change.timeframe !== undefined) timeframe.value = change.timeframe;
  if (change.step !== undefined) step.value = change.step;
  remembered.look(name, { timeframe: timeframe.value, step: step.value });
  history.replaceState(null, "", bookPath(name, { timeframe: timeframe.value, step: step.value }));
  subscribe();
}

/** Groups that this market cannot have, from an address or from before its precision changed: the ladder's are tried first. */
function forgetSteps(): void {
  if (step.value !== null) {
    market.grouped = null;
    lookOtherwise({ step: null });
    setLadder();
    return;
  }
  if (deepStep !== null) refusedSteps.add(deepStep);
  deepStep = market.deep = null;
  subscribe();
}

export function chooseTimeframe(next: Timeframe): void {
  if (next === timeframe.value) return;
  market.candles = new Candles(next);
  pastProblem.value = null;
  socket.renew(/@kline_/);
  lookOtherwise({ timeframe: next });
  touch("candles");
}

/** Widths the ladder can have now. */
export function steps(): (string | null)[] {
  return laddersSteps(instrument.value?.tick ?? null, market.precision?.price ?? 0, bestMid() ?? 0);
}

/** Decimals of the chosen market's prices and sizes: those of its book, before that of its steps. */
export function precision(): Precision {
  const decimals = (step: string | null | undefined): number => significantDecimals(step ?? "");
  return market.precision ?? { price: decimals(instrument.value?.tick), size: decimals(instrument.value?.lot) };
}

/** Middle of the best bid and ask; of a book with one side its best price. */
export function bestMid(): number | null {
  const [bid, ask] = [market.depth?.bids[0], market.depth?.asks[0]];
  if (bid === undefined || ask === undefined) {
    const only = bid ?? ask;
    return only === undefined ? null : Number(only[0]);
  }
  return (Number(bid[0]) + Number(ask[0])) / 2;
}

/** Makes the groups wider or narrower by `by` widths. */
export function group(by: number): void {
  const offered = steps();
  const at = Math.max(0, offered.indexOf(step.value));
  const next = offered[Math.min(offered.length - 1, Math.max(0, at + by))];
  if (next === undefined || next === step.value) return;
  market.grouped = null;
  lookOtherwise({ step: next });
  setLadder();
}

/** Shows a wider or narrower part of the book in the depth chart. */
export function widen(by: number): void {
  const at = RANGES_BP.findIndex((bp) => bp === rangeBp.value);
  const next = RANGES_BP[Math.min(RANGES_BP.length - 1, Math.max(0, at + by))];
  if (next === undefined || next === rangeBp.value) return;
  remembered.range(next);
  setRange(next);
}

/** Shows as much of a narrow book as there is, unless somebody chose otherwise. */
export function fitRange(bp: number): void {
  if (remembered.rangeBp() === null) setRange(bp);
}

function setRange(bp: number): void {
  rangeBp.value = bp;
  aimDepthChart();
  touch("depth");
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
  if (selected.value !== before) {
    if (next.page === "book") look(next.instrument);
    clearMarket();
  }
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
  if (name !== selected.value) go(bookPath(name, { timeframe: timeframe.value }), selected.value !== null);
}

function clearMarket(): void {
  market.depth = market.ladder = market.precision = market.grouped = market.deep = null;
  session.value = listing.value = null;
  market.candles = new Candles(timeframe.value);
  market.outages = pastOutages = liveOutages = [];
  deepStep = null;
  refusedSteps.clear();
  rangeBp.value = remembered.rangeBp() ?? USUAL_RANGE_BP;
  dataUs = 0;
  pastProblem.value = null;
  socket.renew(/@/);
  market.tape.clear();
  market.flow.clear();
  for (const topic of ["book", "tape", "flow", "candles", "depth"] as const) touch(topic);
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
    // Its decimals are known from now on.
    touch("tape");
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
  if (instrument.value !== null && !document.hidden) {
    const kinds = ["depth20", "trade", "outages", `kline_${timeframe.value}`];
    if (instrument.value.venue === OWN_VENUE) kinds.push("session");
    if (step.value !== null) kinds.push(`depth20_step_${step.value}`);
    if (deepStep !== null) kinds.push(GROUPS_STREAM + deepStep);
    const name = instrument.value.instrument;
    wanted.push(...kinds.map((kind) => streamOf(name, kind)));
  }
  socket.want(wanted);
}

function take(frame: Frame): void {
  setClock(frame);
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
  if (parts.kind === "depth20") takeDepth(frame.data as Depth);
  if (parts.kind === "trade") takeTrades(frame);
  if (parts.kind === `kline_${timeframe.value}`) takeBars(frame);
  if (parts.kind === "session") takeSession((frame.data ?? null) as Session | null);
  if (parts.kind === "outages") takeOutages(frame.data as Outage[]);
  if (parts.kind === `depth20_step_${step.value}`) {
    market.grouped = (frame.data ?? null) as Depth | null;
    setLadder();
  }
  if (parts.kind === GROUPS_STREAM + deepStep) {
    market.deep = (frame.data ?? null) as Depth | null;
    touch("depth");
  }
}

function takeSession(said: Session | null): void {
  if (said !== null && said.session !== session.value?.session) void loadListing(said.instrument);
  session.value = said;
  touch("book");
}

/** Its band may be another with every session; without it the page says less. */
async function loadListing(name: string): Promise<void> {
  try {
    const all = await get<Listing[]>("/api/v1/venue/instruments");
    if (selected.value === name) listing.value = all.find((one) => one.instrument === name) ?? null;
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
  }
}

function takeDepth(depth: Depth): void {
  const known = instrument.value;
  market.precision = precisionOf(depth, known?.tick ?? null, known?.lot ?? null, market.precision);
  market.depth = depth;
  setLadder();
  aimDepthChart();
  market.flow.top(depth);
  dataUs = Math.max(dataUs, depth.ts_recv);
  touch("flow");
  if (fresh.value.state !== "fresh") judge();
}

/** The ladder of what it shows now: the venue's levels, or groups of them. */
function setLadder(): void {
  const shown = step.value === null ? market.depth : market.grouped;
  if (market.precision !== null && market.depth !== null) {
    market.ladder = shown === null ? null : ladderOf(shown, market.precision, market.depth);
  }
  touch("book");
}

/** Asks for groups that fit the depth chart, again when the price has moved far from where it was. */
function aimDepthChart(): void {
  const mid = bestMid();
  if (mid === null) return;
  const width = widthFor(mid, rangeBp.value);
  const decimals = finestDecimals(instrument.value?.tick ?? null, market.precision?.price ?? 0);
  const wanted = stepAbove(width, decimals);
  if (wanted === deepStep || refusedSteps.has(wanted)) return;
  // A price beside the border between two widths would else have us ask all the time.
  if (deepStep !== null && Number(wanted) > Number(deepStep) / 2.6 && Number(deepStep) > width && Number(deepStep) < width * 5.1) return;
  deepStep = wanted;
  subscribe();
}

function takeBars(frame: Frame): void {
  market.candles.take((frame.data ?? []) as Bar[]);
  touch("candles");
  if (frame.snapshot === true || (frame.missed ?? 0) > 0) void takePast(newestBars);
}

/** Bars before the first one, when somebody looks that far. */
export async function lookBack(): Promise<void> {
  if (market.candles.complete || lookingBack) return;
  lookingBack = true;
  try {
    await takePast(olderBars);
  } finally {
    lookingBack = false;
  }
}

/** Takes bars of the past and the outages of their time, unless something else is looked at by then. */
async function takePast(load: (instrument: string, candles: Candles) => Promise<void>): Promise<void> {
  const [name, candles] = [selected.value, market.candles];
  if (name === null) return;
  try {
    await load(name, candles);
    if (candles !== market.candles) return;
    touch("candles");
    const outages = await outagesOf(name, candles);
    if (candles !== market.candles) return;
    pastProblem.value = null;
    pastOutages = outages;
    takeOutages(liveOutages);
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    if (candles === market.candles && link.value.state === "open") pastProblem.value = error.problem;
  }
}

function takeOutages(live: Outage[]): void {
  liveOutages = live;
  market.outages = joined(pastOutages, live);
  for (const topic of ["candles", "flow", "depth"] as const) touch(topic);
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
  if (last !== null) dataUs = Math.max(dataUs, last.ts_recv);
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
  // Ours at that moment, by what is known of the server's clock now: the first frame of a state may be an old one.
  const dataAtMs = performance.now() - Math.max(0, serverNowUs() - dataUs) / 1000;
  const next = freshness({
    depth: market.depth,
    nowMs: performance.now(),
    heardAtMs: link.value.state === "open" ? socket.heardAt : Math.min(socket.heardAt, dataAtMs),
    feed: feeds.value?.find((feed) => feed.venue === instrument.value?.venue) ?? null,
    feedAtMs,
    dataAtMs,
  });
  const same = next.state === fresh.value.state && (next.state === "fresh" || next.state === "empty");
  if (!same) fresh.value = next;
  // What lasts grows with the clock, whether messages come or not.
  if (next.state === "stale" || next.state === "unusable") for (const topic of ["candles", "flow"] as const) touch(topic);
}

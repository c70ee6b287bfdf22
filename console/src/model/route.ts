// Which page an address means, and the address of a page: reload, back and a shared link all go through here.

import { TIMEFRAMES, type Timeframe } from "./candles";

export type Route = { page: "markets" } | { page: "book"; instrument: string };

/** How a book is looked at. */
export interface Look {
  timeframe: Timeframe;
  /** Width of the ladder's groups; null for the venue's own levels. */
  step: string | null;
}

export const USUAL_TIMEFRAME: Timeframe = "1m";

/** `/m/BTC/USD.KRAKEN` is a book, everything else the markets. */
export function routeOf(path: string, search: string): Route {
  if (path.startsWith("/m/") && path.length > 3) return { page: "book", instrument: decoded(path.slice(3)).toUpperCase() };
  const asked = new URLSearchParams(search).get("instrument");
  return asked === null || asked === "" ? { page: "markets" } : { page: "book", instrument: asked.toUpperCase() };
}

/** What the address says of the look. */
export function lookOf(search: string): Partial<Look> {
  const asked = new URLSearchParams(search);
  const timeframe = TIMEFRAMES.find((one) => one === asked.get("tf"));
  const step = asked.get("step");
  return { ...(timeframe === undefined ? {} : { timeframe }), ...(step === null || !/^(0\.0*[125]|[125]0*)$/.test(step) ? {} : { step }) };
}

/** A slash in a name stays one, so that the address reads like the name; what is as usual is left out. */
export function bookPath(instrument: string, look: Partial<Look> = {}): string {
  const said = new URLSearchParams();
  if (look.timeframe !== undefined && look.timeframe !== USUAL_TIMEFRAME) said.set("tf", look.timeframe);
  if (look.step !== undefined && look.step !== null) said.set("step", look.step);
  const query = said.toString();
  return `/m/${instrument.split("/").map(encodeURIComponent).join("/")}${query === "" ? "" : `?${query}`}`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a lone percent sign is part of a name nobody has
  }
}

export const SORTS = ["instrument", "venue", "spread", "age", "gaps", "book"] as const;
export type SortKey = (typeof SORTS)[number];

/** What the markets table shows, and in which order. */
export interface Filters {
  text: string;
  venue: string | null;
  /** Only markets whose book must not be traded on. */
  trouble: boolean;
  sort: SortKey;
  down: boolean;
}

export const NO_FILTERS: Filters = { text: "", venue: null, trouble: false, sort: "instrument", down: false };

export function filtersOf(search: string): Filters {
  const asked = new URLSearchParams(search);
  const sort = asked.get("sort") ?? "instrument";
  const key = SORTS.find((one) => one === sort.replace(/^-/, ""));
  return {
    text: asked.get("q") ?? "",
    venue: asked.get("venue"),
    trouble: asked.get("show") === "trouble",
    sort: key ?? "instrument",
    down: key !== undefined && sort.startsWith("-"),
  };
}

/** The address of the markets with these filters; what is as usual is left out. */
export function marketsPath(filters: Filters): string {
  const said = new URLSearchParams();
  if (filters.text !== "") said.set("q", filters.text);
  if (filters.venue !== null) said.set("venue", filters.venue);
  if (filters.trouble) said.set("show", "trouble");
  if (filters.sort !== "instrument" || filters.down) said.set("sort", (filters.down ? "-" : "") + filters.sort);
  const query = said.toString();
  return query === "" ? "/" : `/?${query}`;
}

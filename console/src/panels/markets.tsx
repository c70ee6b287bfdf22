// The markets table: every instrument of every venue in a line. Rows are made once per instrument and rewritten in
// place; a frame touches only those in sight, and the order changes only when asked or every two seconds.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { paints, touch } from "../draw";
import { count } from "../model/clock";
import { fitted, type Needs } from "../model/columns";
import { grouped, significantDecimals, withDecimals } from "../model/decimal";
import { ago, arranged, gapIsRecent, isTrouble, whyOf, type Condition, type Line } from "../model/markets";
import { bookPath, type SortKey } from "../model/route";
import { SESSION_WORDS } from "../model/trading";
import { filter, filters, go, instruments, linesNow, link, markets, serverNowUs } from "../session";
import { cell, SizeCell, TextCell } from "./cells";
import type { Veil } from "./panel";

const ROW_HEIGHT = 29;
const PADDING = 8;
const REARRANGED_MS = 2_000;
const WORDS: Record<Condition, string> = { usable: "usable", unusable: "unusable", stale: "stale", none: "no book", ...SESSION_WORDS };

const shown = signal({ shown: 0, all: 0, trouble: 0, none: 0 });

/** How many characters the longest figure of a column has had, and how long its longest words were. */
class Longest {
  readonly figures: Record<"size" | "price" | "spread" | "last" | "age" | "gaps", number> = { size: 4, price: 4, spread: 4, last: 4, age: 5, gaps: 1 };
  readonly words: Record<"name" | "suffix" | "venue" | "why", string> = { name: "", suffix: "", venue: "", why: "" };
  grown = true;

  figure(column: keyof Longest["figures"], text: string): string {
    if (text.length > this.figures[column]) {
      this.figures[column] = text.length;
      this.grown = true;
    }
    return text;
  }

  word(column: keyof Longest["words"], text: string): string {
    if (text.length > this.words[column].length) {
      this.words[column] = text;
      this.grown = true;
    }
    return text;
  }
}

/** How wide the page's own fonts write, padding and the marks beside figures included; and the name with its venue. */
function needsOf(longest: Longest): [needs: Needs, wholeNamePx: number] {
  const pen = document.createElement("canvas").getContext("2d") as CanvasRenderingContext2D;
  const wide = (font: string, text: string): number => {
    pen.font = font;
    return Math.ceil(pen.measureText(text).width);
  };
  const style = getComputedStyle(document.documentElement);
  const [sans, mono] = [style.getPropertyValue("--sans"), style.getPropertyValue("--mono")];
  const figure = (column: keyof Longest["figures"]): number => wide(`12px ${mono}`, "0".repeat(longest.figures[column])) + 2 * PADDING + 1;
  const head = (text: string): number => wide(`500 11px ${sans}`, `${text} ↓`) + 2 * PADDING + 1;
  const word = (column: keyof Longest["words"], font: string): number => (longest.words[column] === "" ? 0 : wide(font, longest.words[column]) + 2 * PADDING + 4);
  // Its border, and the dots that stand for a venue there is no room for.
  const name = Math.max(head("Instrument"), word("name", `600 13px ${sans}`) + 3);
  const needs = {
    name: name + wide(`600 13px ${sans}`, "…"),
    venue: Math.max(head("Venue"), word("venue", `12px ${sans}`)),
    size: figure("size"),
    price: figure("price"),
    spread: Math.max(head("Spread bp"), figure("spread")),
    last: figure("last") + wide(`9px ${mono}`, " ▲") + 2,
    age: Math.max(head("Age"), figure("age")),
    gaps: Math.max(head("Gaps"), figure("gaps") + wide(`700 12px ${mono}`, "▲ ")),
    book: wide(`700 11px ${sans}`, "unusable") + 2 * PADDING + 8,
    air: 12,
    why: Math.min(200, word("why", `12px ${sans}`)),
  };
  return [needs, name + wide(`11px ${sans}`, longest.words.suffix) + 4];
}

class MarketRow {
  readonly node = document.createElement("tr");
  readonly link = document.createElement("a");
  private readonly cells: Record<"venue" | "bid" | "ask" | "spread" | "last" | "age" | "gaps" | "why" | "book", TextCell>;
  private readonly bidSize: SizeCell;
  private readonly askSize: SizeCell;
  private readonly lastNode = cell("td", "num last-trade");
  private readonly gapsNode = cell("td", "num gaps-count");
  private readonly pill = document.createElement("span");
  private price = 0;
  private size = 0;
  private stepped = false;

  constructor(
    name: string,
    private readonly longest: Longest,
  ) {
    const point = name.lastIndexOf(".");
    const suffix = document.createElement("span");
    suffix.className = "hint";
    suffix.textContent = longest.word("suffix", point < 0 ? "" : name.slice(point));
    this.link.append(longest.word("name", point < 0 ? name : name.slice(0, point)), suffix);
    this.link.href = bookPath(name);
    this.link.tabIndex = -1;
    const head = cell("th", "market-name");
    head.scope = "row";
    head.append(this.link);
    const [venue, bidSize, bid, ask] = [cell("td", "market-venue"), cell("td", "num size"), cell("td", "num bid"), cell("td", "num ask")];
    const [askSize, spread, age, book] = [cell("td", "num size"), cell("td", "num market-spread"), cell("td", "num age"), cell("td", "market-book")];
    const why = document.createElement("span");
    why.className = "market-why";
    book.append(why, " ", this.pill);
    this.node.append(head, venue, bidSize, bid, ask, askSize, spread, this.lastNode, age, this.gapsNode, book);
    this.node.dataset["instrument"] = name;
    const text = (node: HTMLElement): TextCell => new TextCell(node);
    this.cells = {
      venue: text(venue),
      bid: text(bid),
      ask: text(ask),
      spread: text(spread),
      last: text(this.lastNode),
      age: text(age),
      gaps: text(this.gapsNode),
      why: text(why),
      book: text(this.pill),
    };
    this.bidSize = new SizeCell(bidSize);
    this.askSize = new SizeCell(askSize);
  }

  show(line: Line, nowUs: number): void {
    const { top, condition } = line;
    if (!this.stepped) {
      // Of one whose step is known all digits are known, whatever was quoted so far.
      const known = instruments.value?.find((one) => one.instrument === top.instrument);
      this.stepped = known !== undefined;
      this.price = Math.max(this.price, significantDecimals(known?.tick ?? ""));
      this.size = Math.max(this.size, significantDecimals(known?.lot ?? ""));
    }
    for (const price of [top.bid_price, top.ask_price, top.last_price]) this.price = Math.max(this.price, significantDecimals(price ?? ""));
    for (const size of [top.bid_size, top.ask_size]) this.size = Math.max(this.size, significantDecimals(size ?? ""));
    const price = (text: string | null): string => (text === null ? "–" : grouped(withDecimals(text, this.price)));
    const size = (text: string | null): string => (text === null ? "" : grouped(withDecimals(text, this.size)));
    const { longest } = this;
    this.cells.venue.set(longest.word("venue", top.venue));
    this.bidSize.set(longest.figure("size", size(top.bid_size)));
    this.cells.bid.set(longest.figure("price", price(top.bid_price)));
    this.cells.ask.set(longest.figure("price", price(top.ask_price)));
    this.askSize.set(longest.figure("size", size(top.ask_size)));
    this.cells.spread.set(longest.figure("spread", line.spreadBp === null ? "–" : line.spreadBp.toFixed(line.spreadBp < 0.1 ? 3 : 2)));
    this.cells.last.set(longest.figure("last", price(top.last_price)));
    this.lastNode.dataset["side"] = top.last_side;
    this.cells.age.set(longest.figure("age", top.updated_at === 0 ? "–" : ago(Math.max(0, nowUs - top.updated_at))));
    const recent = gapIsRecent(top, nowUs);
    this.cells.gaps.set(`${recent ? "▲ " : ""}${longest.figure("gaps", count(top.gaps))}`);
    this.gapsNode.classList.toggle("trouble", recent);
    this.gapsNode.title = top.gaps > 0 ? `The newest ${ago(Math.max(0, nowUs - top.gap_at))} ago` : "";
    this.cells.why.set(longest.word("why", whyOf(line, nowUs, { price: this.price, size: this.size }) ?? ""));
    this.cells.book.set(WORDS[condition]);
    if (this.node.dataset["condition"] !== condition) {
      this.node.dataset["condition"] = condition;
      this.pill.className = `pill pill-${condition}`;
    }
  }
}

class MarketsPainter {
  private readonly rows = new Map<string, MarketRow>();
  private order: string[] = [];
  private filters: unknown = null;
  private rearrangedAt = -REARRANGED_MS;
  private readonly longest = new Longest();
  private room = 0;

  constructor(
    private readonly scroll: HTMLElement,
    private readonly body: HTMLElement,
    private readonly empty: HTMLElement,
  ) {
    void document.fonts.ready.then(() => (this.longest.grown = true));
  }

  paint(): void {
    const lines = linesNow();
    const now = performance.now();
    const due = now - this.rearrangedAt > REARRANGED_MS;
    if (due || this.filters !== filters.value || lines.length !== shown.value.all) {
      this.rearrangedAt = now;
      this.filters = filters.value;
      this.arrange(arranged(lines, filters.value), lines);
    }
    const nowUs = serverNowUs();
    const first = Math.floor(this.scroll.scrollTop / ROW_HEIGHT) - 4;
    const last = first + Math.ceil(Math.max(this.scroll.clientHeight, 400) / ROW_HEIGHT) + 8;
    const inSight = new Set(this.order.slice(Math.max(0, first), last));
    for (const line of lines) {
      if (due || inSight.has(line.top.instrument)) this.rows.get(line.top.instrument)?.show(line, nowUs);
    }
    this.fit();
    this.body.dataset["version"] = String(markets.version);
  }

  /** Gives each column the width its figures need, and gives up columns where there is no room for all. */
  private fit(): void {
    const room = this.scroll.clientWidth;
    if (room === this.room && !this.longest.grown) return;
    this.room = room;
    this.longest.grown = false;
    const { widths, without, total } = fitted(room, ...needsOf(this.longest));
    const table = this.body.closest("table") as HTMLTableElement;
    for (const [column, width] of Object.entries(widths)) table.style.setProperty(`--${column}-column`, `${width}px`);
    table.style.minWidth = `${total}px`;
    table.dataset["without"] = without.join(" ");
  }

  private arrange(kept: Line[], all: Line[]): void {
    const order = kept.map((line) => line.top.instrument);
    const nowUs = serverNowUs();
    for (const line of kept) {
      if (this.rows.has(line.top.instrument)) continue;
      const row = new MarketRow(line.top.instrument, this.longest);
      row.show(line, nowUs);
      this.rows.set(line.top.instrument, row);
    }
    if (order.length !== this.order.length || order.some((name, at) => name !== this.order[at])) {
      const focused = this.body.contains(document.activeElement) ? (document.activeElement as HTMLElement) : null;
      this.order = order;
      this.body.replaceChildren(...order.map((name) => (this.rows.get(name) as MarketRow).node));
      if (focused !== null && this.body.contains(focused)) focused.focus({ preventScroll: true });
      const reachable = this.body.querySelector<HTMLElement>("a[tabindex='0']");
      if (reachable === null) this.body.querySelector("a")?.setAttribute("tabindex", "0");
      // The table's own head says how many rows there are, for those who cannot see them.
      this.body.closest("table")?.setAttribute("aria-rowcount", String(order.length + 1));
    }
    const trouble = all.filter((line) => isTrouble(line.condition)).length;
    const none = all.filter((line) => line.condition === "none").length;
    const said = shown.value;
    if (said.shown !== kept.length || said.all !== all.length || said.trouble !== trouble || said.none !== none) {
      shown.value = { shown: kept.length, all: all.length, trouble, none };
    }
    this.empty.hidden = kept.length > 0 || all.length === 0;
  }
}

/** Moves the keyboard's place in the table; the rows are links, of which one at a time is reached by Tab. */
function moveTo(body: HTMLElement, target: Element | null | undefined): void {
  const next = target?.querySelector<HTMLElement>("a");
  if (next === null || next === undefined) return;
  for (const reachable of body.querySelectorAll("a[tabindex='0']")) reachable.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
  next.closest("tr")?.scrollIntoView({ block: "nearest" });
}

function onTableKey(event: KeyboardEvent): void {
  const body = event.currentTarget as HTMLElement;
  const row = (event.target as Element).closest("tr");
  if (row === null || event.ctrlKey || event.metaKey || event.altKey) return;
  const at = [...body.children].indexOf(row);
  const page = 12;
  const to: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: Infinity };
  const wanted = to[event.key];
  if (wanted === undefined) return;
  event.preventDefault();
  if (wanted < 0 && event.key === "ArrowUp") focusFilter();
  else moveTo(body, body.children[Math.min(body.children.length - 1, Math.max(0, wanted))]);
}

export function focusFilter(): void {
  document.querySelector<HTMLInputElement>(".market-filter")?.focus();
}

const COLUMNS: readonly { name: string; long?: string; className: string; sort?: SortKey; meaning?: string }[] = [
  { name: "Instrument", className: "market-name", sort: "instrument" },
  { name: "Venue", className: "market-venue", sort: "venue" },
  { name: "Size", long: "Bid size", className: "num size" },
  { name: "Bid", className: "num bid-head" },
  { name: "Ask", className: "num ask-head" },
  { name: "Size", long: "Ask size", className: "num size" },
  { name: "Spread bp", className: "num market-spread", sort: "spread", meaning: "Ask less bid, in hundredths of a percent of their middle" },
  { name: "Last", className: "num last-trade", meaning: "Newest trade; up: the aggressor bought, down: sold" },
  { name: "Age", className: "num age", sort: "age", meaning: "Since its book, top or trades changed" },
  { name: "Gaps", className: "num gaps-count", sort: "gaps", meaning: "Messages or trades of this instrument that never came; marked when one was in the last ten minutes" },
  { name: "Book", className: "market-book", sort: "book", meaning: "Whether the book may be traded on" },
];

function Head({ column }: { column: (typeof COLUMNS)[number] }) {
  const { name, long, className, sort, meaning } = column;
  const { sort: chosen, down } = filters.value;
  if (sort === undefined) {
    return (
      <th scope="col" class={className} title={meaning}>
        {long === undefined ? name : <><span aria-hidden="true">{name}</span><span class="sr">{long}</span></>}
      </th>
    );
  }
  const own = chosen === sort;
  return (
    <th scope="col" class={className} aria-sort={own ? (down ? "descending" : "ascending") : "none"}>
      <button type="button" class="sort" title={meaning} onClick={() => filter({ sort, down: own ? !down : sort === "gaps" || sort === "book" })}>
        {name}
        <span aria-hidden="true">{own ? (down ? " ↓" : " ↑") : ""}</span>
      </button>
    </th>
  );
}

function Toolbar({ first }: { first: () => void }) {
  const { text, venue, trouble } = filters.value;
  const { shown: kept, all, trouble: bad, none } = shown.value;
  const onKey = (event: KeyboardEvent & { currentTarget: HTMLInputElement }): void => {
    if (event.key === "ArrowDown") first();
    else if (event.key === "Escape" && text !== "") filter({ text: "" });
    else if (event.key === "Escape") event.currentTarget.blur();
    else if (event.key === "Enter") document.querySelector<HTMLElement>(".markets-table tbody a")?.click();
    else return;
    event.preventDefault();
  };
  return (
    <div class="markets-tools">
      <input
        class="market-filter"
        type="search"
        aria-label="Filter markets"
        placeholder="Filter  /"
        autocomplete="off"
        spellcheck={false}
        value={text}
        onInput={(event) => filter({ text: event.currentTarget.value })}
        onKeyDown={onKey}
      />
      {venue !== null && (
        <button type="button" class="chip" onClick={() => filter({ venue: null })} aria-label={`Show all venues, not only ${venue}`}>
          {venue} <span aria-hidden="true">×</span>
        </button>
      )}
      <button type="button" class={`chip ${bad > 0 ? "chip-warn" : ""}`} aria-pressed={trouble} onClick={() => filter({ trouble: !trouble })}>
        {bad > 0 ? `▲ ${bad} not to be trusted` : none > 0 ? `${count(none)} without a book` : "all books usable"}
      </button>
      <span class="hint markets-count">{kept === all ? `${count(all)} instruments` : `${count(kept)} of ${count(all)} instruments`}</span>
    </div>
  );
}

function veilOf(): Veil | null {
  if (markets.tops !== null && markets.tops.length > 0) return null;
  if (link.value.state !== "open") return { tone: "calm", title: "Connecting", detail: `Asking ${location.host} for its markets.`, over: false };
  if (instruments.value === null) return { tone: "calm", title: "Loading", detail: "Asking for the list of instruments.", over: false };
  if (instruments.value.length > 0 || shown.value.all > 0) return null;
  return { tone: "calm", title: "No instruments yet", detail: "As soon as a feed names its first instrument, it appears here by itself.", over: false };
}

export function MarketsPanel() {
  const scroll = useRef<HTMLDivElement>(null);
  const body = useRef<HTMLTableSectionElement>(null);
  const empty = useRef<HTMLParagraphElement>(null);
  useEffect(() => {
    if (scroll.current === null || body.current === null || empty.current === null) return undefined;
    const painter = new MarketsPainter(scroll.current, body.current, empty.current);
    const resized = new ResizeObserver(() => touch("markets"));
    resized.observe(scroll.current);
    const ends = paints("markets", () => painter.paint());
    return () => {
      resized.disconnect();
      ends();
    };
  }, []);
  const veil = veilOf();
  const lost = link.value.state !== "open";
  return (
    <section id="markets" class="panel panel-markets" aria-labelledby="markets-title" data-veil={veil === null ? "none" : "full"}>
      <header class="panel-head">
        <h2 id="markets-title">Markets</h2>
        {lost && <span class="tag tag-warn">last known</span>}
        <Toolbar first={() => body.current !== null && moveTo(body.current, body.current.firstElementChild)} />
      </header>
      <div class="panel-body">
        <div class="scroll markets-scroll" ref={scroll} tabIndex={0} role="region" aria-label="All markets" onScroll={() => touch("markets")}>
          <table class="live markets-table">
            <caption class="sr">Best bid and ask, last trade and state of the book of every instrument</caption>
            <thead>
              <tr>
                {COLUMNS.map((column, at) => (
                  <Head column={column} key={at} />
                ))}
              </tr>
            </thead>
            <tbody
              ref={body}
              onKeyDown={onTableKey}
              onClick={(event) => {
                // The whole row leads where its link does; the link itself is the browser's affair.
                const target = event.target as Element;
                const name = target.closest("tr")?.dataset["instrument"];
                if (name !== undefined && target.closest("a") === null && String(getSelection()) === "") go(bookPath(name));
              }}
            />
          </table>
          <p class="none" ref={empty} hidden>
            Nothing matches these filters.{" "}
            <button type="button" onClick={() => filter({ text: "", venue: null, trouble: false })}>
              Show all
            </button>
          </p>
        </div>
        {veil !== null && (
          <div class={`veil veil-${veil.tone}`}>
            <p class="veil-title">{veil.title}</p>
            <p class="veil-detail">{veil.detail}</p>
          </div>
        )}
      </div>
    </section>
  );
}

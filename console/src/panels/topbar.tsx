// The bar on top: what is shown, its last price, whether it can be trusted, the time.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { paints } from "../draw";
import { clockTime, span } from "../model/clock";
import { grouped, withDecimals } from "../model/decimal";
import { marketsPath } from "../model/route";
import { isContinuous, SESSION_WORDS, sessionDetail } from "../model/trading";
import { filters, fresh, link, listing, market, precision, route, session } from "../session";
import { TextCell } from "./cells";
import { helpOpen } from "./help";
import { Picker } from "./picker";

const clock = signal(clockTime(new Date()));

function LinkState() {
  const state = link.value;
  let [kind, words] = ["ok", "connected"];
  if (state.state === "connecting") [kind, words] = ["wait", "connecting"];
  if (state.state === "waiting") [kind, words] = ["bad", "disconnected"];
  if (state.state === "open" && route.value.page === "book" && fresh.value.state === "stale") [kind, words] = ["wait", `stale ${span(fresh.value.ageMs * 1000)}`];
  return (
    <span class={`link link-${kind}`} data-link={state.state}>
      <span class="link-dot" aria-hidden="true" />
      {words}
    </span>
  );
}

function LastPrice() {
  const price = useRef<HTMLSpanElement>(null);
  const arrow = useRef<HTMLSpanElement>(null);
  useEffect(() => {
    if (price.current === null || arrow.current === null) return undefined;
    const [priceCell, arrowCell] = [new TextCell(price.current), new TextCell(arrow.current)];
    const box = price.current.parentElement as HTMLElement;
    return paints("tape", () => {
      const last = market.tape.last();
      priceCell.set(last === null ? "–" : grouped(withDecimals(last.price, precision().price)));
      arrowCell.set(last === null || last.side === "none" ? "" : last.side === "buy" ? "▲" : "▼");
      box.dataset["side"] = last?.side ?? "none";
    });
  }, []);
  return (
    <p class={fresh.value.state === "stale" || fresh.value.state === "empty" ? "last last-old" : "last"}>
      <span class="sr">Last trade </span>
      <span class="last-price" ref={price}>
        –
      </span>
      <span class="last-arrow" ref={arrow} aria-hidden="true" />
    </p>
  );
}

/** How the market is traded, where that is not as usual. */
function SessionState() {
  const said = session.value;
  if (said === null || isContinuous(said.session)) return null;
  return (
    <span class="session" data-session={said.session}>
      <span class={`pill pill-${said.session}`}>{SESSION_WORDS[said.session]}</span> <span class="hint">{sessionDetail(said, listing.value)}</span>
    </span>
  );
}

export function TopBar() {
  useEffect(() => {
    const tick = setInterval(() => (clock.value = clockTime(new Date())), 250);
    return () => clearInterval(tick);
  }, []);
  const book = route.value.page === "book";
  return (
    <header class="topbar">
      <h1>
        <a class="brand" href="/">
        <svg viewBox="0 0 32 32" width="20" height="20" aria-hidden="true">
          <path d="M3 10h15M3 16h9M3 22h5" stroke="var(--up)" stroke-width="3.4" stroke-linecap="round" />
          <path d="M29 10h-5M29 16h-11M29 22H14" stroke="var(--down)" stroke-width="3.4" stroke-linecap="round" />
        </svg>
          <span class="brand-name">tidebook</span>
        </a>
      </h1>
      <nav class="pages" aria-label="Pages">
        <a href={marketsPath(filters.value)} aria-current={book ? undefined : "page"}>
          Markets
        </a>
      </nav>
      {book && <Picker />}
      {book && <LastPrice />}
      {book && <SessionState />}
      <div class="topbar-right">
        <LinkState />
        <span class="clock">
          {clock.value} <span class="hint">UTC</span>
        </span>
        <button type="button" class="icon" aria-label="Keys and display" onClick={() => (helpOpen.value = true)}>
          ?
        </button>
      </div>
    </header>
  );
}

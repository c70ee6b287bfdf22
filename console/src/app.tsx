// Two pages under one bar: all markets, and the book of one. Grid areas in `panels.css` place the panels.

import { useEffect } from "preact/hooks";
import { CandlesPanel } from "./panels/candles";
import { DepthPanel } from "./panels/depth";
import { Edges, layout } from "./panels/edges";
import { FeedsPanel } from "./panels/feeds";
import { FlowPanel } from "./panels/flow";
import { Help, helpOpen } from "./panels/help";
import { LadderPanel } from "./panels/ladder";
import { focusFilter, MarketsPanel } from "./panels/markets";
import { Notice } from "./panels/notice";
import { openPicker } from "./panels/picker";
import { TapePanel } from "./panels/tape";
import { TopBar } from "./panels/topbar";
import { marketsPath } from "./model/route";
import { TIMEFRAMES } from "./model/candles";
import { chooseNeighbour, chooseTimeframe, filters, frozen, go, group, route, setFrozen } from "./session";

/** What a key does, unless the person is typing somewhere. */
const KEYS: Record<string, () => void> = {
  "?": () => (helpOpen.value = !helpOpen.value),
  "/": () => (route.value.page === "book" ? openPicker() : focusFilter()),
  "[": () => chooseNeighbour(-1),
  "]": () => chooseNeighbour(1),
  m: () => go(marketsPath(filters.value)),
  " ": () => setFrozen(!frozen.value),
  "+": () => group(1),
  "=": () => group(1),
  "-": () => group(-1),
  ...Object.fromEntries(TIMEFRAMES.map((timeframe, at) => [String(at + 1), () => chooseTimeframe(timeframe)])),
};

function onKey(event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  const typing = target.closest("input, textarea, select, dialog, [role=listbox]") !== null;
  const pressing = event.key === " " && target.closest("button, a, summary") !== null;
  const act = KEYS[event.key];
  if (act === undefined || pressing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing && !(event.key === "?" && helpOpen.value)) return;
  event.preventDefault();
  act();
}

export function App() {
  useEffect(() => {
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
  const book = route.value.page === "book";
  const title = route.value.page === "book" ? route.value.instrument : "Markets";
  useEffect(() => {
    document.title = `${title} · Tidebook`;
  }, [title]);
  return (
    <>
      <a class="skip" href={book ? "#book" : "#markets"}>
        {book ? "Skip to the book" : "Skip to the markets"}
      </a>
      <TopBar />
      <Notice />
      {book ? (
        <main
          class="desk"
          key="book"
          style={{ "--book": `${layout.value.book}px`, "--tape": `${layout.value.tape}px`, "--candles": `${layout.value.candles}fr`, "--lower": `${100 - layout.value.candles}fr` }}
        >
          <LadderPanel />
          <CandlesPanel />
          <FlowPanel />
          <DepthPanel />
          <FeedsPanel own />
          <TapePanel />
          <Edges />
        </main>
      ) : (
        <main class="desk desk-markets" key="markets">
          <FeedsPanel />
          <MarketsPanel />
        </main>
      )}
      <Help />
    </>
  );
}

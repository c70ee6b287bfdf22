// The page: top bar, ladder, flow and feed health in the middle, tape. Grid areas in `panels.css` place them.

import { useEffect } from "preact/hooks";
import { FeedsPanel } from "./panels/feeds";
import { FlowPanel } from "./panels/flow";
import { Help, helpOpen } from "./panels/help";
import { LadderPanel } from "./panels/ladder";
import { Notice } from "./panels/notice";
import { openPicker } from "./panels/picker";
import { TapePanel } from "./panels/tape";
import { TopBar } from "./panels/topbar";
import { chooseNeighbour, frozen, setFrozen } from "./session";

/** What a key does, unless the person is typing somewhere. */
const KEYS: Record<string, () => void> = {
  "?": () => (helpOpen.value = !helpOpen.value),
  "/": openPicker,
  "[": () => chooseNeighbour(-1),
  "]": () => chooseNeighbour(1),
  " ": () => setFrozen(!frozen.value),
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
  return (
    <>
      <a class="skip" href="#book">
        Skip to the book
      </a>
      <TopBar />
      <Notice />
      <main class="desk">
        <LadderPanel />
        <FlowPanel />
        <FeedsPanel />
        <TapePanel />
      </main>
      <Help />
    </>
  );
}

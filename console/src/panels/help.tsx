// Keys, colours, and where a program finds the same data.

import { effect, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { version } from "../session";

export const helpOpen = signal(false);

export type Palette = "green-red" | "blue-orange";
const STORED = "tidebook.palette";
export const palette = signal<Palette>(localStorage.getItem(STORED) === "blue-orange" ? "blue-orange" : "green-red");

effect(() => {
  document.documentElement.dataset["palette"] = palette.value;
  localStorage.setItem(STORED, palette.value);
});

const KEYS: readonly (readonly [key: string, act: string])[] = [
  ["/", "filter the markets, choose an instrument"],
  ["m", "all markets"],
  ["↑ ↓", "move in the table, enter opens"],
  ["[ ]", "previous, next instrument"],
  ["+ −", "wider, narrower price groups"],
  ["1 – 5", "candles of a second to a day"],
  ["space", "freeze and resume the picture"],
  ["?", "this help"],
  ["esc", "close what is open"],
];

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (helpOpen.value) dialog.current?.showModal();
    else dialog.current?.close();
  }, [helpOpen.value]);
  return (
    <dialog class="help" ref={dialog} aria-labelledby="help-title" onClose={() => (helpOpen.value = false)}>
      <h2 id="help-title">Keys and display</h2>
      <dl class="keys">
        {KEYS.map(([key, act]) => (
          <div key={key}>
            <dt>
              {key.split(" ").map((one) => (one === "–" ? <span key={one}>to </span> : <kbd key={one}>{one}</kbd>))}
            </dt>
            <dd>{act}</dd>
          </div>
        ))}
      </dl>
      <label class="choice">
        <input
          type="checkbox"
          checked={palette.value === "blue-orange"}
          onChange={(event) => (palette.value = event.currentTarget.checked ? "blue-orange" : "green-red")}
        />
        Blue and orange instead of green and red
      </label>
      <p class="hint">
        The same data for programs: <a href="/docs">the API and how to use it</a>, WebSocket <code>/ws/v1</code>.
        {version.value !== null && ` Tidebook ${version.value}.`}
      </p>
      <form method="dialog">
        <button>Close</button>
      </form>
    </dialog>
  );
}

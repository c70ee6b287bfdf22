// The edges between panels that can be moved: by the pointer, by arrow keys, and back to the usual by a double click.

import { signal } from "@preact/signals";
import { bounded, BOUNDS, NAMES, USUAL, type Edge, type Layout } from "../model/layout";
import { remembered } from "../remembered";

export const layout = signal<Layout>(remembered.layout());

/** Which way a size grows: with x, against x, with y. */
const GROWS: Readonly<Record<Edge, readonly [x: number, y: number]>> = { book: [1, 0], tape: [-1, 0], candles: [0, 1] };
const KEY_STEP: Readonly<Record<Edge, number>> = { book: 16, tape: 16, candles: 2 };

function resize(edge: Edge, size: number): void {
  const next = bounded(edge, size);
  if (next === layout.value[edge]) return;
  layout.value = { ...layout.value, [edge]: next };
  remembered.keepLayout(layout.value);
}

function drag(edge: Edge, event: PointerEvent): void {
  const handle = event.currentTarget as HTMLElement;
  const [growsX, growsY] = GROWS[edge];
  const before = layout.value[edge];
  // A share of the height is in percent of what the two rows have together.
  const rows = (document.querySelector("#candles")?.clientHeight ?? 0) + (document.querySelector("#flow")?.clientHeight ?? 0);
  const scale = edge === "candles" ? 100 / Math.max(1, rows) : 1;
  handle.setPointerCapture(event.pointerId);
  handle.onpointermove = (moved) => {
    resize(edge, before + ((moved.clientX - event.clientX) * growsX + (moved.clientY - event.clientY) * growsY) * scale);
  };
  handle.onpointerup = handle.onpointercancel = () => {
    handle.onpointermove = handle.onpointerup = handle.onpointercancel = null;
  };
}

function onKey(edge: Edge, event: KeyboardEvent): void {
  const [growsX, growsY] = GROWS[edge];
  const towards: Record<string, number> = { ArrowRight: growsX, ArrowLeft: -growsX, ArrowDown: growsY, ArrowUp: -growsY };
  const step = towards[event.key] ?? 0;
  if (step === 0) return;
  event.preventDefault();
  resize(edge, layout.value[edge] + step * KEY_STEP[edge]);
}

/** The three of them, each lying in the gap behind its panel. */
export function Edges() {
  return (
    <>
      {(Object.keys(USUAL) as Edge[]).map((edge) => (
        <div
          key={edge}
          class={`edge edge-${edge}`}
          role="separator"
          tabIndex={0}
          aria-label={NAMES[edge]}
          aria-orientation={edge === "candles" ? "horizontal" : "vertical"}
          aria-valuenow={layout.value[edge]}
          aria-valuemin={BOUNDS[edge][0]}
          aria-valuemax={BOUNDS[edge][1]}
          title="Drag, or arrow keys; double click for the usual size"
          onPointerDown={(event) => drag(edge, event)}
          onKeyDown={(event) => onKey(edge, event)}
          onDblClick={() => resize(edge, USUAL[edge])}
        />
      ))}
    </>
  );
}

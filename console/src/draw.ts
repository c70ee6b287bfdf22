// One animation frame for everything that is dirty. Messages only change state and call `touch`; nothing is painted
// outside the frame, so a burst of messages costs one repaint, and a hidden tab costs none.

export type Topic = "book" | "tape" | "flow" | "markets" | "candles" | "depth";
type Painter = () => void;

const painters = new Map<Topic, Set<Painter>>();
const dirty = new Set<Topic>();
let scheduled = false;
let frozen = false;

/** Has `paint` run in the next frame after each `touch(topic)`, beginning with the next. Returns how to stop. */
export function paints(topic: Topic, paint: Painter): () => void {
  const own = painters.get(topic) ?? new Set();
  painters.set(topic, own.add(paint));
  touch(topic);
  return () => own.delete(paint);
}

/** Says that what `topic` shows has changed. */
export function touch(topic: Topic): void {
  dirty.add(topic);
  if (!scheduled && !frozen) {
    scheduled = true;
    requestAnimationFrame(drawDirty);
  }
}

/** While frozen nothing is painted; what changed meanwhile is painted when it ends. */
export function freeze(on: boolean): void {
  frozen = on;
  if (!on && dirty.size > 0) touch(dirty.values().next().value as Topic);
}

function drawDirty(): void {
  scheduled = false;
  if (frozen) return;
  const topics = [...dirty];
  dirty.clear();
  for (const topic of topics) for (const paint of painters.get(topic) ?? []) paint();
}

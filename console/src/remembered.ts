// What a person chose, kept in this browser. A browser that keeps nothing costs nobody the page.

import { TIMEFRAMES, type Timeframe } from "./model/candles";
import { RANGES_BP } from "./model/depth";
import { layoutOf, type Layout } from "./model/layout";
import { USUAL_TIMEFRAME, type Look } from "./model/route";

const KEY = "tidebook.look";
/** Books whose groups are remembered; the oldest falls away. */
const STEPS_MAX = 50;

interface Kept {
  timeframe?: string;
  rangeBp?: number;
  steps?: Record<string, string>;
  layout?: Layout;
}

function kept(): Kept {
  try {
    return (JSON.parse(localStorage.getItem(KEY) ?? "{}") ?? {}) as Kept;
  } catch {
    return {};
  }
}

function keep(change: Kept): void {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...kept(), ...change }));
  } catch {
    // Storage is full or forbidden: the choice holds until the page is left.
  }
}

export const remembered = {
  timeframe(): Timeframe {
    const found = kept().timeframe;
    return TIMEFRAMES.find((one) => one === found) ?? USUAL_TIMEFRAME;
  },
  /** Null while nobody chose: then the range follows the book. */
  rangeBp(): number | null {
    const found = kept().rangeBp;
    return RANGES_BP.find((one) => one === found) ?? null;
  },
  step(instrument: string): string | null {
    return kept().steps?.[instrument] ?? null;
  },
  look(instrument: string, look: Look): void {
    const { [instrument]: _, ...others } = kept().steps ?? {};
    const steps = Object.fromEntries(Object.entries(others).slice(-STEPS_MAX));
    keep({ timeframe: look.timeframe, steps: look.step === null ? steps : { ...steps, [instrument]: look.step } });
  },
  range(bp: number): void {
    keep({ rangeBp: bp });
  },
  layout(): Layout {
    return layoutOf(kept().layout);
  },
  keepLayout(layout: Layout): void {
    keep({ layout });
  },
};

// What the last minute came to, beside the flow chart, where the node makes windows; else the words that are there without.

import { useEffect, useState } from "preact/hooks";
import { newestClosed, windowText, type Window } from "../model/windows";
import { get } from "../net/rest";
import { instrument as known, market } from "../session";

const LOOK_EVERY_MS = 5_000;

/** Asked once: a setting, which changes with a restart only. */
let made: Promise<boolean> | null = null;

function areMade(): Promise<boolean> {
  made ??= get<{ made: boolean }>("/api/v1/analytics").then(
    (answer) => answer.made,
    () => {
      made = null;
      return false;
    },
  );
  return made;
}

async function newest(instrument: string): Promise<Window | null> {
  if (!(await areMade())) return null;
  const asked = new URLSearchParams({ instrument, interval: "1m", limit: "3" });
  // What cannot be had is not shown; the panels say what is wrong with the server.
  return newestClosed(await get<Window[]>(`/api/v1/analytics/markets?${asked}`).catch(() => []));
}

export function LastMinute({ otherwise }: { otherwise: string }) {
  const [shown, show] = useState<Window | null>(null);
  const instrument = known.value?.instrument ?? null;
  useEffect(() => {
    show(null);
    if (instrument === null) return undefined;
    let over = false;
    const look = () => {
      void newest(instrument).then((found) => over || show(found));
    };
    look();
    const timer = setInterval(look, LOOK_EVERY_MS);
    return () => {
      over = true;
      clearInterval(timer);
    };
  }, [instrument]);
  return <span class="hint last-minute">{shown === null ? otherwise : windowText(shown, market.precision?.price ?? 2)}</span>;
}

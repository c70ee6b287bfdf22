// The frame of every panel: a heading, what stands beside it, and the veil that says why the content is not to be
// trusted or not there yet. A veiled panel keeps its content greyed behind the words: old numbers beat none.

import type { ComponentChildren } from "preact";
import { span } from "../model/clock";
import { fresh, frozen, instruments, link, selected } from "../session";

export interface Veil {
  tone: "calm" | "warn";
  title: string;
  detail: string;
  /** Grey out what is behind instead of covering it. */
  over: boolean;
}

/** Why the panels of the chosen market show no living data; null when they do. Reads signals. */
export function marketVeil(what: string, brief = false): Veil | null {
  const veil = reason(what);
  return veil === null || !brief ? veil : { ...veil, detail: "" };
}

function reason(what: string): Veil | null {
  const state = fresh.value;
  if (state.state === "stale") {
    return { tone: "warn", title: `stale ${span(state.ageMs * 1000)}`, detail: `Last known ${what}; nothing newer has come.`, over: true };
  }
  if (state.state === "unusable") {
    return { tone: "warn", title: "resyncing", detail: `A message was lost. This is the ${what} before the gap; a snapshot is on its way.`, over: true };
  }
  if (state.state === "fresh") return null;
  if (link.value.state !== "open") return { tone: "calm", title: "Connecting", detail: `Asking ${location.host} for its markets.`, over: false };
  const known = instruments.value;
  if (known === null) return { tone: "calm", title: "Loading", detail: "Asking for the list of instruments.", over: false };
  if (known.length === 0) {
    return { tone: "calm", title: "No instruments yet", detail: "As soon as a feed names its first instrument, it appears here by itself.", over: false };
  }
  if (!known.some((one) => one.instrument === selected.value)) {
    return { tone: "warn", title: `${selected.value ?? "Nothing"} is not here`, detail: "This node has no such instrument. Press / to choose one it has.", over: false };
  }
  return { tone: "calm", title: "Waiting for the book", detail: "The feed is connected; its first snapshot has not been applied yet.", over: false };
}

interface PanelProps {
  id: string;
  title: string;
  aside?: ComponentChildren;
  veil?: Veil | null;
  children: ComponentChildren;
}

export function Panel({ id, title, aside, veil = null, children }: PanelProps) {
  return (
    <section id={id} class={`panel panel-${id}`} aria-labelledby={`${id}-title`} data-veil={veil === null ? "none" : veil.over ? "over" : "full"}>
      <header class="panel-head">
        <h2 id={`${id}-title`}>{title}</h2>
        {frozen.value && id !== "feeds" && <span class="tag tag-accent">frozen</span>}
        <div class="panel-aside">{aside}</div>
      </header>
      <div class="panel-body">
        <div class="panel-content" inert={veil !== null && !veil.over}>{children}</div>
        {veil !== null && (
          <div class={`veil veil-${veil.tone}`}>
            <p class="veil-title">{veil.title}</p>
            {veil.detail !== "" && <p class="veil-detail">{veil.detail}</p>}
          </div>
        )}
      </div>
    </section>
  );
}

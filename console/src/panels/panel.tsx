// The frame of every panel: a heading, what stands beside it, and the veil that says why the content is not to be
// trusted or not there yet. A veiled panel keeps its content greyed behind the words: old numbers beat none.

import type { ComponentChildren } from "preact";
import { clockTime, span } from "../model/clock";
import { reasonWords } from "../model/outages";
import { fresh, frozen, instrument, instruments, link, selected, serverNowUs } from "../session";

export interface Veil {
  tone: "calm" | "warn";
  title: string;
  detail: string;
  /** Grey out what is behind instead of covering it. */
  over: boolean;
}

/** Why the panels that show the book of the chosen market show no living data; null when they do. Reads signals. */
export function bookVeil(what: string): Veil | null {
  const state = fresh.value;
  if (state.state !== "unusable") return tradesVeil(what);
  const since = state.sinceUs === null ? "" : `Since ${clockTime(new Date(state.sinceUs / 1000))} UTC, for ${span(Math.max(0, serverNowUs() - state.sinceUs))}. `;
  return {
    tone: "warn",
    title: `unusable: ${reasonWords(state.reason)}`,
    detail: `${since}This is the ${what} before; a snapshot is awaited.`,
    over: true,
  };
}

/** The same for panels that need no book: trades go on while it cannot be used. */
export function tradesVeil(what: string): Veil | null {
  const state = fresh.value;
  if (state.state !== "stale") return emptyVeil(what);
  const who = state.silent === "server" ? "the server" : (instrument.value?.venue ?? "the venue");
  const since = clockTime(new Date(serverNowUs() / 1000 - state.ageMs));
  return { tone: "warn", title: `stale ${span(state.ageMs * 1000)}`, detail: `Nothing from ${who} since ${since} UTC. This is the last ${what} known.`, over: true };
}

/** Why nothing is there yet; null when something is. One panel says what will happen, the others only that. */
export function emptyVeil(what: string, brief = true): Veil | null {
  const veil = fresh.value.state === "empty" ? emptiness(what) : null;
  return veil === null || !brief ? veil : { ...veil, detail: "" };
}

function emptiness(what: string): Veil {
  if (link.value.state !== "open") return { tone: "calm", title: "Connecting", detail: `Asking ${location.host} for its markets.`, over: false };
  const known = instruments.value;
  if (known === null) return { tone: "calm", title: "Loading", detail: "Asking for the list of instruments.", over: false };
  if (known.length === 0) {
    return { tone: "calm", title: "No instruments yet", detail: "As soon as a feed names its first instrument, it appears here by itself.", over: false };
  }
  if (!known.some((one) => one.instrument === selected.value)) {
    return { tone: "warn", title: `${selected.value ?? "Nothing"} is not here`, detail: "This node has no such instrument. Press / to choose one it has.", over: false };
  }
  return { tone: "calm", title: `Waiting for the ${what}`, detail: "The feed is connected; its first snapshot has not been applied yet.", over: false };
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

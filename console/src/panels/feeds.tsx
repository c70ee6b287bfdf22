// Feed health: a card per venue, one beside the other on the markets page, one alone under a book. A count that should
// be zero and is not stands out by weight and a mark, not by colour alone. Nothing here blinks, and it is never greyed:
// it is what explains why the rest is.

import type { Feed, FeedState } from "../net/protocol";
import { count, span } from "../model/clock";
import { feeds, filter, filters, instrument, link, rates } from "../session";
import { Panel, type Veil } from "./panel";

const STATE_WORDS: Record<FeedState, string> = {
  live: "live",
  quiet: "quiet",
  waiting: "waiting",
  disconnected: "disconnected",
};

function Sparkline({ values }: { values: readonly number[] }) {
  const top = Math.max(1, ...values);
  const points = values.map((value, index) => `${(60 - values.length + index).toFixed(0)},${(17 - (value / top) * 15).toFixed(1)}`);
  return (
    <svg class="spark" viewBox="0 0 60 18" width="48" height="16" preserveAspectRatio="none" aria-hidden="true">
      <polyline points={points.join(" ")} fill="none" stroke="currentColor" stroke-width="1.25" />
    </svg>
  );
}

interface Figure {
  name: string;
  meaning: string;
  text: (feed: Feed) => string;
  /** A count of things that should not happen. */
  trouble?: (feed: Feed) => boolean;
  /** Left out where there is little room, unless it is trouble. */
  minor?: boolean;
}

const tally = (name: string, key: "gaps" | "quarantined" | "checks_failed" | "reconnects" | "missed_records", meaning: string, minor = true): Figure => ({
  name,
  meaning,
  minor,
  text: (feed) => (feed[key] > 0 ? `▲ ${count(feed[key])}` : "0"),
  trouble: (feed) => feed[key] > 0,
});

export const FIGURES: readonly Figure[] = [
  {
    name: "Books",
    meaning: "Usable books of all instruments",
    text: (feed) => `${feed.books_usable < feed.instruments ? "▲ " : ""}${feed.books_usable}/${feed.instruments}`,
    trouble: (feed) => feed.books_usable < feed.instruments,
  },
  tally("Gaps", "gaps", "Sequence gaps; the book is unusable until a snapshot", false),
  { name: "Resyncs", meaning: "Books brought back by a snapshot", text: (feed) => count(feed.resyncs) },
  { name: "Delay", meaning: "From our receipt to this server, median", text: (feed) => (feed.delay_us === null ? "–" : span(feed.delay_us)) },
  {
    name: "Venue delay",
    meaning: "From the venue's clock to our receipt, median; negative where the clocks disagree",
    text: (feed) => (feed.venue_delay_us === null ? "–" : span(feed.venue_delay_us)),
    minor: true,
  },
  tally("Lost", "reconnects", "Connections lost"),
  tally("Checks", "checks_failed", "Books that were not what the venue says: a checksum, its own top of book, a crossed book"),
  tally("Quarantined", "quarantined", "Frames set aside because they could not be decoded"),
  tally("Missed", "missed_records", "Trades and status records this server did not see because it read too slowly"),
];

function FeedCard({ feed, lost, choosing }: { feed: Feed; lost: boolean; choosing: boolean }) {
  const age = feed.state === "quiet" && feed.age_us !== null ? ` ${span(feed.age_us)}` : "";
  const state = lost ? "unknown" : STATE_WORDS[feed.state] + age;
  const only = filters.value.venue === feed.venue;
  return (
    <article class={`feed ${lost ? "lost" : ""}`} data-venue={feed.venue} data-state={lost ? "unknown" : feed.state} aria-label={`Feed of ${feed.venue}`}>
      <div class="feed-head">
        {choosing ? (
          <button
            type="button"
            class="feed-name"
            aria-pressed={only}
            title={only ? "Show the markets of all venues" : `Show only the markets of ${feed.venue}`}
            onClick={() => filter({ venue: only ? null : feed.venue })}
          >
            {feed.venue}
          </button>
        ) : (
          <span class="feed-name">
            <span class="hint">Feed</span> {feed.venue}
          </span>
        )}
        <span class={`pill pill-${lost ? "unknown" : feed.state}`}>{state}</span>
        <span class="rate num" title="Inputs of the feed per second, over two seconds">
          <Sparkline values={rates.value.get(feed.venue) ?? []} />
          <span data-part="rate">{count(feed.messages_per_second)}</span> <span class="hint">msg/s</span>
        </span>
      </div>
      <dl class="figures">
        {FIGURES.map(({ name, meaning, text, trouble, minor }) => {
          const bad = trouble?.(feed) ?? false;
          return (
            <div key={name} class={minor === true && !bad ? "minor" : ""} title={meaning} data-figure={name}>
              <dt>{name}</dt>
              <dd class={bad ? "num trouble" : text(feed) === "0" ? "num faint" : "num"}>{text(feed)}</dd>
            </div>
          );
        })}
      </dl>
    </article>
  );
}

/** All feeds, or with `own` that of the instrument shown. */
export function FeedsPanel({ own = false }: { own?: boolean }) {
  const venue = instrument.value?.venue;
  const known = feeds.value === null ? null : feeds.value.filter((feed) => !own || feed.venue === venue);
  const lost = link.value.state !== "open";
  if (own && (known === null || known.length === 0)) return null;
  let veil: Veil | null = null;
  if (known === null) {
    veil = { tone: "calm", title: lost ? "Connecting" : "Loading", detail: "Feed health comes with the first message.", over: false };
  } else if (known.length === 0) {
    veil = { tone: "calm", title: "No feed is configured", detail: "A feed that connects appears here by itself.", over: false };
  }
  return (
    <Panel id="feeds" title={own ? "Feed" : "Feeds"} veil={veil} aside={lost && known !== null ? <span class="tag tag-warn">last known</span> : null}>
      <div class="feeds" role="group" aria-label="Feed health">
        {(known ?? []).map((feed) => (
          <FeedCard feed={feed} lost={lost} choosing={!own} key={feed.venue} />
        ))}
      </div>
    </Panel>
  );
}

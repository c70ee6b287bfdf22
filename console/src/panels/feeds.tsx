// Feed health: a row per venue. A count that should be zero and is not stands out by weight and a mark, not by colour
// alone. Nothing here blinks, and it is never greyed: it is what explains why the rest is.

import type { Feed, FeedState } from "../net/protocol";
import { count, span } from "../model/clock";
import { feeds, link, rates } from "../session";
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

/** A count of things that should not happen. */
function Trouble({ value }: { value: number }) {
  return <td class={`num ${value > 0 ? "trouble" : "faint"}`}>{value > 0 ? `▲ ${count(value)}` : "0"}</td>;
}

function FeedRow({ feed, lost }: { feed: Feed; lost: boolean }) {
  const age = feed.state === "quiet" && feed.age_us !== null ? ` ${span(feed.age_us)}` : "";
  const state = lost ? "unknown" : STATE_WORDS[feed.state] + age;
  return (
    <tr data-venue={feed.venue} class={lost ? "lost" : ""}>
      <th scope="row">
        <span class="venue">{feed.venue}</span> <span class={`pill pill-${lost ? "unknown" : feed.state}`}>{state}</span>
      </th>
      <td class="num rate">
        <Sparkline values={rates.value.get(feed.venue) ?? []} />
        {count(feed.messages_per_second)}
      </td>
      <td class="num">{feed.delay_us === null ? "–" : span(feed.delay_us)}</td>
      <td class="num">{feed.venue_delay_us === null ? "–" : span(feed.venue_delay_us)}</td>
      <Trouble value={feed.gaps} />
      <td class="num">{feed.resyncs === 0 ? <span class="faint">0</span> : count(feed.resyncs)}</td>
      <Trouble value={feed.quarantined} />
      <Trouble value={feed.checks_failed} />
      <Trouble value={feed.reconnects} />
      <Trouble value={feed.missed_records} />
      <td class="num">
        {feed.books_usable}/{feed.instruments}
      </td>
    </tr>
  );
}

const COLUMNS: readonly (readonly [name: string, meaning: string])[] = [
  ["Messages/s", "Inputs of the feed per second, over two seconds"],
  ["Delay", "From our receipt to this server, median"],
  ["Venue delay", "From the venue's clock to our receipt, median; negative where the clocks disagree"],
  ["Gaps", "Sequence gaps; the book is unusable until a snapshot"],
  ["Resyncs", "Books brought back by a snapshot"],
  ["Quarantined", "Frames set aside because they could not be decoded"],
  ["Checks", "Books that were not what the venue says: a checksum, its own top of book, a crossed book"],
  ["Lost", "Connections lost"],
  ["Missed", "Trades and status records this server did not see because it read too slowly"],
  ["Books", "Usable books of all instruments"],
];

export function FeedsPanel() {
  const known = feeds.value;
  const lost = link.value.state !== "open";
  let veil: Veil | null = null;
  if (known === null) {
    veil = { tone: "calm", title: lost ? "Connecting" : "Loading", detail: "Feed health comes with the first message.", over: false };
  } else if (known.length === 0) {
    veil = { tone: "calm", title: "No feed is configured", detail: "A feed that connects appears here by itself.", over: false };
  }
  return (
    <Panel id="feeds" title="Feeds" veil={veil} aside={lost && known !== null ? <span class="tag tag-warn">last known</span> : null}>
      <div class="scroll" tabIndex={0} role="region" aria-label="Feed health">
        <table class="feeds">
          <caption class="sr">Health of each feed, once a second</caption>
          <thead>
            <tr>
              <th scope="col">Venue</th>
              {COLUMNS.map(([name, meaning]) => (
                <th scope="col" class="num" key={name} title={meaning}>
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {(known ?? []).map((feed) => (
              <FeedRow feed={feed} lost={lost} key={feed.venue} />
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

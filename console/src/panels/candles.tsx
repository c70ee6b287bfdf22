// The candles' panel: timeframes, the read-out of a bar, and the same in words for those who cannot see the chart.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { paints, touch } from "../draw";
import { count, utcMinute } from "../model/clock";
import { TIMEFRAMES } from "../model/candles";
import { grouped, withDecimals } from "../model/decimal";
import { bandsOf, reasonWords } from "../model/outages";
import type { Bar } from "../net/protocol";
import { chooseTimeframe, fresh, instrument, lookBack, market, pastProblem, serverNowUs, timeframe } from "../session";
import { palette } from "./help";
import type { CandleChart } from "./chart";
import { emptyVeil, Panel } from "./panel";

/** The bar that is read out: under the pointer, else the newest. */
const shown = signal<Bar | null>(null);
const DESCRIBED_MS = 2_000;

function price(text: string): string {
  return grouped(withDecimals(text, market.precision?.price ?? 0));
}

function size(text: string): string {
  return grouped(withDecimals(text, market.precision?.size ?? 0));
}

/** From open to close, in the quote currency and in percent. */
function change(bar: Bar): { text: string; up: boolean } {
  const [open, close] = [Number(bar.open), Number(bar.close)];
  const sign = close < open ? "−" : "+";
  const percent = open === 0 ? 0 : (Math.abs(close - open) / open) * 100;
  return { text: `${sign}${grouped(Math.abs(close - open).toFixed(market.precision?.price ?? 0))} (${percent.toFixed(2)}%)`, up: close >= open };
}

function ReadOut() {
  const bar = shown.value;
  if (bar === null) return null;
  const { text, up } = change(bar);
  const figures: readonly (readonly [name: string, value: string])[] = [
    ["O", price(bar.open)],
    ["H", price(bar.high)],
    ["L", price(bar.low)],
    ["C", price(bar.close)],
  ];
  return (
    <p class="readout num" aria-hidden="true">
      {figures.map(([name, value]) => (
        <span key={name}>
          <span class="hint">{name}</span> <span class={up ? "bid" : "ask"}>{value}</span>
        </span>
      ))}
      <span class={up ? "bid" : "ask"}>{text}</span>
      {bar.unproven && (
        <span class="tag tag-warn" title="Some trades of this bar never came, or its beginning was not seen">
          may lack trades
        </span>
      )}
      {bar.revision > 0 && <span class="tag">revised {bar.revision}×</span>}
      <span>
        <span class="hint">Vol</span> {size(bar.volume)}
      </span>
      <span>
        <span class="hint">trades</span> {count(bar.trade_count)}
      </span>
    </p>
  );
}

function Timeframes() {
  return (
    <div class="segments" role="group" aria-label="Timeframe">
      {TIMEFRAMES.map((one, at) => (
        <button key={one} type="button" aria-pressed={timeframe.value === one} title={`Key ${at + 1}`} onClick={() => chooseTimeframe(one)}>
          {one}
        </button>
      ))}
    </div>
  );
}

/** What the chart shows, in a sentence. */
function words(): string {
  const { all, last } = market.candles;
  if (last === null) return "No candles yet.";
  const bands = bandsOf(market.outages, serverNowUs()).filter((band) => band.until >= (all[0]?.ts_open ?? 0));
  const newest = bands.at(-1);
  const trouble =
    newest === undefined
      ? "no outage"
      : `${bands.length} ${bands.length === 1 ? "outage" : "outages"}, the newest from ${utcMinute(newest.since)} ${newest.lasts ? "until now" : `to ${utcMinute(newest.until)}`}: ${newest.reasons.map(reasonWords).join(", ")}`;
  return (
    `${all.length} candles of ${timeframe.value} from ${utcMinute(all[0]?.ts_open ?? 0)} UTC; the last, ${last.closed ? "closed" : "open"}: ` +
    `open ${price(last.open)}, high ${price(last.high)}, low ${price(last.low)}, close ${price(last.close)}, volume ${size(last.volume)}; ${trouble}.`
  );
}

export function CandlesPanel() {
  const node = useRef<HTMLDivElement>(null);
  const summary = useRef<HTMLParagraphElement>(null);
  useEffect(() => {
    const box = node.current;
    if (box === null) return undefined;
    let chart: CandleChart | null = null;
    let gone = false;
    let pointed: number | null = null;
    let describedAt = -DESCRIBED_MS;
    const paint = (): void => {
      const { candles } = market;
      shown.value = (pointed === null ? null : candles.at(pointed)) ?? candles.last;
      const bands = bandsOf(market.outages, serverNowUs());
      chart?.paint(candles, bands, serverNowUs(), market.precision?.price ?? 2);
      Object.assign(box.dataset, {
        timeframe: candles.timeframe,
        bars: String(candles.all.length),
        first: String(candles.first?.ts_open ?? ""),
        last: String(candles.last?.ts_open ?? ""),
        close: candles.last?.close ?? "",
        closed: String(candles.last?.closed ?? ""),
        bands: JSON.stringify(bands.map((band) => [band.since, band.until, band.reasons.join(" ")])),
        drawn: String(chart !== null),
      });
      if (summary.current !== null && performance.now() - describedAt > DESCRIBED_MS) {
        describedAt = performance.now();
        summary.current.textContent = words();
      }
    };
    void import("./chart").then((loaded) => {
      if (gone) return;
      chart = new loaded.CandleChart(box);
      chart.onPointer = (bar) => {
        pointed = bar?.ts_open ?? null;
        touch("candles");
      };
      chart.onOldest = () => void lookBack();
      touch("candles");
    });
    const stops = [
      paints("candles", paint),
      palette.subscribe(() => {
        chart?.recolour();
        touch("candles");
      }),
    ];
    return () => {
      gone = true;
      stops.forEach((stop) => stop());
      chart?.remove();
      shown.value = null;
    };
  }, []);
  const problem = pastProblem.value;
  const state = fresh.value;
  const aside = (
    <>
      {state.state === "stale" && <span class="tag tag-warn">stale</span>}
      {state.state === "unusable" && <span class="tag tag-warn">book unusable</span>}
      {problem !== null && (
        <span class="tag tag-warn" title={`${problem.detail} ${problem.trace_id}`}>
          history cannot be read
        </span>
      )}
      <Timeframes />
    </>
  );
  return (
    <Panel id="candles" title="Candles" veil={emptyVeil("book", false)} aside={aside}>
      <p class="sr" ref={summary} />
      <ReadOut />
      <div class="chart" ref={node} data-instrument={instrument.value?.instrument ?? ""} />
    </Panel>
  );
}

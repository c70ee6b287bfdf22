// The candle chart: candles over volume by lightweight-charts, with a band of ours behind them for each time that could not
// be trusted. Loaded apart from the page, which shows its book before this is here.

import {
  CandlestickSeries,
  ColorType,
  createChart,
  CrosshairMode,
  HistogramSeries,
  LineStyle,
  type CandlestickData,
  type IChartApi,
  type IPrimitivePaneView,
  type ISeriesApi,
  type ISeriesPrimitive,
  type Logical,
  type SeriesAttachedParameter,
  type Time,
  type UTCTimestamp,
  type WhitespaceData,
} from "lightweight-charts";
import { placeOf, type Candles, type Point } from "../model/candles";
import { span } from "../model/clock";
import { grouped } from "../model/decimal";
import { reasonWords, type Band } from "../model/outages";
import type { Bar } from "../net/protocol";
import { coloursOf, faded, paintBand, type Colours } from "./palette";

const VOLUME_SHARE = 0.2;
/** So few bars left of what is seen, and older ones are asked for. */
const OLDER_WITHIN = 30;

interface PlacedBand {
  /** In bars; see `placeOf`. */
  from: number;
  to: number;
  band: Band;
}

/** Draws the bands; lightweight-charts calls it whenever it draws the pane. */
class Bands implements ISeriesPrimitive<Time> {
  private bands: PlacedBand[] = [];
  private requestUpdate: () => void = () => undefined;
  private readonly views: readonly IPrimitivePaneView[];

  constructor(
    private readonly chart: IChartApi,
    private readonly colours: () => Colours,
  ) {
    this.views = [{ zOrder: () => "bottom", renderer: () => ({ draw: (target) => target.useMediaCoordinateSpace(({ context, mediaSize }) => this.draw(context, mediaSize.width, mediaSize.height)) }) }];
  }

  attached({ requestUpdate }: SeriesAttachedParameter<Time>): void {
    this.requestUpdate = requestUpdate;
  }

  paneViews(): readonly IPrimitivePaneView[] {
    return this.views;
  }

  show(bands: PlacedBand[]): void {
    this.bands = bands;
    this.requestUpdate();
  }

  private draw(context: CanvasRenderingContext2D, width: number, height: number): void {
    const scale = this.chart.timeScale();
    const { warn, mono } = this.colours();
    for (const { from, to, band } of this.bands) {
      // The scale knows whole places only; between them it is linear.
      const x = (place: number): number => {
        const [left, right] = [scale.logicalToCoordinate(Math.floor(place) as Logical), scale.logicalToCoordinate((Math.floor(place) + 1) as Logical)];
        return (left ?? 0) + ((right ?? 0) - (left ?? 0)) * (place - Math.floor(place));
      };
      const [left, right] = [x(from), x(to)];
      if (right < 0 || left > width) continue;
      paintBand(context, warn, left, right, height);
      context.font = `11px ${mono}`;
      context.fillStyle = warn;
      context.textBaseline = "top";
      // A line each for the reasons and for how long, as far as they fit; the words beside the chart have them all.
      const [start, room] = [Math.max(left, 0), Math.min(right, width) - Math.max(left, 0) - 16];
      const lines = [...band.reasons.map(reasonWords), span(band.until - band.since)];
      if (lines.some((line) => context.measureText(line).width > room)) continue;
      lines.forEach((line, at) => context.fillText(line, start + 8, 10 + 15 * at));
    }
  }
}

export class CandleChart {
  private readonly chart: IChartApi;
  private readonly candles: ISeriesApi<"Candlestick">;
  private readonly volume: ISeriesApi<"Histogram">;
  private readonly bands: Bands;
  private colours: Colours;
  private drawn: Candles | null = null;
  private points: Point[] = [];
  private decimals = -1;
  /** Told which bar the pointer is over; null when it leaves. */
  onPointer: (bar: Bar | null) => void = () => undefined;
  /** Told when somebody looks close to the oldest bar. */
  onOldest: () => void = () => undefined;

  constructor(private readonly node: HTMLElement) {
    this.colours = coloursOf(node);
    this.chart = createChart(node, {
      autoSize: true,
      layout: { attributionLogo: true, fontFamily: this.colours.mono, fontSize: 11, background: { type: ColorType.Solid, color: "transparent" } },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.1, bottom: VOLUME_SHARE + 0.04 }, minimumWidth: 84 },
      timeScale: { borderVisible: false, timeVisible: true, rightOffset: 4, barSpacing: 7, minBarSpacing: 1, allowShiftVisibleRangeOnWhitespaceReplacement: true },
      crosshair: { mode: CrosshairMode.Normal },
      localization: { locale: "en-GB", timeFormatter: (time: Time) => utc(time as number) },
      kineticScroll: { touch: true, mouse: false },
    });
    this.candles = this.chart.addSeries(CandlestickSeries, { borderVisible: false, priceLineStyle: LineStyle.Dotted });
    this.volume = this.chart.addSeries(HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" }, priceLineVisible: false, lastValueVisible: false });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 1 - VOLUME_SHARE, bottom: 0 } });
    this.bands = new Bands(this.chart, () => this.colours);
    this.candles.attachPrimitive(this.bands);
    this.recolour();
    this.chart.subscribeCrosshairMove(({ time }) => this.onPointer(time === undefined ? null : (this.drawn?.at((time as number) * 1e6) ?? null)));
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range !== null && range.from < OLDER_WITHIN) this.onOldest();
    });
  }

  recolour(): void {
    this.colours = coloursOf(this.node);
    const { up, down, line, muted, raised } = this.colours;
    const grid = { color: faded(line, 0.5) };
    const hair = { color: muted, style: LineStyle.Dashed, labelBackgroundColor: raised };
    this.chart.applyOptions({
      layout: { textColor: muted },
      grid: { vertLines: grid, horzLines: grid },
      crosshair: { vertLine: hair, horzLine: hair },
    });
    this.candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    this.drawn = null;
  }

  /** Draws what is known now; `decimals` of the prices. */
  paint(candles: Candles, bands: readonly Band[], nowUs: number, decimals: number): void {
    if (decimals !== this.decimals) {
      this.decimals = decimals;
      this.chart.applyOptions({ localization: { priceFormatter: (price: number) => grouped(price.toFixed(decimals)) } });
      this.candles.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: 10 ** -decimals } });
    }
    const other = candles !== this.drawn;
    const before = this.points;
    const changedFrom = candles.takeChanges();
    this.points = candles.points(nowUs);
    const last = before.at(-1);
    // Cheap while only the newest bars change, which is nearly always.
    const appended = !other && last !== undefined && changedFrom / 1e6 >= last.time && before[0]?.time === this.points[0]?.time;
    if (!appended) {
      this.candles.setData(this.points.map((point) => this.candleOf(point)));
      this.volume.setData(this.points.map((point) => this.volumeOf(point)));
    } else {
      for (const point of this.points.slice(before.length - 1)) {
        if (point.bar === null && point.time <= last.time) continue;
        this.candles.update(this.candleOf(point));
        this.volume.update(this.volumeOf(point));
      }
    }
    if (other) {
      this.drawn = candles;
      this.chart.timeScale().applyOptions({ secondsVisible: candles.intervalUs < 60e6 });
      this.chart.timeScale().resetTimeScale();
    }
    this.place(bands, candles.intervalUs);
  }

  remove(): void {
    this.chart.remove();
  }

  private place(bands: readonly Band[], intervalUs: number): void {
    const placed = bands.flatMap((band) => {
      const [from, to] = [placeOf(this.points, band.since, intervalUs), placeOf(this.points, band.until, intervalUs)];
      // One that was over before the first bar is out of sight.
      return from === null || to === null || to <= -0.5 ? [] : [{ from, to, band }];
    });
    this.bands.show(placed);
  }

  private candleOf({ time, bar }: Point): CandlestickData<UTCTimestamp> | WhitespaceData<UTCTimestamp> {
    const at = time as UTCTimestamp;
    if (bar === null) return { time: at };
    return { time: at, open: Number(bar.open), high: Number(bar.high), low: Number(bar.low), close: Number(bar.close) };
  }

  private volumeOf({ time, bar }: Point): { time: UTCTimestamp; value?: number; color?: string } {
    const at = time as UTCTimestamp;
    if (bar === null) return { time: at };
    return { time: at, value: Number(bar.volume), color: faded(Number(bar.close) >= Number(bar.open) ? this.colours.up : this.colours.down, 0.38) };
  }
}

/** `2024-08-08 23:54:13`, without a zone: every time of the page is UTC. */
function utc(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");
}

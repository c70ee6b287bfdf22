// The flow chart: the last two minutes of best bid and ask as two stepped edges with the trades between them, each a
// bubble as large as the trade. Drawn by hand on a canvas: a chart library draws candles and lines, and its smallest
// build weighs more than this whole page.

import { useEffect, useRef } from "preact/hooks";
import { paints, touch } from "../draw";
import { clockTime } from "../model/clock";
import { grouped } from "../model/decimal";
import { axisMarks, midText, segments, type TopPoint } from "../model/flow";
import { bandsOf } from "../model/outages";
import { market, serverNowUs } from "../session";
import { palette } from "./help";
import { coloursOf, paintBand, type Colours } from "./palette";
import { Panel, tradesVeil } from "./panel";
import { LastMinute } from "./windows";

const AXIS_WIDTH_MIN = 84;
const MID = "mid";
const AXIS_HEIGHT = 22;
const BUBBLE_MAX = 15;
const NOW_SHARE = 0.985;

class FlowPainter {
  private readonly context: CanvasRenderingContext2D;
  private colours: Colours;
  private width = 0;
  private height = 0;
  private describedAt = 0;
  private bubbleScale = 0;
  /** Grows with the longest tag. */
  private axisWidth = AXIS_WIDTH_MIN;
  /** Where the pointer is, in CSS pixels of the canvas. */
  pointer: { x: number; y: number } | null = null;

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext("2d") as CanvasRenderingContext2D;
    this.colours = coloursOf(canvas);
  }

  recolour(): void {
    this.colours = coloursOf(this.canvas);
  }

  resize(): void {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = Math.min(2, devicePixelRatio);
    this.width = clientWidth;
    this.height = clientHeight;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  paint(): void {
    const { context, width, height } = this;
    context.clearRect(0, 0, width, height);
    const now = serverNowUs();
    const window = market.flow.window(now);
    const range = market.flow.range(now - window);
    this.canvas.dataset["points"] = String(market.flow.tops.length);
    const last = market.flow.tops.at(-1);
    const decimals = market.precision?.price ?? 0;
    const mid = last === undefined ? "" : grouped(midText(last.bid, last.ask, decimals));
    this.canvas.dataset["mid"] = mid;
    context.font = `11px ${this.colours.mono}`;
    context.textBaseline = "middle";
    this.axisWidth = Math.max(this.axisWidth, Math.ceil(context.measureText(`${MID} ${mid}`).width) + 16);
    if (range === null || width < this.axisWidth * 2) return;
    const [low, high] = range;
    const plotWidth = (width - this.axisWidth) * NOW_SHARE;
    const plotHeight = height - AXIS_HEIGHT;
    const x = (us: number): number => plotWidth - ((now - us) / window) * plotWidth;
    const y = (price: number): number => plotHeight - ((price - low) / (high - low)) * plotHeight;

    const tagAt = last === undefined ? null : Math.round(y((last.bid + last.ask) / 2));
    this.priceAxis(low, high, y, plotHeight, decimals, tagAt);
    this.timeAxis(now, window, x, plotHeight);
    const tops = market.flow.tops.filter((point) => x(point.us) > -20);
    context.save();
    context.beginPath();
    context.rect(0, 0, width - this.axisWidth, plotHeight);
    context.clip();
    const bands = bandsOf(market.outages, now);
    for (const band of bands) {
      if (x(band.until) > 0) paintBand(context, this.colours.warn, x(band.since), x(band.lasts ? now : band.until), plotHeight);
    }
    // What was true last goes on to the edge, unless the book was lost.
    const lasting = bands.at(-1);
    const edge = lasting?.lasts === true ? Math.min(this.width - this.axisWidth, x(lasting.since)) : this.width - this.axisWidth;
    for (const segment of segments(tops)) {
      this.edge(segment, (point) => point.bid, this.colours.up, x, y, plotHeight, edge);
      this.edge(segment, (point) => point.ask, this.colours.down, x, y, 0, edge);
    }
    this.bubbles(now - window, window, x, y);
    context.restore();
    if (last !== undefined && tagAt !== null) {
      this.label(width - this.axisWidth + 2, tagAt, `${MID} ${mid}`, this.colours.raised, this.colours.text);
    }
    if (this.pointer !== null) this.crosshair(this.pointer, now, window, low, high, plotWidth, plotHeight, decimals);
    this.describe(tops, low, high);
  }

  /** Lines and labels at round prices; a label that the tag of the present price would cover is left out. */
  private priceAxis(
    low: number,
    high: number,
    y: (price: number) => number,
    plotHeight: number,
    decimals: number,
    tagAt: number | null,
  ): void {
    const { context } = this;
    const marks = axisMarks(low, high, Math.max(2, Math.floor(plotHeight / 56)));
    context.textAlign = "left";
    for (const mark of marks) {
      const at = Math.round(y(mark)) + 0.5;
      if (at < 8 || at > plotHeight - 4) continue;
      context.strokeStyle = this.colours.line;
      context.globalAlpha = 0.55;
      context.beginPath();
      context.moveTo(0, at);
      context.lineTo(this.width - this.axisWidth, at);
      context.stroke();
      context.globalAlpha = 1;
      context.fillStyle = this.colours.muted;
      if (tagAt !== null && Math.abs(at - tagAt) < 17) continue;
      context.fillText(grouped(mark.toFixed(decimals)), this.width - this.axisWidth + 8, at);
    }
  }

  private timeAxis(now: number, window: number, x: (us: number) => number, plotHeight: number): void {
    const { context } = this;
    const step = [5, 10, 20, 30, 60].map((s) => s * 1e6).find((us) => (us / window) * this.width > 90) ?? 60e6;
    context.textAlign = "center";
    context.fillStyle = this.colours.muted;
    for (let us = Math.ceil((now - window) / step) * step; us <= now; us += step) {
      const at = x(us);
      if (at < 30 || at > this.width - this.axisWidth - 24) continue;
      context.fillText(clockTime(new Date(us / 1000)), at, plotHeight + AXIS_HEIGHT / 2 + 2);
    }
  }

  /** One side of the book as a stepped line, the room behind it tinted towards `floor`. */
  private edge(
    tops: TopPoint[],
    price: (point: TopPoint) => number,
    colour: string,
    x: (us: number) => number,
    y: (price: number) => number,
    floor: number,
    edge: number,
  ): void {
    const first = tops[0];
    const last = tops.at(-1);
    if (first === undefined || last === undefined) return;
    const { context } = this;
    context.beginPath();
    context.moveTo(x(first.us), y(price(first)));
    let before = y(price(first));
    for (const point of tops) {
      const [at, level] = [x(point.us), y(price(point))];
      context.lineTo(at, before);
      context.lineTo(at, level);
      before = level;
    }
    const end = last === market.flow.tops.at(-1) && !last.ends ? Math.max(edge, x(last.us)) : x(last.us);
    context.lineTo(end, before);
    context.strokeStyle = colour;
    context.lineWidth = 1.25;
    context.lineJoin = "round";
    context.stroke();
    context.lineWidth = 1;
    context.lineTo(end, floor);
    context.lineTo(x(first.us), floor);
    context.closePath();
    const fade = context.createLinearGradient(0, before, 0, floor);
    fade.addColorStop(0, colour);
    fade.addColorStop(1, "transparent");
    context.globalAlpha = 0.13;
    context.fillStyle = fade;
    context.fill();
    context.globalAlpha = 1;
  }

  private bubbles(from: number, window: number, x: (us: number) => number, y: (price: number) => number): void {
    const { context } = this;
    // Bins of four pixels in absolute time, so that a bubble keeps its trades while it moves.
    const seen = market.flow.bubbles(from, (4 * window) / this.width);
    const sizes = seen.map((trade) => trade.size).sort((a, b) => a - b);
    const large = sizes[Math.floor(sizes.length * 0.97)] ?? 1;
    // The scale follows slowly, so that bubbles do not all jump when one whale leaves the window.
    this.bubbleScale = this.bubbleScale === 0 ? large : this.bubbleScale * 0.95 + large * 0.05;
    const crowd = Math.min(1, Math.max(0.5, Math.sqrt(250 / Math.max(1, seen.length))));
    for (const trade of seen) {
      const radius = Math.min(BUBBLE_MAX, Math.max(1.2, Math.sqrt(trade.size / this.bubbleScale) * 10 * crowd));
      context.beginPath();
      context.arc(x(trade.us), y(trade.price), radius, 0, 2 * Math.PI);
      context.fillStyle = trade.buy ? this.colours.up : this.colours.down;
      context.globalAlpha = 0.34;
      context.fill();
      if (radius > 3) {
        context.globalAlpha = 0.85;
        context.strokeStyle = context.fillStyle;
        context.stroke();
      }
    }
    context.globalAlpha = 1;
  }

  private label(left: number, middle: number, text: string, back: string, front: string): void {
    const { context } = this;
    context.textAlign = "left";
    const wide = context.measureText(text).width + 12;
    context.fillStyle = back;
    context.strokeStyle = this.colours.muted;
    context.beginPath();
    context.roundRect(left + 0.5, middle - 9.5, wide, 19, 4);
    context.fill();
    context.stroke();
    context.fillStyle = front;
    context.fillText(text, left + 6, middle + 0.5);
  }

  private crosshair(
    pointer: { x: number; y: number },
    now: number,
    window: number,
    low: number,
    high: number,
    plotWidth: number,
    plotHeight: number,
    decimals: number,
  ): void {
    if (pointer.x > this.width - this.axisWidth || pointer.y > plotHeight) return;
    const { context } = this;
    context.strokeStyle = this.colours.muted;
    context.setLineDash([3, 4]);
    context.beginPath();
    context.moveTo(0, pointer.y + 0.5);
    context.lineTo(this.width - this.axisWidth, pointer.y + 0.5);
    context.moveTo(pointer.x + 0.5, 0);
    context.lineTo(pointer.x + 0.5, plotHeight);
    context.stroke();
    context.setLineDash([]);
    const price = low + (1 - pointer.y / plotHeight) * (high - low);
    this.label(this.width - this.axisWidth + 2, pointer.y, grouped(price.toFixed(decimals)), this.colours.panel, this.colours.text);
    const us = Math.min(now, now - ((plotWidth - pointer.x) / plotWidth) * window);
    const text = clockTime(new Date(us / 1000));
    const wide = context.measureText(text).width + 12;
    const left = Math.min(Math.max(0, pointer.x - wide / 2), this.width - this.axisWidth - wide);
    this.label(left, plotHeight + AXIS_HEIGHT / 2 + 1, text, this.colours.panel, this.colours.text);
  }

  /** The same for those who cannot see it, every other second. */
  private describe(tops: TopPoint[], low: number, high: number): void {
    const last = tops.at(-1);
    if (last === undefined || performance.now() - this.describedAt < 2_000) return;
    this.describedAt = performance.now();
    const decimals = market.precision?.price ?? 0;
    const said =
      `Best bid ${last.bid.toFixed(decimals)}, best ask ${last.ask.toFixed(decimals)}; ` +
      `between ${low.toFixed(decimals)} and ${high.toFixed(decimals)} over the last two minutes, ${market.flow.trades.length} trades`;
    this.canvas.setAttribute("aria-label", said);
  }
}

export function FlowPanel() {
  const node = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const canvas = node.current;
    if (canvas === null) return undefined;
    const painter = new FlowPainter(canvas);
    const sizes = new ResizeObserver(() => {
      painter.resize();
      painter.paint();
    });
    sizes.observe(canvas);
    const stops = [
      paints("flow", () => painter.paint()),
      palette.subscribe(() => {
        painter.recolour();
        touch("flow");
      }),
      () => sizes.disconnect(),
    ];
    canvas.onpointermove = (event) => {
      painter.pointer = { x: event.offsetX, y: event.offsetY };
      touch("flow");
    };
    canvas.onpointerleave = () => {
      painter.pointer = null;
      touch("flow");
    };
    return () => stops.forEach((stop) => stop());
  }, []);
  const aside = (
    <span class="legend">
      <span class="bid">● bought</span>
      <span class="ask">● sold</span>
      <LastMinute otherwise="up to two minutes" />
    </span>
  );
  return (
    <Panel id="flow" title="Flow" veil={tradesVeil("market")} aside={aside}>
      <canvas class="flow-canvas" ref={node} role="img" aria-label="Best bid, best ask and trades of the last two minutes" />
    </Panel>
  );
}

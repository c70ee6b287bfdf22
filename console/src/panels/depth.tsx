// The depth chart: how much rests up to each price, on both sides, drawn by hand on a canvas. A stepped line is the truth
// here: between two levels nothing rests.

import { useEffect, useRef } from "preact/hooks";
import { paints, touch } from "../draw";
import { count } from "../model/clock";
import { grouped } from "../model/decimal";
import { curveOf, fitting, RANGES_BP, upTo, type DepthCurve, type DepthPoint } from "../model/depth";
import { axisMarks } from "../model/flow";
import { bestMid, fitRange, market, rangeBp, widen } from "../session";
import { palette } from "./help";
import { coloursOf, faded, type Colours } from "./palette";
import { bookVeil, Panel } from "./panel";

const AXIS_HEIGHT = 22;
const TOP_ROOM = 12;
const DESCRIBED_MS = 2_000;

/** `1,234`, `12.35`, `0.0123`: three or four digits that matter. */
function amount(value: number): string {
  const decimals = value === 0 || value >= 100 ? (value >= 1_000 ? 0 : 1) : Math.min(8, 2 - Math.floor(Math.log10(value)));
  return grouped(value.toFixed(Math.max(0, decimals)));
}

function worth(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(2)} bn`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} m`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return count(value);
}

/** Currency of the sums, where the instrument's name says it. */
function quoteOf(instrument: string): string {
  const symbol = instrument.slice(0, instrument.lastIndexOf(".")).replace(/-PERP$/, "");
  const parted = /[-/]([A-Z0-9]+)$/.exec(symbol);
  return parted?.[1] ?? /(USDT|USDC|FDUSD|USD|EUR|GBP|TRY|BTC|ETH|BNB)$/.exec(symbol)?.[1] ?? "";
}

class DepthPainter {
  private readonly context: CanvasRenderingContext2D;
  private colours: Colours;
  private width = 0;
  private height = 0;
  private describedAt = -DESCRIBED_MS;
  /** Top of the size axis; follows slowly, so that the picture does not breathe with every order. */
  private top = 0;
  pointer: { x: number; y: number } | null = null;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly readOut: HTMLElement,
    private readonly note: HTMLElement,
  ) {
    this.context = canvas.getContext("2d") as CanvasRenderingContext2D;
    this.colours = coloursOf(canvas);
  }

  recolour(): void {
    this.colours = coloursOf(this.canvas);
  }

  resize(): void {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = Math.min(2, devicePixelRatio);
    [this.width, this.height] = [clientWidth, clientHeight];
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  paint(): void {
    const { context, width, height } = this;
    context.clearRect(0, 0, width, height);
    const curve = this.curve();
    this.tell(curve);
    const narrower = curve === null ? null : fitting(curve, rangeBp.value);
    if (narrower !== null) fitRange(narrower);
    if (curve === null || width < 60 || height < 60) {
      this.readOut.textContent = "";
      return;
    }
    const plot = height - AXIS_HEIGHT;
    const wanted = curve.top * 1.08;
    this.top = this.top === 0 || wanted > this.top || wanted < this.top * 0.5 ? wanted : this.top * 0.97 + wanted * 0.03;
    const x = (price: number): number => ((price - curve.low) / (curve.high - curve.low)) * width;
    const y = (size: number): number => plot - (size / this.top) * (plot - TOP_ROOM);
    this.priceAxis(curve, x, plot);
    const marks = axisMarks(0, this.top, Math.max(2, Math.floor(plot / 44))).filter((mark) => mark > 0 && y(mark) >= 10);
    this.sizeLines(marks, y);
    this.side(curve.bids, this.colours.up, curve.bidsEnd ? null : 0, x, y, plot);
    this.side(curve.asks, this.colours.down, curve.asksEnd ? null : width, x, y, plot);
    this.sizeLabels(marks, y);
    context.strokeStyle = faded(this.colours.muted, 0.7);
    context.setLineDash([2, 3]);
    context.beginPath();
    context.moveTo(Math.round(x(curve.mid)) + 0.5, 0);
    context.lineTo(Math.round(x(curve.mid)) + 0.5, plot);
    context.stroke();
    context.setLineDash([]);
    this.point(curve, x, y, plot);
  }

  private curve(): DepthCurve | null {
    const mid = bestMid();
    if (market.deep === null || mid === null) return null;
    // The range is around the middle of the true best prices; groups have edges beside them.
    return curveOf({ ...market.deep, usable: market.depth?.usable ?? false }, mid, rangeBp.value);
  }

  private priceAxis(curve: DepthCurve, x: (price: number) => number, plot: number): void {
    const { context, width } = this;
    context.font = `11px ${this.colours.mono}`;
    context.textBaseline = "middle";
    context.textAlign = "center";
    context.fillStyle = this.colours.muted;
    const marks = axisMarks(curve.low, curve.high, Math.max(2, Math.floor(width / 88)));
    const decimals = Math.min(market.precision?.price ?? 0, Math.max(0, -Math.floor(Math.log10((marks[1] ?? 1) - (marks[0] ?? 0)))));
    for (const mark of marks) {
      const at = x(mark);
      if (at < 34 || at > width - 34) continue;
      context.fillText(grouped(mark.toFixed(decimals)), at, plot + AXIS_HEIGHT / 2 + 2);
    }
  }

  private sizeLines(marks: readonly number[], y: (size: number) => number): void {
    const { context } = this;
    context.strokeStyle = faded(this.colours.line, 0.55);
    context.beginPath();
    for (const mark of marks) {
      const at = Math.round(y(mark)) + 0.5;
      context.moveTo(0, at);
      context.lineTo(this.width, at);
    }
    context.stroke();
  }

  /** Over the curve, on a patch of the ground: a line that runs through figures makes others of them. */
  private sizeLabels(marks: readonly number[], y: (size: number) => number): void {
    const { context } = this;
    context.textAlign = "left";
    for (const mark of marks) {
      const [text, middle] = [amount(mark), y(mark) + 9];
      context.fillStyle = this.colours.panel;
      context.beginPath();
      context.roundRect(4, middle - 7, context.measureText(text).width + 8, 14, 3);
      context.fill();
      context.fillStyle = this.colours.muted;
      context.fillText(text, 8, middle);
    }
  }

  /** One side as a stepped line to `edge`; null: to its last level, behind which nothing is known. */
  private side(points: readonly DepthPoint[], colour: string, edge: number | null, x: (price: number) => number, y: (size: number) => number, plot: number): void {
    const first = points[0];
    if (first === undefined) return;
    const { context } = this;
    context.beginPath();
    context.moveTo(x(first.price), plot);
    let before = plot;
    for (const point of points) {
      context.lineTo(x(point.price), before);
      before = y(point.size);
      context.lineTo(x(point.price), before);
    }
    const end = edge ?? x((points.at(-1) as DepthPoint).price);
    context.lineTo(end, before);
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.stroke();
    context.lineWidth = 1;
    context.lineTo(end, plot);
    context.closePath();
    context.fillStyle = faded(colour, 0.13);
    context.fill();
  }

  /** The read-out of what the pointer is at; without a pointer, of the whole range. */
  private point(curve: DepthCurve, x: (price: number) => number, y: (size: number) => number, plot: number): void {
    const quote = quoteOf(market.depth?.instrument ?? "");
    const { pointer } = this;
    const price = pointer === null || pointer.y > plot ? null : curve.low + (pointer.x / this.width) * (curve.high - curve.low);
    const found = price === null ? null : upTo(curve, price);
    if (price === null || found === null) {
      const [bids, asks] = [curve.bids.at(-1), curve.asks.at(-1)];
      const share = (bids?.size ?? 0) + (asks?.size ?? 0) === 0 ? 50 : Math.round(((bids?.size ?? 0) / ((bids?.size ?? 0) + (asks?.size ?? 0))) * 100);
      this.say([
        ["bid", `${amount(bids?.size ?? 0)} bid`],
        ["", `${share} : ${100 - share}`],
        ["ask", `${amount(asks?.size ?? 0)} asked`],
      ]);
      return;
    }
    const { side, point } = found;
    const away = (Math.abs(price - curve.mid) / curve.mid) * 1e4;
    const [at, level] = [x(price), y(point.size)];
    const { context } = this;
    context.strokeStyle = this.colours.muted;
    context.setLineDash([3, 4]);
    context.beginPath();
    context.moveTo(at, 0);
    context.lineTo(at, plot);
    context.moveTo(side === "bid" ? at : 0, level);
    context.lineTo(side === "bid" ? this.width : at, level);
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = side === "bid" ? this.colours.up : this.colours.down;
    context.beginPath();
    context.arc(at, level, 3.5, 0, 2 * Math.PI);
    context.fill();
    this.say([
      [side, grouped(price.toFixed(market.precision?.price ?? 0))],
      ["", `${away.toFixed(away < 10 ? 2 : 1)} bp`],
      ["", `${side === "bid" ? "sells" : "buys"} ${amount(point.size)}`],
      ["hint", `for ${worth(point.worth)} ${quote}`],
    ]);
  }

  private say(parts: readonly (readonly [className: string, text: string])[]): void {
    const nodes = this.readOut.children;
    while (nodes.length > parts.length) this.readOut.lastChild?.remove();
    parts.forEach(([className, text], at) => {
      const node = (nodes[at] as HTMLElement | undefined) ?? this.readOut.appendChild(document.createElement("span"));
      if (node.className !== className) node.className = className;
      if (node.textContent !== text) node.textContent = text;
    });
  }

  /** The model for tests, and the same in words every other second. */
  private tell(curve: DepthCurve | null): void {
    const said = curve === null ? { bids: "0", asks: "0", bidTotal: "", askTotal: "" } : {
      bids: String(curve.bids.length),
      asks: String(curve.asks.length),
      bidTotal: String(curve.bids.at(-1)?.size ?? 0),
      askTotal: String(curve.asks.at(-1)?.size ?? 0),
    };
    Object.assign(this.canvas.dataset, said, {
      bestBid: market.depth?.bids[0]?.[0] ?? "",
      bestAsk: market.depth?.asks[0]?.[0] ?? "",
      rangeBp: String(rangeBp.value),
      step: market.deep?.step ?? "",
      usable: String(curve?.usable ?? false),
      whole: String(curve?.whole ?? false),
    });
    const partial = curve !== null && !curve.whole;
    if (this.note.hidden === partial) this.note.hidden = !partial;
    if (curve === null || performance.now() - this.describedAt < DESCRIBED_MS) return;
    this.describedAt = performance.now();
    const [bids, asks] = [curve.bids.at(-1), curve.asks.at(-1)];
    const quote = quoteOf(market.depth?.instrument ?? "");
    this.canvas.setAttribute(
      "aria-label",
      `Depth within ${rangeBp.value} basis points of ${curve.mid.toFixed(market.precision?.price ?? 0)}${curve.usable ? "" : ", of a book that must not be used"}: ` +
        `${amount(bids?.size ?? 0)} bid for ${worth(bids?.worth ?? 0)} ${quote}, ${amount(asks?.size ?? 0)} asked for ${worth(asks?.worth ?? 0)} ${quote}`,
    );
  }
}

export function DepthPanel() {
  const node = useRef<HTMLCanvasElement>(null);
  const readOut = useRef<HTMLParagraphElement>(null);
  const note = useRef<HTMLSpanElement>(null);
  useEffect(() => {
    const canvas = node.current;
    if (canvas === null || readOut.current === null || note.current === null) return undefined;
    const painter = new DepthPainter(canvas, readOut.current, note.current);
    const sizes = new ResizeObserver(() => {
      painter.resize();
      painter.paint();
    });
    sizes.observe(canvas);
    const stops = [
      paints("depth", () => painter.paint()),
      palette.subscribe(() => {
        painter.recolour();
        touch("depth");
      }),
      () => sizes.disconnect(),
    ];
    canvas.onpointermove = (event) => {
      painter.pointer = { x: event.offsetX, y: event.offsetY };
      touch("depth");
    };
    canvas.onpointerleave = () => {
      painter.pointer = null;
      touch("depth");
    };
    canvas.onwheel = (event) => {
      event.preventDefault();
      widen(Math.sign(event.deltaY));
    };
    return () => stops.forEach((stop) => stop());
  }, []);
  const bp = rangeBp.value;
  const aside = (
    <div class="stepper" role="group" aria-label="Range of the depth chart">
      <button type="button" aria-label="Smaller range" disabled={bp === RANGES_BP[0]} onClick={() => widen(-1)}>
        −
      </button>
      <span class="stepper-value" title="Distance from the middle on both sides">{bp < 100 ? `± ${bp} bp` : `± ${bp / 100}%`}</span>
      <button type="button" aria-label="Larger range" disabled={bp === RANGES_BP.at(-1)} onClick={() => widen(1)}>
        +
      </button>
    </div>
  );
  return (
    <Panel id="depth" title="Depth" veil={bookVeil("depth")} aside={aside}>
      <p class="readout num" ref={readOut} aria-hidden="true" />
      <canvas class="depth-canvas" ref={node} role="img" aria-label="Size on both sides of the book, summed up from the best price" />
      <span class="canvas-note" ref={note} hidden>
        only the best 25 levels are known
      </span>
    </Panel>
  );
}

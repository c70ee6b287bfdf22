// The colours of the page as canvases need them: read from the style sheet, so that there is one place for them.

export interface Colours {
  up: string;
  down: string;
  warn: string;
  line: string;
  text: string;
  muted: string;
  panel: string;
  raised: string;
  accent: string;
  mono: string;
}

export function coloursOf(node: Element): Colours {
  const style = getComputedStyle(node);
  const read = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    up: read("up"),
    down: read("down"),
    warn: read("warn"),
    line: read("line"),
    text: read("text"),
    muted: read("muted"),
    panel: read("panel"),
    raised: read("raised"),
    accent: read("accent"),
    mono: read("mono"),
  };
}

/** `#2ebd85` with an alpha of 0 to 1. */
export function faded(colour: string, alpha: number): string {
  return `${colour}${Math.round(alpha * 255)
    .toString(16)
    .padStart(2, "0")}`;
}

const HATCH = 7;

/** A time that could not be trusted, between two places of a chart: tinted, hatched, and closed by a bar at the foot. */
export function paintBand(context: CanvasRenderingContext2D, colour: string, left: number, right: number, height: number): void {
  const wide = Math.max(2, right - left);
  context.save();
  context.beginPath();
  context.rect(left, 0, wide, height);
  context.clip();
  context.fillStyle = faded(colour, 0.07);
  context.fillRect(left, 0, wide, height);
  context.strokeStyle = faded(colour, 0.17);
  context.lineWidth = 1;
  context.beginPath();
  // Lines begin at absolute places, so that the hatch stands still while the band grows.
  for (let x = Math.floor((left - height) / HATCH) * HATCH; x < left + wide; x += HATCH) {
    context.moveTo(x, height);
    context.lineTo(x + height, 0);
  }
  context.stroke();
  context.fillStyle = colour;
  context.fillRect(left, height - 3, wide, 3);
  context.restore();
}

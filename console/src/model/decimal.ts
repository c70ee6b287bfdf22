// Decimal strings for people, without passing through binary floats: digits are cut or grouped, never computed.

/** Decimals that carry information: `"1.0500"` has 2, `"3"` has 0. */
export function significantDecimals(text: string): number {
  const point = text.indexOf(".");
  if (point < 0) return 0;
  let end = text.length;
  while (end > point + 1 && text.charCodeAt(end - 1) === 48) end -= 1;
  return end - point - 1;
}

/** Decimals to print for prices or sizes: those of the step when it is known, else the most that any sample needs. */
export function shownDecimals(step: string | null, samples: Iterable<string>): number {
  if (step !== null) return significantDecimals(step);
  let most = 0;
  for (const sample of samples) most = Math.max(most, significantDecimals(sample));
  return most;
}

/** `text` with exactly `decimals` decimals; more where digits would otherwise be lost. */
export function withDecimals(text: string, decimals: number): string {
  const kept = Math.max(decimals, significantDecimals(text));
  const point = text.indexOf(".");
  const whole = point < 0 ? text : text.slice(0, point);
  if (kept === 0) return whole;
  const fraction = point < 0 ? "" : text.slice(point + 1);
  return `${whole}.${fraction.slice(0, kept).padEnd(kept, "0")}`;
}

/** `"61837.63"` as `"61,837.63"`. */
export function grouped(text: string): string {
  const point = text.indexOf(".");
  const whole = point < 0 ? text : text.slice(0, point);
  const fraction = point < 0 ? "" : text.slice(point);
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + fraction;
}

/** `"0.50000"` as `["0.5", "0000"]`: the tail says precision and no more, so it is printed faintly. */
export function splitTail(text: string): readonly [lead: string, tail: string] {
  const point = text.indexOf(".");
  if (point < 0) return [text, ""];
  let end = text.length;
  while (end > point + 1 && text.charCodeAt(end - 1) === 48) end -= 1;
  if (end === point + 1) end = point;
  return [text.slice(0, end), text.slice(end)];
}

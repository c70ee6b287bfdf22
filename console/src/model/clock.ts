// Times and spans for people. UTC everywhere.

const two = (value: number): string => String(value).padStart(2, "0");

/** Microseconds since 1970 as `14:03:07.250`. */
export function timeOfDay(us: number): string {
  const ms = Math.floor(us / 1000);
  const date = new Date(ms);
  return `${clockTime(date)}.${String(date.getUTCMilliseconds()).padStart(3, "0")}`;
}

/** `14:03:07`. */
export function clockTime(date: Date): string {
  return `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`;
}

/** A span as a person reads it: `0.4 ms`, `12 ms`, `3.1 s`, `4 min`, `2 h`. */
export function span(us: number): string {
  const size = Math.abs(us);
  const sign = us < 0 ? "−" : "";
  if (size < 10_000) return `${sign}${(size / 1000).toFixed(1)} ms`;
  if (size < 1_000_000) return `${sign}${Math.round(size / 1000)} ms`;
  if (size < 100_000_000) return `${sign}${(size / 1_000_000).toFixed(1)} s`;
  if (size < 7_200_000_000) return `${sign}${Math.round(size / 60_000_000)} min`;
  return `${sign}${Math.round(size / 3_600_000_000)} h`;
}

/** `1234567` as `1,234,567`, `12.34` as `12.3`: counts and rates. */
export function count(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: value < 100 ? 1 : 0 });
}

/** `08-09 14:03`, for a sentence. */
export function utcMinute(us: number): string {
  return new Date(us / 1000).toISOString().slice(5, 16).replace("T", " ");
}

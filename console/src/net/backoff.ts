// How long to wait before the next attempt to connect: doubling from 0.25 s to 8 s, with "equal jitter", so that many
// pages do not come back in the same instant and none comes back at once.

export const FIRST_MS = 250;
export const LAST_MS = 8_000;

/** Milliseconds to wait before attempt number `attempt`, counted from 1; `random` is in [0, 1). */
export function backoffMs(attempt: number, random: number): number {
  const ceiling = Math.min(LAST_MS, FIRST_MS * 2 ** (attempt - 1));
  return Math.round(ceiling / 2 + (random * ceiling) / 2);
}

// The newest trades and what the tape knows about its own completeness.

import type { Frame, Trade } from "../net/protocol";

export const TAPE_MAX = 200;

/** Trades, or a hole: `missed` trades that came but never reached this page. */
export type Print = { kind: "trade"; trade: Trade } | { kind: "hole"; missed: number };

export class Tape {
  /** Newest first, at most `TAPE_MAX`. */
  prints: Print[] = [];
  /** Prints put on top so far; a painter compares it with what it has drawn. */
  count = 0;
  private seq: number | null = null;

  clear(): void {
    this.prints = [];
    this.count = 0;
    this.seq = null;
  }

  /** Takes a frame of `@trade`. A snapshot replaces everything. */
  take(frame: Frame): void {
    const trades = frame.data as Trade[];
    if (frame.snapshot === true) {
      this.clear();
    } else if (this.seq !== null && frame.seq !== this.seq + 1) {
      this.put({ kind: "hole", missed: 0 });
    }
    if (frame.missed !== undefined && frame.missed > 0) this.put({ kind: "hole", missed: frame.missed });
    for (const trade of trades) this.put({ kind: "trade", trade });
    this.seq = frame.seq;
  }

  /** The newest trade. */
  last(): Trade | null {
    for (const print of this.prints) if (print.kind === "trade") return print.trade;
    return null;
  }

  private put(print: Print): void {
    this.prints.unshift(print);
    if (this.prints.length > TAPE_MAX) this.prints.pop();
    this.count += 1;
  }
}

/** Strength of a trade's tint, 0 to 1: its size on a log scale between the usual and the large ones of the tape. */
export class SizeScale {
  private usual = 0;

  /** Learns from `size` and says where it stands. */
  strength(size: number): number {
    if (size <= 0) return 0;
    this.usual = this.usual === 0 ? size : this.usual * 0.98 + size * 0.02;
    return Math.min(1, Math.max(0, Math.log2(size / this.usual + 1) / 3));
  }
}

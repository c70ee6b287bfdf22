// The ladder: twenty asks above, the spread in the middle, twenty bids below. Rows are made once and rewritten in place.

import { useEffect, useRef } from "preact/hooks";
import { paints } from "../draw";
import { grouped } from "../model/decimal";
import type { Row } from "../model/ladder";
import { indicativeOf, isContinuous, SESSION_WORDS } from "../model/trading";
import { group, market, precision, session, step, steps } from "../session";
import { cell, SizeCell, TextCell } from "./cells";
import { bookVeil, Panel } from "./panel";

const LEVELS = 20;

class LadderRow {
  readonly node = document.createElement("tr");
  private readonly price: TextCell;
  private readonly size: SizeCell;
  private readonly total: SizeCell;
  private filled: boolean | null = null;

  constructor(side: "bid" | "ask", level: number) {
    const price = cell("td", `num price ${side}`);
    const size = cell("td", "num size");
    const total = cell("td", "num total");
    this.node.className = `level level-${side}`;
    this.node.dataset["level"] = String(level);
    this.node.append(price, size, total);
    this.price = new TextCell(price);
    this.size = new SizeCell(size);
    this.total = new SizeCell(total);
  }

  show(row: Row | undefined): void {
    const filled = row !== undefined;
    if (filled !== this.filled) {
      this.filled = filled;
      this.node.classList.toggle("level-none", !filled);
    }
    this.price.set(filled ? grouped(row.price) : "");
    this.size.set(filled ? grouped(row.size) : "");
    this.total.set(filled ? grouped(row.total) : "");
    this.node.style.setProperty("--total", filled ? row.totalShare.toFixed(3) : "0");
    this.node.style.setProperty("--size", filled ? row.sizeShare.toFixed(3) : "0");
  }
}

/** Owns the rows of one mounted ladder. */
class LadderPainter {
  private readonly asks = Array.from({ length: LEVELS }, (_, level) => new LadderRow("ask", level + 1));
  private readonly bids = Array.from({ length: LEVELS }, (_, level) => new LadderRow("bid", level + 1));
  private readonly texts: Record<string, TextCell> = {};
  private lastMid: number | null = null;

  constructor(private readonly root: HTMLElement) {
    this.find("asks").replaceChildren(...this.asks.map((row) => row.node).reverse());
    this.find("bids").replaceChildren(...this.bids.map((row) => row.node));
    for (const name of ["mid", "spread-word", "spread", "bp", "share-bid", "share-ask"]) this.texts[name] = new TextCell(this.find(name));
  }

  paint(): void {
    const ladder = market.ladder;
    for (let level = 0; level < LEVELS; level += 1) {
      this.asks[level]?.show(ladder?.asks[level]);
      this.bids[level]?.show(ladder?.bids[level]);
    }
    const bidShare = ladder?.bidShare ?? null;
    const decimals = (market.precision?.price ?? 0) + 1;
    const said = session.value;
    if (said === null || isContinuous(said.session)) {
      this.texts["mid"]?.set(ladder?.mid == null ? "–" : grouped(trimHalf(ladder.mid.toFixed(decimals))));
      this.texts["spread-word"]?.set("spread");
      this.texts["spread"]?.set(ladder?.spread ?? "–");
      this.texts["bp"]?.set(ladder?.spreadBp == null ? "" : `${ladder.spreadBp.toFixed(ladder.spreadBp < 0.1 ? 3 : 2)} bp`);
    } else {
      // Orders that wait for each other may cross: their middle and their spread are no prices.
      const collects = said.session === "auction" || said.session === "pre_open";
      this.texts["mid"]?.set(SESSION_WORDS[said.session]);
      this.texts["spread-word"]?.set(collects ? "would trade" : "");
      this.texts["spread"]?.set(collects ? (indicativeOf(said, precision()) ?? "nothing") : "");
      this.texts["bp"]?.set("");
    }
    this.texts["share-bid"]?.set(bidShare === null ? "" : `${Math.round(bidShare * 100)}%`);
    this.texts["share-ask"]?.set(bidShare === null ? "" : `${100 - Math.round(bidShare * 100)}%`);
    this.root.style.setProperty("--bid-share", (bidShare ?? 0.5).toFixed(3));
    if (isContinuous(said?.session ?? null) && ladder?.mid != null && this.lastMid !== null && ladder.mid !== this.lastMid) {
      this.find("mid").dataset["move"] = ladder.mid > this.lastMid ? "up" : "down";
    }
    if (!isContinuous(said?.session ?? null)) delete this.find("mid").dataset["move"];
    this.lastMid = ladder?.mid ?? null;
    this.root.dataset["step"] = (ladder === null ? null : step.value) ?? "";
    this.root.dataset["sequence"] = String(market.depth?.last_update_id ?? "");
  }

  private find(part: string): HTMLElement {
    return this.root.querySelector(`[data-part=${part}]`) as HTMLElement;
  }
}

/** `"61837.630"` as `"61837.63"`, `"61837.635"` as it is: the mid has one decimal more only when it needs it. */
function trimHalf(text: string): string {
  return text.endsWith("0") ? text.slice(0, -1).replace(/\.$/, "") : text;
}

/** Which levels the ladder shows: the venue's own, or groups of a width. Offered widths follow the price. */
function Groups() {
  const [shown, offered] = [step.value, steps()];
  const at = offered.indexOf(shown);
  return (
    <div class="stepper" role="group" aria-label="Price groups">
      <button type="button" aria-label="Narrower groups" title="Key −" disabled={shown === null} onClick={() => group(-1)}>
        −
      </button>
      <span class="stepper-value" title={shown === null ? "The venue's own levels" : `Levels in groups ${shown} wide`}>{shown === null ? "all levels" : `by ${shown}`}</span>
      <button type="button" aria-label="Wider groups" title="Key +" disabled={at === offered.length - 1 && offered.length > 1} onClick={() => group(1)}>
        +
      </button>
    </div>
  );
}

export function LadderPanel() {
  const root = useRef<HTMLTableElement>(null);
  useEffect(() => {
    if (root.current === null) return undefined;
    const painter = new LadderPainter(root.current);
    return paints("book", () => painter.paint());
  }, []);
  return (
    <Panel id="book" title="Book" veil={bookVeil("book")} aside={<Groups />}>
      <table class="live ladder" ref={root}>
        <caption class="sr">Order book: asks from the twentieth level down to the best, the spread, bids from the best on</caption>
        <thead>
          <tr>
            <th scope="col" class="num">
              Price
            </th>
            <th scope="col" class="num">
              Size
            </th>
            <th scope="col" class="num">
              Total
            </th>
          </tr>
        </thead>
        <tbody data-part="asks" aria-label="Asks" />
        <tbody class="middle" aria-label="Spread">
          <tr>
            <td colSpan={3}>
              <div class="middle-line">
                <span class="mid" data-part="mid">
                  –
                </span>
                <span class="spread">
                  <span class="hint" data-part="spread-word">
                    spread
                  </span>{" "}
                  <span data-part="spread">–</span> <span class="hint" data-part="bp" />
                </span>
              </div>
              <div class="balance">
                <span class="bid" data-part="share-bid" />
                <span class="balance-bar" role="presentation" />
                <span class="ask" data-part="share-ask" />
              </div>
            </td>
          </tr>
        </tbody>
        <tbody data-part="bids" aria-label="Bids" />
      </table>
    </Panel>
  );
}

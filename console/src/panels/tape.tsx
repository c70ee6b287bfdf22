// The tape: newest trade on top. Rows are recycled from the bottom, so a new trade moves nodes and rewrites one.

import { useEffect, useRef } from "preact/hooks";
import { paints } from "../draw";
import { timeOfDay } from "../model/clock";
import { grouped, withDecimals } from "../model/decimal";
import { SizeScale, type Print } from "../model/tape";
import type { Side } from "../net/protocol";
import { market, precision } from "../session";
import { cell, SizeCell, TextCell } from "./cells";
import { Panel, tradesVeil } from "./panel";

const ROWS = 60;
const LETTER: Record<Side, string> = { buy: "B", sell: "S", none: "–" };
const WORD: Record<Side, string> = { buy: "buy", sell: "sell", none: "side not known" };

class TapeRow {
  readonly node = document.createElement("tr");
  private readonly sideNode = cell("td", "side");
  private readonly time: TextCell;
  private readonly side: TextCell;
  private readonly price: TextCell;
  private readonly size: SizeCell;

  constructor() {
    const [time, price, size] = [cell("td", "time"), cell("td", "num price"), cell("td", "num size")];
    this.node.append(time, this.sideNode, price, size);
    this.time = new TextCell(time);
    this.side = new TextCell(this.sideNode);
    this.price = new TextCell(price);
    this.size = new SizeCell(size);
  }

  show(print: Print, strength: number): void {
    if (print.kind === "hole") {
      this.node.className = "print hole";
      this.time.set("missed");
      this.side.set("");
      this.price.set(print.missed > 0 ? `${print.missed} trades` : "trades");
      this.size.set("");
      return;
    }
    const { trade } = print;
    this.node.className = `print print-${trade.side}`;
    this.node.dataset["id"] = String(trade.id);
    this.time.set(timeOfDay(trade.ts_event > 0 ? trade.ts_event : trade.ts_recv));
    this.side.set(LETTER[trade.side]);
    this.sideNode.setAttribute("aria-label", WORD[trade.side]);
    const { price, size } = precision();
    this.price.set(grouped(withDecimals(trade.price, price)));
    this.size.set(grouped(withDecimals(trade.size, size)));
    this.node.style.setProperty("--strength", strength.toFixed(2));
  }
}

class TapePainter {
  private rows: TapeRow[] = [];
  private drawn = 0;
  private digits = -1;
  private scale = new SizeScale();

  constructor(private readonly body: HTMLElement) {}

  paint(): void {
    const { prints, count } = market.tape;
    // After a snapshot, a change of instrument, or of decimals, everything is drawn anew; else what came on top.
    const { price, size } = precision();
    const digits = price * 100 + size;
    const anew = count < this.drawn || digits !== this.digits || count - this.drawn >= ROWS;
    if (anew) {
      this.digits = digits;
      this.scale = new SizeScale();
      this.rows = [];
      this.body.replaceChildren();
    }
    const fresh = prints.slice(0, anew ? ROWS : Math.min(ROWS, count - this.drawn)).reverse();
    for (const print of fresh) {
      const row = this.rows.length < ROWS ? new TapeRow() : (this.rows.shift() as TapeRow);
      this.rows.push(row);
      row.show(print, print.kind === "trade" ? this.scale.strength(Number(print.trade.size)) : 0);
      this.body.prepend(row.node);
    }
    this.drawn = count;
    this.body.dataset["count"] = String(count);
  }
}

export function TapePanel() {
  const body = useRef<HTMLTableSectionElement>(null);
  const empty = useRef<HTMLParagraphElement>(null);
  useEffect(() => {
    if (body.current === null) return undefined;
    const painter = new TapePainter(body.current);
    return paints("tape", () => {
      painter.paint();
      if (empty.current !== null) empty.current.hidden = market.tape.prints.length > 0;
    });
  }, []);
  return (
    <Panel id="tape" title="Tape" veil={tradesVeil("trade")} aside={<span class="hint">newest first, UTC</span>}>
      <div class="scroll" tabIndex={0} role="region" aria-label="Trades, newest first">
        <table class="live tape">
          <caption class="sr">Trades, newest first; B: the aggressor bought, S: the aggressor sold</caption>
          <thead>
            <tr>
              <th scope="col">Time</th>
              <th scope="col">
                <span aria-hidden="true">Side</span>
                <span class="sr">Aggressor</span>
              </th>
              <th scope="col" class="num">
                Price
              </th>
              <th scope="col" class="num">
                Size
              </th>
            </tr>
          </thead>
          <tbody ref={body} />
        </table>
        <p class="none" ref={empty}>
          No trades yet. Each print appears here the moment it is published.
        </p>
      </div>
    </Panel>
  );
}

// Which columns of the markets table there is room for, and how wide each is. A figure is whole or not there: one cut short
// reads as another figure. So columns are given up, the least needed first; where not even the prices fit, the table scrolls.

/** Columns by what they hold: `size` and `price` are two each, `why` is the part of `book` that says a reason and `air` what is around its word. */
export type Column = "name" | "venue" | "size" | "price" | "spread" | "last" | "age" | "gaps" | "book" | "why" | "air";

/** Pixels that the longest content of each column takes; 0 for reasons when there is none. */
export type Needs = Record<Column, number>;

export interface Fitted {
  /** Of the columns shown; `book` has the room of `why` and `air` in it. */
  widths: Partial<Record<Column, number>>;
  without: Column[];
  /** More than the room when even what is never given up does not fit. */
  total: number;
}

/** First the reason, which the instrument's own page says too, and the venue, which every name ends in. */
const GIVEN_UP: readonly Column[] = ["why", "venue", "size", "age", "spread", "gaps", "last", "air"];
const COLUMNS: readonly Exclude<Column, "why" | "air">[] = ["name", "venue", "size", "price", "spread", "last", "age", "gaps", "book"];
const TWICE: ReadonlySet<Column> = new Set<Column>(["size", "price"]);

function times(column: Column): number {
  return TWICE.has(column) ? 2 : 1;
}

/** What is left goes to the name until it is there with its venue, `wholeNamePx`, and then to all alike. */
export function fitted(roomPx: number, needs: Needs, wholeNamePx = 0): Fitted {
  const without: Column[] = [];
  const need = (column: Column): number => (without.includes(column) ? 0 : times(column) * needs[column]);
  const total = (): number => [...COLUMNS, "why" as const, "air" as const].reduce((sum, column) => sum + need(column), 0);
  for (const column of GIVEN_UP) {
    if (total() <= roomPx) break;
    without.push(column);
  }
  const shown = COLUMNS.filter((column) => !without.includes(column));
  const left = Math.max(0, roomPx - total());
  const ofName = Math.min(left, Math.max(0, wholeNamePx - needs.name));
  const spare = (left - ofName) / shown.reduce((sum, column) => sum + times(column), 0);
  const widths: Fitted["widths"] = {};
  for (const column of shown) {
    const more = column === "book" ? need("why") + need("air") : column === "name" ? ofName : 0;
    widths[column] = Math.floor(needs[column] + more + spare);
  }
  return { widths, without, total: total() };
}

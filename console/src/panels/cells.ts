// Cells of live tables, written only when their text changes: at ten frames a second most cells stay as they are.

import { splitTail } from "../model/decimal";

/** A text that is set only when it differs. */
export class TextCell {
  private shown = "";
  constructor(private readonly node: HTMLElement) {}

  set(text: string): void {
    if (text === this.shown) return;
    this.shown = text;
    this.node.textContent = text;
  }
}

/** A size: its significant digits, and its trailing zeros faintly. */
export class SizeCell {
  private shown = "";
  private readonly lead = document.createTextNode("");
  private readonly tail = document.createElement("span");

  constructor(node: HTMLElement) {
    this.tail.className = "faint";
    node.replaceChildren(this.lead, this.tail);
  }

  set(text: string): void {
    if (text === this.shown) return;
    this.shown = text;
    const [lead, tail] = splitTail(text);
    this.lead.data = lead;
    this.tail.textContent = tail;
  }
}

export function cell(tag: "td" | "th", className: string): HTMLTableCellElement {
  const made = document.createElement(tag);
  made.className = className;
  return made;
}

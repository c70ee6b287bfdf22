// The instrument picker: a button that shows what is chosen and a list with a filter. `/` opens it, arrows move, Enter
// chooses, Escape leaves; the roles are those of a combobox with a listbox.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { choose, chooseNeighbour, instruments, selected } from "../session";

const open = signal(false);
const filter = signal("");
const marked = signal(0);

/** Where the keyboard goes back to: nowhere unless the button was reached by it, so that a key does what the help says. */
let opener: HTMLElement | null = null;

export function openPicker(by: HTMLElement | null = null): void {
  if ((instruments.value ?? []).length === 0) return;
  opener = by;
  filter.value = "";
  marked.value = Math.max(0, matches().findIndex((name) => name === selected.value));
  open.value = true;
}

function matches(): string[] {
  const wanted = filter.value.trim().toUpperCase();
  return (instruments.value ?? []).map((one) => one.instrument).filter((name) => name.includes(wanted));
}

function parts(name: string): readonly [symbol: string, venue: string] {
  const point = name.lastIndexOf(".");
  return point < 0 ? [name, ""] : [name.slice(0, point), name.slice(point + 1)];
}

function List({ leave }: { leave: (refocus: boolean) => void }) {
  const input = useRef<HTMLInputElement>(null);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    input.current?.focus();
    const outside = (event: PointerEvent): void => {
      if (box.current?.contains(event.target as Node) === false) leave(false);
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, []);
  const names = matches();
  const take = (name: string | undefined): void => {
    if (name === undefined) return;
    choose(name);
    leave(true);
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === "Escape") leave(true);
    else if (event.key === "Enter") take(names[marked.value]);
    else if (event.key === "ArrowDown") marked.value = Math.min(names.length - 1, marked.value + 1);
    else if (event.key === "ArrowUp") marked.value = Math.max(0, marked.value - 1);
    else return;
    event.preventDefault();
  };
  return (
    <div class="picker-box" ref={box}>
      <input
        ref={input}
        class="picker-filter"
        type="text"
        role="combobox"
        aria-expanded="true"
        aria-controls="picker-list"
        aria-activedescendant={names.length > 0 ? `picker-${marked.value}` : undefined}
        aria-label="Filter instruments"
        placeholder="Filter"
        autocomplete="off"
        spellcheck={false}
        value={filter.value}
        onInput={(event) => {
          filter.value = event.currentTarget.value;
          marked.value = 0;
        }}
        onKeyDown={onKey}
      />
      <ul class="picker-list" id="picker-list" role="listbox" aria-label="Instruments">
        {names.map((name, index) => (
          <li
            key={name}
            id={`picker-${index}`}
            role="option"
            aria-selected={name === selected.value}
            class={index === marked.value ? "marked" : ""}
            onPointerMove={() => (marked.value = index)}
            onClick={() => take(name)}
          >
            <span class="symbol">{parts(name)[0]}</span>
            <span class="venue">{parts(name)[1]}</span>
          </li>
        ))}
      </ul>
      {names.length === 0 && <p class="picker-none">Nothing matches “{filter.value}”.</p>}
    </div>
  );
}

export function Picker() {
  const button = useRef<HTMLButtonElement>(null);
  const [symbol, venue] = parts(selected.value ?? "");
  const several = (instruments.value ?? []).length > 1;
  const leave = (refocus: boolean): void => {
    open.value = false;
    if (!refocus) return;
    if (opener !== null) opener.focus();
    else if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
  };
  return (
    <div class="picker">
      <button type="button" class="icon" onClick={() => chooseNeighbour(-1)} disabled={!several} aria-label="Previous instrument">
        ‹
      </button>
      <button
        ref={button}
        type="button"
        class="picker-button"
        aria-haspopup="listbox"
        aria-expanded={open.value}
        onClick={(event) => (open.value ? leave(true) : openPicker(event.detail === 0 ? event.currentTarget : null))}
      >
        <span class="sr">Instrument: </span>
        <span class="symbol">{symbol || "no instrument"}</span>
        <span class="venue">{venue}</span>
        <span class="caret" aria-hidden="true">
          ▾
        </span>
      </button>
      <button type="button" class="icon" onClick={() => chooseNeighbour(1)} disabled={!several} aria-label="Next instrument">
        ›
      </button>
      {open.value && <List leave={leave} />}
    </div>
  );
}

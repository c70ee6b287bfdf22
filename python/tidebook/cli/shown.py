"""Numbers and tables as commands show them: narrow, because a terminal is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table
    from rich.text import Text


_BETWEEN = 3
"""Characters between two columns: two of padding and the edge of the box, a space."""
_LAST_WIDTH_MIN = 14
"""Of words at the end of a line, which may go on below themselves."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    right: bool = True
    """Numbers are aligned at their end."""
    if_used: bool = False
    """Left out where no row has anything in it."""
    width_min: int = 0
    """Left out in terminals narrower than this."""
    give_up: int = 0
    """Left out in this order, 1 first, where all do not fit; 0: never."""


def plain(name: str) -> str:
    """A name that somebody chose, in a cell whose text may be marked up."""
    from rich.markup import escape

    return escape(name)


def span_of(first: int, last: int) -> str:
    """The messages that something holds: `1 to 2,000`, and of nothing what comes next."""
    return f"{first:,} to {last:,}" if first <= last else f"no message, the next is {first:,}"


def table(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], width: int) -> Table:
    """Rows under headings, two spaces between columns, a line under the head, and below which columns found no room."""
    from rich.box import Box
    from rich.table import Table
    from rich.text import Text

    texts = [[str(Text.from_markup(cell) if isinstance(cell, str) else cell) for cell in row] for row in rows]
    used = [at for at, column in enumerate(columns) if not column.if_used or any(row[at] for row in texts)]
    shown = [at for at in used if width >= columns[at].width_min]
    while _needed(columns, texts, shown) > width and any(columns[at].give_up for at in shown):
        shown.remove(min((at for at in shown if columns[at].give_up), key=lambda at: columns[at].give_up))
    # Only the line under the head.
    box = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
    found = Table(box=box, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for at in shown:
        column = columns[at]
        is_last = at == shown[-1] and not column.right
        found.add_column(
            column.name,
            justify="right" if column.right else "left",
            no_wrap=not is_last,
            overflow="fold" if is_last else "ellipsis",
            min_width=_LAST_WIDTH_MIN if is_last else None,
        )
    for row in rows:
        found.add_row(
            *(Text.from_markup(cell) if isinstance(cell, str) else cell for cell in (row[at] for at in shown))
        )
    if left_out := [columns[at].name for at in used if at not in shown]:
        found.caption = f"not shown: {', '.join(left_out)} (wider terminal, or --json)"
        found.caption_justify = "left"
    return found


def _needed(columns: Sequence[Column], texts: Sequence[Sequence[str]], shown: Sequence[int]) -> int:
    """Characters of a line in which no cell is cut."""
    widths = [max(len(columns[at].name), *(len(row[at]) for row in texts), 0) for at in shown]
    if shown and not columns[shown[-1]].right:
        widths[-1] = min(widths[-1], _LAST_WIDTH_MIN)
    return sum(widths) + _BETWEEN * (len(widths) - 1)


def amount(number: float) -> str:
    """`0`, `3.2`, `950`, `12.4k`, `3.10M`: three digits, for a table that changes."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if number >= size * 0.9995:
            number /= 1e3 if unit == "k" else size
            return f"{number:.3g}{unit}" if number < 1000 else f"{number:,.0f}{unit}"
    return f"{number:,.1f}" if number < 10 and number % 1 else f"{number:,.0f}"


def size(size_bytes: float) -> str:
    """`850 B`, `4 KB`, `1.9 MB`, `64 MB`: powers of ten, as everywhere in commands and pages."""
    for unit, power in (("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= power * 0.9995:
            value = size_bytes / power
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"
    return f"{size_bytes / 1e3:,.0f} KB" if size_bytes >= 1e3 else f"{size_bytes:,.0f} B"


def duration(nanoseconds: int | None) -> str:
    """`96 ns`, `3.1 µs`, `1.5 ms`, `2.1 s`; empty when nothing was measured."""
    if nanoseconds is None:
        return ""
    for unit, length in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= length:
            return f"{nanoseconds / length:.3g} {unit}"
    return f"{nanoseconds} ns"


def moment(ns: int) -> str:
    """`2026-11-30 09:00:00.000`, UTC, of ns since 1970; empty for 0, which is none."""
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if ns else ""

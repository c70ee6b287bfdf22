"""Messages of a channel as a person reads them: times, decimals and names instead of their numbers; raw messages taken apart.

A row is one message, its columns the fields of the record in the order of their use. `--where` is SQL over the same columns,
where decimals are doubles.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tidebook._core import format_units, unpack_message
from tidebook.errors import RawMessageError, TidebookError, UsageError
from tidebook.feeds.sink import MessageKind
from tidebook.feeds.status import said
from tidebook.storage.columns import DECIMALS, TIMES
from tidebook.transport.view import ChannelFile, ChannelView, Messages, channel_files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import polars as pl

_LIST_SHOWN = 1
_TEXTS = {"symbol", "asset"}
# What an operator looks for first, and what he hardly ever does.
_FIRST = ("ts_event", "ts_open", "instrument")
_LAST = ("ts_recv", "source_sequence", "source_index", "instrument_id", "flags")


class Decoder:
    """Turns messages of one channel into rows."""

    def __init__(self, view: ChannelView, root: Path | None) -> None:
        self._view = view
        self._root = root
        self._is_raw = view.dtype is None and view.file.name.startswith("feed.")

    @cached_property
    def _names(self) -> dict[int, str]:
        """Instruments by id, from the channel of their definitions in the same node; empty where there is none."""
        names: dict[int, str] = {}
        files = channel_files(self._root, node=self._view.file.node) or [
            ChannelFile(self._view.file.node, path.name.removesuffix(".ring"), path)
            for path in self._view.file.path.parent.glob("*.ring")
        ]
        for file in files:
            if file.name == "md.instruments":
                try:
                    found = [part for part in ChannelView(file).read() if isinstance(part, Messages)]
                except TidebookError:
                    return {}
                for part in found:
                    if part.records is not None:
                        texts = (
                            bytes(symbol).rstrip(b"\0").decode(errors="replace") for symbol in part.records["symbol"]
                        )
                        names.update(zip(part.records["instrument_id"].tolist(), texts, strict=True))
        return names

    def rows(self, messages: Messages) -> list[dict[str, Any]]:
        """One dict a message: numbers, texts, lists; decimals as exact texts, times as they are (ns)."""
        if messages.records is not None:
            return self._record_rows(messages.sequences, messages.records)
        return [
            {"sequence": sequence, **self._described(payload)}
            for sequence, payload in zip(messages.sequences.tolist(), messages.payloads or (), strict=True)
        ]

    def _record_rows(self, sequences: np.ndarray[Any, Any], records: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
        columns: dict[str, list[Any]] = {"sequence": sequences.tolist()}
        fields = records.dtype.names or ()
        is_status = (self._view.info["schema"] or ("",))[0] == "status"
        for name in (name for name in fields if name != "reserved"):
            values, exponent = records[name], DECIMALS.get(name)
            if name in _TEXTS and values.dtype == np.uint8 and values.ndim > 1:
                columns[name] = [bytes(text).rstrip(b"\0").decode(errors="replace") for text in values]
            elif values.dtype.kind == "S":
                columns[name] = [_text(one) for one in values.tolist()]
            elif is_status and name in ("kind", "reason"):
                columns[name] = [said(number) if number else "" for number in values.tolist()]
            elif exponent in fields:
                columns[name] = [
                    _decimal(*pair) for pair in zip(values.tolist(), records[exponent].tolist(), strict=True)
                ]
            else:
                columns[name] = values.tolist()
        for name in ("price_exp", "size_exp"):
            if name in columns and any(DECIMALS.get(other) == name for other in fields):
                del columns[name]
        if "instrument_id" in columns and "symbol" not in columns:
            columns["instrument"] = [self._names.get(number, str(number)) for number in columns["instrument_id"]]
        order = [
            "sequence",
            *(name for name in _FIRST if name in columns),
            *(name for name in columns if name not in (*_FIRST, *_LAST, "sequence")),
            *(name for name in _LAST if name in columns),
        ]
        return [dict(zip(order, row, strict=True)) for row in zip(*(columns[name] for name in order), strict=True)]

    def _described(self, payload: bytes) -> dict[str, Any]:
        if self._is_raw:
            try:
                ts_recv, connection, kind, context, body = unpack_message(payload)
            except RawMessageError:
                pass
            else:
                return {
                    "ts_recv": ts_recv,
                    "kind": MessageKind(kind).name.lower(),
                    "connection": connection,
                    "context": context.decode(errors="replace"),
                    "body": body.decode(errors="replace"),
                }
        return {"size_bytes": len(payload), "message": text_or_hex(payload)}


def _decimal(units: int | list[int], exponent: int) -> str | list[str]:
    return [format_units(one, exponent) for one in units] if isinstance(units, list) else format_units(units, exponent)


def _text(value: bytes | list[bytes]) -> str | list[str]:
    return [text_or_hex(one) for one in value] if isinstance(value, list) else text_or_hex(value)


def text_or_hex(payload: bytes) -> str:
    """The text a payload is, else its bytes in hexadecimal."""
    text = as_text(payload)
    return payload.hex(" ", -4) if text is None else text


def as_text(payload: bytes) -> str | None:
    """The text a payload is; None for bytes that are none, and for what a terminal would not print."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return None
    is_shown = text.isprintable() or all(char.isprintable() or char in "\t\r\n" for char in text)
    return text if is_shown else None


class Where:
    """A condition in SQL over the columns of rows."""

    def __init__(self, condition: str) -> None:
        """Raises: UsageError for what is no condition."""
        import polars as pl

        self._text = condition
        try:
            self._expression = pl.sql_expr(condition)
        except pl.exceptions.PolarsError as error:
            raise UsageError(
                f"--where {condition!r} is no condition: {error}", option="where", value=condition
            ) from None

    def matching(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of the rows. Raises: UsageError naming the columns for one that is not there, or not of that kind."""
        import polars as pl

        if not rows:
            return rows
        frame = _frame(rows)
        try:
            kept = frame.with_row_index("row#").filter(self._expression)["row#"].to_list()
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            names = ", ".join(frame.columns)
            raise UsageError(
                f"--where {self._text!r}: {reason}; columns are {names}", option="where", value=self._text
            ) from None
        return [rows[index] for index in kept]


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    import polars as pl

    columns: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name in DECIMALS and isinstance(values[0], str):
            values = [float(value) for value in values]
        elif name in DECIMALS and isinstance(values[0], list):
            values = [[float(value) for value in one] for one in values]
        columns[name] = values
    unsigned = {name: pl.UInt64 for name in columns if name in ("sequence", "trade_id", "order_id", "venue_sequence")}
    return pl.DataFrame(columns, schema_overrides=unsigned, strict=False)


def cell(name: str, value: Any) -> str:
    """A value for a table: times of the day (UTC), the beginning of lists."""
    if name in TIMES and isinstance(value, int):
        return time_text(value)
    if isinstance(value, list):
        shown = " ".join(str(one) for one in value[:_LIST_SHOWN])
        return f"{shown} ({len(value)})" if len(value) > _LIST_SHOWN else shown
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).split("\n"))


def time_text(nanoseconds: int) -> str:
    """`19:47:20.123456` (UTC), with its day unless that is today; empty for 0, which stands for none."""
    from datetime import UTC, datetime

    if not nanoseconds:
        return ""
    # Not through a float, which rounds 20.9999999 s up to the next second.
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    at = datetime.fromtimestamp(seconds, UTC)
    clock = f"{at:%H:%M:%S}.{rest // 1000:06d}"
    return clock if at.date() == datetime.now(UTC).date() else f"{at:%Y-%m-%d} {clock}"


class Grid:
    """Rows as aligned lines, as many columns as fit; widths are those of what came first."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._widths: dict[str, int] = {}
        self._right: set[str] = set()
        self.left_out: list[str] = []

    def lines(self, rows: list[dict[str, Any]]) -> Iterable[str]:
        """The lines of these rows, headed if they are the first."""
        if not rows:
            return
        cells = [{name: cell(name, value) for name, value in row.items()} for row in rows]
        if not self._widths:
            self._measure(rows[0], cells)
            yield self._line({name: name for name in self._widths})
        for row in cells:
            yield self._line(row)

    def _measure(self, first: dict[str, Any], cells: list[dict[str, str]]) -> None:
        used = 0
        for name, value in first.items():
            needed = max(len(name), *(len(row[name]) for row in cells))
            is_last_text = name in ("body", "message")
            if used + needed > self._width and not is_last_text:
                self.left_out.append(name)
                continue
            self._widths[name] = max(8, self._width - used) if is_last_text else needed
            used += needed + 2
            if not isinstance(value, str) or name in DECIMALS:
                self._right.add(name)

    def _line(self, row: dict[str, str]) -> str:
        parts = []
        for name, width in self._widths.items():
            text = row.get(name, "")
            if name in ("body", "message") and len(text) > width:
                text = f"{text[: width - 1]}…"
            parts.append(text.rjust(width) if name in self._right else text.ljust(width))
        return "  ".join(parts).rstrip()

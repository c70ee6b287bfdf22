"""Which fields of a canonical record become which Parquet columns, and back.

One table for all types, by field name, because the same name means the same thing in every record:

- clocks become TIMESTAMP(NANOS, UTC); a clock or sequence of the venue that it does not send (0) becomes null;
- decimals become doubles under the same name, and also integers `<name>_units` where a part holds a value that no
  double keeps (see `decimals`);
- 64- and 32-bit ids become signed integers of the same width, bit for bit: unsigned columns wrap around in the first
  difference a researcher takes, and Spark reads them as decimals;
- `side` stays +1, -1, 0, so that `side * size` is signed volume.

`reserved` fields are zero and are not written. The `symbol` column is not a field: it names `instrument_id`.
"""

from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidebook._core import schemas
from tidebook.errors import UsageError
from tidebook.storage.decimals import to_doubles, to_units

TYPES: Final = ("instruments", "trades", "quotes", "depth", "orders", "bars", "status")
"""Record types a store keeps, definitions first, as a writer wants them. `book` images are conflated and can be made from depth: they are not kept."""

TIMESTAMP: Final = pa.timestamp("ns", tz="UTC")

TIMES: Final = {"ts_event", "ts_recv", "ts_open"}

# Decimal fields and the field that holds their exponent.
DECIMALS: Final = {
    **dict.fromkeys(("price", "bid_price", "ask_price", "open", "high", "low", "close", "tick"), "price_exp"),
    **dict.fromkeys(("size", "remaining", "bid_size", "ask_size", "volume", "buy_volume", "lot"), "size_exp"),
}

# Fields where 0 stands for "the venue sends none".
_ABSENT_IS_ZERO: Final = {"ts_event", "venue_sequence"}

# Columns that rise by small steps: delta encoding makes them nearly free. All others repeat: a dictionary does.
_DELTA: Final = TIMES | {"source_sequence", "source_index", "trade_id", "order_id", "venue_sequence"}

_CHUNK_ROWS = 8_192

Columns = dict[str, NDArray[Any]]
"""Fields of many records, each contiguous, all of one length."""


@cache
def record_dtype(type: str) -> np.dtype[Any]:
    """Layout of one record of `type`. Raises UsageError if a store does not keep such a type."""
    if type not in TYPES:
        raise UsageError(f"unknown record type {type!r}: a store keeps {', '.join(TYPES)}", kind="type", value=type)
    return schemas()[type].dtype()


@cache
def fields(type: str) -> tuple[str, ...]:
    """Fields of a record that are kept, in the order of its layout. The row hash goes by this order."""
    return tuple(name for name in record_dtype(type).names or () if name != "reserved")


def event_time(type: str, columns: Columns) -> NDArray[np.int64]:
    """The time a row is found by, ns since 1970 UTC, shape (rows,).

    A bar's start, else the venue's clock, else ours where the venue sends none.
    """
    if type == "bars":
        return columns["ts_open"]
    times: NDArray[np.int64] = columns["ts_event"]
    absent = times == 0
    return np.where(absent, columns["ts_recv"], times) if absent.any() else times


class ColumnBuffer:
    """Records of one type as growing columns, whose memory is kept and used again.

    A row is turned into columns while it is still in cache from decoding; memory is kept because fresh pages cost as
    much as the copy into them.
    """

    def __init__(self, type: str) -> None:
        self.type = type
        self.rows = 0
        self._columns = self._allocate(0)

    def append(self, records: NDArray[Any]) -> None:
        """Copy structured `records`, shape (rows,), behind those already here."""
        stop = self.rows + len(records)
        capacity = len(self._columns["ts_recv"])
        if stop > capacity:
            grown = self._allocate(max(stop, 2 * capacity, 2 * _CHUNK_ROWS))
            for name, column in self.columns().items():
                grown[name][: self.rows] = column
            self._columns = grown
        # All fields of a chunk before the next chunk: a record is fetched from memory once, not once a field.
        for start in range(0, len(records), _CHUNK_ROWS):
            chunk = records[start : start + _CHUNK_ROWS]
            for name, column in self._columns.items():
                column[self.rows + start : self.rows + start + len(chunk)] = chunk[name]
        self.rows = stop

    def columns(self) -> Columns:
        """What was appended. Memory: views, valid until `clear`."""
        return {name: column[: self.rows] for name, column in self._columns.items()}

    def clear(self) -> None:
        """Forget the rows and keep the memory."""
        self.rows = 0

    def _allocate(self, rows: int) -> Columns:
        dtype = record_dtype(self.type)
        columns: Columns = {}
        for name in fields(self.type):
            base, shape = dtype[name].subdtype or (dtype[name], ())
            columns[name] = np.empty((rows, *shape), base)
        return columns


def take(columns: Columns, rows: NDArray[np.intp] | slice) -> Columns:
    """The same columns with these rows in this order."""
    return {name: column[rows] for name, column in columns.items()}


def to_table(type: str, columns: Columns, symbols: pa.Array) -> tuple[pa.Table, bool]:
    """What is written to Parquet, and whether all doubles were proven exact.

    `symbols` is the symbol of each row, strings or a dictionary of them. A table that is not exact also has the `_units` columns.
    """
    decimals = {}
    exact = True
    for name in fields(type):
        if name in DECIMALS:
            decimals[name], proven = to_doubles(columns[name], columns[DECIMALS[name]])
            exact = exact and proven
    names, arrays = ["symbol"], [symbols]
    for name in fields(type):
        if type == "instruments" and name == "symbol":
            continue
        values = columns[name]
        names.append(name)
        if name in decimals:
            arrays.append(pa.array(decimals[name]))
            if not exact:
                names.append(f"{name}_units")
                arrays.append(pa.array(values))
        else:
            arrays.append(_plain(name, values))
    if type == "bars":
        names.append("notional")
        arrays.append(pa.array(_notional(columns)))
    table = pa.Table.from_arrays(arrays, names=names)
    return table.select(sorted(names, key=_rank)), exact


def to_columns(type: str, table: pa.Table) -> Columns:
    """The fields that `to_table` was given: its exact inverse, whatever engine rewrote the file meanwhile."""
    columns: Columns = {}
    dtype = record_dtype(type)
    for name in fields(type):
        if name not in DECIMALS:
            columns[name] = _unplain(table[name], dtype[name])
    for name in fields(type):
        if f"{name}_units" in table.column_names:
            columns[name] = _numpy(table[f"{name}_units"])
        elif name in DECIMALS:
            columns[name] = to_units(_numpy(table[name]), columns[DECIMALS[name]])
    return columns


def to_records(type: str, columns: Columns) -> NDArray[Any]:
    """Canonical records, shape (rows,); `reserved` is zero."""
    names = fields(type)
    records = np.zeros(len(columns[names[0]]), record_dtype(type))
    for name in names:
        records[name] = columns[name]
    return records


def symbol_texts(values: NDArray[np.uint8]) -> list[str]:
    """Texts of an instrument record's zero-padded `symbol`, shape (rows, 40)."""
    return [bytes(row).rstrip(b"\0").decode() for row in values]


@cache
def schema(type: str, *, units: bool = False) -> pa.Schema:
    """Columns of a part of `type`, in order; with `units`, those of a part where a double was not exact."""
    table, _ = to_table(type, ColumnBuffer(type).columns(), pa.array([], pa.string()))
    found = table.schema
    if units:
        for name in [name for name in found.names if name in DECIMALS]:
            found = found.insert(found.get_field_index(name) + 1, pa.field(f"{name}_units", pa.int64()))
    return found


def delta_columns(names: list[str]) -> list[str]:
    """Those of `names` that are delta encoded; the others have a dictionary."""
    return [name for name in names if name in _DELTA]


def _rank(name: str) -> int:
    """When and what first, what it says in the middle, where it came from last; each in the order of the layout."""
    if name in {"ts_event", "ts_recv", "ts_open"}:
        return 0
    if name == "symbol":
        return 1
    return 3 if name in {"instrument_id", "source_sequence", "source_index"} else 2


def _plain(name: str, values: NDArray[Any]) -> pa.Array:
    if values.dtype.kind == "u" and values.itemsize > 1:
        values = values.view(f"<i{values.itemsize}")
    arrow = TIMESTAMP if name in TIMES else pa.from_numpy_dtype(values.dtype)
    absent = values == 0 if name in _ABSENT_IS_ZERO else None
    if absent is not None and absent.any():
        return pa.array(values, mask=absent).cast(arrow)
    return pa.Array.from_buffers(arrow, len(values), [None, pa.py_buffer(values)])


def _unplain(column: pa.ChunkedArray, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.subdtype is not None:  # the symbol of an instrument
        width = dtype.itemsize
        padded = b"".join(text.encode().ljust(width, b"\0") for text in column.to_pylist())
        return np.frombuffer(padded, np.uint8).reshape(-1, width)
    signed = np.dtype(f"<i{dtype.itemsize}") if dtype.itemsize > 1 else dtype
    values = _numpy(column.cast(pa.from_numpy_dtype(signed)))
    return values.view(dtype)


def _numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    filled = column.fill_null(0) if column.null_count else column
    values: NDArray[Any] = filled.to_numpy()
    return values


def _notional(columns: Columns) -> NDArray[np.float64]:
    """Doubles nearest to the i128 sums, for convenience; `notional_low` and `notional_high` stay exact."""
    whole = columns["notional_high"].astype(np.float64) * 2.0**64 + columns["notional_low"].astype(np.float64)
    exponents = columns["price_exp"].astype(np.int64) + columns["size_exp"]
    return whole / np.power(10.0, exponents)

"""Which rows of a flush go to which file.

Rows are split by UTC date of their event time, by bar length, by instrument, and keep the order of the feed within
each. Five hundred quiet instruments would make as many tiny files at every flush; so those with few rows share one,
grouped by instrument. Status and instrument records are always few and always share.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidebook.errors import UsageError
from tidebook.storage.columns import Columns, event_time, take
from tidebook.storage.layout import DAY_NS, Partition, timeframe

PACK_ROWS: Final = 5_000
"""Below this a file's footer costs more than its rows."""

_ALWAYS_PACKED: Final = {"status", "instruments"}


class PartRows:
    """Rows that go to one file."""

    def __init__(self, partition: Partition, columns: Columns, names: Mapping[int, str]) -> None:
        self.partition = partition
        self.columns = columns
        ids = columns["instrument_id"]
        self.count = len(ids)
        if ids[0] == ids[-1] and (ids == ids[0]).all():
            name = _name(int(ids[0]), names)
            self.symbol_rows = {name: self.count}
            self.symbols = pa.DictionaryArray.from_arrays(pa.array(np.zeros(self.count, np.int32)), pa.array([name]))
        else:
            distinct, index, counts = np.unique(ids, return_inverse=True, return_counts=True)
            texts = [_name(value, names) for value in distinct.tolist()]
            self.symbol_rows = dict(zip(texts, counts.tolist(), strict=True))
            self.symbols = pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), pa.array(texts))


def partitions(type: str, columns: Columns, names: Mapping[int, str], pack_rows: int) -> Iterator[PartRows]:
    """The files that these rows of one type go to.

    Order:  within a file and instrument, that of `columns`.
    Raises: UsageError if an instrument id has no name: its `instruments` record must come first.
    """
    rows = len(columns["instrument_id"])
    if rows == 0:
        return
    days, day_index = _codes(event_time(type, columns) // DAY_NS)
    lengths, length_index = _codes(columns["interval_s"]) if type == "bars" else (np.zeros(1, np.int64), None)
    packed = type in _ALWAYS_PACKED
    ids, id_index = (np.zeros(1, np.int64), None) if packed else _codes(columns["instrument_id"])

    # One number a row that says its file, the instrument in the lowest digit; None where all rows share it.
    code = None
    for size, index in ((len(days), day_index), (len(lengths), length_index), (len(ids), id_index)):
        if index is not None:
            code = index if code is None else code * size + index
    if code is None:
        alone = None if packed else int(ids[0])
        yield PartRows(_partition(type, int(days[0]), int(lengths[0]), names, alone), columns, names)
        return
    # A 16-bit stable sort is a radix sort, ten times as fast as the comparison sort of wider ones.
    order = np.argsort(code.astype(np.uint16) if code.max() < 2**16 else code, kind="stable")
    sorted_code = code[order]
    starts = np.flatnonzero(np.r_[True, sorted_code[1:] != sorted_code[:-1]])
    small: dict[int, list[NDArray[Any]]] = {}
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), rows], strict=True):
        group, position = divmod(int(sorted_code[start]), len(ids))
        chosen = order[start:stop]
        if packed or stop - start < pack_rows:
            small.setdefault(group, []).append(chosen)
        else:
            yield _part(type, group, int(ids[position]), days, lengths, columns, names, chosen)
    for group, members in small.items():
        alone = len(members) == 1 and not packed
        only = int(columns["instrument_id"][members[0][0]]) if alone else None
        yield _part(type, group, only, days, lengths, columns, names, np.concatenate(members))


def _part(
    type: str,
    group: int,
    id: int | None,
    days: NDArray[Any],
    lengths: NDArray[Any],
    columns: Columns,
    names: Mapping[int, str],
    chosen: NDArray[Any],
) -> PartRows:
    day, length = divmod(group, len(lengths))
    partition = _partition(type, int(days[day]), int(lengths[length]), names, id)
    return PartRows(partition, take(columns, chosen), names)


def _partition(type: str, day: int, length: int, names: Mapping[int, str], id: int | None) -> Partition:
    return Partition(
        type=type,
        timeframe=timeframe(length) if type == "bars" else None,
        date=datetime.fromtimestamp(day * 86_400, UTC).date().isoformat(),
        symbol=None if id is None else _name(id, names),
    )


def _codes(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Distinct values, and the place of each row's among them; None where there is only one value.

    Values close together count as distinct even if absent: finding out would cost a sort.
    """
    lowest, highest = int(values.min()), int(values.max())
    if lowest == highest:
        return values[:1], None
    if highest - lowest < 2**12:
        return np.arange(lowest, highest + 1), values.astype(np.int64) - lowest
    distinct, index = np.unique(values, return_inverse=True)
    return distinct, index


def _name(id: int, names: Mapping[int, str]) -> str:
    name = names.get(id)
    if name is None:
        raise UsageError(
            f"instrument {id} has no name: append its `instruments` record before its rows",
            kind="instrument_id",
            value=id,
        )
    return name

"""The past of a node's markets, from its own data directory.

Each question opens only the files that can answer it, newest first, by what is committed when it is asked: a store lags
behind the feed by up to a flush interval, which the API's own memory bridges. What reads Parquet is imported with the
first question: a node that is only started does not wait a quarter of a second for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tidebook.api import Bar, Outage
from tidebook.api.outages import SILENT, BookOutages, in_order
from tidebook.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tidebook.storage.manifest import FileEntry
    from tidebook.storage.store import Store

_SECOND_NS: Final = 1_000_000_000
# An outage that began this long before what was asked for is told with its beginning.
_LOOK_BACK_NS: Final = 3_600 * _SECOND_NS
# A session that ends while others live leaves no hole; shorter ones are not worth a band.
_DOWNTIME_LEAST_NS: Final = _SECOND_NS


class StoredHistory:
    """`tidebook.api.History` of a data directory, which may not be there yet. For one thread at a time."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._store: Store | None = None

    def bars(self, instrument: str, timeframe: str, before_ns: int, count: int) -> Sequence[Bar]:
        """As of `History`. Raises: StorageError."""
        import polars as pl

        from tidebook.storage.columns import to_columns
        from tidebook.storage.views import BAR_KEY

        store = self._opened()
        if store is None:
            return ()
        try:
            files = store.files("bars", instrument, end=before_ns, timeframe=timeframe)
        except QueryError:  # nothing of the kind is stored yet
            return ()
        wanted = count
        while True:
            chosen = _newest(files, instrument, wanted)
            table = (
                store.read("bars", chosen)
                .filter(pl.col("symbol") == instrument, pl.col("ts_open").dt.epoch("ns") < before_ns)
                .unique(BAR_KEY, keep="last", maintain_order=True)
                .sort("ts_open")
                .tail(count)
                .collect()
                .to_arrow()
            )
            columns = to_columns("bars", table)
            # A revision stands in a later file than its neighbours: what is not read may hold bars in between.
            unread = files[: len(files) - len(chosen)]
            times = columns["ts_open"]
            if not unread or (len(times) == count and max(file.ts_last for file in unread) < times[0]):
                return [Bar(*row) for row in zip(*(columns[name].tolist() for name in Bar._fields), strict=True)]
            wanted *= 2

    def outages(self, instrument: str, start_ns: int, end_ns: int) -> Sequence[Outage]:
        """As of `History`. Raises: StorageError."""
        import polars as pl

        from tidebook.storage.coverage import downtimes

        store = self._opened()
        if store is None:
            return ()
        start_ns = max(0, start_ns - _LOOK_BACK_NS)
        try:
            files = store.files("status", instrument, end=end_ns)
        except QueryError:
            return ()
        rows = (
            store.read("status", [file for file in files if file.ts_last >= start_ns])
            .filter(pl.col("symbol") == instrument)
            .sort("source_sequence", "source_index")
            .select("kind", "reason", pl.col("ts_recv").dt.epoch("ns"))
            .collect()
        )
        of_book = BookOutages()
        for kind, reason, ts_recv in rows.iter_rows():
            of_book.happened(kind, reason, ts_recv)
        silences = (
            Outage(gap.ts_start, gap.ts_recv, SILENT)
            for gap in downtimes(store, instrument, start_ns, end_ns)
            if gap.ts_recv - gap.ts_start > _DOWNTIME_LEAST_NS
        )
        # What lasts is for those to tell who see the feed: a store ends somewhere.
        return in_order((outage for outage in of_book if outage.until is not None), silences)

    def _opened(self) -> Store | None:
        from tidebook.storage.store import Store

        if self._store is None:
            try:
                self._store = Store(self._data)
            except QueryError:
                return None
        return self._store if self._store.manifest.files else None


def _newest(files: Sequence[FileEntry], instrument: str, rows: int) -> list[FileEntry]:
    """The last of `files` that hold at least so many rows of the instrument, in their order."""
    chosen: list[FileEntry] = []
    for entry in reversed(files):
        if rows <= 0:
            break
        chosen.append(entry)
        rows -= entry.symbols.get(instrument, 0)
    return chosen[::-1]

"""A store opened for reading: one lazy frame over exactly the files the manifest lists.

Every question is answered as of the newest version at the time it is asked; a frame keeps the files it was given, so a
query never sees half of a commit. Files are chosen by the manifest before an engine opens any: letting the engine open
them all costs eight times as much for a slice of an hour. No directory is ever listed and no partition read from a
path: the `symbol` column of the files is the truth.

Order of `scan`: rows of one symbol come by date and within a date in the order of the feed (`source_sequence`,
`source_index`). Between symbols no order is promised; sort by `ts_event` where you need one.
"""

import difflib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import polars as pl

from tidebook.errors import QueryError, StorageError
from tidebook.storage.columns import TIMESTAMP, TYPES, fields, schema
from tidebook.storage.disk import Disk, storage_errors
from tidebook.storage.layout import MANIFEST_DIRECTORY
from tidebook.storage.manifest import FileEntry, Manifest
from tidebook.storage.part import corrupt, file_hash, read_part
from tidebook.storage.rowhash import row_hash, to_text
from tidebook.storage.timespan import Time, to_ns

if TYPE_CHECKING:
    import duckdb


# Numbers of `Status.kind` that say messages of a type never came (`crates/feed/src/status.rs`).
_GAP_KINDS: Final = {"depth": 1, "trades": 10}


class Gap(msgspec.Struct, frozen=True):
    """Messages of a venue that never came, as the feed noticed by the venue's own numbers."""

    ts_recv: int
    """When it was noticed, ns since 1970 UTC."""
    source_sequence: int
    expected: int
    found: int
    count: int
    """How many were missed; 0 where the venue's numbers do not tell."""


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds of one type and symbol."""

    type: str
    timeframe: str | None
    symbol: str
    rows: int
    files: int
    ts_first: int
    """Lowest event time, ns since 1970 UTC; of a shared file the whole file's."""
    ts_last: int
    sequence_first: int
    sequence_last: int
    channel: str
    gaps: tuple[Gap, ...]
    """Of depth and trades, in the order they were noticed. No gap is known for other types."""


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """Result of reading a whole store against its manifest."""

    files: int
    rows: int
    size_bytes: int
    errors: tuple[StorageError, ...]
    """One for each damaged or missing file, naming it."""

    @property
    def ok(self) -> bool:
        """Whether every byte is what was committed."""
        return not self.errors


def open(directory: Path | str) -> "Store":  # noqa: A001 - `tb.open(directory)` is what users write
    """The store in `directory`.

    Raises: QueryError if there is none; StorageCorruptError, StorageVersionError, StorageAccessError if its manifest
            cannot be read.
    """
    return Store(directory)


class Store:
    """Reader of one store. Writers may go on meanwhile; any number of readers may be open."""

    def __init__(self, root: Path | str, disk: Disk | None = None) -> None:
        self.root = root = Path(root)
        self._disk = disk or Disk()
        if not root.is_dir():
            raise QueryError(
                f"no store at {root}: name a directory that `tidebook replay --data` or `tidebook run` has filled",
                kind="directory",
                value=str(root),
            )
        self._manifest = Manifest(root, self._disk)
        if not any((root / name).is_dir() for name in (MANIFEST_DIRECTORY, "journal")) and any(root.iterdir()):
            raise QueryError(
                f"{root} is not a data directory: it has neither a manifest nor a journal; name one that "
                "`tidebook replay --data` or `tidebook run` has filled",
                kind="directory",
                value=str(root),
            )

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r}, version {self._manifest.version}, {len(self._manifest.files)} files)"

    @property
    def manifest(self) -> Manifest:
        """The newest version, read again if a writer has published one."""
        self._manifest.refresh()
        return self._manifest

    def position(self, channel: str) -> int:
        """Last sequence of `channel` whose rows are stored; 0 if none is."""
        return self.manifest.position(channel)

    def files(
        self,
        type: str,
        symbols: str | Collection[str] | None = None,
        start: Time | None = None,
        end: Time | None = None,
        timeframe: str | None = None,
    ) -> list[FileEntry]:
        """Files that may hold such rows, in the order `scan` reads them. Arguments and errors as there."""
        if type not in TYPES:
            raise _unknown("record type", type, TYPES)
        entries = self.manifest.files.values()
        wanted = _names(symbols)
        if wanted is not None:
            known = {symbol for entry in entries for symbol in entry.symbols}
            for symbol in wanted - known:
                raise _unknown("symbol", symbol, known)
        since = None if start is None else to_ns(start, "start")
        until = None if end is None else to_ns(end, "end")
        if since is not None and until is not None and since > until:
            raise QueryError(f"start {start} is after end {end}", kind="start", value=start)
        chosen = [
            entry
            for entry in entries
            if entry.type == type
            and (timeframe is None or entry.timeframe == timeframe)
            and (wanted is None or not wanted.isdisjoint(entry.symbols))
            and (since is None or entry.ts_last >= since)
            and (until is None or entry.ts_first < until)
        ]
        return sorted(chosen, key=lambda entry: (entry.date, entry.channel, entry.sequence_first, entry.path))

    def scan(
        self,
        type: str,
        symbols: str | Collection[str] | None = None,
        start: Time | None = None,
        end: Time | None = None,
        columns: Sequence[str] | None = None,
        timeframe: str | None = None,
    ) -> pl.LazyFrame:
        """Rows of `type` whose event time is in [`start`, `end`), as one lazy frame.

        Event time is `ts_event`, or `ts_recv` where the venue sends none; of bars it is `ts_open`. `timeframe` (`1m`)
        chooses among bars. Columns: `docs/formats/parquet.md`; `<name>_units` columns are there only if a file in the
        answer needs them. Order: see the module.

        Raises: QueryError for a type, symbol, column or time that the store does not know, naming the nearest.
        """
        files = self.files(type, symbols, start, end, timeframe)
        expected = schema(type, units=not all(entry.exact for entry in files))
        frame = self._frame(files, expected)
        if symbols is not None:
            names = sorted(_names(symbols) or ())
            if any(not set(entry.symbols) <= set(names) for entry in files):
                frame = frame.filter(pl.col("symbol").is_in(names))
        time = _event_time(type, files)
        if start is not None and any(entry.ts_first < to_ns(start, "start") for entry in files):
            frame = frame.filter(time >= _literal(to_ns(start, "start")))
        if end is not None and any(entry.ts_last >= to_ns(end, "end") for entry in files):
            frame = frame.filter(time < _literal(to_ns(end, "end")))
        if columns is not None:
            for column in columns:
                if column not in expected.names:
                    raise _unknown("column", column, expected.names)
            frame = frame.select(columns)
        return frame

    def sql(self, query: str) -> "duckdb.DuckDBPyRelation":
        """Answer of DuckDB; each record type is a view (`select symbol, count(*) from trades group by symbol`).

        Times are UTC without a zone, TIMESTAMP_NS: DuckDB has no functions for zoned nanoseconds (`time_bucket`,
        `date_trunc`). Take the answer out with `.pl()`, `.arrow()` or `.df()`.
        Raises: duckdb.Error for a query DuckDB refuses.
        """
        import duckdb

        connection = duckdb.connect()
        for kind in TYPES:
            files = self.files(kind)
            expected = schema(kind, units=not all(entry.exact for entry in files))
            if files:
                paths = ", ".join(_quote(str(self.root / entry.path)) for entry in files)
                source = f"read_parquet([{paths}], hive_partitioning = false, union_by_name = true)"
            else:
                connection.register(f"no_{kind}", expected.empty_table())
                source = f"no_{kind}"
            times = ", ".join(
                f"{field.name}::timestamp_ns as {field.name}" for field in expected if field.type == TIMESTAMP
            )
            connection.execute(f"create view {kind} as select * replace ({times}) from {source}")  # noqa: S608 - names are ours, paths quoted
        return connection.sql(query)

    def coverage(self) -> list[Coverage]:
        """What is stored and what is known to be missing, by type, timeframe and symbol, sorted so.

        Extents are the manifest's; only files of `status` are opened, for the gaps.
        """
        gaps = self._gaps()
        groups: dict[tuple[str, str, str, str], list[FileEntry]] = {}
        for entry in self.manifest.files.values():
            for symbol in entry.symbols:
                groups.setdefault((entry.type, entry.timeframe or "", symbol, entry.channel), []).append(entry)
        return [
            Coverage(
                type=kind,
                timeframe=timeframe or None,
                symbol=symbol,
                channel=channel,
                rows=sum(entry.symbols[symbol] for entry in entries),
                files=len(entries),
                ts_first=min(entry.ts_first for entry in entries),
                ts_last=max(entry.ts_last for entry in entries),
                sequence_first=min(entry.sequence_first for entry in entries),
                sequence_last=max(entry.sequence_last for entry in entries),
                gaps=tuple(gaps.get((kind, symbol), ())),
            )
            for (kind, timeframe, symbol, channel), entries in sorted(groups.items())
        ]

    def verify(self) -> Verification:
        """Read every file against the manifest: size, hash of its bytes, each page, hash of its rows.

        Damage is collected, not raised. Takes about 0.2 s for a million rows.
        """
        entries = sorted(self.manifest.files.values(), key=lambda entry: entry.path)
        errors = tuple(error for entry in entries for error in self._damage(entry))
        return Verification(
            files=len(entries),
            rows=sum(entry.rows for entry in entries),
            size_bytes=sum(entry.size_bytes for entry in entries),
            errors=errors,
        )

    def _gaps(self) -> dict[tuple[str, str], list[Gap]]:
        """Gaps by type and symbol."""
        found: dict[tuple[str, str], list[Gap]] = {}
        kinds = {number: kind for kind, number in _GAP_KINDS.items()}
        rows = (
            self.scan("status")
            .filter(pl.col("kind").is_in(list(kinds)))
            .sort("ts_recv", "source_sequence", "source_index")
            .select("kind", "symbol", pl.col("ts_recv").dt.epoch("ns"), "source_sequence", "expected", "found", "count")
        )
        for kind, symbol, *numbers in rows.collect().iter_rows():
            found.setdefault((kinds[kind], symbol), []).append(Gap(*numbers))
        return found

    def _damage(self, entry: FileEntry) -> Iterator[StorageError]:
        path = self.root / entry.path
        try:
            with storage_errors(path, "read"):
                data = self._disk.read(path)
            if len(data) != entry.size_bytes:
                raise corrupt(path, f"it has {len(data)} bytes where {entry.size_bytes} were committed")
            if file_hash(data) != entry.hash:
                raise corrupt(path, f"its hash is {file_hash(data)}, not {entry.hash}")
            columns = read_part(path, entry.type, data)
            if len(columns["ts_recv"]) != entry.rows:
                raise corrupt(path, f"it has {len(columns['ts_recv'])} rows where {entry.rows} were committed")
            found = to_text(row_hash(columns, fields(entry.type)))
            if found != entry.row_hash:
                raise corrupt(path, f"the hash of its rows is {found}, not {entry.row_hash}")
        except StorageError as error:
            yield error

    def _frame(self, files: Sequence[FileEntry], expected: Any) -> pl.LazyFrame:
        columns = pl.Schema(expected)
        if not files:
            return pl.LazyFrame(schema=columns)
        for entry in files:
            path = self.root / entry.path
            with storage_errors(path, "read"):
                size_bytes = path.stat().st_size
            if size_bytes != entry.size_bytes:
                raise corrupt(path, f"it has {size_bytes} bytes where {entry.size_bytes} were committed")
        return pl.scan_parquet(
            [self.root / entry.path for entry in files],
            schema=columns,
            missing_columns="insert",
            hive_partitioning=False,
            glob=False,
        )


def _event_time(type: str, files: Sequence[FileEntry]) -> pl.Expr:
    if type == "bars":
        return pl.col("ts_open")
    # `coalesce` hides the column from an engine's statistics, so it is used only where a time is really absent.
    if files and all(entry.ts_event_absent == entry.rows for entry in files):
        return pl.col("ts_recv")
    if any(entry.ts_event_absent for entry in files):
        return pl.coalesce("ts_event", "ts_recv")
    return pl.col("ts_event")


def _literal(ns: int) -> pl.Expr:
    return pl.lit(ns, dtype=pl.Int64).cast(pl.Datetime("ns", "UTC"))


def _names(symbols: str | Collection[str] | None) -> set[str] | None:
    return None if symbols is None else {symbols} if isinstance(symbols, str) else set(symbols)


def _unknown(kind: str, value: str, known: Collection[str]) -> QueryError:
    nearest = difflib.get_close_matches(value, known, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(sorted(known)[:8]) or 'none yet'}"
    return QueryError(
        f"unknown {kind} {value!r}; {hint}", kind=kind, value=value, nearest=nearest[0] if nearest else None
    )


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

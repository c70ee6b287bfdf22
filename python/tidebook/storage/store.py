"""A store opened for reading: one lazy frame over exactly the files the manifest lists.

Every question is answered as of the newest version at the time it is asked; a frame keeps the files it was given, so a
query never sees half of a commit. Files are chosen by the manifest before an engine opens any: letting the engine open
them all costs eight times as much for a slice of an hour. No directory is ever listed and no partition read from a
path: the `symbol` column of the files is the truth.

Order of `scan`: rows of one symbol come by date and within a date in the order of the feed (`source_sequence`,
`source_index`). Between symbols no order is promised; sort by `ts_event` where you need one.
"""

import difflib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from tidebook.errors import QueryError, StorageError
from tidebook.feeds.status import STATUS_WORDS
from tidebook.persistence.data_directory import OWNERS_FILES, read_identity
from tidebook.storage.columns import TYPES, fields, schema
from tidebook.storage.coverage import Coverage, covered
from tidebook.storage.disk import Disk, storage_errors
from tidebook.storage.filehash import of_bytes_like
from tidebook.storage.layout import MANIFEST_DIRECTORY
from tidebook.storage.manifest import FileEntry, Manifest
from tidebook.storage.part import corrupt, read_part
from tidebook.storage.rowhash import row_hash, to_text
from tidebook.storage.timespan import Time, to_ns
from tidebook.storage.views import BAR_KEY, ask
from tidebook.storage.whole import require_sizes, require_whole

if TYPE_CHECKING:
    import duckdb

_OWN_VENUE = ".LOCAL"
"""What names of the node's own venue end with, of which nothing is ever stored here."""


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


def open(directory: Path | str, *, trust_disk: bool = False) -> "Store":  # noqa: A001 - `tb.open(directory)` is what users write
    """The store in `directory`.

    A file is read whole and compared with its committed hash before its first use in this process, at about 4 GB/s a
    core; afterwards only its size and times are looked at. `trust_disk` leaves that reading out, for queries that need
    few columns of a store larger than memory: then a flipped bit is read as data, and only `verify` would find it.

    Raises: QueryError if there is none; StorageCorruptError, StorageVersionError, StorageAccessError if its manifest
            cannot be read; DirectoryError, DirectoryVersionError for a directory that is not to be used.
    """
    return Store(directory, trust_disk=trust_disk)


class Store:
    """Reader of one store. Writers may go on meanwhile; any number of readers may be open."""

    def __init__(self, root: Path | str, disk: Disk | None = None, *, trust_disk: bool = False) -> None:
        self.root = root = Path(root)
        self.trust_disk = trust_disk
        self._disk = disk or Disk()
        if not root.is_dir():
            raise QueryError(
                f"no store at {root}: name a directory that `tidebook replay --data` or `tidebook run` has filled",
                kind="directory",
                value=str(root),
            )
        read_identity(root)
        self._manifest = Manifest(root, self._disk)
        is_used = any(entry.name not in OWNERS_FILES for entry in root.iterdir())
        if not any((root / name).is_dir() for name in (MANIFEST_DIRECTORY, "journal")) and is_used:
            if (root / "feeds").is_dir():
                raise QueryError(
                    f"nothing was recorded in {root} yet: it holds subscriptions only; start `tidebook run --data {root}`",
                    kind="directory",
                    value=str(root),
                )
            raise QueryError(
                f"{root} is not a data directory: it has neither a manifest nor a journal; name one that "
                "`tidebook replay --data` or `tidebook run` has filled",
                kind="directory",
                value=str(root),
            )
        if not (root / MANIFEST_DIRECTORY).is_dir() and is_used:
            raise QueryError(
                f"{root} is recorded but not decoded: it holds raw messages and no rows; decode them with "
                f"`tidebook replay --data {root}` (a node that has just started does so by itself)",
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
        entries = list(self.manifest.files.values())
        if timeframe is not None:
            _check_timeframe(type, timeframe, entries)
        wanted = None if symbols is None else _resolve(symbols, entries)
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
        *,
        revisions: bool = False,
    ) -> pl.LazyFrame:
        """Rows of `type` whose event time is in [`start`, `end`), as one lazy frame.

        Event time is `ts_event`, or `ts_recv` where the venue sends none; of bars it is `ts_open`. Symbols are
        understood in any case. `timeframe` (`1m`) chooses among bars. Columns: `docs/formats/parquet.md`;
        `<name>_units` columns are there only if a file in the answer needs them. Order: see the module.

        Bars:   each once, in its last revision; with `revisions` also what it was before trades came late.
        Status: `what` and `why` are the words of `kind` and `reason`.
        Quotes: the venue's own (Binance's bookTicker) beside the tops of our books; of the latter `flags & 16` is set.

        Raises: QueryError for a type, symbol, column, timeframe or time that the store does not know, naming the
                nearest, and while nothing is stored.
        """
        self.require_rows()
        files = self.files(type, symbols, start, end, timeframe)
        if revisions and type != "bars":
            raise QueryError(f"revisions are of bars, not of {type}", kind="revisions", value=revisions)
        frame = self.read(type, files)
        if symbols is not None:
            names = sorted(_resolve(symbols, self._manifest.files.values()))
            if any(not set(entry.symbols) <= set(names) for entry in files):
                frame = frame.filter(pl.col("symbol").is_in(names))
        time = _event_time(type, files)
        if start is not None and any(entry.ts_first < to_ns(start, "start") for entry in files):
            frame = frame.filter(time >= _literal(to_ns(start, "start")))
        if end is not None and any(entry.ts_last >= to_ns(end, "end") for entry in files):
            frame = frame.filter(time < _literal(to_ns(end, "end")))
        if type == "bars" and not revisions:
            # Files of a date are in the order of the feed, so the last row of a bar is its last revision.
            frame = frame.unique(BAR_KEY, keep="last", maintain_order=True)
        if type == "status":
            frame = frame.with_columns(_word("kind", "what"), _word("reason", "why"))
        if columns is not None:
            known = frame.collect_schema().names()
            for column in columns:
                if column not in known:
                    raise _unknown("column", column, known)
            frame = frame.select(columns)
        return frame

    def sql(self, query: str) -> "duckdb.DuckDBPyRelation":
        """Answer of DuckDB; each record type is a view (`select symbol, count(*) from trades group by symbol`).

        `bars` has each bar once, in its last revision; `bar_revisions` has all. Times are UTC without a zone,
        TIMESTAMP_NS: DuckDB has no functions for zoned nanoseconds (`time_bucket`, `date_trunc`). Take the answer out
        with `.pl()`, `.arrow()` or `.df()`; rows are read then, and what fails then is DuckDB's own error.
        Sums of doubles depend on their order in the last digits: `round(sum(size), 8)`, or `sum(size::decimal(38, 8))`,
        which is exact.
        Raises: QueryError with DuckDB's message for a query it refuses, and while nothing is stored.
        """
        return ask(self, query)

    def coverage(self) -> list[Coverage]:
        """What is stored and what is known to be missing, by type, timeframe and symbol, sorted so.

        Extents are the manifest's; only files of `status` are opened, for the gaps, and for each downtime those that
        hold the last record before it.
        """
        return covered(self)

    def verify(self, progress: Callable[[int], None] = lambda _: None) -> Verification:
        """Read every file against the manifest: size, hash of its bytes, each page, hash of its rows.

        Damage is collected, not raised. `progress` is called with bytes read. Takes about 0.2 s for a million rows.
        """
        entries = sorted(self.manifest.files.values(), key=lambda entry: entry.path)
        errors: list[StorageError] = []
        for entry in entries:
            errors += self._damage(entry)
            progress(entry.size_bytes)
        return Verification(
            files=len(entries),
            rows=sum(entry.rows for entry in entries),
            size_bytes=sum(entry.size_bytes for entry in entries),
            errors=tuple(errors),
        )

    def _damage(self, entry: FileEntry) -> Iterator[StorageError]:
        path = self.root / entry.path
        try:
            with storage_errors(path, "read"):
                data = self._disk.read(path)
            if len(data) != entry.size_bytes:
                raise corrupt(path, f"it has {len(data)} bytes where {entry.size_bytes} were committed")
            digest = of_bytes_like(data, entry.hash, path)
            if digest != entry.hash:
                raise corrupt(path, f"its hash is {digest}, not {entry.hash}")
            columns = read_part(path, entry.type, data)
            if len(columns["ts_recv"]) != entry.rows:
                raise corrupt(path, f"it has {len(columns['ts_recv'])} rows where {entry.rows} were committed")
            found = to_text(row_hash(columns, fields(entry.type)))
            if found != entry.row_hash:
                raise corrupt(path, f"the hash of its rows is {found}, not {entry.row_hash}")
        except StorageError as error:
            yield error

    def require_rows(self) -> None:
        """Raises: QueryError while nothing is stored: an empty answer would not say why it is empty."""
        if not self.manifest.files:
            raise QueryError(
                f"nothing is stored in {self.root} yet: `tidebook run` stores a few seconds after its start and then at "
                "least every storage.flush_interval_s (300 s), a replay when it ends",
                kind="directory",
                value=str(self.root),
            )

    def require_whole(self, files: Sequence[FileEntry]) -> None:
        """Return when these files may be given to an engine; see `open`. Raises: StorageCorruptError naming the first."""
        if self.trust_disk:
            require_sizes(self._disk, self.root, files)
        else:
            require_whole(self._disk, self.root, files)

    def read(self, type: str, files: Sequence[FileEntry]) -> pl.LazyFrame:
        """All rows of these files of one type, in the order given. Raises: StorageCorruptError if one is not whole."""
        columns = pl.Schema(schema(type, units=not all(entry.exact for entry in files)))
        if not files:
            return pl.LazyFrame(schema=columns)
        self.require_whole(files)
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


def _word(column: str, name: str) -> pl.Expr:
    """The word of a number of status records; null for 0, which says nothing, and for a number of a later version."""
    return pl.col(column).replace_strict(STATUS_WORDS, default=None, return_dtype=pl.String).alias(name)


def _literal(ns: int) -> pl.Expr:
    return pl.lit(ns, dtype=pl.Int64).cast(pl.Datetime("ns", "UTC"))


def _check_timeframe(type: str, timeframe: str, entries: Collection[FileEntry]) -> None:
    if type != "bars":
        raise QueryError(f"{type} have no timeframe: only bars do", kind="timeframe", value=timeframe)
    known = {entry.timeframe for entry in entries if entry.timeframe is not None}
    if timeframe not in known:
        raise QueryError(
            f"no bars of timeframe {timeframe!r} are stored; there are: {', '.join(sorted(known)) or 'none yet'}",
            kind="timeframe",
            value=timeframe,
        )


def _resolve(symbols: str | Collection[str], entries: Collection[FileEntry]) -> set[str]:
    """The symbols as stored, whatever case they are written in. Raises: QueryError for one that is not there."""
    known = {symbol for entry in entries for symbol in entry.symbols}
    return {_stored_symbol(symbol, known) for symbol in ([symbols] if isinstance(symbols, str) else symbols)}


def _stored_symbol(symbol: str, known: set[str]) -> str:
    if symbol in known:
        return symbol
    same = [name for name in known if name.casefold() == symbol.casefold()]
    if len(same) != 1:
        raise _own(symbol) if symbol.upper().endswith(_OWN_VENUE) else _unknown("symbol", symbol, known)
    return same[0]


def _own(symbol: str) -> QueryError:
    """The node's own venue has no tables: its journal has all of it, and what is nearly its name is another's market."""
    return QueryError(
        f"{symbol}: the node's own venue is not stored as tables; its trades are in the audit trail (`tidebook audit fills`, "
        "tidebook.audit.fills), its books in `tidebook.Venue.open` of the node's journal `orders`, live ones on `md.*`",
        kind="symbol",
        value=symbol,
        nearest=None,
    )


def _unknown(kind: str, value: str, known: Collection[str]) -> QueryError:
    folded = {name.casefold(): name for name in sorted(known)}
    nearest = [folded[name] for name in difflib.get_close_matches(value.casefold(), folded, n=1, cutoff=0.4)]
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(sorted(known)[:8]) or 'none yet'}"
    return QueryError(
        f"unknown {kind} {value!r}; {hint}", kind=kind, value=value, nearest=nearest[0] if nearest else None
    )

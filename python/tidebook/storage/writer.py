"""Stores what a feed's engine derives: batches in, verified parts and the feed position out, in one commit.

Exactly once rests on three rules. The position and the rows derived up to it are published by the same manifest
version. A version is refused unless the stored position is where this writer began. Rows at or before the stored
position are dropped at the door, so a feed may be replayed from its start after any crash. The caller flushes only
what is durable in the raw journal; a row beyond the position it names is a mistake and is refused.

Rows are buffered as columns up to a bound, twice: one set fills while the other is stored. A flush hands them to threads:
proof, encoding, sync and verification of all parts run in parallel and the interpreter stays free for the decoder.
"""

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidebook._core import schemas, venues
from tidebook.errors import StorageConflictError, StorageError, UsageError
from tidebook.observe.logs import logger
from tidebook.storage.columns import TYPES, ColumnBuffer, event_time, record_dtype, symbol_texts
from tidebook.storage.disk import Disk, make_directories, storage_errors, taken_away
from tidebook.storage.layout import Partition
from tidebook.storage.manifest import Advance, FileEntry, Manifest
from tidebook.storage.part import PartOptions, WrittenPart, write_part
from tidebook.storage.partition import PACK_ROWS, PartRows, partitions
from tidebook.storage.staging import Staging, clean

log = logger("storage.writer")

BUFFER_ROWS_MAX: Final = 4_000_000
# Index in the id of a record that concerns no single instrument but the whole feed of its venue.
_WHOLE_FEED: Final = (1 << 24) - 1


class WriterOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a writer buffers, packs and compresses."""

    buffer_rows_max: int = BUFFER_ROWS_MAX
    pack_rows: int = PACK_ROWS
    """Instruments with fewer rows than this in a flush share a part."""
    threads: int = 0
    """Parts written at a time; 0 takes the cores this process may use, at most 4."""
    part: PartOptions = PartOptions()
    look_interval_s: float = 1.0
    """How often, at most, the writer looks whether its files are still there."""


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """What one flush made durable."""

    version: int
    """Of the manifest."""
    position: int
    rows: int
    files: tuple[FileEntry, ...]


class StorageWriter:
    """The only writer of one feed's records to a store.

    Threads: one thread appends and flushes. Use as a context manager; leaving it drops what was not flushed.
    Raises: StorageAccessError, StorageFullError, StorageCorruptError, StorageVersionError, from any method.
    """

    def __init__(
        self,
        root: Path | str,
        channel: str,
        *,
        journal: str = "",
        options: WriterOptions | None = None,
        disk: Disk | None = None,
    ) -> None:
        """Open the store at `root`, made if there is none, to store what is derived from `channel`.

        `journal` is the id of the journal that is read. Clears away what writers that died left behind.
        Raises: StorageConflictError if the stored position is one of another journal: its sequences are other messages.
        """
        self.root = Path(root)
        self.channel = channel
        self.journal = journal
        self.options = options or WriterOptions()
        self._disk = disk or Disk()
        self._filling = {kind: ColumnBuffer(kind) for kind in TYPES}
        self._flushing = {kind: ColumnBuffer(kind) for kind in TYPES}
        self._newest: dict[str, int] = dict.fromkeys(TYPES, 0)
        # Records of a whole feed carry the last index of their venue, in older journals' rows 0.
        self._symbols: dict[int, str] = {0: f"*.{channel.rpartition('.')[2].upper()}"}
        self._symbols |= {code << 24 | _WHOLE_FEED: f"*.{venue.upper()}" for code, venue in venues().items()}
        self._failed: BaseException | None = None
        with storage_errors(self.root, "make"):
            self.root.mkdir(parents=True, exist_ok=True)
        self._manifest = Manifest(self.root, self._disk)
        self._check_journal()
        self._manifest.prepare()
        self._staging = Staging(self.root, self._disk)
        try:
            self.cleaned = clean(self.root, self._manifest, self._disk)
            """Parts that a dead writer had published but not committed; they are gone."""
        except BaseException:
            self._staging.close()
            raise
        self._position = self._sealed = self._manifest.position(channel)
        threads = self.options.threads or min(4, len(os.sched_getaffinity(0)))
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="storage-part")
        self._commits = ThreadPoolExecutor(1, thread_name_prefix="storage-commit")
        self._pending: Future[Commit] | None = None
        self._look_due = 0.0
        # One file a type: enough to see that a directory of theirs was taken away.
        self._newest_files = {entry.type: entry.path for entry in self._manifest.files.values()}
        # Highest part number of each directory. A guess where other writers are at work: a taken name is found out.
        self._part_numbers: dict[str, int] = {}
        for path in self._manifest.files:
            directory, _, name = path.rpartition("/")
            number = int(name.removeprefix("part-").removesuffix(".parquet"))
            self._part_numbers[directory] = max(number, self._part_numbers.get(directory, 0))
        self._manifest.forget_files()

    @property
    def position(self) -> int:
        """Sequence of `channel` up to which everything is stored for good; 0 at the start."""
        return self._position

    @property
    def buffered_rows(self) -> int:
        """Rows appended and not yet handed to a flush."""
        return sum(buffer.rows for buffer in self._filling.values())

    def append(self, type: str, records: NDArray[Any]) -> int:
        """Buffer a batch of canonical records; how many were new.

        Rows at or before the stored position were stored before and are dropped. `instruments` also name the ids
        of later rows and must come before them.

        Shape:  (rows,), structured as `tidebook._core.schemas()[type].dtype()`, in order of their source.
        Memory: copied.
        Raises: UsageError if the type is not one a store keeps, the dtype another, the order falls back, or the
                buffer would exceed `buffer_rows_max`: flush first.
        """
        self._require_usable()
        if records.dtype != record_dtype(type):
            raise UsageError(f"{type} records have dtype {record_dtype(type)}, not {records.dtype}", type=type)
        if type == "instruments":
            texts = symbol_texts(records["symbol"])
            self._symbols.update(zip(records["instrument_id"].tolist(), texts, strict=True))
        sequences = np.ascontiguousarray(records["source_sequence"])
        if len(sequences) == 0 or sequences[-1] <= self._sealed:
            return 0
        if sequences[0] < self._newest[type] or (sequences[1:] < sequences[:-1]).any():
            raise UsageError(
                f"{type} records of {self.channel} fall back behind source sequence {self._newest[type]}: "
                "append them in the order they were derived",
                type=type,
                expected=self._newest[type],
                found=int(sequences.min()),
            )
        new = records[np.searchsorted(sequences, self._sealed, side="right") :]
        rows = self.buffered_rows + len(new)
        if rows > self.options.buffer_rows_max:
            raise UsageError(
                f"{len(new)} more rows would exceed the buffer of {self.options.buffer_rows_max}: flush first",
                found=rows,
                expected=self.options.buffer_rows_max,
            )
        self._newest[type] = int(sequences[-1])
        self._filling[type].append(new)
        return len(new)

    def flush(self, position: int) -> Commit:
        """Store all buffered rows and `position`; returns when both are durable and verified.

        Raises: as `start_flush`; StorageConflictError if another writer stores this feed.
        """
        return self.start_flush(position).result()

    def start_flush(self, position: int) -> "Future[Commit]":
        """Begin to store all buffered rows and `position`, the last input whose outputs were all appended.

        Waits for the flush before; so at most two buffers exist. After any error of a flush the writer is of no more
        use: open another, which goes on from the stored position.

        Raises: UsageError if a buffered row or an earlier flush is beyond `position`; the error of the flush before.
        """
        self._require_usable()
        newest = max(self._newest.values())
        if position < max(newest, self._sealed):
            raise UsageError(
                f"cannot commit {self.channel} at {position}: rows up to {max(newest, self._sealed)} were appended "
                "and only what is durable in the journal may be stored",
                expected=max(newest, self._sealed),
                found=position,
            )
        if self._pending is not None:
            self._pending.result()
        self._require_present()
        self._filling, self._flushing = self._flushing, self._filling
        for buffer in self._filling.values():
            buffer.clear()
        first, self._sealed = self._sealed + 1, position
        self._pending = self._commits.submit(self._commit, self._flushing, dict(self._symbols), first, position)
        return self._pending

    def look(self) -> None:
        """Look, at most once in `look_interval_s`, whether what was stored is still there.

        Raises: StorageCorruptError if files were taken away under this writer; what ended a flush.
        """
        self._require_usable()
        if time.monotonic() >= self._look_due:
            self._require_present()

    def close(self) -> None:
        """Wait for a flush that runs; drop rows that were not flushed; let the next writer in."""
        self._commits.shutdown()
        self._threads.shutdown()
        self._staging.close()
        if self._failed is not None:
            # Its staged files are judged like those of a dead writer; if that fails too, the next writer does it.
            with suppress(StorageError):
                clean(self.root, Manifest(self.root, self._disk), self._disk)

    def __enter__(self) -> "StorageWriter":
        return self

    def __exit__(
        self, type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_journal(self) -> None:
        stored = self._manifest.positions.get(self.channel)
        if stored is not None and stored.journal != self.journal:
            raise StorageConflictError(
                f"{self.root} was stored from journal {stored.journal or 'without an id'} of {self.channel}, this is "
                f"journal {self.journal or 'without an id'}: restore the one it was made from, or store into a new directory",
                channel=self.channel,
                expected=stored.journal,
                found=self.journal,
            )

    def _require_usable(self) -> None:
        if self._failed is not None:
            raise StorageError(
                f"storing {self.channel} in {self.root} stopped at sequence {self._position} ({self._failed}): "
                "mend the cause and open the store again",
                path=str(self.root),
            ) from self._failed

    def _require_present(self) -> None:
        self._look_due = time.monotonic() + self.options.look_interval_s
        self._staging.require_present()
        self._manifest.require_present()
        for path in list(self._newest_files.values()):
            if not self._disk.exists(self.root / path):
                raise taken_away(self.root / path)

    def _commit(self, buffers: dict[str, ColumnBuffer], names: dict[int, str], first: int, position: int) -> Commit:
        try:
            staged = self._write_parts(buffers, names)
            entries = tuple(self._publish(rows, part) for rows, part in staged)
            self._sync_directories(entries)
            if position >= first:
                self._manifest.commit(
                    self._staging.directory,
                    add=entries,
                    advance={self.channel: Advance(first, position, self.journal)},
                    writer=self._staging.name,
                    created=time.time_ns(),
                )
            self._position = position
            for entry in entries:
                self._staging.forget(entry.path)
                self._newest_files[entry.type] = entry.path
        except BaseException as error:
            self._failed = error
            raise
        self._checkpoint()
        return Commit(
            version=self._manifest.version,
            position=position,
            rows=sum(entry.rows for entry in entries),
            files=entries,
        )

    def _checkpoint(self) -> None:
        try:
            self._manifest.checkpoint_if_due(self._staging.directory)
        except StorageError as error:
            # Only opening gets slower without it; what was committed stands, and the next commit tries again.
            log.warning("no checkpoint of the manifest", store=str(self.root), reason=str(error))

    def _write_parts(
        self, buffers: dict[str, ColumnBuffer], names: dict[int, str]
    ) -> list[tuple[PartRows, WrittenPart]]:
        """All parts of a flush, written and verified."""
        split = self._threads.map(
            lambda buffer: list(partitions(buffer.type, buffer.columns(), names, self.options.pack_rows)),
            buffers.values(),
        )
        # The largest start first, so that none is left to run alone at the end.
        parts = sorted((rows for group in split for rows in group), key=lambda rows: -rows.count)
        paths = [self._staging.path(self._next_path(rows.partition)) for rows in parts]
        written = self._threads.map(
            lambda rows, path: write_part(self._disk, path, rows, self.options.part), parts, paths
        )
        return list(zip(parts, written, strict=True))

    def _next_path(self, partition: Partition) -> str:
        number = self._part_numbers.get(partition.directory, 0) + 1
        self._part_numbers[partition.directory] = number
        return partition.part(number)

    def _publish(self, rows: PartRows, part: WrittenPart) -> FileEntry:
        """Give a part its place; its manifest entry."""
        relative = part.path.relative_to(self._staging.directory).as_posix()
        with storage_errors(self.root / relative, "write"):
            make_directories(self._disk, self.root, rows.partition.directory)
            while True:
                try:
                    self._staging.publish(relative)
                    break
                except FileExistsError:  # another writer's, or one that a power failure left without a manifest
                    taken, relative = relative, self._next_path(rows.partition)
                    self._staging.rename(taken, relative)
        columns = rows.columns
        times, sequences = event_time(rows.partition.type, columns), columns["source_sequence"]
        return FileEntry(
            path=relative,
            type=rows.partition.type,
            tier="warm",
            timeframe=rows.partition.timeframe,
            date=rows.partition.date,
            symbols=rows.symbol_rows,
            rows=rows.count,
            ts_first=int(times.min()),
            ts_last=int(times.max()),
            sequence_first=int(sequences.min()),
            sequence_last=int(sequences.max()),
            channel=self.channel,
            size_bytes=part.size_bytes,
            hash=part.hash,
            row_hash=part.row_hash,
            record_version=schemas()[rows.partition.type].version,
            exact=part.exact,
            ts_event_absent=int(np.count_nonzero(columns["ts_event"] == 0)),
        )

    def _sync_directories(self, entries: tuple[FileEntry, ...]) -> None:
        for directory in sorted({(self.root / entry.path).parent for entry in entries}):
            with storage_errors(directory, "sync"):
                self._disk.sync_directory(directory)

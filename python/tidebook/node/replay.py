"""Recordings through the market-data engine: decoded and checked, and with a data directory journaled and stored.

With a directory it is the path of live storing, fed from files: what is missing in the raw journal is appended and made
durable, then decoded and stored together with the feed position. Run again after any interruption it goes on, and the
store holds each record of the recordings exactly once. Without recordings it stores what a journal holds.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tidebook._core import FeedDecoder, JournalReader
from tidebook.errors import CaptureError
from tidebook.node.books import BookWatch
from tidebook.node.directory import journal_directory
from tidebook.node.feed_snapshots import begin
from tidebook.node.recordings import FeedClock, RecordingJournal, Recordings
from tidebook.node.storing import JournalSource, journal_identity
from tidebook.persistence import inspect
from tidebook.storage.columns import TYPES
from tidebook.storage.disk import Disk
from tidebook.storage.follower import Follower, FollowerOptions, Progress
from tidebook.storage.manifest import Manifest
from tidebook.storage.writer import StorageWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from tidebook._core import Payloads

FLUSH_ROWS = 300_000
_CHUNK_MESSAGES = 8_192


@dataclass(kw_only=True)
class Holdings:
    """What a store holds."""

    rows: dict[str, int]
    """By type."""
    symbols: int
    """Instruments, however often each was defined."""

    @classmethod
    def of(cls, data: Path) -> Self:
        """Of the store in `data`, as of its newest version."""
        rows = dict.fromkeys(TYPES, 0)
        symbols: set[str] = set()
        for entry in Manifest(data, Disk()).files.values():
            rows[entry.type] += entry.rows
            if entry.type == "instruments":
                symbols.update(entry.symbols)
        return cls(rows=rows, symbols=len(symbols))


@dataclass(kw_only=True)
class ReplayReport:
    """What a replay found. Checks are the comparisons of all oracles, over all messages decoded."""

    venue: str
    messages: int
    """In the recordings; without recordings, in the journal."""
    new: int | None = None
    """Of these, messages that the journal did not hold before; None without a data directory."""
    decoded: int
    """The messages, and those of the journal in front of them, which books and checks need."""
    rows: dict[str, int]
    """Records derived, by type; with a data directory those that were new to the store."""
    checks_passed: int
    checks_failed: int
    gaps: int
    oracles: list[dict[str, Any]]
    """name, passed, failed."""
    counters: dict[str, int]
    quarantined: list[dict[str, Any]]
    """The first frames that could not be decoded: sequence, offset, expected."""
    books_usable: list[str]
    """Instruments whose book was usable at some time."""
    books_never_usable: dict[str, str]
    """Instruments whose book never was, and why."""
    damaged: list[str] = field(default_factory=list)
    """Places of the files that could not be read."""
    overlaps: list[str] = field(default_factory=list)
    """Files that begin before the messages in front of them end."""
    seconds: float
    rate: float
    """Messages decoded a second, reading and decompressing included."""
    state_hash: str
    stored: int | None = None
    """Feed sequence up to which everything is in the store; None without a data directory."""
    holdings: Holdings | None = None
    """What the data directory holds now."""


class _Decoding:
    """A decoder, what it saw, and the time it took."""

    def __init__(self, venue: str) -> None:
        self._began = time.perf_counter()
        self._become(FeedDecoder(venue))

    def take_up(self, data: Path, venue: str, journal: Path, writer: StorageWriter) -> int:
        """Begins behind a snapshot if the journal no longer has its first messages; gives behind which. A report is of all
        that was ever decoded, so snapshots are not used without need.

        Raises: SnapshotError when none can be used.
        """
        if inspect(journal).first_sequence > 1:
            self._become(begin(data, venue, journal, writer))
        return self._decoder.sequence

    def _become(self, decoder: FeedDecoder) -> None:
        self._decoder = decoder
        self.watch = BookWatch(decoder)

    def report(self, rows: Mapping[str, int], messages: int | None = None) -> ReplayReport:
        facts = self._decoder.report()
        del facts["instruments"], facts["books"]  # of its end; this is of all that was decoded
        decoded, seconds = facts.pop("messages"), time.perf_counter() - self._began
        return ReplayReport(
            **facts,
            messages=decoded if messages is None else messages,
            decoded=decoded,
            rows={kind: count for kind, count in rows.items() if count},
            books_usable=self.watch.usable,
            books_never_usable=self.watch.never_usable,
            seconds=seconds,
            rate=decoded / seconds,
        )


def replay(recordings: Recordings, progress: Callable[[int], None] | None = None) -> ReplayReport:
    """Decodes recordings, in their order, as one feed; keeps nothing.

    `progress` is called with bytes of the decompressed files that were read since its last call.
    Raises: CaptureError for a recording that begins before the one in front of it ends.
    """
    decoding, clock = _Decoding(recordings.venue), FeedClock()
    damaged: list[str] = []
    overlaps: list[str] = []
    rows: dict[str, int] = {}
    sequence = 1
    for path, recording in recordings.files:
        if overlap := clock.check(path, recording):
            overlaps.append(overlap)
        position = 0
        while True:
            try:
                chunk = recording.next(_CHUNK_MESSAGES)
            except CaptureError as error:
                damaged.append(str(error))
                continue
            if not len(chunk):
                break
            clock.advance(chunk)
            for kind, records in decoding.watch.decode(sequence, chunk).items():
                rows[kind] = rows.get(kind, 0) + len(records)
            sequence += len(chunk)
            if progress:
                progress(recording.position_bytes - position)
                position = recording.position_bytes
    report = decoding.report(rows)
    report.damaged, report.overlaps = damaged, overlaps
    return report


def replay_into(
    data: Path,
    recordings: Recordings,
    progress: Callable[[int], None] | None = None,
    *,
    flush_rows: int = FLUSH_ROWS,
) -> ReplayReport:
    """Journals recordings and stores what is derived from them; goes on where an earlier run was interrupted.

    Commits each time `flush_rows` rows have gathered, and at the end.
    Raises: errors of the journal and of the store; CaptureError for a recording that begins before what is journaled.
    """
    decoding = _Decoding(recordings.venue)
    options = FollowerOptions(flush_rows=flush_rows)
    with RecordingJournal(data, recordings) as journal:
        with StorageWriter(data, journal.channel, journal=journal_identity(journal.directory)) as writer:
            behind = decoding.take_up(data, recordings.venue, journal.directory, writer)
            with _Source(journal, progress, behind) as source:
                done = Follower(source, decoding.watch, writer, options, position=behind).catch_up()
        intake = journal.intake
    report = decoding.report(done.rows, messages=intake.messages + intake.held)
    report.new, report.damaged, report.overlaps = intake.messages, intake.damaged, intake.overlaps
    report.stored, report.holdings = done.stored, Holdings.of(data)
    return report


def replay_journal(
    data: Path,
    channel: str,
    progress: Callable[[int], None] | None = None,
    *,
    flush_rows: int = FLUSH_ROWS,
) -> ReplayReport:
    """Stores what is derived from the messages that the journal of `channel` holds; `progress` gets counts of messages.

    Raises: errors of the journal and of the store; UnknownVenueError for a channel that is no feed.
    """
    decoding = _Decoding(channel.removeprefix("feed."))
    journal = journal_directory(data, channel)
    told = 0

    def decoded(done: Progress) -> None:
        nonlocal told
        if progress:
            progress(done.messages - told)
        told = done.messages

    with StorageWriter(data, channel, journal=journal_identity(journal)) as writer:
        behind = decoding.take_up(data, channel.removeprefix("feed."), journal, writer)
        source, options = JournalSource(journal, channel, behind), FollowerOptions(flush_rows=flush_rows)
        done = Follower(source, decoding.watch, writer, options, decoded, position=behind).catch_up()
    report = decoding.report(done.rows)
    report.new, report.stored, report.holdings = 0, done.stored, Holdings.of(data)
    return report


class _Source:
    """What the journal held when it was opened, then what is taken in, each chunk durable before it is given.

    One chunk ahead: while a chunk is decoded and stored, a thread reads the next one and waits for the disk.
    """

    def __init__(self, journal: RecordingJournal, progress: Callable[[int], None] | None, behind: int) -> None:
        held = JournalReader(journal.directory, from_sequence=behind + 1) if journal.held else None
        self._history: JournalReader | None = held
        self._history_end = journal.held
        self.passed = behind
        """Last sequence behind which it reads on."""
        self._new = journal.take_in(progress)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="replay-intake")
        self._ahead: Future[tuple[int, Payloads] | None] | None = None

    def read(self) -> tuple[int, Payloads] | None:
        if self._history is not None:
            if (
                self._history.next_sequence <= self._history_end
                and (held := self._history.next(_CHUNK_MESSAGES)) is not None
            ):
                self.passed = self._history.next_sequence - 1
                return held
            # Further on than the last message where a cut gave up what came behind it.
            self.passed = self._history.next_sequence - 1
            self._history = None
        ahead = self._ahead or self._thread.submit(next, self._new, None)
        chunk = ahead.result()
        self._ahead = self._thread.submit(next, self._new, None) if chunk is not None else ahead
        if chunk is not None:
            self.passed = chunk[0] + len(chunk[1]) - 1
        return chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The journal may be closed after this: no chunk is under way any more.
        self._thread.shutdown()

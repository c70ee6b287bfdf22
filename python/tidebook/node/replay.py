"""Recordings through the market-data engine: decoded and checked, and with a data directory journaled and stored.

With a directory it is the path of live storing, fed from files: what is missing in the raw journal is appended and made
durable, then decoded and stored together with the feed position. Run again after any interruption it goes on, and the
store holds each record of the recordings exactly once.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tidebook._core import FeedDecoder, JournalReader
from tidebook.errors import CaptureError
from tidebook.node.recordings import RecordingJournal, Recordings
from tidebook.node.storing import journal_identity, stored_position
from tidebook.storage.follower import Follower, FollowerOptions
from tidebook.storage.writer import StorageWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from tidebook._core import Payloads

FLUSH_ROWS = 300_000
_CHUNK_MESSAGES = 8_192


@dataclass(kw_only=True)
class ReplayReport:
    """What a replay found. Checks are the comparisons of all oracles."""

    venue: str
    messages: int
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
    damaged: list[str] = field(default_factory=list)
    """Places of the files that could not be read."""
    seconds: float
    rate: float
    """Messages a second, reading and decompressing included."""
    state_hash: str
    stored: int | None = None
    """Feed sequence up to which everything is in the store; None without a data directory."""


def replay(recordings: Recordings, progress: Callable[[int], None] | None = None) -> ReplayReport:
    """Decodes recordings, in their order, as one feed; keeps nothing.

    `progress` is called with bytes of the decompressed files that were read since its last call.
    """
    began = time.perf_counter()
    decoder = FeedDecoder(recordings.venue)
    damaged: list[str] = []
    rows: dict[str, int] = {}
    sequence = 1
    for _, recording in recordings.files:
        position = 0
        while True:
            try:
                chunk = recording.next(_CHUNK_MESSAGES)
            except CaptureError as error:
                damaged.append(str(error))
                continue
            if not len(chunk):
                break
            for kind, records in decoder.decode(sequence, chunk).items():
                rows[kind] = rows.get(kind, 0) + len(records)
            sequence += len(chunk)
            if progress:
                progress(recording.position_bytes - position)
                position = recording.position_bytes
    return _report(decoder, rows, damaged, time.perf_counter() - began)


def replay_into(
    data: Path,
    recordings: Recordings,
    progress: Callable[[int], None] | None = None,
    *,
    flush_rows: int = FLUSH_ROWS,
) -> ReplayReport:
    """Journals recordings and stores what is derived from them; goes on where an earlier run was interrupted.

    Commits each time `flush_rows` rows have gathered, and at the end.
    Raises: errors of the journal and of the store.
    """
    began = time.perf_counter()
    options = FollowerOptions(flush_rows=flush_rows)
    evidence = stored_position(data, recordings.channel)
    with RecordingJournal(data, recordings, evidence=evidence) as journal:
        decoder = FeedDecoder(recordings.venue)
        with (
            StorageWriter(data, journal.channel, journal=journal_identity(journal.directory)) as writer,
            _Source(journal, progress) as source,
        ):
            done = Follower(source, decoder, writer, options).catch_up()
        report = _report(decoder, {"new": done.rows}, journal.intake.damaged, time.perf_counter() - began)
        report.stored = done.stored
    return report


class _Source:
    """What the journal held when it was opened, then what is taken in, each chunk durable before it is given.

    One chunk ahead: while a chunk is decoded and stored, a thread reads the next one and waits for the disk.
    """

    def __init__(self, journal: RecordingJournal, progress: Callable[[int], None] | None) -> None:
        self._history: JournalReader | None = JournalReader(journal.directory) if journal.held else None
        self._history_end = journal.held
        self._new = journal.take_in(progress)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="replay-intake")
        self._ahead: Future[tuple[int, Payloads] | None] | None = None

    def read(self) -> tuple[int, Payloads] | None:
        if self._history is not None:
            if self._history.next_sequence <= self._history_end:
                return self._history.next(_CHUNK_MESSAGES)
            self._history = None
        ahead = self._ahead or self._thread.submit(next, self._new, None)
        chunk = ahead.result()
        self._ahead = self._thread.submit(next, self._new, None) if chunk is not None else ahead
        return chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The journal may be closed after this: no chunk is under way any more.
        self._thread.shutdown()


def _report(decoder: FeedDecoder, rows: dict[str, int], damaged: list[str], seconds: float) -> ReplayReport:
    facts = decoder.report()
    return ReplayReport(**facts, rows=rows, damaged=damaged, seconds=seconds, rate=facts["messages"] / seconds)

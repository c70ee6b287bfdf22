"""Snapshots of a feed's state: what storage begins behind after a restart, and what it takes while it runs.

They are taken by the thread that stores the feed, of the state that it derived from durable messages alone; capture and
engine share nothing with it. A snapshot that cannot be written costs only time at the next start, so it is told and tried
again; what is stored does not depend on it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from tidebook._core import FeedDecoder
from tidebook.errors import SnapshotError
from tidebook.node.directory import snapshots_directory
from tidebook.observe.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tidebook.node.storing import JournalSource
    from tidebook.storage.writer import StorageWriter

log = logger("node.feed_snapshots")


class SnapshotOptions(msgspec.Struct, frozen=True, kw_only=True):
    """When snapshots are taken, and how many stay."""

    interval_s: float = 300.0
    keep: int = 12


def begin(data: Path, venue: str, journal: Path, writer: StorageWriter) -> FeedDecoder:
    """A decoder behind the newest snapshot that is not ahead of what is stored; the writer knows its instruments.

    Raises: SnapshotError when the journal no longer has its first messages and no snapshot can be used; JournalError.
    """
    decoder, refused = FeedDecoder.begin(venue, journal, snapshots_directory(data), writer.position)
    for reason in refused:
        log.warning("snapshot not used", of="storage", venue=venue, reason=reason)
    if decoder.sequence:
        log.info("begun behind a snapshot", venue=venue, sequence=decoder.sequence)
    writer.append("instruments", decoder.definitions())
    return decoder


class FeedSnapshots:
    """Takes the snapshots of one decoder. Threads: that which decodes."""

    def __init__(
        self,
        data: Path,
        decoder: FeedDecoder,
        source: JournalSource,
        options: SnapshotOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`source` is what the decoder reads, and has a snapshot at where the decoder stands now, if it does not begin
        there; `clock` gives seconds that never go back.
        """
        self._directory = snapshots_directory(data)
        self._decoder = decoder
        self._source = source
        self._options = options
        self._clock = clock
        self._newest = decoder.sequence
        self._due = clock() + options.interval_s

    @property
    def newest(self) -> int:
        """Message of the newest snapshot; 0 without one."""
        return self._newest

    def is_due(self) -> bool:
        """Whether the interval is over and there is something new."""
        return self._clock() >= self._due and self._decoder.sequence > self._newest

    def take(self) -> None:
        """Takes one of where the decoder stands, whose rows are stored, unless it is there already."""
        self._due = self._clock() + self._options.interval_s
        end = self._source.batch_end
        if end is None or self._decoder.sequence <= self._newest:
            return
        try:
            path, size_bytes, kept = self._decoder.snapshot(self._directory, end, time.time_ns(), self._options.keep)
        except SnapshotError as error:
            log.warning("no snapshot", channel=self._source.channel, reason=str(error))
            return
        self._newest = self._decoder.sequence
        log.info("snapshot", path=str(path), size_bytes=size_bytes, kept=len(kept))

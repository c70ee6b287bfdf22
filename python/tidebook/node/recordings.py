"""Recordings into a raw journal: message n of a file becomes the next sequence, verbatim, once.

The journal says how much of a recording it holds, so an interrupted run goes on at the next message and a finished
recording is passed over. Only what is durable is handed on: whoever makes something lasting of it may.

A feed goes forward in time: its clock closes bars, its numbers rise. A recording that begins before the messages in
front of it would lose its bars and look like one enormous gap, so it is refused before any of it is journaled. Files of one
recorder may overlap a little; that is allowed and told.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from tidebook._core import JournalReader, JournalWriter, Recording, unpack_message
from tidebook.errors import CaptureError, CaptureLogError, UsageError
from tidebook.feeds.capture_log import CaptureLog, content_digest, file_digest
from tidebook.node.directory import channel_of, journal_directory, simulated_marker
from tidebook.node.snapshot_files import proven_durable
from tidebook.node.storing import stored_position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date
    from pathlib import Path
    from types import TracebackType

    from tidebook._core import Payloads

_CHUNK_MESSAGES = 16_384
_SEGMENT_SIZE_BYTES = 64 << 20
_OVERLAP_MAX_NS = 60_000_000_000


@dataclass
class Intake:
    """What became of the recordings of one run."""

    messages: int = 0
    """Messages journaled by this run."""
    held: int = 0
    """Messages of these recordings that the journal held before."""
    damaged: list[str] = field(default_factory=list)
    """Places of the files that could not be read, one line each."""
    overlaps: list[str] = field(default_factory=list)
    """Files that begin before the messages in front of them end, one line each."""


class FeedClock:
    """How far in time a feed has come, and whether a recording may follow."""

    def __init__(self, latest_ns: int | None = None) -> None:
        self._latest_ns = latest_ns

    def advance(self, messages: Payloads) -> None:
        """Notes messages, which are in the order of their receive times."""
        if len(messages):
            self.reach(unpack_message(messages[len(messages) - 1])[0])

    def reach(self, ns: int | None) -> None:
        """Notes a time, if it is one."""
        if ns is not None and (self._latest_ns is None or ns > self._latest_ns):
            self._latest_ns = ns

    def check(self, path: Path, recording: Recording) -> str | None:
        """A line about an overlap, if there is one. Raises: CaptureError when the recording begins too early."""
        begins_ns = recording.next_ts_recv()
        if begins_ns is None or self._latest_ns is None or begins_ns >= self._latest_ns:
            return None
        if self._latest_ns - begins_ns > _OVERLAP_MAX_NS:
            raise CaptureError(
                f"{path} begins at {_utc(begins_ns)}, before the last message in front of it ({_utc(self._latest_ns)}): "
                "a feed goes forward in time; name recordings in the order they were recorded, or replay this one into "
                "another --data directory"
            )
        overlap_s = (self._latest_ns - begins_ns) / 1e9
        return f"{path.name} begins {overlap_s:.1f} s before the messages in front of it end"


def _utc(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}Z"


class Recordings:
    """Capture files of one venue, in the order they were recorded, opened."""

    def __init__(self, paths: Sequence[Path], day: date | None = None) -> None:
        """Opens them all before anything is done with one.

        `day` is that of recordings whose times count from midnight; default: what the file's name says.
        Raises: CaptureError naming the file that is unreadable or begins before the one in front of it, or the venues
                when they are of several.
        """
        for path in paths:
            _check_readable(path)
        self.files = [(path, Recording(path, day=None if day is None else day.isoformat())) for path in paths]
        venues = {recording.venue for _, recording in self.files}
        if len(venues) != 1:
            names = ", ".join(f"{path.name}: {recording.venue}" for path, recording in self.files)
            raise CaptureError(f"recordings of different venues ({names}); take in one venue at a time")
        begun = FeedClock()
        for path, recording in self.files:
            begun.check(path, recording)
            begun.reach(recording.next_ts_recv())
        self.venue = venues.pop()
        self.channel = channel_of(self.venue)
        self.size_bytes = sum(recording.size_bytes for _, recording in self.files)
        """Of the decompressed files."""


class RecordingJournal:
    """The raw journal that recordings go into, open for writing."""

    def __init__(self, data: Path, recordings: Recordings) -> None:
        """Opens or makes the journal of the recordings' venue in a data directory, recovering it first.

        What is stored and the newest snapshot prove what the journal has to have.
        Raises: JournalError and its kinds; SnapshotMismatchError for snapshots of another journal; CaptureLogError; UsageError when it holds messages of a simulated venue.
        """
        self.recordings = recordings
        self.channel = recordings.channel
        self.directory = journal_directory(data, self.channel)
        if simulated_marker(self.directory).exists():
            raise UsageError(
                f"{self.directory} holds messages of a simulated venue; name another --data directory for recordings"
            )
        self.intake = Intake()
        self._writer = JournalWriter(
            self.directory,
            self.channel,
            segment_size_bytes=_SEGMENT_SIZE_BYTES,
            evidence=max(stored_position(data, self.channel), proven_durable(data, self.channel)),
        )
        self._log = CaptureLog(self.directory)
        self._clock = FeedClock(self._last_ts_recv())

    @property
    def held(self) -> int:
        """Highest durable sequence of the journal."""
        return self._writer.durable

    def take_in(self, progress: Callable[[int], None] | None = None) -> Iterator[tuple[int, Payloads]]:
        """Journals what is missing and gives it chunk by chunk, each durable: (first sequence, messages).

        `progress` is called with bytes of the decompressed files that were read since its last call.
        Raises: JournalError; CaptureLogError when another recording has to be finished first; CaptureError for one that
                begins before what is journaled. A damaged place in a file is noted in `intake.damaged`, and reading goes
                on behind it where the format allows.
        """
        for path, recording in self.recordings.files:
            digest = content_digest(recording)
            if self._log.knows_files:
                self._log.adopt(file_digest(path), digest)
            if not self._log.knows(digest) and (overlap := self._clock.check(path, recording)):
                self.intake.overlaps.append(overlap)
            done = self._log.resume(path.name, digest, self._writer.durable)
            if done is None:
                counts = {capture.digest: capture.message_count for capture in self._log.captures}
                self.intake.held += counts[digest] or 0
                if progress:
                    progress(recording.size_bytes)
                continue
            yield from self._rest_of(path, recording, done, progress)

    def _last_ts_recv(self) -> int | None:
        """Receive time of the journal's last message."""
        if not self.held:
            return None
        read = JournalReader(self.directory, from_sequence=self.held).next(1)
        return None if read is None else unpack_message(read[1][len(read[1]) - 1])[0]

    def _check_goes_on(self, path: Path, recorded: bytes) -> None:
        """Whether the journal ends with message `recorded` of the recording, so that the next one may follow.

        Raises: CaptureLogError when something else was appended since the replay was interrupted.
        """
        last = self._writer.durable
        read = JournalReader(self.directory, from_sequence=last).next(1)
        if read is None or read[1][last - read[0]] != recorded:
            raise CaptureLogError(
                f"{self.directory}: {path.name} was interrupted and other messages follow it up to {last}, so it cannot "
                "be taken in whole here; replay it into a new directory"
            )

    def _rest_of(
        self, path: Path, recording: Recording, done: int, progress: Callable[[int], None] | None
    ) -> Iterator[tuple[int, Payloads]]:
        count = position = 0
        while True:
            behind = max(done - count, 0)
            try:
                chunk = recording.next(min(_CHUNK_MESSAGES, behind) if behind else _CHUNK_MESSAGES)
            except CaptureError as error:
                self.intake.damaged.append(str(error))
                continue
            if progress:
                progress(recording.position_bytes - position)
                position = recording.position_bytes
            if not len(chunk):
                break
            count += len(chunk)
            if behind:
                self.intake.held += len(chunk)
                if count == done:
                    self._check_goes_on(path, chunk[len(chunk) - 1])
                continue
            self._clock.advance(chunk)
            last = self._writer.append_all(chunk)
            self._writer.sync()
            self.intake.messages += len(chunk)
            yield last - len(chunk) + 1, chunk
        if count < done:
            raise CaptureError(f"{path}: holds {count} messages where {done} were journaled before; it was cut since")
        self._log.finish(count)

    def close(self) -> None:
        """Seals the journal; what was taken in stays resumable."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_readable(path: Path) -> None:
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise CaptureError(f"recording {path} {what}; name a capture file")
    if not os.access(path, os.R_OK):
        raise CaptureError(f"recording {path} may not be read by this user; change its permissions")

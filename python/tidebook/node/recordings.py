"""Recordings into a raw journal: message n of a file becomes the next sequence, verbatim, once.

The journal says how much of a recording it holds, so an interrupted run goes on at the next message and a finished
recording is passed over. Only what is durable is handed on: whoever makes something lasting of it may.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tidebook._core import JournalWriter, Recording
from tidebook.errors import CaptureError
from tidebook.feeds.capture_log import CaptureLog, file_digest
from tidebook.node.directory import channel_of, journal_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from tidebook._core import Payloads

_CHUNK_MESSAGES = 8_192
_SEGMENT_SIZE_BYTES = 64 << 20


@dataclass
class Intake:
    """What became of the recordings of one run."""

    messages: int = 0
    """Messages journaled by this run."""
    held: int = 0
    """Messages of these recordings that the journal held before."""
    damaged: list[str] = field(default_factory=list)
    """Places of the files that could not be read, one line each."""


class RecordingJournal:
    """The raw journal of one venue's recordings in a data directory, open for writing."""

    def __init__(self, data: Path, paths: Sequence[Path], *, evidence: int = 0) -> None:
        """Opens the recordings, then the journal of their venue, recovering it first.

        `evidence` is the highest sequence known to have been durable, such as a store's position.
        Raises: CaptureError when a file is unreadable or they are of several venues; JournalError.
        """
        recordings = [Recording(path) for path in paths]
        venues = sorted({recording.venue for recording in recordings})
        if len(venues) != 1:
            names = ", ".join(
                f"{path.name}: {recording.venue}" for path, recording in zip(paths, recordings, strict=True)
            )
            raise CaptureError(f"recordings of different venues ({names}); take in one venue at a time")
        self.venue = venues[0]
        self.channel = channel_of(self.venue)
        self.directory = journal_directory(data, self.channel)
        self.size_bytes = sum(recording.size_bytes for recording in recordings)
        self.intake = Intake()
        self._recordings = list(zip(paths, recordings, strict=True))
        self._writer = JournalWriter(
            self.directory, self.channel, segment_size_bytes=_SEGMENT_SIZE_BYTES, evidence=evidence
        )
        self._log = CaptureLog(self.directory)

    @property
    def held(self) -> int:
        """Highest durable sequence of the journal."""
        return self._writer.durable

    def take_in(self, progress: Callable[[int], None] | None = None) -> Iterator[tuple[int, Payloads]]:
        """Journals what is missing and gives it chunk by chunk, each durable: (first sequence, messages).

        `progress` is called with bytes of the decompressed files that were read since its last call.
        Raises: JournalError; CaptureLogError when another recording has to be finished first. A damaged place in a
                file is noted in `intake.damaged`, and reading goes on behind it where the format allows.
        """
        for path, recording in self._recordings:
            done = self._log.resume(path.name, file_digest(path), self._writer.durable)
            if done is None:
                count = next(c.message_count for c in self._log.captures if c.digest == file_digest(path))
                self.intake.held += count or 0
                if progress:
                    progress(recording.size_bytes)
                continue
            yield from self._rest_of(path, recording, done, progress)

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
                continue
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


def readable(paths: Sequence[Path]) -> None:
    """Refuses, before anything is written, paths that are no readable files.

    Raises: CaptureError naming the first one.
    """
    for path in paths:
        if not path.is_file():
            what = "is a directory" if path.is_dir() else "does not exist"
            raise CaptureError(f"recording {path} {what}; name a capture file")
        if not os.access(path, os.R_OK):
            raise CaptureError(f"recording {path} may not be read by this user; change its permissions")

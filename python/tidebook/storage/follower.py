"""Storage follows the durable raw journal: journal, decoder, writer, in one loop.

Live storing, the restart after a crash and `tidebook replay` are this one path. The journal is read from its start, or from
a snapshot of the decoder that is not ahead of what is stored, so that the decoder's books are what they were; what is stored
already is dropped at the writer's door by its sequence.
Only durable messages come out of the journal, so whatever was decoded may be committed. While one flush runs on the
writer's threads the next messages are decoded.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from numpy.typing import NDArray

from tidebook.errors import StorageConflictError
from tidebook.storage.columns import TYPES
from tidebook.storage.writer import StorageWriter


class Messages(Protocol):
    """Raw messages that follow each other, such as `tidebook._core.Payloads`."""

    def __len__(self) -> int: ...


class Journal(Protocol):
    """Durable messages of `feed.<venue>` in order."""

    def read(self) -> tuple[int, Messages] | None:
        """Sequence of the first message and the next few; None when all that is durable was read."""
        ...

    @property
    def passed(self) -> int:
        """Last sequence behind which it reads on: that of the last message, or of the last one that a cut gave up."""
        ...


class Decoder(Protocol):
    """The market-data engine as columns of records."""

    def decode(self, first_sequence: int, messages: Any, /) -> Mapping[str, NDArray[Any]]:
        """Records derived from `messages`, by type, each in order of their source."""
        ...


class Snapshots(Protocol):
    """Snapshots of the decoder."""

    def is_due(self) -> bool:
        """Whether one is to be taken now."""
        ...

    def take(self) -> None:
        """Takes one, now that the rows of all that was decoded are stored; never raises for want of one."""
        ...


class FollowerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """When a follower commits."""

    flush_rows: int = 1_000_000
    """Rows after which it commits though the interval has not passed; bounds memory and what a kill repeats."""
    flush_interval_s: float = 300.0
    flush_first_s: float | None = None
    """Interval before the first commit, doubled with each until it is `flush_interval_s`: a node that has just started
    shows its rows soon, and hours of it are not thousands of small parts. None: `flush_interval_s` from the start."""
    poll_interval_s: float = 0.02
    """How long it waits when the journal has nothing new."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a follower has come."""

    position: int
    """Last sequence decoded."""
    stored: int
    """Last sequence committed."""
    messages: int
    rows: Mapping[str, int]
    """New rows appended by this follower, by type; rows stored before are not counted."""
    caught_up: bool
    """Whether all that was durable has been read once."""


class Follower:
    """Stores a feed. One thread runs it; another may stop it."""

    def __init__(
        self,
        journal: Journal,
        decoder: Decoder,
        writer: StorageWriter,
        options: FollowerOptions | None = None,
        progress: Callable[[Progress], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        position: int = 0,
        snapshots: Snapshots | None = None,
    ) -> None:
        """`journal` and `decoder` begin behind message `position`; `progress` is called after each piece of work; `clock`
        gives seconds that never go back. `snapshots` are taken of what is stored, and when `follow` ends.
        """
        self._journal = journal
        self._decoder = decoder
        self._writer = writer
        self._options = options or FollowerOptions()
        self._report = progress
        self._position = position
        self._snapshots = snapshots
        self._messages = 0
        self._rows = dict.fromkeys(TYPES, 0)
        self._caught_up = False
        self._clock = clock
        longest = self._options.flush_interval_s
        self._interval_s = min(self._options.flush_first_s or longest, longest)
        self._flush_due = clock() + self._interval_s

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return Progress(
            position=self._position,
            stored=self._writer.position,
            messages=self._messages,
            rows=dict(self._rows),
            caught_up=self._caught_up,
        )

    def catch_up(self, stop: threading.Event | None = None) -> Progress:
        """Store all that is durable in the journal by now, or what was decoded when `stop` is set; returns when it is
        committed.

        Raises: StorageConflictError if the journal ends before the stored position: it is not the journal this store
                was made from. Errors of the journal, the decoder and the writer.
        """
        while self._step():
            if stop is not None and stop.is_set():
                break
        else:
            self._check_end()
            self._caught_up = True
        if self._position >= self._writer.position:
            self._writer.flush(self._position)
        self._report(self.progress)
        return self.progress

    def _check_end(self) -> None:
        if max(self._position, self._journal.passed) < self._writer.position:
            raise StorageConflictError(
                f"the journal of {self._writer.channel} ends at sequence {self._position}, but {self._writer.root} "
                f"holds it up to {self._writer.position}: this is another journal; restore the one it was made from, "
                "or store into a new directory",
                channel=self._writer.channel,
                expected=self._writer.position,
                found=self._position,
            )

    def follow(self, stop: threading.Event) -> Progress:
        """Store what is there and what comes, until `stop` is set; then commit the rest.

        Raises: as `catch_up`.
        """
        done = self.catch_up(stop)
        if not stop.is_set():
            while not stop.is_set():
                if not self._step():
                    self._flush_if_due()
                    self._report(self.progress)
                    stop.wait(self._options.poll_interval_s)
            done = self.catch_up()
        if self._snapshots is not None:
            self._snapshots.take()
        return done

    def _step(self) -> bool:
        """Decode and append the next messages; False if there are none."""
        self._writer.look()
        batch = self._journal.read()
        if batch is None:
            return False
        first, messages = batch
        decoded = self._decoder.decode(first, messages)
        for kind in TYPES:
            if kind in decoded:
                self._rows[kind] += self._writer.append(kind, decoded[kind])
        self._messages += len(messages)
        self._position = first + len(messages) - 1
        self._flush_if_due()
        self._report(self.progress)
        return True

    def _flush_if_due(self) -> None:
        now = self._clock()
        if self._snapshots is not None and self._snapshots.is_due():
            if self._position > self._writer.position:
                self._writer.flush(self._position)
                self._flush_due = now + self._interval_s
            self._snapshots.take()
        if self._position > self._writer.position and (
            self._writer.buffered_rows >= self._options.flush_rows or now >= self._flush_due
        ):
            self._writer.start_flush(self._position)
            self._interval_s = min(2 * self._interval_s, self._options.flush_interval_s)
            self._flush_due = now + self._interval_s

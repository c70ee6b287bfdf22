"""Storing a feed while it lives: a thread that follows its durable raw journal into the store.

It shares nothing with the engine but the journal's files, so however slow a disk is, market data does not wait. After
a crash it goes on from the position that is committed with the rows, with the books of a snapshot at or before it. What
may pass (a full disk, no file descriptors) ends only the writer: the thread waits until there is room, opens the store
again and goes on the same way, because the journal has everything. What does not pass (damage, a second writer, a failing
disk) ends it, and capture goes on.
"""

from __future__ import annotations

import errno
import os
import threading
import traceback
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from tidebook._core import JournalReader
from tidebook.errors import JournalAbsentError, TidebookError
from tidebook.node.feed_snapshots import FeedSnapshots, SnapshotOptions, begin
from tidebook.observe.logs import logger
from tidebook.persistence import inspect
from tidebook.storage.disk import Disk
from tidebook.storage.follower import Follower, FollowerOptions, Progress
from tidebook.storage.manifest import Manifest
from tidebook.storage.writer import StorageWriter, WriterOptions

if TYPE_CHECKING:
    from pathlib import Path

    from tidebook._core import Payloads

log = logger("node.storing")

_JOURNAL_POLL_S = 0.05

_MAY_PASS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_RETRY_FIRST_S: Final = 1.0
_RETRY_LONGEST_S: Final = 60.0

# Before the journal is decoded again there must be room for what it gives: files are smaller than the messages they
# come from, and these mostly smaller than 64 bytes of Parquet each.
_ROOM_PER_MESSAGE_BYTES: Final = 64
_ROOM_LEAST_BYTES: Final = 1 << 20
_DESCRIPTORS_NEEDED: Final = 16


_Status = Literal["starting", "following", "stalled", "failed", "stopped"]


class StoringState(msgspec.Struct, frozen=True, kw_only=True):
    """How the storing of one feed stands."""

    status: _Status
    """`starting` until all that the journal held has been read; `stalled` waits for room and goes on by itself;
    `failed` ended and market data goes on without it."""
    position: int
    """Last message of the feed that was decoded; while it reads the journal again, behind `stored`."""
    stored: int
    """Last message whose rows are committed."""
    reason: str = ""
    """Why it is stalled or has failed."""

    def behind(self, durable: int) -> int:
        """Messages that are durable in the journal, up to `durable`, and whose rows are neither stored nor on their way."""
        return max(0, durable - max(self.position, self.stored))


class JournalSource:
    """The durable messages of a journal behind one of them."""

    def __init__(self, directory: Path, channel: str, behind: int = 0) -> None:
        """Raises: JournalError, also when the next message is no longer in the journal."""
        self.channel = channel
        self._reader = JournalReader(directory, channel=channel, from_sequence=behind + 1)

    def read(self) -> tuple[int, Payloads] | None:
        """Sequence of the first message and the next few; None when all that is durable was read."""
        return self._reader.next()

    @property
    def passed(self) -> int:
        """Last sequence behind which it reads on: that of the last message, or of the last one that a cut gave up."""
        return self._reader.next_sequence - 1

    @property
    def batch_end(self) -> tuple[int, int, int, int, int] | None:
        """Where what was read ends: as of `JournalReader`."""
        return self._reader.batch_end


class Storing:
    """The thread that stores one feed of a data directory."""

    def __init__(
        self,
        data: Path,
        venue: str,
        journal: Path,
        channel: str,
        options: FollowerOptions,
        writer: WriterOptions | None = None,
        retry_s: float = _RETRY_FIRST_S,
        snapshots: SnapshotOptions | None = None,
    ) -> None:
        """`retry_s` is the first wait after what may pass; each further one is twice as long, a minute at most. It begins
        behind a snapshot where there is one, and takes some if `snapshots` says when.
        """
        self._data = data
        self._writer = writer
        self._venue = venue
        self._snapshots = snapshots
        self._journal = journal
        self._channel = channel
        self._options = options
        self._retry_s = retry_s
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="storage-follower", daemon=True)
        self._state = StoringState(status="starting", position=0, stored=0)
        self._stalled_at: int | None = None

    def start(self) -> None:
        """Begins to follow."""
        self._thread.start()

    @property
    def state(self) -> StoringState:
        """How it stands. Threads: may be asked for from any."""
        return self._state

    @property
    def failure(self) -> BaseException | None:
        """What ended it, if it failed: storing stopped, capture goes on. None while it is stalled."""
        return self._failed

    def stop(self) -> None:
        """Stores what is durable by now and ends. Raises: what ended it earlier, or what it is stalled by."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        delay_s = self._retry_s
        while True:
            stored = self._state.stored
            try:
                self._follow()
            except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to; `stop` and the health page tell
                cause = _root(error)
                traceback.clear_frames(error.__traceback__)  # they hold the journal open and the books of the decoder
                if not _may_pass(cause):
                    self._fail(error, cause)
                    return
                if self._state.stored > stored:
                    delay_s = self._retry_s
                self._become("stalled", reason=str(cause))
                self._stalled_at = self._state.stored
                log.warning("storing stalled", channel=self._channel, reason=str(cause), retry_in_s=delay_s)
                if not self._wait_for_room(delay_s):
                    self._fail(error, cause)
                    return
                delay_s = min(2 * delay_s, _RETRY_LONGEST_S)
                self._become("starting")
            else:
                self._become("stopped")
                return

    def _follow(self) -> None:
        journal_id = _wait_for(self._journal, self._stop)
        if journal_id is None:
            return
        with StorageWriter(self._data, self._channel, journal=journal_id, options=self._writer) as writer:
            decoder = begin(self._data, self._venue, self._journal, writer)
            behind = decoder.sequence
            source = JournalSource(self._journal, self._channel, behind)
            snapshots = None
            if self._snapshots is not None:
                snapshots = FeedSnapshots(self._data, decoder, source, self._snapshots)
            self._become("starting", position=behind, stored=writer.position)
            Follower(source, decoder, writer, self._options, self._noted, position=behind, snapshots=snapshots).follow(
                self._stop
            )

    def _wait_for_room(self, delay_s: float) -> bool:
        """True when it is worth trying again; False when stopped first."""
        state = self._state
        size_bytes = _ROOM_LEAST_BYTES + _ROOM_PER_MESSAGE_BYTES * max(0, state.position - state.stored)
        while not self._stop.wait(delay_s):
            if _has_room(self._data, size_bytes):
                return True
            delay_s = min(2 * delay_s, _RETRY_LONGEST_S)
        return False

    def _noted(self, progress: Progress) -> None:
        if self._stalled_at is not None and progress.stored > self._stalled_at:
            log.info("storing goes on", channel=self._channel, stored=progress.stored)
            self._stalled_at = None
        status: _Status = "following" if progress.caught_up else "starting"
        self._become(status, position=progress.position, stored=progress.stored)

    def _fail(self, error: BaseException, cause: BaseException) -> None:
        self._failed = error
        self._become("failed", reason=str(cause))
        log.error("storing stopped", channel=self._channel, reason=str(cause))

    def _become(
        self,
        status: _Status,
        *,
        reason: str = "",
        position: int | None = None,
        stored: int | None = None,
    ) -> None:
        self._state = StoringState(
            status=status,
            position=self._state.position if position is None else position,
            stored=self._state.stored if stored is None else stored,
            reason=reason,
        )


def _root(error: BaseException) -> BaseException:
    """What a writer failed by first: later calls say only that it has."""
    while isinstance(error.__cause__, TidebookError):
        error = error.__cause__
    return error


def _may_pass(error: BaseException) -> bool:
    number = error.facts.get("errno") if isinstance(error, TidebookError) else getattr(error, "errno", None)
    return number in _MAY_PASS


def _has_room(directory: Path, size_bytes: int) -> bool:
    """Whether a file of this size and a few descriptors could be had now. Leaves nothing behind."""
    held: list[int] = []
    try:
        held.append(os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        os.posix_fallocate(held[0], 0, size_bytes)
        held += [os.open(directory, os.O_RDONLY | os.O_CLOEXEC) for _ in range(_DESCRIPTORS_NEEDED)]
    except OSError as error:  # any other, as of a file system without unnamed files: then trying is the test
        return error.errno not in _MAY_PASS
    finally:
        for descriptor in held:
            os.close(descriptor)
    return True


def _wait_for(journal: Path, stop: threading.Event) -> str | None:
    """Id of the journal once it is there; None when stopped first."""
    while True:
        try:
            return journal_identity(journal)
        except JournalAbsentError:
            if stop.wait(_JOURNAL_POLL_S):
                return None


def journal_identity(journal: Path) -> str:
    """The text by which a store remembers which journal its positions belong to. Raises: JournalAbsentError."""
    return f"{inspect(journal).journal_id:016x}"


def stored_position(data: Path, channel: str) -> int:
    """Sequence of `channel` up to which a data directory has everything stored; 0 without a store."""
    return Manifest(data, Disk()).position(channel) if data.is_dir() else 0

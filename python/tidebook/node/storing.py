"""Storing a feed while it lives: a thread that follows its durable raw journal into the store.

It shares nothing with the engine but the journal's files, so however slow a disk is, market data does not wait. After
a crash it goes on from the position that is committed with the rows.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tidebook._core import FeedDecoder, JournalReader
from tidebook.errors import JournalAbsentError
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


class JournalSource:
    """The durable messages of a journal, from the first."""

    def __init__(self, directory: Path, channel: str) -> None:
        self._reader = JournalReader(directory, channel=channel)

    def read(self) -> tuple[int, Payloads] | None:
        """Sequence of the first message and the next few; None when all that is durable was read."""
        return self._reader.next()


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
    ) -> None:
        self._data = data
        self._writer = writer
        self._venue = venue
        self._journal = journal
        self._channel = channel
        self._options = options
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="storage-follower", daemon=True)
        self.progress: Progress | None = None
        """How far it has come; None before its first work."""

    def start(self) -> None:
        """Begins to follow."""
        self._thread.start()

    @property
    def failure(self) -> BaseException | None:
        """What ended it, if it failed: storing stopped, capture goes on."""
        return self._failed

    def stop(self) -> None:
        """Stores what is durable by now and ends. Raises: what ended it earlier."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to; `stop` and the health page tell
            self._failed = error
            log.error("storing stopped", channel=self._channel, reason=str(error))

    def _follow(self) -> None:
        journal_id = _wait_for(self._journal, self._stop)
        if journal_id is None:
            return
        source = JournalSource(self._journal, self._channel)
        with StorageWriter(self._data, self._channel, journal=journal_id, options=self._writer) as writer:
            Follower(source, FeedDecoder(self._venue), writer, self._options, self._noted).follow(self._stop)

    def _noted(self, progress: Progress) -> None:
        self.progress = progress


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

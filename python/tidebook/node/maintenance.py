"""What a node does for its data directory while it works: old history removed by rule, room on the disk watched.

A thread of low urgency looks once a minute. Raw messages stay unless `keep_capture_h` says for how long: then a raw journal that has
grown beyond `compaction_threshold` loses, from its front and in whole segments, the messages whose rows are stored, that two
snapshots cover which a start could begin behind, and that are older. What any of these needs stays, and while there are no such
snapshots all stays, because a start would need it. Nothing is removed while a backup is made. What keeps a journal above the threshold is
told once. The journal of the node's own venue goes by a rule of its own (`[venue] keep`). Whatever a look fails with is told, counted, and tried again by the next: the thread ends when the node does.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tidebook.errors import OperationError
from tidebook.node.snapshot_files import newest_checkpoint_ns, newest_snapshot, newest_verified
from tidebook.observe.logs import logger
from tidebook.persistence import compact, first_to_keep, inspect
from tidebook.persistence.data_directory import MAINTENANCE_LOCK
from tidebook.persistence.file_lock import locked
from tidebook.persistence.files import files_in
from tidebook.transport.journal import JOURNAL_CONSUMER
from tidebook.transport.keeping import is_above, ring_consumers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tidebook.transport.keeping import Kept

log = logger("node.maintenance")

SNAPSHOTS_NEEDED: Final = 2
_NEARLY_FULL: Final = "the disk is nearly full: free some, or storing stalls and then capture ends"
_FILLS: Final = "the disk will be full within an hour at the speed of the last minutes: free some, or storing stalls and then capture ends"
LEAST_FREE_BYTES: Final = 2 << 30
"""Below this the disk is called nearly full, however slowly it fills."""
LEAST_FREE_S: Final = 3_600.0
"""So is one that will be full within this time at the speed of the last minutes."""

KEPT_UNASKED: Final = "keep_capture_h is not set, so no message goes"

_LOOKS_REMEMBERED: Final = 10
_READY_POLL_S: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class MaintenanceOptions:
    """When history may go."""

    threshold_bytes: int = 1 << 30
    """A journal up to this size is left alone."""
    keep_s: float | None = None
    """Messages that are younger stay, whatever else is so; None: all stay. Once the first are gone, a start needs a snapshot that
    its build can load, and one of a later build is none: so nobody's history goes unasked."""
    interval_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class KeptJournal:
    """A journal that is looked after: of a feed, or that of `orders`."""

    channel: str
    journal: Path
    stored: Callable[[], int]
    """Last message whose rows are stored."""
    snapshots: Callable[[], Sequence[int]]
    """Sequences of the snapshots of its state that a start could begin behind."""
    ready: Callable[[], bool] = lambda: True
    """Whether it has come up: before that nothing counts as stored."""
    kept_by: str = ""
    """Why nothing of it goes, whatever the settings say; empty when something may."""
    ask: Callable[[], None] = lambda: None
    """Asks others what they need, before the lock that backups wait for is taken: an answer may take seconds."""
    own_rule: Callable[[], Kept] | None = None
    """Removes what may go by a rule of its own, which is asked whatever `keep_s` is."""


@dataclass(frozen=True, kw_only=True)
class JournalUpkeep:
    """What was done for one journal since the node began."""

    size_bytes: int = 0
    first_sequence: int = 0
    compactions: int = 0
    """Times something was removed."""
    removed_bytes: int = 0
    failures: int = 0
    """Looks at it that failed."""
    kept_by: str = ""
    """Why a journal above the threshold is not shortened; empty when it is, or need not be."""


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """How the directory stands."""

    free_bytes: int = 0
    full_in_s: float | None = None
    """When its disk will be full at the speed of the last minutes; None when it is not filling."""
    nearly_full: bool = False


@dataclass(frozen=True, kw_only=True)
class Ages:
    """When a channel was last made safe against a long way back; ns since 1970 UTC, None for never."""

    snapshot_ns: int | None = None
    """The newest snapshot that verifies was taken."""
    checkpoint_ns: int | None = None
    """A reader stored a checkpoint or its cursor."""


class Maintenance:
    """The thread. Threads: what it found may be asked for from any."""

    def __init__(
        self,
        data: Path,
        feeds: Sequence[KeptJournal],
        options: MaintenanceOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds that never go back."""
        self._data = data
        self._feeds = feeds
        self._options = options or MaintenanceOptions()
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)
        self._looks: deque[tuple[float, int]] = deque(maxlen=_LOOKS_REMEMBERED)
        self._told: dict[str, str] = {}
        self.upkeep = Upkeep()
        """As of the last look."""
        self.journals = {feed.channel: JournalUpkeep() for feed in feeds}
        """The same of each channel."""
        self.ages = {feed.channel: Ages() for feed in feeds}
        """The same."""
        self._newest: dict[str, int | None] = {}

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the look in hand."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """One look at everything. What fails is told once and tried again by the next."""
        self._look_at_room()
        self._look_at_journals()

    def _look_at_room(self) -> None:
        try:
            self._look_at_disk(shutil.disk_usage(self._data).free)
        except Exception as error:  # noqa: BLE001 - as below
            self._tell_once("disk", "the room on the disk is unknown", reason=str(error) or repr(error))

    def _look_at_journals(self) -> None:
        for feed in self._feeds:
            try:
                self._look_at_ages(feed)
                self._look_at_journal(feed)
            except Exception as error:  # noqa: BLE001 - an end of this thread would be seen when the disk is full
                done = self.journals[feed.channel]
                self.journals[feed.channel] = replace(done, failures=done.failures + 1)
                reason = str(error) if isinstance(error, (OSError, OperationError)) else repr(error)
                self._tell_once(feed.channel, "a journal cannot be maintained", channel=feed.channel, reason=reason)

    def _run(self) -> None:
        """A feed that does not come up keeps the others waiting for one interval and no longer."""
        self._look_at_room()
        last = self._clock() + self._options.interval_s
        while not self._are_ready() and self._clock() < last:
            if self._stop.wait(_READY_POLL_S):
                return
        self._look_at_journals()
        while not self._stop.wait(self._options.interval_s):
            self.look()

    def _are_ready(self) -> bool:
        try:
            return all(feed.ready() for feed in self._feeds)
        except Exception as error:  # noqa: BLE001 - as above; what it needs of that feed, the look asks again
            self._tell_once("ready", "whether all feeds have come up is unknown", reason=repr(error))
            return True

    def _look_at_disk(self, free_bytes: int) -> None:
        now = self._clock()
        self._looks.append((now, free_bytes))
        (began, had_bytes), full_in_s = self._looks[0], None
        if now > began and had_bytes > free_bytes:
            full_in_s = free_bytes * (now - began) / (had_bytes - free_bytes)
        nearly_full = free_bytes < LEAST_FREE_BYTES or (full_in_s is not None and full_in_s < LEAST_FREE_S)
        if nearly_full and not self.upkeep.nearly_full:
            log.warning(
                _NEARLY_FULL if free_bytes < LEAST_FREE_BYTES else _FILLS,
                data=str(self._data),
                free_bytes=free_bytes,
                full_in_s=None if full_in_s is None else round(full_in_s),
            )
        elif self.upkeep.nearly_full and not nearly_full:
            log.info("the disk has room again", data=str(self._data), free_bytes=free_bytes)
        self.upkeep = Upkeep(free_bytes=free_bytes, full_in_s=full_in_s, nearly_full=nearly_full)

    def _look_at_ages(self, feed: KeptJournal) -> None:
        snapshot_ns = self.ages[feed.channel].snapshot_ns
        newest = newest_snapshot(self._data, feed.channel)
        if newest != self._newest.get(feed.channel):  # it is read whole, once
            verified = newest_verified(self._data, feed.channel)
            snapshot_ns = None if verified is None else verified[1]
            self._newest[feed.channel] = newest
        checkpoint_ns = newest_checkpoint_ns(feed.journal)
        self.ages[feed.channel] = Ages(snapshot_ns=snapshot_ns, checkpoint_ns=checkpoint_ns)

    def _look_at_journal(self, feed: KeptJournal) -> None:
        size_bytes = sum(path.stat().st_size for path in files_in(feed.journal, ".segment"))
        done = self.journals[feed.channel]
        if not is_above(feed.journal, size_bytes, self._options.threshold_bytes):
            self._note(feed.channel, done, size_bytes=size_bytes, first_sequence=done.first_sequence)
            return
        keep_s = self._options.keep_s
        if feed.own_rule is not None and not feed.kept_by:
            self._compact_by_own_rule(feed, feed.own_rule, done, size_bytes)
            return
        if keep_s is None or feed.kept_by:
            self._note(feed.channel, done, size_bytes=size_bytes, kept_by=feed.kept_by or KEPT_UNASKED)
            return
        with locked(self._data / MAINTENANCE_LOCK) as got:
            if not got:
                self._note(feed.channel, done, size_bytes=size_bytes, kept_by="a backup is being made")
                return
            self._compact(feed, done, keep_s)

    def _compact_by_own_rule(
        self, feed: KeptJournal, own_rule: Callable[[], Kept], done: JournalUpkeep, size_bytes: int
    ) -> None:
        feed.ask()
        with locked(self._data / MAINTENANCE_LOCK) as got:
            if not got:
                self._note(feed.channel, done, size_bytes=size_bytes, kept_by="a backup is being made")
                return
            kept = own_rule()
        if kept.removed_segments:
            self._tell_removed(
                feed.channel, kept.removed_segments, kept.removed_bytes, kept.first_sequence, kept.size_bytes
            )
        self._note(
            feed.channel,
            done,
            size_bytes=kept.size_bytes,
            first_sequence=kept.first_sequence,
            compactions=done.compactions + bool(kept.removed_segments),
            removed_bytes=done.removed_bytes + kept.removed_bytes,
            kept_by=kept.held_by,
        )

    @staticmethod
    def _tell_removed(channel: str, segments: int, removed_bytes: int, first_sequence: int, size_bytes: int) -> None:
        log.info(
            "journal compacted",
            channel=channel,
            removed_segments=segments,
            removed_bytes=removed_bytes,
            first_sequence=first_sequence,
            size_bytes=size_bytes,
        )

    def _compact(self, feed: KeptJournal, done: JournalUpkeep, keep_s: float) -> None:
        before = inspect(feed.journal)
        stored, snapshots = feed.stored(), list(feed.snapshots())
        rule = f"stored and snapshots {SNAPSHOTS_NEEDED} and age {max(0, round(keep_s))}s"
        keep_from = first_to_keep(feed.journal, rule, snapshots=snapshots, stored=stored)
        reader = _open_reader(feed.journal)
        if reader is not None:
            keep_from = min(keep_from, reader[0])

        def still() -> int:
            # Asked when those who open are told what is about to go.
            reader = _open_reader(feed.journal)
            return keep_from if reader is None else reader[0]

        removed = compact(feed.journal, keep_from, still)
        size_bytes = before.size_bytes - removed.size_bytes
        if removed.removed:
            self._tell_removed(
                feed.channel, len(removed.removed), removed.size_bytes, removed.first_sequence, size_bytes
            )
        kept_by = ""
        if is_above(feed.journal, size_bytes, self._options.threshold_bytes):
            kept_by = _why(before.first_sequence, stored, snapshots)
            if reader is not None and keep_from == reader[0]:
                kept_by = f"{reader[1]} still needs what it has not read"
        self._note(
            feed.channel,
            done,
            size_bytes=size_bytes,
            first_sequence=removed.first_sequence,
            compactions=done.compactions + bool(removed.removed),
            removed_bytes=done.removed_bytes + removed.size_bytes,
            kept_by=kept_by,
        )

    def _note(
        self,
        channel: str,
        done: JournalUpkeep,
        *,
        size_bytes: int,
        first_sequence: int | None = None,
        compactions: int | None = None,
        removed_bytes: int | None = None,
        kept_by: str = "",
    ) -> None:
        self.journals[channel] = JournalUpkeep(
            size_bytes=size_bytes,
            first_sequence=done.first_sequence if first_sequence is None else first_sequence,
            compactions=done.compactions if compactions is None else compactions,
            removed_bytes=done.removed_bytes if removed_bytes is None else removed_bytes,
            failures=done.failures,
            kept_by=kept_by,
        )
        if not kept_by:
            self._told.pop(channel, None)
        # The numbers in it move on and are no news.
        elif self._told.get(channel) != (told := "".join(letter for letter in kept_by if not letter.isdigit())):
            self._told[channel] = told
            log.warning("a journal is above compaction_threshold and is kept", channel=channel, reason=kept_by)

    def _tell_once(self, about: str, what: str, **facts: str) -> None:
        """A line of the log, and no other until there is something else to say."""
        if self._told.get(about) != f"{what}{facts}":
            self._told[about] = f"{what}{facts}"
            log.warning(what, **facts)


def _open_reader(journal: Path) -> tuple[int, str] | None:
    """The first message that is needed by those that have the channel open, and by whom. Who is away is not waited for: a disk that
    fills stops capture, and raw messages go only where somebody said after how long.

    Raises: JournalError and its kinds, ChannelError.
    """
    found = (
        (one["next"], f"consumer {one['name']}" if one["name"] else f"a consumer of process {one['process_id']}")
        for one in ring_consumers(journal)
        if one["alive"] and one["name"] != JOURNAL_CONSUMER
    )
    return min(found, default=None)


def _why(first: int, stored: int, snapshots: Sequence[int]) -> str:
    """What a journal that begins at `first` is kept by."""
    if stored < first:
        return "its rows are not stored yet"
    if len(snapshots) < SNAPSHOTS_NEEDED:
        return f"fewer than {SNAPSHOTS_NEEDED} snapshots of the feed's state would let a start go on without it"
    return "what is left is younger than keep_capture_h, not stored, or not covered by snapshots"

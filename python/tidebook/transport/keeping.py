"""What of a channel's journal stays, and who removes the rest: the process of its producer, while that runs.

The producer's process applies the rule, and no node: a channel needs none, its journal grows while its producer runs and at no other
time, and the rings and stores that show who still reads are this user's own. It does so in a thread of low urgency for all journals of
the process, never in the one that journals: who waits for a sync would wait for directories and other people's stores.

What a reader still needs stays, whatever the rule says, unless it ends with `, even unread`: readers are the consumers that the ring
knows, the cursors that are stored, and every checkpoint that is kept, because each can be recovered by its number. Stores of
checkpoints elsewhere (`open_consumer(..., checkpoints=DIRECTORY)`) and who reads the journal's files without a ring are not known here.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidebook._core import (
    CheckpointStore,
    compact_journal,
    inspect_journal,
    journal_durable_end,
    journal_first_to_keep,
    snapshot_is_of_history,
)
from tidebook.errors import ChannelFormatError, ChannelNotFoundError, JournalLockedError, TidebookError
from tidebook.transport.companions import checkpoints_of, continues, noted_rings
from tidebook.transport.journal import JOURNAL_CONSUMER
from tidebook.transport.keep_rule import FOREVER, KeepPlan, plan_of, spelled
from tidebook.transport.rounds import Rounds
from tidebook.transport.view import ChannelFile, ChannelView, channel_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

INTERVAL_S: Final = 10.0
"""How often a journal is looked at."""
_COMPACTED_FILE = "first"
_HEADER_BYTES = 64
_FIRST_SEQUENCE = slice(32, 40)
"""Of a segment's header: docs/formats/journal.md."""
_SEGMENT = ".segment"
_SNAPSHOT = ".snapshot"
_BY_RULE = "its rule keeps"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Somebody who still needs messages of a journal."""

    what: str
    """For people."""
    first_needed: int
    is_consumer: bool
    """By a cursor; else by a state that was stored."""


def readers(journal: Path, consumers: Iterable[dict[str, Any] | Reader]) -> list[Reader]:
    """Who needs what of a journal: `consumers` as rings show them, or known otherwise, and what is stored beside it; who needs most first.

    Raises: CheckpointError and its kinds for a store that cannot be read: who stands in it is not known then.
    """
    given = list(consumers)
    found = [one for one in given if isinstance(one, Reader)]
    found += [
        Reader(
            what=f"consumer {one['name']}" if one["name"] else f"a consumer of process {one['process_id']}",
            first_needed=one["next"],
            is_consumer=True,
        )
        for one in given
        if not isinstance(one, Reader) and one["name"] != JOURNAL_CONSUMER and (one["name"] or one["alive"])
    ]
    cursors: dict[str, Reader] = {}
    store = CheckpointStore.existing(checkpoints_of(journal))
    for one in [] if store is None else store.list():
        # Its own last message too: the batch with it shows that checkpoint and journal belong together.
        first_needed = max(1, one["sequence"])
        if one["kind"] == "consumer":
            cursors[one["name"]] = Reader(
                what=f"the stored cursor of consumer {one['name']}", first_needed=first_needed, is_consumer=True
            )
        else:
            what = f"checkpoint {one['checkpoint_id']} of state {one['name']}"
            found.append(Reader(what=what, first_needed=first_needed, is_consumer=False))
    return sorted([*found, *cursors.values()], key=lambda reader: reader.first_needed)


def ring_consumers(journal: Path, root: Path | None = None) -> list[dict[str, Any]]:
    """The consumers of all rings that go on with a journal, as shared memory shows them: of every node, and where the journal notes one.

    Raises: JournalError and its kinds; ChannelError for such a ring that cannot be read; OSError for notes that cannot.
    """
    state = inspect_journal(journal)
    files = {file.path.resolve(): file for file in channel_files(root) if file.name == state["channel"]}
    for path in noted_rings(journal):
        files[path.resolve()] = ChannelFile(path.parent.name, state["channel"], path)
    found: list[dict[str, Any]] = []
    for path in sorted(files):
        try:
            # Whoever may write it: a reader that is made up holds back, and nothing else.
            view = ChannelView(files[path], allow_others=True)
        except ChannelNotFoundError:
            continue
        except ChannelFormatError as error:
            if "other_boot" in error.facts:
                continue  # a reboot has ended all that read it
            raise
        if view.info["visible_durable"] and continues(view.info["epoch"], state["journal_id"]):
            found += view.status()["consumers"]
    return found


@dataclass(frozen=True, kw_only=True)
class Kept:
    """How a journal stands by its rule."""

    rule: str
    threshold_bytes: int
    size_bytes: int = 0
    """Of its segments."""
    first_sequence: int = 1
    """The first message it holds."""
    was_compacted: bool = False
    """Messages before that were removed, by a rule or somebody's command."""
    keep_from: int | None = None
    """The first message that the rule keeps; None of a journal up to the threshold, where it is not asked."""
    removed_segments: int = 0
    removed_bytes: int = 0
    """By this process, since it opened the journal."""
    may_go_to: int | None = None
    """The last message of the segments that would go by now, of a journal that was only looked at; None where none would."""
    held_by: str = ""
    """Why a journal above the threshold is no shorter; empty when it need not be."""
    failure: str = ""
    """Why it could not be looked at; tried again by the next look."""
    compacted_by: str = "its producer every ten seconds"
    """Who does it while it runs, for people."""

    @property
    def text(self) -> str:
        """For people, behind what the journal holds; empty where there is nothing to say."""
        said = (
            [f"1 to {self.first_sequence - 1:,} were removed"] if self.was_compacted and self.first_sequence > 1 else []
        )
        if self.rule != FOREVER:
            said.append(f"keeps {spelled(self.rule)}")
        if self.may_go_to is not None:
            said.append(
                f"above its threshold of {self.threshold_bytes:,} bytes, because nobody has compacted it: up to {self.may_go_to:,} "
                f"may go; `tidebook journal compact` does it, and {self.compacted_by}"
            )
        elif self.held_by:
            said.append(f"above its threshold of {self.threshold_bytes:,} bytes, because {self.held_by}")
        if self.failure:
            said.append(f"cannot be compacted: {self.failure}")
        return "; ".join(said)


WrittenOnce = tuple[str, int, int, int]
"""Path, inode, size and time of change of a file that is written once: the same one has the same content."""


def written_once(path: Path) -> WrittenOnce:
    """Raises: FileNotFoundError."""
    status = path.stat()
    return str(path), status.st_ino, status.st_size, status.st_mtime_ns


def judged(journal: Path, plan: KeepPlan, consumers: Callable[[], Iterable[dict[str, Any] | Reader]]) -> Kept:
    """How a journal stands by a plan now; removes nothing. Raises: JournalError and its kinds, CheckpointError, OSError."""
    size_bytes = _size_bytes(journal)
    kept = Kept(
        rule=plan.rule,
        threshold_bytes=plan.threshold_bytes,
        size_bytes=size_bytes,
        first_sequence=inspect_journal(journal)["first_sequence"],
        was_compacted=(journal / _COMPACTED_FILE).exists(),
    )
    if not plan.removes or not is_above(journal, size_bytes, plan.threshold_bytes):
        return kept
    found = _by_rule(journal, plan, consumers, kept, set())
    would_begin_with = _first_behind(journal, found.keep_from or 0)
    return replace(found, may_go_to=None if would_begin_with is None else would_begin_with - 1)


def kept_now(journal: Path, root: Path | None = None) -> Kept:
    """As `judged`, by the rule that stands in the journal and the rings there are; what cannot be looked at is its `failure`."""
    plan = KeepPlan()
    try:
        plan = plan_of(journal)
        return judged(journal, plan, lambda: ring_consumers(journal, root))
    except (TidebookError, OSError) as error:
        return Kept(rule=plan.rule, threshold_bytes=plan.threshold_bytes, failure=str(error))


def compact_by(
    journal: Path,
    plan: KeepPlan,
    consumers: Callable[[], Iterable[dict[str, Any] | Reader]],
    known: set[WrittenOnce] | None = None,
) -> Kept:
    """Removes of a journal what a plan lets go, if it is above the threshold; beside its producer and readers too.

    Who reads is asked twice: to find what may go, and when that is announced, right before it goes, as somebody may have opened since.
    Whoever opens later looks at what is announced. `known` are snapshots that were read whole already, and gets those that are.
    Raises: as `judged`; JournalLockedError while it is compacted or backed up.
    """
    size_bytes = _size_bytes(journal)
    if not plan.removes or not is_above(journal, size_bytes, plan.threshold_bytes):
        return judged(journal, plan, consumers)
    kept = Kept(rule=plan.rule, threshold_bytes=plan.threshold_bytes)
    found = _by_rule(journal, plan, consumers, kept, set() if known is None else known)

    def still() -> int:
        nonlocal found
        found = _held_back(found, plan, readers(journal, consumers()))
        return found.keep_from or 0

    removed = compact_journal(journal, found.keep_from or 0, still)
    size_bytes = _size_bytes(journal)
    return replace(
        found,
        size_bytes=size_bytes,
        first_sequence=removed["first_sequence"],
        was_compacted=(journal / _COMPACTED_FILE).exists(),
        removed_segments=len(removed["removed"]),
        removed_bytes=removed["size_bytes"],
        held_by=found.held_by if is_above(journal, size_bytes, plan.threshold_bytes) else "",
    )


def _by_rule(
    journal: Path,
    plan: KeepPlan,
    consumers: Callable[[], Iterable[dict[str, Any] | Reader]],
    kept: Kept,
    known: set[WrittenOnce],
) -> Kept:
    """With the first message that stays, and what keeps it."""
    snapshots = _snapshots(journal, plan, known)
    # Who reads is asked last, as reading snapshots takes its time: those who are known by now only move on.
    reading = readers(journal, consumers())
    floor = min((reader.first_needed for reader in reading if reader.is_consumer), default=None)
    keep_from = journal_first_to_keep(
        journal,
        plan.conditions,
        now_ns=time.time_ns(),
        snapshots=snapshots,
        consumers_floor=None if floor is None else floor - 1,
    )
    held_by = f"{_BY_RULE} message {keep_from:,} and what follows, and its two newest segments stay"
    return _held_back(replace(kept, keep_from=keep_from, held_by=held_by), plan, reading)


def _held_back(found: Kept, plan: KeepPlan, reading: Sequence[Reader]) -> Kept:
    """The same, or with what a reader needs of it, if one does and the plan heeds it."""
    heeded = [reader for reader in reading if plan.spares_readers or (reader.is_consumer and plan.counts_consumers)]
    if not heeded or found.keep_from is None or heeded[0].first_needed > found.keep_from:
        return found
    first_needed = heeded[0].first_needed
    return replace(found, keep_from=first_needed, held_by=f"{heeded[0].what} still needs message {first_needed:,}")


def _first_behind(journal: Path, keep_from: int) -> int | None:
    """The first message of a journal once its segments before `keep_from` are gone; None where it stays as it is."""
    segments = sorted(journal.glob(f"*{_SEGMENT}"))
    found = None
    for path in segments[1 : max(1, len(segments) - 1)]:
        try:
            with path.open("rb") as segment:
                header = segment.read(_HEADER_BYTES)
        except FileNotFoundError:
            continue  # removed meanwhile
        first = int.from_bytes(header[_FIRST_SEQUENCE], "little")
        if first > keep_from:
            break
        found = first
    return None if found is None or found <= 1 else found


def _size_bytes(journal: Path) -> int:
    """Of all segments, those that go meanwhile left out. Raises: OSError."""
    size_bytes = 0
    with os.scandir(journal) as entries:
        for entry in entries:
            if entry.name.endswith(_SEGMENT):
                try:
                    size_bytes += entry.stat().st_size
                except FileNotFoundError:
                    continue
    return size_bytes


def is_above(journal: Path, size_bytes: int, threshold_bytes: int) -> bool:
    """Whether what a journal's segments hold is more than a threshold: what their files have, less the room that the newest has for what is to come.

    Raises: JournalError and its kinds.
    """
    if size_bytes <= threshold_bytes:
        return False
    end = journal_durable_end(journal)
    if end is None:
        return False
    segment, used_bytes, _ = end
    try:
        room_bytes = (journal / f"{segment:010}{_SEGMENT}").stat().st_size - used_bytes
    except FileNotFoundError:
        return True  # compaction has removed it since, so there are newer ones
    return size_bytes - room_bytes > threshold_bytes


def _snapshots(journal: Path, plan: KeepPlan, known: set[WrittenOnce]) -> list[int]:
    """Sequences of the snapshots that cover the journal: of several states those of the one that is covered least.

    Raises: SnapshotMismatchError for one that contradicts the journal; OSError.
    """
    if "snapshots" not in plan.conditions or plan.snapshots is None:
        return []
    needed = int(plan.conditions.split("snapshots ", 1)[1].split(" ", 1)[0])
    covered = [_covering(journal, place, names, needed, known) for place, names in _stores(plan.snapshots)]
    if not all(len(sequences) >= needed for sequences in covered):
        return []
    return min(covered, key=min, default=[])


def _stores(place: Path) -> list[tuple[Path, list[str]]]:
    """Each directory below with snapshots in it, and their names."""

    def refuse(error: OSError) -> None:
        raise error

    walked = os.walk(place, onerror=refuse, followlinks=True) if place.is_dir() else []
    found = [(Path(at), [name for name in names if name.endswith(_SNAPSHOT)]) for at, _, names in walked]
    return [(at, names) for at, names in found if names]


def _covering(journal: Path, place: Path, names: Sequence[str], needed: int, known: set[WrittenOnce]) -> list[int]:
    """The newest that are whole and of the journal's history, as many as are needed."""
    sequences = [int(name[: -len(_SNAPSHOT)]) for name in names if name[: -len(_SNAPSHOT)].isdecimal()]
    found: list[int] = []
    for name, sequence in sorted(zip(names, sequences, strict=False), key=lambda pair: -pair[1]):
        if len(found) == needed:
            break
        try:
            file = written_once(place / name)
        except FileNotFoundError:
            continue  # rotated away, so there are newer ones
        if file not in known and not snapshot_is_of_history(journal, place, sequence):
            continue
        known.add(file)
        found.append(sequence)
    return found


class Keeping:
    """One journal that this process runs, looked after while it is open."""

    def __init__(self, channel: str, journal: Path, plan: KeepPlan) -> None:
        """Nothing is looked at yet."""
        self._channel = channel
        self._journal = journal
        self._plan = plan
        self._lock = threading.Lock()
        self._known: set[WrittenOnce] = set()
        self._is_open = True
        self._process_id = os.getpid()
        self._told = ""
        self.kept = Kept(rule=plan.rule, threshold_bytes=plan.threshold_bytes)
        """As of the last look."""

    def begin(self) -> None:
        """Looks from now on, but not at once: after a reboot those come back first whose cursor was stored nowhere."""
        compactor.add(self, INTERVAL_S)

    def look(self) -> Kept:
        """Removes what may go. What fails stands in `kept.failure` and is tried again by the next look."""
        if os.getpid() != self._process_id:
            return self.kept
        with self._lock:
            if not self._is_open:
                return self.kept
            before = self.kept
            try:
                kept = compact_by(self._journal, self._plan, self._consumers, self._known)
                self.kept = replace(
                    kept,
                    removed_segments=before.removed_segments + kept.removed_segments,
                    removed_bytes=before.removed_bytes + kept.removed_bytes,
                )
                if kept.removed_segments:
                    _log.info(
                        "channel %s: %d segments of its journal (%d bytes) were removed by its rule, %s; it begins with message %d",
                        self._channel,
                        kept.removed_segments,
                        kept.removed_bytes,
                        kept.rule,
                        kept.first_sequence,
                    )
            except JournalLockedError:
                self.kept = replace(before, failure="a backup is being made, or somebody else compacts it")
            except (TidebookError, OSError) as error:
                self.kept = replace(before, failure=str(error))
            return self.kept

    def _consumers(self) -> list[dict[str, Any]]:
        """Of every node: a reader of a ring that another node has made of this journal needs it as much."""
        return ring_consumers(self._journal)

    def tell(self) -> None:
        """Logs what keeps it above the threshold, once: the numbers in it move on and are no news."""
        why = self.kept.failure or self.kept.held_by
        told = "".join(letter for letter in why if not letter.isdigit())
        if why and told != self._told:
            level = logging.INFO if why == self.kept.held_by and why.startswith(_BY_RULE) else logging.WARNING
            _log.log(level, "channel %s: its journal is above its compaction_threshold: %s", self._channel, why)
        self._told = told

    def close(self) -> None:
        """No look begins after this, and the one in hand has ended. In a forked child, where none ever begins, nothing."""
        compactor.remove(self)
        if os.getpid() == self._process_id:
            with self._lock:
                self._is_open = False


def _look_after(keeping: Keeping) -> None:
    keeping.look()
    keeping.tell()


compactor = Rounds("tidebook-compaction", _look_after)
"""Looks at all journals of this process now and then."""

"""The snapshots of a channel's states in a data directory: which a start can begin behind, and what they prove.

There is one question, whoever asks it: can a start begin here? `usable_snapshots` and `find_start` ask the code that begins, so a
snapshot that verifies but that this build cannot load, or that is not of this journal's history, counts for nothing. Maintenance
removes, and backup, restore and drill promise, on this answer alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tidebook._core import CheckpointStore, FeedDecoder, usable_feed_snapshots, venues
from tidebook.errors import JournalAbsentError, SnapshotError
from tidebook.node.directory import channel_of, checkpoints_file, journal_directory, snapshots_directory
from tidebook.persistence import inspect
from tidebook.persistence.snapshots import stores

if TYPE_CHECKING:
    from pathlib import Path

    from tidebook.persistence import SnapshotFacts, SnapshotStore

_SEQUENCE_MAX = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a feed would be taken up."""

    behind: int
    """Message of the snapshot it begins behind; 0: it begins with its first message."""
    refused: list[str] = field(default_factory=list)
    """Why newer snapshots cannot be used."""


def feed_venue(channel: str) -> str | None:
    """The venue whose feed a channel is; None of one whose states only its owner can load."""
    return next((venue for venue in venues().values() if channel_of(venue) == channel), None)


def find_start(data: Path, channel: str, sequence_max: int = _SEQUENCE_MAX) -> Start:
    """Where a start would take up the feed `channel` with what lies in `data` now. Loads a snapshot.

    `sequence_max` is how far rows reach, for storage: it begins behind no snapshot that is ahead of them. A channel that is no
    feed has no state that a node makes: nothing is asked of it.
    Raises: SnapshotError, saying what to do, when there is nothing to begin with; SnapshotMismatchError for a snapshot that
            contradicts the journal; JournalError.
    """
    venue = feed_venue(channel)
    if venue is None:
        return Start(behind=0)
    decoder, refused = FeedDecoder.begin(
        venue, journal_directory(data, channel), snapshots_directory(data), sequence_max
    )
    return Start(behind=decoder.sequence, refused=refused)


def usable_snapshots(data: Path, channel: str, count: int, sequence_max: int = _SEQUENCE_MAX) -> list[int]:
    """Sequences, rising, of the newest `count` snapshots up to `sequence_max` that a start could begin behind.

    Fewer where there are fewer; none of a channel with a kind of state that a node cannot load, since nobody here can say that
    a start would. Loads them. Raises: SnapshotMismatchError for one that contradicts the journal; JournalError; OSError.
    """
    venue = feed_venue(channel)
    if venue is None or any(store.kind != channel for store in _stores(data, channel)):
        return []
    try:
        found, _ = usable_feed_snapshots(
            venue, journal_directory(data, channel), snapshots_directory(data), sequence_max, count
        )
    except JournalAbsentError:
        return []
    return found


def newest_snapshot(data: Path, channel: str) -> int | None:
    """Sequence of the newest there is by its name, verified or not; None without one."""
    return max((sequence for store in _stores(data, channel) for sequence in store.sequences()), default=None)


def newest_verified(data: Path, channel: str) -> tuple[int, int] | None:
    """Message and time (ns since 1970 UTC) of the newest snapshot that verifies, of the kind of state that has the least.

    None where a kind has none. For a look only: that one verifies does not say that a start can begin behind it. Reads every byte
    of it. Raises: JournalError; OSError.
    """
    try:
        journal_id = inspect(journal_directory(data, channel)).journal_id
    except JournalAbsentError:
        return None
    found = []
    for store in _stores(data, channel):
        newest = _newest_verified(store, journal_id)
        if newest is None:
            return None
        found.append((newest.place.sequence, newest.created_ns))
    return min(found, default=None)


def newest_checkpoint_ns(journal: Path) -> int | None:
    """When (ns since 1970 UTC) a reader of a channel last stored a checkpoint or its cursor; None where none did.

    Raises: CheckpointError and its kinds.
    """
    if not checkpoints_file(journal).exists():
        return None
    whole, _ = CheckpointStore(checkpoints_file(journal).parent).survey()
    return max((one["created_ns"] for one in whole), default=None)


def proven_durable(data: Path, channel: str) -> int:
    """Highest sequence of a channel's journal that a snapshot proves to have been on disk; 0 if none does.

    Raises: SnapshotMismatchError when the newest is of another journal.
    """
    journal = journal_directory(data, channel)
    return max((store.proven_durable(journal) for store in _stores(data, channel)), default=0)


def _stores(data: Path, channel: str) -> list[SnapshotStore]:
    return stores(data / "snapshots" / channel)


def _newest_verified(store: SnapshotStore, journal_id: int) -> SnapshotFacts | None:
    for sequence in reversed(store.sequences()):
        try:
            facts = store.verify(sequence)
        except SnapshotError:
            continue  # it is told by who uses snapshots; here it does not count
        if facts.place.journal_id == journal_id:
            return facts
    return None

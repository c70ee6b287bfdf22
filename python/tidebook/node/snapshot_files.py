"""The snapshots of a channel's states in a data directory: which verify, and what they prove.

A snapshot counts when every byte of it verifies and it is of the journal that is there now. Several kinds of states of one
channel each have their own; what is needed of a journal is what the least covered of them needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidebook.errors import JournalAbsentError, SnapshotError
from tidebook.node.directory import journal_directory
from tidebook.persistence import inspect
from tidebook.persistence.snapshots import stores

if TYPE_CHECKING:
    from pathlib import Path

    from tidebook.persistence import SnapshotStore


def newest_snapshot(data: Path, channel: str) -> int | None:
    """Sequence of the newest there is by its name, verified or not; None without one."""
    return max((sequence for store in _stores(data, channel) for sequence in store.sequences()), default=None)


def verified_snapshots(data: Path, channel: str, count: int) -> list[int]:
    """Sequences, rising, of the newest `count` snapshots that verify, of the kind of state that has the least.

    Fewer where there are fewer. Reads every byte of them. Raises: JournalError; OSError.
    """
    try:
        journal_id = inspect(journal_directory(data, channel)).journal_id
    except JournalAbsentError:
        return []
    of_kinds = [_verified(store, journal_id, count) for store in _stores(data, channel)]
    # A kind with fewer than were asked for covers nothing; else the one whose oldest is the oldest.
    return min(of_kinds, key=lambda found: found[0] if len(found) == count else 0, default=[])


def proven_durable(data: Path, channel: str) -> int:
    """Highest sequence of a channel's journal that a snapshot proves to have been on disk; 0 if none does.

    Raises: SnapshotMismatchError when the newest is of another journal.
    """
    journal = journal_directory(data, channel)
    return max((store.proven_durable(journal) for store in _stores(data, channel)), default=0)


def _stores(data: Path, channel: str) -> list[SnapshotStore]:
    return stores(data / "snapshots" / channel)


def _verified(store: SnapshotStore, journal_id: int, count: int) -> list[int]:
    found: list[int] = []
    for sequence in reversed(store.sequences()):
        if len(found) == count:
            break
        try:
            facts = store.verify(sequence)
        except SnapshotError:
            continue  # it is told by who uses snapshots; here it does not count
        if facts.place.journal_id == journal_id:
            found.append(sequence)
    return sorted(found)

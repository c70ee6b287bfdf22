"""The durable history of channels: reading, inspecting and verifying journals; states recovered from them and snapshots.

Writing belongs to the channel's owner (`tidebook._core.JournalWriter`); everything here is safe beside a live writer,
in any process, and holds no lock. What the bytes mean: `docs/formats/journal.md`.
"""

from tidebook.persistence.journal import (
    Compacted,
    ConfigurationChange,
    JournalState,
    VerifiedJournal,
    compact,
    configurations,
    first_to_keep,
    inspect,
    read,
    verify,
)
from tidebook.persistence.recovery import Follower, FollowerStatus, Recovered, RecoveryFacts, recover
from tidebook.persistence.snapshots import Place, Rotation, SnapshotFacts, SnapshotStore, State

__all__ = [
    "Compacted",
    "ConfigurationChange",
    "Follower",
    "FollowerStatus",
    "JournalState",
    "Place",
    "Recovered",
    "RecoveryFacts",
    "Rotation",
    "SnapshotFacts",
    "SnapshotStore",
    "State",
    "VerifiedJournal",
    "compact",
    "configurations",
    "first_to_keep",
    "inspect",
    "read",
    "recover",
    "verify",
]

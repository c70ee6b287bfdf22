"""The durable history of channels: reading, inspecting and verifying journals; states recovered from them and snapshots.

Writing belongs to the channel's owner (`tidebook._core.JournalWriter`); what looks is safe beside a live writer, in any
process, and holds no lock. `compact` removes old segments beside it too; `restore` and `cut` mend a journal nobody
writes. What the bytes mean: `docs/formats/journal.md`.
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
from tidebook.persistence.recovery import (
    Follower,
    FollowerStatus,
    InlineSnapshot,
    Recovered,
    RecoveryFacts,
    recover,
)
from tidebook.persistence.repair import Cut, Diagnosis, Finding, adopt, cut, examine, mark_put_back, restore
from tidebook.persistence.snapshots import Place, Rotation, SnapshotFacts, SnapshotStore, State, place_behind
from tidebook.persistence.stats import JournalStats, SegmentStats, stats

__all__ = [
    "Compacted",
    "ConfigurationChange",
    "Cut",
    "Diagnosis",
    "Finding",
    "Follower",
    "FollowerStatus",
    "InlineSnapshot",
    "JournalState",
    "JournalStats",
    "Place",
    "Recovered",
    "RecoveryFacts",
    "Rotation",
    "SegmentStats",
    "SnapshotFacts",
    "SnapshotStore",
    "State",
    "VerifiedJournal",
    "adopt",
    "compact",
    "configurations",
    "cut",
    "examine",
    "first_to_keep",
    "inspect",
    "mark_put_back",
    "place_behind",
    "read",
    "recover",
    "restore",
    "stats",
    "verify",
]

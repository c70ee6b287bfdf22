"""The durable history of channels: reading, inspecting and verifying journals.

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

__all__ = [
    "Compacted",
    "ConfigurationChange",
    "JournalState",
    "VerifiedJournal",
    "compact",
    "configurations",
    "first_to_keep",
    "inspect",
    "read",
    "verify",
]

"""Looking at a journal from outside: its state, its wholeness, its messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidebook._core import JournalReader, inspect_journal, verify_journal

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator


@dataclass(frozen=True, kw_only=True)
class JournalState:
    """What headers and the newest segment of a journal say."""

    directory: Path
    channel: str
    journal_id: int
    """Tells it from another journal of the same channel."""
    epoch: int
    first_sequence: int
    """First message held; above 1 once compaction dropped some."""
    last_sequence: int
    """Last message that verifies; `first_sequence - 1` if there is none."""
    durable: int
    """Highest sequence proven durable; what lies above was written and never acknowledged."""
    closed: bool
    """The last writer ended by closing: nothing was pending."""
    torn_bytes: int
    """Bytes of writes that never became durable, left by a crash; beside a live writer, a batch being written."""
    segments: int
    size_bytes: int
    """Bytes of all segments as allocated."""


@dataclass(frozen=True, kw_only=True)
class VerifiedJournal(JournalState):
    """A journal whose every batch was read and verifies."""

    messages: int
    batches: int
    batch_size_bytes: int
    """Bytes of the batches."""


def inspect(directory: str | os.PathLike[str]) -> JournalState:
    """State of the journal in `directory`, from its headers and newest segment alone.

    Raises: JournalAbsentError, JournalVersionError; JournalDamagedError as far as these show damage.
    """
    return JournalState(directory=Path(directory), **inspect_journal(directory))


def verify(directory: str | os.PathLike[str]) -> VerifiedJournal:
    """State of the journal in `directory`, after every batch of it was read and verified.

    Raises: JournalDamagedError (facts: segment, offset, sequence) at the first damage; JournalAbsentError.
    """
    return VerifiedJournal(directory=Path(directory), **verify_journal(directory))


def read(directory: str | os.PathLike[str], *, from_sequence: int = 0) -> Iterator[tuple[int, bytes]]:
    """Sequence and payload of every message that is durable now, from `from_sequence` on (0: from the first held).

    Memory: one batch at a time.
    Raises: JournalDamagedError where durable bytes do not verify, after the messages before them; JournalAbsentError;
            JournalError when `from_sequence` was compacted away.
    """
    reader = JournalReader(directory, from_sequence=from_sequence)
    while (found := reader.next(messages_max=1)) is not None:
        first_sequence, payloads = found
        for index in range(len(payloads)):
            yield first_sequence + index, payloads[index]

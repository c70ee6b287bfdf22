"""Looking at a journal from outside: its state, its wholeness, its messages."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidebook._core import (
    JournalReader,
    compact_journal,
    inspect_journal,
    journal_configurations,
    journal_first_to_keep,
    verify_journal,
)
from tidebook.errors import CheckpointEpochError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from tidebook.transport import Cursor


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


@dataclass(frozen=True, kw_only=True)
class ConfigurationChange:
    """What a channel was run with from a message on."""

    segment: int
    first_sequence: int
    """First message under it."""
    created_ns: int | None
    """When, ns since 1970 UTC by the writer's clock; None in version 1 of the format."""
    configuration: str | None
    """JSON as the writer was given it; None where it was given none."""


def configurations(directory: str | os.PathLike[str]) -> list[ConfigurationChange]:
    """What the journal's channel was run with, oldest first: the first that is known, and each change.

    Raises: JournalAbsentError, JournalVersionError; JournalDamagedError for a damaged header.
    """
    return [ConfigurationChange(**facts) for facts in journal_configurations(directory)]


def inspect(directory: str | os.PathLike[str]) -> JournalState:
    """State of the journal in `directory`, from its headers and newest segment alone.

    Raises: JournalAbsentError, JournalVersionError; JournalDamagedError as far as these show damage.
    """
    return JournalState(directory=Path(directory), **inspect_journal(directory))


def verify(directory: str | os.PathLike[str], *, progress: Callable[[int], object] | None = None) -> VerifiedJournal:
    """State of the journal in `directory`, after every batch of it was read and verified.

    `progress` is told how many more messages were verified, from several threads.
    Raises: JournalDamagedError (facts: segment, offset, sequence) at the first damage; JournalAbsentError; what `progress`
            raises, which ends it soon.
    """
    return VerifiedJournal(directory=Path(directory), **verify_journal(directory, progress))


def read(
    directory: str | os.PathLike[str], *, from_sequence: int = 0, from_cursor: Cursor | None = None
) -> Iterator[tuple[int, bytes]]:
    """Sequence and payload of every message that is durable now, from `from_sequence` on (0: from the first held).

    `from_cursor`: from right behind the cursor of a checkpoint instead.
    Memory: one batch at a time.
    Raises: JournalDamagedError where durable bytes do not verify, after the messages before them; JournalAbsentError;
            JournalCompactedError when `from_sequence` was removed, or is while it is read; CheckpointEpochError for a cursor
            of another journal.
    """
    if from_cursor is not None:
        state = inspect(directory)
        epoch = state.epoch << 32 | state.journal_id & 0xFFFFFFFF
        if from_cursor.epoch != epoch:
            raise CheckpointEpochError(
                f"the cursor at message {from_cursor.sequence} of channel {from_cursor.channel} is of another journal than "
                f"{directory} (epoch {from_cursor.epoch}, here {epoch}); read the one it is of, or from a sequence",
                expected=epoch,
                found=from_cursor.epoch,
            )
        from_sequence = from_cursor.sequence + 1
    reader = JournalReader(directory, from_sequence=from_sequence)
    while (found := reader.next(messages_max=1)) is not None:
        first_sequence, payloads = found
        for index in range(len(payloads)):
            yield first_sequence + index, payloads[index]


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """What compaction removed of a journal."""

    removed: list[int]
    """Numbers of the segments."""
    size_bytes: int
    """Bytes of their files."""
    first_sequence: int
    """First message held now."""


def first_to_keep(
    directory: str | os.PathLike[str],
    rule: str,
    *,
    snapshots: Sequence[int] = (),
    consumers_floor: int | None = None,
    stored: int | None = None,
    now_ns: int | None = None,
) -> int:
    """First sequence of the journal that must stay by `rule`: what any of its conditions needs stays.

    `rule` is `forever`, or conditions joined by ` and `: `snapshots 2` (so many verified snapshots cover what goes; with fewer everything stays),
    `consumers`, `stored`, `age 3600s`, `size 1000000` (bytes of newer
    segments). What the caller does not know keeps everything: `snapshots` are sequences of those that were read back and
    verified, `consumers_floor` what all named consumers have consumed, `stored` what rows reach. `now_ns` defaults to the clock.
    Raises: JournalError for a text that is no rule; JournalAbsentError.
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    return journal_first_to_keep(
        directory, rule, now_ns=now_ns, snapshots=list(snapshots), consumers_floor=consumers_floor, stored=stored
    )


def compact(directory: str | os.PathLike[str], keep_from: int, still: Callable[[], int] | None = None) -> Compacted:
    """Removes the oldest segments of a journal, those whose messages all lie before `keep_from`; the newest two always stay.

    `still` is called right before, when consumers that open are told what is about to go, and gives the first message that has to stay
    by then; what it raises is raised, and nothing is removed.

    Safe beside the living writer and readers, in any process, and at any crash. Each removal is durable.
    Raises: JournalLockedError while another process compacts; JournalDamagedError, JournalAbsentError.
    """
    return Compacted(**compact_journal(directory, keep_from, still))

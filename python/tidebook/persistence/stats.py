"""What a journal consists of, counted over every batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidebook._core import journal_stats
from tidebook.persistence.journal import ConfigurationChange

if TYPE_CHECKING:
    import os


@dataclass(frozen=True, kw_only=True)
class SegmentStats:
    """One segment of a journal."""

    segment: int
    first_sequence: int
    created_ns: int | None
    """When it was begun, by the writer's clock; None in version 1 of the format."""
    size_bytes: int
    messages: int
    batches: int
    payload_size_bytes: int
    batch_size_bytes: int
    sync_groups: int
    """Syncs that its batches show, as far as a later batch tells of them."""
    batch_sizes: list[int]
    """Batches of messages by size: entry i counts those of more than 2^(i-1) and up to 2^i bytes."""


@dataclass(frozen=True, kw_only=True)
class JournalStats:
    """A journal, counted; every batch of it verified."""

    channel: str
    first_sequence: int
    last_sequence: int
    durable: int
    size_bytes: int
    segments: list[SegmentStats]
    configurations: list[ConfigurationChange]

    @property
    def messages(self) -> int:
        """Messages held."""
        return sum(one.messages for one in self.segments)

    @property
    def batches(self) -> int:
        """Batches of messages."""
        return sum(one.batches for one in self.segments)

    @property
    def batch_sizes(self) -> dict[int, int]:
        """Batches by size: how many are of at most so many bytes, and of more than half of that."""
        sums = [sum(column) for column in zip(*(one.batch_sizes for one in self.segments), strict=True)]
        return {1 << bits: count for bits, count in enumerate(sums) if count}

    @property
    def rates(self) -> list[float | None]:
        """Messages a second of each segment, by the times of it and the next; None where they do not tell."""
        times = [one.created_ns for one in self.segments]
        found: list[float | None] = []
        for one, begun, ended in zip(self.segments, times, [*times[1:], None], strict=True):
            lasted = ended - begun if begun is not None and ended is not None else 0
            found.append(one.messages / lasted * 1e9 if lasted > 0 else None)
        return found


def stats(directory: str | os.PathLike[str]) -> JournalStats:
    """Messages, batches, sizes, syncs and configurations of a journal. Safe beside a living writer.

    Raises: JournalDamagedError at the first damage; JournalAbsentError.
    """
    facts = journal_stats(directory)
    return JournalStats(
        channel=facts["channel"],
        first_sequence=facts["first_sequence"],
        last_sequence=facts["last_sequence"],
        durable=facts["durable"],
        size_bytes=facts["size_bytes"],
        segments=[SegmentStats(**one) for one in facts["segments"]],
        configurations=[ConfigurationChange(**one) for one in facts["configurations"]],
    )

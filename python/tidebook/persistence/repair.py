"""Mending damaged journals, by somebody's choice and never by itself.

Nothing is destroyed: what is replaced or taken out is kept in the directory `quarantine` of the journal. A torn tail is no damage:
the next opening goes on behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidebook._core import adopt_journal, cut_journal, examine_journal, mark_journal_put_back, restore_journal

if TYPE_CHECKING:
    import os


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One damaged segment."""

    segment: int
    offset: int
    """First byte of it that cannot be trusted."""
    sequence: int
    """First message that cannot be read; 0 if its number is not known."""
    damage: str
    """What shows it."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What a whole look at a journal found."""

    directory: Path
    first_sequence: int
    last_good: int
    """Last message before the first damage: where a cut goes on."""
    last_known: int
    """Highest sequence that anything shows to have been there."""
    torn_bytes: int
    """Behind a journal without damage: bytes that never became durable. They need no repair."""
    cut_begun: bool
    """A cut was begun and ended on its way: the same cut finishes it, `restore` of all that is damaged undoes it."""
    findings: list[Finding]
    """The first damage of each damaged segment; none for a journal that opens."""

    @property
    def lost_by_cutting(self) -> int:
        """Messages a cut gives up, as far as anything shows that they were there."""
        return max(0, self.last_known - self.last_good)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What a cut left."""

    last_sequence: int
    next_sequence: int
    """First message from here on: no number that a lost message had is given again."""
    lost: int
    """Messages given up, as far as anything shows that they were there."""
    quarantined: list[Path]
    epoch: int
    """Of the messages from here on: one more, so that a cursor behind the cut is known for what it is."""


def examine(directory: str | os.PathLike[str], evidence: int = 0) -> Diagnosis:
    """What is damaged in a journal, past the first damage too; changes nothing.

    A journal that ends before `evidence`, the last message that anything else shows to have been durable, is damaged.

    Raises: JournalAbsentError, JournalVersionError. Damage is in the answer.
    """
    facts = examine_journal(directory, evidence)
    findings = [Finding(**finding) for finding in facts.pop("findings")]
    return Diagnosis(directory=Path(directory), findings=findings, **facts)


def restore(directory: str | os.PathLike[str], source: str | os.PathLike[str]) -> dict[int, str | None]:
    """Puts each damaged segment back from the one of that number in `source`, if it verifies and fits; nothing is lost.

    Gives, for each damaged segment, None or why the copy was refused.
    Raises: JournalLockedError while the journal is written; JournalError when nothing is damaged.
    """
    return dict(restore_journal(directory, source))


def cut(directory: str | os.PathLike[str], sequence: int, evidence: int = 0) -> Cut:
    """Makes a damaged journal end with message `sequence`, which must be `Diagnosis.last_good`, and keeps what follows aside.

    The next message is numbered behind all that the journal shows and `evidence`, the last one that anybody else knows.
    Raises: JournalError for any other sequence, or when nothing is damaged; JournalLockedError while it is written;
            JournalDamagedError when not even its oldest header verifies.
    """
    return Cut(**cut_journal(directory, sequence, evidence))


def mark_put_back(directory: str | os.PathLike[str]) -> None:
    """Says, durably, that a journal was put back from a copy: its next start takes a new epoch and not the numbers of other messages.

    Behind the copy's end messages may have been acknowledged that are lost with the original; who noted their numbers must not
    take others for them. A start with a ring that still has all of them keeps the epoch.
    Raises: JournalError when that cannot be written.
    """
    mark_journal_put_back(directory)


def adopt(directory: str | os.PathLike[str]) -> None:
    """Takes a journal for the one that was written last, though its files are copies: its next start keeps the epoch.

    For who has moved it to another disk or machine, whole, and written nothing in its old place since. An older copy that is adopted
    gives numbers a second time in one epoch.
    Raises: JournalAbsentError; JournalLockedError while it is written; JournalError.
    """
    adopt_journal(directory)

"""The venue as the journaled commands make it: executions are derived again, not read.

The channel `executions` is memory and may be gone; `orders` is durable, and the same commands give the same executions everywhere. A start
begins behind the newest snapshot of the venue that the rows have reached, where a node has taken one, else with the first command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from tidebook._core import inspect_journal
from tidebook.audit.source import Source
from tidebook.audit.writer import Position, digest
from tidebook.errors import AuditError, AuditMismatchError
from tidebook.venue import Venue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tidebook.venue import Records


class Replica:
    """A venue that only ever takes commands of `orders`."""

    def __init__(self, venue: Venue, position: Position) -> None:
        """Of a venue that is as far."""
        self._venue = venue
        self.position = position
        """How far it is."""

    @classmethod
    def behind(
        cls,
        position: Position,
        journal: Path,
        snapshots: Path | None = None,
        database: str = "",
        progress: Callable[[int], object] = lambda _: None,
    ) -> Self:
        """The venue as of rows that are there, with the room that its journal was begun with.

        `progress` is told the next command now and then; what it raises ends the work.
        Raises: AuditMismatchError where the journal is not the one that the rows are of; JournalError and its kinds; SnapshotError;
                StateError.
        """
        if position.sequence > 0:
            with Source(journal, position.sequence - 1) as source:
                last = source.read(1)
            if last is None:
                raise _mismatch(position, database, "the journal ends before it")
            if digest(last[1]) != position.digest:
                raise _mismatch(position, database, "this journal has another command there")
        first = 0 if position.sequence else _first_of(journal)
        if first > 1:
            raise AuditError(
                f"orders begins with command {first} and the audit trail in {database} has no rows of those before: put the trail back "
                "from a copy that reaches so far, or name a database that does; without one set audit.enabled = false",
                database=database,
                sequence=first,
            )
        kept = snapshots if snapshots is not None and snapshots.is_dir() and position.sequence > 0 else None
        venue = Venue.open(journal, snapshots=kept, sequence=position.sequence, history=False, progress=progress)
        if venue.execution_count != position.executions:
            why = f"its commands make {venue.execution_count} executions, not {position.executions}"
            raise _mismatch(position, database, why)
        return cls(venue, position)

    def apply(self, first_sequence: int, commands: Records) -> Records:
        """The executions of the next commands, in order."""
        assert first_sequence == self._venue.sequence + 1, f"{first_sequence} after {self._venue.sequence}"
        executions = self._venue.replay(commands).executions
        self.position = Position(self._venue.sequence, self._venue.execution_count, digest(commands))
        return executions


def _first_of(journal: Path) -> int:
    first: int = inspect_journal(journal)["first_sequence"]
    return first


def _mismatch(position: Position, database: str, why: str) -> AuditMismatchError:
    return AuditMismatchError(
        f"the audit trail in {database} reaches to command {position.sequence}, and {why}: it is of another journal, or of a release "
        "with other rules; `tidebook audit rebuild` derives it again, or name another database",
        database=database,
        sequence=position.sequence,
    )

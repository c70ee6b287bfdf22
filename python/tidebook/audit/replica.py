"""The venue as the journaled commands make it: executions are derived again, not read.

The channel `executions` is memory and may be gone; `orders` is durable, and the same commands give the same executions everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidebook.audit.writer import Position
from tidebook.errors import AuditMismatchError
from tidebook.venue import Venue

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidebook.audit.source import Source
    from tidebook.venue import Records


class Replica:
    """A venue that only ever takes commands of `orders`."""

    def __init__(self) -> None:
        self._venue = Venue(history=False)

    @property
    def position(self) -> Position:
        """How far it is."""
        if self._venue.sequence == 0:
            return Position()
        return Position(self._venue.sequence, self._venue.execution_count, self._venue.state_hash())

    def apply(self, first_sequence: int, commands: Records) -> Records:
        """The executions of the next commands, in order."""
        assert first_sequence == self._venue.sequence + 1, f"{first_sequence} after {self._venue.sequence}"
        return self._venue.replay(commands).executions

    def catch_up(self, source: Source, position: Position, database: str, go_on: Callable[[], bool]) -> bool:
        """Takes all commands up to `position`, whose rows are there; False when `go_on` ended it.

        Raises: AuditMismatchError where that leads elsewhere than the rows; as `Source.read`.
        """
        while self._venue.sequence < position.sequence:
            if not go_on():
                return False
            found = source.read(min(_BATCH, position.sequence - self._venue.sequence))
            if found is None:
                raise _mismatch(
                    position, database, f"the journal ends at command {self._venue.sequence}", self._venue.sequence
                )
            self.apply(*found)
        if self.position != position:
            raise _mismatch(position, database, "this journal leads to another state there", self.position.state_hash)
        return True


_BATCH = 65_536


def _mismatch(position: Position, database: str, why: str, found: int) -> AuditMismatchError:
    return AuditMismatchError(
        f"the audit trail in {database} reaches to command {position.sequence}, and {why}: it is of another journal, or of a release "
        "with other rules; `tidebook audit rebuild` derives it again, or name another database",
        database=database,
        sequence=position.sequence,
        expected=position.state_hash,
        found=found,
    )

"""`Venue`: the matching engine with risk in this process, from arrays.

It is the engine's own state machine, so the same commands give the same executions, the same numbers and the same `state_hash()` here, in
a node, and in a replay. There is no clock in it: the time is that of the commands. Its commands are kept (128 bytes each), of which
`at()` makes former states again; `Venue(history=False)` keeps none.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tidebook._core import Venue as CoreVenue
from tidebook.venue.codes import CommandKind, Session
from tidebook.venue.holdings import Balance, Margin, Position, Shortfall, balances_of, positions_of
from tidebook.venue.layouts import COMMAND, LAYOUTS, Records, as_commands, order_ids_of

Progress = Callable[[int], object]
"""Called now and then with the sequence that comes next; what it raises ends the work."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of submitted commands."""

    commands: Records
    """As `orders` would hold them, in order: with time, verdict, reason, and what risk filled in. Behind a kill switch stands the
    mass cancel that it asks for, which nobody submitted."""
    executions: Records
    """Of `EXECUTION`, in order; `source_sequence` says of which command."""
    risk_events: Records
    """Of `RISK_EVENT`, in order."""
    first_sequence: int
    """Of `commands`, which have no hole between them."""
    sequences: np.ndarray[Any, np.dtype[np.uint64]]
    """Of each submitted command. The order that one places has twice that as its id."""

    @property
    def own(self) -> Records:
        """Those of `commands` that were submitted: as many, in the same order."""
        return self.commands[(self.sequences - np.uint64(self.first_sequence)).astype(np.intp)]

    @property
    def accepted(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which of the submitted commands risk accepted; the venue may still have refused one, with an execution."""
        return np.asarray(self.own["verdict"] == 1)

    @property
    def order_ids(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Ids of the orders that the submitted places made; of a pair the stop's is one more. 0 where nothing was placed."""
        return order_ids_of(self.own, self.sequences)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What journaled commands made happen."""

    executions: Records
    """Of `EXECUTION`, in order."""
    risk_events: Records
    """Of `RISK_EVENT`, as far as risk had seen when the last command was judged."""


class Venue(CoreVenue):
    """Risk and matching of one sequence of commands, in this process.

    `orders_max`, `accounts_max`, `instruments_max` and `ended_ids_max` (client ids of ended orders that are remembered of each account) are
    its room; state hashes depend on it, so who compares them gives the same. `history=False` keeps no commands, and `at()` then has none.
    Threads may share one; each call is whole before the next.
    """

    def submit(self, commands: Any) -> Submitted:
        """Judges and carries out commands in order: an array of `COMMAND` or of a kind's layout, one record, or a list of records.

        Memory: what is given stays as it is; what comes back is read-only. Of many commands at once, `commands` is what this venue keeps
        of them for `at()`, and not a copy of it.
        Blocking: the GIL is released, and Ctrl-C waits for the end.
        Raises: CommandError for what is no array of commands. A command that makes no sense is no error: it is refused, with a reason.
        """
        given = _lent(commands)
        first, judged, executions, risk_events, follow_ups, behind = self._submit(given)
        count = len(judged) + len(behind)
        sequences = np.arange(first, first + count, dtype=np.uint64)
        if behind:
            asked_for = np.isin(sequences, np.array(behind, np.uint64))
            together = np.empty(count, COMMAND)
            together[~asked_for], together[asked_for] = judged, follow_ups
            together.flags.writeable = False
            judged, sequences = together, sequences[~asked_for]
        return Submitted(judged, executions, risk_events, first, sequences)

    def replay(self, commands: Any, *, recheck: bool = False) -> Replayed:
        """Takes in judged commands of a journal of `orders`, the next ones in order, as they are: no rule is asked again.

        `recheck` judges each again and compares all its bytes.
        Raises: CommandError; StateError for the first difference, after which this venue is of no use.
        """
        given = _lent(commands)
        return Replayed(*self._replay(given, recheck))

    def replay_with_tops(self, commands: Any) -> tuple[Replayed, np.ndarray[Any, np.dtype[np.int64]]]:
        """As `replay`, and the best bid and ask of each command's instrument before it was carried out.

        Shape:  int64 (n, 2), price units; -2^63 for an empty side.
        """
        executions, risk_events, tops = self._replay_with_tops(_lent(commands))
        return Replayed(executions, risk_events), np.frombuffer(tops, np.int64).reshape(-1, 2)

    def catch_up(self, sequence: int | None = None, *, progress: Progress | None = None) -> Replayed:
        """Of a venue that was opened from a journal: what has become durable there since, up to `sequence`; nothing of any other.

        Raises: as `open`.
        """
        _, executions, risk_events = self._read_on(sequence, progress)
        return Replayed(executions, risk_events)

    def commands(self, first: int = 1, last: int | None = None) -> Records:
        """Commands from `first` to `last` (None: the newest), as `orders` would hold them; `replay` of another venue takes them.

        Raises: QueryError for sequences that are not kept.
        """
        return self._commands(first, self.sequence if last is None else last)

    # ---- what if -------------------------------------------------------------------------------------------------

    def fork(self) -> Self:
        """Another venue that is the same now and goes its own way; neither sees what the other does.

        Cost: a copy of the state; commands that are kept are shared.
        """
        return type(self)(state=self._fork())

    def at(self, sequence: int, *, progress: Progress | None = None) -> Self:
        """A fork of this venue as it was behind command `sequence`; 0 is before the first.

        One that was opened behind a snapshot reads what was before it from its journal again, behind an older snapshot or from the first command.
        Cost: a copy of the nearest state that was kept before it, and replaying what lies between: at first a million commands at
        most, twice as many each time eight states are kept.
        Raises: QueryError (facts: value, nearest) for a sequence that it does not know the way to; before the snapshot as `open`.
        """
        return type(self)(state=self._at(sequence, progress))

    # ---- files ---------------------------------------------------------------------------------------------------

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Writes a snapshot of all of it into a directory, durably, reads it back and verifies it; its path. Commands are not in it.

        The file is one that nodes write (`docs/formats/snapshot.md`), named after the sequence.
        Raises: SnapshotError and its kinds, also for a venue without a command.
        """
        return self._save(Path(directory), time.time_ns())

    @classmethod
    def load(cls, directory: str | os.PathLike[str], sequence: int | None = None, *, history: bool = True) -> Self:
        """The venue of a snapshot, of `save` or of a node: the newest in the directory, or that of `sequence`. `at()` goes back to it.

        Raises: SnapshotError and its kinds.
        """
        return cls(state=cls._load(Path(directory), sequence, history))

    @classmethod
    def open(
        cls,
        journal: str | os.PathLike[str],
        *,
        snapshots: str | os.PathLike[str] | None = None,
        sequence: int | None = None,
        recheck: bool = False,
        progress: Progress | None = None,
        orders_max: int | None = None,
        accounts_max: int | None = None,
        instruments_max: int | None = None,
        ended_ids_max: int | None = None,
        history: bool = True,
    ) -> Self:
        """The venue that a journal of `orders` describes, behind `sequence` or all that is durable. Reads only; the node may be running.

        `snapshots`: a directory of the node's snapshots, behind the newest of which it begins, if one is usable. `recheck` judges each command
        again and compares. `catch_up()` reads on later. Its room is what the journal says it was begun with, and what is given here where it does not say.
        Raises: JournalError and SnapshotError with their kinds; StateError for a difference or a message that is no command.
        """
        state = cls._open(
            Path(journal),
            None if snapshots is None else Path(snapshots),
            sequence,
            recheck,
            progress,
            orders_max=orders_max,
            accounts_max=accounts_max,
            instruments_max=instruments_max,
            ended_ids_max=ended_ids_max,
            history=history,
        )
        return cls(state=state)

    # ---- what there is -------------------------------------------------------------------------------------------

    def order(self, order_id: int) -> np.void | None:
        """The open order with this id, one record of `OPEN_ORDER`; None if there is none (any more)."""
        found = self._order(order_id)
        return found[0] if len(found) else None

    def session(self, instrument_id: int) -> Session:
        """What trading of an instrument is in; CLOSED if it is unknown."""
        return Session(self._session(instrument_id))

    def definition(self, instrument_id: int) -> np.void | None:
        """The command that would define an instrument as it is, with the present reference price; None if it is unknown."""
        found = self._definition(instrument_id)
        return None if found is None else np.frombuffer(found, LAYOUTS[CommandKind.INSTRUMENT])[0]

    def positions(self, account: int | None = None) -> list[Position]:
        """Of an account, or of all, by account and instrument."""
        return positions_of(self._positions(account))

    def balances(self, account: int | None = None) -> list[Balance]:
        """Of an account, or of all, the venue's fees too (account 0), by account and asset."""
        return balances_of(self._balances(account))

    def margins(self, account: int | None = None) -> list[Margin]:
        """Of a margin account, or of all, by account and quote asset; none of spot accounts."""
        return [Margin(*facts) for facts in self._margins(account)]

    def margin_calls(self) -> list[tuple[int, int]]:
        """Account and asset of every margin call that stands."""
        return self._margin_calls()

    def shortfall(self, command: Any) -> Shortfall | None:
        """Of which asset one command needs more than there is now; None unless it would be refused with `Reason.BALANCE` or `Reason.MARGIN`.

        Raises: CommandError for what is no command.
        """
        facts = self._shortfall(as_commands(command)[:1].tobytes())
        return None if facts is None else Shortfall(*facts)

    def __repr__(self) -> str:
        return (
            f"Venue(sequence={self.sequence}, {len(self.instrument_ids())} instruments, {self.order_count} open orders)"
        )


def _lent(given: Any) -> NDArray[np.uint8]:
    """The bytes of commands where the core can read them: in one piece, and at an address that is a multiple of eight."""
    records = np.require(as_commands(given), requirements=["C"])
    if records.ctypes.data % 8:
        records = records.copy()
    return records.view(np.uint8)

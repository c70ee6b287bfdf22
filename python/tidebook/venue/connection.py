"""A running node's venue, from another process of the same user: the same commands as for `Venue`, over shared memory.

Commands go to `orders.in`, where all who trade are one sequence, and come back on `orders` with their verdicts; what they led to is on
`executions`. A connection finds its own among them by their places on `orders.in`, so nothing of a session is kept anywhere: a process
that ends leaves nothing, and one that comes back asks the node's API for its orders, or uses client ids, of which each makes one order.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from tidebook.errors import ChannelNotFoundError, OrderEntryError, UnconfirmedError, UsageError
from tidebook.transport import Full, Gap, open_channel, open_consumer, open_producer
from tidebook.transport.channel import DEFAULT_NODE
from tidebook.venue import builders
from tidebook.venue.codes import CommandKind, Reason, Verdict, Wait
from tidebook.venue.layouts import COMMAND, EXECUTION, LAYOUTS, Records, as_commands, commands, order_ids_of

if TYPE_CHECKING:
    import os
    from types import TracebackType


_BATCH_MAX: Final = 4_096
_ALL: Final = 1 << 62
_TURN_S: Final = 0.05
"""How long a wait for one of two channels goes on before the other is looked at."""
_TS: Final = struct.Struct("<q")
"""The time of a command, its first field."""


@dataclass(frozen=True, slots=True, repr=False)
class Judged:
    """Commands as they stand on `orders`, in the order in which they were asked for; true if all were accepted.

    What can be known of them by then is called as in `Submitted` and, of one command, as in the outcome that `Venue.place` gives. What
    matching makes of them is not in it (`filled`, `remaining`, and whether it refused one): `Connection.executions` tells that.
    """

    sequences: np.ndarray[Any, np.dtype[np.uint64]]
    """Their places on `orders`. The order that a place made has the id `2 * sequence`."""
    commands: Records
    """With verdict, reason and what risk put in; of `COMMAND`."""

    @property
    def own(self) -> Records:
        """The same as `commands`."""
        return self.commands

    @property
    def accepted(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which of them were carried out. Whether matching then refused one is told by `executions`."""
        accepted: np.ndarray[Any, np.dtype[np.bool_]] = self.commands["verdict"] == Verdict.ACCEPTED
        return accepted

    @property
    def order_ids(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Ids of the orders that places made; of a pair the stop's is one more. 0 where nothing was placed."""
        return order_ids_of(self.commands, self.sequences)

    @property
    def sequence(self) -> int:
        """Of one command on `orders`. Raises: UsageError where they are several, or none."""
        return int(self.sequences[self._only()])

    @property
    def order_id(self) -> int:
        """Of one command: the order that it placed or names; 0 where none was placed. Raises: as `sequence`."""
        at = self._only()
        if self.commands["kind"][at] in (CommandKind.REPLACE, CommandKind.CANCEL):
            return int(self.commands.view(LAYOUTS[CommandKind.CANCEL])["order_id"][at])
        return int(self.order_ids[at])

    @property
    def reason(self) -> int:
        """Of one command: why risk refused it, a `Reason`; 0 where it did not. Raises: as `sequence`."""
        return int(self.commands["reason"][self._only()])

    def _only(self) -> int:
        if len(self.commands) != 1:
            raise UsageError(
                f"these are {len(self.commands)} commands: each has its place in sequences, order_ids and commands",
                count=len(self.commands),
            )
        return 0

    def __bool__(self) -> bool:
        return bool(self.accepted.all())

    def __repr__(self) -> str:
        if len(self.commands) != 1:
            return f"Judged({len(self.commands)} commands, {int(self.accepted.sum())} accepted)"
        if not self:
            return f"Judged(sequence={self.sequence}, refused: {Reason(self.reason).name})"
        return f"Judged(sequence={self.sequence}, order_id={self.order_id})"


class Connection:
    """Commands to a node's venue and what comes of them. Threads: one at a time."""

    def __init__(self, node: str, directory: str | os.PathLike[str] | None) -> None:
        where: Any = {"node": node, "directory": directory}
        try:
            self._producer = open_producer("orders.in", **where)
        except ChannelNotFoundError as error:
            raise OrderEntryError(
                f"node {node!r} has no venue here ({error}); start one with `tidebook run`", node=node
            ) from error
        orders = open_channel("orders", **where)
        if not orders.status()["producer_alive"]:
            self._producer.close()
            raise OrderEntryError(
                f"the venue of node {node!r} does not run: what is sent now might be carried out by its next start; "
                "start it with `tidebook run`",
                node=node,
            )
        self._ring = orders.ring
        self._where = where
        self._orders = open_consumer("orders", start="latest", policy="overwrite", peek=True, **where)
        self._durable = open_consumer("orders", start="latest", policy="overwrite", **where)
        self._executions = open_consumer("executions", start="latest", policy="overwrite", **where)
        self._missed: Gap | None = None
        """Of executions, found behind others and not told yet."""

    def submit(self, asked: Any, *, wait: Wait = "durable", timeout: float = 10.0) -> Judged:
        """Hands commands over, one record of a builder or many, and returns when all are judged.

        wait: `memory`: they are on `orders` in shared memory, which survives the death of processes; `durable`: on disk.
        Raises: CommandError for what are no commands; UsageError for another `wait` and a `timeout` that is none; OrderEntryError when `orders.in` has no room
                (facts: written); UnconfirmedError after `timeout` s: those that were handed over may still be carried out.
        """
        if wait not in ("memory", "durable"):
            raise UsageError(f"wait = {wait!r} is none of memory, durable", wait=wait)
        if not timeout > 0:
            raise UsageError(
                f"timeout = {timeout!r}: commands are handed over and then waited for, so it is a time above 0 s",
                timeout=timeout,
            )
        records = as_commands(asked).copy()
        deadline = time.monotonic() + timeout
        own = self._written(records, deadline)
        judged = Judged(np.zeros(len(records), np.uint64), commands(len(records)))
        while own:
            self._judge(own, judged, deadline)
        if wait == "durable" and len(records):
            self._wait_durable(int(judged.sequences.max()), deadline)
        return judged

    def place(self, *of: Any, wait: Wait = "durable", timeout: float = 10.0, **fields: Any) -> Judged:
        """One order, with the arguments of `tidebook.venue.place`. Raises: as `submit`."""
        return self.submit(builders.place(*of, **fields), wait=wait, timeout=timeout)

    def replace(self, *of: Any, wait: Wait = "durable", timeout: float = 10.0, **fields: Any) -> Judged:
        """Another state of an order, with the arguments of `tidebook.venue.replace`. Raises: as `submit`."""
        return self.submit(builders.replace(*of, **fields), wait=wait, timeout=timeout)

    def cancel(self, *of: Any, wait: Wait = "durable", timeout: float = 10.0, **fields: Any) -> Judged:
        """One order away, with the arguments of `tidebook.venue.cancel`. Raises: as `submit`."""
        return self.submit(builders.cancel(*of, **fields), wait=wait, timeout=timeout)

    def executions(self, *, timeout: float = 0.0, limit: int | None = None) -> Records | Gap:
        """All that happened since the last call, of all accounts, durable commands only; empty when nothing did within `timeout` s.

        It waits for the first and gives what is there by then, at most `limit` of it. What a `submit` led to is there a moment
        behind its answer. The venue waits for nobody: who asks too seldom gets a `Gap` in the place of what was missed, with the
        next call what came behind it, and finds all of it on `orders`.
        Memory: a copy; never more than the ring of `executions` holds.
        Raises: ChannelUsageError for a limit below 1.
        """
        missed, self._missed = self._missed, None
        if missed is not None:
            return missed
        left, found, end = (_ALL if limit is None else limit), list[Records](), 0
        while not found or (left > 0 and self._executions.next_sequence <= end):
            taken = self._executions.poll_batch(min(left, _BATCH_MAX), 0.0 if found else timeout)
            if taken is None:
                break
            if isinstance(taken, Gap):
                if not found:
                    return taken
                self._missed = taken
                break
            with taken as batch:
                found.append(np.array(batch.array, EXECUTION))
            left -= len(found[-1])
            end = end or self._executions.channel.ring.published  # what comes while this reads is for the next call
        return np.concatenate(found) if found else np.zeros(0, EXECUTION)

    def close(self) -> None:
        """Gives its places at the channels free. Orders stay."""
        for endpoint in (self._producer, self._orders, self._durable, self._executions):
            endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _written(self, records: Records, deadline: float) -> dict[int, int]:
        """Place on `orders.in` of each, with its index: one by one, because others may write between two of them."""
        data, size = bytearray(records.tobytes()), COMMAND.itemsize
        own: dict[int, int] = {}
        for index in range(len(records)):
            at = index * size
            # Of each by itself, by which the venue knows one that has waited too long: a batch may take long to hand over.
            _TS.pack_into(data, at, time.time_ns())
            written = self._producer.write(data[at : at + size], timeout=max(0.0, deadline - time.monotonic()))
            if isinstance(written, Full):
                raise OrderEntryError(
                    f"orders.in is full: {index} of {len(records)} commands were handed over; the engine is behind, or does not run",
                    written=index,
                )
            own[written] = index
        return own

    def _judge(self, own: dict[int, int], judged: Judged, deadline: float) -> None:
        """Takes in what has come on `orders`, and waits a little for it."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise UnconfirmedError(
                f"{len(own)} commands were handed over and not judged in time; they may still be carried out",
                source_sequence=min(own),
            )
        taken = self._orders.poll_batch(_BATCH_MAX, min(left, _TURN_S))
        if isinstance(taken, Gap):
            self._read_behind(taken, own, judged, deadline)
        elif taken is not None:
            with taken as batch:
                self._find(batch.first_sequence, batch.array, own, judged)

    def _read_behind(self, gap: Gap, own: dict[int, int], judged: Judged, deadline: float) -> None:
        """What the ring has overwritten is in the journal, now or soon."""
        end = gap.first + gap.count
        with open_consumer("orders", start=gap.first, policy="spill", **self._where) as behind:
            while behind.next_sequence < end and time.monotonic() < deadline:
                taken = behind.poll_batch(_BATCH_MAX, _TURN_S)
                if isinstance(taken, Gap):
                    raise OrderEntryError(f"orders: {taken.count} commands from {taken.first} on are lost")
                if taken is not None:
                    with taken as batch:
                        self._find(batch.first_sequence, batch.array, own, judged)

    def _find(self, first: int, found: Records, own: dict[int, int], judged: Judged) -> None:
        for at, source in enumerate(found["source_sequence"].tolist()):
            index = own.pop(source, None) if source else None
            if index is not None:
                judged.sequences[index] = first + at
                judged.commands[index] = found[at]

    def _wait_durable(self, sequence: int, deadline: float) -> None:
        # Where a consumer stands proves nothing: one that was overtaken beside a slow disk goes on ahead of it.
        while (self._ring.durable if self._ring.visible_durable else self._durable.next_sequence - 1) < sequence:
            left = deadline - time.monotonic()
            if left <= 0:
                raise UnconfirmedError(f"command {sequence} of orders is judged and not on disk yet", sequence=sequence)
            ahead = self._durable.next_sequence > sequence
            taken: Any = self._durable.poll_batch(_BATCH_MAX, min(left, _TURN_S) if ahead else left)
            if taken is not None and not isinstance(taken, Gap):
                taken.release()


def connect(node: str = DEFAULT_NODE, *, directory: str | os.PathLike[str] | None = None) -> Connection:
    """A connection to the venue of a running node of this user, found by the node's name or the directory of its rings.

    Raises: OrderEntryError when no such node has a venue, or it does not run; ChannelError when too many are connected.
    """
    return Connection(node, directory)

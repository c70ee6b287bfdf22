"""Where orders go: the venue that an instrument's name ends with. This is the interface of the exchange engine.

One seam for all venues: who places an order does not know whether it goes to the engine of this node or, later, to an exchange. A
`Destination` takes commands (place, pair, replace, cancel, mass cancel and what an operator asks for) as records of `orders.in`, says what
became of each, tells executions, and whether it is connected. There is one so far, the node's own venue; an order for any other is
refused before anything is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from tidebook.errors import OrderEntryError, UsageError
from tidebook.gateway.names import VENUE
from tidebook.transport import Full, open_producer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tidebook.gateway.following import Judged, OrdersFollower
    from tidebook.gateway.lives import Execution

CHANNEL: Final = "orders.in"


class Destination(Protocol):
    """A venue that takes commands. Threads: one event loop's."""

    @property
    def failure(self) -> str | None:
        """Why it takes no commands any more; None while it is connected."""

    @property
    def still(self) -> str | None:
        """Why it judges nothing now of what it is given, if it does not; that is carried out when it goes on."""

    @property
    def waiting(self) -> int:
        """Commands that it was given and has not answered."""

    def send(self, command: bytes) -> asyncio.Future[Judged]:
        """Hands a command over, at once and whole; how it was judged, with its executions.

        Raises: OrderEntryError when it takes none now; nothing was sent then.
        """

    def listen(self, listener: Callable[[Sequence[Execution]], None]) -> None:
        """Has every execution that is final told to `listener` from now on, in order, whoever's command made it."""


class LocalDestination:
    """The engine of this node, by way of `orders.in`. Threads: one event loop's."""

    def __init__(
        self,
        rings: Path,
        follower: OrdersFollower,
        failure: Callable[[], str | None] = lambda: None,
        away: Callable[[], str | None] = lambda: None,
        still: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`failure`: why the engine takes no commands any more, if it does not; `away`: why there is none for a moment; `still`: why the
        one that is there takes none.

        Raises: ChannelError when the engine has made no such channel, or too many write to it.
        """
        self._producer = open_producer(CHANNEL, directory=rings)
        self._follower = follower
        self._failure = failure
        self._away = away
        self._still = still

    @property
    def failure(self) -> str | None:
        """Why the engine takes no commands, or nobody would hear the answer."""
        if (failure := self._failure()) is not None:
            return f"the venue has stopped ({failure})"
        if self._follower.failure is not None:
            return f"the venue is not followed any more ({self._follower.failure})"
        return None

    @property
    def still(self) -> str | None:
        """Why what is written is not judged now."""
        return None if (still := self._still()) is None else f"the venue's engine {still}"

    @property
    def waiting(self) -> int:
        """Commands that were written and are not judged yet."""
        return self._follower.waiting

    def send(self, command: bytes) -> asyncio.Future[Judged]:
        """Writes it without waiting for room.

        Raises: OrderEntryError when there is none, or nobody would carry it out or hear the answer.
        """
        if (failure := self.failure) is not None:
            raise OrderEntryError(f"{failure}; nothing was sent")
        if (away := self._away()) is not None:
            raise OrderEntryError(f"the venue's engine {away}; nothing was sent, try again")
        written = self._producer.write(command, timeout=0.0)
        if isinstance(written, Full):
            raise OrderEntryError("orders.in is full: the engine is behind, or does not run; try again")
        return self._follower.expect(written)

    def listen(self, listener: Callable[[Sequence[Execution]], None]) -> None:
        """Executions as soon as `orders` has their commands on disk."""
        self._follower.listen(listener)

    def close(self) -> None:
        """Gives its place among the producers free."""
        self._producer.close()


def destination_of(instrument: str, destinations: Mapping[str, Destination]) -> Destination:
    """Where orders of an instrument go, by the venue in its name. Raises: UsageError for one that nothing leads to."""
    _, dot, venue = instrument.upper().rpartition(".")
    found = destinations.get(venue) if dot else None
    if found is None:
        known = ", ".join(destinations)
        where = f"orders for {venue} cannot be sent from here" if dot else "the name ends with no venue"
        raise UsageError(
            f"{instrument}: {where}; orders go to {known}, such as BTC-USD.{VENUE}", instrument=instrument, venue=venue
        )
    return found

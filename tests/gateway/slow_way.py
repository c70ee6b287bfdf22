"""A way to the venue that keeps commands until it is told to let them go, for what happens while they are under way."""

import asyncio
from collections.abc import Callable, Sequence

from tidebook.gateway.destination import LocalDestination
from tidebook.gateway.following import Judged
from tidebook.gateway.lives import Execution


class SlowWay:
    """The way to the venue, on which commands stay until `go`."""

    def __init__(self, venue: LocalDestination) -> None:
        self.venue = venue
        self.kept: list[tuple[bytes, asyncio.Future[Judged]]] = []
        self.is_slow = True
        self._came = asyncio.Event()

    @property
    def failure(self) -> str | None:
        return self.venue.failure

    def listen(self, listener: Callable[[Sequence[Execution]], None]) -> None:
        self.venue.listen(listener)

    @property
    def still(self) -> str | None:
        return None

    @property
    def waiting(self) -> int:
        return len(self.kept) + self.venue.waiting

    def send(self, command: bytes) -> asyncio.Future[Judged]:
        if not self.is_slow:
            return self.venue.send(command)
        future: asyncio.Future[Judged] = asyncio.get_running_loop().create_future()
        self.kept.append((command, future))
        self._came.set()
        return future

    async def go(self, count: int | None = None) -> None:
        """Lets the first ones go and returns when they are judged."""
        self.is_slow = count is not None
        for command, future in self.kept[:count]:
            future.set_result(await self.venue.send(command))
        del self.kept[:count]
        await settled()

    async def holds(self, count: int) -> None:
        """Returns when so many are kept."""
        while len(self.kept) < count:
            self._came.clear()
            await self._came.wait()


async def settled() -> None:
    """Whatever can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)

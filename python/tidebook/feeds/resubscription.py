"""Snapshots that come with a subscription: awaited after it, and had anew by giving the subscription up and taking it again.

Symbols that want one at about the same time go into one request each way, so that a message lost on a connection of
many symbols costs two messages and not two for each. A snapshot that does not come is asked for again; a session that
owes one for the third time is given up, because its heartbeats would go on for ever.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from tidebook.errors import VenueError
from tidebook.feeds.rest import SnapshotPace
from tidebook.feeds.session import Session

ATTEMPTS_MAX = 3


class Resubscriber:
    """The awaited snapshots of one session. `again` gives the books of these symbols up and takes them again."""

    def __init__(
        self,
        session: Session,
        again: Callable[[list[str]], Awaitable[dict[str, str]]],
        *,
        failed: Callable[[str, str], None],
        pace: SnapshotPace,
        timeout_s: float,
    ) -> None:
        self._session = session
        self._again = again
        self._failed = failed
        self._pace = pace
        self._timeout_s = timeout_s
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._attempts: dict[str, int] = {}
        self._overdue: dict[str, asyncio.TimerHandle] = {}
        self._queue: dict[str, None] = {}
        self._worker: asyncio.Task[None] | None = None

    def expect(self, symbols: Iterable[str]) -> None:
        """These were or are being subscribed: their snapshots are on the way."""
        for symbol in symbols:
            self._future(symbol)

    def subscribed(self, symbols: Iterable[str]) -> None:
        """Their subscription was granted: from now on the time runs."""
        for symbol in symbols:
            if symbol in self._waiting:
                self._set_clock(symbol)

    def want(self, symbol: str) -> asyncio.Future[None]:
        """The snapshot of this symbol: the one that is awaited already, or a new one."""
        future = self._waiting.get(symbol)
        if future is None:
            future = self._future(symbol)
            self._ask(symbol)
        return future

    def seen(self, symbol: str) -> None:
        """A snapshot came, asked for or not."""
        self._attempts.pop(symbol, None)
        self._queue.pop(symbol, None)
        self._settle(symbol)

    def drop(self, symbols: Iterable[str]) -> None:
        """Nobody waits for these any more."""
        for symbol in symbols:
            self.seen(symbol)

    def close(self) -> None:
        """The session ended."""
        self.drop(list(self._waiting))
        if self._worker is not None:
            self._worker.cancel()

    def _future(self, symbol: str) -> asyncio.Future[None]:
        return self._waiting.setdefault(symbol, asyncio.get_running_loop().create_future())

    def _settle(self, symbol: str) -> None:
        clock = self._overdue.pop(symbol, None)
        if clock is not None:
            clock.cancel()
        future = self._waiting.pop(symbol, None)
        if future is not None and not future.done():
            future.set_result(None)

    def _set_clock(self, symbol: str) -> None:
        clock = self._overdue.pop(symbol, None)
        if clock is not None:
            clock.cancel()
        loop = asyncio.get_running_loop()
        self._overdue[symbol] = loop.call_later(self._timeout_s, self._late, symbol)

    def _late(self, symbol: str) -> None:
        self._overdue.pop(symbol, None)
        attempts = self._attempts[symbol] = self._attempts.get(symbol, 0) + 1
        self._failed(symbol, f"no snapshot within {self._timeout_s:g} s of its subscription")
        if attempts >= ATTEMPTS_MAX:
            self._session.retire(f"stalled: {attempts} subscriptions of {symbol} brought no snapshot")
        else:
            self._ask(symbol)

    def _ask(self, symbol: str) -> None:
        self._queue[symbol] = None
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name=f"resubscribe {self._session.number}")

    async def _work(self) -> None:
        while self._queue:
            # Whoever else finds out about the same lost message does so in this time, and shares the request.
            await asyncio.sleep(self._pace.spacing_s)
            batch = list(self._queue)
            self._queue.clear()
            try:
                refused = await self._again(batch)
            except VenueError:
                return  # the session ended; the next one subscribes everything
            for symbol in batch:
                if symbol in refused:
                    self._failed(symbol, refused[symbol])
                if symbol in self._waiting:
                    self._set_clock(symbol)

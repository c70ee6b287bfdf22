"""Snapshots that come with a subscription: awaited after it, and had anew by giving the subscription up and taking it again.

Symbols that want one at about the same time go into one request each way, so that a message lost on a connection of
many symbols costs two messages and not two for each. A snapshot that does not come is asked for again.

When it has not come for the third time, either the symbol is at fault (a pair that is halted is granted and never sent) or
the session, whose heartbeats would go on for ever. What the others do decides: if the snapshot of another symbol came in
that time, the session lives, and the symbol alone is asked for ever more rarely. If none did, one that came before is
asked for anew, and only when nobody is left who could speak for the session it is given up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from tidebook.errors import VenueError
from tidebook.feeds.backoff import Backoff
from tidebook.feeds.rest import SnapshotPace

ATTEMPTS_MAX = 3


@dataclass(slots=True)
class _Wait:
    """For the snapshot of one symbol."""

    seen_before: int
    """Snapshots of the session before it began."""
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    attempts: int = 0
    clock: asyncio.TimerHandle | None = None
    rare: Backoff | None = None
    """Of a symbol that had its attempts."""

    def stop_clock(self) -> None:
        if self.clock is not None:
            self.clock.cancel()
            self.clock = None


class Resubscriber:
    """The awaited snapshots of one session.

    `again` gives the books of these symbols up and takes them again; whom it does not ask for, it drops. `failed` hears
    of every snapshot that did not come in time, `give_up` why the session is of no use. `rare` makes the growing delays
    of one symbol.
    """

    def __init__(
        self,
        again: Callable[[list[str]], Awaitable[None]],
        *,
        failed: Callable[[str, str], None],
        give_up: Callable[[str], None],
        rare: Callable[[], Backoff],
        pace: SnapshotPace,
        timeout_s: float,
    ) -> None:
        self._again = again
        self._failed = failed
        self._give_up = give_up
        self._rare = rare
        self._pace = pace
        self._timeout_s = timeout_s
        self._waits: dict[str, _Wait] = {}
        self._proven: dict[str, None] = {}
        """Symbols whose snapshot came on this session, the one longest ago first."""
        self._seen_count = 0
        self._accused: dict[str, None] = {}
        """Symbols that had their attempts while no snapshot of the session came at all."""
        self._witness: str | None = None
        """The symbol that was asked for because of them."""
        self._queue: dict[str, None] = {}
        self._worker: asyncio.Task[None] | None = None

    def expect(self, symbols: Iterable[str]) -> None:
        """These were or are being subscribed: their snapshots are on the way."""
        for symbol in symbols:
            self._wait(symbol)

    def subscribed(self, symbols: Iterable[str]) -> None:
        """Their subscription was granted: from now on the time runs."""
        for symbol in symbols:
            if symbol in self._waits:
                self._set_clock(symbol)

    def want(self, symbol: str) -> asyncio.Future[None]:
        """The snapshot of this symbol: the one that is awaited already, or a new one."""
        wait = self._waits.get(symbol)
        if wait is None:
            wait = self._wait(symbol)
            self._ask(symbol)
        return wait.done

    def want_any(self) -> None:
        """A new snapshot of one book that had one: whether the books of the session live."""
        symbol = next((symbol for symbol in self._proven if symbol not in self._waits), None)
        if symbol is not None:
            self.want(symbol)

    def seen(self, symbol: str) -> None:
        """A snapshot came, asked for or not."""
        self._seen_count += 1
        self._proven.pop(symbol, None)
        self._proven[symbol] = None
        self._settle(symbol)
        self._accused.clear()
        self._witness = None

    def drop(self, symbols: Iterable[str]) -> None:
        """Nobody waits for these any more: given up, or refused."""
        for symbol in symbols:
            self._proven.pop(symbol, None)
            self._settle(symbol)
            if symbol == self._witness:
                self._witness = None
        self._judge()

    def close(self) -> None:
        """The session ended."""
        for symbol in list(self._waits):
            self._settle(symbol)
        if self._worker is not None:
            self._worker.cancel()

    def _wait(self, symbol: str) -> _Wait:
        return self._waits.setdefault(symbol, _Wait(self._seen_count))

    def _settle(self, symbol: str) -> None:
        self._queue.pop(symbol, None)
        self._accused.pop(symbol, None)
        wait = self._waits.pop(symbol, None)
        if wait is not None:
            wait.stop_clock()
            if not wait.done.done():
                wait.done.set_result(None)

    def _set_clock(self, symbol: str) -> None:
        wait = self._waits[symbol]
        wait.stop_clock()
        wait.clock = asyncio.get_running_loop().call_later(self._timeout_s, self._late, symbol)

    def _late(self, symbol: str) -> None:
        wait = self._waits[symbol]
        wait.attempts += 1
        reason = f"no snapshot within {self._timeout_s:g} s of its subscription"
        if wait.attempts < ATTEMPTS_MAX:
            self._failed(symbol, reason)
            self._ask(symbol)
            return
        had_all = wait.rare is not None
        wait.rare = wait.rare or self._rare()
        delay_s = wait.rare.next_s()
        wait.clock = asyncio.get_running_loop().call_later(delay_s, self._ask, symbol)
        again = f", {wait.attempts} times now; asked for again in {delay_s:.3g} s" if had_all else ""
        self._failed(symbol, reason + again)
        if not had_all and self._seen_count == wait.seen_before:
            self._accused[symbol] = None
            self._judge()

    def _judge(self) -> None:
        """Gives the session up when its accusers are right: nobody else's snapshot comes either."""
        if not self._accused or any(wait.rare is None for wait in self._waits.values()):
            return  # who still has attempts will tell
        if self._witness is None:
            self._witness = next((symbol for symbol in self._proven if symbol not in self._waits), None)
            if self._witness is not None:
                self.want(self._witness)
                return
        symbol = next(iter(self._accused))
        others = len(self._accused) - 1
        besides = f", nor those of {others} more" if others else ""
        self._give_up(f"stalled: {ATTEMPTS_MAX} subscriptions of {symbol} brought no snapshot{besides}")

    def _ask(self, symbol: str) -> None:
        self._queue[symbol] = None
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="resubscribe")

    async def _work(self) -> None:
        while self._queue:
            # Whoever else finds out about the same lost message does so in this time, and shares the request.
            await asyncio.sleep(self._pace.spacing_s)
            batch = list(self._queue)
            self._queue.clear()
            try:
                await self._again(batch)
            except VenueError:
                return  # the session ended; the next one subscribes everything
            self.subscribed(batch)

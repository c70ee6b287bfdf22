"""Tasks that wait for a channel without holding their event loop up.

One thread of the process sleeps for all of them (`crates/ring/src/sleepers.rs`) and makes a descriptor readable that
each loop watches. A task that is cancelled leaves nothing behind; what a loop that was closed had is given up when the
next one comes.
"""

from __future__ import annotations

import asyncio
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from tidebook._core import RingAlarm

if TYPE_CHECKING:
    from tidebook._core import RingConsumer


class Sleepers:
    """The tasks of one event loop that wait for something to read. It knows its tasks, not its loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._alarm = RingAlarm()
        self._tokens = count()
        self._futures: dict[int, asyncio.Future[None]] = {}
        loop.add_reader(self._alarm.fileno(), self._wake)

    async def sleep(self, consumer: RingConsumer) -> None:
        """Sleeps until a read may find something, or the consumer is closed."""
        token = next(self._tokens)
        if not self._alarm.wait(consumer, token):
            return
        self._futures[token] = asyncio.get_running_loop().create_future()
        try:
            await self._futures[token]
        finally:
            del self._futures[token]
            self._alarm.forget(consumer, token)

    def _wake(self) -> None:
        for token in self._alarm.take():
            future = self._futures.get(token)
            if future is not None and not future.done():
                future.set_result(None)


_sleepers: WeakKeyDictionary[asyncio.AbstractEventLoop, Sleepers] = WeakKeyDictionary()
_lock = Lock()


def sleepers() -> Sleepers:
    """Those of the running loop."""
    loop = asyncio.get_running_loop()
    found = _sleepers.get(loop)
    if found is None:
        with _lock:
            for other in [other for other in _sleepers if other.is_closed()]:
                del _sleepers[other]
            found = _sleepers[loop] = Sleepers(loop)
    return found

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
        self._waits: dict[int, tuple[asyncio.Future[None], RingConsumer]] = {}
        loop.add_reader(self._alarm.fileno(), self._wake)

    async def sleep(self, consumer: RingConsumer) -> None:
        """Sleeps until a read may find something, or the consumer is closed."""
        token = next(self._tokens)
        if not self._alarm.wait(consumer, token):
            # Ready, or overtaken with nothing visible yet: who looks again and again lets other tasks run.
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits[token] = (future, consumer)
        try:
            await future
        finally:
            self._forget(token)

    def give_up(self) -> None:
        """Ends all waits, of a loop that was closed with them: its tasks may be kept, and never run again."""
        for token in list(self._waits):
            self._forget(token)

    def _forget(self, token: int) -> None:
        # Only once: the consumer may be awaited by somebody else by now.
        wait = self._waits.pop(token, None)
        if wait is not None:
            self._alarm.forget(wait[1], token)

    def _wake(self) -> None:
        for token in self._alarm.take():
            wait = self._waits.get(token)
            if wait is not None and not wait[0].done():
                wait[0].set_result(None)


_sleepers: WeakKeyDictionary[asyncio.AbstractEventLoop, Sleepers] = WeakKeyDictionary()
_lock = Lock()


def sleepers() -> Sleepers:
    """Those of the running loop."""
    loop = asyncio.get_running_loop()
    found = _sleepers.get(loop)
    if found is None or len(_sleepers) > 1:
        with _lock:
            for other in [other for other in _sleepers if other.is_closed()]:
                _sleepers.pop(other).give_up()
            found = _sleepers.get(loop)
            if found is None:
                found = _sleepers[loop] = Sleepers(loop)
    return found

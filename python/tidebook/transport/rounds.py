"""Things of this process that are looked after now and then, by one thread for all of a kind, which lives as long as there are any.

A thread of low urgency, as who is looked after waits for disks and other processes meanwhile. What is looked after is not kept alive
by it. A forked child begins with none: threads do not come along, and a lock may be one that a thread of the parent had.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Rounds(Generic[T]):
    """The things of one kind, and their thread. There is one of it for the whole process, made when its module is imported."""

    def __init__(self, name: str, look_after: Callable[[T], object]) -> None:
        """`look_after` is called with one thing at a time, in the thread `name`; what it raises is logged, once while it stays the same."""
        self._name = name
        self._look_after = look_after
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[weakref.ref[T], tuple[float, float]] = {}
        """Interval and next time of each, in s."""
        self._thread: threading.Thread | None = None
        self._told: dict[weakref.ref[T], str] = {}
        """What each raised when it was looked after last."""

    def add(self, thing: T, interval_s: float) -> None:
        """Looks after it from now on, for the first time when its interval has passed."""
        with self._changed:
            self._due[weakref.ref(thing)] = (interval_s, time.monotonic() + interval_s)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, thing: T) -> None:
        """Begins no other look after it; one in hand may go on."""
        with self._changed:
            self._due.pop(weakref.ref(thing), None)
            self._changed.notify()

    def stop(self) -> None:
        """Before the interpreter ends: its threads must be out of the core by then."""
        with self._changed:
            self._due.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def forget(self) -> None:
        """In a forked child."""
        self._begin()

    def _run(self) -> None:
        while (due := self._next()) is not None:
            self._told = {place: told for place, told in self._told.items() if place() is not None}
            for thing in due:
                self._look_after_one(thing)
            # Nothing is kept alive while this waits.
            del due
            thing = None  # type: ignore[assignment]

    def _look_after_one(self, thing: T) -> None:
        place, raised = weakref.ref(thing), ""
        try:
            self._look_after(thing)
        except BaseException as error:  # noqa: BLE001 - of the core, too: the others are looked after by this thread as well
            raised = repr(error)
            if raised != self._told.get(place):
                _log.error("%s: a look failed, the next comes as ever: %s", self._name, raised, exc_info=error)
        self._told[place] = raised

    def _next(self) -> list[T] | None:
        """Waits for those whose time has come; None when there are none left."""
        with self._changed:
            while True:
                now = time.monotonic()
                due = []
                for place, (interval_s, at) in list(self._due.items()):
                    thing = place()
                    if thing is None:
                        del self._due[place]
                    elif at <= now:
                        self._due[place] = (interval_s, now + interval_s)
                        due.append(thing)
                if due:
                    return due
                if not self._due:
                    self._thread = None
                    return None
                thing = None
                self._changed.wait(min(at for _, at in self._due.values()) - now)


_all: weakref.WeakSet[Rounds[Any]] = weakref.WeakSet()


@atexit.register
def _stop() -> None:
    for rounds in list(_all):
        rounds.stop()


def _forget_in_child() -> None:
    for rounds in list(_all):
        rounds.forget()


os.register_at_fork(after_in_child=_forget_in_child)

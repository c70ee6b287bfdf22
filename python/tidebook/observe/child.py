"""An engine that follows channels in a process of its own, which its node starts, watches and starts again.

The process says how it stands, a line each time that changes; there is nothing that its node waits for.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import msgspec

from tidebook.config import load
from tidebook.observe.kept_process import KeptProcess
from tidebook.observe.logs import configure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TELL_S: Final = 0.05
"""Not more often than this a process says how it stands."""
_LOOK_S: Final = 0.5


class Status(Protocol):
    """How an engine stands: a struct that says at least this."""

    @property
    def state(self) -> str:
        """`following` once it does what it is for; `stopped`, `starting`, `waiting` when there is no process."""

    @property
    def problem(self) -> str:
        """What it waits for or failed of."""

    @property
    def process(self) -> int | None:
        """Its process."""


S = TypeVar("S", bound=Status)


class Child(KeptProcess, Generic[S]):
    """Keeps one process of a module running. Threads: `start` and `stop` from any one, `status` from any."""

    def __init__(
        self, module: str, name: str, plan: msgspec.Struct, status: S, decoder: msgspec.json.Decoder[S]
    ) -> None:
        """Nothing is started yet. `module` calls `serve` when it is run, and is given `plan`; `status` is what is said until it says more,
        which `decoder` reads.
        """
        super().__init__(module, name, plan, decoder)
        self._status = status

    def start(self) -> None:
        """Begins; returns at once."""
        self._become("starting")
        self._begin()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Ends when what is at hand is done; False when it had to be killed before."""
        return self._end(timeout_s)

    def status(self) -> S:
        """What it is doing, as it said last."""
        return self._status

    @property
    def process(self) -> int | None:
        """Its process; None while there is none."""
        return self._status.process

    @property
    def away(self) -> str | None:
        """Why there is none."""
        return None if self.process is not None else self._status.problem or "is being started"

    def _become(self, state: str, **more: Any) -> None:
        status: Any = self._status
        self._status = msgspec.structs.replace(status, state=state, **more)

    def _hear(self, said: Any, process: int, age_s: float) -> bool:
        del age_s
        self._status = msgspec.structs.replace(said, process=process)
        return bool(said.state == "following")

    def _goes_on(self, how: str) -> bool:
        more: dict[str, Any] = {}
        if hasattr(self._status, "waiting_since"):
            more["waiting_since"] = self._status.waiting_since or time.time()
        self._become("waiting", problem=f"its process {how}; it is started again", process=None, **more)
        return True

    def _is_over(self) -> None:
        self._become("stopped", process=None)


class Engine(Protocol):
    """What a process runs."""

    def start(self) -> None:
        """Begins in threads of its own."""

    def stop(self) -> object:
        """Ends when what is at hand is done."""

    def status(self) -> Status:
        """What it is doing now."""


P = TypeVar("P", bound=msgspec.Struct)


def serve(
    plans: msgspec.json.Decoder[P],
    engine_of: Callable[[P], Engine],
    moved: Callable[[Any, float], object] | None = None,
) -> None:
    """The process: runs the engine of what the first line of standard input says until that closes.

    `moved` waits for the engine to get on, at most so many seconds; without it, that is looked at now and then.
    """
    line, closed = handed()
    if not line:
        return  # stopped before it was told anything
    engine = engine_of(plans.decode(line))
    engine.start()
    told: Status | None = None
    try:
        while not closed.is_set():
            if (status := engine.status()) != told:
                told = status
                say(msgspec.json.encode(status))
                closed.wait(_TELL_S)
            elif status.state == "failed" or moved is None:
                closed.wait(_LOOK_S)
            else:
                moved(engine, _LOOK_S)
    finally:
        engine.stop()


def handed(asked: Callable[[bytes], None] = lambda _: None) -> tuple[bytes, threading.Event]:
    """In the process: the first line of standard input, none when it was stopped before that, and what is set when it is to end.

    Every further line is given to `asked`, on a thread of its own.
    """
    # Who ends a whole group of processes ends the node, and this one behind it, in that order.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    configure(load().log)
    lines, closed = _lines(), threading.Event()
    line = next(lines, b"")

    def listen() -> None:
        try:
            for further in lines:
                asked(further)
        finally:
            closed.set()

    threading.Thread(target=listen, name="end", daemon=True).start()
    return line, closed


def _lines() -> Iterator[bytes]:
    """Whole ones of standard input, until it is closed."""
    # Not by its buffer, whose lock would be held while the interpreter of one that fails ends, which aborts it.
    held = b""
    while read := os.read(sys.stdin.fileno(), 4_096):
        *whole, held = (held + read).split(b"\n")
        yield from whole


_saying = threading.Lock()


def say(line: bytes) -> None:
    """Tells the node, from any thread; one that was killed hears nothing, and what is to end well goes on until it has."""
    with _saying:
        try:
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # What is left in the buffer goes nowhere, also at the interpreter's end.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)

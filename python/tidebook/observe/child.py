"""An engine in a process of its own, which its node starts, watches and starts again.

Standard input of the process is a pipe from the node. The first line says what to work on, there and not among the arguments, because an
address may have a password; when the node ends, however it ends, the pipe closes and the process ends. On standard output it says how it
stands, a line each time that changes. What the process had in hand when it ended must be where the next one finds it: in channels, journals,
a database. The cost against a thread is an interpreter's memory and start, about 80 MB and a second.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import msgspec

from tidebook.config import load
from tidebook.observe.logs import configure, logger

if TYPE_CHECKING:
    from collections.abc import Callable

log = logger("observe.child")

_RETRY_FIRST_S: Final = 0.1
_RETRY_LAST_S: Final = 5.0
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


class Child(Generic[S]):
    """Keeps one process of a module running. Threads: `start` and `stop` from any one, `status` from any."""

    def __init__(
        self, module: str, name: str, plan: msgspec.Struct, status: S, decoder: msgspec.json.Decoder[S]
    ) -> None:
        """Nothing is started yet. `module` calls `serve` when it is run, and is given `plan`; `status` is what is said until it says more,
        which `decoder` reads.
        """
        self._module = module
        self._name = name
        self._plan = plan
        self._status = status
        self._decoder = decoder
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins; returns at once."""
        assert self._thread is None, "a process is watched by one thread"
        self._become("starting")
        self._thread = threading.Thread(target=self._watch, name=f"{self._name}-process", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Ends when what is at hand is done; False when it had to be killed before."""
        self._ends.set()
        if self._thread is None:
            return True
        with self._lock:
            process = self._process
            if process is not None:
                close(process)
        self._thread.join(timeout_s)
        if in_time := not self._thread.is_alive():
            return in_time
        if process is not None:
            process.kill()
        self._thread.join()
        return False

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

    def _watch(self) -> None:
        """Starts a process each time the last one has ended by itself, until it is to stop."""
        retry_s = _RETRY_FIRST_S
        while not self._ends.is_set():
            problem, did_follow = self._run()
            if self._ends.is_set():
                break
            log.warning("a process ended by itself; it is started again", of=self._name, problem=problem)
            more: dict[str, Any] = {}
            if hasattr(self._status, "waiting_since"):
                more["waiting_since"] = self._status.waiting_since or time.time()
            self._become("waiting", problem=problem, process=None, **more)
            retry_s = _RETRY_FIRST_S if did_follow else min(2 * retry_s, _RETRY_LAST_S)
            self._ends.wait(retry_s)
        self._become("stopped", process=None)

    def _run(self) -> tuple[str, bool]:
        """One process to its end: how it ended, and whether it had come to follow."""
        did_follow = False
        try:
            process = self._started()
        except OSError as error:
            return f"its process cannot be started: {error}", did_follow
        if process is None:
            return "", did_follow
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                try:
                    said: Any = self._decoder.decode(line)
                except msgspec.DecodeError:
                    continue  # the last line of one that was killed
                did_follow = did_follow or said.state == "following"
                self._status = msgspec.structs.replace(said, process=process.pid)
        code = process.wait()
        with self._lock:
            close(process)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"its process ended by itself ({how}); it is started again", did_follow

    def _started(self) -> subprocess.Popen[bytes] | None:
        """A new one that knows what to work on; None when there is to be none any more."""
        with self._lock:
            if self._ends.is_set():
                return None
            process = spawn(self._module)
            self._process = process
        hand(process, msgspec.json.encode(self._plan))
        return process


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


def handed() -> tuple[bytes, threading.Event]:
    """In the process: the first line of standard input, none when it was stopped before that, and what is set when it is to end."""
    # Who ends a whole group of processes ends the node, and this one behind it, in that order.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    configure(load().log)
    line = sys.stdin.buffer.readline()
    closed = threading.Event()

    def wait_for_the_end() -> None:
        # Not of the buffer: its lock would be held while the interpreter of one that fails ends, which aborts it.
        while os.read(sys.stdin.fileno(), 4_096):
            pass
        closed.set()

    threading.Thread(target=wait_for_the_end, name="end", daemon=True).start()
    return line, closed


def say(line: bytes) -> None:
    """Tells the node; one that was killed hears nothing, and what is to end well goes on until it has."""
    try:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # What is left in the buffer goes nowhere, also at the interpreter's end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def spawn(module: str) -> subprocess.Popen[bytes]:
    """A process of a module that asks what is `handed` to it. Raises: OSError."""
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C at the terminal is the node's to handle
    )


def hand(process: subprocess.Popen[bytes], line: bytes) -> None:
    """Tells it what to work on. It may have ended already, or be to end: that is seen at its output."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ValueError):
        process.stdin.write(line + b"\n")
        process.stdin.flush()


def close(process: subprocess.Popen[bytes]) -> None:
    """Tells it to end."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()

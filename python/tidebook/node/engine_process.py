"""The venue's engine as a process of its own, which the node starts, watches and starts again.

Node and process meet in the channels `orders.in`, `orders`, `executions` and `risk`, whose rings both map, and in nothing else: a process that was
killed left what it had judged on `orders`, so the next one goes on behind it with the same numbers, and whoever has the channels open
notices nothing but the time it took. Standard input of the process is a pipe from the node: the first line says what to run, and when the
node ends, however it ends, the pipe closes and the engine stops with all that it was given journaled. On standard output it says how
it stands, a line each time that changed. The cost against threads of the node is an interpreter's memory and start, and that a
status is up to a quarter of a second old, but for how far `orders` is.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tidebook import errors
from tidebook._core import VenueEngine
from tidebook.errors import ChannelError, EndpointBusyError, JournalLockedError, TidebookError
from tidebook.observe.child import close, hand, handed, say, spawn
from tidebook.observe.logs import logger
from tidebook.transport import open_channel

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

log = logger("node.engine_process")

_CHANNEL: Final = "orders"
_RETRY_FIRST_S = 0.1
_RETRY_LAST_S = 5.0
_TELL_S = 0.25
_BEFORE_S = 10.0
"""How long one waits for the process of a node that was killed, which ends when its engine has stopped."""
_BEFORE_LOOK_S = 0.05
_STOP_S = 60.0


class EnginePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of `VenueEngine`."""

    rings_dir: str
    journal_dir: str
    snapshots_dir: str
    layout: str | None
    shards: int
    wait: str
    recheck: bool
    age_max_s: float
    segment_size_bytes: int
    closes_bars: bool


class _Stands(msgspec.Struct, frozen=True, tag="stands"):
    """How it does now."""

    status: dict[str, Any]
    latency: dict[str, Any]


class _Opened(msgspec.Struct, frozen=True, tag="opened"):
    """It takes commands."""

    recovery: dict[str, Any]


class _Raised(msgspec.Struct, frozen=True, tag="raised"):
    """It cannot begin, or did not end well: an error of ours."""

    name: str
    message: str
    facts: dict[str, Any]


class _Stopped(msgspec.Struct, frozen=True, tag="stopped"):
    """What `VenueEngine.stop` gave."""

    facts: dict[str, int] | None


_PLAN = msgspec.json.Decoder(EnginePlan)
_SAID = msgspec.json.Decoder(_Stands | _Opened | _Raised | _Stopped)
_ENCODER = msgspec.json.Encoder(enc_hook=str)  # what a fact may be is the error's business


class EngineProcess:
    """Runs the venue's engine in a process of its own; used as `VenueEngine`."""

    def __init__(self, plan: EnginePlan) -> None:
        """Starts it and returns when it is open.

        Raises: as `VenueEngine`; ChannelError for a process that ended before.
        """
        self._plan = plan
        self._stands: _Stands | None = None
        self._recovery: dict[str, Any] = {}
        self._away: str | None = "is being started"
        self._error: TidebookError | None = None
        self._stopped: dict[str, int] | None = None
        self._starts = 0
        self._ends = threading.Event()
        self._settled = threading.Event()
        """The first one is open, or there is none."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, name="venue-engine", daemon=True)
        self._thread.start()
        try:
            self._settled.wait()
            if self._error is not None:
                raise self._error
            self._ring = open_channel(_CHANNEL, directory=Path(plan.rings_dir)).ring
        except BaseException:
            self._error = None
            self.stop()
            raise

    @property
    def recovery(self) -> dict[str, Any]:
        """What the last start found."""
        return self._recovery

    @property
    def failure(self) -> str | None:
        """Why it takes no commands any more; not while it is only away."""
        if self._error is not None:
            return str(self._error)
        if self._ends.is_set():
            return "it was stopped"
        return None if self._stands is None else self._stands.status["failure"]

    @property
    def away(self) -> str | None:
        """What keeps it from taking commands for a moment: its process has ended and is started again."""
        return self._away

    @property
    def process(self) -> int | None:
        """Its process; None while there is none."""
        process = self._process
        return None if process is None or self._away is not None else process.pid

    @property
    def starts(self) -> int:
        """How often it was started again."""
        return max(0, self._starts - 1)

    def status(self) -> dict[str, Any]:
        """As of `VenueEngine`: `sequence` and `durable` are read now, everything else is what it said last."""
        assert self._stands is not None, "it says how it stands before it is open"
        durable = self._ring.durable  # before the other, which is never behind it
        return self._stands.status | {"sequence": self._ring.published, "durable": durable}

    def latency(self) -> dict[str, dict[str, Any]]:
        """As of `VenueEngine`, of the process that runs."""
        return {} if self._stands is None else self._stands.latency

    def stop(self) -> dict[str, int] | None:
        """As of `VenueEngine`. None too when it was away or had to be killed: what it left is on `orders`. Raises: what ended it earlier."""
        self._ends.set()
        with self._lock:
            process = self._process
            if process is not None:
                close(process)
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            log.error("the venue's engine does not end and is killed; what it judged is on `orders`", after_s=_STOP_S)
            if process is not None:
                process.kill()
            self._thread.join()
        stopped, self._stopped = self._stopped, None
        error, self._error = self._error, None
        if error is not None:
            raise error
        return stopped

    def _watch(self) -> None:
        """Starts a process each time the last one has ended by itself, until it is to stop or says that it cannot begin."""
        retry_s = _RETRY_FIRST_S
        while not self._ends.is_set():
            how, did_open = self._run()
            if self._ends.is_set() or self._error is not None:
                break
            if not self._settled.is_set():
                self._error = ChannelError(f"the venue's engine cannot be started: its process {how}")
                break
            retry_s = _RETRY_FIRST_S if did_open else min(2 * retry_s, _RETRY_LAST_S)
            log.error("the venue's engine ended by itself and is started again", how=how)
            self._ends.wait(retry_s)
        self._settled.set()

    def _run(self) -> tuple[str, bool]:
        """One process to its end: how it ended, and whether it had taken commands."""
        try:
            process = self._started()
        except OSError as error:
            return f"cannot be started: {error}", False
        if process is None:
            return "", False
        did_open = False
        began = time.monotonic()
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                try:
                    said = _SAID.decode(line)
                except msgspec.DecodeError:
                    continue  # the last line of one that was killed
                match said:
                    case _Stands():
                        self._stands = said
                    case _Opened(recovery):
                        self._recovery, self._away, did_open = recovery, None, True
                        if self._settled.is_set():
                            log.info(
                                "the venue's engine is open again",
                                process=process.pid,
                                next_sequence=recovery["next_sequence"],
                                took_s=round(time.monotonic() - began, 3),
                            )
                        self._settled.set()
                    case _Raised():
                        self._error = _error_of(said)
                    case _Stopped(facts):
                        self._stopped = facts
        code = process.wait()
        how = f"ended by itself ({f'signal {-code}' if code < 0 else f'exit code {code}'})"
        self._away = f"{how} and is started again"
        with self._lock:
            close(process)
        return how, did_open

    def _started(self) -> subprocess.Popen[bytes] | None:
        """A new one that knows what to run; None when there is to be none any more."""
        with self._lock:
            if self._ends.is_set():
                return None
            process = spawn("tidebook.node.engine_process")
            self._process = process
            self._starts += 1
        hand(process, _ENCODER.encode(self._plan))
        return process


def _error_of(said: _Raised) -> TidebookError:
    """The error that was raised in the process."""
    kind = getattr(errors, said.name, ChannelError)
    found: TidebookError = kind(said.message, **said.facts)
    return found


def _engine(plan: EnginePlan, is_to_end: Callable[[], bool]) -> VenueEngine | None:
    """The engine, open; None when it is to end first. Raises: as `VenueEngine`."""
    deadline = time.monotonic() + _BEFORE_S
    while not is_to_end():
        try:
            return VenueEngine(**msgspec.structs.asdict(plan))
        except (JournalLockedError, EndpointBusyError):
            if time.monotonic() >= deadline:
                raise
            time.sleep(_BEFORE_LOOK_S)
    return None


def _serve() -> None:
    """The process: runs what the first line of standard input says until that closes."""
    line, closed = handed()
    if not line:
        return  # stopped before it was told anything

    def tell(what: _Stands | _Opened | _Raised | _Stopped) -> None:
        say(_ENCODER.encode(what))

    try:
        engine = _engine(_PLAN.decode(line), closed.is_set)
        if engine is None:
            return
        stands = _Stands(engine.status(), engine.latency())
        tell(stands)
        tell(_Opened(engine.recovery))
        while not closed.wait(_TELL_S):
            if (now := _Stands(engine.status(), engine.latency())) != stands:
                stands = now
                tell(stands)
        tell(_Stopped(engine.stop()))
    except TidebookError as error:
        tell(_Raised(type(error).__name__, str(error), dict(error.facts)))


if __name__ == "__main__":
    _serve()

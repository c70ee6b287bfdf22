"""An engine of the core as a process of its own, which the node starts, watches and starts again, and waits for until it is open.

The process says that it is open, with what its start found, and then how it stands, when that has changed and each second: one that
says nothing for some is stopped, and away. What its node reads of it is up to a quarter of a second old, but for what it asks: a line of standard input, answered by one of standard output. One that cannot begin says why, and then there is none: its node ends with that, as it does where the engine is
threads of it. One that ends by itself, or is killed, is started again.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec

from tidebook import errors
from tidebook.errors import ChannelError, EndpointBusyError, JournalLockedError, TidebookError
from tidebook.observe.child import handed, say
from tidebook.observe.kept_process import KeptProcess
from tidebook.observe.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable

log = logger("node.engine_process")

_TELL_S: Final = 0.25
_TELL_AGAIN_S: Final = 1.0
_SILENT_S: Final = 5.0
_BEFORE_S: Final = 10.0
"""How long one waits for the process of a node that was killed, which ends when its engine has stopped."""
_BEFORE_LOOK_S: Final = 0.05
_STOP_S: Final = 60.0


class _Stands(msgspec.Struct, frozen=True, tag="stands"):
    """How it does now."""

    status: dict[str, Any]
    latency: dict[str, Any]


class _Opened(msgspec.Struct, frozen=True, tag="opened"):
    """It is at work."""

    found: dict[str, Any]


class _Raised(msgspec.Struct, frozen=True, tag="raised"):
    """It cannot begin, or did not end well: an error of ours."""

    name: str
    message: str
    facts: dict[str, Any]


class _Answered(msgspec.Struct, frozen=True, tag="answered"):
    """What it was asked."""

    number: int
    answer: Any


class _Stopped(msgspec.Struct, frozen=True, tag="stopped"):
    """What its `stop` gave."""

    facts: dict[str, int] | None


class _Asked(msgspec.Struct, frozen=True):
    """What a node asks, by number."""

    number: int
    question: Any


_SAID = msgspec.json.Decoder(_Stands | _Opened | _Raised | _Answered | _Stopped)
_ASKED = msgspec.json.Decoder(_Asked)
_ENCODER = msgspec.json.Encoder(enc_hook=str)  # what a fact may be is the error's business


class EngineProcess(KeptProcess):
    """Runs an engine in a process of its own; whoever inherits gives it the face of that engine."""

    def __init__(self, module: str, name: str, plan: msgspec.Struct) -> None:
        """Starts it and returns when it is open. `module` calls `serve_engine` when it is run, and is given `plan`; `name` is for people.

        Raises: what the engine raises where it is begun; ChannelError for a process that ended before.
        """
        super().__init__(module, name, plan, _SAID)
        self._stands: _Stands | None = None
        self._found: dict[str, Any] = {}
        self._away: str | None = "is being started"
        self._heard = time.monotonic()
        self._error: TidebookError | None = None
        self._stopped: dict[str, int] | None = None
        self._settled = threading.Event()
        """The first one is open, or there is none."""
        self._questions = 0
        self._answered = 0
        """The last question that there was an answer to, or no process that could give one."""
        self._answer: Any = None
        self._answering = threading.Condition()
        self._begin()
        try:
            self._settled.wait()
            if self._error is not None:
                raise self._error
        except BaseException:
            self._error = None
            self.stop()
            raise

    @property
    def failure(self) -> str | None:
        """Why it does not work any more; not while it is only away."""
        if self._error is not None:
            return str(self._error)
        if self._ends.is_set():
            return "it was stopped"
        return None if self._stands is None else self._stands.status["failure"]

    @property
    def away(self) -> str | None:
        """What keeps it from working for a moment: its process has ended and is started again, or is there and says nothing."""
        if self._away is not None or self._ends.is_set() or time.monotonic() - self._heard < _SILENT_S:
            return self._away
        return f"says nothing: its process {self.process} is stopped, or has no processor"

    @property
    def process(self) -> int | None:
        """Its process; None while there is none."""
        process = self._process
        return None if process is None or self._away is not None else process.pid

    def status(self) -> dict[str, Any]:
        """As of the engine, as it was said last."""
        assert self._stands is not None, "it says how it stands before it is open"
        return self._stands.status

    def latency(self) -> dict[str, dict[str, Any]]:
        """As of the engine, of the process that runs."""
        return {} if self._stands is None else self._stands.latency

    def _ask(self, question: object, timeout_s: float) -> Any:
        """What the engine answers; None where it does not in this time. Not asked while it owes an answer, so that a process that is stopped
        is not asked until nobody can write to it any more.
        """
        with self._answering:
            if self._away is not None or self._answered != self._questions:
                return None
            self._questions += 1
            number, self._answer = self._questions, None
        self._say(_ENCODER.encode(_Asked(number, question)))
        with self._answering:
            is_there = self._answering.wait_for(lambda: self._answered == number, timeout_s)
            return self._answer if is_there else None

    def stop(self) -> dict[str, int] | None:
        """As of the engine. None too when it was away or had to be killed: what it left is in its channels. Raises: what ended it earlier."""
        self._end(_STOP_S)
        stopped, self._stopped = self._stopped, None
        error, self._error = self._error, None
        if error is not None:
            raise error
        return stopped

    def _hear(self, said: Any, process: int, age_s: float) -> bool:
        self._heard = time.monotonic()
        match said:
            case _Stands():
                self._stands = said
            case _Opened(found):
                lost = self._lost()
                # Nobody is let in before it is known that its rings are those that are open here.
                self._found, self._away = found, self._away if lost else None
                if lost is not None:
                    self._error = ChannelError(lost)
                    self._let_end()
                elif self._settled.is_set():
                    log.info(f"the {self._name} is open again", process=process, took_s=round(age_s, 3))
                self._settled.set()
                return True
            case _Answered(number, answer):
                with self._answering:
                    self._answered, self._answer = number, answer
                    self._answering.notify_all()
            case _Raised():
                self._error = _error_of(said)
            case _Stopped(facts):
                self._stopped = facts
        return False

    def _goes_on(self, how: str) -> bool:
        if self._error is not None:
            return False
        if not self._settled.is_set():
            self._error = ChannelError(f"the {self._name} cannot be started: its process {how}")
            return False
        if (lost := self._lost()) is not None:
            self._error = ChannelError(f"{lost}; the process of the {self._name} {how}, and is not started again")
            return False
        with self._answering:
            self._away = f"{how} and is started again"
            self._answered, self._answer = self._questions, None
            self._answering.notify_all()
        return True

    def _is_over(self) -> None:
        self._settled.set()

    def _lost(self) -> str | None:
        """Why another process of it would not be the same engine to those who had the last one, if that is so."""
        return None


def _error_of(said: _Raised) -> TidebookError:
    """The error that was raised in the process."""
    kind = getattr(errors, said.name, ChannelError)
    found: TidebookError = kind(said.message, **said.facts)
    return found


class Engine(Protocol):
    """What a process runs."""

    def status(self) -> dict[str, Any]:
        """How it does."""

    def latency(self) -> dict[str, dict[str, Any]]:
        """How long its work takes."""

    def stop(self) -> dict[str, int] | None:
        """Ends it."""


E = TypeVar("E", bound=Engine)
P = TypeVar("P", bound=msgspec.Struct)


def serve_engine(
    plans: msgspec.json.Decoder[P],
    engine_of: Callable[[P], E],
    found_by: Callable[[E], dict[str, Any]],
    answer: Callable[[E, Any], object] | None = None,
) -> None:
    """The process: runs the engine of what the first line of standard input says until that closes. `found_by` is what its start found,
    `answer` what it says to a question.
    """

    def tell(what: _Stands | _Opened | _Raised | _Answered | _Stopped) -> None:
        say(_ENCODER.encode(what))

    def asked(line: bytes) -> None:
        assert answer is not None, "an engine that answers is asked"
        assert engine is not None, "it is asked when it is open"
        question = _ASKED.decode(line)
        tell(_Answered(question.number, answer(engine, question.question)))

    engine: E | None = None
    line, closed = handed(asked)
    if not line:
        return  # stopped before it was told anything
    try:
        engine = _open(plans.decode(line), engine_of, closed)
        if engine is None:
            return
        stands = _Stands(engine.status(), engine.latency())
        tell(stands)
        tell(_Opened(found_by(engine)))
        told = time.monotonic()
        while not closed.wait(_TELL_S):
            now = _Stands(engine.status(), engine.latency())
            if now != stands or time.monotonic() - told >= _TELL_AGAIN_S:
                stands, told = now, time.monotonic()
                tell(stands)
        tell(_Stopped(engine.stop()))
    except TidebookError as error:
        tell(_Raised(type(error).__name__, str(error), dict(error.facts)))


def _open(plan: P, engine_of: Callable[[P], E], closed: threading.Event) -> E | None:
    """The engine; None when it is to end first. Raises: what `engine_of` raises, what somebody else still has only after a time."""
    deadline = time.monotonic() + _BEFORE_S
    while not closed.is_set():
        try:
            return engine_of(plan)
        except (JournalLockedError, EndpointBusyError):
            if time.monotonic() >= deadline:
                raise
            time.sleep(_BEFORE_LOOK_S)
    return None

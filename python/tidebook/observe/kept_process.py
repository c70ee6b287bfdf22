"""A process that is kept running: started, listened to, and started again each time it has ended by itself.

Its standard input is a pipe from who keeps it. The first line says what to work on, there and not among the arguments, because an
address may have a password; when the keeper ends, however it ends, the pipe closes and the process ends. On standard output it says
what there is to say, a line each time. What it had in hand when it ended must be where the next one finds it: in channels, journals,
a database. The cost against a thread is an interpreter's memory and start, about 80 MB and a second.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

import msgspec

from tidebook.observe.logs import logger

if TYPE_CHECKING:
    from typing import Any

log = logger("observe.kept_process")

_RETRY_FIRST_S: Final = 0.1
_RETRY_LAST_S: Final = 5.0


class KeptProcess(ABC):
    """Keeps one process of a module running; whoever inherits says what its lines mean.

    Threads: begun and ended from any one; what the process says is heard by a thread of its own, on which everything abstract is called.
    """

    def __init__(self, module: str, name: str, plan: msgspec.Struct, decoder: msgspec.json.Decoder[Any]) -> None:
        """Nothing is started yet. `module` is run, and is given `plan` as its first line; `decoder` reads what it says."""
        self._module = module
        self._name = name
        self._plan = plan
        self._decoder = decoder
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._started_count = 0

    @property
    def starts(self) -> int:
        """How often it was started again."""
        return max(0, self._started_count - 1)

    @abstractmethod
    def _hear(self, said: Any, process: int, age_s: float) -> bool:
        """What a process said that is so old; whether it does now what it is for, and so was not started in vain."""

    @abstractmethod
    def _goes_on(self, how: str) -> bool:
        """It has ended by itself, or could not be started; whether to start it again."""

    @abstractmethod
    def _is_over(self) -> None:
        """It is not started any more."""

    def _begin(self) -> None:
        """Starts it; returns at once."""
        assert self._thread is None, "a process is watched by one thread"
        self._thread = threading.Thread(target=self._watch, name=f"{self._name}-process", daemon=True)
        self._thread.start()

    def _end(self, timeout_s: float) -> bool:
        """Has it end when what is at hand is done; False when it had to be killed before."""
        self._ends.set()
        if self._thread is None:
            return True
        process = self._let_end()
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            return True
        log.error("a process does not end and is killed", of=self._name, after_s=timeout_s)
        if process is not None:
            process.kill()
        self._thread.join()
        return False

    def _let_end(self) -> subprocess.Popen[bytes] | None:
        """Tells the process that there is to end; which that is."""
        with self._lock:
            if self._process is not None:
                _close(self._process)
            return self._process

    def _say(self, line: bytes) -> None:
        """Tells the process something more. It may have ended already, or be to end: that is seen at its output."""
        with self._lock:
            if self._process is not None:
                _write(self._process, line)

    def _watch(self) -> None:
        """Starts a process each time the last one has ended by itself, until it is to stop or is not to go on."""
        retry_s = _RETRY_FIRST_S
        while not self._ends.is_set():
            how, did_work = self._run()
            if self._ends.is_set() or not self._goes_on(how):
                break
            log.error("a process ended by itself; it is started again", of=self._name, how=how)
            retry_s = _RETRY_FIRST_S if did_work else min(2 * retry_s, _RETRY_LAST_S)
            self._ends.wait(retry_s)
        self._is_over()

    def _run(self) -> tuple[str, bool]:
        """One process to its end: how it ended, and whether it had come to do what it is for."""
        did_work = False
        try:
            process = self._started()
        except OSError as error:
            return f"cannot be started: {error}", did_work
        if process is None:
            return "", did_work
        began = time.monotonic()
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                try:
                    said = self._decoder.decode(line)
                except msgspec.DecodeError:
                    continue  # the last line of one that was killed
                did_work = self._hear(said, process.pid, time.monotonic() - began) or did_work
        code = process.wait()
        with self._lock:
            _close(process)
        return f"ended by itself ({f'signal {-code}' if code < 0 else f'exit code {code}'})", did_work

    def _started(self) -> subprocess.Popen[bytes] | None:
        """A new one that knows what to work on; None when there is to be none any more. Raises: OSError."""
        with self._lock:
            if self._ends.is_set():
                return None
            process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C at the terminal is the keeper's to handle
            )
            self._process = process
            self._started_count += 1
            _write(process, msgspec.json.encode(self._plan))
        return process


def _write(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ValueError):
        process.stdin.write(line + b"\n")
        process.stdin.flush()


def _close(process: subprocess.Popen[bytes]) -> None:
    """Tells it to end."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()

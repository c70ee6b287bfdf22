"""The analytics engine as a process of its own, which a node starts, watches and starts again.

Node and process meet in channels and in the journal of `orders`, and nowhere else. Its standard input is a pipe from the node: the first line
says where those are, and when the node ends, however it ends, the pipe closes and the process ends. On standard output it says how it
stands, a line each time that changes.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import msgspec

from tidebook.analytics.engine import AnalyticsEngine, AnalyticsStatus
from tidebook.config import load
from tidebook.observe.logs import configure, logger

log = logger("analytics.process")

_RETRY_FIRST_S: Final = 0.1
_RETRY_LAST_S: Final = 5.0
_TELL_S: Final = 0.1
_KILL_AFTER_S: Final = 10.0


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of `AnalyticsEngine`."""

    rings: str
    journal: str | None
    snapshots: str | None


_PLAN = msgspec.json.Decoder(_Plan)
_STATUS = msgspec.json.Decoder(AnalyticsStatus)


class AnalyticsProcess:
    """Has the engine run by a process of its own; used as `AnalyticsEngine`."""

    def __init__(self, rings: Path, *, journal: Path | None = None, snapshots: Path | None = None) -> None:
        """Nothing is started yet; arguments as of `AnalyticsEngine`."""
        self._plan = _Plan(
            rings=str(rings),
            journal=None if journal is None else str(journal),
            snapshots=None if snapshots is None else str(snapshots),
        )
        self._status = AnalyticsStatus(state="stopped", commands=0, records=0, missed=0, problem="")
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins; returns at once."""
        assert self._thread is None, "a process is watched by one thread"
        self._status = msgspec.structs.replace(self._status, state="starting")
        self._thread = threading.Thread(target=self._watch, name="analytics-process", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the process; one that does not end by itself is killed, and nothing is lost by that either."""
        self._ends.set()
        if self._thread is None:
            return
        with self._lock:
            process = self._process
            if process is not None:
                _close(process)
        self._thread.join(_KILL_AFTER_S)
        if self._thread.is_alive() and process is not None:
            process.kill()
        self._thread.join()

    def status(self) -> AnalyticsStatus:
        """What it is doing, as it said last."""
        return self._status

    def _watch(self) -> None:
        """Starts a process each time the last one has ended by itself, until it is to stop."""
        retry_s = _RETRY_FIRST_S
        while not self._ends.is_set():
            problem, did_follow = self._run()
            if self._ends.is_set():
                break
            log.warning("the analytics process ended by itself; it is started again", problem=problem)
            self._status = msgspec.structs.replace(self._status, state="waiting", problem=problem, process=None)
            retry_s = _RETRY_FIRST_S if did_follow else min(2 * retry_s, _RETRY_LAST_S)
            self._ends.wait(retry_s)
        self._status = msgspec.structs.replace(self._status, state="stopped", process=None)

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
                    said = _STATUS.decode(line)
                except msgspec.DecodeError:
                    continue  # the last line of one that was killed
                did_follow = did_follow or said.state == "following"
                self._status = msgspec.structs.replace(said, process=process.pid)
        code = process.wait()
        with self._lock:
            _close(process)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"its process ended by itself ({how}); it is started again", did_follow

    def _started(self) -> subprocess.Popen[bytes] | None:
        """A new one that knows what to follow; None when there is to be none any more."""
        with self._lock:
            if self._ends.is_set():
                return None
            process = subprocess.Popen(
                [sys.executable, "-m", "tidebook.analytics.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C at the terminal is the node's to handle
            )
            self._process = process
        assert process.stdin is not None
        # It may have ended already, or be to end: that is seen at its output.
        with contextlib.suppress(BrokenPipeError, ValueError):
            process.stdin.write(msgspec.json.encode(self._plan) + b"\n")
            process.stdin.flush()
        return process


def _close(process: subprocess.Popen[bytes]) -> None:
    """Tells it to end."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _follow() -> None:
    """The process: runs an engine over what the first line of standard input says until that closes."""
    configure(load().log)
    line = sys.stdin.buffer.readline()
    if not line:
        return  # stopped before it was told anything
    plan = _PLAN.decode(line)
    engine = AnalyticsEngine(
        Path(plan.rings),
        journal=None if plan.journal is None else Path(plan.journal),
        snapshots=None if plan.snapshots is None else Path(plan.snapshots),
    )
    closed = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        closed.set()

    threading.Thread(target=wait_for_the_end, name="end", daemon=True).start()
    engine.start()
    told: AnalyticsStatus | None = None
    while not closed.is_set():
        if (status := engine.status()) != told:
            told = status
            sys.stdout.buffer.write(msgspec.json.encode(status) + b"\n")
            sys.stdout.buffer.flush()
        closed.wait(_TELL_S)
    engine.stop()


if __name__ == "__main__":
    _follow()

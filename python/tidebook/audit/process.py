"""The audit engine as a process of its own, which a node starts, watches and starts again.

Node and process meet in the channel `orders`, its journal and the database, and nowhere else: what the process had in hand when it ended is
in the journal, and the rows say where the next one goes on. Its standard input is a pipe from the node. The first line says what to
follow, there and not among the arguments, because an address may have a password; when the node ends, however it ends, the pipe closes and
the process ends behind its transaction. On standard output it says how it stands, a line each time that changes. The cost against a thread
is an interpreter's memory and start, about 80 MB and a second.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from tidebook.audit.database import open_database
from tidebook.audit.engine import AuditEngine, AuditStatus
from tidebook.config import load
from tidebook.observe.logs import configure, logger
from tidebook.transport import open_channel

log = logger("audit.process")

_RETRY_FIRST_S = 0.1
_RETRY_LAST_S = 5.0
_TELL_S = 0.05
"""Not more often than this it says how it stands."""
_LOOK_S = 0.5


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a process follows: arguments of `AuditEngine`, and the directory of the rings."""

    data: str
    url: str
    journal: str
    rings: str


_PLAN = msgspec.json.Decoder(_Plan)
_STATUS = msgspec.json.Decoder(AuditStatus)


class AuditProcess:
    """Keeps the audit trail of a data directory from a process of its own; used as `AuditEngine`."""

    def __init__(self, data: Path, *, url: str = "", journal: Path, rings: Path) -> None:
        """Nothing is started yet; arguments as of `AuditEngine`, `rings` is where the channel `orders` is.

        Raises: ConfigError for a `url` that is none.
        """
        database = open_database(url, data)
        self._plan = _Plan(data=str(data), url=url, journal=str(journal), rings=str(rings))
        self._status = AuditStatus(
            state="stopped",
            database=database.shown,
            sequence=0,
            executions=0,
            durable=0,
            rows=0,
            problem="",
            waiting_since=None,
        )
        database.close()
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins; returns at once, also when the database is away."""
        assert self._thread is None, "a process is watched by one thread"
        self._status = msgspec.structs.replace(self._status, state="starting")
        self._thread = threading.Thread(target=self._watch, name="audit-process", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Ends when the batch at hand is committed; False when it had to be killed before, and then nothing is lost either."""
        self._ends.set()
        if self._thread is None:
            return True
        with self._lock:
            process = self._process
            if process is not None:
                _close(process)
        self._thread.join(timeout_s)
        if in_time := not self._thread.is_alive():
            return in_time
        if process is not None:
            process.kill()
        self._thread.join()
        return False

    def status(self) -> AuditStatus:
        """What it is doing, as it said last."""
        return self._status

    def _watch(self) -> None:
        """Starts a process each time the last one has ended by itself, until it is to stop."""
        retry_s = _RETRY_FIRST_S
        while not self._ends.is_set():
            problem, did_follow = self._run()
            if self._ends.is_set():
                break
            log.warning("the audit process ended by itself; it is started again", problem=problem)
            since = self._status.waiting_since or time.time()
            self._status = msgspec.structs.replace(
                self._status, state="waiting", problem=problem, waiting_since=since, process=None
            )
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
                [sys.executable, "-m", "tidebook.audit.process"],
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
    """The process: follows what the first line of standard input says until that closes."""
    configure(load().log)
    line = sys.stdin.buffer.readline()
    if not line:
        return  # stopped before it was told anything
    plan = _PLAN.decode(line)
    rings = Path(plan.rings)
    audit = AuditEngine(
        Path(plan.data),
        url=plan.url,
        journal=Path(plan.journal),
        channel=lambda: open_channel("orders", directory=rings),
    )
    closed = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        closed.set()

    threading.Thread(target=wait_for_the_end, name="end", daemon=True).start()
    audit.start()
    told: AuditStatus | None = None
    while not closed.is_set():
        if (status := audit.status()) != told:
            told = status
            sys.stdout.buffer.write(msgspec.json.encode(status) + b"\n")
            sys.stdout.buffer.flush()
            closed.wait(_TELL_S)
        elif status.state == "failed":
            closed.wait(_LOOK_S)
        else:
            audit.wait(status.sequence + 1, _LOOK_S)
    audit.stop()


if __name__ == "__main__":
    _follow()

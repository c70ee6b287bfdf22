"""The audit engine: follows `orders`, derives executions and adds rows, for as long as its node runs.

One thread and one transaction at a time. It holds nobody up: commands are durable before it sees them, and what it has not
got to yet waits in the journal, not in memory. A database that is away is waited for, with what is known of why in `status`, and what the
rows reach to is asked anew when it is back: a server may have been put back to an earlier state, or have committed what nobody heard of.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import msgspec

from tidebook._core import inspect_journal
from tidebook.audit.database import open_database
from tidebook.audit.replica import Replica
from tidebook.audit.rows import Rows, derive
from tidebook.audit.source import Source
from tidebook.audit.upgrade import upgrade
from tidebook.audit.writer import Position, append, read_position
from tidebook.errors import (
    AuditDatabaseAwayError,
    AuditMismatchError,
    EndpointBusyError,
    JournalAbsentError,
    TidebookError,
)
from tidebook.observe.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tidebook.transport import Channel

log = logger("audit.engine")

_RETRY_FIRST_S = 0.1
_RETRY_LAST_S = 5.0
_MISMATCHES_MAX = 5
"""Sessions that end because the rows are elsewhere than they were left, without a batch between: then somebody else writes them."""


class AuditOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How rows are added."""

    batch_commands: int = 4_096
    """Commands of one transaction at most. Of what each led to all rows are in it too."""


class _StoppedError(Exception):
    """It was asked to stop while it caught up."""


class _Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that may have been committed or not."""

    begin: Position
    end: Position
    rows: Rows


class AuditStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is doing."""

    state: Literal["stopped", "starting", "following", "waiting", "failed"]
    """`waiting`: for a database that is away, a journal that is not there yet, or what the operating system refuses now."""
    database: str
    """Its address, without a password."""
    sequence: int
    """Last command of `orders` whose rows are committed."""
    executions: int
    """Last execution of these."""
    durable: int
    """Last command known to be durable: what is missing to it is still to be added."""
    rows: int
    """Added by this engine."""
    problem: str
    """What it waits for or failed of; empty while nothing is wrong."""
    waiting_since: float | None
    """Seconds since 1970 UTC."""
    process: int | None = None
    """Process that keeps it, where that is one of its own and runs."""


class AuditEngine:
    """Keeps the audit trail of a data directory; `start` and `stop` from any one thread, `status` from any."""

    def __init__(
        self,
        data: Path,
        *,
        url: str = "",
        journal: Path | None = None,
        snapshots: Path | None = None,
        channel: Callable[[], Channel | None] = lambda: None,
        options: AuditOptions | None = None,
    ) -> None:
        """Nothing is opened yet. `url` as in `[audit] url`; `journal` is that of `orders` and `snapshots` those of the venue, else
        where a node of `data` has them; `channel` gives the open channel, once the journal is read to its end, so that new commands are seen at once.

        Raises: ConfigError for a `url` that is none.
        """
        self._database = open_database(url, data)
        self._journal = journal or data / "journal" / "orders"
        self._snapshots = snapshots or data / "snapshots" / "orders" / "orders"
        self._channel = channel
        self._options = options or AuditOptions()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._state: Literal["stopped", "starting", "following", "waiting", "failed"] = "stopped"
        self._position = Position()
        self._durable = 0
        self._rows = 0
        self._problem = ""
        self._waiting_since: float | None = None
        self._mismatches = 0
        self._retry_s = _RETRY_FIRST_S
        # The venue as of the rows and the batch behind it: both outlive a session, so that an outage costs no replay.
        self._replica: Replica | None = None
        self._pending: _Pending | None = None
        self._moved = threading.Condition()

    def start(self) -> None:
        """Begins in a thread of its own; returns at once, also when the database is away."""
        assert self._thread is None, "an engine is started once"
        self._state = "starting"
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Ends when the batch at hand is committed; False when the database did not let it end in time: nothing is lost then either."""
        self._stop.set()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        self._database.close()
        return True

    def status(self) -> AuditStatus:
        """What it is doing now."""
        return AuditStatus(
            state=self._state,
            database=self._database.shown,
            sequence=self._position.sequence,
            executions=self._position.executions,
            durable=max(self._durable, self._position.sequence),
            rows=self._rows,
            problem=self._problem,
            waiting_since=self._waiting_since,
        )

    def wait(self, sequence: int, timeout_s: float) -> bool:
        """Waits until the rows of this command are committed; False when that took longer, or the engine has ended before it."""

        def is_there() -> bool:
            return self._position.sequence >= sequence or self._state in ("stopped", "failed")

        with self._moved:
            self._moved.wait_for(is_there, timeout_s)
        return self._position.sequence >= sequence

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._follow()
                except (AuditDatabaseAwayError, JournalAbsentError, EndpointBusyError, OSError) as error:
                    # A full or unmounted disk, a directory that cannot be made, a channel with too many readers: others mend that.
                    self._wait_out(error)
                except AuditMismatchError as error:
                    self._mismatches += 1
                    if self._mismatches > _MISMATCHES_MAX or self._state == "starting":
                        raise
                    self._wait_out(error)
            self._become("stopped")
        except _StoppedError:
            self._become("stopped")
        except TidebookError as error:
            log.error("failed; nothing is added to the audit trail any more", problem=str(error))
            self._become("failed", str(error))
        except Exception as error:
            log.exception("failed; nothing is added to the audit trail any more")
            self._become("failed", f"internal error: {type(error).__name__}: {error}")

    def _follow(self) -> None:
        """One session with the database: from what its rows reach to, until it is away or the engine is stopped."""
        if self._state != "waiting":
            self._become("starting")
        upgrade(self._database)
        with self._database.reading() as connection:
            position = read_position(connection)
        if self._pending is not None and position == self._pending.begin:
            position = self._commit(self._pending)
        self._pending = None
        self._show(position)
        if self._replica is None or self._replica.position != position:
            self._replica = Replica.behind(position, self._journal, self._snapshots, self._database.shown, self._go_on)
        with Source(self._journal, position.sequence, self._channel()) as source:
            self._recovered()
            while not self._stop.is_set():
                found = source.read(self._options.batch_commands, self._stop)
                self._durable = source.durable
                if found is None:
                    continue
                first, commands = found
                rows = derive(first, commands, self._replica.apply(first, commands))
                self._pending = _Pending(begin=position, end=self._replica.position, rows=rows)
                position = self._commit(self._pending)
                self._pending = None

    def _go_on(self, _: int) -> None:
        if self._stop.is_set():
            raise _StoppedError

    def _commit(self, batch: _Pending) -> Position:
        append(self._database, batch.begin, batch.end, batch.rows)
        self._rows += sum(map(len, batch.rows.values()))
        self._mismatches = 0
        self._show(batch.end)
        return batch.end

    def _wait_out(self, error: TidebookError | OSError) -> None:
        """Says what is waited for, once, and lets a moment pass, each time a longer one."""
        if self._state != "waiting":
            self._waiting_since = time.time()
            self._retry_s = _RETRY_FIRST_S
            log.warning("waits; commands stay in the journal", problem=str(error))
        with suppress(TidebookError, OSError):  # what waits is told, also where nothing is read
            self._durable = inspect_journal(self._journal)["durable"]
        self._become("waiting", str(error))
        self._stop.wait(self._retry_s)
        self._retry_s = min(2 * self._retry_s, _RETRY_LAST_S)

    def _recovered(self) -> None:
        if self._waiting_since is not None:
            log.info("goes on", waited_s=round(time.time() - self._waiting_since, 1), sequence=self._position.sequence)
            self._waiting_since = None
        self._become("following")

    def _show(self, position: Position) -> None:
        with self._moved:
            self._position = position
            self._moved.notify_all()

    def _become(
        self, state: Literal["stopped", "starting", "following", "waiting", "failed"], problem: str = ""
    ) -> None:
        with self._moved:
            self._state, self._problem = state, problem
            self._moved.notify_all()

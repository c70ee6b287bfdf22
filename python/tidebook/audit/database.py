"""The database of the audit trail: SQLite in the data directory, or the PostgreSQL that `[audit] url` names.

One place knows that there are two. SQLite is opened in WAL mode, so that readers and the one writer do not wait for each other, and
every transaction that writes begins as one that writes: two writers then wait for each other instead of failing half-way. A
transaction may be lost with the power, and with it the position it stored: what is missing is derived again, so no commit waits for the disk.
What a database does wrong is told apart here: it is away (whoever writes waits), or something is wrong with what it holds or is asked.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from tidebook.errors import AuditDatabaseAwayError, AuditError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.pool import ConnectionPoolEntry

SQLITE_FILE = "audit/audit.sqlite"
"""Below the data directory."""
CONNECT_BRIEFLY_S = 2
"""The least that the driver knows."""
_CONNECT_TIMEOUT_S = 5
_SQLITE_WAIT_MS = 5_000
# Of a server that is silent, not merely slow: after this a connection counts as lost.
_SILENT_MS = 20_000
_AWAY_SQLSTATES = ("08", "53", "57", "58", "25006", "40001", "40P01", "55P03")
"""Connection lost, no resources, shut down or cancelled, an error of its disk; a standby that takes no writes; others in the way."""
_DAMAGED_SQLITE = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
_AWAY_SQLITE = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    )
)


class Database:
    """Where the audit trail is; connections are opened when they are needed."""

    def __init__(self, url: URL, answer_s: float | None = None) -> None:
        """`answer_s` as in `open_database`."""
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._patience = None if self.is_sqlite or answer_s is None else _Patience(answer_s)
        self.engine = _sqlite(url) if self.is_sqlite else _postgresql(url, self._patience)

    @property
    def shown(self) -> str:
        """Its address without a password: what may be printed."""
        return self.url.database or ":memory:" if self.is_sqlite else self.url.render_as_string(hide_password=True)

    @property
    def is_absent(self) -> bool:
        """Whether there is no file of it; never known of a server, which is asked."""
        return self.is_sqlite and not Path(self.url.database or "").exists()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the database; it holds no writer up.

        Raises: AuditDatabaseAwayError; AuditError, also where there is no file yet.
        """
        if self.is_absent:
            raise self.nothing_here()
        with self._translated(), self.engine.connect() as connection:
            # One of SQLite sees one state anyway.
            yield connection if self.is_sqlite else connection.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, committed at the end of the block and undone when that raises.

        Raises: AuditDatabaseAwayError, also where the commit's answer was lost: then it may have happened or not. AuditError.
        """
        with self._translated(), self.engine.connect() as connection:
            connection = connection.execution_options(tidebook_writes=True)
            with connection.begin():
                yield connection

    def nothing_here(self) -> AuditError:
        """The error of who wants to read a trail where there is none, or one of an earlier release."""
        return AuditError(
            f"no audit trail of this release in {self.shown}; a node makes it when it starts, or `tidebook audit rebuild`",
            database=self.shown,
        )

    def damaged(self, what: str) -> AuditError:
        """The error of a file whose bytes are not what SQLite wrote."""
        return AuditError(
            f"{self.shown} is damaged ({what}); while no node runs, move it away with its -wal and -shm files: the next start, or `tidebook audit "
            "rebuild`, derives the trail again from the journal, as far back as that goes",
            database=self.shown,
        )

    def verify(self) -> None:
        """Reads all of it and compares tables with their indexes; a server's is left to the server. Raises: AuditError for damage; as `reading`."""
        if self.is_sqlite:
            with self.reading() as connection:
                found = connection.execute(text("PRAGMA integrity_check(3)")).scalars().all()
            if found != ["ok"]:
                raise self.damaged("; ".join(" ".join(line.split()) for line in found))

    def close(self) -> None:
        """Gives its connections up."""
        if self._patience is not None:
            self._patience.end()
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, psycopg.Error) as error:
            # A copy speaks with the driver itself.
            original = error.orig if isinstance(error, DBAPIError) else error
            reason = " ".join(str(original).split())
            if self._patience is not None and self._patience.is_over:
                raise AuditDatabaseAwayError(
                    f"{self.shown} gave no answer within {self._patience.answer_s:g} s", database=self.shown
                ) from error
            if _is_away(original):
                raise AuditDatabaseAwayError(
                    f"{self.shown} cannot be reached: {reason}", database=self.shown
                ) from error
            if _is_damaged(original):
                raise self.damaged(reason) from error
            raise AuditError(f"{self.shown}: {reason}", database=self.shown) from error
        except SQLAlchemyError as error:
            raise AuditError(f"{self.shown}: {error}", database=self.shown) from error


class _Patience:
    """Cuts a connection off when its time is over, so that who waits at it gets an error, whatever the server, or what stands before it, does."""

    def __init__(self, answer_s: float) -> None:
        self.answer_s = answer_s
        self.is_over = False
        self._begun: list[tuple[threading.Timer, socket.socket]] = []

    def begin(self, connection: psycopg.Connection[Any], _record: object) -> None:
        """From now on the connection has so much time."""
        # A descriptor of its own: that of the connection may be another file's once it is closed.
        its = socket.socket(fileno=os.dup(connection.fileno()))
        timer = threading.Timer(self.answer_s, self._cut, (its,))
        timer.daemon = True
        self._begun.append((timer, its))
        timer.start()

    def _cut(self, its: socket.socket) -> None:
        self.is_over = True
        with suppress(OSError):
            its.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Cuts nothing off any more."""
        while self._begun:
            timer, its = self._begun.pop()
            timer.cancel()
            timer.join()
            its.close()


def open_database(url: str, data: Path, *, answer_s: float | None = None) -> Database:
    """The database of an address, or that of a data directory where the address is empty; nothing is connected or made yet.

    With `answer_s` a server is waited for as long, and `CONNECT_BRIEFLY_S` more until it takes the connection; then it counts as away.
    Such a database is for one question, and is closed then.

    Raises: ConfigError for an address of another kind of database, and for one that is none.
    """
    if not url:
        return Database(URL.create("sqlite", database=str(data / SQLITE_FILE)))
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise _no_address() from None  # the text may hold a password
    if kind == "postgresql":
        return Database(parsed.set(drivername="postgresql+psycopg"), answer_s)
    if kind == "sqlite" and parsed.database:
        return Database(parsed.set(drivername="sqlite"))
    raise _no_address()


def _no_address() -> ConfigError:
    return ConfigError(
        "audit.url names no database for the audit trail: postgresql://user@host:5432/database is wanted, sqlite:////a/file, or nothing",
        key="audit.url",
    )


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, pool_size=1, max_overflow=4, connect_args={"timeout": _SQLITE_WAIT_MS / 1000})
    path = Path(url.database or "")

    @event.listens_for(engine, "connect")
    def _(connection: Any, record: ConnectionPoolEntry) -> None:
        # The driver would begin transactions by itself, at the first insert; `begin` below does.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -65536", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        record.info["file"] = path.stat().st_ino

    @event.listens_for(engine, "checkout")
    def _(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        # What is written to a file that was removed is lost without a word.
        if not path.exists() or path.stat().st_ino != record.info["file"]:
            record.invalidate()
            raise AuditDatabaseAwayError(f"{path} was removed or replaced", database=str(path))

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        writes = connection.get_execution_options().get("tidebook_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL, patience: _Patience | None) -> Engine:
    arguments = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": _SILENT_MS,
        "application_name": "tidebook audit",
    }
    named = {name: value for name, value in arguments.items() if name not in url.query}
    if patience is not None:
        named["connect_timeout"] = CONNECT_BRIEFLY_S
    engine = create_engine(url, pool_size=1, max_overflow=4, pool_pre_ping=True, connect_args=named)
    if patience is not None:
        # First of all: a connection is asked for what it is before anybody gets it.
        event.listen(engine, "connect", patience.begin, insert=True)
    return engine


def _is_damaged(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED_SQLITE


def _is_away(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _AWAY_SQLITE
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return error.sqlstate.startswith(_AWAY_SQLSTATES)
    # Without a state there was no server to give one.
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)

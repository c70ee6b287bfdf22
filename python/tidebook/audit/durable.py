"""How far the rows of an audit trail reach whatever happens to the power: what may go elsewhere on the strength of them.

No commit of the writer waits for a disk, so its newest transactions may be lost with the power, and the position with them. Here the disk is
waited for: SQLite's files are synced behind the read, which has all of them that a recovery needs (pages that are no longer in the log were
synced before the log was begun anew); a server is made to commit something with its log on disk, which takes along all that was committed before.
Its standbys are not waited for: a commit of the writer that waits for them is seen by nobody until they have it.

Nobody who asks waits for long. What is committed is a word in the log, which needs no lock of a row that somebody may have, and what a server does not
answer in time, as somebody has its tables or its disk hangs, it does not answer.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from tidebook.audit.upgrade import is_current
from tidebook.audit.writer import Position, read_position

if TYPE_CHECKING:
    from tidebook.audit.database import Database

ANSWER_S: Final = 3.0
"""A server that does not answer within this, whatever the reason, is away."""
_LOCK_MS: Final = 1_000
_STATEMENT_MS: Final = 1_500
"""Less than that, so that a server that can says itself what it waits for."""


def durable_position(database: Database) -> Position | None:
    """How far the rows reach, on disk; None where there are none of this release. It waits for nobody who has the tables, or a row of them.

    Raises: AuditDatabaseAwayError; AuditError; OSError.
    """
    if database.is_absent:
        return None
    if database.is_sqlite:
        with database.reading() as connection:
            if not is_current(database, connection):
                return None
            found = read_position(connection)
            _sync_log(Path(f"{database.url.database}-wal"))
            _sync_database(Path(str(database.url.database)))
        return found
    return _on_server(database)


def _on_server(database: Database) -> Position | None:
    with database.writing() as connection:
        for name, value in (
            ("lock_timeout", _LOCK_MS),
            ("statement_timeout", _STATEMENT_MS),
            ("synchronous_commit", "local"),
        ):
            connection.execute(text(f"SET LOCAL {name} TO {value}"))
        if not is_current(database, connection):
            return None
        found = read_position(connection)
        connection.execute(text("SELECT pg_logical_emit_message(true, 'tidebook', '')"))
        return found


_DATABASES: Final[dict[tuple[int, int], int]] = {}
"""Descriptors by device and inode, for good: whoever closes one of a database gives up all locks that his process has on it, those of SQLite too.
The next one who closes the database then thinks himself alone with it and removes the log that the writer goes on with. Nobody locks the log.
"""
_DATABASES_LOCK: Final = threading.Lock()


def _sync_log(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_database(path: Path) -> None:
    with _DATABASES_LOCK:
        status = path.stat()
        descriptor = _DATABASES.get((status.st_dev, status.st_ino))
        if descriptor is None:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            status = os.fstat(descriptor)
            _DATABASES.setdefault((status.st_dev, status.st_ino), descriptor)
    os.fsync(descriptor)

"""How far the rows of an audit trail reach whatever happens to the power: what may go elsewhere on the strength of them.

No commit of the writer waits for a disk, so its newest transactions may be lost with the power, and the position with them. Here the disk is
waited for: SQLite's files are synced behind the read, which has all of them that a recovery needs (pages that are no longer in the log were
synced before the log was begun anew); a server is made to commit something with its log on disk, which takes along all that was committed before.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select, text, update

from tidebook.audit.schema import position
from tidebook.audit.upgrade import is_current
from tidebook.audit.writer import Position, read_position

if TYPE_CHECKING:
    from tidebook.audit.database import Database


def durable_position(database: Database) -> Position | None:
    """How far the rows reach, on disk; None where there are none of this release.

    Raises: AuditDatabaseAwayError; AuditError; OSError.
    """
    if database.is_absent:
        return None
    if database.is_sqlite:
        with database.reading() as connection:
            if not is_current(database, connection):
                return None
            found = read_position(connection)
            for suffix in ("-wal", ""):
                _sync(Path(f"{database.url.database}{suffix}"))
        return found
    with database.reading() as connection:
        if not is_current(database, connection):
            return None
    with database.writing() as connection:
        connection.execute(text("SET LOCAL synchronous_commit TO on"))
        connection.execute(update(position).values(id=position.c.id))
        return Position(
            *connection.execute(select(position.c.sequence, position.c.executions, position.c.digest)).one()
        )


def _sync(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

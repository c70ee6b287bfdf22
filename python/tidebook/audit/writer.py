"""Adds rows to the audit trail, each exactly once.

The position is moved on in the transaction that adds the rows, and only from where the batch begins: whoever finds it elsewhere adds nothing.
So a writer that was killed, or never heard whether its commit happened, asks where the position is and goes on there, and of
two writers one is told that it is not alone.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import select, update

from tidebook.audit.schema import metadata, position
from tidebook.errors import AuditMismatchError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from tidebook.audit.database import Database
    from tidebook.audit.rows import Rows
    from tidebook.venue import Records


class Position(msgspec.Struct, frozen=True):
    """How far the rows reach."""

    sequence: int = 0
    """Last command of `orders`."""
    executions: int = 0
    """Last execution of these commands."""
    digest: int = 0
    """Of the bytes of that command, 63 bits: tells its journal from others, whose commands have other times."""


def digest(commands: Records) -> int:
    """Of the last of some commands."""
    return digest_of(commands[-1].tobytes())


def digest_of(command: bytes) -> int:
    """Of one command."""
    return int.from_bytes(hashlib.blake2b(command, digest_size=8).digest(), "little") >> 1


def read_position(connection: Connection) -> Position:
    """How far the rows reach; all 0 where there are none."""
    found = connection.execute(select(position.c.sequence, position.c.executions, position.c.digest)).one()
    return Position(*found)


def append(database: Database, begin: Position, end: Position, rows: Rows) -> None:
    """Adds the rows of the commands behind `begin` up to `end`; returns when they are committed.

    Raises: AuditMismatchError, and nothing is added, where the rows do not reach up to `begin`; AuditDatabaseAwayError: it may
            have happened or not, `read_position` says; AuditError.
    """
    here = (position.c.sequence == begin.sequence) & (position.c.digest == begin.digest)
    moved = {"sequence": end.sequence, "executions": end.executions, "digest": end.digest}
    with database.writing() as connection:
        if connection.execute(update(position).where(here).values(moved)).rowcount != 1:
            found = read_position(connection)
            raise AuditMismatchError(
                f"the audit trail in {database.shown} reaches to command {found.sequence}, not to {begin.sequence} any more: another "
                "process writes it, or it was put back to an earlier state",
                database=database.shown,
                sequence=begin.sequence,
                expected=begin.sequence,
                found=found.sequence,
            )
        for name, added in rows.items():
            _add(connection, metadata.tables[name], added, is_sqlite=database.is_sqlite)


def _add(connection: Connection, table: Table, rows: list[tuple[object, ...]], *, is_sqlite: bool) -> None:
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    if is_sqlite:
        places = ", ".join("?" * len(table.columns))
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({places})", rows)  # noqa: S608 - our names
        return
    driver = connection.connection.driver_connection
    assert driver is not None, "a connection in a transaction has one"
    with driver.cursor().copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)

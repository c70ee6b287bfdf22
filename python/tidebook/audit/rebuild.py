"""The audit trail dropped and derived again from the journal of `orders`, and both compared: the same journal gives the same rows."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import func, select, text

from tidebook.audit import views
from tidebook.audit.replica import Replica
from tidebook.audit.rows import derive
from tidebook.audit.schema import metadata
from tidebook.audit.source import Source
from tidebook.audit.upgrade import is_current, upgrade
from tidebook.audit.writer import Position, append, read_position
from tidebook.errors import JournalCompactedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from tidebook.audit.database import Database

_BATCH = 16_384
_ROWS_AT_ONCE = 10_000


class Content(msgspec.Struct, frozen=True):
    """What a table holds."""

    rows: int
    digest: str
    """Of every field of every row, in the order of keys."""


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What a rebuild found."""

    before: Position | None
    """How far the old rows reached; None where there were none of this release."""
    after: Position
    rows: int
    """That there are now."""
    different: list[str]
    """Tables whose rows up to where the old ones reached are not what the old ones were; or `position`."""

    @property
    def ok(self) -> bool:
        """Whether the old rows were what the journal gives."""
        return not self.different


def rebuild(database: Database, journal: Path, progress: Callable[[int], None] = lambda _: None) -> Rebuilt:
    """Drops the trail and derives it from the whole journal; nobody else may write it meanwhile. `progress` is told the last command.

    Interrupted, it leaves a trail that is whole as far as it reaches; an engine goes on there.
    Raises: JournalCompactedError, and nothing is dropped, for a journal that has lost its first commands; as `upgrade`, `append`.
    """
    with _from_the_first(database, journal) as source:
        first = source.read(1)
        before, old = _content_if_there(database)
        drop(database)
        upgrade(database)
        here = Position()
        replica = Replica.behind(here, journal)
        different: list[str] = []
        is_compared = before is None
        while first is not None:
            if not is_compared and before is not None and here.sequence == before.sequence:
                different, is_compared = _compare(database, before, old), True
            executions = replica.apply(*first)
            behind = replica.position
            append(database, here, behind, derive(*first, executions))
            here = behind
            progress(here.sequence)
            limit = _BATCH
            if before is not None and here.sequence < before.sequence:
                limit = min(limit, before.sequence - here.sequence)
            first = source.read(limit)
    if not is_compared and before is not None:
        different = _compare(database, before, old)
    with database.reading() as connection:
        rows = sum(
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
            if table.name != "position"
        )
    return Rebuilt(before=before, after=here, rows=rows, different=different)


def _from_the_first(database: Database, journal: Path) -> Source:
    """Raises: JournalCompactedError, saying which rows could not be made again."""
    try:
        return Source(journal, 0)
    except JournalCompactedError as error:
        first = int(str(error.facts["first"]))
        before, _ = _content_if_there(database)
        have = (
            "and there are none in it"
            if before is None or not before.sequence
            else f"and this trail, which reaches to command {before.sequence}, is the only thing that has them: keep it, and a copy of it"
        )
        raise JournalCompactedError(
            f"nothing was dropped in {database.shown}: orders begins with command {first}, so rows of commands 1 to {first - 1} could not be "
            f"made again, {have}",
            **error.facts,
        ) from error


def content(connection: Connection) -> dict[str, Content]:
    """What every table holds, the position too."""
    found = {}
    for table in metadata.sorted_tables:
        query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_ROWS_AT_ONCE)
        digest, count = hashlib.blake2b(digest_size=16), 0
        for rows in connection.execute(query).partitions():
            digest.update(msgspec.msgpack.encode([tuple(row) for row in rows]))
            count += len(rows)
        found[table.name] = Content(count, digest.hexdigest())
    return found


def _content_if_there(database: Database) -> tuple[Position | None, dict[str, Content]]:
    if database.is_absent:
        return None, {}
    with database.reading() as connection:
        if not is_current(database, connection):
            return None, {}
        return read_position(connection), content(connection)


def _compare(database: Database, before: Position, old: dict[str, Content]) -> list[str]:
    with database.reading() as connection:
        if read_position(connection) != before:
            return ["position"]
        new = content(connection)
    return [table for table in old if old[table] != new[table]]


def drop(database: Database) -> None:
    """Removes the tables and views; those of a later release too. Raises: AuditDatabaseAwayError, AuditError."""
    if database.is_absent:
        return
    with database.writing() as connection:
        for name in reversed(views.VIEWS):
            connection.execute(text(f"DROP VIEW IF EXISTS {name}"))
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))

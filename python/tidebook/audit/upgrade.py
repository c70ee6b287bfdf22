"""Brings a database to the tables and views of this release; refuses one that a later release has changed.

Tables change by revisions, which Alembic runs; views are a function of the release and are made anew whenever a revision was run. All
of it is one transaction: a database is of one release or of another, never between, and two that open it at once take turns.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from tidebook.audit import views
from tidebook.errors import AuditVersionError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tidebook.audit.database import Database

_SCRIPTS = Path(__file__).parent / "migrations"
# Of this and nothing else: whoever holds it changes tables.
_ADVISORY_LOCK = 0x74696465_61756474
# It tells every revision at level info, which is not what a node's log is for.
logging.getLogger("alembic").setLevel(logging.WARNING)


def upgrade(database: Database) -> None:
    """Makes the tables and views of this release, or changes older ones into them; SQLite's file and its directory too.

    Raises: AuditVersionError for a database of a later release; AuditDatabaseAwayError, AuditError; OSError.
    """
    if database.is_sqlite and database.url.database:
        Path(database.url.database).parent.mkdir(parents=True, exist_ok=True)
    with database.writing() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        if _revision(database, connection) == head():
            return
        for name in reversed(views.VIEWS):
            connection.execute(text(f"DROP VIEW IF EXISTS {name}"))
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
        command.upgrade(config, "head")
        for name in views.VIEWS:
            connection.execute(text(views.statement(name)))


def is_current(database: Database, connection: Connection) -> bool:
    """Whether the tables are those of this release; False where there are none yet, or older ones.

    Raises: AuditVersionError for those of a later release.
    """
    return _revision(database, connection) == head()


def head() -> str:
    """The revision of this release."""
    found = ScriptDirectory(str(_SCRIPTS)).get_current_head()
    assert found is not None, "there is a revision"
    return found


def _revision(database: Database, connection: Connection) -> str | None:
    found = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory(str(_SCRIPTS)).walk_revisions()}
    if found is not None and found not in known:
        raise AuditVersionError(
            f"the audit trail in {database.shown} is of revision {found}, this release knows up to {head()}; use the release that "
            "made it, or name another database",
            database=database.shown,
            found=found,
            expected=head(),
        )
    return found

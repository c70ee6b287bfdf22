"""The tables of a database are those of the release that opens it, or it is refused."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from tidebook.audit import Database, open_database, order_life, upgrade, views
from tidebook.audit import upgrade as upgrade_function
from tidebook.audit.schema import metadata
from tidebook.audit.upgrade import head
from tidebook.errors import AuditVersionError, ConfigError


def test_migrations_lead_to_the_tables_that_the_code_has(database: Database) -> None:
    upgrade(database)
    upgrade(database)
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert set(inspect(connection).get_view_names()) == set(views.VIEWS)


def test_who_changes_a_view_adds_a_revision() -> None:
    """Method: each revision says the digest of its views; a database gets new views with a new revision only."""
    folder = Path(upgrade_function.__code__.co_filename).parent / "migrations/versions"
    names = [path.stem for path in folder.glob("v*.py") if path.stem.startswith(f"v{head()}")]
    newest = importlib.import_module(f"tidebook.audit.migrations.versions.{names[0]}")
    statements = "\n".join(views.statement(name) for name in views.VIEWS)
    assert hashlib.sha256(statements.encode()).hexdigest()[:16] == newest.VIEWS


def test_a_database_of_a_later_release_is_refused_and_stays(database: Database) -> None:
    upgrade(database)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for act in (lambda: upgrade(database), lambda: order_life(database, 2)):
        with pytest.raises(AuditVersionError, match="is of revision 9999, this release knows up to") as refused:
            act()
        assert refused.value.facts["found"] == "9999"


@pytest.mark.parametrize(
    "url", ["mysql://user:secret@host/x", "postgresql", "sqlite://", "nonsense://user:secret@x", "http://secret"]
)
def test_an_address_of_no_database_is_refused_without_its_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"audit\.url names no database") as refused:
        open_database(url, tmp_path)
    assert "secret" not in str(refused.value)


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    database = open_database("postgresql://user:secret@127.0.0.1:5432/audit", tmp_path)
    assert database.shown == "postgresql+psycopg://user:***@127.0.0.1:5432/audit"

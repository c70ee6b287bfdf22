"""A PostgreSQL server for the whole run, and an empty database of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.audit.postgresql import PostgreSql
from tidebook.audit import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tidebook.audit import Database


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    server = PostgreSql()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """Address of an empty database of each kind, as a setting has it."""
    if request.param == "sqlite":
        return ""
    server: PostgreSql = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[Database]:
    opened = open_database(url, tmp_path)
    yield opened
    opened.close()

"""A writer that is killed at any moment, however often, leaves the rows of an unbroken run."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.audit.postgresql import PostgreSql


def campaign(directory: Path, url: str, commands: int, kills: int, seed: int) -> str:
    command = [sys.executable, "-m", "tests.audit.kill_runs", str(directory), url, *map(str, (commands, kills, seed))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def test_kills_neither_lose_nor_double_a_row_in_sqlite(tmp_path: Path, say: Callable[[str], None]) -> None:
    say(f"audit, SQLite: {campaign(tmp_path, '', 6_000, 25, random.randrange(1 << 32))}")


def test_kills_neither_lose_nor_double_a_row_in_postgresql(
    postgresql: PostgreSql, tmp_path: Path, say: Callable[[str], None]
) -> None:
    url = postgresql.new_database()
    say(f"audit, PostgreSQL: {campaign(tmp_path, url, 3_000, 10, random.randrange(1 << 32))}")


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_hundreds_of_kills_neither_lose_nor_double_a_row(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, say: Callable[[str], None]
) -> None:
    url = request.getfixturevalue("postgresql").new_database() if kind == "postgresql" else ""
    say(f"audit, {kind}: {campaign(tmp_path, url, 60_000, 500, random.randrange(1 << 32))}")

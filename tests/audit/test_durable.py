"""How far a trail's rows are safe is asked of a server that lets nobody wait, whatever it waits for itself."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import update

from tests.audit.postgresql import PostgreSql
from tidebook.audit import open_database, upgrade
from tidebook.audit.durable import durable_position
from tidebook.audit.schema import position
from tidebook.audit.writer import Position
from tidebook.errors import AuditDatabaseAwayError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = Position(sequence=7, executions=3, digest=11)
ANSWER_S = 3.0


@pytest.fixture
def trail(postgresql: PostgreSql, tmp_path: Path) -> str:
    """Address of a trail that reaches somewhere."""
    url = postgresql.new_database()
    database = open_database(url, tmp_path)
    upgrade(database)
    with database.writing() as connection:
        connection.execute(update(position).values(sequence=7, executions=3, digest=11))
    database.close()
    return url


def asked(url: str, place: Path) -> Position | None:
    """As who keeps `orders` asks."""
    database = open_database(url, place, answer_s=ANSWER_S)
    try:
        return durable_position(database)
    finally:
        database.close()


@contextmanager
def somebody(url: str, statement: str) -> Iterator[None]:
    """Has what a statement takes, in a transaction that does not end."""
    with psycopg.connect(url) as connection:
        connection.execute(statement)
        yield
        connection.rollback()


def test_a_row_that_somebody_has_is_waited_for_by_nobody(trail: str, tmp_path: Path) -> None:
    with somebody(trail, "UPDATE position SET id = id"):
        assert asked(trail, tmp_path) == ROWS


def test_tables_that_somebody_has_are_not_waited_for(trail: str, tmp_path: Path) -> None:
    with (
        somebody(trail, "LOCK TABLE position IN ACCESS EXCLUSIVE MODE"),
        pytest.raises(AuditDatabaseAwayError, match="lock timeout"),
    ):
        asked(trail, tmp_path)
    assert asked(trail, tmp_path) == ROWS


def test_a_synchronous_standby_that_is_away_is_waited_for_by_nobody_who_asks(tmp_path: Path) -> None:
    server = PostgreSql()
    try:
        server.start()
        url = server.new_database()
        database = open_database(url, tmp_path)
        upgrade(database)
        database.close()
        server.set("synchronous_standby_names", "away")
        assert asked(url, tmp_path) == Position()
    finally:
        server.remove()


def test_a_server_that_takes_a_connection_and_says_nothing_more_is_away(trail: str, tmp_path: Path) -> None:
    """What stands between: it has the client's questions, and the server's answers only until the client may ask."""
    directory = tmp_path / "between"
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(directory / ".s.PGSQL.5432"))
        listening.listen()
        server = trail.partition("host=")[2] + "/.s.PGSQL.5432"
        threading.Thread(target=_lets_in, args=(listening, server), daemon=True).start()
        url = f"{trail.partition('?')[0]}?host={directory}"
        with pytest.raises(AuditDatabaseAwayError, match="gave no answer within 3 s"):
            asked(url, tmp_path)
    assert asked(trail, tmp_path) == ROWS


def test_the_writer_keeps_its_log_when_somebody_else_looks_at_the_trail(tmp_path: Path) -> None:
    """Method: the writer and who asks are one process, as in a node; programs beside it open and close the database."""
    url = f"sqlite:///{tmp_path / 'audit.sqlite'}"
    database = open_database(url, tmp_path)
    upgrade(database)
    for sequence in (7, 8, 9):
        with database.writing() as connection:
            connection.execute(update(position).values(sequence=sequence, executions=3, digest=11))
        assert durable_position(database) == Position(sequence=sequence, executions=3, digest=11)
        assert _seen_by_others(tmp_path) == sequence
    database.close()


def _seen_by_others(directory: Path) -> int:
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(c.execute('SELECT sequence FROM position').fetchone()[0]); c.close()"
    command = [sys.executable, "-c", program, str(directory / "audit.sqlite")]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _lets_in(listening: socket.socket, server: str) -> None:
    client, _ = listening.accept()
    with client, socket.socket(socket.AF_UNIX) as behind:
        behind.connect(server)
        said = client.recv(1 << 16)
        if said[4:8] == b"\x04\xd2\x16\x2f":  # whether it may be encrypted
            client.sendall(b"N")
            said = client.recv(1 << 16)
        behind.sendall(said)
        answer = b""
        while not answer.endswith(b"Z\x00\x00\x00\x05I"):  # it may ask
            answer += behind.recv(1 << 16)
        client.sendall(answer)
        while client.recv(1 << 16):
            pass

"""The audit engine follows `orders`: from the journal, then live, over outages of its database, and never a row twice."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import tidebook as tb
from tests.audit.market import ALICE, BOB, Market, stream, write
from tidebook.audit import AuditEngine, AuditOptions, AuditStatus, Position, open_database, position, upgrade
from tidebook.audit.rebuild import Content, content
from tidebook.audit.rows import derive
from tidebook.audit.writer import append, digest
from tidebook.errors import AuditMismatchError
from tidebook.persistence import compact
from tidebook.venue import COMMAND, Records, Side, Venue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.audit.postgresql import PostgreSql

LONG_S = 60.0
COMMANDS = 3_000


@pytest.fixture(scope="module")
def given() -> Records:
    return stream(COMMANDS, seed=5)


def trail(database_url: str, data: Path) -> dict[str, Content]:
    """What every table holds."""
    database = open_database(database_url, data)
    with database.reading() as connection:
        found = content(connection)
    database.close()
    return found


@pytest.fixture(scope="module")
def expected(given: Records, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, Content]]:
    """What the trail of the first so many commands is, by one transaction that nothing ever broke."""

    def whole(count: int) -> dict[str, Content]:
        data = tmp_path_factory.mktemp("whole")
        database = open_database("", data)
        upgrade(database)
        add(database_url="", data=data, commands=given[:count])
        return trail("", data)

    return whole


def add(database_url: str, data: Path, commands: Records) -> None:
    """Puts the trail of the first commands into an empty database."""
    database = open_database(database_url, data)
    upgrade(database)
    replica = Venue()
    executions = replica.replay(commands).executions
    end = Position(len(commands), int(executions["sequence"][-1]), digest(commands))
    append(database, Position(), end, derive(1, commands, executions))
    database.close()


def until(engine: AuditEngine, holds: Callable[[AuditStatus], bool]) -> AuditStatus:
    """Waits until its status is such."""
    with engine._moved:
        assert engine._moved.wait_for(lambda: holds(engine.status()), LONG_S), engine.status()
    return engine.status()


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Callable[..., AuditEngine]]:
    """Makes engines of `tmp_path` and starts them; what a test leaves running is stopped."""
    made: list[AuditEngine] = []

    def start(url: str = "", **options: object) -> AuditEngine:
        engine = AuditEngine(tmp_path, url=url, **options)  # type: ignore[arg-type]
        engine.start()
        made.append(engine)
        return engine

    yield start
    for engine in made:
        assert engine.stop()


def test_it_adds_what_is_in_the_journal_then_what_comes_and_goes_on_where_it_ended(
    url: str,
    tmp_path: Path,
    given: Records,
    engines: Callable[..., AuditEngine],
    expected: Callable[[int], dict[str, Content]],
) -> None:
    journal = tmp_path / "journal/orders"
    write(journal, given[:1_000])
    engine = engines(url, options=AuditOptions(batch_commands=64))
    assert engine.wait(1_000, LONG_S)
    write(journal, given[:2_000])
    assert engine.wait(2_000, LONG_S)
    status = engine.status()
    assert (status.state, status.sequence, status.problem) == ("following", 2_000, "")
    assert engine.stop()
    assert engine.status().state == "stopped"
    write(journal, given)
    assert engines(url).wait(COMMANDS, LONG_S)
    assert trail(url, tmp_path) == expected(COMMANDS)


def test_it_sees_new_commands_of_a_channel_when_they_are_durable(
    tmp_path: Path, given: Records, engines: Callable[..., AuditEngine], expected: Callable[[int], dict[str, Content]]
) -> None:
    """Method: a ring that holds a tenth of what is written, so that the engine reads the ring, and the journal where it was too slow."""
    rings = tmp_path / "rings"
    rings.mkdir(mode=0o700)
    options = tb.ChannelOptions(
        schema="commands", buffer_size=300 * COMMAND.itemsize, durability="wal", wal_dir=tmp_path / "journal"
    )
    channel = tb.create_channel("orders", options, directory=rings)
    with tb.open_producer(channel) as producer:
        producer.write_batch(given[:100])
        producer.flush()
        engine = engines(channel=lambda: channel)
        assert engine.wait(100, LONG_S)
        for begin in range(100, COMMANDS, 100):
            producer.write_batch(given[begin : begin + 100])
        producer.flush()
        assert engine.wait(COMMANDS, LONG_S)
        assert engine.stop()
    assert trail("", tmp_path) == expected(COMMANDS)


def test_what_the_operating_system_refuses_is_waited_for_like_a_database_that_is_away(
    tmp_path: Path, given: Records, engines: Callable[..., AuditEngine], expected: Callable[[int], dict[str, Content]]
) -> None:
    """Method: a file lies where the directory of the database is to be made."""
    write(tmp_path / "journal/orders", given)
    (tmp_path / "audit").write_text("in the way")
    engine = engines()
    waiting = until(engine, lambda status: status.state == "waiting")
    assert str(tmp_path / "audit") in waiting.problem
    (tmp_path / "audit").unlink()
    assert engine.wait(COMMANDS, LONG_S)
    assert trail("", tmp_path) == expected(COMMANDS)


def test_what_nobody_thought_of_ends_it_and_its_status_says_what(
    tmp_path: Path, given: Records, engines: Callable[..., AuditEngine]
) -> None:
    write(tmp_path / "journal/orders", given[:10])

    def channel() -> None:
        raise RuntimeError("no such thing")

    engine = engines(channel=channel)
    failed = until(engine, lambda status: status.state == "failed")
    assert failed.problem == "internal error: RuntimeError: no such thing"


def test_without_a_journal_it_waits_for_one(
    tmp_path: Path, given: Records, engines: Callable[..., AuditEngine]
) -> None:
    engine = engines()
    waiting = until(engine, lambda status: status.state == "waiting")
    assert "orders" in waiting.problem
    assert waiting.waiting_since is not None
    write(tmp_path / "journal/orders", given[:50])
    assert engine.wait(50, LONG_S)


def test_a_server_that_goes_away_is_waited_for_and_nothing_is_lost_or_doubled(
    postgresql: PostgreSql,
    tmp_path: Path,
    given: Records,
    engines: Callable[..., AuditEngine],
    expected: Callable[[int], dict[str, Content]],
) -> None:
    url = postgresql.new_database()
    journal = tmp_path / "journal/orders"
    write(journal, given[:500])
    engine = engines(url, options=AuditOptions(batch_commands=50))
    assert engine.wait(500, LONG_S)
    for part in range(1, 6):
        write(journal, given[: 500 * (part + 1)])
        postgresql.stop("immediate" if part % 2 else "fast")
        if part == 5:
            waiting = until(engine, lambda status: status.state == "waiting")
            assert "cannot be reached" in waiting.problem
            assert waiting.sequence <= COMMANDS
        postgresql.start()
    assert engine.wait(COMMANDS, LONG_S), engine.status()
    assert until(engine, lambda status: status.state == "following").waiting_since is None
    assert trail(url, tmp_path) == expected(COMMANDS)


def test_a_server_that_is_not_there_at_the_start_is_waited_for(
    postgresql: PostgreSql, tmp_path: Path, given: Records, engines: Callable[..., AuditEngine]
) -> None:
    url = postgresql.new_database()
    write(tmp_path / "journal/orders", given[:100])
    postgresql.stop()
    engine = engines(url)
    until(engine, lambda status: status.state == "waiting")
    postgresql.start()
    assert engine.wait(100, LONG_S), engine.status()


def test_a_file_that_is_removed_meanwhile_is_made_again_whole(
    tmp_path: Path, given: Records, engines: Callable[..., AuditEngine], expected: Callable[[int], dict[str, Content]]
) -> None:
    write(tmp_path / "journal/orders", given[:1_000])
    engine = engines()
    assert engine.wait(1_000, LONG_S)
    shutil.rmtree(tmp_path / "audit")
    write(tmp_path / "journal/orders", given)
    assert engine.wait(COMMANDS, LONG_S), engine.status()
    assert trail("", tmp_path) == expected(COMMANDS)


def test_a_trail_that_was_put_back_to_an_earlier_state_is_gone_on_from_there(
    url: str,
    tmp_path: Path,
    given: Records,
    engines: Callable[..., AuditEngine],
    expected: Callable[[int], dict[str, Content]],
) -> None:
    write(tmp_path / "journal/orders", given)
    add(url, tmp_path, given[:1_234])
    assert engines(url).wait(COMMANDS, LONG_S)
    assert trail(url, tmp_path) == expected(COMMANDS)


@pytest.mark.parametrize("how", ["another journal", "a journal that ends before"])
def test_a_trail_of_another_journal_is_refused_and_stays(
    how: str, url: str, tmp_path: Path, given: Records, engines: Callable[..., AuditEngine]
) -> None:
    add(url, tmp_path, given[:500])
    before = trail(url, tmp_path)
    write(tmp_path / "journal/orders", stream(600, seed=6) if how == "another journal" else given[:400])
    engine = engines(url)
    failed = until(engine, lambda status: status.state == "failed")
    assert "reaches to command 500" in failed.problem
    assert "tidebook audit rebuild" in failed.problem
    assert not engine.wait(600, LONG_S)
    assert trail(url, tmp_path) == before


def test_of_two_writers_one_is_refused_and_adds_nothing(url: str, tmp_path: Path, given: Records) -> None:
    add(url, tmp_path, given[:500])
    before = trail(url, tmp_path)
    database = open_database(url, tmp_path)
    replica = Venue()
    executions = replica.replay(given[:500]).executions
    rows = derive(1, given[:500], executions)
    with pytest.raises(AuditMismatchError, match="reaches to command 500, not to 0 any more"):
        append(database, Position(), Position(500, 1, 1), rows)
    assert trail(url, tmp_path) == before
    database.close()


def test_an_engine_tells_how_far_it_is_behind(tmp_path: Path, engines: Callable[..., AuditEngine]) -> None:
    market = Market()
    market.place(ALICE, Side.BUY, 9_000, 5)
    market.place(BOB, Side.SELL, 9_000, 5)
    market.write(tmp_path / "journal/orders")
    engine = engines()
    last = market.venue.sequence
    assert engine.wait(last, LONG_S)
    status = engine.status()
    assert (status.sequence, status.durable, status.executions) == (last, last, int(market.executions["sequence"][-1]))
    assert status.database == str(tmp_path / "audit/audit.sqlite")
    assert status.rows > last
    assert position(open_database("", tmp_path)) is not None


def test_an_engine_whose_database_is_away_tells_how_far_it_is_behind(
    tmp_path: Path, engines: Callable[..., AuditEngine], given: Records
) -> None:
    write(tmp_path / "journal/orders", given[:100])
    (tmp_path / "audit").write_text("in the way")
    engine = engines()
    waiting = until(engine, lambda status: status.state == "waiting")
    assert (waiting.durable, waiting.sequence) == (100, 0)
    write(tmp_path / "journal/orders", given[:300])
    assert until(engine, lambda status: status.durable == 300).state == "waiting"


def test_a_journal_that_has_lost_its_first_commands_is_refused_where_no_snapshot_stands_for_them(
    url: str, tmp_path: Path, given: Records, engines: Callable[..., AuditEngine]
) -> None:
    journal = tmp_path / "journal/orders"
    write(journal, given, segment_size_bytes=65_536)
    add(url, tmp_path, given[:2_500])
    before = trail(url, tmp_path)
    assert compact(journal, 1_500).first_sequence > 1_000
    failed = until(engines(url), lambda status: status.state == "failed")
    assert "it can only be made again from a snapshot" in failed.problem
    assert trail(url, tmp_path) == before

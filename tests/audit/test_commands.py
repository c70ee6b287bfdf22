"""`tidebook audit`: lives, fills, views, how far it reaches, and derived again."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from tests.audit.market import ALICE, BOB, Market, stream, write
from tidebook import venue
from tidebook.audit import AuditEngine, Database, open_database, rebuild
from tidebook.cli import boundary, build_app
from tidebook.errors import JournalCompactedError
from tidebook.node.presence import owning
from tidebook.persistence import compact
from tidebook.venue import OrderType, Side, TimeInForce

if TYPE_CHECKING:
    from pathlib import Path
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """What a command gave."""

    returncode: int
    stdout: str
    stderr: str


Tidebook = Callable[..., Shown]


@pytest.fixture
def tidebook(capfd: pytest.CaptureFixture[str]) -> Tidebook:
    """Runs `tidebook audit ...` in this process."""

    def run(*words: str | Path | int) -> Shown:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            boundary.run(build_app(), ["audit", *map(str, words)])
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Shown(ended.value.code, out, err)

    return run


@pytest.fixture
def traded(tmp_path: Path) -> tuple[Path, int]:
    """A data directory with one trade in its audit trail, and the order that was filled."""
    market = Market()
    order = market.place(ALICE, Side.BUY, 10_000, 1_500, client_order_id="mine")
    market.place(BOB, Side.SELL, 10_000, 500)
    market.cancel(ALICE, order)
    market.write(tmp_path / "journal/orders")
    follow(tmp_path, "", market.venue.sequence)
    return tmp_path, order


def follow(data: Path, url: str, last: int) -> None:
    engine = AuditEngine(data, url=url)
    engine.start()
    assert engine.wait(last, 60), engine.status()
    assert engine.stop()


def test_accounts_and_instruments_go_by_the_names_that_the_venue_has(
    tidebook: Tidebook, traded: tuple[Path, int]
) -> None:
    data, order = traded
    names = {"alice": {"number": ALICE}, "bob": {"number": BOB}}
    instruments = {"BTC-USD.LOCAL": {"number": 1, "base": "BTC", "quote": "USD"}}
    path = data / "venue/names.json"
    path.parent.mkdir()
    known = {"format": "tidebook-venue-names", "version": 1, "accounts": names, "instruments": instruments}
    path.write_text(json.dumps(known))
    shown = tidebook("order", "mine", "--account", "alice", "--data", data)
    assert shown.stdout.startswith(f"order {order} (mine) of account alice, BTC-USD.LOCAL: buy 1.500 at 100.00")
    assert f"{order + 2} of bob" in shown.stdout
    words = ("--account", "bob", "--instrument", "BTC-USD.LOCAL", "--data", data, "--json")
    (fill,) = json.loads(tidebook("fills", *words).stdout)["fills"]
    assert (fill["account"], fill["counter_account"]) == (BOB, ALICE)
    shown = tidebook("views", "cancels_per_fill", "--account", "alice", "--data", data)
    heads, _, line = shown.stdout.splitlines()[:3]
    assert re.split(r"  +", heads.strip())[:2] == ["account", "instrument"]
    assert line.split()[:2] == ["alice", "BTC-USD.LOCAL"]
    # Half a coin was filled and a whole one cancelled.
    assert line.split()[-3:] == ["0.500", "1.000", "1.0"]
    refused = tidebook("fills", "--account", "alise", "--data", data)
    assert (refused.returncode, "did you mean alice?" in refused.stderr) == (2, True)


def test_a_damaged_file_is_found_by_verify_and_told_with_its_remedy(tidebook: Tidebook, tmp_path: Path) -> None:
    market = Market()
    for at in range(400):
        market.place(ALICE, Side.BUY, 9_000 + at, 10, client_order_id=f"order-{at}")
    market.write(tmp_path / "journal/orders")
    follow(tmp_path, "", market.venue.sequence)
    assert tidebook("status", "--verify", "--data", tmp_path).returncode == 0
    (path,) = tmp_path.rglob("*.sqlite")
    whole = path.read_bytes()
    at = whole.rindex(b"order-17")
    path.write_bytes(whole[:at] + b"ordex" + whole[at + 5 :])
    assert tidebook("status", "--data", tmp_path).returncode == 0
    found = tidebook("status", "--verify", "--data", tmp_path)
    assert (found.returncode, "is damaged (" in found.stdout, "move it away" in found.stdout) == (1, True, True), found
    path.write_bytes(whole[:100] + bytes(len(whole) - 100))
    refused = tidebook("rebuild", "--data", tmp_path)
    assert (refused.returncode != 0, "move it away" in refused.stderr) == (True, True), refused
    for file in tmp_path.rglob("*.sqlite*"):
        file.unlink()
    assert tidebook("rebuild", "--data", tmp_path).returncode == 0
    assert tidebook("status", "--verify", "--data", tmp_path).returncode == 0


def test_order_tells_the_terms_that_it_had_and_those_that_a_replace_gave_it(tidebook: Tidebook, tmp_path: Path) -> None:
    market = Market()
    market.place(ALICE, Side.BUY, 10_000, 1_000)
    until = market.now + 3_600 * 1_000_000_000
    stop = market.place(
        BOB,
        Side.SELL,
        0,
        500,
        order_type=OrderType.STOP,
        trigger_price=9_500,
        time_in_force=TimeInForce.GTD,
        expire_ts=until,
    )
    market.do(venue.replace(BOB, 1, stop, trigger_price=9_400, size=500, expire_ts=until))
    by_amount = market.place(BOB, Side.SELL, 9_000, 0, order_type=OrderType.MARKET, amount=1_234)
    market.write(tmp_path / "journal/orders")
    follow(tmp_path, "", market.venue.sequence)
    lines = [
        re.sub(r" +", " ", line).strip() for line in tidebook("order", stop, "--data", tmp_path).stdout.splitlines()
    ]
    end = datetime.fromtimestamp(until / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    assert lines[0].startswith(
        f"order {stop} of account {BOB}, 1.LOCAL: sell 0.500, stop gtd, trigger 95.00, until {end}"
    )
    assert any("placed: accepted" in line and f"trigger 95.00, until {end}" in line for line in lines), lines
    assert any("replace: accepted" in line and f"trigger 94.00, until {end}" in line for line in lines), lines
    told = tidebook("order", by_amount, "--data", tmp_path).stdout
    assert "sell for 12.34, market ioc" in told
    assert "for 12.34" in told.splitlines()[3]
    since = datetime.fromtimestamp(market.now / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    assert json.loads(tidebook("fills", "--end", since, "--data", tmp_path, "--json").stdout)["fills"] == []
    assert len(json.loads(tidebook("fills", "--start", since, "--data", tmp_path, "--json").stdout)["fills"]) == 2


def test_order_tells_a_life_in_decimals(tidebook: Tidebook, traded: tuple[Path, int]) -> None:
    data, order = traded
    shown = tidebook("order", order, "--data", data)
    assert shown.returncode == 0, shown.stderr
    lines = [re.sub(r" +", " ", line).strip() for line in shown.stdout.splitlines()]
    assert lines[0] == f"order {order} (mine) of account {ALICE}, 1.LOCAL: buy 1.500 at 100.00, limit gtc"
    assert any(f"fill, maker 100.00 0.500 1.000 0.50 {order + 2} of {BOB}" in line for line in lines), shown.stdout
    assert any("ended: cancelled 100.00 1.000 requested" in line for line in lines), shown.stdout
    by_client = tidebook("order", "mine", "--account", ALICE, "--data", data, "--json")
    facts = json.loads(by_client.stdout)["orders"]
    assert [life["order"]["order_id"] for life in facts] == [order]
    assert [step["event"] for step in facts[0]["steps"]] == [
        "placed",
        "accepted",
        "fill",
        "cancel",
        "cancelled",
        "ended",
    ]


def test_an_order_that_is_not_there_is_one_line_and_a_code(tidebook: Tidebook, traded: tuple[Path, int]) -> None:
    data, _ = traded
    for arguments in (("order", "4444"), ("order", "mine"), ("order", "yours", "--account", "1")):
        shown = tidebook(*arguments, "--data", data)
        assert (shown.returncode, shown.stdout) == (2, "")
        assert shown.stderr.count("\n") == 1


def test_fills_and_views_are_listed(tidebook: Tidebook, traded: tuple[Path, int]) -> None:
    data, order = traded
    fills = json.loads(tidebook("fills", "--data", data, "--json").stdout)["fills"]
    assert [(fill["order_id"], fill["size"]) for fill in fills] == [(order, 500), (order + 2, 500)]
    assert "0.500" in tidebook("fills", "--account", BOB, "--data", data).stdout
    names = [line.partition(":")[0] for line in tidebook("views").stdout.splitlines()]
    assert names == ["cancels_per_fill", "layering", "wash_same_owner", "wash_round_trips", "self_trade_prevented"]
    lines = json.loads(tidebook("views", "cancels_per_fill", "--set", "window_s=60", "--data", data, "--json").stdout)
    assert [(line["account"], line["cancelled"]) for line in lines["lines"]] == [(ALICE, 1), (BOB, 0)]
    assert tidebook("views", "layering", "--data", data).stdout == "layering: nothing found\n"
    assert "whole number" in tidebook("views", "layering", "--set", "orders_min", "--data", data).stderr


def test_status_says_how_far_it_reaches_and_what_is_missing(tidebook: Tidebook, traded: tuple[Path, int]) -> None:
    data, order = traded
    last = order // 2 + 2
    assert tidebook("status", "--data", data).stdout.endswith("all that is durable is there\n")
    (data / "audit/audit.sqlite").unlink()
    shown = tidebook("status", "--data", data)
    assert (shown.returncode, shown.stdout) == (
        0,
        f"{data}/audit/audit.sqlite: no audit trail yet; {last} commands in the journal\n",
    )


def test_a_server_that_is_away_is_said_with_its_address_and_no_password(tidebook: Tidebook, tmp_path: Path) -> None:
    shown = tidebook("status", "--data", tmp_path, "--url", "postgresql://me:secret@127.0.0.1:1/audit")
    assert shown.returncode == 1
    assert "me:***@127.0.0.1:1/audit cannot be reached" in shown.stdout
    assert "secret" not in shown.stdout + shown.stderr


def test_rebuild_gives_the_same_and_finds_what_was_changed(database: Database, tmp_path: Path, url: str) -> None:
    given = stream(1_500, seed=3)
    journal = tmp_path / "journal/orders"
    write(journal, given[:1_000])
    follow(tmp_path, url, 1_000)
    write(journal, given)
    found = rebuild(database, journal)
    assert found.before is not None
    assert (found.before.sequence, found.after.sequence, found.different) == (1_000, 1_500, [])
    assert rebuild(database, journal).different == []
    with database.writing() as connection:
        connection.execute(
            text("UPDATE fills SET price = price + 1 WHERE execution = (SELECT MIN(execution) FROM fills)")
        )
        connection.execute(text("DELETE FROM commands WHERE sequence = 700"))
    assert rebuild(database, journal).different == ["commands", "fills"]
    assert rebuild(database, journal).ok


def test_rebuild_is_a_command_that_needs_the_directory_for_itself(tidebook: Tidebook, traded: tuple[Path, int]) -> None:
    data, order = traded
    shown = tidebook("rebuild", "--data", data)
    assert shown.returncode == 0, shown.stderr
    assert f"of {order // 2 + 2} commands derived" in shown.stdout
    assert "was the same" in shown.stdout
    database = open_database("", data)
    with database.writing() as connection:
        connection.execute(text("DELETE FROM endings"))
    database.close()
    shown = tidebook("rebuild", "--data", data)
    assert (shown.returncode, "was different in endings" in shown.stdout) == (1, True)
    with owning(data, "run"):
        busy = tidebook("rebuild", "--data", data)
    assert (busy.returncode, "stop it first" in busy.stderr) == (1, True)


def test_rebuild_drops_nothing_that_the_journal_cannot_give_again(tmp_path: Path) -> None:
    given = stream(1_500, seed=4)
    journal = tmp_path / "journal/orders"
    write(journal, given, segment_size_bytes=65_536)
    follow(tmp_path, "", 1_500)
    assert compact(journal, 1_000).first_sequence > 1
    database = open_database("", tmp_path)
    with pytest.raises(JournalCompactedError):
        rebuild(database, journal)
    with database.reading() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM commands")).scalar_one() == 1_500
    database.close()

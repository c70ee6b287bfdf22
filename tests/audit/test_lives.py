"""Each order's life is one query, and nothing that happened is missing from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select, text

from tests.audit.market import ALICE, BOB, BTC_USD, Market, stream
from tidebook import venue
from tidebook.audit import Database, Position, fills, order_life, orders_of, scales, upgrade
from tidebook.audit.rows import derive
from tidebook.audit.schema import commands, endings, events, orders
from tidebook.audit.schema import fills as fills_table
from tidebook.audit.writer import append
from tidebook.errors import AuditError, QueryError
from tidebook.venue import (
    ExecutionKind,
    OrderFlag,
    OrderType,
    SelfTrade,
    Session,
    Side,
    TimeInForce,
    Venue,
    Verdict,
)

if TYPE_CHECKING:
    import numpy as np


def told(database: Database, order_id: int) -> list[str]:
    """An order's life, a line a step, as a trader would write it down."""
    lines = []
    for step in order_life(database, order_id).steps:
        words = [step["event"], step["outcome"], step["liquidity"], step["side"]]
        numbers = (step["size"], "at", step["price"]) if step["price"] else (step["size"],)
        rest = [f"{step['remaining']} left"] if step["remaining"] is not None else []
        why = [step["reason"]]
        with_ = [f"fee {step['fee']}", f"with {step['counter_order_id']}"] if step["event"] == "fill" else []
        lines.append(" ".join(str(word) for word in (*words, *numbers, *rest, *why, *with_) if word is not None))
    return lines


def test_a_life_tells_placing_fills_replacing_cancelling_and_the_end(database: Database) -> None:
    market = Market()
    order = market.place(ALICE, Side.BUY, 10_000, 100, client_order_id="first")
    seller = market.place(BOB, Side.SELL, 10_000, 30, time_in_force=TimeInForce.IOC)
    market.do(venue.replace(ALICE, BTC_USD, order, price=10_005, size=90))
    other = market.place(BOB, Side.SELL, 10_005, 20)
    market.cancel(ALICE, order)
    market.add_to(database)
    assert told(database, order) == [
        "placed accepted buy 100 at 10000",
        "accepted buy 100 at 10000 100 left",
        f"fill maker buy 30 at 10000 70 left fee 3 with {seller}",
        "replace accepted 90 at 10005",
        "replaced buy 90 at 10005 60 left",
        f"fill maker buy 20 at 10005 40 left fee 3 with {other}",
        "cancel accepted",
        "cancelled buy 40 at 10005 0 left requested",
        "ended cancelled buy 40 at 10005 requested",
    ]
    assert told(database, other)[-2:] == [
        f"fill taker sell 20 at 10005 0 left fee 7 with {order}",
        "ended filled sell 0",
    ]
    assert orders_of(database, ALICE, "first") == [order]
    life = order_life(database, order)
    assert (life.order["client_order_id"], life.order["order_type"], life.order["time_in_force"]) == (
        "first",
        "limit",
        "gtc",
    )
    assert (str(life.scale.price(10_005)), str(life.scale.size(90))) == ("100.05", "0.090")
    assert scales(database).keys() == {BTC_USD}


def test_a_refused_order_has_a_life_of_its_refusal_whoever_refused_it(database: Database) -> None:
    market = Market()
    market.place(BOB, Side.SELL, 10_010, 10)
    by_risk = market.place(ALICE, Side.BUY, 10_000, 1 << 41)
    by_venue = market.place(ALICE, Side.BUY, 10_010, 5, flags=OrderFlag.POST_ONLY)
    market.place(BOB, Side.BUY, 9_000, 10)
    by_venue_too = venue.place_pair(
        ALICE, BTC_USD, Side.SELL, 9_000, 5, trigger_price=8_000, limit_price=7_000, flags=OrderFlag.POST_ONLY
    )
    pair = 2 * market.do(by_venue_too)
    market.add_to(database)
    assert told(database, by_risk)[0] == f"placed rejected buy {1 << 41} at 10000 size"
    assert told(database, by_risk)[-1].startswith("ended refused buy")
    assert told(database, by_venue) == [
        "placed accepted buy 5 at 10010",
        "rejected 0 0 left post_only",
        "ended refused 0 post_only",
    ]
    for leg in (pair, pair + 1):
        assert told(database, leg)[0].startswith("placed accepted sell 5 at")
        assert told(database, leg)[-1] == "ended refused 0 post_only"


def test_stops_pairs_icebergs_amounts_and_self_trades_are_told(database: Database) -> None:
    market = Market()
    iceberg = market.place(BOB, Side.SELL, 10_020, 50, display_size=20)
    stop = market.place(ALICE, Side.BUY, 0 + 10_100, 5, order_type=OrderType.STOP, trigger_price=10_020)
    buyer = market.place(ALICE, Side.BUY, 10_020, 25)
    by_amount = market.place(ALICE, Side.BUY, 10_020, 0, order_type=OrderType.MARKET, amount=15_000_000)
    own = market.place(ALICE, Side.BUY, 9_000, 30)
    against = market.place(ALICE, Side.SELL, 9_000, 10, self_trade=SelfTrade.DECREMENT)
    pair = 2 * market.do(venue.place_pair(BOB, BTC_USD, Side.SELL, 11_000, 7, trigger_price=9_500, limit_price=9_400))
    market.cancel(BOB, pair)
    market.add_to(database)
    assert "refreshed sell 20 at 10020 30 left" in told(database, iceberg)
    assert "triggered buy 5 at 10020 5 left" in told(database, stop)
    assert told(database, stop)[-1] == "ended filled buy 0"
    assert told(database, buyer)[-1] == "ended filled buy 0"
    assert told(database, by_amount)[-1].startswith("ended cancelled buy")
    assert "reduced buy 10 at 9000 20 left self_trade" in told(database, own)
    assert told(database, against)[-1] == "ended reduced sell 10 at 9000 self_trade"
    assert told(database, pair)[-1] == "ended cancelled sell 7 at 11000 requested"
    assert told(database, pair + 1)[-1] == "ended cancelled sell 7 at 9400 linked"
    assert order_life(database, pair + 1).order["linked_order_id"] == pair


def test_fills_of_an_auction_are_neither_makers_nor_takers(database: Database) -> None:
    market = Market()
    market.do(venue.session(BTC_USD, Session.AUCTION))
    buy = market.place(ALICE, Side.BUY, 10_010, 10)
    sell = market.place(BOB, Side.SELL, 9_990, 10)
    market.do(venue.session(BTC_USD, Session.CONTINUOUS))
    market.add_to(database)
    assert [(fill["order_id"], fill["side"], fill["liquidity"]) for fill in fills(database)] == [
        (buy, "buy", "auction"),
        (sell, "sell", "auction"),
    ]
    assert [fill["account"] for fill in fills(database, account=BOB, instrument_id=BTC_USD)] == [BOB]


@pytest.fixture(scope="module")
def played() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Venue]:
    """A seeded stream of every kind of command, its executions and the venue behind it."""
    replica = Venue()
    given = stream(6_000, seed=11)
    return given, replica.replay(given).executions, replica


def test_of_any_stream_all_is_there_and_who_has_no_ending_is_open(
    database: Database, played: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Venue]
) -> None:
    given, executions, replica = played
    rows = derive(1, given, executions)
    upgrade(database)
    append(database, Position(), Position(len(given), int(executions["sequence"][-1]), 1), rows)
    with database.reading() as connection:

        def count(table: Any, *where: Any) -> int:
            return connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()

        assert count(commands) == len(given)
        assert count(commands, commands.c.verdict == "rejected") == (given["verdict"] == Verdict.REJECTED).sum() > 100
        is_fill = executions["kind"] == ExecutionKind.FILL
        assert count(fills_table) == 2 * is_fill.sum() > 1_000
        assert count(events) == (~is_fill).sum()
        for kind in ExecutionKind:
            if kind != ExecutionKind.FILL:
                assert count(events, events.c.kind == kind.name.lower()) == (executions["kind"] == kind).sum()
        open_now = select(orders.c.order_id).where(orders.c.order_id.not_in(select(endings.c.order_id)))
        assert sorted(connection.execute(open_now).scalars()) == sorted(open_orders(replica))
        orphans = select(func.count()).where(endings.c.order_id.not_in(select(orders.c.order_id)))
        assert connection.execute(orphans).scalar_one() == 0
        paid = connection.execute(select(func.sum(fills_table.c.fee))).scalar_one()
        assert int(paid) == executions["fee"][is_fill].sum() + executions["contra_fee"][is_fill].sum()
        words = connection.execute(text("SELECT DISTINCT how FROM endings")).scalars()
        assert set(words) == {"filled", "cancelled", "reduced", "refused"}


def open_orders(replica: Venue) -> list[int]:
    return [int(order) for order in replica.open_orders()["order_id"]]


def test_rows_do_not_depend_on_where_batches_end(
    played: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Venue],
) -> None:
    given, executions, _ = played
    whole = derive(1, given, executions)
    parts: dict[str, list[Any]] = {}
    for first in range(1, len(given) + 1, 7):
        of_these = (executions["source_sequence"] >= first) & (executions["source_sequence"] < first + 7)
        for table, rows in derive(first, given[first - 1 : first + 6], executions[of_these]).items():
            parts.setdefault(table, []).extend(rows)
    assert {table: sorted(rows) for table, rows in parts.items()} == {
        table: sorted(rows) for table, rows in whole.items()
    }


def test_what_was_refused_because_it_makes_no_sense_is_kept_byte_for_byte(
    played: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Venue],
) -> None:
    given, executions, _ = played
    rows = derive(1, given, executions)["commands"]
    nonsense = [row for row in rows if row[8] == "fields"]
    assert len(nonsense) > 3
    for row in nonsense:
        assert given[row[0] - 1].tobytes().hex() in row[-1]


def test_an_order_that_is_not_there_and_a_trail_that_is_not_there_are_said(database: Database) -> None:
    with pytest.raises(AuditError, match="no audit trail of this release in"):
        order_life(database, 2)
    Market().add_to(database)
    with pytest.raises(QueryError, match="order 999998 is not in the audit trail, which reaches to command"):
        order_life(database, 999_998)

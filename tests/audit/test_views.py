"""What compliance asks: each view finds a pattern that was planted, and finds nothing where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.audit.market import ALICE, BOB, BTC_USD, CAROL, DAVE, START, Market, S
from tidebook import venue
from tidebook.audit import Database, view
from tidebook.errors import QueryError
from tidebook.venue import OrderFlag, SelfTrade, Side, TimeInForce


def quiet(seed_orders: int = 40) -> Market:
    """Two makers and two takers who do nothing that any view is about: no cancel, no owner on both sides, no way back."""
    market = Market()
    for at in range(seed_orders):
        maker, taker = ((ALICE, BOB), (CAROL, DAVE))[at % 2]
        market.place(maker, Side.SELL, 10_010 + at % 3, 20, after_s=1)
        market.place(taker, Side.BUY, 10_012, 20, after_s=1)
    return market


@pytest.mark.parametrize("name", ["layering", "wash_same_owner", "wash_round_trips", "self_trade_prevented"])
def test_honest_trading_is_in_no_view(name: str, database: Database) -> None:
    quiet().add_to(database)
    assert view(database, name) == []


def test_cancels_per_fill_are_counted_by_account_and_window(database: Database) -> None:
    market = quiet()
    market.now = START + 600 * S
    for _ in range(12):
        order = market.place(BOB, Side.BUY, 9_000, 10, after_s=1)
        market.cancel(BOB, order, after_s=1)
    market.place(ALICE, Side.SELL, 9_900, 10)
    # Accepted by risk, and refused by matching: nothing was placed.
    market.place(BOB, Side.BUY, 9_900, 10, flags=OrderFlag.POST_ONLY)
    market.place(BOB, Side.BUY, 9_900, 10, time_in_force=TimeInForce.IOC)
    market.add_to(database)
    lines = view(database, "cancels_per_fill", account=BOB)
    assert [line for line in lines if line["cancelled"]] == [
        {
            "account": BOB,
            "instrument_id": BTC_USD,
            "window_ts": START + 600 * S,
            "placed": 13,
            "replaced": 0,
            "cancelled": 12,
            "fills": 1,
            "filled_size": 10,
            "cancelled_size": 120,
            "cancels_per_fill": 12.0,
        }
    ]
    assert sum(line["fills"] for line in view(database, "cancels_per_fill")) == 2 * 40 + 2
    wide = view(database, "cancels_per_fill", account=BOB, window_s=3_600)
    assert [(line["placed"], line["cancelled"], line["fills"]) for line in wide] == [(33, 12, 21)]


def layered(market: Market, *, sizes: int = 50, prices: int = 4) -> list[int]:
    """Bids of Alice away from the touch, so that her offer is taken."""
    market.place(BOB, Side.BUY, 9_990, 10)
    offer = market.place(ALICE, Side.SELL, 10_000, 20)
    bids = [market.place(ALICE, Side.BUY, 9_980 - 2 * (at % prices), sizes, after_s=0.2) for at in range(5)]
    market.place(CAROL, Side.BUY, 10_000, 20, after_s=1)
    assert offer
    return bids


def test_layering_finds_orders_on_one_side_that_went_when_the_other_was_filled(database: Database) -> None:
    market = quiet()
    bids = layered(market)
    filled = market.venue.sequence
    market.cancel(ALICE, *bids, after_s=2)
    market.add_to(database)
    (line,) = view(database, "layering")
    assert {name: line[name] for name in ("account", "filled_side", "sequence", "filled_size", "orders", "prices")} == {
        "account": ALICE,
        "filled_side": "sell",
        "sequence": filled,
        "filled_size": 20,
        "orders": 5,
        "prices": 4,
    }
    assert (line["cancelled_size"], line["lowest_price"], line["highest_price"]) == (250, 9_974, 9_980)
    assert view(database, "layering", account=BOB) == []
    assert view(database, "layering", orders_min=6) == []


@pytest.mark.parametrize("why", ["too late", "one price", "small", "one was filled", "kept"])
def test_layering_leaves_alone_who_does_not_do_all_of_it(why: str, database: Database) -> None:
    market = quiet()
    bids = layered(market, sizes=5 if why == "small" else 50, prices=1 if why == "one price" else 4)
    if why == "one was filled":
        market.place(BOB, Side.SELL, 9_974, 250, time_in_force=TimeInForce.IOC)
    if why != "kept":
        market.cancel(ALICE, *bids, after_s=30 if why == "too late" else 2)
    market.add_to(database)
    assert view(database, "layering") == []


def test_wash_finds_one_owner_on_both_sides_by_account_and_by_the_group_of_that_time(database: Database) -> None:
    market = Market(groups={BOB: 7, CAROL: 7, DAVE: 7})
    market.do(venue.account(DAVE, group=0))
    found: list[Any] = []
    for seller, buyer, is_wash in ((ALICE, ALICE, True), (BOB, CAROL, True), (ALICE, BOB, False), (CAROL, DAVE, False)):
        sell = market.place(seller, Side.SELL, 10_000, 5)
        buy = market.place(buyer, Side.BUY, 10_000, 5, self_trade=SelfTrade.NONE)
        if is_wash:
            found.append((buyer, seller, buy, sell))
    market.add_to(database)
    names = ("buy_account", "sell_account", "buy_order_id", "sell_order_id")
    assert [tuple(line[name] for name in names) for line in view(database, "wash_same_owner")] == found
    assert [line["owner_group"] for line in view(database, "wash_same_owner", account=CAROL)] == [7]


def test_wash_finds_what_goes_and_comes_back_between_two_accounts_also_over_the_edge_of_a_window(
    database: Database,
) -> None:
    market = quiet()
    market.now = START + 300 * S - 3 * S
    for seller, buyer in ((BOB, CAROL), (CAROL, BOB), (BOB, CAROL), (CAROL, BOB)):
        market.place(seller, Side.SELL, 9_500, 40, after_s=1)
        market.place(buyer, Side.BUY, 9_500, 40, after_s=1)
    market.add_to(database)
    lines = view(database, "wash_round_trips", account=BOB)
    whole = [line for line in lines if line["trades"] == 4]
    assert [(line["account"], line["counter_account"], line["bought"], line["sold"]) for line in whole] == [
        (BOB, CAROL, 80, 80)
    ]
    assert view(database, "wash_round_trips", account=ALICE) == []
    assert view(database, "wash_round_trips", trades_min=5) == []


def test_self_trade_prevention_is_told_whatever_it_did(database: Database) -> None:
    market = quiet()
    resting = market.place(ALICE, Side.SELL, 10_500, 30)
    newest = market.place(ALICE, Side.BUY, 10_500, 10, self_trade=SelfTrade.CANCEL_NEWEST)
    decrement = market.place(ALICE, Side.BUY, 10_500, 10, self_trade=SelfTrade.DECREMENT)
    oldest = market.place(ALICE, Side.BUY, 10_500, 10, self_trade=SelfTrade.CANCEL_OLDEST)
    market.add_to(database)
    lines = [(line["order_id"], line["kind"], line["size"]) for line in view(database, "self_trade_prevented")]
    assert lines == [
        (newest, "cancelled", 10),
        (resting, "reduced", 10),
        (decrement, "reduced", 10),
        (resting, "cancelled", 20),
    ]
    assert oldest not in {order for order, _, _ in lines}


def test_a_view_or_a_number_that_there_is_not_is_refused_with_those_there_are(database: Database) -> None:
    Market().add_to(database)
    with pytest.raises(QueryError, match="no view 'spoofing'; there are cancels_per_fill, layering"):
        view(database, "spoofing")
    with pytest.raises(QueryError, match="window = 5: cancels_per_fill takes window_s, from 1 on"):
        view(database, "cancels_per_fill", window=5)
    with pytest.raises(QueryError, match="wash_same_owner takes no numbers"):
        view(database, "wash_same_owner", window_s=5)

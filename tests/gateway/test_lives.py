"""What the gateway says of orders is what the venue has, after every command of seeded streams of every kind."""

import random
from typing import Any

import numpy as np
import pytest

from tidebook import venue as v
from tidebook.gateway.lives import Fill, Lives, executions_of
from tidebook.venue import OrderFlag, OrderType, Peg, SelfTrade, Session, Side, TimeInForce, Venue

ACCOUNTS, INSTRUMENT = (1, 2, 3), 1
REMEMBERED = 10_000


class Both:
    """A venue and the lives of its orders, which are told what it is told."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self.venue = Venue()
        self.lives = Lives(remembered)
        self.submit(
            v.instrument(INSTRUMENT, base_asset=1, quote_asset=2, price_exp=2, size_exp=2, reference_price=1_000)
        )
        self.submit(v.session(INSTRUMENT, Session.CONTINUOUS))
        for account in ACCOUNTS:
            self.submit(v.account(account))
            for asset in (1, 2):
                self.submit(v.transfer(account, asset, 10**12))

    def submit(self, command: Any) -> v.venue.Submitted:
        done = self.venue.submit(command)
        executions = list(executions_of(done.executions))
        for index, journaled in enumerate(done.commands):
            sequence = done.first_sequence + index
            own = [execution for execution in executions if execution.source_sequence == sequence]
            self.lives.apply(sequence, journaled.tobytes(), own)
        return done

    def check(self) -> None:
        rows = self.venue.open_orders()
        found = {
            int(row["order_id"]): tuple(
                int(row[name]) for name in ("account", "side", "price", "size", "filled", "remaining")
            )
            for row in rows
        }
        said = {
            order.order_id: (order.account, order.side, order.price, order.size, order.filled, order.remaining)
            for account in ACCOUNTS
            for order in self.lives.open_orders(account)
        }
        assert said == found
        waiting = {int(row["order_id"]) for row in rows if row["waiting"] and row["order_type"] != OrderType.PEGGED}
        states = {order.state for order in self.lives.orders.values() if order.order_id in waiting}
        assert states <= {"waiting"}
        assert self.lives.open_count() == len(found)


def random_command(random_: random.Random, both: Both, number: int) -> Any:
    """One of every kind that concerns orders, mostly such as go through."""
    account, side = random_.choice(ACCOUNTS), random_.choice((Side.BUY, Side.SELL))
    price, size = random_.randint(950, 1_050), random_.randint(1, 300)
    which = random_.random()
    # Names of ended orders too, and of none.
    named = random_.choice([*list(both.lives.orders)[-40:], 2])
    at = both.lives.orders.get(named)
    owner = account if at is None else at.account
    if which < 0.15:
        return v.cancel(owner, INSTRUMENT, named)
    if which < 0.3:
        trigger = at.trigger_price if at is not None and at.order_type == OrderType.STOP_LIMIT else 0
        return v.replace(owner, INSTRUMENT, named, price, size, trigger_price=trigger)
    if which < 0.31:
        return v.mass_cancel(account, INSTRUMENT, random_.choice((Side.BUY, Side.SELL, Side.NONE)))
    if which < 0.32:
        return random_.choice(
            (
                v.disconnect(account),
                v.cancel_all_after(account, 1_000),
                v.timer(number * 1_000 + 5_000),
                v.kill(0, killed=False),
            )
        )
    if which < 0.38:
        limit = random_.choice((0, price - 20 * side))
        return v.place_pair(account, INSTRUMENT, side, price - 40 * side, size, price + 40 * side, limit_price=limit)
    more: dict[str, Any] = {"self_trade": random_.choice(list(SelfTrade))}
    kind = random_.choice(list(OrderType))
    if kind == OrderType.MARKET:
        if random_.random() < 0.5:
            more |= {"amount": size * 10}
            size = 0
        price, more["time_in_force"] = random_.choice((0, price)), random_.choice((TimeInForce.IOC, TimeInForce.FOK))
        price = price or 1_000 + 60 * side
    elif kind == OrderType.LIMIT:
        more |= random_.choice(
            (
                {},
                {"time_in_force": TimeInForce.IOC},
                {"time_in_force": TimeInForce.FOK},
                {"flags": OrderFlag.POST_ONLY},
                {"display_size": max(1, size // 4)} if size > 4 else {},
                {"time_in_force": TimeInForce.GTD, "expire_ts": number * 1_000 + 20_000},
                {"flags": OrderFlag.CANCEL_ON_DISCONNECT},
            )
        )
    elif kind == OrderType.STOP_LIMIT:
        more["trigger_price"] = random_.randint(950, 1_050)
    elif kind == OrderType.STOP:
        more["trigger_price"], price = random_.randint(950, 1_050), 1_000 + 80 * side
    elif kind == OrderType.TRAILING_STOP:
        more["offset"], price = random_.randint(1, 30), 1_000 + 80 * side
    else:
        more |= {"peg": random_.choice([peg for peg in Peg if peg]), "offset": random_.randint(0, 5)}
        price = random_.choice((0, price)) or 1_000 + 80 * side
    return v.place(account, INSTRUMENT, side, price, size, order_type=kind, **more)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_open_orders_are_those_of_the_venue_after_every_command(seed: int) -> None:
    both, random_ = Both(), random.Random(seed)
    for number in range(3_000):
        command = random_command(random_, both, number)
        command["ts"] = number * 1_000
        both.submit(command)
        if number % 500 == 250:
            both.submit(v.session(INSTRUMENT, random_.choice((Session.AUCTION, Session.HALTED, Session.CLOSED))))
        if number % 500 == 300:
            both.submit(v.session(INSTRUMENT, Session.CONTINUOUS))
        both.check()
    states = {order.state for order in both.lives.orders.values()}
    assert states == {"waiting", "open", "filled", "cancelled", "expired", "rejected"}
    # What was filled is said twice, of the orders and of the accounts' positions: they agree.
    for account in ACCOUNTS:
        bought = sum(order.side * order.filled for order in both.lives.orders.values() if order.account == account)
        fills = sum(fill.side * fill.size for fill in both.lives.fills(account, REMEMBERED))
        (position,) = both.venue.positions(account)
        assert bought == fills == position.position


def test_only_the_newest_that_have_ended_are_remembered_and_their_ids_with_them() -> None:
    both = Both(remembered=2)
    ids = []
    for number in range(4):
        done = both.submit(v.place(1, INSTRUMENT, Side.BUY, 1_000, 1, client_order_id=f"a{number}"))
        ids.append(2 * int(done.sequences[0]))
        both.submit(v.replace(1, INSTRUMENT, ids[-1], 1_000, 1, client_order_id=f"b{number}"))
        both.submit(v.cancel(1, INSTRUMENT, ids[-1]))
    assert sorted(both.lives.orders) == ids[2:]
    for number, order_id in enumerate(ids):
        for name in ("a", "b"):
            found = both.lives.order_of(1, v.client_order_id(f"{name}{number}"))
            assert (found is None, found and found.order_id) == ((False, order_id) if number >= 2 else (True, None))
    assert [order.order_id for order in both.lives.ended_orders(1, 5)] == ids[:1:-1]


def test_pages_of_fills_have_both_sides_of_a_trade_with_oneself() -> None:
    both = Both()
    for number in range(4):
        seller = 1 + number % 2
        both.submit(v.place(seller, INSTRUMENT, Side.SELL, 1_000, 1))
        both.submit(v.place(1, INSTRUMENT, Side.BUY, 1_000, 1, self_trade=SelfTrade.NONE))
    whole = both.lives.fills(1, REMEMBERED)
    assert len(whole) == 6
    for limit in (1, 2, 3):
        pages: list[Fill] = []
        before = None
        while page := both.lives.fills(1, limit, before=before):
            assert len(page) <= limit + 1
            pages, before = page + pages, page[0].sequence
        assert pages == whole


def test_an_id_that_risk_refused_is_nobodys() -> None:
    both = Both()
    both.submit(v.place(1, INSTRUMENT, Side.BUY, 1_000, 1 << 50, client_order_id="dear"))
    assert both.lives.order_of(1, v.client_order_id("dear")) is None


def test_definitions_and_sessions_are_those_that_the_venue_took() -> None:
    both = Both()
    assert both.lives.definitions[INSTRUMENT].price_exp == 2
    # Refused: exponents cannot change.
    both.submit(v.instrument(INSTRUMENT, base_asset=1, quote_asset=2, price_exp=3, size_exp=2))
    assert both.lives.definitions[INSTRUMENT].price_exp == 2
    both.submit(v.session(INSTRUMENT, Session.HALTED))
    assert both.lives.sessions == {INSTRUMENT: Session.HALTED}
    both.submit(v.kill(1))
    both.submit(v.kill(0))
    both.submit(v.kill(1, killed=False))
    assert both.lives.killed == {0}
    assert set(both.lives.accounts) == set(ACCOUNTS)


def test_rows_of_an_array_are_executions_in_order() -> None:
    both = Both()
    done = both.venue.submit([v.place(1, INSTRUMENT, Side.BUY, 1_000, 5), v.place(2, INSTRUMENT, Side.SELL, 1_000, 5)])
    found = list(executions_of(done.executions))
    assert [execution.sequence for execution in found] == done.executions["sequence"].tolist()
    assert np.array_equal([execution.kind for execution in found], done.executions["kind"])

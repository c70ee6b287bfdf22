"""The venue in process: what goes in, what comes out, and what can be asked."""

import math
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tidebook as tb
from tests.venue.market import ACCOUNTS, BASE, QUOTE, ROOM, market, opening, stream
from tidebook._core import VenueEngine
from tidebook.errors import ChannelError, CommandError, QueryError
from tidebook.venue import (
    COMMAND,
    EXECUTION,
    LAYOUTS,
    OPEN_ORDER,
    CommandKind,
    ExecutionKind,
    OrderType,
    Portfolio,
    Reason,
    RiskEventKind,
    Session,
    Shortfall,
    Side,
    TimeInForce,
    Venue,
    Verdict,
    cancel,
    commands,
    kill,
    place,
    replace,
    timer,
    transfer,
)

ALICE, BOB, CAROL, DAN = ACCOUNTS


def kinds(executions: Any) -> list[str]:
    return [ExecutionKind(kind).name for kind in executions["kind"]]


def test_commands_go_in_as_an_array_and_executions_come_out_as_one() -> None:
    venue = market()
    assert tb.Venue is Venue
    done = venue.submit([place(ALICE, 1, Side.SELL, 10_000, 5), place(BOB, 1, Side.BUY, 10_010, 3)])
    assert done.executions.dtype == EXECUTION
    assert kinds(done.executions) == ["ACCEPTED", "ACCEPTED", "FILL"]
    fill = done.executions[2]
    assert (fill["price"], fill["size"], fill["account"], fill["contra_account"]) == (10_000, 3, BOB, ALICE)
    assert fill["source_sequence"] == done.sequences[1] == venue.sequence
    assert fill["order_id"] == 2 * venue.sequence
    # 3 of 0.001 at 100.00 are 0.30: 0.03 percent of it, rounded up to a cent; the maker's rebate is rounded towards the venue.
    assert (fill["fee"], fill["contra_fee"]) == (1, 0)


def test_verdicts_are_in_a_copy_and_what_was_given_stays() -> None:
    venue = market()
    given = commands([place(ALICE, 1, Side.SELL, 10_000, 5, ts=7), place(99, 1, Side.BUY, 10_000, 5), timer(9)])
    before = given.copy()
    done = venue.submit(given)
    assert given.tobytes() == before.tobytes()
    assert done.commands["verdict"].tolist() == [Verdict.ACCEPTED, Verdict.REJECTED, Verdict.ACCEPTED]
    assert done.commands["reason"].tolist() == [0, Reason.UNKNOWN_ACCOUNT, 0]
    assert done.commands["ts"].tolist() == [7, 7, 9]
    assert done.accepted.tolist() == [True, False, True]
    assert [RiskEventKind(kind) for kind in done.risk_events["kind"]] == [RiskEventKind.REJECTED]
    assert venue.ts == 9


def test_every_shape_of_commands_is_taken() -> None:
    """Method: one order as a record, a list, an array, every other of an array, a kind's layout, an array that is read-only."""
    order = place(ALICE, 1, Side.SELL, 10_000, 5)
    array = commands([order, timer(0), order, timer(0)])
    frozen = np.frombuffer(array.tobytes(), COMMAND)
    for given, count in [
        (order, 1),
        ([order, order], 2),
        (array, 4),
        (array[::2], 2),
        (array[::2].view(LAYOUTS[CommandKind.PLACE]), 2),
        (frozen, 4),
        (array.reshape(2, 2), 4),
        (commands(), 0),
        ([], 0),
    ]:
        venue = market()
        begin = venue.sequence
        done = venue.submit(given)
        assert (len(done.commands), venue.sequence) == (count, begin + count)
        again = market()
        again.replay(done.commands, recheck=True)
        assert again.state_hash() == venue.state_hash()


def test_commands_at_any_address_are_the_same_commands() -> None:
    """A view into a message or a file need not begin at a multiple of eight."""
    given = commands([place(ALICE, 1, Side.SELL, 10_000, 5), place(BOB, 1, Side.BUY, 10_010, 3)])
    room = bytearray(given.nbytes + 8)
    straight = market()
    expected = straight.submit(given).commands.tobytes()
    for at in range(8):
        room[at : at + given.nbytes] = given.tobytes()
        lent = np.frombuffer(room, COMMAND, len(given), at)
        odd = market()
        assert odd.submit(lent).commands.tobytes() == expected
        assert odd.state_hash() == straight.state_hash()


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros(2, EXECUTION), np.zeros(2, "V128"), b"\0" * 128, [1, 2], None])
def test_what_is_no_array_of_commands_is_refused_and_nothing_happens(wrong: object) -> None:
    venue = market()
    before = (venue.state_hash(), venue.sequence)
    for call in (venue.submit, venue.replay):
        with pytest.raises(CommandError, match=r"tidebook\.venue\.COMMAND"):
            call(wrong)
    assert (venue.state_hash(), venue.sequence) == before


def test_a_single_order_says_what_became_of_it() -> None:
    venue = market()
    resting = venue.place(ALICE, 1, Side.SELL, 10_000, 5, client_order_id="mine")
    assert (resting.accepted, resting.order_id, resting.filled, resting.remaining) == (True, 2 * venue.sequence, 0, 5)
    taking = venue.place(BOB, 1, Side.BUY, 10_000, 8)
    assert (taking.filled, taking.remaining, kinds(taking.executions)) == (5, 3, ["ACCEPTED", "FILL"])
    smaller = venue.replace(BOB, 1, taking.order_id, 10_000, 7)
    assert (smaller.order_id, smaller.remaining) == (taking.order_id, 2)
    gone = venue.cancel(BOB, 1, taking.order_id)
    assert (gone.remaining, bool(gone)) == (0, True)
    for refused, reason in [
        (venue.cancel(BOB, 1, taking.order_id), Reason.UNKNOWN_ORDER),
        (venue.place(BOB, 9, Side.BUY, 1, 1), Reason.UNKNOWN_INSTRUMENT),
        (venue.place(ALICE, 1, Side.SELL, 10_000, 5, client_order_id="mine"), Reason.DUPLICATE_CLIENT_ORDER_ID),
        # Said by matching and not by risk.
        (venue.place(BOB, 1, Side.BUY, 10_000, 5, time_in_force=TimeInForce.GTD, expire_ts=-1), Reason.EXPIRED),
        (venue.place(BOB, 1, 7, 10_000, 5), Reason.FIELDS),
    ]:
        assert not refused
        assert refused.reason == reason
        assert f"refused: {reason.name.lower()}" in repr(refused)
    assert venue.place(BOB, 1, Side.BUY, size=1, order_type=OrderType.MARKET, price=11_000).filled == 0
    assert venue.place(BOB, 1, 7, 10_000, 5).order_id == 0


def test_a_single_order_and_the_same_in_an_array_are_one() -> None:
    one, other = market(), market()
    options: dict[str, Any] = {"client_order_id": "a", "self_trade": 2, "flags": 2, "ts": 5}
    one.place(ALICE, 1, Side.SELL, 10_000, 5, display_size=2, **options)
    one.replace(ALICE, 1, price=10_001, size=4, display_size=1, client_order_id="a", ts=6)
    one.cancel(ALICE, 1, client_order_id="a", ts=7)
    other.submit(
        [
            place(ALICE, 1, Side.SELL, 10_000, 5, display_size=2, **options),
            replace(ALICE, 1, price=10_001, size=4, display_size=1, client_order_id="a", ts=6),
            cancel(ALICE, 1, client_order_id="a", ts=7),
        ]
    )
    assert one.state_hash() == other.state_hash()
    assert one.commands().tobytes() == other.commands().tobytes()
    assert one.order_count == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda venue: venue.place(-1, 1, 1, 1, 1),
        lambda venue: venue.place(1, 1, 1000, 1, 1),
        lambda venue: venue.place(1, 1, 1, 1 << 63, 1),
        lambda venue: venue.place(1, 1, 1, 1.5, 1),
        lambda venue: venue.place(1, 1, 1, "1", 1),
        lambda venue: venue.place(1, 1, 1, 1, 1, client_order_id="not an id"),
        lambda venue: venue.place(1, 1, 1, 1, 1, client_order_id=b"short"),
        lambda venue: venue.cancel(1, 1, -1),
        lambda venue: venue.place(1, 1),
    ],
)
def test_an_argument_that_no_field_holds_is_an_error_and_nothing_happens(call: Any) -> None:
    venue = market()
    before = (venue.state_hash(), venue.sequence)
    with pytest.raises((OverflowError, TypeError, CommandError)):
        call(venue)
    assert (venue.state_hash(), venue.sequence) == before


@pytest.mark.parametrize("orders_max", [1 << 30, (1 << 32) - 1])
def test_room_that_no_machine_has_is_refused_and_not_taken(tmp_path: Path, orders_max: int) -> None:
    with pytest.raises(QueryError, match=f"orders_max = {orders_max}: ") as refused:
        Venue(orders_max=orders_max)
    nearest = refused.value.facts["nearest"]
    assert isinstance(nearest, int)
    assert 0 < nearest <= 1 << 28
    with pytest.raises(ChannelError, match=f"orders_max = {orders_max}: "):
        VenueEngine(tmp_path, tmp_path / "orders", orders_max=orders_max)


def test_more_levels_than_there_can_be_are_refused_and_not_made() -> None:
    venue = market()
    prices, _ = venue.depth(1, 1 << 20)
    assert prices.shape == (2, 1 << 20)
    with pytest.raises(QueryError, match="1048576 levels of each side at most"):
        venue.depth(1, 10**9)


def test_what_there_is_can_be_asked() -> None:
    venue = market()
    for price, size in [(10_010, 4), (10_020, 5), (10_010, 6)]:
        venue.place(ALICE, 1, Side.SELL, price, size)
    bid = venue.place(BOB, 1, Side.BUY, 9_990, 7, client_order_id="b-1")
    stop = venue.place(BOB, 2, Side.SELL, 9_000, 1, order_type=OrderType.STOP_LIMIT, trigger_price=9_500)
    prices, sizes = venue.depth(1, 3)
    assert prices.tolist() == [[9_990, 0, 0], [10_010, 10_020, 0]]
    assert sizes.tolist() == [[7, 0, 0], [10, 5, 0]]
    orders = venue.open_orders()
    assert orders.dtype == OPEN_ORDER
    assert orders["price"].tolist() == [9_990, 10_010, 10_010, 10_020, 9_000]
    assert venue.open_orders(BOB)["order_id"].tolist() == [bid.order_id, stop.order_id]
    assert venue.open_orders(instrument_id=2)["waiting"].tolist() == [1]
    assert venue.open_orders(BOB, 1)["remaining"].tolist() == [7]
    assert len(venue.open_orders(99)) == len(venue.open_orders(instrument_id=99)) == 0
    order = venue.order(stop.order_id)
    assert order is not None
    assert (order["trigger_price"], order["account"], order["instrument_id"]) == (9_500, BOB, 2)
    assert venue.order(3) is None
    assert venue.order_of(BOB, "b-1") == bid.order_id
    assert venue.order_of(ALICE, "b-1") is None
    assert (venue.session(1), venue.session(99)) == (Session.CONTINUOUS, Session.CLOSED)
    assert (venue.last_trade(1), venue.order_count) == (None, 5)
    assert (venue.instrument_ids(), venue.account_ids()) == ([1, 2], list(ACCOUNTS))
    definition = venue.definition(1)
    assert definition is not None
    assert (definition["tick"], definition["taker_ppm"], definition["price_exp"]) == (1, 300, 2)
    assert venue.definition(99) is None
    # A definition is a command like any other.
    assert venue.submit(definition).accepted.all()


def test_positions_and_balances_have_seen_the_last_fill() -> None:
    venue = market()
    venue.place(ALICE, 1, Side.SELL, 10_000, 2_000)
    venue.place(DAN, 1, Side.BUY, 10_000, 2_000)
    venue.place(BOB, 1, Side.BUY, 9_000, 1_000)
    (position,) = venue.positions(DAN)
    ledger = 10**18
    assert (position.position, position.cost, position.unrealised) == (2_000, 200 * ledger, 0)
    assert position.average_price == Fraction(10_000)
    assert venue.equity(DAN, QUOTE) == 10**9 * ledger - position.fees
    (cash,) = venue.balances(DAN)
    assert (cash.asset, cash.total) == (QUOTE, (10**9 - 200) * ledger - position.fees)
    reserved = {balance.asset: balance for balance in venue.balances(BOB)}[QUOTE]
    # What the order and its fee of 0.03 percent can cost.
    assert reserved.reserved == 90 * ledger + 27 * ledger // 1000 + 3 * ledger // 1000
    assert reserved.available == reserved.total - reserved.reserved
    (taken,) = venue.balances(0)
    assert taken.total == sum(holding.fees for holding in venue.positions())


def test_a_portfolio_alone_has_what_the_venues_has() -> None:
    venue = market()
    venue.submit(stream(5, 3_000, begin=venue.sequence + 1))
    portfolio, again = Portfolio(), Venue(**ROOM)
    for slice_ in np.array_split(venue.commands(), 7):
        portfolio.apply(slice_, again.replay(slice_).executions)
    assert portfolio.positions() == venue.positions()
    assert len(portfolio.positions()) > len(ACCOUNTS)
    for account in ACCOUNTS:
        assert [it.total for it in portfolio.balances(account)] == [it.total for it in venue.balances(account)]
        assert portfolio.equity(account, QUOTE) == venue.equity(account, QUOTE)
        assert portfolio.equity(account, BASE) == venue.equity(account, BASE)
    with pytest.raises(CommandError, match="EXECUTION"):
        portfolio.apply(None, venue.commands())


def test_a_kill_switch_brings_its_mass_cancel_along() -> None:
    venue = market()
    venue.place(ALICE, 1, Side.SELL, 10_000, 5)
    venue.place(BOB, 1, Side.BUY, 9_000, 5)
    done = venue.submit([timer(1), kill(ALICE), place(ALICE, 1, Side.SELL, 10_000, 5)])
    assert [CommandKind(kind).name for kind in done.commands["kind"]] == ["TIMER", "KILL", "MASS_CANCEL", "PLACE"]
    assert done.sequences.tolist() == [done.first_sequence + place for place in (0, 1, 3)]
    assert done.accepted.tolist() == [True, True, False]
    assert done.own["reason"].tolist() == [0, 0, Reason.KILLED]
    assert venue.open_orders()["account"].tolist() == [BOB]
    again = Venue(**ROOM)
    again.replay(venue.commands(), recheck=True)
    assert again.state_hash() == venue.state_hash() == venue.recomputed_state_hash()


def test_many_commands_at_once_are_kept_as_they_were_judged_also_where_a_kill_switch_is_among_them() -> None:
    """Method: arrays large and small and single commands in turn; at places in and between them the venue is made again."""
    venue = market()
    array = stream(11, 12_000, begin=venue.sequence + 1)
    parts = [
        array[:5_000],
        array[5_000:5_010],
        np.concatenate([array[5_010:9_000], commands([kill(BOB)]), array[9_000:]]),
    ]
    done = []
    for part in parts:
        done.append(venue.submit(part))
        venue.place(ALICE, 1, Side.BUY, 9_000, 1)
    assert len(done[2].commands) == len(parts[2]) + 1
    for submitted in done:
        last = submitted.first_sequence + len(submitted.commands) - 1
        assert (venue.commands(submitted.first_sequence, last) == submitted.commands).all()
        with pytest.raises(ValueError, match="read-only"):
            submitted.commands["verdict"] = Verdict.REJECTED
    again = Venue(**ROOM)
    again.replay(venue.commands(), recheck=True)
    for sequence in (0, 4_000, 5_100, done[2].first_sequence + 3_990, done[2].first_sequence + 3_991, venue.sequence):
        then, replica = again.at(sequence), Venue(**ROOM)
        replica.replay(venue.commands(last=sequence))
        assert then.state_hash() == replica.state_hash() == venue.at(sequence).state_hash()
        # What goes on from there has its own history.
        then.place(ALICE, 1, Side.BUY, 9_000, 1)
        assert len(then.commands()) == then.sequence > sequence
    assert again.state_hash() == venue.state_hash() == venue.recomputed_state_hash()


def test_executions_stay_while_somebody_has_them_and_their_memory_is_used_again_afterwards() -> None:
    venue = market()
    first, second = np.array_split(stream(12, 2_000, begin=venue.sequence + 1), 2)
    address = venue.submit(first).executions.ctypes.data
    kept = venue.submit(second).executions
    assert kept.ctypes.data == address
    copy = kept.copy()
    assert venue.submit(first).executions.ctypes.data != address
    assert (kept == copy).all()


def test_threads_share_a_venue_and_every_command_is_whole() -> None:
    """Method: arrays and single orders from three threads; the journal they leave is rechecked."""
    venue = market()
    array = stream(9, 5_000, begin=venue.sequence + 1)

    def arrays() -> None:
        for part in np.array_split(array, 20):
            venue.submit(part)

    def singles() -> None:
        for price in range(9_950, 10_050):
            venue.place(ALICE, 1, Side.BUY, price, 1)
            venue.positions(ALICE)

    threads = [threading.Thread(target=work) for work in (arrays, arrays, singles)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert venue.sequence == len(opening()) + 2 * len(array) + 100
    again = Venue(**ROOM)
    again.replay(venue.commands(), recheck=True)
    assert again.state_hash() == venue.state_hash()


def test_what_a_command_lacks_is_what_it_takes_to_have_it_accepted() -> None:
    """Method: of a random stream each command that is refused for its balance is given what it lacks, asset by asset, in a fork."""
    venue, seen = market(), set()
    poor = [transfer(account, QUOTE, 20 - 10**9) for account in ACCOUNTS]
    assert venue.submit(poor + [transfer(account, BASE, -(10**6)) for account in ACCOUNTS[:3]]).accepted.all()
    for command in stream(5, 800, begin=venue.sequence + 1):
        before = venue.fork()
        judged = venue.submit(command).own
        lacks = before.shortfall(command)
        assert (lacks is not None) == (judged["reason"][0] == Reason.BALANCE)
        assert venue.shortfall(judged) == venue.shortfall(command)
        given = 0
        while lacks is not None:
            seen.add((CommandKind(int(command["kind"])), lacks.asset))
            assert lacks.needed > lacks.available
            missing = math.ceil(Fraction(lacks.needed - lacks.available, 10**10))
            assert before.submit(transfer(int(command["account"]), lacks.asset, missing, amount_exp=8)).accepted.all()
            lacks, given = before.shortfall(command), given + 1
        assert given <= 2, "of the quote asset and of the base asset once each"
        assert not given or before.submit(command).own["reason"][0] != Reason.BALANCE
    assert {kind for kind, _ in seen} == {CommandKind.PLACE, CommandKind.PLACE_PAIR}
    assert {asset for _, asset in seen} == {BASE, QUOTE}


def test_a_replace_without_a_size_keeps_it_and_a_size_of_0_is_an_error() -> None:
    venue = market()
    order = venue.place(BOB, 1, Side.BUY, price=10_000, size=5)
    venue.place(ALICE, 1, Side.SELL, price=10_000, size=2)
    moved = venue.replace(BOB, 1, order.order_id, 10_010)
    assert (bool(moved), moved.remaining) == (True, 3)
    built = replace(BOB, 1, order.order_id, price=10_020)
    assert built.tobytes()[72:80] == bytes(8)
    assert venue.submit(built).accepted.all()
    kept = venue.order(order.order_id)
    assert kept is not None
    assert (kept["price"], kept["size"], kept["filled"]) == (10_020, 5, 2)
    for refuse in (venue.replace, replace):
        with pytest.raises(CommandError, match="size 0 is no size: leave it out") as caught:
            refuse(BOB, 1, order.order_id, 10_010, 0)
        assert caught.value.facts == {"field": "size", "value": "0", "expected": "an integer above 0, or None"}


def test_a_replace_and_a_transfer_lack_what_they_need_beyond_what_is_reserved() -> None:
    venue = market()
    order = venue.place(BOB, 1, Side.BUY, price=10_000, size=5)
    larger = replace(BOB, 1, order.order_id, price=10_000, size=10**10)
    assert Reason(venue.submit(larger).own["reason"][0]) == Reason.BALANCE
    (reserved,) = (balance for balance in venue.balances(BOB) if balance.asset == QUOTE)
    # Ten million coins at 100.00 and 0.03 percent of that, less what the order has reserved.
    whole = 10**9 * 10**18 * 10_003 // 10_000
    assert venue.shortfall(larger) == Shortfall(QUOTE, whole - reserved.reserved, reserved.available)
    assert venue.shortfall(transfer(BOB, BASE, -(10**7))) == Shortfall(BASE, 10**25, 10**24)
    with pytest.raises(CommandError):
        venue.shortfall(b"no command")

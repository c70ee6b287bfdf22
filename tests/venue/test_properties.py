"""What holds of every stream of commands, sensible or not: nothing is created or lost, no book is crossed, first come is first served."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.venue.market import ACCOUNTS, BASE, QUOTE, ROOM, market, stream
from tidebook.venue import (
    COMMAND,
    LAYOUTS,
    CommandKind,
    ExecutionKind,
    Records,
    Session,
    Venue,
    Verdict,
    session,
)

SEEDS = st.integers(0, 2**32 - 1)
LEDGER, SIZE = 10**18, 10**15  # one unit of an asset, and a size unit of 0.001, in ledger units


def sums(venue: Venue) -> dict[int, int]:
    """All there is of each asset: balances, the fees taken, and what margin accounts hold as positions."""
    totals = {BASE: 0, QUOTE: 0}
    for balance in venue.balances():
        totals[balance.asset] += balance.total
    totals[BASE] += sum(position.position * SIZE for position in venue.positions(ACCOUNTS[-1]))
    return totals


@given(seed=SEEDS, count=st.integers(1, 1_500))
@settings(max_examples=25, deadline=None)
def test_of_every_asset_there_is_what_was_transferred_in_and_nobody_on_spot_owes(seed: int, count: int) -> None:
    venue = market()
    before = sums(venue)
    assert before == {BASE: 3 * 10**6 * LEDGER, QUOTE: 4 * 10**9 * LEDGER}
    done = venue.submit(stream(seed, count, begin=venue.sequence + 1))
    assert sums(venue) == before
    for balance in venue.balances():
        if balance.account not in (0, ACCOUNTS[-1]):
            assert 0 <= balance.reserved <= balance.total, balance
    fills = done.executions[done.executions["kind"] == ExecutionKind.FILL]
    # What one buys another sells, and fees are what the fills say, in cents.
    for instrument in venue.instrument_ids():
        assert sum(it.position for it in venue.positions() if it.instrument_id == instrument) == 0
    fees = int(fills["fee"].sum()) + int(fills["contra_fee"].sum())
    assert sum(it.fees for it in venue.positions()) == fees * LEDGER // 100
    assert sum(it.total for it in venue.balances(0)) == fees * LEDGER // 100


@given(seed=SEEDS, parts=st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_no_book_is_crossed_and_its_levels_are_its_orders(seed: int, parts: int) -> None:
    venue = market()
    for part in np.array_split(stream(seed, 600, begin=venue.sequence + 1), parts):
        venue.submit(part)
        for instrument in venue.instrument_ids():
            prices, sizes = venue.depth(instrument, 500)
            if sizes[0, 0] and sizes[1, 0]:
                assert prices[0, 0] < prices[1, 0]
            orders = venue.open_orders(instrument_id=instrument)
            for row, side in enumerate((1, -1)):
                shown = orders[(orders["side"] == side) & (orders["shown"] > 0)]
                levels: dict[int, int] = {}
                for order in shown:
                    levels[int(order["price"])] = levels.get(int(order["price"]), 0) + int(order["shown"])
                there = sizes[row] > 0
                assert dict(zip(prices[row][there].tolist(), sizes[row][there].tolist(), strict=True)) == levels
                assert list(levels) == sorted(levels, reverse=side == 1)


@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_an_aggressor_meets_the_best_price_first_and_there_who_came_first(seed: int) -> None:
    """Method: the orders of the other side, as they stand before a command, are met in that order; who is passed over was taken out by self-trade prevention."""
    venue = market(instruments=1)
    array = stream(seed, 400, begin=venue.sequence + 1, instruments=1)
    place = array.view(LAYOUTS[CommandKind.PLACE])
    plain = (array["kind"] == CommandKind.PLACE) & (place["order_type"] < 3)
    fills = 0
    for command in array[plain | (array["kind"] == CommandKind.CANCEL)]:
        orders = venue.open_orders(instrument_id=1)
        done = venue.submit(command).executions
        met = done[done["kind"] == ExecutionKind.FILL]["contra_order_id"].tolist()
        if not met:
            continue
        fills += len(met)
        side = command.view(LAYOUTS[CommandKind.PLACE])["side"]
        waiting = orders[orders["side"] == -side]["order_id"].tolist()
        ended = (ExecutionKind.CANCELLED, ExecutionKind.REDUCED)
        prevented = set(done[np.isin(done["kind"], ended)]["order_id"].tolist())
        passed = waiting[: waiting.index(met[-1]) + 1]
        assert [order for order in passed if order in met] == met
        assert {order for order in passed if order not in met} <= prevented
        # Only the last may have something left.
        assert all(venue.order(order) is None for order in met[:-1])
    assert fills > 10


@given(seed=SEEDS, cuts=st.lists(st.integers(0, 500), max_size=12))
@settings(max_examples=20, deadline=None)
def test_how_commands_are_sliced_changes_nothing(seed: int, cuts: list[int]) -> None:
    whole, sliced = market(), market()
    array = stream(seed, 500, begin=whole.sequence + 1)
    done = whole.submit(array)
    parts = [sliced.submit(part) for part in np.split(array, sorted(cuts))]
    for name in ("commands", "executions", "risk_events", "sequences"):
        together = np.concatenate([getattr(part, name) for part in parts])
        assert together.tobytes() == getattr(done, name).tobytes(), name
    assert sliced.state_hash() == whole.state_hash() == whole.recomputed_state_hash()


def neutral(commands: Records) -> Records:
    """Commands of the same time and place on `orders.in` that are refused for what they are: they have no kind."""
    array = np.zeros(len(commands), COMMAND)
    array["ts"], array["source_sequence"] = commands["ts"], commands["source_sequence"]
    return array


def assert_refusals_change_nothing(venue: Venue, hostile: Records) -> None:
    """Method: a twin gets, for each command that risk refuses, one that cannot be anything; both are the same afterwards."""
    twin = venue.fork()
    for command in np.split(hostile, len(hostile)):
        before = venue.open_orders().tobytes()
        done = venue.submit(command)
        refused = done.commands["verdict"][0] == Verdict.REJECTED
        assert refused == (done.commands["reason"][0] != 0)
        twin.submit(neutral(command) if refused else command)
        assert twin.state_hash() == venue.state_hash()
        kinds = done.executions["kind"]
        assert np.all((done.executions["reason"] != 0) | (kinds != ExecutionKind.REJECTED))
        if refused:
            assert len(kinds) == 0
            assert venue.open_orders().tobytes() == before
    assert venue.state_hash() == venue.recomputed_state_hash()
    again = Venue(**ROOM)
    again.replay(venue.commands(), recheck=True)
    assert again.state_hash() == venue.state_hash()


@given(seed=SEEDS, garbage=st.lists(st.binary(min_size=128, max_size=128), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_random_bytes_are_refused_with_a_reason_and_change_nothing(seed: int, garbage: list[bytes]) -> None:
    venue = market()
    venue.submit(stream(seed, 100, begin=venue.sequence + 1))
    array = np.frombuffer(b"".join(garbage), COMMAND).copy()
    # Half of them have a kind, so that they come further.
    array["kind"][::2] %= 16
    assert_refusals_change_nothing(venue, array)


EXTREMES: list[Any] = [0, 1, -1, 2**53 - 1, 2**53, 2**62, 2**63 - 1, -(2**63), -(2**53)]


@given(
    seed=SEEDS,
    changes=st.lists(
        st.tuples(st.integers(0, 199), st.integers(0, 10), st.sampled_from(EXTREMES)), min_size=1, max_size=40
    ),
    flips=st.lists(st.tuples(st.integers(0, 199), st.integers(8, 127), st.integers(0, 255)), max_size=40),
)
@settings(max_examples=30, deadline=None)
def test_overflowing_and_damaged_commands_are_refused_with_a_reason_and_change_nothing(
    seed: int, changes: list[tuple[int, int, int]], flips: list[tuple[int, int, int]]
) -> None:
    """Method: a sensible stream in which words of the body become extremes, and bytes of all but the time anything."""
    venue = market()
    array = stream(seed, 200, begin=venue.sequence + 1)
    words = array["body"].view("<i8")
    for at, word, value in changes:
        words[at, word] = value
    bytes_ = array.view(np.uint8).reshape(len(array), COMMAND.itemsize)
    for at, byte, value in flips:
        bytes_[at, byte] = value
    assert_refusals_change_nothing(venue, array)


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_an_auction_crosses_nobody_and_conserves_everything(seed: int) -> None:
    """Method: half of the stream is collected in an auction, then uncrossed."""
    venue = market(instruments=1)
    venue.submit(session(1, Session.AUCTION))
    array = stream(seed, 600, begin=venue.sequence + 1, instruments=1)
    before = sums(venue)
    assert not np.any(venue.submit(array[:300]).executions["kind"] == ExecutionKind.FILL)
    done = venue.submit(session(1, Session.CONTINUOUS, ts=venue.ts))
    fills = done.executions[done.executions["kind"] == ExecutionKind.FILL]
    auction = fills[fills["side"] == 0]
    assert len(np.unique(auction["price"])) <= 1
    prices, sizes = venue.depth(1, 1)
    assert not (sizes[0, 0] and sizes[1, 0]) or prices[0, 0] < prices[1, 0]
    venue.submit(array[300:])
    assert sums(venue) == before

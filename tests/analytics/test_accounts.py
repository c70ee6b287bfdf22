"""Windows of accounts: what the venue's own commands and executions say, from any batches and after any start."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from tests.analytics.tape import BEGIN, NS
from tests.venue.market import ROOM, market, opening, stream
from tidebook.analytics import Accounts
from tidebook.analytics.accounts import last_windows
from tidebook.analytics.layouts import DAY, MINUTE, OPEN, SECOND
from tidebook.venue import Records, Side, Submitted, Venue, cancel, commands, place

PRICE, SIZE = 100, 1000
"""Units of tests.venue.market."""
MIDNIGHT = BEGIN + 60 * NS


def day(seed: int, count: int = 3_000) -> tuple[Submitted, Submitted]:
    """The opening and a stream of two minutes around midnight, as they were judged."""
    venue = Venue(**ROOM)
    first = opening()
    first["ts"] = BEGIN
    begun = venue.submit(first)
    asked = stream(seed, count, begin=venue.sequence + 1)
    asked["ts"] = BEGIN + asked["ts"] * 120
    return begun, venue.submit(asked)


def replica() -> Venue:
    return Venue(**ROOM, history=False)


def joined(*submitted: Submitted) -> Records:
    return np.concatenate([each.commands for each in submitted])


def closed(records: Records, interval_s: int) -> Records:
    chosen = (records["interval_s"] == interval_s) & (records["flags"] & OPEN == 0)
    return np.asarray(records[chosen])


def after(ts: int) -> Records:
    """A command that ends what was open."""
    return commands([cancel(11, 1, 999_999, ts=ts)])


def test_a_trade_that_a_trader_can_check() -> None:
    """12 asks 2.000 at 101 over a bid of 99; 11 buys 0.500 of them at the market, and cancels another order."""
    venue = market()
    at = BEGIN
    asked = commands(
        [
            place(12, 1, Side.BUY, price=9_900, size=1_000, ts=at),
            place(12, 1, Side.SELL, price=10_100, size=2_000, ts=at),
            place(11, 1, Side.BUY, price=10_100, size=500, ts=at + 1),
            place(11, 1, Side.BUY, price=9_000, size=100, ts=at + 2),
        ]
    )
    first = venue.submit(asked)
    resting = 2 * int(first.sequences[-1])
    last = venue.submit(
        commands([cancel(11, 1, resting, ts=at + 3), cancel(11, 1, 77_777, ts=at + 4), *after(at + 2 * NS)])
    )
    made = Accounts(replica()).take(np.concatenate([venue.commands(1, first.first_sequence - 1), joined(first, last)]))
    buyer, seller = (made[(made["account"] == account) & (made["interval_s"] == SECOND)][-1] for account in (11, 12))
    assert (buyer["ts_open"], buyer["ts_event"], buyer["source_sequence"]) == (at, at + NS, last.sequences[-1])
    assert [buyer[name].item() for name in ("orders", "cancels", "refused", "fills", "maker_fills")] == [2, 1, 1, 1, 0]
    assert (buyer["ordered"], buyer["bought"], buyer["sold"], buyer["notional"]) == (0.6, 0.5, 0, 50.5)
    assert buyer["fill_ratio"] == pytest.approx(0.5 / 0.6)
    assert buyer["cancels_per_fill"] == 1
    # Half of the spread of 2.00 for each of 0.5.
    assert buyer["slippage"] == pytest.approx(0.5)
    assert buyer["slippage_bps"] == pytest.approx(100)
    assert (buyer["slippage_size"], buyer["position"], buyer["average_price"], buyer["mid"]) == (0.5, 0.5, 101, 100)
    assert (buyer["realized"], buyer["unrealized"]) == (0, -0.5)
    assert [seller[name].item() for name in ("orders", "fills", "maker_fills")] == [2, 1, 1]
    assert (seller["sold"], seller["position"]) == (0.5, -0.5)
    # Its ask came into a book without one: it had no middle to slip from.
    assert seller["slippage_size"] == 0


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("interval_s", [SECOND, MINUTE, DAY])
def test_windows_are_what_the_venue_says_of_fills_positions_and_profit(seed: int, interval_s: int) -> None:
    """Method: sums over the executions that the venue itself gave, and its positions at the end of each window."""
    begun, rest = day(seed)
    whole = np.concatenate([joined(begun, rest), after_of(rest)])
    found = closed(Accounts(replica()).take(whole), interval_s)
    sums: dict[tuple[int, int, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for one in rest.executions[rest.executions["kind"] == 3]:
        opened = int(one["ts"]) // (interval_s * NS) * interval_s * NS
        for account, fee, side in (("account", "fee", one["side"]), ("contra_account", "contra_fee", -one["side"])):
            window = sums[opened, int(one["instrument_id"]), int(one[account])]
            window["fills"] += 1
            window["bought" if side > 0 else "sold"] += int(one["size"]) / SIZE
            window["notional"] += int(one["price"]) * int(one["size"]) / (PRICE * SIZE)
            window["fees"] += int(one[fee]) / PRICE
    assert len(sums) > 3
    said = {(int(r["ts_open"]), int(r["instrument_id"]), int(r["account"])): r for r in found}
    assert sums.keys() <= said.keys()
    for key, record in said.items():
        for name in ("fills", "bought", "sold", "notional", "fees"):
            assert record[name] == pytest.approx(sums[key][name] if key in sums else 0), (key, name)
    other = replica()
    taken = 0
    profits: dict[tuple[int, int], float] = defaultdict(float)
    for ends in sorted({key[0] + interval_s * NS for key in said}):
        until = int(np.searchsorted(whole["ts"], ends))
        other.replay(whole[taken:until])
        taken = until
        held = {(p.instrument_id, p.account): p for p in other.positions()}
        for (opened, instrument, whose), record in said.items():
            if opened + interval_s * NS == ends and (position := held.get((instrument, whose))) is not None:
                assert record["position"] == position.position / SIZE
                assert record["realized_total"] == pytest.approx(position.realised / 10**18)
                profits[instrument, whose] += float(record["realized"])
                assert profits[instrument, whose] == pytest.approx(position.realised / 10**18, abs=1e-6)


def after_of(submitted: Submitted) -> Records:
    """A judged command a day after the last one, which ends every window."""
    last = submitted.commands[-1:].copy()
    last["ts"] += 2 * DAY * NS
    last["kind"], last["verdict"], last["reason"], last["body"], last["account"] = 8, 1, 0, 0, 0
    last["instrument_id"] = 0
    return last


@pytest.mark.parametrize("seed", range(5))
def test_the_same_commands_give_the_same_windows_to_the_last_byte_whatever_the_batches(seed: int) -> None:
    begun, rest = day(5)
    whole = np.concatenate([joined(begun, rest), after_of(rest)])
    expected = Accounts(replica()).take(whole)
    dice = np.random.default_rng(seed)
    cuts = np.sort(dice.integers(0, len(whole), 300))
    accounts = Accounts(replica())
    found = np.concatenate([accounts.take(part) for part in np.split(whole, cuts)])
    assert len(expected) > 300
    assert found.tobytes() == expected.tobytes()


def test_a_start_at_a_days_beginning_gives_that_day_as_if_it_had_always_run_and_nothing_twice() -> None:
    begun, rest = day(6)
    whole = np.concatenate([joined(begun, rest), after_of(rest)])
    expected = Accounts(replica()).take(whole)
    at_midnight = int(np.searchsorted(whole["ts"], MIDNIGHT))
    late = Accounts(replica())
    late.skip(whole[:at_midnight])
    found = late.take(whole[at_midnight:])
    second_day = expected[expected["ts_open"] >= MIDNIGHT]
    assert len(second_day) > 100
    assert found.tobytes() == second_day.tobytes()
    # And one that has told the half of it goes on behind that.
    half = found[: len(found) // 2]
    again = Accounts(replica(), last_windows([half]))
    again.skip(whole[:at_midnight])
    rest_of_it = again.take(whole[at_midnight:])
    is_open = rest_of_it["flags"] & OPEN != 0
    for interval_s in (SECOND, MINUTE, DAY):
        both = [*closed(half, interval_s), *closed(rest_of_it[~is_open], interval_s)]
        assert [each.tobytes() for each in both] == [each.tobytes() for each in closed(found, interval_s)]


def test_a_quiet_venue_is_told_as_it_stands_and_goes_on_as_if_nobody_had_asked() -> None:
    begun, rest = day(8, 400)
    whole = joined(begun, rest)
    asked, unasked = Accounts(replica()), Accounts(replica())
    first = asked.take(whole[:300])
    preview = asked.preview()
    assert (preview["flags"] & OPEN != 0).all()
    assert asked.is_open
    assert {int(r["interval_s"]) for r in preview} == {SECOND, MINUTE, DAY}
    together = np.concatenate([first, asked.take(whole[300:])])
    assert together.tobytes() == unasked.take(whole).tobytes()


def test_tops_are_those_of_the_book_before_each_command() -> None:
    begun, rest = day(9, 300)
    whole = joined(begun, rest)
    replayed, tops = replica().replay_with_tops(whole)
    stepped = replica()
    for command, top in zip(whole, tops, strict=True):
        prices, sizes = stepped.depth(int(command["instrument_id"]), 1)
        for price, size, best in zip(prices[:, 0], sizes[:, 0], top, strict=True):
            assert best == (price if size else -(1 << 63))
        stepped.replay(command)
    assert replayed.executions.tobytes() == replica().replay(whole).executions.tobytes()

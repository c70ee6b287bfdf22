"""Windows of markets: each number by its definition, the same whatever the batches, and never of more than is known."""

from __future__ import annotations

import math
import pickle
import random
from typing import Any

import numpy as np
import pytest

from tests.analytics.naive_markets import windows
from tests.analytics.tape import BEGIN, NS, Record, arrays, clock, market, quote, status, tape, told, trade
from tidebook.analytics import Markets
from tidebook.analytics.layouts import DAY, GAP, LATE_START, MINUTE, OPEN, SECOND
from tidebook.analytics.markets import last_windows

BOOK_UNUSABLE = 2
SESSION_CHANGED = 29


def closed(records: np.ndarray[Any, Any], interval_s: int) -> np.ndarray[Any, Any]:
    chosen = (records["interval_s"] == interval_s) & (records["flags"] & OPEN == 0)
    return np.asarray(records[chosen])


def test_a_second_that_a_trader_can_check() -> None:
    """Bid 99 x 3, ask 101 x 1 for half a second, then 100 x 1, 102 x 1; 2 bought at 101 before and 1 sold at 100 after the change."""
    begin = BEGIN
    records = [
        quote(begin, 1, (99, 3), (101, 1)),
        trade(begin + NS // 4, 2, 101, 2, 1),
        quote(begin + NS // 2, 3, (100, 1), (102, 1)),
        trade(begin + 3 * NS // 4, 4, 100, 1, -1),
        clock(begin + NS, 5),
        clock(begin + NS, 6),
    ]
    (found,) = told(Markets(), records)
    assert found.tobytes() == told(Markets(), records[:-1]).tobytes(), (
        "one message behind the end shows that it is over"
    )
    said = {name: found[name].item() for name in found.dtype.names}
    assert (said["ts_open"], said["ts_event"], said["interval_s"], said["flags"]) == (begin, begin + NS, SECOND, 0)
    assert (said["source_sequence"], said["source_index"], said["trades"], said["quotes"]) == (5, 0, 2, 2)
    assert (said["volume"], said["buy_volume"], said["sell_volume"], said["notional"]) == (3, 2, 1, 302)
    assert said["vwap"] == pytest.approx(302 / 3)
    assert said["twap"] == pytest.approx((101 * 0.5 + 100 * 0.25) / 0.75)
    assert (said["mid"], said["mid_twap"], said["spread"], said["quoted_s"]) == (101, 100.5, 2, 1)
    assert said["microprice"] == 101
    assert said["book_imbalance"] == pytest.approx((0.5 + 0) / 2)
    assert said["effective_spread"] == pytest.approx((2 * 2 * (101 - 100) + 1 * 2 * (101 - 100)) / 3)
    # A better bid adds its size; an ask that went up takes away what stood at the old one.
    assert said["order_flow"] == 1 + 1
    assert said["trade_imbalance"] == pytest.approx(1 / 3)
    assert said["volatility"] == 0, "one middle makes no return"


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("interval_s", [SECOND, MINUTE, DAY])
def test_every_number_is_what_its_definition_gives(seed: int, interval_s: int) -> None:
    """Method: a naive implementation, over a midnight."""
    records = tape(seed, 1_500)
    found = closed(told(Markets(), records, seed), interval_s)
    expected = windows(records, interval_s)
    # The record that shows that a venue's last message is whole has not come: what it would close is open.
    last = {venue: max(r["source_sequence"] for r in records if r["instrument_id"] >> 24 == venue) for venue in (1, 2)}
    assert len(found) > 3
    for record in found:
        wanted = expected.pop((int(record["instrument_id"]), int(record["ts_open"])))
        for name, value in wanted.items():
            assert record[name] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), (name, record["ts_open"])
    assert all(
        any(
            r["source_sequence"] == last[of >> 24] and r["ts_recv"] >= opened + interval_s * NS
            for r in records
            if r["instrument_id"] >> 24 == of >> 24
        )
        for of, opened in expected
    )


@pytest.mark.parametrize("seed", range(8))
def test_the_same_records_give_the_same_windows_to_the_last_byte_whatever_the_batches(seed: int) -> None:
    """Method: channels are read in any order, in turns of any size, while more is published."""
    records = tape(7, 1_500)
    one, other = told(Markets(), records), told(Markets(), records, seed)
    for venue in (1, 2):
        ours, theirs = (all_[all_["instrument_id"] >> 24 == venue] for all_ in (one, other))
        assert len(ours) > 300
        assert ours.tobytes() == theirs.tobytes()


def test_a_start_in_the_middle_says_from_when_on_it_knows_and_tells_no_window_twice() -> None:
    records = tape(5, 2_000)
    whole = told(Markets(), records)
    half = len(records) // 2
    first = told(Markets(), records[:half])
    since = records[half - 300]["ts_recv"]
    again = Markets(last_windows([first]))
    again.begins(since)
    second = told(again, records[half - 300 :])
    quoted: dict[int, int] = {}
    for record in records[half - 300 :]:
        if record["channel"] in ("md.quotes", "md.status"):
            ids = [record["instrument_id"]]
            if ids[0] & 0xFFFFFF == 0xFFFFFF:
                ids = [one for one in {r["instrument_id"] for r in records} if one >> 24 == ids[0] >> 24]
            for one in ids:
                quoted.setdefault(one, record["ts_recv"])
    for interval_s in (SECOND, MINUTE):
        ours = [closed(part, interval_s) for part in (first, second)]
        keys = [(int(r["instrument_id"]), int(r["ts_open"])) for part in ours for r in part]
        assert sorted(keys) == sorted((int(r["instrument_id"]), int(r["ts_open"])) for r in closed(whole, interval_s))
        expected = {(int(r["instrument_id"]), int(r["ts_open"])): r for r in closed(whole, interval_s)}
        for record in ours[1]:
            is_late = record["ts_open"] < max(since, quoted[int(record["instrument_id"])])
            assert bool(record["flags"] & LATE_START) == is_late
            if not is_late:
                for name in ("trades", "volume", "notional"):
                    assert record[name] == expected[int(record["instrument_id"]), int(record["ts_open"])][name]
    days = second[second["interval_s"] == DAY]
    begun = days[days["ts_open"] < since]
    assert len(begun)
    assert (begun["flags"] & LATE_START != 0).all()
    assert (begun["ts_from"] >= since).all()


def test_lost_records_are_told_with_every_window_they_may_have_been_of_and_no_quote_outlives_them() -> None:
    markets = Markets()
    before = [quote(BEGIN + NS // 10, 1, (99, 1), (101, 1)), quote(BEGIN + NS // 5, 2, (99, 2), (101, 1))]
    told(markets, before)
    markets.gap("md.quotes", 7)
    after = [
        trade(BEGIN + 2 * NS + 5, 20, 100, 1, 1),
        quote(BEGIN + 3 * NS + NS // 2, 21, (99, 1), (101, 1)),
        quote(BEGIN + 5 * NS, 22, (99, 3), (101, 1)),
        clock(BEGIN + 60 * NS, 23),
        clock(BEGIN + 60 * NS, 24),
    ]
    found = told(markets, after)
    assert markets.missed == 7
    seconds = closed(found, SECOND)
    at = {int(r["ts_open"] - BEGIN) // NS: r for r in seconds}
    assert {second: int(r["missed"]) for second, r in at.items()} == {0: 7, 2: 7, 3: 7, 5: 0}
    assert {second: bool(r["flags"] & GAP) for second, r in at.items()} == {0: True, 2: True, 3: True, 5: False}
    assert at[0]["quoted_s"] == pytest.approx(0.1)
    assert at[2]["quoted_s"] == 0
    assert math.isnan(at[2]["effective_spread"])
    assert at[3]["quoted_s"] == pytest.approx(0.5)
    (minute,) = closed(found, MINUTE)
    assert minute["flags"] & GAP
    assert minute["missed"] == 7


def at_once(markets: Markets, *records: Record) -> np.ndarray[Any, Any]:
    """What comes of one look that finds these."""
    for channel, array in arrays(records).items():
        markets.take(channel, array)
    return markets.turn()


@pytest.mark.parametrize("venues", [(1,), (1, 12)])
@pytest.mark.parametrize("step_ms", [150, 3_000, 200_000])
def test_each_window_is_told_with_all_that_was_lost_however_often_that_was(
    venues: tuple[int, ...], step_ms: int
) -> None:
    """Beside a list of all losses: those of every window of every length, also of a feed that is silent while others lose."""
    dice = random.Random(step_ms)
    markets = Markets()
    losses: list[tuple[int, int, int]] = []
    last: dict[str, int] = {}
    at, checked = BEGIN, {SECOND: 0, MINUTE: 0, DAY: 0}
    for sequence in range(1, 1_500):
        at += dice.randrange(step_ms * NS // 1_000)
        venue = venues[0] if sequence % 400 > 20 else venues[-1]
        record = dice.choice(
            (
                trade(at, sequence, 100, 1, 1, of=market(venue, 1)),
                quote(at, sequence, (99, 1), (101, 1), of=market(venue, 1)),
            )
        )
        channel = record["channel"]
        if channel in last and dice.random() < 0.7:
            lost = dice.randrange(1, 9)
            markets.gap(channel, lost)
            losses.append((last[channel], at, lost))
        last[channel] = at
        for window in at_once(markets, record):
            opened, interval_s = int(window["ts_open"]), int(window["interval_s"])
            ends = opened + interval_s * NS
            missed = sum(lost for first, behind, lost in losses if first < ends and behind >= opened)
            assert (int(window["missed"]), bool(window["flags"] & GAP)) == (missed, missed > 0)
            checked[interval_s] += missed > 0
    assert len(losses) > 900
    assert all(checked.values())


def test_a_window_that_is_open_for_long_keeps_its_losses_while_others_have_theirs() -> None:
    own, other = market(12, 1), market(1, 1)
    markets = Markets()
    at_once(markets, trade(BEGIN, 1, 100, 1, 1, of=own), trade(BEGIN, 1, 100, 1, 1, of=other))
    markets.gap("md.trades", 5)
    at_once(markets, trade(BEGIN + NS, 2, 100, 1, 1, of=other))
    for nth in range(3_000):
        markets.gap("md.trades", 1)
        at_once(markets, trade(BEGIN + 60 * NS + nth * 10 * NS, 3 + nth, 100, 1, 1, of=other))
    found = [at_once(markets, clock(BEGIN + 40_000 * NS, sequence, venue=12)) for sequence in (2, 3)]
    windows = np.concatenate(found)
    assert {(int(r["interval_s"]), int(r["missed"])) for r in windows if r["ts_open"] <= BEGIN} == {
        (SECOND, 5),
        (MINUTE, 5 + 1),
        (DAY, 5 + 1),  # the first of the others was lost between this minute and the next
    }


def test_losses_take_no_more_memory_the_more_there_are() -> None:
    markets = Markets()
    at_once(markets, trade(BEGIN, 1, 100, 1, 1, of=market(12, 1)))
    sizes = []
    for nth in range(1, 9_001):
        markets.gap("md.trades", 1)
        at_once(markets, trade(BEGIN + nth * 20 * NS, 1 + nth, 100, 1, 1))
        if nth % 1_500 == 0:
            sizes.append(len(pickle.dumps(markets)))
    assert max(sizes) < 1.3 * min(sizes)


def test_where_the_clock_steps_back_what_is_lost_is_told_with_the_window_that_stands() -> None:
    markets = Markets()
    at_once(markets, trade(BEGIN + 10 * NS, 1, 100, 1, 1))
    at_once(markets, trade(BEGIN + 10 * NS + 1, 2, 100, 1, 1))
    at_once(markets, trade(BEGIN + 2 * NS, 3, 100, 1, 1))
    markets.gap("md.trades", 4)
    at_once(markets, trade(BEGIN + 3 * NS, 4, 100, 1, 1))
    found = [at_once(markets, clock(BEGIN + 12 * NS, sequence)) for sequence in (5, 6)]
    (second,) = closed(np.concatenate(found), SECOND)
    assert (second["ts_open"], second["trades"], second["missed"]) == (BEGIN + 10 * NS, 4, 4)


def test_what_was_lost_at_the_end_is_told_before_anything_comes_behind_it() -> None:
    markets = Markets()
    at_once(markets, trade(BEGIN, 1, 100, 1, 1))
    markets.gap("md.trades", 3)
    found = [at_once(markets, clock(BEGIN + NS, sequence)) for sequence in (2, 3)]
    (second,) = closed(np.concatenate(found), SECOND)
    assert (second["missed"], bool(second["flags"] & GAP)) == (3, True)


def test_a_book_that_may_not_be_used_is_no_quote_until_it_may_be_again() -> None:
    records = [
        quote(BEGIN, 1, (99, 1), (101, 1)),
        status(BEGIN + NS // 4, 2, BOOK_UNUSABLE),
        trade(BEGIN + NS // 2, 3, 100, 1, 1),
        quote(BEGIN + 3 * NS // 4, 4, (98, 1), (102, 1)),
        clock(BEGIN + NS, 5),
        clock(BEGIN + NS, 6),
    ]
    (found,) = told(Markets(), records)
    assert found["quoted_s"] == pytest.approx(0.5)
    assert found["spread"] == pytest.approx((2 * 0.25 + 4 * 0.25) / 0.5)
    assert math.isnan(found["effective_spread"])
    assert found["order_flow"] == 0


def test_the_timer_that_closes_the_bars_of_a_quiet_venue_closes_the_windows_too() -> None:
    """Method: one record of `md.bars` behind the last trade, after a minute, and nothing else."""
    records = [quote(BEGIN, 1, (99, 1), (101, 1)), trade(BEGIN + 1, 2, 100, 1, 1)]
    markets = Markets()
    assert not len(told(markets, records))
    found = told(markets, [clock(BEGIN + 61 * NS, 3) | {"channel": "md.bars", "instrument_id": 1 << 24}])
    assert [(int(r["interval_s"]), int(r["trades"]), int(r["flags"]) & ~LATE_START) for r in found] == [
        (SECOND, 1, 0), (MINUTE, 1, 0), (DAY, 1, 0),
    ]  # fmt: skip
    assert (found["source_sequence"] == 3).all()
    assert not len(told(markets, []))


def test_what_is_told_again_for_other_readers_changes_nothing() -> None:
    """Method: sessions are told again, later than what stands, between the records of the same feeds."""
    records = tape(4, 600, venues=(1,))
    again = []
    for record in records:
        again.append(record)
        at, sequence = record["ts_recv"] + 7, record["source_sequence"]
        again.append(status(at, sequence, SESSION_CHANGED, index=1 << 19))
    assert told(Markets(), again, 3).tobytes() == told(Markets(), records).tobytes()


def test_a_quiet_feed_is_told_as_it_stands_and_goes_on_as_if_nobody_had_asked() -> None:
    records = tape(3, 600, venues=(1,))
    asked, unasked = Markets(), Markets()
    half = len(records) // 2
    first = told(asked, records[:half])
    preview = asked.preview()
    assert (preview["flags"] & OPEN != 0).all()
    assert set(preview["interval_s"]) == {SECOND, MINUTE, DAY}
    assert asked.preview().tobytes() == preview.tobytes()
    rest = told(asked, records[half:])
    together = np.concatenate((first, rest))
    expected = told(unasked, records)
    assert together.tobytes() == expected.tobytes()
    # What it stood at is what the first half has in that day.
    day = preview[preview["interval_s"] == DAY]
    opened = int(day["ts_open"][0])
    for record in day:
        own = [
            r["size"] / 1000
            for r in records[:half]
            if r["channel"] == "md.trades" and r["instrument_id"] == record["instrument_id"] and r["ts_recv"] >= opened
        ]
        assert record["volume"] == pytest.approx(sum(own))


def test_the_day_so_far_is_told_each_minute_and_the_whole_day_after_midnight() -> None:
    records = tape(9, 3_000, venues=(1,))
    found = told(Markets(), records)
    days = found[found["interval_s"] == DAY]
    so_far, whole = days[days["flags"] & OPEN != 0], days[days["flags"] & OPEN == 0]
    assert {int(r["instrument_id"]) for r in whole} == {1 << 24, 1 << 24 | 1, 1 << 24 | 2}
    assert (whole["ts_event"] % (DAY * NS) == 0).all()
    assert len(so_far) > len(whole)


def test_a_quote_that_is_older_than_what_is_there_makes_no_window_whole_until_the_next_one() -> None:
    records = [
        clock(BEGIN + NS, 10),
        trade(BEGIN + 2 * NS, 11, 100, 1, 1),
        trade(BEGIN + 63 * NS, 12, 100, 1, 1),
        quote(BEGIN + 90 * NS, 13, (99, 1), (101, 1)),
        trade(BEGIN + 150 * NS, 14, 100, 1, 1),
        clock(BEGIN + 200 * NS, 15),
        clock(BEGIN + 300 * NS, 16),
    ]
    again = Markets()
    again.begins(BEGIN - 600 * NS)
    minutes = [record for record in closed(told(again, records), MINUTE) if record["instrument_id"] == 1 << 24]
    assert [bool(record["flags"] & LATE_START) for record in minutes] == [True, True, False]
    assert [int(record["ts_from"]) for record in minutes] == [BEGIN + 60 * NS, BEGIN + 90 * NS, BEGIN + 120 * NS]
    assert [float(record["quoted_s"]) for record in minutes] == [0.0, 30.0, 60.0]


def test_sums_have_what_is_known_of_before_ts_from_too() -> None:
    """As after a restart, where the ring of trades goes back further than that of quotes."""
    records = [
        trade(BEGIN + 2 * NS, 11, 100, 3, 1),
        quote(BEGIN + 30 * NS, 12, (99, 1), (101, 1)),
        trade(BEGIN + 40 * NS, 13, 100, 4, 1),
        clock(BEGIN + 61 * NS, 14),
        clock(BEGIN + 62 * NS, 15),
    ]
    again = Markets()
    again.begins(BEGIN + 2 * NS)
    again.begins(BEGIN + 30 * NS)
    (minute,) = [r for r in closed(told(again, records), MINUTE) if r["instrument_id"] == 1 << 24]
    assert (int(minute["ts_from"]), bool(minute["flags"] & LATE_START)) == (BEGIN + 30 * NS, True)
    assert (int(minute["trades"]), float(minute["volume"])) == (2, 7.0)


def test_orders_that_cross_while_an_auction_collects_them_are_no_quote() -> None:
    records = [
        quote(BEGIN, 1, (99, 1), (101, 1)),
        quote(BEGIN + 10 * NS, 2, (101, 1), (99, 1)),
        trade(BEGIN + 20 * NS, 3, 100, 1, 1),
        quote(BEGIN + 30 * NS, 4, (100, 1), (101, 1)),
        clock(BEGIN + 61 * NS, 5),
        clock(BEGIN + 62 * NS, 6),
    ]
    (minute,) = [r for r in closed(told(Markets(), records), MINUTE) if r["instrument_id"] == 1 << 24]
    assert float(minute["quoted_s"]) == 40.0
    assert float(minute["spread"]) == (10 * 2 + 30 * 1) / 40
    assert np.isnan(minute["effective_spread"])

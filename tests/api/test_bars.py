"""Bars as a chart shows them: closed ones in their last revision, and open ones that agree with what will close."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.conftest import BTC, SECOND, trade
from tests.market import records
from tidebook._core import FeedDecoder, Recording
from tidebook.api.bars import BARS_KEPT, TIMEFRAMES, Bar, Bars, Series, TimeframeName

FILE = "binance-spot/btcusdt-20240808.log.zst"
MINUTE = 60 * SECOND
# A minute that begins an hour and a day.
DAY = 19_944 * 86_400 * SECOND
UNPROVEN = 4


def at(second: float, price: int, size: int = 1, **fields: Any) -> dict[str, Any]:
    """A trade so many seconds into `DAY`."""
    time = DAY + round(second * SECOND)
    return {**trade(int(second * 1_000)), "ts_event": time, "ts_recv": time, "price": price, "size": size, **fields}


def closed(interval_s: int, second: int, price: int, volume: int = 1, **fields: Any) -> dict[str, Any]:
    """A record of `md.bars` of one price."""
    row = dict.fromkeys(("open", "high", "low", "close"), price)
    common = {"instrument_id": BTC, "price_exp": 2, "size_exp": 5, "trade_count": volume and 1}
    return {**row, **common, "interval_s": interval_s, "ts_open": DAY + second * SECOND, "volume": volume, **fields}


def shown(bars: Sequence[Bar]) -> list[tuple[float, list[int], int, bool]]:
    """(start in seconds of `DAY`, open high low close, volume, unproven)."""
    return [
        ((bar.ts_open - DAY) / SECOND, [bar.open, bar.high, bar.low, bar.close], bar.volume, bar.unproven)
        for bar in bars
    ]


def taken(bars: Bars, channel: str, *rows: dict[str, Any]) -> None:
    (bars.take_bars if channel == "md.bars" else bars.take_trades)(records(channel, *rows))


def test_each_open_bar_of_a_recording_is_the_closed_one_that_follows(recordings: Path) -> None:
    """Method: before each closed bar is taken, what was open is compared with it, prices, volumes, counts and doubt."""
    recording, decoder, bars = Recording(recordings / FILE), FeedDecoder("binance"), Bars()
    compared = dict.fromkeys(TIMEFRAMES, 0)
    names = {seconds: name for name, seconds in TIMEFRAMES.items()}
    sequence = 1
    while len(messages := recording.next(20)):
        decoded = decoder.decode(sequence, messages)
        sequence += len(messages)
        if len(decoded["trades"]):
            bars.take_trades(decoded["trades"])
        for row in decoded["bars"]:
            timeframe = names[int(row["interval_s"])]
            if row["trade_count"]:
                open_one = {bar.ts_open: bar for bar in bars.opened(timeframe)}[int(row["ts_open"])]
                assert {name: getattr(open_one, name) for name in Bar._fields} == {
                    name: int(row[name]) for name in Bar._fields
                }
                compared[timeframe] += 1
            bars.take_bars(decoded["bars"][decoded["bars"] == row])
    assert compared["1s"] > 300
    assert compared["1m"] == 5
    assert compared["5m"] == 1


def test_an_open_bar_goes_by_the_venues_time_and_trade_id_and_not_by_arrival() -> None:
    bars = Bars()
    taken(bars, "md.bars", closed(60, -60, 9))
    taken(bars, "md.trades", at(3, 30, 2, side=-1), at(1, 10), at(2, 5), at(3, 20, trade_id=3_001))
    assert shown(bars.opened("1m")) == [(0, [10, 30, 5, 20], 5, False)]
    assert bars.opened("1m")[0].buy_volume == 3
    assert shown(bars.opened("1s")) == [
        (1, [10, 10, 10, 10], 1, False),
        (2, [5, 5, 5, 5], 1, False),
        (3, [30, 30, 20, 20], 3, False),
    ]


def test_an_hour_is_made_of_every_shorter_length_and_of_what_is_open() -> None:
    bars = Bars()
    taken(
        bars,
        "md.bars",
        closed(3_600, -3_600, 50),
        closed(300, 0, 11, 100),
        closed(60, 300, 12, 20),
        closed(1, 360, 13, 5),
    )
    taken(bars, "md.trades", at(361, 9, 2))
    assert shown(bars.opened("1h")) == [(0, [11, 13, 9, 9], 127, False)]
    assert shown(bars.opened("5m")) == [(300, [12, 13, 9, 9], 27, False)]
    assert shown(bars.opened("1m")) == [(360, [13, 13, 9, 9], 7, False)]


def test_two_bars_are_open_while_the_first_waits_for_trades_on_their_way() -> None:
    bars = Bars()
    taken(bars, "md.bars", closed(60, -60, 9))
    taken(bars, "md.trades", at(59.9, 10), at(60.1, 11), at(59.95, 12))
    assert shown(bars.opened("1m")) == [(0, [10, 12, 10, 12], 2, False), (60, [11, 11, 11, 11], 1, False)]
    taken(bars, "md.bars", closed(1, 59, 12, 2), closed(60, 0, 12, 2))
    assert shown(bars.opened("1m")) == [(60, [11, 11, 11, 11], 1, False)]


def test_a_late_trade_comes_as_a_revision_and_is_counted_once() -> None:
    bars = Bars()
    taken(bars, "md.bars", closed(60, -60, 9), closed(1, 5, 10))
    before = bars.closed("1s").version
    taken(bars, "md.trades", at(5.5, 99))
    taken(bars, "md.bars", closed(1, 5, 99, 2, revision=1))
    assert [(bar.close, bar.revision) for bar in bars.closed("1s").changed_after(before)] == [(99, 1)]
    assert shown(bars.opened("1m")) == [(0, [99, 99, 99, 99], 2, False)]


def test_intervals_without_trades_are_no_open_bars_and_leave_prices_as_they_are() -> None:
    bars = Bars()
    taken(bars, "md.bars", closed(300, -300, 9), closed(60, 0, 9, 0))
    assert bars.opened("5m") == []
    taken(bars, "md.trades", at(61, 10))
    assert shown(bars.opened("5m")) == [(0, [10, 10, 10, 10], 1, False)]


def test_a_trade_whose_clock_is_off_by_more_than_an_hour_is_in_no_bar() -> None:
    bars = Bars()
    taken(bars, "md.bars", closed(60, -60, 9))
    taken(bars, "md.trades", at(1, 10), at(7_300, 99, ts_recv=DAY))
    assert shown(bars.opened("1s")) == [(1, [10, 10, 10, 10], 1, False)]


def test_a_bar_whose_beginning_nobody_saw_is_unproven_until_it_is_filled() -> None:
    """A process that starts 6 minutes and 3 seconds into an hour."""
    bars, now = Bars(), DAY + 365 * SECOND
    taken(bars, "md.trades", at(362, 10), at(364, 11))
    assert [bar.unproven for timeframe in TIMEFRAMES for bar in bars.opened(timeframe)] == [True, False, *[True] * 4]
    lacking = bars.lacks("1h", now)
    assert [(name, (since - DAY) // SECOND, (until - DAY) // SECOND) for name, since, until in lacking] == [
        ("5m", 0, 363),
        ("1m", 300, 363),
        ("1s", 360, 363),
    ]
    stored = {"5m": [closed(300, 0, 7, 100)], "1m": [closed(60, 300, 8, 20)], "1s": [closed(1, 361, 5, 3)]}
    for name, since, _ in lacking:
        rows = records("md.bars", *stored[name])
        bars.fill(name, since, [Bar(*(int(row[field]) for field in Bar._fields)) for row in rows])
    assert bars.lacks("1h", now) == []
    assert bars.opened("1h")[0].unproven, "the second that the process began in may lack trades until it closes"
    taken(bars, "md.bars", closed(1, 362, 10))
    assert shown(bars.opened("1h")) == [(0, [7, 11, 5, 11], 125, False)]
    assert shown(bars.opened("1d")) == [(0, [7, 11, 5, 11], 125, True)]


def test_what_was_overwritten_unread_is_doubt_and_not_a_wrong_bar() -> None:
    bars = Bars()
    taken(bars, "md.bars", closed(60, -60, 9))
    taken(bars, "md.trades", at(1, 10))
    bars.trades_missed()
    taken(bars, "md.trades", at(2, 10))
    assert [bar.unproven for bar in bars.opened("1m")] == [True]
    taken(bars, "md.bars", closed(1, 1, 10), closed(1, 2, 10))
    assert shown(bars.opened("1m")) == [(0, [10, 10, 10, 10], 2, False)]
    bars.bars_missed()
    assert [list(bars.closed(timeframe).rows) for timeframe in TIMEFRAMES] == [[]] * 5
    taken(bars, "md.trades", at(9, 12))
    assert shown(bars.opened("1m")) == [(0, [12, 12, 12, 12], 1, True)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=120), st.integers(0, 31))
def test_a_series_is_the_newest_bars_by_time_whatever_order_they_came_in(
    puts: list[tuple[int, int]], upto: int
) -> None:
    """Method: beside a dictionary, with room for 7 bars."""
    series, model = Series(7), dict[int, Bar]()
    for ts_open, close in puts:
        bar = Bar(ts_open, close, close, close, close, 1, 0, 1, 0, 0, 2, 5)
        if len(model) < 7 or ts_open in model or ts_open > min(model):
            model[ts_open] = bar
            if len(model) > 7:
                del model[min(model)]
        before = series.version
        series.put(bar)
        assert series.changed_after(before) == ([bar] if bar.ts_open in model else [])
    rising = [model[ts_open] for ts_open in sorted(model)]
    assert series.before(None, 100) == rising
    assert series.before(upto, 3) == [bar for bar in rising if bar.ts_open < upto][-3:]
    assert series.since(upto) == [bar for bar in rising if bar.ts_open >= upto]
    assert (series.first_open, series.last_open) == ((min(model), max(model)) if model else (None, None))


def test_memory_is_bounded_by_what_is_kept() -> None:
    series = Series()
    for number in range(3 * BARS_KEPT):
        series.put(Bar(number, 1, 1, 1, 1, 1, 1, 1, 0, 0, 2, 5))
    assert len(series.rows) == BARS_KEPT
    assert series.first_open == 2 * BARS_KEPT
    assert np.shares_memory(series.rows, series._rows)
    assert len(series._rows) <= 2 * BARS_KEPT


@pytest.mark.parametrize("interval_s", [2, 86_401])
def test_a_length_that_is_no_timeframe_of_ours_is_passed_over(interval_s: int) -> None:
    bars = Bars()
    taken(bars, "md.bars", closed(interval_s, 0, 1))
    assert all(len(bars.closed(timeframe).rows) == 0 for timeframe in TIMEFRAMES)


def test_the_api_names_every_timeframe() -> None:
    assert get_args(TimeframeName) == tuple(TIMEFRAMES)

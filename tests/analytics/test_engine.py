"""The engine over real channels: it publishes what the machines make, once, through stops, kills and gaps."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tidebook as tb
from tests.analytics.tape import BEGIN, NS, Record, arrays, clock, tape, told
from tests.venue.market import opening, stream
from tidebook._core import MarketDataEngine, VenueEngine
from tidebook.analytics import ACCOUNT, ACCOUNTS_CHANNEL, MARKET, MARKETS_CHANNEL, Accounts, AnalyticsEngine, Markets
from tidebook.analytics.layouts import DAY, GAP, LATE_START, MINUTE, OPEN, SECOND
from tidebook.analytics.markets import CHANNELS
from tidebook.analytics.process import AnalyticsProcess
from tidebook.node import live
from tidebook.node.metrics import analytics_metrics
from tidebook.venue import Side, Venue, commands, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LONG_S = 120.0
NAMES = """{"format": "tidebook-venue-names", "version": 1, "assets": {"BTC": 1, "USD": 2}, "accounts": {},
 "instruments": {"BTC-USD.LOCAL": {"number": 1, "base": "BTC", "quote": "USD"}}}"""
ROOM: dict[str, Any] = {"orders_max": 1 << 14, "accounts_max": 64, "instruments_max": 8}


def until(condition: Callable[[], bool], engine: AnalyticsEngine | AnalyticsProcess | None = None) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, None if engine is None else engine.status()
        time.sleep(0.01)


class Published:
    """Channels of market data, written to as an engine does: in order."""

    def __init__(self, rings: Path, stack: ExitStack, slots: int = 1 << 14) -> None:
        rings.mkdir(mode=0o700, exist_ok=True)
        self.rings = rings
        self._producers = {}
        for channel in CHANNELS:
            options = {"schema": channel.removeprefix("md."), "buffer_size": slots * 128}
            tb.create_channel(channel, options, directory=rings)
            self._producers[channel] = stack.enter_context(closing(tb.open_producer(channel, directory=rings)))

    def publish(self, records: list[Record]) -> None:
        for record in records:
            made = arrays([record])[record["channel"]]
            assert self._producers[record["channel"]].write_batch(made, timeout=LONG_S)


def held(rings: Path, channel: str) -> np.ndarray[Any, Any]:
    """All that a channel holds; nothing where there is none."""
    dtype = MARKET if channel == MARKETS_CHANNEL else ACCOUNT
    try:
        consumer = tb.open_consumer(channel, directory=rings, start="earliest", policy="overwrite")
    except tb.errors.ChannelNotFoundError:
        return np.zeros(0, dtype)
    with consumer:
        found = [np.zeros(0, dtype)]
        while (batch := consumer.poll_batch(1 << 16)) is not None:
            assert isinstance(batch, tb.Batch), batch
            with batch:
                found.append(batch.array.copy())
    return np.concatenate(found)


def whole(records: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Without those that are told again when more is known."""
    return np.asarray(records[records["flags"] & OPEN == 0])


@contextmanager
def running(engine: AnalyticsEngine | AnalyticsProcess) -> Iterator[AnalyticsEngine | AnalyticsProcess]:
    engine.start()
    try:
        until(lambda: engine.status().state == "following", engine)
        yield engine
    finally:
        engine.stop()
        assert engine.status().state == "stopped"


def test_an_engine_that_has_failed_degrades_the_node_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: AnalyticsEngine) -> None:
        raise RuntimeError("no such thing")

    engine = AnalyticsEngine(tmp_path)
    assert live._degraded(engine) is None
    monkeypatch.setattr(AnalyticsEngine, "_follow", fail)
    engine.start()
    until(lambda: engine.status().state == "failed", engine)
    assert live._degraded(engine) == "no windows of analytics are made: internal error: RuntimeError: no such thing"
    samples = [sample for metric in analytics_metrics(engine.status()) for sample in metric.samples]
    gauges = {sample.name: sample.value for sample in samples}
    assert (gauges["tidebook_analytics_failed"], gauges["tidebook_analytics_following"]) == (1, 0)
    engine.stop()


def test_windows_of_markets_are_published_as_the_records_give_them_and_once_through_stops(tmp_path: Path) -> None:
    """Method: a third of the records while no engine runs, a third before it stops, a third before another one starts."""
    records = tape(11, 900)
    records += [clock(BEGIN + 1_000 * NS, 10_000 + nth, venue=venue) for venue in (1, 2) for nth in range(2)]
    expected = whole(told(Markets(), records))
    rings = tmp_path / "rings"
    with ExitStack() as stack:
        market_data = Published(rings, stack)
        third = len(records) // 3
        market_data.publish(records[:third])
        with running(AnalyticsEngine(rings)) as engine:
            market_data.publish(records[third : 2 * third])
            until(lambda: len(whole(held(rings, MARKETS_CHANNEL))) > len(expected) // 2, engine)
        market_data.publish(records[2 * third :])
        with running(AnalyticsEngine(rings)) as engine:
            until(lambda: len(whole(held(rings, MARKETS_CHANNEL))) >= len(expected), engine)
            assert engine.status().missed == 0
    found = whole(held(rings, MARKETS_CHANNEL))
    for venue in (1, 2):
        ours, theirs = (each[each["instrument_id"] >> 24 == venue] for each in (found, expected))
        # The second engine found all records still there: what it goes on with are the same windows.
        assert ours.tobytes() == theirs.tobytes()


def test_records_that_were_overwritten_before_a_start_or_beside_it_are_told_with_the_windows(tmp_path: Path) -> None:
    rings = tmp_path / "rings"
    with ExitStack() as stack:
        market_data = Published(rings, stack, slots=64)
        records = tape(12, 600, venues=(1,))
        market_data.publish(records)
        with running(AnalyticsEngine(rings)) as engine:
            market_data.publish([clock(BEGIN + 2_000 * NS, 10_000), clock(BEGIN + 2_000 * NS, 10_001)])
            until(lambda: bool((held(rings, MARKETS_CHANNEL)["interval_s"] == DAY).any()), engine)
    found = whole(held(rings, MARKETS_CHANNEL))
    late = found[found["flags"] & LATE_START != 0]
    assert (late["ts_from"] > late["ts_open"]).all()
    assert {int(each) for each in late["interval_s"]} >= {MINUTE}
    complete = whole(told(Markets(), [*records, clock(BEGIN + 2_000 * NS, 10_000), clock(BEGIN + 2_000 * NS, 10_001)]))
    volumes = {(int(r["instrument_id"]), int(r["interval_s"]), int(r["ts_open"])): float(r["volume"]) for r in complete}
    for record in found[found["flags"] & (LATE_START | GAP) == 0]:
        key = int(record["instrument_id"]), int(record["interval_s"]), int(record["ts_open"])
        assert record["volume"] == volumes[key], "a window without a flag is whole"


def asked(seed: int, count: int, begin: int) -> np.ndarray[Any, Any]:
    made = stream(seed, count, begin=begin)
    made["ts"] = 0  # as of now
    return made


@pytest.mark.parametrize("kind", [AnalyticsEngine, AnalyticsProcess])
def test_windows_of_accounts_and_of_the_own_market_come_of_a_running_venue_also_when_it_falls_quiet(
    tmp_path: Path, kind: type[AnalyticsEngine | AnalyticsProcess]
) -> None:
    """Method: a venue with market data over it; then nobody sends anything, and what stands is told all the same. For the process, kill -9."""
    rings, journal, names = tmp_path / "rings", tmp_path / "orders", tmp_path / "names.json"
    rings.mkdir(mode=0o700)
    names.write_text(NAMES)
    with ExitStack() as stack:
        venue = VenueEngine(rings, journal, **ROOM)
        stack.callback(venue.stop)
        market_data = MarketDataEngine({}, rings, venue=(journal, names))
        stack.callback(market_data.stop)
        producer = stack.enter_context(closing(tb.open_producer("orders.in", directory=rings)))
        producer.write_batch(opening())
        with running(kind(rings, journal=journal)) as engine:
            for nth in range(4):
                producer.write_batch(asked(nth, 500, venue.status()["sequence"] + 1))
                sent = len(opening()) + 500 * (nth + 1)
                until(lambda sent=sent: venue.status()["source_sequence"] == sent)  # type: ignore[misc]
                process = engine.status().process
                if process is not None and nth == 1:
                    os.kill(process, signal.SIGKILL)
                    until(lambda process=process: engine.status().process not in (None, process), engine)  # type: ignore[misc]
            until(lambda: venue.status()["durable"] == venue.status()["sequence"])
            last = venue.status()["sequence"]
            until(lambda: engine.status().commands == last, engine)
            until(lambda: _has_all_fills(rings, journal), engine)
            until(lambda: _trades(held(rings, MARKETS_CHANNEL)) == _fill_count(journal), engine)
    found = held(rings, ACCOUNTS_CHANNEL)
    closed = whole(found)
    keys = list(
        zip(*(closed[name].tolist() for name in ("interval_s", "ts_open", "instrument_id", "account")), strict=True)
    )
    assert len(keys) == len(set(keys)), "no window is told twice"
    # A replay of the journal gives the same records.
    replayed = whole(Accounts(Venue.open(journal, sequence=0, history=False)).take(Venue.open(journal).commands()))
    assert closed.tobytes() == replayed[: len(closed)].tobytes()


def _fill_count(journal: Path) -> int:
    venue = Venue.open(journal, sequence=0, history=False)
    executions = venue.replay(Venue.open(journal).commands()).executions
    return int((executions["kind"] == 3).sum())


def _newest(records: np.ndarray[Any, Any], *names: str) -> dict[Any, np.void]:
    days = records[records["interval_s"] == DAY]
    return {tuple(record[name].item() for name in (*names, "ts_open")): record for record in days}


def _has_all_fills(rings: Path, journal: Path) -> bool:
    """The newest record of each day has every fill from each side, and the venue's positions."""
    newest = _newest(held(rings, ACCOUNTS_CHANNEL), "instrument_id", "account")
    if sum(int(record["fills"]) for record in newest.values()) != 2 * _fill_count(journal):
        return False
    last = {(key[0], key[1]): record for key, record in newest.items()}
    for position in Venue.open(journal).positions():
        if position.position:
            assert last[position.instrument_id, position.account]["position"] == position.position / 1000
    return True


def _trades(records: np.ndarray[Any, Any]) -> int:
    return sum(int(record["trades"]) for record in _newest(records, "instrument_id").values())


def test_an_engine_that_nobody_made_channels_for_waits_and_goes_on_when_they_are_there(tmp_path: Path) -> None:
    rings = tmp_path / "rings"
    rings.mkdir(mode=0o700)
    engine = AnalyticsEngine(rings)
    engine.start()
    try:
        until(lambda: engine.status().state == "waiting", engine)
        assert "md.trades" in engine.status().problem
        with ExitStack() as stack:
            Published(rings, stack)
            until(lambda: engine.status().state == "following", engine)
    finally:
        engine.stop()


def test_an_order_is_in_the_days_window_seconds_after_it_though_nothing_follows(tmp_path: Path) -> None:
    rings, journal = tmp_path / "rings", tmp_path / "orders"
    rings.mkdir(mode=0o700)
    with ExitStack() as stack:
        market_data = Published(rings, stack)
        assert market_data.rings == rings
        venue = VenueEngine(rings, journal, **ROOM)
        stack.callback(venue.stop)
        producer = stack.enter_context(closing(tb.open_producer("orders.in", directory=rings)))
        with running(AnalyticsEngine(rings, journal=journal)) as engine:
            producer.write_batch(opening())
            producer.write_batch(commands([place(11, 1, Side.BUY, price=9_900, size=1_000)]))
            until(lambda: bool((held(rings, ACCOUNTS_CHANNEL)["orders"] == 1).any()), engine)
    found = held(rings, ACCOUNTS_CHANNEL)
    assert {(int(r["interval_s"]), int(r["account"])) for r in found} >= {(DAY, 11), (MINUTE, 11), (SECOND, 11)}
    assert found["flags"][0] & OPEN

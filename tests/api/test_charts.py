"""Bars and outages over REST and WebSocket: what the process has seen, behind what is stored."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.api.conftest import BTC_DEFINITION, XRP_DEFINITION, Clock, Desk, HandFed, book
from tests.api.test_bars import DAY, at, closed
from tests.api.test_hub import joined, received
from tests.api.test_whole_book import ASK, BID, change, snapshot
from tests.market import records
from tidebook.api import Bar, MarketView, Outage, create_app
from tidebook.api.hub import Hub
from tidebook.api.problems import ApiError
from tidebook.api.topics import BARS_IN_SNAPSHOT
from tidebook.errors import StorageCorruptError

SECOND = 1_000_000_000
KLINES = "/api/v1/klines?instrument=BTCUSDT.BINANCE"


@dataclass
class Shelf:
    """A history of bars that a test puts there, which notes what it was asked."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    told: list[Outage] = field(default_factory=list)
    asked: list[tuple[str, str, int, int]] = field(default_factory=list)
    failure: Exception | None = None

    def bars(self, instrument: str, timeframe: str, before_ns: int, count: int) -> Sequence[Bar]:
        if self.failure is not None:
            raise self.failure
        self.asked.append((instrument, timeframe, (before_ns - DAY) // SECOND, count))
        seconds = {"1s": 1, "1m": 60, "5m": 300, "1h": 3_600, "1d": 86_400}[timeframe]
        rows = [row for row in self.rows if row["interval_s"] == seconds and row["ts_open"] < before_ns]
        made = [Bar(*(int(row[name]) for name in Bar._fields)) for row in records("md.bars", *rows)]
        return made[-count:]

    def outages(self, instrument: str, start_ns: int, end_ns: int) -> Sequence[Outage]:  # noqa: ARG002
        return self.told


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def desk(shelf: Shelf) -> Desk:
    """The usual desk, in front of a history, ten minutes into a day."""
    clock, source = Clock(DAY + 600 * SECOND), HandFed()
    view = MarketView(["binance"], clock, clock)
    desk = Desk(source, clock, view, create_app(view, source, history=shelf))
    source.put("md.instruments", BTC_DEFINITION, XRP_DEFINITION)
    desk.step()
    return desk


def starts(said: list[dict[str, Any]]) -> list[tuple[float, bool]]:
    """(start in seconds of `DAY`, closed)."""
    return [(bar["ts_open"] / 1e6 - DAY / SECOND, bar["closed"]) for bar in said]


async def test_a_bar_is_said_in_decimals_with_what_it_may_lack(desk: Desk) -> None:
    desk.source.put("md.bars", closed(60, 540, 6_183_763, 150_000, buy_volume=50_000, revision=2, flags=4))
    desk.step()
    assert (await desk.get(f"{KLINES}&limit=1")).json() == [
        {
            "ts_open": DAY // 1000 + 540_000_000,
            "open": "61837.63",
            "high": "61837.63",
            "low": "61837.63",
            "close": "61837.63",
            "volume": "1.50000",
            "buy_volume": "0.50000",
            "trade_count": 1,
            "closed": True,
            "revision": 2,
            "unproven": True,
        }
    ]


async def test_what_was_seen_stands_behind_what_is_stored_and_counts_where_both_have_a_bar(
    desk: Desk, shelf: Shelf
) -> None:
    shelf.rows = [closed(60, 60 * minute, 7) for minute in range(9)]
    desk.source.put("md.bars", closed(60, 480, 8), closed(60, 540, 9))
    desk.source.put("md.trades", at(600, 10))
    desk.step()
    said = (await desk.get(KLINES)).json()
    assert starts(said) == [*((60.0 * minute, True) for minute in range(10)), (600, False)]
    assert [bar["close"] for bar in said[-4:]] == ["0.07", "0.08", "0.09", "0.10"]
    assert shelf.asked == [("BTCUSDT.BINANCE", "1m", 480, 498)]
    assert starts((await desk.get(f"{KLINES}&limit=2")).json()) == [(540, True), (600, False)]
    assert starts((await desk.get(f"{KLINES}&limit=2&before={DAY // 1000 + 480_000_000}")).json()) == [
        (360, True),
        (420, True),
    ]


async def test_what_is_in_memory_needs_no_history(desk: Desk, shelf: Shelf) -> None:
    desk.source.put("md.bars", closed(60, 480, 8), closed(60, 540, 9))
    desk.step()
    shelf.failure = AssertionError("nobody asks")
    assert starts((await desk.get(f"{KLINES}&limit=2")).json()) == [(480, True), (540, True)]


async def test_an_open_bar_that_began_before_the_process_is_completed_from_the_history_once(
    desk: Desk, shelf: Shelf
) -> None:
    desk.clock.now = DAY + 665 * SECOND
    shelf.rows = [
        *(closed(300, start, 20, 100) for start in (0, 300)),
        closed(60, 600, 30, 10),
        *(closed(1, second, 40) for second in (659, 660, 661)),
    ]
    desk.source.put("md.bars", closed(1, 662, 5))
    desk.source.put("md.trades", at(664, 50, 2))
    desk.step()
    for _ in range(2):
        hour = (await desk.get(f"{KLINES}&timeframe=1h")).json()[-1]
        assert (hour["open"], hour["high"], hour["low"], hour["close"]) == ("0.20", "0.50", "0.05", "0.50")
        assert (hour["volume"], hour["closed"], hour["unproven"]) == ("0.00215", False, False)
    assert [timeframe for _, timeframe, _, _ in shelf.asked] == ["5m", "1m", "1s", "1h", "1h"]


async def test_a_history_that_cannot_be_read_is_a_problem_that_names_the_file(desk: Desk, shelf: Shelf) -> None:
    shelf.failure = StorageCorruptError("warm/bars/x.parquet: its hash is not what was committed", path="x")
    answer = await desk.get(KLINES)
    assert (answer.status_code, answer.json()["code"]) == (500, "history_unreadable")
    assert "warm/bars/x.parquet" in answer.json()["detail"]


@pytest.mark.parametrize("query", ["&timeframe=2m", "&limit=0", "&limit=1001", "&before=-1", f"&before={1 << 53}"])
async def test_what_cannot_be_asked_is_refused(desk: Desk, query: str) -> None:
    assert (await desk.get(KLINES + query)).status_code == 422


async def test_stored_outages_stand_before_those_that_were_seen_and_none_is_told_twice(
    desk: Desk, shelf: Shelf
) -> None:
    shelf.told = [Outage(DAY, DAY + SECOND, "gap"), Outage(DAY + 2 * SECOND, DAY + 3 * SECOND, "disconnected")]
    statuses = ((2, 15, 2), (3, 0, 3))  # kind, reason and second: unusable because disconnected, usable
    for kind, reason, second in statuses:
        row = {"kind": kind, "reason": reason, "instrument_id": 1 << 24, "ts_recv": DAY + second * SECOND}
        desk.source.put("md.status", row)
    desk.step()
    said = (await desk.get("/api/v1/outages?instrument=btcusdt.binance")).json()
    us = DAY // 1000
    assert said == [
        {"since": us, "until": us + 1_000_000, "reason": "gap"},
        {"since": us + 2_000_000, "until": us + 3_000_000, "reason": "disconnected"},
    ]


# ---- streams --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(desk: Desk) -> Hub:
    hub = desk.app.state.hub
    assert isinstance(hub, Hub)
    return hub


def step(desk: Desk, ms: int = 500) -> None:
    desk.step()
    desk.clock.now += ms * 1_000_000
    desk.publish()


def of(frames: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [frame for frame in frames if frame["stream"].endswith(kind)]


def test_bars_come_as_they_change_open_closed_and_revised(desk: Desk, hub: Hub) -> None:
    desk.source.put("md.bars", closed(60, 540, 9))
    desk.source.put("md.trades", at(600, 10))
    desk.step()
    client = joined(hub, "BTCUSDT.BINANCE@kline_1m")
    (first,) = of(received(client), "kline_1m")
    assert (first["stream"], first["snapshot"]) == ("btcusdt.binance@kline_1m", True)
    assert starts(first["data"]) == [(540, True), (600, False)]
    story = []
    for rows in (
        [("md.trades", at(601, 12))],
        [],
        [("md.bars", closed(1, 600, 10)), ("md.bars", closed(1, 601, 12)), ("md.bars", closed(60, 600, 12, 2))],
        [("md.bars", closed(60, 600, 13, 3, revision=1)), ("md.trades", at(661, 14))],
    ):
        for channel, row in rows:
            desk.source.put(channel, row)
        step(desk)
        story += [
            [
                (bar["ts_open"] // 1_000_000 - DAY // SECOND, bar["closed"], bar["revision"], bar["close"])
                for bar in frame["data"]
            ]
            for frame in of(received(client), "kline_1m")
        ]
    assert story == [
        [(600, False, 0, "0.12")],
        [(600, True, 0, "0.12")],
        [(600, True, 1, "0.13"), (660, False, 0, "0.14")],
    ]


def test_bars_are_said_at_most_twice_a_second_and_once_for_everybody(desk: Desk, hub: Hub) -> None:
    clients = [joined(hub, "btcusdt.binance@kline_1s") for _ in range(3)]
    for client in clients:
        received(client)
    topic = hub.open("btcusdt.binance@kline_1s")
    before = topic.encodes
    for tenth in range(10):
        desk.source.put("md.trades", at(600 + tenth / 10, 10 + tenth))
        step(desk, 100)
    frames = [of(received(client), "kline_1s") for client in clients]
    assert [len(found) for found in frames] == [2, 2, 2]
    assert frames[0] == frames[1] == frames[2]
    assert topic.encodes - before == 2


def test_a_reader_is_told_when_closed_bars_were_overwritten_unread(desk: Desk, hub: Hub) -> None:
    desk.source.put("md.bars", closed(60, 480, 9))
    desk.step()
    client = joined(hub, "btcusdt.binance@kline_1m")
    received(client)
    desk.source.put("md.bars", closed(60, 540, 9), missed=3)
    step(desk)
    (frame,) = of(received(client), "kline_1m")
    assert (frame["missed"], starts(frame["data"])) == (3, [(540, True)])


def test_a_snapshot_of_bars_is_bounded(desk: Desk, hub: Hub) -> None:
    desk.source.put("md.bars", *(closed(1, second, 9) for second in range(2 * BARS_IN_SNAPSHOT)))
    desk.step()
    (frame,) = of(received(joined(hub, "btcusdt.binance@kline_1s")), "kline_1s")
    assert [start for start, _ in starts(frame["data"])] == list(range(BARS_IN_SNAPSHOT, 2 * BARS_IN_SNAPSHOT))


def test_outages_are_a_state_that_begins_with_none(desk: Desk, hub: Hub) -> None:
    client = joined(hub, "btcusdt.binance@outages")
    assert [frame["data"] for frame in of(received(client), "outages")] == [[]]
    desk.source.put("md.status", {"kind": 2, "reason": 1, "instrument_id": 1 << 24, "ts_recv": DAY})
    step(desk)
    step(desk)
    assert [frame["data"] for frame in of(received(client), "outages")] == [
        [{"since": DAY // 1000, "until": None, "reason": "gap"}]
    ]


def test_a_grouped_depth_is_a_stream_of_its_own_that_follows_every_level(desk: Desk, hub: Hub) -> None:
    client = joined(hub, "btcusdt.binance@depth20_step_0.1")
    assert of(received(client), "step_0.1") == []
    desk.source.put("md.book", book([(10_000, 1)], [(10_001, 1)]))
    desk.source.put("md.depth", *snapshot(change(BID, 10_000, 1), change(ASK, 10_001, 1)))
    step(desk)
    desk.source.put("md.depth", change(BID, 9_500, 3))
    step(desk)
    frames = of(received(client), "step_0.1")
    assert [frame["data"]["bids"] for frame in frames][-1] == [["100.00", "0.00001"], ["95.00", "0.00003"]]
    assert frames[-1]["data"]["step"] == "0.1"


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        ("btcusdt.binance@kline_2m", "unknown_stream"),
        ("btcusdt.binance@depth30_step_1", "unknown_stream"),
        ("btcusdt.binance@depth20_step_3", "invalid_request"),
        ("btcusdt.binance@depth20_step_0.001", "invalid_request"),
    ],
)
def test_streams_that_cannot_be_are_refused(hub: Hub, stream: str, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        hub.open(stream)
    assert caught.value.code == code


def test_the_streams_of_an_instrument_are_finite(hub: Hub) -> None:
    """However a client writes its steps: topics stay once opened."""
    opened = 0
    for exponent in range(-20, 25):
        for digit in (1, 2, 3, 5):
            step_text = f"0.{'0' * (-exponent - 1)}{digit}" if exponent < 0 else f"{digit}{'0' * exponent}"
            try:
                hub.open(f"btcusdt.binance@depth20_step_{step_text}")
                opened += 1
            except ApiError:
                pass
    assert opened <= 57

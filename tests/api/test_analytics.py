"""Windows of analytics over REST and WebSocket: the newest of each, what is not known null, and a word where nobody makes them."""

from __future__ import annotations

import dataclasses
import json
import math
import tracemalloc
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect

from tests.api.conftest import BTC, BTC_DEFINITION, SECOND, START, HandFed
from tidebook.analytics import ACCOUNT, ACCOUNTS_CHANNEL, MARKET, MARKETS_CHANNEL
from tidebook.analytics.layouts import GAP, LATE_START, MINUTE, OPEN
from tidebook.api import Batch, MarketView, create_app, listen, serving
from tidebook.api.analytics_wire import AccountWindow, MarketWindow
from tidebook.api.windows import KEPT, PIECE, Windows
from tidebook.node.rings import WindowSource
from tidebook.transport import create_channel, open_producer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAMES = {"instrument", "account", "interval", "closed", "whole", "after_loss"}


def window(channel: str, opened_s: int, interval_s: int = MINUTE, **fields: Any) -> np.ndarray[Any, Any]:
    made = np.zeros(1, MARKET if channel == MARKETS_CHANNEL else ACCOUNT)
    made["ts_open"] = made["ts_from"] = START + opened_s * SECOND
    made["ts_event"] = made["ts_open"] + interval_s * SECOND
    made["interval_s"], made["instrument_id"] = interval_s, BTC
    for name, value in fields.items():
        made[name] = value
    return made


class Serving:
    """An API whose windows a test feeds."""

    def __init__(self) -> None:
        self.waiting: list[Batch] = []
        self.windows = Windows(self._poll, lambda: {"state": "following", "missed": 3})
        self.address = ""

    def _poll(self) -> list[Batch]:
        taken, self.waiting = self.waiting, []
        return taken

    def publish(self, channel: str, *made: np.ndarray[Any, Any], missed: int = 0) -> None:
        self.waiting.append(Batch(channel, np.concatenate(made), missed))

    async def get(self, path: str, status: int = 200) -> Any:
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.get(f"http://{self.address}/api/v1/{path}")
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
async def at() -> AsyncIterator[Serving]:
    made = Serving()
    source = HandFed()
    source.put("md.instruments", BTC_DEFINITION)
    app = create_app(MarketView([]), source, windows=made.windows)
    sock = listen(port=0)
    made.address = "{}:{}".format(*sock.getsockname())
    async with serving(app, sock):
        yield made


async def test_the_newest_windows_of_a_market_are_told_oldest_first_and_an_open_one_is_replaced(at: Serving) -> None:
    at.publish(
        MARKETS_CHANNEL,
        window(MARKETS_CHANNEL, 0, volume=1, vwap=100.5),
        window(MARKETS_CHANNEL, 60, volume=2, flags=OPEN | LATE_START, vwap=math.nan),
        window(MARKETS_CHANNEL, 60, volume=3, flags=GAP, missed=9, vwap=math.nan),
    )
    at.windows.step()
    first, second = await at.get("analytics/markets?instrument=btcusdt.binance")
    assert (first["instrument"], first["interval"], first["ts_open"]) == ("BTCUSDT.BINANCE", "1m", START // 1000)
    assert (first["volume"], first["vwap"], first["closed"], first["whole"]) == (1, 100.5, True, True)
    assert (second["volume"], second["vwap"], second["closed"], second["whole"], second["missed"]) == (
        3, None, True, False, 9,
    )  # fmt: skip
    assert [each["volume"] for each in await at.get("analytics/markets?instrument=BTCUSDT.BINANCE&limit=1")] == [3]
    assert await at.get("analytics/markets?instrument=BTCUSDT.BINANCE&interval=1d") == []
    assert (await at.get("analytics/markets?instrument=NOPE.BINANCE", 404))["code"] == "unknown_instrument"
    assert (await at.get("analytics/accounts/alice", 404))["code"] == "unknown_account"
    status = await at.get("analytics")
    assert (status["made"], status["state"], status["missed"]) == (True, "following", 3)


async def test_a_subscriber_is_told_each_window_of_its_interval(at: Serving) -> None:
    at.publish(MARKETS_CHANNEL, window(MARKETS_CHANNEL, 0, volume=1))
    at.windows.step()
    async with connect(f"ws://{at.address}/ws/v1?streams=BTCUSDT.BINANCE@analytics_1m") as socket:

        async def told() -> Any:
            while True:
                frame = json.loads(await socket.recv())
                if frame.get("stream") == "btcusdt.binance@analytics_1m":
                    return frame["data"]

        assert (await told())["volume"] == 1
        at.publish(MARKETS_CHANNEL, window(MARKETS_CHANNEL, 60, volume=2), window(MARKETS_CHANNEL, 60, 1, volume=7))
        assert (await told())["volume"] == 2


async def test_where_nobody_makes_windows_it_is_said_so() -> None:
    made = Serving()
    source = HandFed()
    source.put("md.instruments", BTC_DEFINITION)
    app = create_app(MarketView([]), source)
    sock = listen(port=0)
    made.address = "{}:{}".format(*sock.getsockname())
    async with serving(app, sock):
        assert (await made.get("analytics"))["made"] is False
        assert (await made.get("analytics/markets?instrument=BTCUSDT.BINANCE", 404))["code"] == "no_analytics"
        async with connect(f"ws://{made.address}/ws/v1") as socket:
            asked = {"method": "SUBSCRIBE", "params": ["btcusdt.binance@analytics_1m"], "id": 1}
            await socket.send(json.dumps(asked))
            while "id" not in (frame := json.loads(await socket.recv())):
                pass
            assert frame["error"]["code"] == "no_analytics"


def test_what_is_kept_of_each_is_bounded_and_the_newest() -> None:
    made = Serving()
    for nth in range(KEPT[MINUTE] + 5):
        made.publish(ACCOUNTS_CHANNEL, window(ACCOUNTS_CHANNEL, 60 * nth, account=3, instrument_id=1, fills=nth))
    made.publish(ACCOUNTS_CHANNEL, window(ACCOUNTS_CHANNEL, 0, account=3, instrument_id=2, fills=1_000))
    made.windows.step()
    of = made.windows.of_account("alice", 3, str, 0, "1m", KEPT[MINUTE] + 5)
    assert len(of) == KEPT[MINUTE] + 1
    assert (of[0].fills, of[-1].fills, of[0].instrument) == (1_000, KEPT[MINUTE] + 4, "2")
    assert [each.fills for each in made.windows.of_account("alice", 3, str, 2, "1m", 5)] == [1_000]
    assert made.windows.of_account("bob", 4, str, 0, "1m", 5) == []


async def test_windows_that_were_overwritten_before_they_were_read_are_said_to_be_missing(at: Serving) -> None:
    lost = window(MARKETS_CHANNEL, 240, ts_recv=START + 300 * SECOND)
    at.publish(MARKETS_CHANNEL, window(MARKETS_CHANNEL, 0), window(MARKETS_CHANNEL, 0, 1))
    at.windows.step()
    status = await at.get("analytics")
    assert (status["unread"], status["unread_until"]) == (0, 0)
    at.publish(MARKETS_CHANNEL, lost, window(MARKETS_CHANNEL, 240), window(MARKETS_CHANNEL, 300), missed=7)
    at.windows.step()
    minutes = await at.get("analytics/markets?instrument=BTCUSDT.BINANCE")
    assert [(each["after_loss"], each["whole"]) for each in minutes] == [(False, True), (True, True), (False, True)], (
        "also where one was told again"
    )
    status = await at.get("analytics")
    assert (status["unread"], status["unread_until"]) == (7, (START + 300 * SECOND) // 1000)
    (second,) = await at.get("analytics/markets?instrument=BTCUSDT.BINANCE&interval=1s")
    assert not second["after_loss"], "nothing came behind it; its beginning is before `unread_until`"
    assert second["ts_open"] < status["unread_until"]


def test_a_ring_that_went_on_before_the_api_read_it_is_told_with_the_windows_of_each_account(tmp_path: Path) -> None:
    rings = tmp_path / "rings"
    rings.mkdir(mode=0o700)
    for name, dtype in ((MARKETS_CHANNEL, MARKET), (ACCOUNTS_CHANNEL, ACCOUNT)):
        create_channel(name, {"dtype": dtype, "buffer_size": 1 << 18}, directory=rings)
    source = WindowSource(rings)
    windows = Windows(source.poll)
    with open_producer(ACCOUNTS_CHANNEL, directory=rings) as producer:

        def publish(minutes: range) -> None:
            for minute in minutes:
                made = np.concatenate([window(ACCOUNTS_CHANNEL, 60 * minute)] * 100)
                made["account"] = np.arange(100)
                made["ts_recv"] = made["ts_event"]
                producer.write_batch(made)

        publish(range(2))
        windows.step()
        publish(range(2, 100))
        for _ in range(20):
            windows.step()
    source.close()
    for account in (0, 57, 99):
        told = windows.of_account("x", account, str, 0, "1m", KEPT[MINUTE])
        minutes = [(each.ts_open * 1000 - START) // (60 * SECOND) for each in told]
        assert minutes[:2] == [0, 1]
        assert minutes[-1] == 99
        holes = [later - earlier > 1 for earlier, later in zip([-1, *minutes], minutes, strict=False)]
        assert [each.after_loss for each in told] == holes
        assert sum(holes) == 1
        lacking = max(set(range(100)) - set(minutes))
        assert START + 60 * lacking * SECOND < windows.status().unread_until * 1000
    kept = sum(len(windows.of_account("x", account, str, 0, "1m", KEPT[MINUTE])) for account in range(100))
    assert windows.status().unread == 100 * 100 - kept


def test_a_step_takes_in_a_bounded_piece_and_nothing_is_lost_between_them() -> None:
    made = Serving()
    one = np.concatenate([window(MARKETS_CHANNEL, 0)] * PIECE)
    made.publish(MARKETS_CHANNEL, one, one, window(MARKETS_CHANNEL, 60, volume=7))
    made.publish(ACCOUNTS_CHANNEL, window(ACCOUNTS_CHANNEL, 0, account=3))
    versions = []
    for _ in range(3):
        made.windows.step()
        versions.append(made.windows.version(BTC, "1m"))
    assert versions == [PIECE, 2 * PIECE, 2 * PIECE + 1]
    newest = made.windows.newest("x", BTC, "1m")
    assert newest is not None
    assert newest.volume == 7
    assert len(made.windows.of_account("alice", 3, str, 0, "1m", 5)) == 1


def test_a_window_that_is_kept_does_not_keep_those_it_was_read_with() -> None:
    made = Serving()
    busy = np.concatenate([window(MARKETS_CHANNEL, 0, 1, instrument_id=2)] * (PIECE - 1))
    tracemalloc.start()
    try:
        for nth in range(200):
            made.publish(MARKETS_CHANNEL, window(MARKETS_CHANNEL, nth, 1), busy)
            made.windows.step()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(made.windows.of_market("x", BTC, "1s", 300)) == 200
    assert held < 20 * busy.nbytes


@pytest.mark.parametrize(("said", "dtype"), [(MarketWindow, MARKET), (AccountWindow, ACCOUNT)])
def test_every_field_of_the_records_is_told(said: type[Any], dtype: np.dtype[Any]) -> None:
    fields = {field.name for field in dataclasses.fields(said)}
    left_out = {"ts_recv", "source_sequence", "source_index", "instrument_id", "interval_s", "flags", "reserved"}
    assert fields - NAMES == set(dtype.names or ()) - left_out - NAMES

"""Windows of analytics over REST and WebSocket: the newest of each, what is not known null, and a word where nobody makes them."""

from __future__ import annotations

import dataclasses
import json
import math
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
from tidebook.api.windows import KEPT, Windows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAMES = {"instrument", "account", "interval", "closed", "whole"}


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

    def publish(self, channel: str, *made: np.ndarray[Any, Any]) -> None:
        self.waiting.append(Batch(channel, np.concatenate(made)))

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


@pytest.mark.parametrize(("said", "dtype"), [(MarketWindow, MARKET), (AccountWindow, ACCOUNT)])
def test_every_field_of_the_records_is_told(said: type[Any], dtype: np.dtype[Any]) -> None:
    fields = {field.name for field in dataclasses.fields(said)}
    left_out = {"ts_recv", "source_sequence", "source_index", "instrument_id", "interval_s", "flags", "reserved"}
    assert fields - NAMES == set(dtype.names or ()) - left_out - NAMES

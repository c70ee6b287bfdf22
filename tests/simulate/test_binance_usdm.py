"""The simulated USD-M futures, spoken to by a small client that knows nothing of the simulator's code."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.simulate.serving import Level, Socket, drained, next_frame, paused, serving, truth, units, until
from tests.simulate.shapes import shape
from tidebook.simulate import VenueOptions

OPTIONS = VenueOptions(venue="binance-usdm", symbols=("BTCUSDT", "SUSHIUSDT"), rate=400, seed=5)


class UsdmBook:
    """A book as the venue's documentation says to keep it."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.book_id: int = snapshot["lastUpdateId"]
        self.chained = False
        self.sides: dict[str, dict[int, Level]] = {"bids": {}, "asks": {}}
        self._set(snapshot["bids"], snapshot["asks"])

    def take(self, event: dict[str, Any]) -> None:
        if event["u"] < self.book_id and not self.chained:
            return
        if self.chained:
            assert event["pu"] == self.book_id
        else:
            assert event["U"] <= self.book_id <= event["u"]
        self.chained, self.book_id = True, event["u"]
        self._set(event["b"], event["a"])

    def levels(self, side: str) -> list[Level]:
        levels = self.sides[side]
        return [levels[key] for key in sorted(levels, reverse=side == "bids")]

    def _set(self, bids: list[list[str]], asks: list[list[str]]) -> None:
        for side, changes in (("bids", bids), ("asks", asks)):
            for price, size in changes:
                if units(size) == 0:
                    self.sides[side].pop(units(price), None)
                else:
                    self.sides[side][units(price)] = (price, size)


async def events(socket: Socket, count: int) -> list[dict[str, Any]]:
    return [(await next_frame(socket))["data"] for _ in range(count)]


@pytest.mark.parametrize("stream", ["depth@0ms", "depth@100ms", "depth", "depth@500ms"])
@pytest.mark.parametrize("path", ["/stream", "/public/stream"])
async def test_a_client_that_follows_the_documentation_has_the_venues_book(stream: str, path: str) -> None:
    async with (
        serving(OPTIONS) as (running, client),
        client.ws_connect(f"{running.ws_url}{path}?streams=btcusdt@{stream}") as socket,
    ):
        buffered = await events(socket, 3)
        async with client.get("/fapi/v1/depth?symbol=BTCUSDT&limit=1000") as answer:
            book = UsdmBook(await answer.json())
            assert answer.headers["x-mbx-used-weight-1m"] == "20"
        for event in buffered + await events(socket, 5):
            book.take(event)
        status = await paused(client)
        for frame in await drained(socket, 0.6):
            book.take(frame["data"])
        assert book.chained
        assert book.book_id == status["update_ids"]["BTCUSDT"]
        known = await truth(client, "BTCUSDT", 500)
        assert {side: book.levels(side)[:500] for side in ("bids", "asks")} == known


async def test_ids_are_chained_by_the_id_before_and_far_apart() -> None:
    async with (
        serving(OPTIONS) as (running, client),
        client.ws_connect(f"{running.ws_url}/stream?streams=btcusdt@depth@0ms") as socket,
    ):
        for before, after in pairwise(await events(socket, 50)):
            assert after["pu"] == before["u"]
            assert after["U"] > before["u"] + 1


async def test_the_mark_price_comes_each_second() -> None:
    async with (
        serving(OPTIONS) as (running, client),
        client.ws_connect(f"{running.ws_url}/market/stream?streams=btcusdt@markPrice@1s") as socket,
    ):
        first, second = await events(socket, 2)
        assert 900 < second["E"] - first["E"] < 1_100


@pytest.mark.parametrize(
    ("query", "code"), [("symbol=BTCUSDT&limit=7", -4021), ("symbol=NOPEUSDT", -1121), ("", -1102)]
)
async def test_a_bad_request_gets_the_venues_code(query: str, code: int) -> None:
    async with serving(OPTIONS) as (_, client), client.get(f"/fapi/v1/depth?{query}") as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, code)


async def test_exchange_info_has_steps_that_prices_and_sizes_keep() -> None:
    async with (
        serving(OPTIONS) as (running, client),
        client.ws_connect(f"{running.ws_url}/stream?streams=btcusdt@trade") as socket,
    ):
        async with client.get("/fapi/v1/exchangeInfo") as answer:
            symbols = {one["symbol"]: one for one in (await answer.json())["symbols"]}
        filters = {one["filterType"]: one for one in symbols["BTCUSDT"]["filters"]}
        assert (symbols["BTCUSDT"]["contractType"], filters["PRICE_FILTER"]["tickSize"]) == ("PERPETUAL", "0.10")
        for trade in await events(socket, 5):
            assert units(trade["p"]) % units(filters["PRICE_FILTER"]["tickSize"]) == 0
            assert units(trade["q"]) % units(filters["LOT_SIZE"]["stepSize"]) == 0


def recorded(recordings: Path, name: str) -> list[str]:
    with pa.CompressedInputStream(str(recordings / "binance-usdm" / name), "zstd") as stream:
        text: str = stream.read().decode()
    return [line[line.index("{") :] for line in text.splitlines() if "{" in line]


async def test_frames_have_the_fields_of_the_recorded_venue(recordings: Path) -> None:
    frames = [json.loads(text) for text in recorded(recordings, "btcusdt-20240808.log.zst")[:20_000]]
    frames += [json.loads(text) for text in recorded(recordings, "btcusdt-20230404.log.zst")[:2_000]]
    sushi = [json.loads(text) for text in recorded(recordings, "multi-20210722.ws.log.zst")]
    real: dict[str, Any] = {}
    for frame in frames + [frame for frame in sushi if "@aggTrade" in frame.get("stream", "")]:
        data = frame.get("data", frame)
        if data.get("b", True) and data.get("a", True):
            real.setdefault(data.get("e", "snapshot"), data)
    assert set(real) == {"snapshot", "trade", "aggTrade", "bookTicker", "depthUpdate", "markPriceUpdate"}
    streams = "/".join(f"btcusdt@{name}" for name in ("trade", "aggTrade", "bookTicker", "depth@100ms", "markPrice@1s"))
    ours: dict[str, Any] = {}
    async with (
        serving(OPTIONS) as (running, client),
        client.ws_connect(f"{running.ws_url}/stream?streams={streams}") as socket,
    ):
        async with client.get("/fapi/v1/depth?symbol=BTCUSDT&limit=1000") as answer:
            ours["snapshot"] = await answer.json()
        while ours.keys() < real.keys():
            [*_, frame] = await until(
                socket, lambda frame: frame["data"].get("b", True) and frame["data"].get("a", True)
            )
            ours.setdefault(frame["data"]["e"], frame["data"])
    # Decimals are the symbol's; aggTrade was recorded of others.
    agg = real.pop("aggTrade")
    assert [(key, type(value)) for key, value in ours.pop("aggTrade").items()] == [
        (key, type(value)) for key, value in agg.items()
    ]
    assert {kind: shape(data) for kind, data in ours.items()} == {kind: shape(data) for kind, data in real.items()}

"""The simulated Coinbase Exchange, spoken to by a small client that knows nothing of the simulator's code."""

import asyncio
import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow as pa
import pytest

from tests.simulate.serving import Level, Socket, ask, drained, next_frame, paused, serving, truth, units, until
from tests.simulate.shapes import fields
from tidebook.simulate import SimulatedVenue, VenueLimits, VenueOptions

OPTIONS = VenueOptions(venue="coinbase", symbols=("BTC-USD", "XRP-USD", "ETH-EUR"), rate=400, seed=5)
SIDES = {"buy": "bids", "sell": "asks"}


class ExchangeBooks:
    """Books of one connection."""

    def __init__(self) -> None:
        self.books: dict[str, dict[str, dict[int, Level]]] = {}
        self.updates = 0

    def take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "snapshot":
            self.books[frame["product_id"]] = {
                side: {units(price): (price, size) for price, size in frame[side]} for side in ("bids", "asks")
            }
        elif frame["type"] == "l2update":
            self.updates += 1
            for side, price, size in frame["changes"]:
                levels = self.books[frame["product_id"]][SIDES[side]]
                if units(size) == 0:
                    levels.pop(units(price), None)
                else:
                    levels[units(price)] = (price, size)

    def book(self, product: str) -> dict[str, list[Level]]:
        sides = self.books[product]
        return {side: [sides[side][key] for key in sorted(sides[side], reverse=side == "bids")] for side in sides}


def signed() -> dict[str, Any]:
    return {"signature": "c2ln", "key": "k", "passphrase": "p", "timestamp": str(time.time())}


async def subscribe(socket: Socket, *channels: Any, products: tuple[str, ...] = (), **more: Any) -> None:
    await socket.send_json({"type": "subscribe", "product_ids": products, "channels": channels, **more})


def of_type(*kinds: str) -> Any:
    return lambda frame: frame["type"] in kinds


@pytest.mark.parametrize("channel", ["level2", "level2_batch"])
async def test_a_client_of_either_channel_has_the_venues_books(channel: str) -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        await subscribe(socket, channel, products=OPTIONS.symbols, **signed())
        ours = ExchangeBooks()
        while ours.updates < 100:
            ours.take(await next_frame(socket))
        await paused(client)
        for frame in await drained(socket):
            ours.take(frame)
        for symbol in OPTIONS.symbols:
            assert ours.book(symbol) == await truth(client, symbol)


async def test_tickers_matches_and_books_agree_and_sequences_rise() -> None:
    """Method: the book after the update that follows a trade has the best levels of the trade's ticker."""
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        await subscribe(socket, "level2", "matches", "ticker", products=("BTC-USD",), **signed())
        ours = ExchangeBooks()
        matches: list[dict[str, Any]] = []
        compared = 0
        ticker: dict[str, Any] | None = None
        while compared < 8:
            frame = await next_frame(socket)
            ours.take(frame)
            if frame["type"] == "match":
                matches.append(frame)
            elif frame["type"] == "ticker" and matches:
                ticker = frame
                assert [frame[key] for key in ("trade_id", "sequence", "price", "time")] == [
                    matches[-1][key] for key in ("trade_id", "sequence", "price", "time")
                ]
                assert frame["side"] != matches[-1]["side"]
            elif frame["type"] == "l2update" and ticker is not None:
                book = ours.book("BTC-USD")
                assert book["bids"][0] == (ticker["best_bid"], ticker["best_bid_size"])
                assert book["asks"][0] == (ticker["best_ask"], ticker["best_ask_size"])
                ticker, compared = None, compared + 1
        assert all(after["sequence"] > before["sequence"] for before, after in pairwise(matches))
        assert all(after["trade_id"] == before["trade_id"] + 1 for before, after in pairwise(matches))
        params: dict[str, str] = {"symbol": "BTC-USD", "from": str(matches[0]["trade_id"]), "limit": str(len(matches))}
        async with client.get("/sim/trades", params=params) as answer:
            assert await answer.json() == matches


async def test_channels_by_name_and_by_object_are_told_together() -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        await asyncio.sleep(1)  # so that there is a trade to begin with
        await subscribe(
            socket, "level2_batch", {"name": "matches", "product_ids": ["XRP-USD"]}, products=("BTC-USD", "XRP-USD")
        )
        told = await next_frame(socket)
        assert told == {
            "type": "subscriptions",
            "channels": [
                {"name": "level2_batch", "product_ids": ["BTC-USD", "XRP-USD"]},
                {"name": "matches", "product_ids": ["XRP-USD"]},
            ],
        }
        frames = await until(socket, of_type("last_match"))
        assert [(frame["type"], frame["product_id"]) for frame in frames if frame["type"] != "l2update"] == [
            ("snapshot", "BTC-USD"),
            ("snapshot", "XRP-USD"),
            ("last_match", "XRP-USD"),
        ]
        await socket.send_json({"type": "unsubscribe", "product_ids": ["BTC-USD"], "channels": ["level2_batch"]})
        [*_, told] = await until(socket, of_type("subscriptions"))
        assert told["channels"][0] == {"name": "level2_batch", "product_ids": ["XRP-USD"]}


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"type": "subscribe"}, "no channels provided"),
        ({"type": "subscribe", "channels": ["weather"]}, "weather is not a valid channel"),
        ({"type": "subscribe", "channels": ["ticker"]}, "no product_ids provided"),
        ({"type": "subscribe", "channels": ["ticker"], "product_ids": ["NO-WAY"]}, "NO-WAY is not a valid product"),
        (
            {"type": "subscribe", "channels": ["level2"], "product_ids": ["BTC-USD"]},
            "level2, level3, and full channels now require authentication",
        ),
        (
            {"type": "subscribe", "channels": ["level2"], "product_ids": ["BTC-USD"], **signed(), "timestamp": "1"},
            "level2, level3, and full channels now require authentication",
        ),
    ],
)
async def test_a_refusal_says_why_and_subscribes_to_nothing(request_: Any, reason: str) -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        await socket.send_json(request_)
        assert await next_frame(socket) == {"type": "error", "message": "Failed to subscribe", "reason": reason}
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=0.3)


async def test_a_frame_that_is_none_is_an_error_and_so_is_one_too_many() -> None:
    async with (
        serving(OPTIONS, VenueLimits(incoming_messages_per_s=2)) as (running, client),
        client.ws_connect(running.ws_url) as socket,
    ):
        for text in ("{no json", '{"type":"sing"}', '{"type":"subscribe"}'):
            await socket.send_str(text)
        assert [(await next_frame(socket))["message"] for _ in range(3)] == [
            "Malformed JSON",
            "Type has to be either subscribe or unsubscribe, not sing",
            "Rate limit exceeded",
        ]


async def test_heartbeats_come_each_second_for_each_product() -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        await subscribe(socket, "heartbeat", products=("BTC-USD", "XRP-USD"))
        frames = await until(socket, of_type("heartbeat")) + [await next_frame(socket) for _ in range(3)]
        beats = [frame for frame in frames if frame["type"] == "heartbeat"]
        assert [beat["product_id"] for beat in beats] == ["BTC-USD", "XRP-USD"] * 2
        assert beats[2]["sequence"] > beats[0]["sequence"]


async def test_a_connection_that_subscribes_to_nothing_is_closed() -> None:
    async with (
        serving(OPTIONS, VenueLimits(subscribe_within_s=0.2)) as (running, client),
        client.ws_connect(running.ws_url) as idle,
    ):
        message = await idle.receive(timeout=5)
        assert (message.type, idle.close_code) == (aiohttp.WSMsgType.CLOSE, 1008)


async def test_rest_has_products_and_books() -> None:
    async with serving(OPTIONS) as (_, client):
        async with client.get("/products") as answer:
            products = {product["id"]: product for product in await answer.json()}
        assert list(products) == list(OPTIONS.symbols)
        await paused(client)
        async with client.get("/products/BTC-USD/book?level=2") as answer:
            book = await answer.json()
        whole = await truth(client, "BTC-USD")
        assert {side: [(price, size) for price, size, _ in book[side]] for side in ("bids", "asks")} == whole
        assert {len(price.partition(".")[2]) for price, _ in whole["bids"]} == {2}
        async with client.get("/products/BTC-USD/book") as answer:
            assert [len((await answer.json())[side]) for side in ("bids", "asks")] == [1, 1]
        async with client.get("/products/NO-WAY") as answer:
            assert (answer.status, await answer.json()) == (404, {"message": "NotFound"})
        await ask(client, kind="rest", status=429, seconds=2)
        async with client.get("/products") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "2")


async def test_frames_have_the_fields_of_the_recorded_venue(recordings: Path) -> None:
    def lines(name: str) -> list[str]:
        with pa.CompressedInputStream(str(recordings / "coinbase-exchange" / name), "zstd") as stream:
            text: str = stream.read().decode()
        return text.splitlines()

    real: dict[str, Any] = {}
    for line in lines("multi-20210417.log.zst"):
        time_, _, text = line.partition(": ")
        if time_.replace(".", "").isdecimal():
            frame = json.loads(text)
            real.setdefault(frame["type"], fields(frame))
    [products] = [line for line in lines("products-20210417.log.zst") if "/products -> " in line]
    ours: dict[str, Any] = {}
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        async with client.get("/products") as answer:
            assert list((await answer.json())[0]) == list(json.loads(products.partition(": ")[2])[0])
        await asyncio.sleep(1)  # so that there is a trade to begin with
        await subscribe(socket, "level2", "ticker", "matches", products=("BTC-USD",), **signed())
        while ours.keys() < real.keys():
            frame = await next_frame(socket)
            for newer in ("best_bid_size", "best_ask_size"):
                frame.pop(newer, None)
            ours.setdefault(frame["type"], fields(frame))
    assert set(real) == {"subscriptions", "snapshot", "ticker", "last_match", "l2update", "match"}
    assert ours == real


def test_one_seed_is_one_sequence_of_messages_whatever_the_steps_of_the_clock() -> None:
    def texts(step_us: int) -> list[bytes]:
        venue = SimulatedVenue(OPTIONS)
        end = venue.now_us + 3_000_000
        return [m.body for at in range(venue.now_us, end, step_us) for m in venue.advance(min(end, at + step_us))]

    assert texts(1_000_000) == texts(1_777)

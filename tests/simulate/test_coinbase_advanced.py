"""The simulated Coinbase Advanced Trade, spoken to by a small client that knows nothing of the simulator's code."""

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow as pa
import pytest

from tests.simulate.serving import Level, Socket, ask, drained, next_frame, paused, serving, truth, units, until
from tests.simulate.shapes import fields
from tidebook.simulate import SimulatedVenue, VenueLimits, VenueOptions

OPTIONS = VenueOptions(venue="coinbase-advanced", symbols=("BTC-USD", "XRP-USD", "ETH-EUR"), rate=400, seed=5)
SIDES = {"bid": "bids", "offer": "asks"}


class AdvancedClient:
    """Books of one connection; the numbers of all its messages."""

    def __init__(self) -> None:
        self.books: dict[str, dict[str, dict[int, Level]]] = {}
        self.numbers: list[int] = []
        self.updates = 0

    def take(self, frame: dict[str, Any]) -> None:
        self.numbers.append(frame["sequence_num"])
        if frame["channel"] != "l2_data":
            return
        for event in frame["events"]:
            if event["type"] == "snapshot":
                self.books[event["product_id"]] = {"bids": {}, "asks": {}}
            else:
                self.updates += 1
            for update in event["updates"]:
                levels = self.books[event["product_id"]][SIDES[update["side"]]]
                price, size = update["price_level"], update["new_quantity"]
                if units(size) == 0:
                    levels.pop(units(price), None)
                else:
                    levels[units(price)] = (price, size)

    def book(self, product: str) -> dict[str, list[Level]]:
        sides = self.books[product]
        return {side: [sides[side][key] for key in sorted(sides[side], reverse=side == "bids")] for side in sides}


async def subscribe(socket: Socket, channel: str, *products: str, kind: str = "subscribe") -> None:
    request: dict[str, Any] = {"type": kind, "channel": channel}
    await socket.send_json({**request, "product_ids": products} if products else request)


def of_channel(channel: str, kind: str | None = None) -> Any:
    return lambda frame: frame.get("channel") == channel and kind in (None, frame["events"][0].get("type"))


async def test_every_message_of_a_connection_is_numbered_and_every_book_is_the_venues() -> None:
    """Method: all channels, 100 book updates; then the venue stops and whole books are compared."""
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        for channel in ("level2", "market_trades", "ticker"):
            await subscribe(socket, channel, *OPTIONS.symbols)
        await subscribe(socket, "heartbeats")
        ours = AdvancedClient()
        while ours.updates < 100:
            ours.take(await next_frame(socket))
        await paused(client)
        for frame in await drained(socket):
            ours.take(frame)
        assert ours.numbers == list(range(len(ours.numbers)))
        for symbol in OPTIONS.symbols:
            assert ours.book(symbol) == await truth(client, symbol)


async def test_two_connections_are_numbered_by_themselves_and_a_late_one_has_the_same_book() -> None:
    async with (
        serving(OPTIONS) as (running, client),
        client.ws_connect(running.ws_url) as first,
        client.ws_connect(running.ws_url) as second,
    ):
        clients = (AdvancedClient(), AdvancedClient())
        await subscribe(first, "level2", "BTC-USD")
        while clients[0].updates < 10:
            clients[0].take(await next_frame(first))
        await subscribe(second, "level2", "BTC-USD")
        while clients[1].updates < 10:
            clients[1].take(await next_frame(second))
        await paused(client)
        for ours, socket in zip(clients, (first, second), strict=True):
            for frame in await drained(socket):
                ours.take(frame)
            assert ours.numbers == list(range(len(ours.numbers)))
            assert ours.book("BTC-USD") == await truth(client, "BTC-USD")


async def test_each_answer_tells_all_subscriptions() -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        told = []
        for channel, products in (("ticker", ["BTC-USD"]), ("level2", ["XRP-USD", "BTC-USD"]), ("heartbeats", [])):
            await subscribe(socket, channel, *products)
            [*_, answer] = await until(socket, of_channel("subscriptions"))
            told.append(answer["events"][0]["subscriptions"])
        await subscribe(socket, "level2", "XRP-USD", kind="unsubscribe")
        [*_, answer] = await until(socket, of_channel("subscriptions"))
        told.append(answer["events"][0]["subscriptions"])
        assert told == [
            {"ticker": ["BTC-USD"]},
            {"level2": ["XRP-USD", "BTC-USD"], "ticker": ["BTC-USD"]},
            {"heartbeats": ["heartbeats"], "level2": ["XRP-USD", "BTC-USD"], "ticker": ["BTC-USD"]},
            {"heartbeats": ["heartbeats"], "level2": ["BTC-USD"], "ticker": ["BTC-USD"]},
        ]


async def test_who_asks_in_usdc_gets_the_dollar_product() -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        await subscribe(socket, "level2", "BTC-USDC")
        [*_, snapshot] = await until(socket, of_channel("l2_data"))
        assert snapshot["events"][0]["product_id"] == "BTC-USD"


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ("{no json", "could not parse request"),
        ({"type": "sing"}, "unknown type sing"),
        ({"type": "subscribe", "channel": "weather"}, "channel weather is not supported"),
        ({"type": "subscribe", "channel": "level2"}, "product_ids must name at least one product"),
        (
            {"type": "subscribe", "channel": "level2", "product_ids": ["BTC-USD", "NO-WAY"]},
            "NO-WAY is not a valid product",
        ),
    ],
)
async def test_a_refusal_says_why_and_subscribes_to_nothing(request_: Any, why: str) -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        await socket.send_str(request_ if isinstance(request_, str) else json.dumps(request_))
        assert await next_frame(socket) == {"type": "error", "message": why}
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=0.3)


async def test_heartbeats_come_each_second_and_count() -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        await subscribe(socket, "heartbeats")
        counters = []
        for _ in range(2):
            [*_, beat] = await until(socket, of_channel("heartbeats"))
            counters.append(beat["events"][0]["heartbeat_counter"])
        assert counters == [0, 1]


async def test_a_connection_that_subscribes_to_nothing_or_hears_nothing_is_closed() -> None:
    limits = VenueLimits(subscribe_within_s=0.2, quiet_s=1.0)
    async with serving(OPTIONS, limits) as (running, client):
        async with client.ws_connect(running.ws_url) as idle:
            message = await idle.receive(timeout=5)
            assert (message.type, idle.close_code) == (aiohttp.WSMsgType.CLOSE, 1008)
        async with client.ws_connect(running.ws_url) as quiet:
            await subscribe(quiet, "candles", "BTC-USD")
            await next_frame(quiet)
            message = await quiet.receive(timeout=5)
            assert (message.type, quiet.close_code) == (aiohttp.WSMsgType.CLOSE, 1001)


async def test_trades_are_the_venues_own_newest_first() -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        await asyncio.sleep(1)  # so that there are trades to begin with
        await subscribe(socket, "market_trades", "BTC-USD")
        known: list[dict[str, Any]] = []
        for kind in ("snapshot", *["update"] * 5):
            [*_, frame] = await until(socket, of_channel("market_trades"))
            [event] = frame["events"]
            assert event["type"] == kind
            known = event["trades"] + known
        ids = [int(trade["trade_id"]) for trade in known]
        assert [before - after for before, after in pairwise(ids)] == [1] * (len(ids) - 1)
        async with client.get(f"/sim/trades?symbol=BTC-USD&from={ids[-1]}&limit={len(ids)}") as answer:
            assert await answer.json() == known[::-1]


@pytest.mark.parametrize("kind", ["drop", "sequence", "stall"])
async def test_what_is_lost_shows_in_the_numbers(kind: str) -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        await subscribe(socket, "level2", "BTC-USD")
        ours = AdvancedClient()
        while ours.updates < 3:
            ours.take(await next_frame(socket))
        await ask(client, kind=kind, stream="level2:*", seconds=0.3)
        while ours.updates < 20:
            ours.take(await next_frame(socket))
        steps = [after - before for before, after in pairwise(ours.numbers)]
        assert [step > 1 for step in steps].count(True) == 1
        assert all(step >= 1 for step in steps)


async def test_a_huge_frame_is_the_message_with_spaces_and_a_slow_one_is_whole_in_the_end() -> None:
    async with (
        serving(OPTIONS) as (running, client),
        client.ws_connect(running.ws_url, max_msg_size=0) as socket,
    ):
        await subscribe(socket, "level2", "BTC-USD")
        await until(socket, of_channel("l2_data", "update"))
        await ask(client, kind="huge", stream="level2:*", size_bytes=3_000_000)
        while True:
            message = await socket.receive(timeout=5)
            assert json.loads(message.data)["channel"] == "l2_data"
            if len(message.data) == 3_000_000:
                break
        await ask(client, kind="slow", stream="level2:*", seconds=0.3)
        ours = AdvancedClient()
        ours.books = {"BTC-USD": {"bids": {}, "asks": {}}}
        began = asyncio.get_running_loop().time()
        longest = 0.0
        while ours.updates < 20:
            ours.take(await next_frame(socket))
            now = asyncio.get_running_loop().time()
            began, longest = now, max(longest, now - began)
        assert longest > 0.25
        assert [after - before for before, after in pairwise(ours.numbers)] == [1] * (len(ours.numbers) - 1)


async def test_products_have_their_increments_and_too_many_requests_are_refused() -> None:
    async with serving(OPTIONS, VenueLimits(requests_per_s=3)) as (_, client):
        products = "/api/v3/brokerage/market/products"
        async with client.get(products) as answer:
            assert [one["product_id"] for one in (await answer.json())["products"]] == list(OPTIONS.symbols)
        async with client.get(f"{products}?product_ids=XRP-USD&product_ids=BTC-USD") as answer:
            found = {one["product_id"]: one for one in (await answer.json())["products"]}
        assert (found["BTC-USD"]["quote_increment"], found["BTC-USD"]["base_increment"]) == ("0.01", "0.00000001")
        await ask(client, kind="rest", status=429, seconds=4)
        async with client.get(products) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "4")
        statuses = []
        for _ in range(4):
            async with client.get(products) as answer:
                statuses.append(answer.status)
        assert 429 in statuses


async def test_frames_have_the_fields_of_the_recorded_venue(recordings: Path) -> None:
    name = str(recordings / "coinbase-advanced" / "btcusd-ethusd-20260809.jsonl.zst")
    with pa.CompressedInputStream(name, "zstd") as stream:
        lines = [json.loads(line) for line in stream.read().decode().splitlines()]
    real: dict[str, Any] = {}
    for line in lines:
        if line["t"] == "recv":
            frame = json.loads(line["data"])
            real.setdefault(fields_key(frame), fields(without_names(frame)))
    real = {key: value for key, value in real.items() if not key.startswith("candles")}
    [http] = [json.loads(line["data"]) for line in lines if line["t"] == "http"]
    ours: dict[str, Any] = {}
    async with serving(OPTIONS) as (running, client), client.ws_connect(running.ws_url) as socket:
        async with client.get("/api/v3/brokerage/market/products") as answer:
            info = await answer.json()
        for channel in ("level2", "market_trades", "ticker"):
            await subscribe(socket, channel, "BTC-USD")
        await subscribe(socket, "heartbeats")
        while ours.keys() < real.keys():
            frame = await next_frame(socket)
            if frame["channel"] != "market_trades" or frame["events"][0]["trades"]:
                ours.setdefault(fields_key(frame), fields(without_names(frame)))
    assert ours == real
    recorded_fields = list(http["products"][0])
    assert [name for name in recorded_fields if name in info["products"][0]] == list(info["products"][0])
    assert list(info) == list(http)


def fields_key(frame: dict[str, Any]) -> str:
    return f"{frame['channel']} {frame['events'][0].get('type')}"


def without_names(frame: dict[str, Any]) -> dict[str, Any]:
    """Which channels a connection has is no habit of the venue."""
    return {**frame, "events": []} if frame["channel"] == "subscriptions" else frame


def test_one_seed_is_one_sequence_of_messages_whatever_the_steps_of_the_clock() -> None:
    def texts(step_us: int) -> list[bytes]:
        venue = SimulatedVenue(OPTIONS)
        end = venue.now_us + 3_000_000
        return [m.body for at in range(venue.now_us, end, step_us) for m in venue.advance(min(end, at + step_us))]

    assert texts(1_000_000) == texts(1_777)

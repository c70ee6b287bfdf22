"""The simulated Kraken, spoken to by a small client that knows nothing of the simulator's code."""

import asyncio
import json
import re
import zlib
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow as pa
import pytest

from tests.simulate.serving import (
    Level,
    Socket,
    ask,
    drained,
    exact,
    next_frame,
    paused,
    resumed,
    serving,
    truth,
    units,
    until,
)
from tests.simulate.shapes import shape
from tidebook._core import FeedDecoder, Payloads, pack_message
from tidebook.errors import ConfigError
from tidebook.feeds.sink import MessageKind
from tidebook.simulate import SimulatedVenue, VenueLimits, VenueOptions
from tidebook.simulate.wire.kraken import KrakenTexts

FLAG_DERIVED = 16
OPTIONS = VenueOptions(venue="kraken", symbols=("BTC/USD", "XRP/USD"), rate=400, seed=5)


class KrakenBook:
    """A book as the venue's documentation says to keep it: apply all, cut to the depth, compare the checksum."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.sides: dict[str, dict[int, Level]] = {"bids": {}, "asks": {}}
        self.updates = 0
        self.checksums = {True: 0, False: 0}

    def apply(self, frame: dict[str, Any]) -> None:
        for entry in frame["data"]:
            if frame["type"] == "snapshot":
                self.sides = {"bids": {}, "asks": {}}
            for side, levels in self.sides.items():
                for level in entry[side]:
                    if units(level["qty"]) == 0:
                        levels.pop(units(level["price"]), None)
                    else:
                        levels[units(level["price"])] = (level["price"], level["qty"])
                self.sides[side] = {units(price): (price, size) for price, size in self.levels(side)}
            self.updates += frame["type"] == "update"
            self.checksums[self.checksum() == entry["checksum"]] += 1

    def levels(self, side: str) -> list[Level]:
        levels = self.sides[side]
        return [levels[key] for key in sorted(levels, reverse=side == "bids")[: self.depth]]

    def checksum(self) -> int:
        top = self.levels("asks")[:10] + self.levels("bids")[:10]
        text = "".join(part.replace(".", "").lstrip("0") for level in top for part in level)
        return zlib.crc32(text.encode())


async def subscribe(socket: Socket, channel: str, symbols: list[str], **params: Any) -> None:
    await socket.send_json({"method": "subscribe", "params": {"channel": channel, "symbol": symbols, **params}})


def is_book(symbol: str) -> Any:
    return lambda frame: frame.get("channel") == "book" and frame["data"][0]["symbol"] == symbol


@pytest.mark.parametrize("depth", [10, 25, 100, 500, 1_000])
async def test_a_client_that_follows_the_documentation_has_the_venues_book_at_every_depth(depth: int) -> None:
    """Method: 600 updates, each with its checksum; then the venue stops and the whole depth is compared."""
    async with serving(OPTIONS) as (running, client), client.ws_connect(f"{running.ws_url}/v2") as socket:
        await subscribe(socket, "book", ["BTC/USD", "XRP/USD"], depth=depth)
        books = {symbol: KrakenBook(depth) for symbol in OPTIONS.symbols}
        while sum(book.updates for book in books.values()) < 600:
            frame = await next_frame(socket)
            if frame.get("channel") == "book":
                books[frame["data"][0]["symbol"]].apply(frame)
        await paused(client)
        for frame in await drained(socket):
            if frame.get("channel") == "book":
                books[frame["data"][0]["symbol"]].apply(frame)
        for symbol, book in books.items():
            assert book.checksums[False] == 0
            assert book.updates > 100
            assert {side: book.levels(side) for side in ("bids", "asks")} == await truth(client, symbol, depth)


def test_a_client_that_does_not_cut_to_the_depth_has_wrong_checksums_sooner_or_later() -> None:
    """That is what the real venue does to it; a simulator that removed every level would hide the mistake."""
    venue = SimulatedVenue(OPTIONS)
    texts = venue.texts["BTC/USD"]
    assert isinstance(texts, KrakenTexts)
    stream = "book-10:BTC/USD"
    venue.wanted = {stream}
    right, wrong = KrakenBook(10), KrakenBook(10_000)
    for message in chain([texts.book_snapshot(10, venue.now_us)], venue.advance(venue.now_us + 60_000_000)):
        for book in (right, wrong):
            book.apply(exact(message.body.decode()))
    assert right.checksums[False] == 0
    assert wrong.checksums[False] > 0


async def test_a_second_subscriber_joins_in_the_middle_and_both_are_right() -> None:
    async with (
        serving(OPTIONS) as (running, client),
        client.ws_connect(f"{running.ws_url}/v2") as first,
        client.ws_connect(f"{running.ws_url}/v2") as second,
    ):
        books = (KrakenBook(10), KrakenBook(10))
        await subscribe(first, "book", ["BTC/USD"])
        while books[0].updates < 50:
            frame = await next_frame(first)
            if frame.get("channel") == "book":
                books[0].apply(frame)
        await subscribe(second, "book", ["BTC/USD"])
        for book, socket in zip(books, (first, second), strict=True):
            while book.updates < 300:
                frame = await next_frame(socket)
                if frame.get("channel") == "book":
                    book.apply(frame)
        assert [book.checksums[False] for book in books] == [0, 0]


async def test_the_first_frame_is_the_status_and_each_symbol_is_acknowledged_by_itself() -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(f"{running.ws_url}/v2") as socket:
        status = await next_frame(socket)
        assert (status["channel"], status["data"][0]["system"]) == ("status", "online")
        assert status["data"][0]["connection_id"] > 2**53
        request = {"channel": "book", "symbol": ["BTC/USD", "NO/WAY", "XRP/USD"], "depth": 25}
        await socket.send_json({"method": "subscribe", "params": request, "req_id": 17})
        answers = [frame for frame in await until(socket, is_book("XRP/USD")) if "method" in frame]
        assert [(one["success"], one["req_id"]) for one in answers] == [(True, 17), (False, 17), (True, 17)]
        assert answers[0]["result"] == {"channel": "book", "depth": 25, "snapshot": True, "symbol": "BTC/USD"}
        assert (answers[1]["error"], answers[1]["symbol"]) == ("Currency pair not supported NO/WAY", "NO/WAY")


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ("{no json", "Malformed request"),
        ({"method": "sing"}, "Unsupported method"),
        ({"method": "subscribe", "params": {"channel": "weather"}}, "Unsupported channel weather"),
        ({"method": "subscribe", "params": {"channel": "book"}}, "Symbol(s) field required"),
        (
            {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": 11}},
            "Subscription book depth not supported",
        ),
        (
            {"method": "unsubscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"]}},
            "Subscription Not Found",
        ),
    ],
)
async def test_a_refusal_says_why_and_the_socket_stays_open(request_: Any, error: str) -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(f"{running.ws_url}/v2") as socket:
        await next_frame(socket)
        await socket.send_str(request_ if isinstance(request_, str) else json.dumps(request_))
        refused = await next_frame(socket)
        assert (refused["success"], refused["error"]) == (False, error)
        await socket.send_json({"method": "ping", "req_id": 3})
        pong = await next_frame(socket)
        assert (pong["method"], pong["req_id"]) == ("pong", 3)


async def test_subscribing_again_after_unsubscribing_gives_a_new_snapshot() -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(f"{running.ws_url}/v2") as socket:
        await subscribe(socket, "book", ["BTC/USD"])
        await until(socket, is_book("BTC/USD"))
        await subscribe(socket, "book", ["BTC/USD"], depth=100)
        [*_, refused] = await until(socket, lambda frame: "error" in frame)
        assert refused["error"] == "Already subscribed"
        await socket.send_json({"method": "unsubscribe", "params": {"channel": "book", "symbol": ["BTC/USD"]}})
        [*_, gone] = await until(socket, lambda frame: frame.get("method") == "unsubscribe")
        assert gone["result"] == {"channel": "book", "depth": 10, "symbol": "BTC/USD"}
        await subscribe(socket, "book", ["BTC/USD"], depth=100)
        [_, snapshot] = await until(socket, is_book("BTC/USD"))
        assert (snapshot["type"], len(snapshot["data"][0]["bids"])) == ("snapshot", 100)


async def test_a_heartbeat_comes_each_second_after_a_subscription_beside_all_else() -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(f"{running.ws_url}/v2") as socket:
        await subscribe(socket, "book", ["BTC/USD"])
        for _ in range(2):
            frames = await until(socket, lambda frame: frame == {"channel": "heartbeat"})
            assert len(frames) > 5


async def test_trades_are_the_venues_own_and_begin_with_the_last_fifty() -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(f"{running.ws_url}/v2") as socket:
        await asyncio.sleep(2)  # so that there are trades to begin with
        await subscribe(socket, "trade", ["BTC/USD"])
        known: list[dict[str, Any]] = []
        for kind in ("snapshot", *["update"] * 5):
            [*_, frame] = await until(socket, lambda frame: frame.get("channel") == "trade")
            assert frame["type"] == kind
            assert kind == "update" or 0 < len(frame["data"]) <= 50
            known += frame["data"]
        assert [after["trade_id"] - before["trade_id"] for before, after in pairwise(known)] == [1] * (len(known) - 1)
        params = {"symbol": "BTC/USD", "from": known[0]["trade_id"], "limit": len(known)}
        async with client.get("/sim/trades", params=params) as answer:
            assert exact(await answer.text()) == known


async def test_tickers_and_instruments_are_there() -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(f"{running.ws_url}/v2") as socket:
        await subscribe(socket, "ticker", ["BTC/USD"], event_trigger="bbo")
        [*_, ticker] = await until(socket, lambda frame: frame.get("channel") == "ticker" and frame["type"] == "update")
        assert units(ticker["data"][0]["bid"]) < units(ticker["data"][0]["ask"])
        await socket.send_json({"method": "subscribe", "params": {"channel": "instrument"}})
        [*_, frame] = await until(socket, lambda frame: frame.get("channel") == "instrument")
        pairs = {pair["symbol"]: pair for pair in frame["data"]["pairs"]}
        assert list(pairs) == list(OPTIONS.symbols)
        assert (pairs["BTC/USD"]["price_precision"], pairs["BTC/USD"]["qty_increment"]) == (1, "1e-08")


def test_every_ticker_is_a_quote_that_the_next_update_of_the_book_bears_out() -> None:
    """Method: a minute of the venue through the decoder. A ticker comes with a trade, which changes the best level."""
    venue = SimulatedVenue(OPTIONS)
    texts = venue.texts["BTC/USD"]
    assert isinstance(texts, KrakenTexts)
    venue.wanted = {"book-10:BTC/USD", "ticker:BTC/USD"}
    first = [texts.ticker("snapshot", venue.now_us), texts.book_snapshot(10, venue.now_us).body]
    bodies = first + [message.body for message in venue.advance(venue.now_us + 60_000_000)]
    decoder = FeedDecoder("kraken")
    said: list[tuple[int, ...]] = []
    tops: list[tuple[int, ...]] = []
    borne_out = 0
    for sequence, body in enumerate(bodies, start=1):
        message = pack_message(sequence * 1_000_000, 1, MessageKind.WS, body, b"")
        for quote in decoder.decode(sequence, Payloads([message]))["quotes"]:
            names = ("bid_price", "bid_size", "ask_price", "ask_size", "price_exp", "size_exp")
            top = tuple(int(quote[name]) for name in names)
            (tops if int(quote["flags"]) & FLAG_DERIVED else said).append(top)
        if body.startswith(b'{"channel":"book"'):
            borne_out += said == tops[-1:]
            said = []
    tickers = sum(body.startswith(b'{"channel":"ticker"') for body in bodies)
    counters = decoder.report()["counters"]
    assert (counters["quotes"], counters["quotes_unfit"], counters["malformed"]) == (tickers, 0, 0)
    assert tickers > 300
    assert borne_out == tickers


async def test_a_wrong_checksum_is_wrong_once_and_the_book_goes_on() -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(f"{running.ws_url}/v2") as socket:
        await subscribe(socket, "book", ["BTC/USD"])
        book = KrakenBook(10)
        await ask(client, kind="checksum", count=3, stream="book-10:*")
        while book.updates < 50:
            frame = await next_frame(socket)
            if frame.get("channel") == "book":
                book.apply(frame)
        assert book.checksums[False] == 3


async def test_too_many_frames_are_refused_in_the_venues_words() -> None:
    limits = VenueLimits(incoming_messages_per_s=2)
    async with serving(OPTIONS, limits) as (running, client), client.ws_connect(f"{running.ws_url}/v2") as socket:
        await next_frame(socket)
        for _ in range(3):
            await socket.send_json({"method": "ping"})
        assert [(await next_frame(socket)).get("error") for _ in range(3)] == [None, None, "Exceeded msg rate"]
    async with serving(OPTIONS) as (running, client), client.ws_connect(f"{running.ws_url}/v2") as socket:
        await next_frame(socket)
        await ask(client, kind="rate_limit")
        await subscribe(socket, "book", ["BTC/USD"])
        assert (await next_frame(socket))["error"] == "Exceeded msg rate"


def recorded(recordings: Path, name: str) -> list[dict[str, Any]]:
    with pa.CompressedInputStream(str(recordings / "kraken-v2" / name), "zstd") as stream:
        lines = stream.read().decode().splitlines()
    return [exact(line) for line in lines if line.startswith("{")]


def kind_of(frame: dict[str, Any]) -> str:
    return f"{frame.get('channel') or frame['method']} {frame.get('type', '')}"


async def test_frames_have_the_fields_of_the_recorded_venue(recordings: Path) -> None:
    real: dict[str, Any] = {}
    for frame in recorded(recordings, "kraken_btcusd_l2.cbcap.zst"):
        if frame.get("type") != "update" or (frame["data"][0].get("bids", True) and frame["data"][0].get("asks", True)):
            real.setdefault(kind_of(frame), shape(frame))
    ours: dict[str, Any] = {}
    async with serving(OPTIONS) as (running, client), client.ws_connect(f"{running.ws_url}/v2") as socket:
        await subscribe(socket, "book", ["BTC/USD"])
        await socket.send_json({"method": "unsubscribe", "params": {"channel": "book", "symbol": ["BTC/USD"]}})
        await subscribe(socket, "book", ["BTC/USD"])
        while ours.keys() < real.keys():
            frame = await next_frame(socket)
            if frame.get("channel") != "book" or (frame["data"][0]["bids"] and frame["data"][0]["asks"]):
                ours.setdefault(kind_of(frame), shape(frame))
    assert ours == real


def test_one_seed_is_one_sequence_of_messages_whatever_the_steps_of_the_clock() -> None:
    def texts(step_us: int) -> list[bytes]:
        venue = SimulatedVenue(OPTIONS)
        end = venue.now_us + 3_000_000
        return [m.body for at in range(venue.now_us, end, step_us) for m in venue.advance(min(end, at + step_us))]

    assert texts(1_000_000) == texts(1_777)


@pytest.mark.parametrize("symbol", ["BTCUSD", "btc/usd", "BTC/", "/USD", "BTC/USD/X"])
def test_a_name_that_is_no_pair_is_refused(symbol: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{symbol} is no symbol of kraken; write BTC/USD")):
        VenueOptions(venue="kraken", symbols=(symbol,))


async def test_a_paused_venue_goes_on() -> None:
    async with serving(OPTIONS) as (running, client), client.ws_connect(f"{running.ws_url}/v2") as socket:
        await subscribe(socket, "book", ["BTC/USD"])
        await until(socket, is_book("BTC/USD"))
        await paused(client)
        before = await truth(client, "BTC/USD", 25)
        assert await truth(client, "BTC/USD", 25) == before
        await resumed(client)
        await until(socket, lambda frame: frame.get("type") == "update" and is_book("BTC/USD")(frame))


async def test_an_upgrade_is_refused_as_asked() -> None:
    async with serving(OPTIONS) as (running, client):
        await ask(client, kind="refuse", status=429, seconds=7)
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await client.ws_connect(f"{running.ws_url}/v2")
        assert caught.value.status == 429
        assert caught.value.headers is not None
        assert caught.value.headers["Retry-After"] == "7"
        async with client.ws_connect(f"{running.ws_url}/v2") as socket:
            assert (await next_frame(socket))["channel"] == "status"

"""Every fault on every venue: what a client sees of it, and that the stream goes on where it should."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.simulate.serving import Socket, ask, drained, paused, resumed, serving
from tidebook.simulate import DIALECTS, Simulator, VenueOptions


@dataclass(frozen=True)
class Case:
    """How to get one book stream of a venue."""

    symbol: str
    path: str
    subscribe: dict[str, Any] | None
    stream: str
    marks: str
    """In every message of the stream."""
    rest: str


CASES = {
    "binance": Case("BTCUSDT", "/ws/btcusdt@depth@100ms", None, "btcusdt@depth*", '"e":"depthUpdate"', "/api/v3/ping"),
    "binance-usdm": Case(
        "BTCUSDT", "/ws/btcusdt@depth@0ms", None, "btcusdt@depth*", '"e":"depthUpdate"', "/fapi/v1/ping"
    ),
    "coinbase": Case(
        "BTC-USD",
        "/",
        {"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["level2_batch"]},
        "level2_batch:*",
        '"type":"l2update"',
        "/products",
    ),
    "coinbase-advanced": Case(
        "BTC-USD",
        "/",
        {"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "level2"},
        "level2:*",
        '"channel":"l2_data"',
        "/api/v3/brokerage/market/products",
    ),
    "kraken": Case(
        "BTC/USD",
        "/v2",
        {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": 1000}},
        "book-1000:*",
        '"channel":"book"',
        "/0/public/Time",
    ),
}
every_venue = pytest.mark.parametrize("venue", CASES)


@dataclass
class Client:
    """One connection that is subscribed and has had two updates."""

    case: Case
    running: Simulator
    http: aiohttp.ClientSession
    socket: Socket

    async def fault(self, *kinds: str, **more: Any) -> None:
        """Asks for faults between two messages: what was on its way is read first."""
        await paused(self.http)
        await drained(self.socket)
        for kind in kinds:
            await ask(self.http, kind=kind, stream=self.case.stream, **more)
        await resumed(self.http)

    async def book_text(self) -> str:
        """The next message of the book."""
        while True:
            message = await self.socket.receive(timeout=5)
            assert message.type is aiohttp.WSMsgType.TEXT, message
            if self.case.marks in message.data:
                return str(message.data)

    async def end(self) -> aiohttp.WSMessage:
        """What comes after the last text."""
        while True:
            message = await self.socket.receive(timeout=5)
            if message.type is not aiohttp.WSMsgType.TEXT:
                return message


@asynccontextmanager
async def subscribed(venue: str) -> AsyncIterator[Client]:
    case = CASES[venue]
    options = VenueOptions(venue=venue, symbols=(case.symbol,), rate=400, seed=6)
    async with (
        serving(options) as (running, http),
        http.ws_connect(running.ws_url + case.path, max_msg_size=0) as socket,
    ):
        if case.subscribe is not None:
            await socket.send_json(case.subscribe)
        client = Client(case, running, http, socket)
        for _ in range(2):
            await client.book_text()
        yield client


def test_every_venue_is_tested() -> None:
    assert set(CASES) == set(DIALECTS)


@every_venue
async def test_a_doubled_message_comes_twice(venue: str) -> None:
    async with subscribed(venue) as client:
        await client.fault("duplicate")
        texts = [await client.book_text() for _ in range(12)]
        assert len(set(texts)) == 11


@every_venue
async def test_messages_are_lost_or_change_places_as_asked(venue: str) -> None:
    """Method: two clients of one venue; only the first has the faults."""
    case = CASES[venue]
    async with (
        subscribed(venue) as client,
        client.http.ws_connect(client.running.ws_url + case.path, max_msg_size=0) as spotless,
    ):
        if case.subscribe is not None:
            await spotless.send_json(case.subscribe)
        other = Client(case, client.running, client.http, spotless)
        await other.book_text()
        await paused(client.http)
        for one in (client, other):
            await drained(one.socket)
        await client.fault("drop", "reorder", connection=1)
        ours = [without_number(await client.book_text()) for _ in range(5)]
        theirs = [without_number(await other.book_text()) for _ in range(6)]
        assert ours == [theirs[place] for place in (2, 1, 3, 4, 5)]


def without_number(text: str) -> str:
    """A connection's own number is no part of the message."""
    frame = json.loads(text)
    frame.pop("sequence_num", None)
    return json.dumps(frame)


@every_venue
async def test_a_stalled_connection_is_silent_and_then_goes_on(venue: str) -> None:
    async with subscribed(venue) as client:
        await client.fault("stall", seconds=0.6)
        silences = 0
        while not silences:
            try:
                await client.socket.receive(timeout=0.35)
            except TimeoutError:
                silences += 1
        await client.book_text()


@every_venue
@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("disconnect", {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}),
        ("close", {aiohttp.WSMsgType.CLOSE}),
        ("shutdown", {aiohttp.WSMsgType.CLOSE}),
    ],
)
async def test_a_connection_ends_as_asked_and_the_next_one_is_welcome(
    venue: str, kind: str, types: set[aiohttp.WSMsgType]
) -> None:
    async with subscribed(venue) as client:
        await client.fault(kind, seconds=0.05)
        assert (await client.end()).type in types
        async with client.http.ws_connect(client.running.ws_url + client.case.path):
            assert len(client.running.faults.pending) == 0


@every_venue
async def test_malformed_messages_come_in_four_ways(venue: str) -> None:
    async with subscribed(venue) as client:
        await client.fault("malformed", count=4)
        odd: list[aiohttp.WSMsgType] = []
        while len(odd) < 4:
            message = await client.socket.receive(timeout=5)
            if message.type is aiohttp.WSMsgType.BINARY or "?" in message.data or not message.data.endswith("}"):
                odd.append(message.type)
        assert odd == [aiohttp.WSMsgType.TEXT] * 3 + [aiohttp.WSMsgType.BINARY]
        json.loads(await client.book_text())


@every_venue
async def test_huge_and_slow_messages_are_whole(venue: str) -> None:
    async with subscribed(venue) as client:
        await client.fault("huge", size_bytes=1_000_000)
        while len(text := await client.book_text()) != 1_000_000:
            pass
        assert client.case.marks in json.dumps(json.loads(text), separators=(",", ":"))
        await client.fault("slow", seconds=0.3)
        for _ in range(12):
            json.loads(await client.book_text())
        assert client.running.faults.pending == []


async def test_nothing_overtakes_a_slow_message_or_comes_in_the_middle_of_it() -> None:
    """Many trades a turn, of which some are slow and others follow at once; at last a close follows a slow one."""
    options = VenueOptions(venue="binance", symbols=("BTCUSDT",), rate=3_000, seed=6)
    async with serving(options) as (running, http), http.ws_connect(running.ws_url + "/ws/btcusdt@trade") as socket:
        ids: list[int] = []
        for _ in range(10):
            for _ in range(3):
                await ask(http, kind="slow", seconds=0.02)
            ids += [json.loads((await socket.receive(timeout=5)).data)["t"] for _ in range(60)]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        await paused(http)
        await drained(socket)
        await ask(http, kind="slow", seconds=0.3)
        await ask(http, kind="close")
        await resumed(http)
        texts = []
        while (message := await socket.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
            texts.append(json.loads(message.data))
        assert (message.type, socket.close_code, bool(texts)) == (aiohttp.WSMsgType.CLOSE, 1001, True)


@every_venue
async def test_upgrades_requests_and_frames_are_refused_as_asked(venue: str) -> None:
    async with subscribed(venue) as client:
        await client.fault("refuse", status=429, seconds=3)
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await client.http.ws_connect(client.running.ws_url + client.case.path)
        assert caught.value.status == 429
        await client.fault("rest", status=429, seconds=2)
        async with client.http.get(client.case.rest) as answer:
            if venue == "kraken":
                assert (await answer.json())["error"] == ["EAPI:Rate limit exceeded"]
            else:
                assert (answer.status, answer.headers["Retry-After"]) == (429, "2")
        await client.fault("rate_limit")
        await client.socket.send_json(client.case.subscribe or {"method": "LIST_SUBSCRIPTIONS", "id": 1})
        if venue.startswith("binance"):
            assert (await client.end()).type is aiohttp.WSMsgType.CLOSE
            assert client.socket.close_code == 1008
        else:
            text = ""
            async with asyncio.timeout(5):
                while "rate" not in text.lower():
                    text = (await client.socket.receive()).data


@every_venue
async def test_a_fault_that_a_venue_cannot_have_is_refused_by_name(venue: str) -> None:
    special = {"kraken": "checksum", "coinbase-advanced": "sequence"}
    async with subscribed(venue) as client:
        for kind in ("checksum", "sequence"):
            async with client.http.post("/sim/faults", json={"kind": kind}) as answer:
                if special.get(venue) == kind:
                    assert answer.status == 200
                else:
                    assert answer.status == 400
                    assert f"{venue} has nothing that {kind} could befall" in await answer.text()


@every_venue
async def test_a_fault_that_could_never_happen_is_refused_and_none_of_its_list_is_kept(venue: str) -> None:
    good = {"kind": "drop", "stream": CASES[venue].stream}
    async with subscribed(venue) as client:
        for wrong, told in (
            ({"kind": "drop", "count": 0}, "`int` >= 1 - at `$"),
            ({"kind": "stall", "stream": "no such stream"}, f"{venue} has no stream no such stream; it has "),
        ):
            async with client.http.post("/sim/faults", json=[good, wrong]) as answer:
                assert (answer.status, told in await answer.text()) == (400, True)
        async with client.http.get("/sim/status") as answer:
            assert (await answer.json())["faults_pending"] == 0
        async with client.http.post("/sim/faults", json=good | {"count": 1_000_000}) as answer:
            assert answer.status == 200

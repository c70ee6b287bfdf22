"""What a venue refuses, owes or limits costs just what it is about; the venue is a few scripted lines."""

import asyncio
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.feeds.scripted import Client, KrakenVenue, Scripted, scripted
from tidebook._core import FeedChannel
from tidebook.errors import VenueError
from tidebook.feeds.backoff import Backoff
from tidebook.feeds.protocol import VenueProtocol
from tidebook.feeds.rest import ANSWER_BYTES_MAX, SnapshotPace
from tidebook.feeds.sink import MessageKind
from tidebook.feeds.venues.binance import Binance
from tidebook.feeds.venues.coinbase import Coinbase
from tidebook.feeds.venues.coinbase_advanced import CoinbaseAdvanced
from tidebook.feeds.venues.kraken import Kraken

HEARTBEAT = {"channel": "heartbeat"}
QUICK: dict[str, Any] = {
    "snapshot_timeout_s": 0.1,
    "refused_retry_s": 0.1,
    "refused_retry_max_s": 0.2,
    "heartbeat": HEARTBEAT,
}
BTC, ETH, HALTED = "BTC/USD", "ETH/USD", "HALT/USD"


def books(port: int) -> VenueProtocol:
    return Kraken(Kraken.local(port), ["book"], depth=10)


def books_and_trades(port: int) -> VenueProtocol:
    return Kraken(Kraken.local(port), ["book", "trade"], depth=10)


def ticks(feed: Scripted) -> int:
    """Tenths of a second that the feed's timer counted."""
    return sum(message.kind == MessageKind.TIMER for message in feed.sink.messages)


async def after_ticks(feed: Scripted, count: int) -> None:
    began = ticks(feed)
    await feed.until(lambda: ticks(feed) >= began + count)


# Streams


async def test_a_stream_refused_alone_is_asked_for_again_alone_and_the_others_go_on() -> None:
    venue = KrakenVenue()
    venue.refuses = lambda channel, symbol: (
        "in maintenance" if (channel, symbol) == ("trade", BTC) and venue.count("subscribe", "trade", BTC) < 3 else ""
    )
    async with scripted(books_and_trades, venue, (BTC, ETH), **QUICK) as feed:
        await feed.until(lambda: bool(feed.states("subscribed")))
        assert feed.connector.status().refused == {BTC: "trade: in maintenance"}
        await feed.connector.request_snapshot(BTC)
        assert feed.connector.status().snapshot_count == 3, "its book is served while its trades are refused"
        await feed.until(lambda: len(feed.states("subscribed")) == 2)
        assert [sorted(state["streams"]) for state in feed.states("subscribed")] == [
            [f"{BTC}@book", f"{ETH}@book", f"{ETH}@trade"],
            [f"{BTC}@trade"],
        ]
        assert [(state["symbol"], state["streams"]) for state in feed.states("refused")] == [(BTC, ["trade"])] * 2
        assert venue.asked.count(("subscribe", "trade", BTC)) == 3
        assert [venue.count("subscribe", *of) for of in (("book", BTC), ("book", ETH), ("trade", ETH))] == [2, 1, 1]
        assert venue.stands[feed.clients[0]] == {
            (channel, symbol) for channel in ("book", "trade") for symbol in (BTC, ETH)
        }
        assert (feed.connector.status().refused, len(feed.clients)) == ({}, 1)


async def test_a_symbol_refused_in_part_is_given_up_with_what_it_has() -> None:
    venue = KrakenVenue(refuses=lambda channel, symbol: "no trades" if (channel, symbol) == ("trade", BTC) else "")
    options: dict[str, Any] = {**QUICK, "refused_retry_s": 60.0}
    async with scripted(books_and_trades, venue, (BTC, ETH), **options) as feed:
        await feed.until(lambda: bool(feed.states("subscribed")))
        await feed.connector.unsubscribe([BTC])
        assert venue.stands[feed.clients[0]] == {("book", ETH), ("trade", ETH)}
        assert venue.count("unsubscribe", "trade", BTC) == 0, "what was never granted"
        await feed.connector.subscribe([BTC])
        assert venue.stands[feed.clients[0]] == {("book", ETH), ("trade", ETH), ("book", BTC)}
        assert feed.connector.status().symbols == (ETH, BTC), "refused in part is kept"


async def test_a_book_that_is_refused_when_it_is_taken_again_costs_the_others_nothing() -> None:
    """A pair is delisted: the venue gives its book up and does not take it again."""
    venue = KrakenVenue()
    async with scripted(books, venue, (BTC, ETH), **QUICK) as feed:
        await feed.until(lambda: bool(feed.states("subscribed")))
        venue.refuses = lambda _channel, symbol: "delisted" if symbol == BTC else ""
        await feed.connector.request_snapshot(BTC)
        await feed.until(lambda: len(feed.states("refused")) == 3)
        assert feed.connector.status().refused == {BTC: "delisted"}
        venue.refuses = lambda _channel, _symbol: ""
        await feed.until(lambda: feed.connector.status().refused == {})
        assert (feed.states("disconnected"), venue.count("subscribe", "book", ETH)) == ([], 1)
        assert feed.states("subscribed")[-1]["streams"] == [f"{BTC}@book"]
        assert feed.states("snapshot_failed") == []


# Books that do not come


async def test_a_pair_whose_book_never_comes_costs_the_others_nothing() -> None:
    venue = KrakenVenue(brings_book=lambda _client, symbol: symbol != HALTED)
    async with scripted(books, venue, (BTC, HALTED, ETH), **QUICK) as feed:
        await feed.until(lambda: venue.count("subscribe", "book", HALTED) == 7)
        assert feed.states("disconnected") == []
        assert [venue.count("subscribe", "book", symbol) for symbol in (BTC, ETH)] == [1, 1]
        reasons = [state["reason"] for state in feed.states("snapshot_failed") if state["symbol"] == HALTED]
        plain = "no snapshot within 0.1 s of its subscription"
        assert reasons[:3] == [plain] * 3
        assert [reason.partition(";")[0] for reason in reasons[3:6]] == [
            f"{plain}, {number} times now" for number in (4, 5, 6)
        ]
        venue.brings_book = lambda _client, _symbol: True
        await feed.until(lambda: feed.connector.status().snapshot_count == 3)


async def test_a_session_of_which_another_book_comes_is_not_at_fault() -> None:
    """A pair is halted while its session lives: another book is asked for, once, and speaks for the session."""
    venue = KrakenVenue()
    async with scripted(books, venue, (BTC, ETH), **QUICK) as feed:
        await feed.until(lambda: feed.connector.status().snapshot_count == 2)
        venue.brings_book = lambda _client, symbol: symbol != BTC
        asked = asyncio.create_task(feed.connector.request_snapshot(BTC))
        await feed.until(lambda: venue.count("subscribe", "book", BTC) == 7)
        assert (venue.count("subscribe", "book", ETH), feed.states("disconnected")) == (2, [])
        venue.brings_book = lambda _client, _symbol: True
        await asked


async def test_a_session_of_which_no_book_comes_any_more_is_given_up() -> None:
    """The book that is asked for to speak for the session does not come either."""
    venue = KrakenVenue()
    async with scripted(books, venue, (BTC, ETH, HALTED), **QUICK, stable_after_s=0.0) as feed:
        await feed.until(lambda: feed.connector.status().snapshot_count == 3)
        venue.brings_book = lambda client, _symbol: client is not feed.clients[0]
        await feed.connector.request_snapshot(BTC)
        await feed.until(lambda: feed.connector.status().snapshot_count == 6)
        assert [state["reason"] for state in feed.states("disconnected")] == [
            "stalled: 3 subscriptions of BTC/USD brought no snapshot, nor those of 1 more"
        ]


async def test_a_book_that_is_given_up_does_not_speak_for_its_session_and_the_next_one_is_asked() -> None:
    """Nor does a book that nobody asked for, which a damaged frame may name."""
    venue = KrakenVenue()
    async with scripted(books, venue, (BTC, ETH, HALTED), **QUICK) as feed:
        await feed.until(lambda: feed.connector.status().snapshot_count == 3)
        client = feed.clients[0]
        venue.brings_book = lambda _client, symbol: symbol == HALTED
        await client.say({"channel": "book", "type": "snapshot", "data": [{"symbol": "B?C/USD"}]})
        asked = asyncio.create_task(feed.connector.request_snapshot(BTC))
        await feed.until(lambda: venue.count("subscribe", "book", ETH) == 2)
        await feed.connector.unsubscribe([ETH])
        await feed.until(lambda: venue.count("subscribe", "book", BTC) == 6)
        assert (venue.count("subscribe", "book", HALTED), feed.states("disconnected")) == (2, [])
        await feed.connector.unsubscribe([BTC])
        await asked


async def test_a_symbol_given_up_while_its_book_is_awaited_is_not_waited_for() -> None:
    """Another pair whose book never comes, of the same session, counts the time."""
    venue = KrakenVenue(brings_book=lambda _client, symbol: symbol == BTC)
    async with scripted(books, venue, (BTC, HALTED, ETH), **QUICK) as feed:
        await feed.until(lambda: bool(feed.states("subscribed")))
        await feed.connector.unsubscribe([ETH])
        mark = venue.count("subscribe", "book", ETH)
        await feed.until(lambda: venue.count("subscribe", "book", HALTED) == 7)
        assert (venue.count("subscribe", "book", ETH), feed.states("disconnected")) == (mark, [])
        assert [state for state in feed.states("snapshot_failed") if state["symbol"] == ETH] == []


async def test_the_only_symbol_of_a_session_given_up_while_its_book_is_awaited_ends_nothing_else() -> None:
    """Method: each symbol has its own session; the first is given up and taken again before its time is over."""
    venue = KrakenVenue(brings_book=lambda _client, symbol: symbol == ETH)
    async with scripted(books, venue, (BTC, ETH), **QUICK, symbols_per_connection=1) as feed:
        await feed.until(lambda: len(feed.states("subscribed")) == 2)
        await feed.connector.unsubscribe([BTC])
        await after_ticks(feed, 8)
        assert [state["reason"] for state in feed.states("disconnected")] == ["nothing left to carry"]
        assert len(feed.clients) == 2


async def test_connections_whose_books_never_come_are_made_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session given up for its books was not stable, however long it lived. Method: the delays drawn are kept."""
    delays: list[float] = []

    class Kept(Backoff):
        def next_s(self) -> float:
            delays.append(super().next_s())
            return 0.0

    venue = KrakenVenue(brings_book=lambda _client, _symbol: False)
    monkeypatch.setattr("tidebook.feeds.line.Backoff", Kept)
    options: dict[str, Any] = {
        **QUICK,
        "snapshot_timeout_s": 0.01,
        "stable_after_s": 0.0,
        "first_retry_s": 1.0,
        "max_retry_s": 60.0,
    }
    async with scripted(books, venue, (BTC,), **options, snapshots=SnapshotPace(spacing_s=0.0)) as feed:
        await feed.until(lambda: len(feed.clients) == 5)
        after_sessions = [delay for delay in delays if delay > QUICK["refused_retry_s"]]
        assert [1 <= delay / 0.5 / 2**number <= 2 for number, delay in enumerate(after_sessions)] == [True] * 4


# Too fast


async def test_a_request_that_came_too_fast_is_repeated_whole_until_it_is_granted() -> None:
    """More often than there are rests: then it counts as refused, and is asked for later, still whole."""
    symbols = tuple(f"P{number}/USD" for number in range(8))
    venue = KrakenVenue()
    sizes: list[int] = []

    async def talk(client: Client, request: dict[str, Any]) -> None:
        sizes.append(len(request["params"]["symbol"]))
        if len(sizes) <= 9:
            await client.say({"error": "Exceeded msg rate", "success": False, "req_id": request["req_id"]})
        else:
            await venue(client, request)

    options: dict[str, Any] = {**QUICK, "too_fast_pause_s": 0.001, "first_retry_s": 0.01}
    async with scripted(books, talk, symbols, **options) as feed:
        await feed.until(lambda: bool(feed.states("subscribed")))
        assert sizes == [8] * 10
        assert len(feed.states("connect_failed")) == 1
        assert feed.states("refused")[0]["reason"] == "Exceeded msg rate"


async def test_of_symbols_that_came_too_fast_only_those_are_repeated() -> None:
    venue = KrakenVenue()
    venue.refuses = lambda _channel, symbol: (
        "Exceeded msg rate" if symbol == ETH and venue.count("subscribe", "book", ETH) == 1 else ""
    )
    async with scripted(books, venue, (BTC, ETH), **QUICK, too_fast_pause_s=0.001) as feed:
        await feed.until(lambda: bool(feed.states("subscribed")))
        assert [venue.count("subscribe", "book", symbol) for symbol in (BTC, ETH)] == [1, 2]
        assert feed.states("refused") == []


async def test_a_limit_by_address_is_kept_by_all_connections_together() -> None:
    """The venue takes 8 messages a second from one address; each of five connections has a book to subscribe anew."""
    symbols = tuple(f"P{number}-USD" for number in range(5))
    heard: deque[float] = deque()
    most = 0

    async def talk(client: Client, request: dict[str, Any]) -> None:
        nonlocal most
        now = time.monotonic()
        heard.append(now)
        while heard[0] < now - 1.0:
            heard.popleft()
        most = max(most, len(heard))
        await client.say({"channel": "subscriptions", "events": []})
        if request["type"] == "subscribe":
            for product in request.get("product_ids", []):
                await client.say({"channel": "l2_data", "events": [{"type": "snapshot", "product_id": product}]})

    def build(port: int) -> VenueProtocol:
        return CoinbaseAdvanced(CoinbaseAdvanced.local(port), ["level2", "heartbeats"])

    options: dict[str, Any] = {"heartbeat": {"channel": "heartbeats"}, "symbols_per_connection": 1}
    async with scripted(build, talk, symbols, **options) as feed:
        await feed.until(lambda: len(feed.states("subscribed")) == 5, seconds=20)
        await asyncio.gather(*(feed.connector.request_snapshot(symbol) for symbol in symbols))
        assert len(feed.heard()) == 20
        assert most <= 8


# Stop signs


class Refusing:
    """Refuses what comes until it is over for a second, and counts what came too early after the first."""

    def __init__(self, status: int = 429) -> None:
        self.status = status
        self.since_s = 0.0
        self.early = 0

    def __call__(self, _request: web.Request) -> web.Response | None:
        now_s = time.monotonic()
        if not self.since_s:
            self.since_s = now_s
        elif now_s < self.since_s + 1.0:
            self.early += 1
        else:
            return None
        return web.Response(status=self.status, headers={"Retry-After": "1"})


async def test_a_refused_connect_stops_every_connection_of_the_feed_for_its_time() -> None:
    admit = Refusing()
    venue = KrakenVenue()
    options: dict[str, Any] = {**QUICK, "symbols_per_connection": 1}
    async with scripted(books, venue, (BTC, ETH, HALTED), admit=admit, **options) as feed:
        await feed.until(lambda: len(feed.states("subscribed")) == 3)
        assert (admit.early, len(feed.states("connect_failed"))) == (0, 1)


def binance(port: int) -> VenueProtocol:
    return Binance(Binance.local(port), ["depth@100ms"])


async def nothing_said(_client: Client, _request: dict[str, Any]) -> None:
    raise AssertionError("streams are named in the address")


async def test_a_refused_connect_stops_requests_of_the_same_host_too() -> None:
    """One connection stands, the next one is refused; the snapshot of the first is then asked for."""
    refusing = Refusing()
    refused = False
    depths: list[bool] = []

    def admit(request: web.Request) -> web.Response | None:
        nonlocal refused
        if "ethusdt" in request.query["streams"] and (answer := refusing(request)) is not None:
            refused = True
            return answer
        return None

    def rest(request: web.Request) -> web.Response | None:
        if request.path.endswith("/depth"):
            depths.append(refused and time.monotonic() < refusing.since_s + 1.0)
        return None

    options: dict[str, Any] = {"symbols_per_connection": 1}
    async with scripted(binance, nothing_said, ("BTCUSDT", "ETHUSDT"), admit=admit, rest=rest, **options) as feed:
        await feed.until(lambda: bool(feed.states("connect_failed")))
        await feed.connector.request_snapshot("BTCUSDT")
        await feed.until(lambda: len(feed.states("subscribed")) == 2)
        assert depths[-2:] == [False, False]
        assert True not in depths


async def test_a_stop_sign_of_rest_stops_connects_to_the_same_host() -> None:
    stops = Refusing(status=418)
    connects: list[bool] = []

    def admit(_request: web.Request) -> None:
        connects.append(time.monotonic() < stops.since_s + 1.0)

    async with scripted(binance, nothing_said, ("BTCUSDT",), admit=admit, rest=stops) as feed:
        await feed.until(lambda: bool(feed.states("subscribed")))
        assert connects == [False]


# Connections that carry nothing


async def test_a_first_connection_that_carries_nothing_any_more_is_closed_and_not_made_again() -> None:
    """Coinbase closes a connection that subscribes to nothing within five seconds."""

    async def talk(client: Client, request: dict[str, Any]) -> None:
        await client.say({"type": "subscriptions", "channels": []})
        if request["type"] == "subscribe":
            for product in request["product_ids"]:
                await client.say({"type": "snapshot", "product_id": product, "bids": [], "asks": []})

    def build(port: int) -> VenueProtocol:
        return Coinbase(Coinbase.local(port), ["level2_batch", "heartbeat"])

    options: dict[str, Any] = {"heartbeat": {"type": "heartbeat"}, "symbols_per_connection": 1, "first_retry_s": 0.01}
    async with scripted(build, talk, ("BTC-USD", "ETH-USD"), **options) as feed:
        await feed.until(lambda: len(feed.states("subscribed")) == 2)
        await feed.connector.unsubscribe(["BTC-USD"])
        await feed.until(lambda: feed.clients[0].socket.closed)
        await after_ticks(feed, 5)
        assert [line.symbols for line in feed.connector.status().lines] == [("ETH-USD",)]
        assert (len(feed.clients), feed.clients[1].socket.closed) == (2, False)
        await feed.connector.unsubscribe(["ETH-USD"])
        await after_ticks(feed, 5)
        status = feed.connector.status()
        assert (status.lines, status.connected, len(feed.clients)) == ((), True, 2)
        await feed.connector.subscribe(["SOL-USD"])
        await feed.until(lambda: len(feed.states("subscribed")) == 3)


async def test_what_is_subscribed_once_for_the_feed_moves_to_the_connection_that_is_left() -> None:
    venue = KrakenVenue()

    def build(port: int) -> VenueProtocol:
        return Kraken(Kraken.local(port), ["book", "instrument"], depth=10)

    async with scripted(build, venue, (BTC, ETH), **QUICK, symbols_per_connection=1) as feed:
        await feed.until(lambda: len(feed.states("subscribed")) == 2)
        assert [("instrument", "") in venue.stands[client] for client in feed.clients] == [True, False]
        await feed.connector.unsubscribe([BTC])
        assert venue.stands[feed.clients[1]] == {("book", ETH), ("instrument", "")}
        await feed.until(lambda: feed.clients[0].socket.closed)


# Symbols without a snapshot over REST


@pytest.mark.parametrize("status", [400, 404])
async def test_a_symbol_whose_snapshot_is_refused_is_told_and_asked_for_rarely(status: int) -> None:
    asked: list[str] = []
    known = False

    def rest(request: web.Request) -> web.Response | None:
        symbol = request.query.get("symbol", "")
        if request.path.endswith("/depth"):
            asked.append(symbol)
        if symbol == "NOSUCH" and not known:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=status)
        return None

    options: dict[str, Any] = {"refused_retry_s": 0.8, "refused_retry_max_s": 0.8}
    async with scripted(binance, nothing_said, ("BTCUSDT", "NOSUCH"), rest=rest, **options) as feed:
        await feed.until(lambda: bool(feed.states("refused")))
        told = feed.states("refused")[0]
        assert (told["symbol"], "Invalid symbol." in told["reason"]) == ("NOSUCH", True)
        assert feed.connector.status().refused == {"NOSUCH": told["reason"]}
        await feed.until(lambda: len(feed.states("refused")) == 3)
        assert (asked.count("NOSUCH"), asked.count("BTCUSDT"), feed.states("snapshot_failed")) == (3, 1, [])
        known = True
        await feed.until(lambda: feed.connector.status().snapshot_count == 2)
        assert feed.connector.status().refused == {}


async def test_a_symbol_whose_snapshot_is_refused_is_forgotten_when_it_is_given_up() -> None:
    asked = 0

    def rest(request: web.Request) -> web.Response | None:
        nonlocal asked
        if request.query.get("symbol") != "NOSUCH":
            return None
        asked += 1
        return web.json_response({}, status=400)

    options: dict[str, Any] = {"refused_retry_s": 0.1, "refused_retry_max_s": 0.1}
    async with scripted(binance, nothing_said, ("BTCUSDT", "NOSUCH"), rest=rest, **options) as feed:
        await feed.until(lambda: len(feed.states("refused")) == 2)
        await feed.connector.unsubscribe(["NOSUCH"])
        mark = asked
        await after_ticks(feed, 5)
        assert (asked, feed.connector.status().refused) == (mark, {})


@pytest.mark.parametrize("begun_with", [("BTCUSDT",), ()])
async def test_a_symbol_that_is_added_and_has_no_snapshot_is_refused_and_not_kept(begun_with: tuple[str, ...]) -> None:
    """Its streams were granted, as for any name, on a connection that was there or one of its own."""

    def rest(request: web.Request) -> web.Response | None:
        if request.query.get("symbol") == "BTCUSTD":
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        return None

    async def grant(client: Client, request: dict[str, Any]) -> None:
        await client.say({"result": None, "id": request["id"]})

    async with scripted(binance, grant, begun_with, rest=rest) as feed:
        await feed.until(lambda: bool(feed.states("started")) and len(feed.clients) == len(begun_with))
        with pytest.raises(VenueError, match=r"binance: BTCUSTD refused: HTTP 400: .*Invalid symbol"):
            await feed.connector.subscribe(["BTCUSTD"])
        assert feed.connector.status().symbols == begun_with
        await feed.connector.subscribe(["ETHUSDT"])
        assert feed.connector.status().symbols == (*begun_with, "ETHUSDT")
        assert feed.connector.status().refused == {}


async def test_an_answer_larger_than_any_book_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidebook.feeds.rest.ANSWER_BYTES_MAX", 1_000)
    sizes = iter((100_000, 1_001, 1_000))

    def rest(request: web.Request) -> web.Response | None:
        return web.Response(body=b" " * next(sizes)) if request.path.endswith("/depth") else None

    async with scripted(binance, nothing_said, ("BTCUSDT",), rest=rest) as feed:
        await feed.until(lambda: feed.connector.status().snapshot_count == 1)
        reasons = [state["reason"] for state in feed.states("snapshot_failed")]
        assert reasons == ["an answer of more than 1000 bytes"] * 2
        assert max(len(message.body) for message in feed.sink.messages) == 1_000


def test_the_largest_answer_that_is_taken_fits_into_a_capture(tmp_path: Path) -> None:
    """A message that a capture refuses ends the node, and with it the feeds of every venue."""
    rings = tmp_path / "rings"
    rings.mkdir(mode=0o700)
    channel = FeedChannel("feed.coinbase", rings, tmp_path / "journal")
    body, target = b" " * ANSWER_BYTES_MAX, b"/" * 8_192
    assert channel.write(1, 1, MessageKind.REST, target, body) == 1
    channel.close()


# Answers that come late


async def test_an_answer_whose_asker_is_gone_is_not_taken_for_the_next_ones() -> None:
    """Coinbase does not say which request it answers. Who asked for ETH does not wait; SOL is asked for meanwhile."""
    held = asyncio.Event()

    async def talk(client: Client, request: dict[str, Any]) -> None:
        if "ETH-USD" in request["product_ids"]:
            await held.wait()
            await client.say({"type": "error", "message": "ETH-USD is not a valid product"})
            return
        await client.say({"type": "subscriptions", "channels": []})
        for product in request["product_ids"]:
            await client.say({"type": "snapshot", "product_id": product, "bids": [], "asks": []})

    def build(port: int) -> VenueProtocol:
        return Coinbase(Coinbase.local(port), ["level2_batch", "heartbeat"])

    async with scripted(build, talk, ("BTC-USD",), heartbeat={"type": "heartbeat"}) as feed:
        await feed.until(lambda: bool(feed.states("subscribed")))
        impatient = asyncio.create_task(feed.connector.subscribe(["ETH-USD"]))
        await feed.until(lambda: len(feed.heard()) == 2)
        impatient.cancel()
        with suppress(asyncio.CancelledError):
            await impatient
        gone = asyncio.create_task(feed.connector.unsubscribe(["ETH-USD"]))
        asked = asyncio.create_task(feed.connector.subscribe(["SOL-USD"]))
        await after_ticks(feed, 3)
        held.set()
        await asyncio.gather(gone, asked)
        assert feed.states("subscribed")[-1]["streams"] == ["SOL-USD@level2_batch", "SOL-USD@heartbeat"]
        assert [state["symbol"] for state in feed.states("refused")] == ["ETH-USD"]
        assert (feed.connector.status().refused, feed.states("disconnected")) == ({}, [])

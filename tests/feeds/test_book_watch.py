"""A book that the venue stopped sending is told from one in which nothing happens; time and frames are arguments."""

import json
from typing import Any

import pytest
from aiohttp import web

from tests.feeds.scripted import Client, KrakenVenue, Scripted, scripted
from tidebook.config import Settings
from tidebook.feeds.book_watch import MOVES_MIN, BookWatch
from tidebook.feeds.credentials import NoCredentials
from tidebook.feeds.protocol import VenueProtocol
from tidebook.feeds.registry import FEEDS, build_protocol
from tidebook.feeds.sink import MessageKind
from tidebook.feeds.venues.binance import Binance
from tidebook.feeds.venues.kraken import Kraken

BTC, ETH = "BTC/USD", "ETH/USD"
BINANCE_HEAD = b'{"stream":"btcusdt@'
ADVANCED_HEAD = (
    b',"client_id":"","timestamp":"2026-08-09T21:05:48.629706932Z","sequence_num":26,"events":[{"type":"update",'
)

FRAMES: dict[str, dict[bytes, tuple[bytes, bool] | None]] = {
    "binance": {
        BINANCE_HEAD + b'depth@100ms","data":{}}': (b"btcusdt", True),
        BINANCE_HEAD + b'depth","data":{}}': (b"btcusdt", True),
        BINANCE_HEAD + b'bookTicker","data":{}}': (b"btcusdt", False),
        BINANCE_HEAD + b'aggTrade","data":{}}': (b"btcusdt", False),
        BINANCE_HEAD + b'depth5@100ms","data":{}}': None,
        BINANCE_HEAD + b'kline_1m","data":{}}': None,
        BINANCE_HEAD: None,
        b'{"result":null,"id":1}': None,
    },
    "binance-usdm": {
        BINANCE_HEAD + b'depth@100ms","data":{}}': (b"btcusdt", True),
        BINANCE_HEAD + b'markPrice@1s","data":{}}': None,
    },
    "kraken": {
        b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[]}]}': (b"BTC/USD", True),
        b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy"}]}': (b"BTC/USD", False),
        b'{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":1}]}': (b"BTC/USD", False),
        b'{"channel":"ohlc","type":"update","data":[{"symbol":"BTC/USD"}]}': None,
        b'{"channel":"book","type":"update","data":[]}': None,
        b'{"channel":"bo': None,
    },
    "coinbase": {
        b'{"type":"l2update","product_id":"BTC-USD","changes":[]}': (b"BTC-USD", True),
        b'{"type":"match","trade_id":1,"side":"buy","product_id":"BTC-USD"}': (b"BTC-USD", False),
        b'{"type":"ticker","sequence":1,"product_id":"BTC-USD","price":"1"}': (b"BTC-USD", False),
        b'{"type":"last_match","product_id":"BTC-USD"}': None,
        b'{"type":"match"}': None,
        b"": None,
    },
    "coinbase-advanced": {
        b'{"channel":"l2_data"' + ADVANCED_HEAD + b'"product_id":"BTC-USD","updates":[]}]}': (b"BTC-USD", True),
        b'{"channel":"market_trades"' + ADVANCED_HEAD + b'"trades":[{"product_id":"BTC-USD"}]}]}': (b"BTC-USD", False),
        b'{"channel":"ticker"' + ADVANCED_HEAD + b'"tickers":[{"product_id":"BTC-USD"}]}]}': (b"BTC-USD", False),
        b'{"channel":"candles"' + ADVANCED_HEAD + b'"candles":[{"product_id":"BTC-USD"}]}]}': None,
    },
}


@pytest.mark.parametrize("venue", FEEDS)
def test_frames_that_change_a_book_are_told_from_those_that_prove_it_moved(venue: str) -> None:
    protocol = build_protocol(venue, FEEDS[venue].settings(Settings()), credentials=NoCredentials())
    assert {frame: protocol.about(frame) for frame in FRAMES[venue]} == FRAMES[venue]
    (symbol, *_) = FEEDS[venue].default_symbols
    assert protocol.name_in_frames(symbol) in {told[0] for told in FRAMES[venue].values() if told}


class Watched:
    """A watch of two books, and its time."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.watch = BookWatch(
            lambda body: (body[1:], body[:1] == b"="),
            str.encode,
            silent_after_s=10.0,
            quiet_after_s=60.0,
            quiet_max_s=200.0,
        )
        self.watch.begin(["A", "B"], 0.0)

    def after(self, seconds: float, frames: str = "", others_move: bool = True) -> dict[str, int]:
        """Frames such as `=A` (a change of its book) or `.A` (a trade) come, then time passes; attempts by symbol."""
        for frame in frames.split():
            self.watch.saw(frame.encode())
        self.now_s += seconds
        found = self.watch.check(["A", "B"], self.now_s, others_move=others_move)
        return {symbol: silence.attempt for symbol, silence in found.items()}


MOVES = " .A" * MOVES_MIN


def test_a_book_whose_instrument_trades_without_it_is_silent_each_time_anew() -> None:
    watched = Watched()
    assert watched.after(1, MOVES) == {}
    assert watched.after(9) == {}
    assert watched.after(1) == {"A": 1}
    assert watched.after(30) == {}, "its moves are counted anew"
    assert watched.after(1, MOVES) == {}
    assert watched.after(10) == {"A": 2}
    assert watched.after(1, "=A" + MOVES) == {}, "a single change"
    assert watched.after(10, MOVES) == {}
    assert watched.after(10) == {"A": 3}
    assert watched.after(1, " =A" * 20 + MOVES) == {}
    assert watched.after(10, MOVES) == {}
    assert watched.after(10) == {"A": 1}, "it was well meanwhile"


def test_a_burst_of_trades_after_a_long_rest_does_not_make_a_book_silent_before_its_message_comes() -> None:
    watched = Watched()
    assert watched.after(1, "=A") == {}
    assert watched.after(50) == {}
    assert watched.after(1, MOVES) == {}
    assert watched.after(1, "=A") == {}
    assert watched.after(11) == {}
    assert watched.after(1, ".A .A") == {}, "few moves prove nothing"
    assert watched.after(30) == {}


def test_a_quiet_book_is_looked_at_ever_more_rarely_and_only_while_others_move() -> None:
    watched = Watched()
    assert watched.after(1, "=A") == {}
    assert watched.after(59) == {}
    assert watched.after(2, others_move=False) == {}
    assert watched.after(0) == {"A": 0}, "B never had a change, and nobody may trade it"
    assert [watched.after(60) for _ in range(2)] == [{}, {"A": 0}]
    assert [watched.after(60) for _ in range(4)] == [{}, {}, {}, {"A": 0}]
    assert watched.after(1, "=A") == {}
    assert [watched.after(60) for _ in range(4)] == [{}, {}, {}, {"A": 0}], (
        "one change does not bring the old pace back"
    )


def test_who_was_given_up_is_not_watched() -> None:
    watched = Watched()
    watched.watch.forget(["A"])
    assert watched.after(1, MOVES) == {}
    assert watched.after(100) == {}


# On a line


def binance(port: int) -> VenueProtocol:
    return Binance(Binance.local(port))


def kraken(port: int) -> VenueProtocol:
    return Kraken(Kraken.local(port), ["book", "trade"], depth=10)


async def grant_streams(client: Client, request: dict[str, Any]) -> None:
    await client.say({"result": None, "id": request["id"]})


QUICK: dict[str, Any] = {"heartbeat_s": 0.005, "book_silent_after_s": 0.2, "refused_retry_s": 0.3}
TRADE = {"channel": "trade", "type": "update", "data": [{"symbol": BTC}]}
TICKER = {"stream": "btcusdt@bookTicker", "data": {}}
DONE = ("connected", "disconnected", "book_silent", "unsubscribed", "refused")


def done_to_the_book(venue: Scripted) -> list[str]:
    """What happened, each with the number of its session."""
    states = [message for message in venue.sink.messages if message.kind == MessageKind.STATE]
    events = [(json.loads(message.body)["event"], message.connection) for message in states]
    return [f"{event} {number}" for event, number in events if event in DONE]


@pytest.mark.parametrize("name", ["binance", "kraken"])
async def test_a_dead_book_is_taken_anew_then_its_session_replaced_then_counted_as_refused(name: str) -> None:
    """The venue grants everything and sends trades or best prices, and never a change of the book."""
    build, talk = (binance, grant_streams) if name == "binance" else (kraken, KrakenVenue())
    symbol, beat = ("BTCUSDT", TICKER) if name == "binance" else (BTC, TRADE)
    async with scripted(build, talk, (symbol,), heartbeat=beat, **QUICK) as venue:
        await venue.until(lambda: len(venue.states("refused")) == 2, 30)
        story = done_to_the_book(venue)
        assert story[:3] == ["connected 1", "book_silent 1", "unsubscribed 1"], "the first time it is taken anew"
        assert story[3:6] == ["book_silent 1", "disconnected 1", "connected 2"], "the second time on another session"
        assert story[6:12] == ["book_silent 2", "unsubscribed 2", "refused 2"] * 2, "at last now and then"
        (refused, *_) = venue.states("refused")
        assert refused["symbol"] == symbol
        assert refused["reason"].startswith("no change of the book for 0.")
        streams = ["btcusdt@depth@100ms"] if name == "binance" else ["BTC/USD@book"]
        assert {tuple(state["streams"]) for state in venue.states("unsubscribed")} == {tuple(streams)}, "nothing else"
        assert venue.states("disconnected")[0]["reason"].startswith(f"book of {symbol} silent after it was ")
        assert len(venue.states("subscribed")) == 4, "the first, anew, on another session, once more"


async def test_a_session_that_waits_for_its_successor_goes_on_and_its_books_are_left_alone() -> None:
    """The venue takes no second connection: the first has the other books meanwhile."""
    opened = 0

    def admit(_: web.Request) -> web.Response | None:
        nonlocal opened
        opened += 1
        return web.Response(status=503) if opened > 1 else None

    options = {**QUICK, "heartbeat": TRADE, "admit": admit, "max_retry_s": 0.2}
    async with scripted(kraken, KrakenVenue(), (BTC,), **options) as venue:
        await venue.until(lambda: len(venue.states("connect_failed")) == 5, 30)
        assert done_to_the_book(venue) == ["connected 1", "book_silent 1", "unsubscribed 1", "book_silent 1"]
        assert venue.connector.status().connected


async def test_a_book_that_says_nothing_while_others_do_is_taken_anew_and_they_are_not() -> None:
    grant = KrakenVenue()

    async def talk(client: Client, request: dict[str, Any]) -> None:
        await grant(client, request)
        if request["method"] == "subscribe" and request["params"]["channel"] == "book":
            await client.say({"channel": "book", "type": "update", "data": [{"symbol": BTC}]})

    change = {"channel": "book", "type": "update", "data": [{"symbol": ETH}]}
    options = {**QUICK, "quiet_after_s": 0.4, "heartbeat": change}
    async with scripted(kraken, talk, (BTC, ETH), **options) as venue:
        await venue.until(lambda: grant.count("subscribe", "book", BTC) == 3, 30)
        assert (grant.count("subscribe", "book", ETH), grant.count("subscribe", "trade", BTC)) == (1, 1)
        waited_s = [float(state["reason"].split()[6]) for state in venue.states("book_silent")]
        assert waited_s[0] >= 0.4
        assert waited_s[1] >= 0.8, "it may be quiet: twice as long"
        assert venue.states("disconnected") == []


async def test_a_session_that_answers_pings_and_sends_nothing_is_replaced_ever_more_rarely() -> None:
    async with scripted(binance, grant_streams, ("BTCUSDT",), quiet_after_s=0.3, ping_after_s=0.1) as venue:
        await venue.until(lambda: len(venue.states("connected")) == 3, 30)
        story = done_to_the_book(venue)
        assert story == ["connected 1", "disconnected 1", "connected 2", "disconnected 2", "connected 3"]
        waited_s = [float(state["reason"].split()[-2]) for state in venue.states("disconnected")]
        assert waited_s[0] >= 0.3
        assert waited_s[1] >= 0.6, "nobody may be trading: twice as long"
        assert venue.states("disconnected")[0]["reason"].startswith("quiet: no market data for ")


async def test_a_session_that_has_market_data_again_and_again_is_not_replaced() -> None:
    async with scripted(binance, grant_streams, ("BTCUSDT",), heartbeat=TICKER, quiet_after_s=0.5) as venue:
        await venue.until(lambda: venue.connector.status().frame_count > 30)
        assert done_to_the_book(venue) == ["connected 1"]

"""The connector with Kraken against the simulated venue on 127.0.0.1."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.feeds.venue_feed import VenueFeed, running_venue
from tidebook.errors import ConfigError, VenueError
from tidebook.feeds.protocol import HEARTBEAT, Answer, SnapshotSeen
from tidebook.feeds.sink import MessageKind
from tidebook.feeds.venues.kraken import Kraken

SYMBOLS = ("BTC/USD", "ETH/USD")
DEPTH = {"depth": 25}


async def venue_connections(feed: VenueFeed) -> list[list[str]]:
    async with aiohttp.ClientSession(feed.simulator.rest_url) as client, client.get("/sim/status") as answer:
        return [connection["streams"] for connection in (await answer.json())["connections"]]


async def test_books_are_the_venues_own_with_every_checksum_right() -> None:
    async with running_venue("kraken", SYMBOLS, settings=DEPTH) as feed:
        await feed.until(feed.ready)
        for _ in range(3):
            await asyncio.sleep(0.3)
            await feed.equals_the_venue(levels=25)
        report = feed.decoder.report()
        assert (report["checks_failed"], feed.wishes) == (0, [])
        assert report["checks_passed"] > 100
        assert feed.states("subscribed")[0]["streams"] == [
            f"{symbol}@{stream}" for symbol in SYMBOLS for stream in ("book", "trade", "ticker")
        ]
        for ids in feed.trade_ids.values():
            assert ids == list(range(ids[0], ids[-1] + 1))
    instruments = [message for message in feed.sink.messages if b'"channel":"instrument"' in message.body]
    assert [b'"type":"snapshot"' in message.body for message in instruments] == [False, True], "answer, then snapshot"


async def test_a_tokenised_stock_is_asked_for_as_kraken_writes_it() -> None:
    """Symbols are understood in any case, but for the small x of such a stock, without which the venue has none."""
    kraken = Kraken(Kraken.local(1))
    spelled = {
        word: kraken.normal(word) for word in ("AAPLx/USD", "AAPLx/usd", "btc/usd", "Btc/Usd", "TRX/USD", "x/usd")
    }
    assert spelled == {
        "AAPLx/USD": "AAPLx/USD",
        "AAPLx/usd": "AAPLx/USD",
        "btc/usd": "BTC/USD",
        "Btc/Usd": "BTC/USD",
        "TRX/USD": "TRX/USD",
        "x/usd": "X/USD",
    }
    async with running_venue("kraken", ("AAPLx/USD",), settings=DEPTH) as feed:
        await feed.until(feed.ready)
        await feed.equals_the_venue(levels=25)


async def test_a_wrong_checksum_is_healed_by_subscribing_that_book_anew() -> None:
    """The other book on the same connection goes on undisturbed."""
    async with running_venue("kraken", SYMBOLS, settings=DEPTH) as feed:
        await feed.until(feed.ready)
        assert feed.snapshots() == 2
        await feed.fault(kind="checksum", stream="book-25:BTC/USD")
        await feed.until(lambda: bool(feed.wishes))
        await feed.until(lambda: feed.usable() and feed.snapshots() == 3)
        assert set(feed.wishes) == {"BTC/USD"}
        await feed.equals_the_venue(levels=25)
        assert feed.states("disconnected") == []
        assert feed.states("snapshot_failed") == []


async def test_many_requests_for_snapshots_are_one_message_each_way() -> None:
    async with running_venue("kraken", SYMBOLS) as feed:
        await feed.until(feed.ready)
        mark = len(feed.sink.messages)
        await asyncio.gather(*(feed.connector.request_snapshot(symbol) for symbol in SYMBOLS * 10))
        feed.read()
        answers = [message.body for message in feed.sink.messages[mark:] if message.body.startswith(b'{"method"')]
        assert len(answers) == 4, "one answer a symbol, to one request each way"
        assert feed.snapshots() == 4
        await feed.until(feed.ready)
        await feed.equals_the_venue(levels=100)
        with pytest.raises(VenueError, match="DOGE/USD"):
            await feed.connector.request_snapshot("DOGE/USD")


async def test_a_symbol_the_venue_does_not_have_costs_the_others_nothing() -> None:
    async with running_venue("kraken", SYMBOLS, subscribed=("BTC/USD", "NO/SUCH", "ETH/USD")) as feed:
        await feed.until(feed.ready)
        await feed.until(lambda: bool(feed.states("subscribed")))
        refused = feed.states("refused")
        assert [(state["symbol"], state["reason"]) for state in refused] == [
            ("NO/SUCH", "Currency pair not supported NO/SUCH")
        ]
        assert feed.connector.status().refused == {"NO/SUCH": "Currency pair not supported NO/SUCH"}
        assert not any("NO/SUCH" in stream for stream in feed.states("subscribed")[0]["streams"])
        await feed.equals_the_venue(levels=100)


async def test_a_subscription_added_by_hand_is_refused_to_who_asked_and_not_kept(tmp_path: Path) -> None:
    state_file = tmp_path / "kraken.json"
    async with running_venue("kraken", SYMBOLS, subscribed=("BTC/USD",), state_file=state_file) as feed:
        await feed.until(lambda: bool(feed.states("subscribed")))
        with pytest.raises(VenueError, match="NO/SUCH refused: Currency pair not supported"):
            await feed.connector.subscribe(["NO/SUCH", "eth/usd"])
        await feed.until(feed.ready)
        assert feed.connector.status().symbols == SYMBOLS
        assert b"NO/SUCH" not in state_file.read_bytes()
        await feed.connector.unsubscribe(["BTC/USD"])
        assert await venue_connections(feed) == [["instrument", "book-100:ETH/USD", "trade:ETH/USD", "ticker:ETH/USD"]]


async def test_a_venue_that_says_we_come_too_fast_is_given_a_rest() -> None:
    async with running_venue("kraken", SYMBOLS) as feed:
        await feed.until(feed.ready)
        await feed.fault(kind="rate_limit")
        await feed.connector.request_snapshot("BTC/USD")
        assert any(b"Exceeded msg rate" in message.body for message in feed.sink.messages)
        await feed.until(feed.ready)
        assert (feed.states("refused"), feed.states("disconnected")) == ([], [])
        await feed.equals_the_venue(levels=100)


async def test_an_upgrade_refused_with_a_time_is_tried_again_after_it() -> None:
    async with running_venue("kraken", SYMBOLS, stable_after_s=0.0) as feed:
        await feed.until(feed.ready)
        await feed.fault(kind="refuse", status=429, seconds=1)
        await feed.fault(kind="disconnect")
        await feed.until(lambda: bool(feed.states("connect_failed")))
        failed = feed.states("connect_failed")[0]
        assert (failed["retry_s"], "429" in failed["reason"]) == (1.0, True)
        await feed.until(lambda: len(feed.states("subscribed")) == 2 and feed.ready())
        await feed.equals_the_venue(levels=100)


async def test_a_stalled_connection_is_found_by_the_heartbeats_that_do_not_come() -> None:
    async with running_venue("kraken", SYMBOLS, stalled_after_s=1.5) as feed:
        await feed.until(feed.ready)
        await feed.fault(kind="stall", seconds=20, connection=1)
        await feed.until(lambda: bool(feed.states("disconnected")))
        assert feed.states("disconnected")[0]["reason"].startswith("stalled: no frame for 1.")
        await feed.until(lambda: len(feed.states("subscribed")) == 2 and feed.ready())
        await feed.equals_the_venue(levels=100)


async def test_symbols_are_spread_over_sockets_and_the_instruments_come_once() -> None:
    symbols = tuple(f"{base}/USD" for base in ("BTC", "ETH", "SOL", "XRP", "ADA"))
    async with running_venue("kraken", symbols, symbols_per_connection=2, stable_after_s=0.0) as feed:
        await feed.until(feed.ready)
        await feed.until(lambda: len(feed.states("subscribed")) == 3)
        carried = await venue_connections(feed)
        assert ["instrument" in streams for streams in carried] == [True, False, False]
        assert [sum(stream.startswith("book-") for stream in streams) for streams in carried] == [1, 2, 2]
        await feed.fault(kind="disconnect", connection=2)
        await feed.until(lambda: len(feed.states("subscribed")) == 4 and feed.ready())
        await feed.equals_the_venue(levels=100)
        frames = [m.connection for m in feed.sink.messages if m.kind == MessageKind.WS]
        assert set(frames) == {1, 2, 3, 4}


def test_notices_are_told_from_market_data() -> None:
    kraken = Kraken(Kraken.local(1))
    ack = b'{"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,"symbol":"BTC/USD"},"success":true,"req_id":7}'
    refusal = (
        b'{"error":"Currency pair not supported X/Y","method":"subscribe","success":false,"symbol":"X/Y","req_id":7}'
    )
    frames = {
        b'{"channel":"heartbeat"}': HEARTBEAT,
        b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD"}]}': None,
        b'{"channel":"trade","type":"snapshot","data":[]}': None,
        b'{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[]}]}': SnapshotSeen("BTC/USD"),
        b'{"channel":"book","type":"snapshot","data":[{"bids":[],"symbol":"BTC/USD"}]}': SnapshotSeen("BTC/USD"),
        b'{"channel":"book","type":"snapshot","data":[{"bids"': None,
        b'{"channel":"status","type":"update","data":[{"system":"online"}]}': None,
        ack: Answer(7, "BTC/USD"),
        refusal: Answer(7, "X/Y", "Currency pair not supported X/Y"),
        b'{"error":"Exceeded msg rate","success":false,"req_id":3}': Answer(
            3, None, "Exceeded msg rate", too_fast=True
        ),
        b'{"method":"pong","success":true}': None,
        b"": None,
        b"\xff\xfe": None,
        b"[1,2]": None,
    }
    assert {frame: kraken.notice(frame) for frame in frames} == frames


def test_what_cannot_be_asked_of_kraken_is_named() -> None:
    with pytest.raises(ConfigError, match="no book has 50 levels; choose one of 10, 25, 100, 500, 1000"):
        Kraken(Kraken.local(1), depth=50)
    with pytest.raises(ConfigError, match="no channel is called 'books'; there are book, trade"):
        Kraken(Kraken.local(1), ["books"])
    with pytest.raises(ConfigError, match="'BTCUSD' is no Kraken symbol"):
        Kraken(Kraken.local(1)).normal("BTCUSD")

"""The connector with Coinbase Advanced Trade against the simulated venue on 127.0.0.1."""

import asyncio

import pytest

from tests.feeds.test_protocols import es256_key
from tests.feeds.venue_feed import running_venue
from tidebook.errors import VenueError
from tidebook.feeds.credentials import ApiKey
from tidebook.feeds.sink import MessageKind, RawMessage

SYMBOLS = ("BTC-USD", "ETH-USD")
VENUE = "coinbase-advanced"


async def test_books_are_the_venues_own_and_no_message_is_missing() -> None:
    async with running_venue(VENUE, SYMBOLS) as feed:
        await feed.until(feed.ready)
        for _ in range(3):
            await asyncio.sleep(0.3)
            await feed.equals_the_venue(levels=200)
        report = feed.decoder.report()
        assert (report["checks_failed"], report["gaps"], feed.wishes) == (0, 0, [])
        assert report["checks_passed"] > 100
        assert feed.snapshots() == 2
        rest = [message for message in feed.sink.messages if message.kind == MessageKind.REST]
        assert [(message.connection, message.context) for message in rest] == [
            (0, b"/api/v3/brokerage/market/products?product_ids=BTC-USD&product_ids=ETH-USD")
        ]
        first = next(index for index, message in enumerate(feed.sink.messages) if message.kind == MessageKind.WS)
        assert feed.sink.messages.index(rest[0]) < first, "increments are known before the first price"


async def test_after_a_lost_message_every_book_of_the_connection_is_had_anew() -> None:
    async with running_venue(VENUE, SYMBOLS) as feed:
        await feed.until(feed.ready)
        await feed.fault(kind="drop", stream="market_trades:BTC-USD")
        await feed.until(lambda: bool(feed.wishes))
        await feed.until(lambda: feed.ready() and feed.snapshots() == 4)
        assert set(feed.wishes) == set(SYMBOLS), "nobody knows whose message it was"
        await feed.equals_the_venue(levels=200)
        assert feed.states("disconnected") == []


async def test_a_product_the_venue_does_not_have_costs_the_others_nothing() -> None:
    async with running_venue(VENUE, SYMBOLS, subscribed=("NO-USD", *SYMBOLS)) as feed:
        await feed.until(feed.ready, seconds=20)
        assert feed.connector.status().refused == {"NO-USD": "NO-USD is not a valid product"}
        assert feed.states("subscribed")[0]["streams"][0] == "BTC-USD@level2"
        with pytest.raises(VenueError, match="NEITHER-USD refused: NEITHER-USD is not a valid product"):
            await feed.connector.subscribe(["NEITHER-USD"])
        await feed.equals_the_venue(levels=200)


async def test_a_slow_snapshot_of_many_megabytes_is_taken() -> None:
    async with running_venue(VENUE, SYMBOLS) as feed:
        await feed.until(feed.ready)
        await feed.fault(kind="huge", stream="level2:BTC-USD", size_bytes=12_000_000)
        await feed.connector.request_snapshot("BTC-USD")
        assert any(len(message.body) >= 12_000_000 for message in feed.sink.messages)
        assert feed.states("disconnected") == []
        await feed.until(feed.ready)
        await feed.equals_the_venue(levels=200)


async def test_many_products_are_spread_over_sockets_that_all_have_heartbeats() -> None:
    symbols = tuple(f"{base}-USD" for base in ("BTC", "ETH", "SOL", "XRP", "ADA"))
    async with running_venue(VENUE, symbols, symbols_per_connection=2, stable_after_s=0.0) as feed:
        await feed.until(feed.ready, seconds=20)
        await feed.until(lambda: len(beating(feed.sink.messages)) == 3)
        await feed.fault(kind="disconnect", connection=2)
        await feed.until(lambda: len(feed.states("disconnected")) == 1)
        await feed.until(feed.ready)
        await feed.equals_the_venue(levels=100)


def beating(messages: list[RawMessage]) -> set[int]:
    return {message.connection for message in messages if b'"channel":"heartbeats"' in message.body}


async def test_with_a_key_every_message_is_signed_and_the_books_are_the_same() -> None:
    key, _ = es256_key()

    class Vault:
        def api_key(self, venue: str) -> ApiKey | None:
            return key if venue == VENUE else None

    async with running_venue(VENUE, SYMBOLS, credentials=Vault()) as feed:
        await feed.until(feed.ready)
        await feed.equals_the_venue(levels=200)

"""The connector with Binance USD-M futures against the simulated venue on 127.0.0.1."""

import asyncio

import pytest

from tests.feeds.venue_feed import running_venue
from tidebook.errors import VenueError
from tidebook.feeds.sink import MessageKind

SYMBOLS = ("BTCUSDT", "ETHUSDT")
VENUE = "binance-usdm"


async def test_books_come_from_one_address_and_trades_from_the_other() -> None:
    async with running_venue(VENUE, SYMBOLS) as feed:
        await feed.until(feed.ready)
        for _ in range(3):
            await asyncio.sleep(0.3)
            await feed.equals_the_venue(levels=500)
        report = feed.decoder.report()
        assert (report["checks_failed"], report["gaps"]) == (0, 0)
        assert report["checks_passed"] > 50
        opened = {state["url"].rpartition("/")[2]: state["streams"] for state in feed.states("connected")}
        assert opened == {
            "public": ["btcusdt@bookTicker", "btcusdt@depth@100ms", "ethusdt@bookTicker", "ethusdt@depth@100ms"],
            "market": ["btcusdt@trade", "ethusdt@trade"],
        }
        frames = [message for message in feed.sink.messages if message.kind == MessageKind.WS]
        of_books = {message.connection for message in frames if b"@depth" in message.body}
        of_trades = {message.connection for message in frames if b"@trade" in message.body}
        snapshots = {m.connection for m in feed.sink.messages if m.context.startswith(b"/fapi/v1/depth?")}
        assert (len(of_books), len(of_trades), snapshots) == (1, 1, of_books)
        assert of_books.isdisjoint(of_trades)
        for ids in feed.trade_ids.values():
            assert ids == list(range(ids[0], ids[-1] + 1))


async def test_the_end_of_the_trades_connection_leaves_the_books_usable() -> None:
    async with running_venue(VENUE, SYMBOLS, stable_after_s=0.0) as feed:
        await feed.until(feed.ready)
        await feed.fault(kind="disconnect", stream="*@trade")
        await feed.until(lambda: len(feed.states("disconnected")) == 1)
        assert feed.usable()
        await feed.until(feed.ready)
        assert feed.snapshots() == 2
        await feed.fault(kind="disconnect", stream="*@depth*")
        await feed.until(lambda: len(feed.states("connected")) == 4 and feed.ready())
        # One that is older than the first difference behind it is asked for again.
        assert feed.snapshots() >= 4
        await feed.equals_the_venue(levels=500)


async def test_a_lost_diff_is_healed_by_a_snapshot_asked_for_by_the_engines_name() -> None:
    async with running_venue(VENUE, SYMBOLS) as feed:
        await feed.until(feed.ready)
        await feed.fault(kind="drop", stream="btcusdt@depth@100ms")
        await feed.until(lambda: feed.decoder.report()["gaps"] == 1)
        await feed.until(feed.ready)
        await feed.equals_the_venue(levels=500)
        count = feed.snapshots()
        await feed.connector.request_snapshot("ETHUSDT-PERP")
        assert feed.snapshots() == count + 1
        with pytest.raises(VenueError, match="DOGEUSDT"):
            await feed.connector.request_snapshot("DOGEUSDT-PERP")


async def test_symbols_are_added_to_both_connections_and_taken_from_both() -> None:
    async with running_venue(VENUE, SYMBOLS, subscribed=("BTCUSDT",)) as feed:
        await feed.until(lambda: len(feed.states("subscribed")) == 2)
        await feed.connector.subscribe(["ETHUSDT-PERP"])
        await feed.until(feed.ready)
        assert sorted(state["streams"][-1] for state in feed.states("subscribed")[2:]) == [
            "ethusdt@depth@100ms",
            "ethusdt@trade",
        ]
        await feed.equals_the_venue(levels=500)
        await feed.connector.unsubscribe(["BTCUSDT"])
        assert len(feed.states("unsubscribed")) == 2
        assert feed.connector.status().symbols == ("ETHUSDT",)

"""The connector with Coinbase Exchange against the simulated venue on 127.0.0.1."""

import asyncio
import json

from tests.feeds.test_protocols import EXCHANGE_KEY
from tests.feeds.venue_feed import running_venue
from tidebook.feeds.credentials import ApiKey
from tidebook.feeds.sink import MessageKind

SYMBOLS = ("BTC-USD", "ETH-USD")
VENUE = "coinbase"


class Vault:
    """Has a key for this venue."""

    def api_key(self, venue: str) -> ApiKey | None:
        return EXCHANGE_KEY if venue == VENUE else None


async def test_books_are_the_venues_own() -> None:
    async with running_venue(VENUE, SYMBOLS) as feed:
        await feed.until(feed.ready)
        for _ in range(3):
            await asyncio.sleep(0.3)
            await feed.equals_the_venue(levels=200)
        assert (feed.decoder.report()["checks_failed"], feed.wishes, feed.snapshots()) == (0, [], 2)
        for ids in feed.trade_ids.values():
            assert ids == list(range(ids[0], ids[-1] + 1))
        rest = [message for message in feed.sink.messages if message.kind == MessageKind.REST]
        assert [(message.connection, message.context) for message in rest] == [(0, b"/products")]
        assert {product["id"] for product in json.loads(rest[0].body)} == set(SYMBOLS)


async def test_a_new_snapshot_is_one_message_each_way() -> None:
    async with running_venue(VENUE, SYMBOLS) as feed:
        await feed.until(feed.ready)
        await asyncio.gather(*(feed.connector.request_snapshot(symbol) for symbol in SYMBOLS * 5))
        assert feed.snapshots() == 4
        answers = [message for message in feed.sink.messages if message.body.startswith(b'{"type":"subscriptions"')]
        assert len(answers) == 3
        await feed.equals_the_venue(levels=200)


async def test_with_a_key_level2_and_full_are_granted() -> None:
    streams = {"streams": ("level2", "full", "heartbeat")}
    async with running_venue(VENUE, SYMBOLS, settings=streams, credentials=Vault()) as feed:
        await feed.until(feed.ready)
        answer = next(message.body for message in feed.sink.messages if b'"type":"subscriptions"' in message.body)
        assert [channel["name"] for channel in json.loads(answer)["channels"]] == ["level2", "full", "heartbeat"]
        assert feed.states("refused") == []
        await feed.equals_the_venue(levels=200)


async def test_after_a_disconnect_the_books_are_the_venues_again() -> None:
    async with running_venue(VENUE, SYMBOLS, symbols_per_connection=1, stable_after_s=0.0) as feed:
        await feed.until(feed.ready)
        for number in range(1, 4):
            await feed.fault(kind="disconnect")
            await feed.until(lambda number=number: len(feed.states("disconnected")) == number)  # type: ignore[misc]
            await feed.until(feed.ready)
            await feed.equals_the_venue(levels=200)


async def test_a_stalled_connection_is_found_by_the_heartbeats_that_do_not_come() -> None:
    async with running_venue(VENUE, SYMBOLS, stalled_after_s=1.5) as feed:
        await feed.until(feed.ready)
        await feed.fault(kind="stall", seconds=20, connection=1)
        await feed.until(lambda: bool(feed.states("disconnected")))
        assert feed.states("disconnected")[0]["reason"].startswith("stalled: no frame for 1.")
        await feed.until(feed.ready)
        await feed.equals_the_venue(levels=200)


async def test_a_product_the_venue_does_not_have_costs_the_others_nothing() -> None:
    async with running_venue(VENUE, SYMBOLS, subscribed=("BTC-USD", "NO-USD", "ETH-USD")) as feed:
        await feed.until(feed.ready)
        assert feed.connector.status().refused == {"NO-USD": "Failed to subscribe: NO-USD is not a valid product"}
        await feed.equals_the_venue(levels=200)

"""A simulator, a connector against it, and a reference follower of what the connector wrote: what its tests stand on."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp

from tests.feeds.follower import Follower
from tidebook.feeds.connector import Connector
from tidebook.feeds.line import ConnectorOptions
from tidebook.feeds.protocol import Endpoints
from tidebook.feeds.sink import MemorySink, MessageKind
from tidebook.feeds.venues.binance import Binance
from tidebook.simulate import Simulator, VenueLimits, VenueOptions

SYMBOLS = ("BTCUSDT", "ETHUSDT")


class LiveFeed:
    """A simulator, a connector and what it wrote, followed as a node would."""

    def __init__(self, simulator: Simulator, connector: Connector, sink: MemorySink) -> None:
        self.simulator = simulator
        self.connector = connector
        self.sink = sink
        self.follower = Follower()
        self._followed = 0
        self._requests: set[asyncio.Task[None]] = set()

    def follow(self) -> Follower:
        """Reads what is new and asks for snapshots as the engine's status records would."""
        for message in self.sink.messages[self._followed :]:
            self.follower.feed(message)
        self._followed = len(self.sink.messages)
        for symbol in self.follower.wanted:
            task = asyncio.create_task(self.connector.request_snapshot(symbol))
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)
        self.follower.wanted.clear()
        return self.follower

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> float:
        """Follows until the condition holds; returns the seconds it took."""
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            while True:
                self.follow()
                if condition():
                    return time.monotonic() - began
                await asyncio.sleep(0.005)

    def states(self, event: str) -> list[dict[str, Any]]:
        states = [json.loads(message.body) for message in self.sink.messages if message.kind == MessageKind.STATE]
        return [state for state in states if state["event"] == event]

    def books_good(self) -> bool:
        return all(self.follower.book(symbol).update_id is not None for symbol in SYMBOLS)

    async def fault(self, **fault: Any) -> None:
        async with (
            aiohttp.ClientSession(self.simulator.rest_url) as client,
            client.post("/sim/faults", json=fault) as answer,
        ):
            assert answer.status == 200, await answer.text()

    async def equals_the_venue(self, tls: ssl.SSLContext | None = None) -> None:
        """Pauses the venue and compares every book with the venue's own, as far as the snapshot reached."""
        connector = aiohttp.TCPConnector(ssl=tls or True)
        async with aiohttp.ClientSession(self.simulator.rest_url, connector=connector) as client:
            async with client.post("/sim/pause") as answer:
                ids = (await answer.json())["update_ids"]
            await self.until(lambda: all(self.follower.book(symbol).update_id == ids[symbol] for symbol in SYMBOLS))
            for symbol in SYMBOLS:
                async with client.get(f"/sim/book?symbol={symbol}") as answer:
                    truth = await answer.json()
                # Levels beyond the snapshot's 1,000 are unknown until they change; 500 stay inside it.
                assert self.follower.book(symbol).levels(500) == (truth["bids"][:500], truth["asks"][:500])
            async with client.post("/sim/resume"):
                pass


@asynccontextmanager
async def running(
    venue: VenueOptions | None = None,
    limits: VenueLimits | None = None,
    venue_tls: ssl.SSLContext | None = None,
    **options: Any,
) -> AsyncIterator[LiveFeed]:
    """A connector at work; it must end without an error of its own."""
    venue = venue or VenueOptions(rate=1_000, seed=21)
    async with Simulator(venue, limits=limits, tls=venue_tls) as simulator:
        protocol = Binance(Endpoints(simulator.ws_url, simulator.rest_url))
        settings = ConnectorOptions(seed=1, **{"symbols": SYMBOLS, **options})
        sink = MemorySink()
        connector = Connector(protocol, settings, sink)
        job = asyncio.create_task(connector.run())
        try:
            yield LiveFeed(simulator, connector, sink)
        finally:
            job.cancel()
            with suppress(asyncio.CancelledError):
                await job

"""A simulated venue of any kind, its connector, and the engine over what the connector wrote."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tidebook._core import FeedDecoder, Payloads, instrument_name, pack_message, parse_units
from tidebook.config.settings import Settings
from tidebook.feeds.connector import Connector
from tidebook.feeds.credentials import Credentials, NoCredentials
from tidebook.feeds.registry import build_connector, feed_kind
from tidebook.feeds.sink import MemorySink, MessageKind, RawMessage
from tidebook.simulate import Simulator, VenueLimits, VenueOptions

ACTION_CLEAR = 2
BUY = 1
BOOK_UNUSABLE, BOOK_USABLE, SNAPSHOT_WANTED = 2, 3, 4


@dataclass
class EngineBook:
    """A book kept from the engine's depth records."""

    usable: bool = False
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    exponents: tuple[int, int] = (0, 0)
    sequence: int = 0

    def apply(self, record: Any) -> None:
        if record["action"] == ACTION_CLEAR:
            self.bids.clear()
            self.asks.clear()
        else:
            side = self.bids if record["side"] == BUY else self.asks
            if record["size"]:
                side[int(record["price"])] = int(record["size"])
            else:
                side.pop(int(record["price"]), None)
        self.exponents = int(record["price_exp"]), int(record["size_exp"])
        self.sequence = int(record["venue_sequence"])

    def levels(self, count: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        return sorted(self.bids.items(), reverse=True)[:count], sorted(self.asks.items())[:count]


class VenueFeed:
    """What a node would have: the connector's messages, decoded as they come, wishes for snapshots passed on."""

    def __init__(self, simulator: Simulator, connector: Connector, sink: MemorySink, symbols: tuple[str, ...]) -> None:
        venue = connector.protocol.venue
        self.simulator = simulator
        self.connector = connector
        self.sink = sink
        self.decoder = FeedDecoder(venue)
        self.books = {symbol: EngineBook() for symbol in symbols}
        self.wishes: list[str] = []
        self.trade_ids: dict[str, list[int]] = {symbol: [] for symbol in symbols}
        self._names = {instrument_name(venue, symbol): symbol for symbol in symbols}
        self._symbols: dict[int, str] = {}
        self._taken = 0
        self._requests: set[asyncio.Task[None]] = set()

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while True:
                self.read()
                if condition():
                    return
                await asyncio.sleep(0.005)

    def read(self) -> None:
        """Decodes what is new, one message at a time: status and depth of one message keep their order."""
        for message in self.sink.messages[self._taken :]:
            self._taken += 1
            self._take(self._taken, message)

    def _take(self, sequence: int, message: RawMessage) -> None:
        payload = pack_message(message.ts_recv_ns, message.connection, message.kind, message.body, message.context)
        records = self.decoder.decode(sequence, Payloads([payload]))
        for record in records["instruments"]:
            name = bytes(record["symbol"]).rstrip(b"\0").decode()
            self._symbols[int(record["instrument_id"])] = self._names.get(name, name)
        for record in records["trades"]:
            self.trade_ids[self._symbols[int(record["instrument_id"])]].append(int(record["trade_id"]))
        merged = [*records["status"], *records["depth"]]
        for record in sorted(merged, key=lambda one: int(one["source_index"])):
            symbol = self._symbols.get(int(record["instrument_id"]), "")
            if "action" in record.dtype.names:
                self.books[symbol].apply(record)
            elif record["kind"] in (BOOK_USABLE, BOOK_UNUSABLE):
                self.books[symbol].usable = record["kind"] == BOOK_USABLE
            elif record["kind"] == SNAPSHOT_WANTED:
                self.wishes.append(symbol)
                task = asyncio.create_task(self.connector.request_snapshot(symbol))
                self._requests.add(task)
                task.add_done_callback(self._requests.discard)

    def usable(self) -> bool:
        return all(book.usable for book in self.books.values())

    def ready(self) -> bool:
        """Everything is subscribed and every book usable."""
        return self.usable() and all(line.subscribed for line in self.connector.status().lines)

    def states(self, event: str) -> list[dict[str, Any]]:
        states = [json.loads(message.body) for message in self.sink.messages if message.kind == MessageKind.STATE]
        return [state for state in states if state["event"] == event]

    def snapshots(self) -> int:
        return self.connector.status().snapshot_count

    async def fault(self, **fault: Any) -> None:
        async with (
            aiohttp.ClientSession(self.simulator.rest_url) as client,
            client.post("/sim/faults", json=fault) as answer,
        ):
            assert answer.status == 200, await answer.text()

    async def equals_the_venue(self, levels: int) -> None:
        """Pauses the venue and compares the best levels of every book with the venue's own."""
        async with aiohttp.ClientSession(self.simulator.rest_url) as client:
            async with client.post("/sim/pause"):
                pass
            expected = {}
            for symbol in self.books:
                async with client.get("/sim/book", params={"symbol": symbol, "levels": levels}) as answer:
                    expected[symbol] = json.loads(await answer.text(), parse_float=str)
            with suppress(TimeoutError):  # what differs is told below
                await self.until(
                    lambda: all(self._levels_of(symbol, truth, levels)[0] for symbol, truth in expected.items()), 3
                )
            for symbol, truth in expected.items():
                equal, ours, theirs = self._levels_of(symbol, truth, levels)
                assert equal, f"{symbol}: {ours[0][:3]} / {ours[1][:3]} is not {theirs[0][:3]} / {theirs[1][:3]}"
            async with client.post("/sim/resume"):
                pass

    def _levels_of(self, symbol: str, truth: dict[str, Any], levels: int) -> tuple[bool, Any, Any]:
        book = self.books[symbol]
        price_exp, size_exp = book.exponents
        theirs = tuple(
            [(parse_units(str(price), price_exp), parse_units(str(size), size_exp)) for price, size in truth[side]]
            for side in ("bids", "asks")
        )
        ours = book.levels(levels)
        return book.usable and ours == theirs, ours, theirs


@asynccontextmanager
async def running_venue(
    venue: str,
    symbols: tuple[str, ...],
    *,
    rate: float = 500.0,
    seed: int = 21,
    limits: VenueLimits | None = None,
    subscribed: tuple[str, ...] | None = None,
    settings: dict[str, Any] | None = None,
    credentials: Credentials | None = None,
    **options: Any,
) -> AsyncIterator[VenueFeed]:
    """A connector at work on a simulated venue that trades `symbols`; it must end without an error of its own."""
    kind = feed_kind(venue)
    section = kind.settings(Settings()).model_copy(update=settings or {})
    async with Simulator(VenueOptions(venue=venue, symbols=symbols, rate=rate, seed=seed), limits=limits) as simulator:
        sink = MemorySink()
        connector = build_connector(
            venue,
            section,
            sink,
            endpoints=kind.protocol.local(simulator.port),
            symbols=subscribed or symbols,
            credentials=credentials or NoCredentials(),
            seed=1,
            **options,
        )
        job = asyncio.create_task(connector.run())
        try:
            yield VenueFeed(simulator, connector, sink, symbols)
        finally:
            job.cancel()
            with suppress(asyncio.CancelledError):
                await job

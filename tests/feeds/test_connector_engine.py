"""What the connector writes, read by the market-data engine: its books and trades are the simulated venue's own.

Method: the engine decodes every raw message as it comes, its `snapshot_wanted` records reach the connector as they do
in a node, and after each depth message of a usable book the best 25 levels a side are compared with the venue's
checkpoint of the same update id.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import aiohttp
import pytest

from tests.feeds.live import SYMBOLS, LiveFeed, running
from tidebook._core import FeedDecoder, Payloads, pack_message, parse_units
from tidebook.feeds.sink import MessageKind, RawMessage

# Numbers of `crates/types/src/records.rs` and `crates/feed/src/status.rs`.
FLAG_LAST = 128
ACTION_CLEAR = 2
BUY = 1
GAP, BOOK_UNUSABLE, BOOK_USABLE, SNAPSHOT_WANTED, MALFORMED = 1, 2, 3, 4, 12

LEVELS = 25
Levels = list[tuple[int, int]]


@dataclass
class EngineBook:
    """A book kept from the engine's depth records, and its image at each update id while it was usable."""

    usable: bool = False
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    images: dict[int, tuple[Levels, Levels]] = field(default_factory=dict)
    exponents: tuple[int, int] = (0, 0)

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
        if record["flags"] & FLAG_LAST and self.usable:
            bids = sorted(self.bids.items(), reverse=True)[:LEVELS]
            self.images[int(record["venue_sequence"])] = bids, sorted(self.asks.items())[:LEVELS]


class Engine:
    """The market-data engine over the messages of a live feed."""

    def __init__(self, live: LiveFeed) -> None:
        self.live = live
        self.decoder = FeedDecoder("binance")
        self.symbols: dict[int, str] = {}
        self.books = {symbol: EngineBook() for symbol in SYMBOLS}
        self.trades: dict[str, list[tuple[int, int, int]]] = {symbol: [] for symbol in SYMBOLS}
        self.statuses: list[tuple[int, str]] = []
        self._taken = 0
        self._requests: set[asyncio.Task[None]] = set()

    async def until(self, condition: Any, seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self.read()
                await asyncio.sleep(0.005)

    def read(self) -> None:
        """Decodes what is new, one message at a time: status and depth of one message keep their order."""
        for message in self.live.sink.messages[self._taken :]:
            self._taken += 1
            self._take(self._taken, message)

    def _take(self, sequence: int, message: RawMessage) -> None:
        payload = pack_message(message.ts_recv_ns, message.connection, message.kind, message.body, message.context)
        records = self.decoder.decode(sequence, Payloads([payload]))
        for record in records["instruments"]:
            name = bytes(record["symbol"]).rstrip(b"\0").decode()
            self.symbols[int(record["instrument_id"])] = name.removesuffix(".BINANCE")
        for record in records["trades"]:
            trade = int(record["trade_id"]), int(record["price"]), int(record["size"])
            self.trades[self.symbols[int(record["instrument_id"])]].append(trade)
        merged = [*records["status"], *records["depth"]]
        for record in sorted(merged, key=lambda one: int(one["source_index"])):
            symbol = self.symbols.get(int(record["instrument_id"]), "")
            if "action" in record.dtype.names:
                self.books[symbol].apply(record)
            else:
                self._on_status(int(record["kind"]), symbol)

    def _on_status(self, kind: int, symbol: str) -> None:
        self.statuses.append((kind, symbol))
        if kind in (BOOK_USABLE, BOOK_UNUSABLE):
            self.books[symbol].usable = kind == BOOK_USABLE
        elif kind == SNAPSHOT_WANTED:
            task = asyncio.create_task(self.live.connector.request_snapshot(symbol))
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)

    def usable(self) -> bool:
        return all(book.usable for book in self.books.values())

    def count(self, kind: int) -> int:
        return sum(seen == kind for seen, _ in self.statuses)

    async def equals_the_venue(self, images_min: int) -> None:
        """Compares every image with the venue's checkpoint of its update id, and the trades one by one."""
        async with aiohttp.ClientSession(self.live.simulator.rest_url) as client:
            async with client.post("/sim/pause") as answer:
                newest = (await answer.json())["update_ids"]
            await self.until(lambda: all(newest[symbol] in book.images for symbol, book in self.books.items()))
            for symbol, book in self.books.items():
                async with client.get(f"/sim/checkpoints?symbol={symbol}") as answer:
                    truth = {one["lastUpdateId"]: one for one in await answer.json()}
                compared = 0
                for update_id in book.images.keys() & truth.keys():
                    checkpoint = truth[update_id]
                    expected = tuple(units(checkpoint[side], book.exponents) for side in ("bids", "asks"))
                    assert book.images[update_id] == expected, f"{symbol} at {update_id}"
                    compared += 1
                assert compared >= images_min
                await self._trades_equal(client, symbol, book.exponents)
            async with client.post("/sim/resume"):
                pass

    async def _trades_equal(self, client: aiohttp.ClientSession, symbol: str, exponents: tuple[int, int]) -> None:
        trades = self.trades[symbol]
        ids = [trade_id for trade_id, _, _ in trades]
        assert ids == sorted(set(ids))
        span = ids[-1] - ids[0] + 1
        async with client.get(f"/sim/trades?symbol={symbol}&from={ids[0]}&limit={span}") as answer:
            truth = {one["t"]: one for one in await answer.json()}
        price_exp, size_exp = exponents
        for trade_id, price, size in trades:
            one = truth[trade_id]
            assert (price, size) == (parse_units(one["p"], price_exp), parse_units(one["q"], size_exp))


def units(levels: list[list[str]], exponents: tuple[int, int]) -> Levels:
    price_exp, size_exp = exponents
    return [(parse_units(price, price_exp), parse_units(size, size_exp)) for price, size in levels]


async def test_the_engines_books_and_trades_are_the_venues_at_every_checkpoint() -> None:
    async with running() as live:
        engine = Engine(live)
        await engine.until(engine.usable)
        await asyncio.sleep(2.0)
        await engine.equals_the_venue(images_min=15)
        report = engine.decoder.report()
        assert report["checks_failed"] == 0
        assert report["checks_passed"] > 50
        assert report["gaps"] == 0
        assert report["quarantined"] == []


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_after_drops_malformed_frames_and_disconnects_the_books_are_the_venues_again(seed: int) -> None:
    """Method: seeded faults in random order; no image of a book called usable may differ, and all end usable."""
    choose = random.Random(seed)
    async with running(stable_after_s=0.1) as live:
        engine = Engine(live)
        await engine.until(engine.usable)
        for kind in choose.sample(["drop", "malformed", "disconnect"] * 3, 9):
            stream = f"{choose.choice(SYMBOLS).lower()}@depth@100ms"
            await live.fault(kind=kind, stream=stream)
            await engine.until(lambda: not live.simulator.faults.pending)
            await asyncio.sleep(choose.uniform(0.0, 0.3))
            engine.read()
        await asyncio.sleep(0.3)
        await engine.until(engine.usable)
        await engine.equals_the_venue(images_min=5)
        assert engine.count(GAP) >= 3
        failed = {oracle["name"]: oracle["failed"] for oracle in engine.decoder.report()["oracles"]}
        assert failed["binance.book_ticker"] == 0
        assert live.connector.status().session_count == 4


async def test_a_good_book_within_a_second_of_a_disconnect() -> None:
    """Method: median of three, so that one interruption by the machine does not decide."""
    took = []
    async with running(stable_after_s=0.0) as live:
        engine = Engine(live)
        await engine.until(engine.usable)
        for _ in range(3):
            await live.fault(kind="disconnect")
            await engine.until(lambda: not engine.usable())
            began = time.monotonic()
            await engine.until(engine.usable)
            took.append(time.monotonic() - began)
    assert median(took) < 1.0


async def test_malformed_frames_are_set_aside_and_counted() -> None:
    async with running() as live:
        engine = Engine(live)
        await engine.until(engine.usable)
        await live.fault(kind="malformed", count=4, stream="*@trade")
        await engine.until(lambda: engine.count(MALFORMED) == 4)
        quarantined = engine.decoder.report()["quarantined"]
        bodies = [live.sink.messages[frame["sequence"] - 1] for frame in quarantined]
        assert len(bodies) == 4
        assert all(message.kind == MessageKind.WS for message in bodies)
        assert engine.usable()

"""From the loss of a connection to good books again, on loopback, for every venue.

The simulated venue resets the connection that carries the books. Time runs from the receive time of the message that says
so to that of the message which made the last book usable: backoff, connecting, subscribing, snapshot and what is kept
for it. Both times are the engine's own, from `md.status`. Venue, connector and engine share one process.
"""

import asyncio
import contextlib
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import aiohttp

from benches.harness import Bench, Sample, at_most
from tidebook._core import FeedChannel, MarketDataEngine
from tidebook.config.settings import Settings
from tidebook.feeds.connector import Connector
from tidebook.feeds.registry import FEEDS, build_connector, feed_kind
from tidebook.node.snapshots import SnapshotRequests
from tidebook.simulate import Simulator, VenueOptions
from tidebook.transport import Consumer, Gap, open_consumer

RATE = 1_000.0
BOOK_UNUSABLE, BOOK_USABLE = 2, 3
TIMEOUT_S = 30.0
# Where trades have a connection of their own.
BOOK_STREAMS = {"binance-usdm": "*@depth*"}


class Books:
    """Which books of `md.status` are usable, and when the last change of that was received."""

    def __init__(self, rings: Path) -> None:
        self._status: Consumer = open_consumer("md.status", directory=rings, start="latest", policy="overwrite")
        self.usable: dict[int, bool] = {}
        self.lost_ns = 0
        """When the first book of this time became unusable; 0 = none did."""
        self.good_ns = 0
        """When the last book became usable."""

    def close(self) -> None:
        self._status.close()

    def begin(self) -> None:
        self.lost_ns = self.good_ns = 0

    def read(self) -> None:
        while (batch := self._status.poll_batch(4_096)) is not None:
            if isinstance(batch, Gap):
                raise RuntimeError("md.status was overwritten before it was read")
            with batch:
                for row in batch.array:
                    self._take(int(row["instrument_id"]), int(row["kind"]), int(row["ts_recv"]))

    def _take(self, instrument_id: int, kind: int, ts_recv: int) -> None:
        if kind == BOOK_UNUSABLE:
            self.usable[instrument_id] = False
            self.lost_ns = self.lost_ns or ts_recv
        elif kind == BOOK_USABLE:
            self.usable[instrument_id] = True
            self.good_ns = ts_recv

    async def until_good(self, count: int, *, after_loss: bool) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                self.read()
                if (self.lost_ns or not after_loss) and sum(self.usable.values()) == count:
                    return
                await asyncio.sleep(0.002)


async def reconnects(venue: str, count: int) -> list[float]:
    """Seconds from loss to good books, of each disconnect."""
    kind = feed_kind(venue)
    folder = Path(tempfile.mkdtemp(prefix="tidebook-bench-", dir="/var/tmp"))
    journal = folder / f"journal/feed.{venue}"
    try:
        with contextlib.ExitStack() as stack:
            (folder / "rings").mkdir(mode=0o700)
            feed = FeedChannel(f"feed.{venue}", folder / "rings", journal)
            stack.callback(feed.close)
            engine = MarketDataEngine({venue: journal}, folder / "rings")
            stack.callback(engine.stop)
            books = Books(folder / "rings")
            stack.callback(books.close)
            options = VenueOptions(venue=venue, symbols=kind.default_symbols, rate=RATE, seed=3)
            async with Simulator(options) as simulator:
                # A session counts as stable at once: each loss is met as the first one is, not as one of a series.
                connector = build_connector(
                    venue,
                    kind.settings(Settings()),
                    feed,
                    endpoints=kind.protocol.local(simulator.port),
                    symbols=kind.default_symbols,
                    stable_after_s=0.0,
                    seed=1,
                )
                jobs = [
                    asyncio.create_task(connector.run()),
                    asyncio.create_task(SnapshotRequests(folder / "rings", {venue: connector}).run()),
                ]
                try:
                    return await losses(simulator, connector, books, count)
                finally:
                    for job in jobs:
                        job.cancel()
                    await asyncio.gather(*jobs, return_exceptions=True)
    finally:
        shutil.rmtree(folder)


async def losses(simulator: Simulator, connector: Connector, books: Books, count: int) -> list[float]:
    """Disconnects one after the other, each once the books have been good for a while."""
    symbols = len(connector.status().symbols)
    spacing_s = connector.protocol.limits.connect_spacing_s
    await books.until_good(symbols, after_loss=False)
    took = []
    async with aiohttp.ClientSession(simulator.rest_url) as client:
        for _ in range(count):
            # Neither the venue's limit on connecting nor a connection lost while it is still being made is what is measured.
            await until_subscribed(connector)
            await asyncio.sleep(max(0.2, spacing_s))
            books.read()
            books.begin()
            await disconnect(client, BOOK_STREAMS.get(connector.protocol.venue, "*"))
            await books.until_good(symbols, after_loss=True)
            took.append((books.good_ns - books.lost_ns) / 1e9)
    return took


async def until_subscribed(connector: Connector) -> None:
    """Books are good before everything else is subscribed."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            if all(line.subscribed for line in connector.status().lines):
                return
            await asyncio.sleep(0.002)


async def disconnect(client: aiohttp.ClientSession, stream: str) -> None:
    async with client.post("/sim/faults", json={"kind": "disconnect", "stream": stream}) as answer:
        if answer.status != 200:
            raise RuntimeError(await answer.text())


def reconnecting(bench: Bench) -> None:
    """The figures of this file, for the area `feeds`."""
    count = bench.size(12, 1)
    for venue in FEEDS:
        began = time.monotonic()
        took = asyncio.run(reconnects(venue, count))
        note = f"{count} disconnects, two books, {RATE:,.0f} messages/s, {time.monotonic() - began:.0f} s in all"
        bench.figure(
            f"{venue}, from a lost connection to good books",
            Sample.of(took, "s").in_unit("ms"),
            goals=[at_most(1_000)],
            note=f"median; {note}",
        )
        bench.figure(
            f"{venue}, the same, longest",
            Sample(max(took), 0.0, "s").in_unit("ms"),
            goals=[at_most(1_000)],
            note=f"all: {', '.join(f'{1e3 * one:.0f}' for one in sorted(took))} ms; median {1e3 * median(took):.0f} ms",
        )

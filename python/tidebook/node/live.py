"""A live node in one process: connector, capture, engine, storage, API and page.

    venue ──► connector ──► feed.<venue> (ring + journal) ──► engine ──► md.* ──► API, page, other processes
                                    └──► journal ──► storage

The connector and the API share the event loop; capture, engine and storage have threads of their own. Started and
stopped in the order of that picture, so that what was received is journaled and what is durable is stored.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tidebook._core import FeedChannel, MarketDataEngine, ring_directory
from tidebook.api import ApiOptions, MarketView, create_app, listen, serving
from tidebook.config.settings import BinanceSettings
from tidebook.console import mount_console
from tidebook.errors import CaptureLogError, TidebookError
from tidebook.feeds.capture_log import CaptureLog
from tidebook.feeds.registry import build_connector, feed_kind
from tidebook.feeds.subscriptions import SubscriptionsFile
from tidebook.node.directory import channel_of, journal_directory
from tidebook.node.rings import RingSource
from tidebook.node.simulator import simulated_binance
from tidebook.node.snapshots import SnapshotRequests
from tidebook.node.storing import Storing, stored_position
from tidebook.observe.logs import logger
from tidebook.storage.follower import FollowerOptions
from tidebook.storage.part import PartOptions
from tidebook.storage.writer import WriterOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tidebook.storage.part import Compression

log = logger("node.live")

DEFAULT_SYMBOLS = ("BTCUSDT", "ETHUSDT")
_WATCH_INTERVAL_S = 0.25
# A Python thread at work (storage) may keep the event loop from the GIL for one interval per message. Beside a busy thread
# a frame waited 3.1 ms at the median with Python's 5 ms and 0.6 ms with this; below it the switching itself costs.
_SWITCH_INTERVAL_S = 0.0005


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """What a node runs."""

    data: Path
    node: str = "default"
    """Names the directory of its rings, by which other processes find them."""
    symbols: tuple[str, ...] = ()
    """None named resumes those of the node that ran on `data` before, else takes `DEFAULT_SYMBOLS`."""
    binance: BinanceSettings = field(default_factory=BinanceSettings)
    live: bool = False
    """The real exchange instead of the simulated venue."""
    rate: float = 500.0
    """Mean messages a second of the simulated venue."""
    seed: int = 7
    host: str = "127.0.0.1"
    port: int = 8080
    allow_remote: bool = False
    """Listen on an address that other machines can reach."""
    flush_interval_s: float = 300.0
    compression: Compression = "zstd"
    sync_interval_ms: int = 10


async def run(options: LiveOptions, started: Callable[[str], None]) -> dict[str, int]:
    """Runs until SIGINT or SIGTERM, then stops cleanly; gives the last message of each channel that is stored.

    `started` gets the address of the page when it answers.

    Raises: AddressError before anything is started; what ended the connector, the engine or the capture.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    async with AsyncExitStack() as stack:
        sock = listen(options.host, options.port, allow_remote=options.allow_remote)
        stack.callback(sock.close)
        venue = "binance"
        channel = channel_of(venue)
        journal = journal_directory(options.data, channel)
        rings = ring_directory(options.node)
        rings.mkdir(mode=0o700, parents=True, exist_ok=True)

        _refuse_unfinished(journal)
        feed = FeedChannel(
            channel,
            rings,
            journal,
            sync_interval_ms=options.sync_interval_ms,
            evidence=stored_position(options.data, channel),
        )
        storing = Storing(
            options.data,
            venue,
            journal,
            channel,
            FollowerOptions(flush_interval_s=options.flush_interval_s),
            WriterOptions(part=PartOptions(compression=options.compression)),
        )
        stack.callback(storing.stop)
        stack.callback(feed.close)
        engine = MarketDataEngine({venue: journal}, rings)
        stack.callback(engine.stop)
        if engine.made_anew is not None:
            log.warning("md.* made anew", reason=engine.made_anew)
        storing.start()
        log.info("channels open", capture=feed.recovery["text"], rings=str(rings), journal=str(journal))

        view = MarketView([venue])
        source = RingSource(rings)
        stack.callback(source.close)
        app = create_app(view, source, ApiOptions(loopback_only=not options.allow_remote))
        mount_console(app)
        server = await stack.enter_async_context(serving(app, sock))

        jobs: list[asyncio.Task[object]] = []
        state_file = options.data / "feeds" / f"{venue}.json"
        symbols = options.symbols or SubscriptionsFile(state_file).load().symbols or DEFAULT_SYMBOLS
        endpoints = None
        if not options.live:
            venue_process = await stack.enter_async_context(simulated_binance(symbols, options.rate, options.seed))
            endpoints = feed_kind(venue).protocol.local(venue_process.port)
            jobs.append(asyncio.create_task(venue_process.ended(), name="simulated venue"))
        connector = build_connector(
            venue, options.binance, feed, endpoints=endpoints, symbols=symbols, state_file=state_file
        )
        jobs += [
            asyncio.create_task(connector.run(), name="connector"),
            asyncio.create_task(SnapshotRequests(rings, connector).run(), name="snapshot requests"),
            asyncio.create_task(_watch(feed, engine, storing), name="watch"),
            asyncio.create_task(stop.wait(), name="signal"),
        ]
        host, bound = sock.getsockname()[:2]
        started(f"http://{host}:{bound}")
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for job in done:
                job.result()
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            server.should_exit = True
    return {channel: stored_position(options.data, channel)}


def _refuse_unfinished(journal: Path) -> None:
    """Raises: CaptureLogError when live messages would come between those of a recording."""
    recording = CaptureLog(journal).unfinished
    if recording is not None:
        raise CaptureLogError(
            f"{journal}: the replay of {recording.name} was interrupted; finish it first (tidebook replay with the same "
            "--data), or run on another data directory"
        )


async def _watch(feed: FeedChannel, engine: MarketDataEngine, storing: Storing) -> None:
    """Ends with the failure of a thread: a node without capture or engine is none. Storing may fail alone."""
    told = False
    while True:
        for part, failure in (("capture", feed.guarantee()["failure"]), ("engine", engine.status()["failure"])):
            if failure is not None:
                raise TidebookError(f"the {part} stopped: {failure}")
        if storing.failure is not None and not told:
            told = True
            log.error("market data goes on but is not stored; it stays in the journal until the node is restarted")
        await asyncio.sleep(_WATCH_INTERVAL_S)

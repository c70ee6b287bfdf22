"""A live node: connectors, capture, engine, storage, API and page.

    venue ──► connector ──► feed.<venue> (ring + journal) ──► engine ──► md.* ──► API, page, other processes
                                    └──► journal ──► storage
    the node's own venue ──► orders (ring + journal) ──► engine

Connectors and the API share the event loop; captures, engine and storage have threads of their own. The engines, that of market data,
the venue's and those that follow, may each be a process that the node keeps running instead (`[topology]`). Started and stopped in the
order of that picture, so that what was received is journaled and what is durable is stored.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Protocol

import msgspec

from tidebook._core import ring_directory
from tidebook.analytics import AnalyticsEngine
from tidebook.analytics.process import AnalyticsProcess
from tidebook.api import ApiOptions, ChannelGuarantee, MarketView, OrderEntry, create_app, listen, serving
from tidebook.api.windows import Windows
from tidebook.config.settings import AnalyticsSettings, EngineSettings, TopologySettings
from tidebook.console import mount_console
from tidebook.errors import OperationError, TidebookError
from tidebook.feeds.registry import FEEDS, feed_kind
from tidebook.node.changes import Changes, owned, subscribed
from tidebook.node.directory import snapshots_directory
from tidebook.node.engines import engine_states
from tidebook.node.feed_snapshots import SnapshotOptions
from tidebook.node.hosted_venue import CHANNEL as VENUE_CHANNEL
from tidebook.node.hosted_venue import FEED as VENUE_FEED
from tidebook.node.hosted_venue import HostedVenue, VenuePlan
from tidebook.node.maintenance import SNAPSHOTS_NEEDED, KeptJournal, Maintenance, MaintenanceOptions
from tidebook.node.market_data_process import MarketData, MarketDataPlan, MarketDataProcess, engine_of
from tidebook.node.memory import give_back_large_blocks
from tidebook.node.metrics import analytics_metrics, maintenance_metrics, node_metrics, venue_metrics
from tidebook.node.presence import claimed
from tidebook.node.recovery import Recovery, RecoveryInterruptedError
from tidebook.node.rings import RingSource, WindowSource
from tidebook.node.simulator import VenueProcess, simulated
from tidebook.node.snapshot_files import usable_snapshots
from tidebook.node.snapshots import SnapshotRequests
from tidebook.node.stored_history import StoredHistory
from tidebook.node.venue_feed import FeedOptions, FeedPlan, VenueFeed
from tidebook.node.venue_keeping import KEPT_FOREVER, OrdersKeeping, OrdersPlan
from tidebook.observe.logs import logger
from tidebook.storage.follower import FollowerOptions
from tidebook.storage.part import PartOptions
from tidebook.storage.writer import WriterOptions
from tidebook.transport.channel import make_private
from tidebook.transport.metrics import ChannelCollector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tidebook.config.settings import VenueSettings
    from tidebook.node.recovery import Progress
    from tidebook.storage.part import Compression

log = logger("node.live")

DEFAULT_VENUES = ("binance", "coinbase", "kraken")
_WATCH_INTERVAL_S = 0.25
_FOLLOWING = "orders"
_AHEAD_S = 1.0
"""By so much the venue's time may be ahead of the machine's clock before that is told."""
# Whoever has just started a node wants to see rows; the setting decides once it has run for some minutes.
_FLUSH_FIRST_S = 2.0
# A Python thread at work (storage) may keep the event loop from the GIL for one interval per message. Beside a busy thread
# a frame waited 3.1 ms at the median with Python's 5 ms and 0.6 ms with this; below it the switching itself costs.
_SWITCH_INTERVAL_S = 0.0005


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """What a node runs."""

    data: Path
    feeds: tuple[FeedPlan, ...]
    """One a venue."""
    node: str = "default"
    """Names the directory of its rings, by which other processes find them."""
    live: bool = False
    """The real exchanges instead of simulated venues."""
    rate: float = 500.0
    """Mean messages a second of each simulated venue."""
    seed: int = 7
    host: str = "127.0.0.1"
    port: int = 8080
    allow_remote: bool = False
    """Listen on an address that other machines can reach."""
    flush_interval_s: float = 300.0
    compression: Compression = "zstd"
    snapshots: SnapshotOptions = field(default_factory=SnapshotOptions)
    engine: EngineSettings = field(default_factory=EngineSettings)
    sync_interval_ms: int = 10
    maintenance: MaintenanceOptions = field(default_factory=MaintenanceOptions)
    venue: VenueSettings | None = None
    """Of the node's own venue; None: it has none."""
    audit_url: str | None = None
    """Where the venue's audit trail is kept, as in `[audit] url`; None: nowhere."""
    analytics: AnalyticsSettings = field(default_factory=AnalyticsSettings)
    topology: TopologySettings = field(default_factory=TopologySettings)
    verify: bool = True
    """Read every batch of the journals before anything is added to them."""


def venues_of(data: Path) -> tuple[str, ...]:
    """Venues that the node before had on this data directory, those that are left without symbols too; else the default."""
    return tuple(subscribed(data, tuple(FEEDS))) or DEFAULT_VENUES


class Screen(Protocol):
    """Who is told how a node comes up."""

    def recovering(self, recovery: Recovery) -> AbstractContextManager[Progress]:
        """Around the recovery, of which each step is told, from several threads."""

    def recovered(self, recovery: Recovery) -> None:
        """All channels were looked at; one or more may have been refused."""

    def started(self, address: str, simulated: dict[str, str]) -> None:
        """The page answers at `address`, and the simulated venues at theirs."""


async def run(options: LiveOptions, screen: Screen) -> dict[str, int]:
    """Runs until SIGINT or SIGTERM, then stops cleanly; gives the last message of each channel that is stored.

    Raises: ConfigError, AddressError, and DirectoryBusyError where another process owns the data directory, before anything
            is started; JournalDamagedError and the like for what cannot be recovered; what ended a connector, a simulated
            venue, the engine or a capture.
    """
    for plan in options.feeds:
        plan.check()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    give_back_large_blocks()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    async with AsyncExitStack() as stack:
        sock = listen(options.host, options.port, allow_remote=options.allow_remote)
        stack.callback(sock.close)
        claim = stack.enter_context(claimed(options.data, options.node))
        stack.enter_context(owned(options.data))
        rings = ring_directory(options.node)
        make_private(rings)

        for plan in options.feeds:
            if given_up := plan.given_up(options.data):
                log.warning(
                    "the symbols named replace those of the last run; without --symbols and the setting it goes on with them",
                    venue=plan.venue,
                    given_up=list(given_up),
                )
        try:
            feeds, venue = await _open(options, rings, stack, screen, stop)
        except RecoveryInterruptedError:
            return {}
        engine = _engine(feeds, venue, rings, options)
        stack.callback(engine.stop)
        if engine.made_anew is not None:
            log.warning("md.* made anew", reason=engine.made_anew)
        analytics = _analytics(venue, rings, options)
        if analytics is not None:
            stack.callback(analytics.stop)
            analytics.start()
        for feed in feeds:
            feed.storing.start()
            log.info("channel open", channel=feed.channel, rings=str(rings))
        maintenance = Maintenance(
            options.data,
            [
                *(_kept(options.data, feed, engine) for feed in feeds),
                *([] if venue is None else [_kept_orders(venue, engine, rings, options)]),
            ],
            options.maintenance,
        )
        stack.callback(maintenance.stop)
        maintenance.start()

        channels = ChannelCollector(node=options.node)
        own = [] if venue is None else [VENUE_FEED]
        view = MarketView([*(feed.venue for feed in feeds), *own], no_others=True)
        source = RingSource(rings, engine.whose)
        stack.callback(source.close)
        windows = None if analytics is None else _windows(analytics, rings, stack)
        app = create_app(
            view,
            source,
            ApiOptions(loopback_only=not options.allow_remote),
            more_metrics=lambda: chain(
                node_metrics(feeds, engine),
                maintenance_metrics(maintenance),
                () if venue is None else venue_metrics(venue),
                () if analytics is None else analytics_metrics(analytics.status()),
                channels.collect(),
            ),
            unwell=lambda: _unwell(feeds, engine, venue) if claim.is_reachable else "the node is still starting",
            history=StoredHistory(options.data),
            guarantees=lambda: [
                *(_guarantee(feed) for feed in feeds),
                *([] if venue is None else [venue.guarantee()]),
            ],
            engines=lambda: engine_states(engine, venue, analytics),
            orders=None if venue is None else order_entry(venue),
            windows=windows,
            degraded=lambda: _degraded(analytics),
        )
        mount_console(app)
        jobs: list[asyncio.Task[object]] = []
        if venue is not None:
            # Before the server, which is so closed before: its last sessions still find the venue followed.
            jobs.append(await stack.enter_async_context(followed(venue)))
            stack.push_async_callback(app.state.order_sessions.settle)
        server = await stack.enter_async_context(serving(app, sock))

        symbols = {feed.venue: feed.plan.resolved_symbols(options.data) for feed in feeds}
        simulators: dict[str, VenueProcess] = {}
        if not options.live:
            entering = (
                # One without symbols trades those that somebody may add.
                stack.enter_async_context(
                    simulated(venue, names or feed_kind(venue).default_symbols, options.rate, options.seed)
                )
                for venue, names in symbols.items()
            )
            simulators = {process.venue: process for process in await asyncio.gather(*entering)}
            jobs += [
                asyncio.create_task(process.ended(), name=f"simulated {venue}") for venue, process in simulators.items()
            ]
        connectors = {}
        for feed in feeds:
            process = simulators.get(feed.venue)
            endpoints = None if process is None else feed_kind(feed.venue).protocol.local(process.port)
            connectors[feed.venue] = feed.connector(symbols[feed.venue], endpoints)
        jobs += [asyncio.create_task(connector.run(), name=venue) for venue, connector in connectors.items()]
        jobs += [
            asyncio.create_task(SnapshotRequests(rings, connectors).run(), name="snapshot requests"),
            asyncio.create_task(
                Changes(options.data, connectors, simulated=not options.live).run(), name="changes of subscriptions"
            ),
            asyncio.create_task(_watch(feeds, engine, venue), name="watch"),
            asyncio.create_task(stop.wait(), name="signal"),
        ]
        host, bound = sock.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{bound}"
        claim.reachable_at(address)
        screen.started(address, {venue: f"http://127.0.0.1:{process.port}" for venue, process in simulators.items()})
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for job in done:
                job.result()
        finally:
            claim.unreachable()
            server.should_exit = True
            # The venue is followed until its last session has ended.
            ending = [job for job in jobs if job.get_name() != _FOLLOWING]
            for job in ending:
                job.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
    return {feed.channel: feed.stored() for feed in feeds}


def _engine(feeds: Sequence[VenueFeed], venue: HostedVenue | None, rings: Path, options: LiveOptions) -> MarketData:
    """The engine over these feeds. What was asked for its speed is told with what the machine really gave."""
    settings = options.engine
    of_venue = None if venue is None else venue.market_data()
    plan = MarketDataPlan(
        feeds={feed.venue: str(feed.journal) for feed in feeds},
        rings_dir=str(rings),
        venue=None if of_venue is None else (str(of_venue[0]), str(of_venue[1])),
        snapshots_dir=str(snapshots_directory(options.data)),
        wait=settings.wait,
        cpu=settings.cpu,
        lock_memory=settings.lock_memory,
        huge_pages=settings.huge_pages,
        numa_node=settings.numa_node,
        seccomp=settings.seccomp,
    )
    if options.topology.market_data == "process":
        engine: MarketData = MarketDataProcess(plan)
    else:
        engine = engine_of(plan, beside=None if venue is None else venue.shared_engine())
    for feed, behind, refused in engine.taken_up:
        for reason in refused:
            log.warning("snapshot not used", of="engine", venue=feed, reason=reason)
        log.info("feed taken up", venue=feed, behind=behind)
    by_option: dict[str, list[bool]] = {}
    for of, option, in_force, detail in engine.in_force:
        by_option.setdefault(option, []).append(in_force)
        if not in_force:
            log.warning("not in force", of=of, option=option, reason=detail)
    counts = {option: f"{sum(found)} of {len(found)}" for option, found in by_option.items()}
    log.info("engine", wait=settings.wait, seccomp=settings.seccomp, **counts)
    return engine


def _analytics(
    venue: HostedVenue | None, rings: Path, options: LiveOptions
) -> AnalyticsEngine | AnalyticsProcess | None:
    """What makes windows of markets and accounts; None where nobody asked for them."""
    settings = options.analytics
    if not settings.enabled:
        return None
    kind = AnalyticsProcess if options.topology.analytics == "process" else AnalyticsEngine
    if venue is None:
        return kind(rings)
    return kind(
        rings, journal=venue.journal, snapshots=snapshots_directory(options.data) / VENUE_CHANNEL / VENUE_CHANNEL
    )


def _windows(analytics: AnalyticsEngine | AnalyticsProcess, rings: Path, stack: AsyncExitStack) -> Windows:
    """What the API tells of them."""
    source = WindowSource(rings)
    stack.callback(source.close)
    return Windows(source.poll, lambda: msgspec.structs.asdict(analytics.status()))


async def _open(
    options: LiveOptions, rings: Path, stack: AsyncExitStack, screen: Screen, stop: asyncio.Event
) -> tuple[list[VenueFeed], HostedVenue | None]:
    """Captures and storage of all venues, and the node's own, recovered; the stack closes each capture before it ends its storage.

    Raises: the error of a channel that cannot be recovered; RecoveryInterruptedError when `stop` was set first.
    """
    shared = FeedOptions(
        simulated=not options.live,
        sync_interval_ms=options.sync_interval_ms,
        follower=FollowerOptions(flush_interval_s=options.flush_interval_s, flush_first_s=_FLUSH_FIRST_S),
        writer=WriterOptions(part=PartOptions(compression=options.compression)),
        snapshots=options.snapshots,
    )
    plan = None
    if options.venue is not None:
        plan = VenuePlan(
            settings=options.venue,
            snapshots=options.snapshots,
            audit_url=options.audit_url,
            topology=options.topology,
        )
    recovery = Recovery(options.feeds, options.data, rings, shared, whole=options.verify, venue=plan)
    with screen.recovering(recovery) as progress:
        job = asyncio.create_task(asyncio.to_thread(recovery.run, progress))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((job, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                recovery.interrupt()
            await asyncio.wait((job,))
        finally:
            stopping.cancel()
    if job.exception() is None or isinstance(job.exception(), OperationError):
        screen.recovered(recovery)
    feeds = job.result()
    for feed in feeds:
        stack.callback(feed.storing.stop)
        stack.callback(feed.capture.close)
    if recovery.venue is not None:
        stack.callback(recovery.venue.stop)
    return feeds, recovery.venue


@asynccontextmanager
async def followed(venue: HostedVenue) -> AsyncIterator[asyncio.Task[object]]:
    """The gateway follows `orders` inside the block."""
    following: asyncio.Task[object] = asyncio.create_task(venue.follower.run(), name=_FOLLOWING)
    keeping = asyncio.create_task(venue.keep_lives(), name="lives of orders")
    keeping.add_done_callback(_lives_are_kept_no_more)
    try:
        await venue.end_sessions()
        yield following
    finally:
        for task in (following, keeping):
            task.cancel()
        await asyncio.gather(following, keeping, return_exceptions=True)


def _lives_are_kept_no_more(keeping: asyncio.Task[object]) -> None:
    """Trading goes on without, so it is told and ends nothing; whoever cancelled it knows."""
    if not keeping.cancelled() and (error := keeping.exception()) is not None:
        log.error(
            "lives of orders are not kept any more while this node runs; the next start reads more of `orders`",
            reason=f"{type(error).__name__}: {error}",
        )


def order_entry(venue: HostedVenue) -> OrderEntry:
    """What the API takes orders with."""
    return OrderEntry(desk=venue.desk, engine=venue.status, audit=venue.audit_status, allow_remote=venue.allow_remote)


def _unwell(feeds: Sequence[VenueFeed], engine: MarketData, venue: HostedVenue | None) -> str | None:
    """Why market data stands still or is not being stored, no orders are taken, or no audit trail is kept, if that is so."""
    if venue is not None and venue.failure is not None:
        return f"the venue stopped: {venue.failure}"
    if venue is not None and venue.away is not None:
        return f"the venue takes no orders now: its engine {venue.away}"
    if isinstance(engine, MarketDataProcess) and engine.away is not None:
        return f"market data stands still: its engine {engine.away}"
    if venue is not None and venue.audit_failure is not None:
        return f"nothing is added to the audit trail: {venue.audit_failure}"
    for feed in feeds:
        state = feed.storing.state
        if state.status in ("stalled", "failed"):
            return f"storing {feed.venue} is {state.status}: {state.reason}"
    return None


def _degraded(analytics: AnalyticsEngine | AnalyticsProcess | None) -> str | None:
    """What has failed that neither market data nor orders need, if anything has."""
    status = None if analytics is None else analytics.status()
    return (
        f"no windows of analytics are made: {status.problem}"
        if status is not None and status.state == "failed"
        else None
    )


def _kept(data: Path, feed: VenueFeed, engine: MarketData) -> KeptJournal:
    """What the upkeep of a feed's journal goes by."""

    def needed_no_more() -> int:
        """What rows reach and the engine has published: a start of either goes on behind it."""
        published: int = engine.status()["feeds"][feed.venue]["sequence"]
        return min(feed.storing.state.stored, published)

    return KeptJournal(
        channel=feed.channel,
        journal=feed.journal,
        stored=needed_no_more,
        # Not ahead of the rows: storage would not begin behind such a one.
        snapshots=lambda: usable_snapshots(data, feed.channel, SNAPSHOTS_NEEDED, needed_no_more()),
        ready=lambda: feed.storing.state.status != "starting",
    )


def _kept_orders(venue: HostedVenue, engine: MarketData, rings: Path, options: LiveOptions) -> KeptJournal:
    """What the upkeep of the journal of `orders` goes by: a rule of its own, and who follows it."""
    assert options.venue is not None, "it is open"
    plan = OrdersPlan(
        rule=options.venue.keep,
        threshold_bytes=options.maintenance.threshold_bytes,
        snapshots=options.snapshots.keep,
        audit_url=options.audit_url,
    )

    def published() -> int:
        sequence: int = engine.status()["feeds"][VENUE_FEED]["sequence"]
        return sequence

    venue.published = published
    keeping = OrdersKeeping(options.data, plan, rings_root=rings.parent, published=published)

    def ask() -> None:
        venue.spare()
        keeping.ask()

    return KeptJournal(
        channel=VENUE_CHANNEL,
        journal=venue.journal,
        stored=lambda: 0,
        snapshots=list,
        kept_by="" if plan.removes else KEPT_FOREVER,
        ask=ask,
        own_rule=keeping.compact,
    )


def _guarantee(feed: VenueFeed) -> ChannelGuarantee:
    """What the capture of a feed promises now."""
    promised, state = feed.capture.guarantee(), feed.storing.state
    failure = promised["failure"] or (f"storing is {state.status}: {state.reason}" if state.reason else None)
    return ChannelGuarantee(
        channel=feed.channel,
        guarantee=promised["text"],
        published=promised["published"],
        durable=promised["durable"],
        replicas=0,
        stored=state.stored,
        storing=state.status,
        failure=failure,
    )


async def _watch(feeds: Sequence[VenueFeed], engine: MarketData, venue: HostedVenue | None) -> None:
    """Ends with the failure of a thread: a node without capture or an engine is none. Storing may fail alone, and the audit trail.

    What has no other voice is told here: a venue that stands still, and one whose time does not go by the machine's clock.
    """
    told: set[str] = set()
    while True:
        failures = [(f"capture of {feed.venue}", feed.capture.guarantee()["failure"]) for feed in feeds]
        engines = [("engine", engine.status()["failure"])]
        if venue is not None:
            engines.append(("venue", venue.failure))
        for part, failure in (*failures, *engines):
            if failure is not None:
                raise TidebookError(f"the {part} stopped: {failure}")
        for feed in feeds:
            if feed.storing.failure is not None and feed.venue not in told:
                told.add(feed.venue)
                log.error(
                    "market data goes on but is not stored; it stays in the journal until the node is restarted",
                    venue=feed.venue,
                )
        if venue is not None:
            venue.look()
            if venue.stands_still != ("still" in told):
                told ^= {"still"}
                if "still" in told:
                    log.warning("the venue takes no orders", reason=f"its engine {venue.away}")
                else:
                    log.warning("the venue stands still no more", away=venue.away)
            ahead_s = venue.status()["ahead_ns"] / 1e9
            if (ahead_s > _AHEAD_S) != ("clock" in told):
                told ^= {"clock"}
                log.warning(
                    "the machine's clock was set back: the venue's time is ahead of it, and goes slower until it is not"
                    if "clock" in told
                    else "the venue's time is the machine's again",
                    ahead_s=round(ahead_s, 3),
                )
        await asyncio.sleep(_WATCH_INTERVAL_S)

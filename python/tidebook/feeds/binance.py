"""Binance spot connector: keeps a session alive and writes everything that happens to the sink of `feed.binance`.

It decodes nothing and knows no book. Frames, snapshots, changes of the connection and a 100 ms timer become raw
messages in the order they happened; the market-data engine makes sense of them, live and in replay alike, and tells by
a status record when it wants a snapshot (`request_snapshot`).

State messages are JSON objects; `event` is one of
    started         the process begins: sessions without an end were those of a process that was killed
    connected       url, streams; the number of the message is that of the new session
    subscribed      streams: from here on they are delivered
    unsubscribed    streams
    disconnected    reason: nothing more comes from this session
    connect_failed  reason, retry_s
    snapshot_failed symbol, reason; it is asked for again
    clock_stepped   step_ns: how far our wall clock jumped against a steady one since the timer before

Source: Binance API documentation, Spot, "WebSocket Streams" (general information, limits, local order book).
"""

import asyncio
import json
import random
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tidebook.config.settings import BinanceSettings
from tidebook.errors import ConfigError, VenueError
from tidebook.feeds.backoff import Backoff
from tidebook.feeds.binance_session import SERVER_SHUTDOWN, STREAMS_PER_CONNECTION_MAX, BinanceSession
from tidebook.feeds.binance_snapshots import SnapshotFetcher, SnapshotPace
from tidebook.feeds.sink import MessageKind, RawSink
from tidebook.feeds.subscriptions import Subscriptions, SubscriptionsFile
from tidebook.observe.logs import logger

log = logger("feeds.binance")

DEPTH_STREAM = "depth@100ms"
DEFAULT_STREAMS = ("trade", "bookTicker", DEPTH_STREAM)

# A clock that is only slewed drifts by at most 50 us in a timer's 100 ms; reading two clocks costs far less.
CLOCK_STEP_MIN_NS = 5_000_000


@dataclass(frozen=True, slots=True)
class BinanceEndpoints:
    """Where a venue that speaks Binance's protocol is. No trailing slash."""

    ws: str
    rest: str

    @classmethod
    def local(cls, port: int) -> Self:
        """The simulator's on this machine."""
        return cls(f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}")


@dataclass(frozen=True, slots=True)
class BinanceOptions:
    """How a connector behaves. Symbols in any case; None resumes those of `state_file`.

    Raises: ConfigError for a symbol that cannot be one, or more streams than one connection may have.
    """

    endpoints: BinanceEndpoints
    symbols: tuple[str, ...] | None = None
    streams: tuple[str, ...] = DEFAULT_STREAMS
    state_file: Path | None = None
    timer_ms: int = 100
    connect_timeout_s: float = 10.0
    first_retry_s: float = 0.1
    max_retry_s: float = 30.0
    stable_after_s: float = 5.0
    """A session that lived this long starts the retry delays anew."""
    ping_after_s: float = 10.0
    """Silence after which we ask for a sign of life. Longer than a quiet stream is normal: depth is no heartbeat."""
    stalled_after_s: float = 15.0
    """Silence after which the session is given up."""
    rotate_after_s: float = 23.5 * 3_600
    """The venue ends every connection after 24 h; we change over before, without a pause."""
    snapshots: SnapshotPace = field(default_factory=SnapshotPace)
    tls: ssl.SSLContext | None = None
    """Other certificates than the system's."""
    seed: int | None = None
    """Of the jitter; None = different each time."""

    @classmethod
    def from_settings(cls, settings: BinanceSettings, *, state_file: Path | None = None) -> Self:
        """What `[binance]` of the settings asks for. For the simulator, replace `endpoints`."""
        return cls(
            endpoints=BinanceEndpoints(settings.ws_url.rstrip("/"), settings.rest_url.rstrip("/")),
            symbols=settings.symbols or None,
            streams=settings.streams,
            state_file=state_file,
            ping_after_s=settings.stalled_after_s * 2 / 3,
            stalled_after_s=settings.stalled_after_s,
        )

    def __post_init__(self) -> None:
        for symbol in self.symbols or ():
            if not symbol.isalnum() or not symbol.isascii():
                raise ConfigError(f"feeds: {symbol!r} is no Binance symbol", key="symbols", value=symbol)
        if len(self.symbols or ()) * len(self.streams) > STREAMS_PER_CONNECTION_MAX:
            raise ConfigError(
                f"feeds: {len(self.symbols or ())} symbols with {len(self.streams)} streams each exceed the venue's "
                f"{STREAMS_PER_CONNECTION_MAX} per connection; run a second feed",
                key="symbols",
                value=len(self.symbols or ()),
            )


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    """How a connector is doing, for people."""

    connected: bool
    connection: int
    symbols: tuple[str, ...]
    frame_count: int
    """Of the live session."""
    silent_s: float
    """Since its last frame."""
    session_count: int
    """Sessions opened by this process."""
    snapshot_count: int
    last_end: str
    """Why the last session ended; empty before the first end."""


class BinanceConnector:
    """One feed of Binance spot. `run` works until cancelled; the other methods are for the same event loop.

    Raises: ConfigError when neither the options nor the state file name a symbol; SubscriptionsError for a damaged
    state file.
    """

    def __init__(self, options: BinanceOptions, sink: RawSink) -> None:
        self.options = options
        self._sink = sink
        self._file = SubscriptionsFile(options.state_file)
        saved = self._file.load()
        symbols = saved.symbols if options.symbols is None else tuple(symbol.upper() for symbol in options.symbols)
        if not symbols:
            where = f" and {options.state_file} has none to resume" if options.state_file else ""
            raise ConfigError(f"feeds: no symbols are named{where}; name at least one", key="symbols", value=())
        self._symbols = dict.fromkeys(symbols)
        self._connection = saved.connection
        self._random = random.Random(options.seed)
        self._session: BinanceSession | None = None
        self._last_frame_count = 0
        self._last_frame_s = 0.0
        self._pinged = False
        self._session_count = 0
        self._last_end = ""
        self._capture_error: asyncio.Future[None] | None = None
        self._snapshots = SnapshotFetcher(
            options.endpoints.rest,
            sink,
            connection=self._live_connection,
            failed=self._snapshot_failed,
            capture_failed=self.capture_failed,
            random_source=self._random,
            pace=options.snapshots,
            tls=options.tls,
        )

    # For the node

    async def run(self) -> None:
        """Connects, stays connected, writes. Ends only by cancellation or with what the sink raised."""
        self._capture_error = asyncio.get_running_loop().create_future()
        self._write_state("started")
        jobs = [
            asyncio.create_task(self._keep_connected(), name="binance sessions"),
            asyncio.create_task(self._keep_time(), name="binance timer"),
        ]
        try:
            done, _ = await asyncio.wait([*jobs, self._capture_error], return_when=asyncio.FIRST_COMPLETED)
            for finished in done:
                finished.result()
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            await self._snapshots.close()
            if self._session is not None:
                self._session.retire("stopped")
            if self._capture_error.done():
                self._capture_error.exception()  # seen: a second failure while stopping adds nothing

    async def request_snapshot(self, symbol: str) -> None:
        """Fetches a depth snapshot into the feed; returns when it is written.

        Calls for a symbol whose fetch is under way share it. Without a live session it returns at once: the next
        session fetches all snapshots anyway.

        Raises: VenueError for a symbol that is not subscribed.
        """
        if symbol not in self._symbols:
            raise VenueError(f"binance: snapshot of {symbol} asked for, which is not subscribed", url="")
        # Not `await`: the session may end first, which drops the fetch and is no failure of the caller's.
        await asyncio.wait({self._snapshots.want(symbol)})

    async def subscribe(self, symbols: Iterable[str]) -> None:
        """Adds symbols, durably, and fetches their snapshots. Raises: VenueError when the venue refuses."""
        added = [symbol for symbol in dict.fromkeys(map(str.upper, symbols)) if symbol not in self._symbols]
        if not added:
            return
        self._symbols |= dict.fromkeys(added)
        self._save()
        if self._session is not None and self._session.alive:
            streams = self._streams_of(added)
            await self._session.subscribe(streams)
            self._write_state("subscribed", streams=streams)
            self._want_snapshots(added)

    async def unsubscribe(self, symbols: Iterable[str]) -> None:
        """Gives symbols up, durably. Raises: VenueError when the venue refuses."""
        gone = [symbol for symbol in dict.fromkeys(map(str.upper, symbols)) if symbol in self._symbols]
        for symbol in gone:
            del self._symbols[symbol]
        if gone:
            self._save()
            if self._session is not None and self._session.alive:
                streams = self._streams_of(gone)
                await self._session.unsubscribe(streams)
                self._write_state("unsubscribed", streams=streams)

    def status(self) -> ConnectorStatus:
        """How it is doing now."""
        session = self._session
        return ConnectorStatus(
            connected=session is not None and session.alive,
            connection=self._connection,
            symbols=tuple(self._symbols),
            frame_count=session.frame_count if session else 0,
            silent_s=time.monotonic() - self._last_frame_s if session else 0.0,
            session_count=self._session_count,
            snapshot_count=self._snapshots.fetched_count,
            last_end=self._last_end,
        )

    # What a session tells

    def session_opened(self, session: BinanceSession) -> None:
        """The new session is the live one from this message on; the one before is retired."""
        if self._session is not None:
            self._session.retire("rotation")
        self._session = session
        self._session_count += 1
        self._last_frame_count, self._last_frame_s, self._pinged = 0, time.monotonic(), False
        self._write_state("connected", url=self.options.endpoints.ws, streams=self._streams_of(self._symbols))

    def session_ended(self, session: BinanceSession, reason: str) -> None:
        """Notes the end where it happened among the messages."""
        self._last_end = reason
        self._snapshots.cancel_all()
        log.info("disconnected", connection=session.number, reason=reason)
        self._write_state("disconnected", connection=session.number, reason=reason)

    def capture_failed(self, error: Exception) -> None:
        """The sink raised; `run` ends with it."""
        if self._capture_error is not None and not self._capture_error.done():
            self._capture_error.set_exception(error)

    # Jobs

    async def _keep_connected(self) -> None:
        options = self.options
        backoff = Backoff(options.first_retry_s, options.max_retry_s, self._random)
        while True:
            self._connection += 1
            self._save()
            began = time.monotonic()
            try:
                session = await BinanceSession.open(
                    self._connection,
                    options.endpoints.ws,
                    self._streams_of(self._symbols),
                    self._sink,
                    self,
                    tls=options.tls,
                    timeout_s=options.connect_timeout_s,
                )
            except VenueError as error:
                retry_s = backoff.next_s()
                log.warning("connect failed", reason=str(error), retry_s=round(retry_s, 3))
                self._write_state(
                    "connect_failed", connection=self._connection, reason=str(error), retry_s=round(retry_s, 3)
                )
                await asyncio.sleep(retry_s)
                continue
            log.info("connected", connection=session.number, symbols=len(self._symbols))
            self._write_state("subscribed", streams=self._streams_of(self._symbols))
            self._want_snapshots(self._symbols)
            # Spread over an hour, or feeds started together would all change over together.
            rotate_after_s = options.rotate_after_s * (1 - self._random.random() / 24)
            if not await session.wait_end(rotate_after_s):
                continue  # still alive: the next session takes over from it
            stable = time.monotonic() - began >= options.stable_after_s
            if stable:
                backoff.reset()
            if not (stable and self._last_end == SERVER_SHUTDOWN):
                await asyncio.sleep(backoff.next_s())

    async def _keep_time(self) -> None:
        period_ns = self.options.timer_ms * 1_000_000
        offset_ns = time.time_ns() - time.monotonic_ns()
        while True:
            await asyncio.sleep((period_ns - time.time_ns() % period_ns) / 1e9)
            step_ns = time.time_ns() - time.monotonic_ns() - offset_ns
            if abs(step_ns) >= CLOCK_STEP_MIN_NS:
                self._write_state("clock_stepped", step_ns=step_ns)
            offset_ns += step_ns
            self._write(MessageKind.TIMER, b"")
            self._check_silence()

    def _check_silence(self) -> None:
        session, now_s = self._session, time.monotonic()
        if session is None or not session.alive:
            return
        if session.frame_count != self._last_frame_count:
            self._last_frame_count, self._last_frame_s, self._pinged = session.frame_count, now_s, False
            return
        silent_s = now_s - self._last_frame_s
        if silent_s >= self.options.stalled_after_s:
            session.retire(f"stalled: no frame for {silent_s:.1f} s")
        elif silent_s >= self.options.ping_after_s and not self._pinged:
            self._pinged = True
            session.ping()

    # Helpers

    def _number(self) -> int:
        """Of the session that messages belong to now; while one takes over from another, of the older."""
        return self._session.number if self._session is not None and self._session.alive else self._connection

    def _live_connection(self) -> int | None:
        return self._session.number if self._session is not None and self._session.alive else None

    def _streams_of(self, symbols: Iterable[str]) -> list[str]:
        return [f"{symbol.lower()}@{stream}" for symbol in symbols for stream in self.options.streams]

    def _want_snapshots(self, symbols: Iterable[str]) -> None:
        if DEPTH_STREAM in self.options.streams:
            for symbol in symbols:
                self._snapshots.want(symbol)

    def _snapshot_failed(self, symbol: str, reason: str) -> None:
        log.warning("snapshot failed", symbol=symbol, reason=reason)
        self._write_state("snapshot_failed", symbol=symbol, reason=reason)

    def _save(self) -> None:
        self._file.save(Subscriptions(symbols=tuple(self._symbols), connection=self._connection))

    def _write_state(self, event: str, *, connection: int | None = None, **facts: Any) -> None:
        body = json.dumps({"event": event, **facts}, separators=(",", ":")).encode()
        self._write(MessageKind.STATE, body, connection)

    def _write(self, kind: MessageKind, body: bytes, connection: int | None = None) -> None:
        try:
            self._sink.write(time.time_ns(), self._number() if connection is None else connection, kind, b"", body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the capture has a hole from here on
            self.capture_failed(error)

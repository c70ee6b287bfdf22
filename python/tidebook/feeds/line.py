"""One of a feed's sockets: the symbols it carries, and the session that carries them now.

A line outlives its sessions. It connects, subscribes what it should carry, changes over to a new session before the
venue ends the old one, gives up a session that is silent, and tries again with growing delays. What it should carry may
change at any time; `reconcile` brings the live session there.
"""

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tidebook.errors import VenueError
from tidebook.feeds.backoff import Backoff
from tidebook.feeds.pace import ConnectPace
from tidebook.feeds.protocol import Route, Snapshots, VenueProtocol
from tidebook.feeds.rest import SnapshotFetcher, SnapshotPace
from tidebook.feeds.resubscription import Resubscriber
from tidebook.feeds.session import SERVER_SHUTDOWN, Session
from tidebook.feeds.sink import RawSink
from tidebook.observe.logs import logger

log = logger("feeds.line")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorOptions:
    """How a connector behaves. Symbols in the venue's spelling, in any case; None resumes those of `state_file`."""

    symbols: tuple[str, ...] | None = None
    state_file: Path | None = None
    symbols_per_connection: int | None = None
    """Fewer than the venue allows; None takes as many as it does."""
    timer_ms: int = 100
    connect_timeout_s: float = 10.0
    answer_timeout_s: float = 10.0
    """Until a session whose request is not answered is given up."""
    first_retry_s: float = 0.1
    max_retry_s: float = 30.0
    stable_after_s: float = 5.0
    """A session that lived this long starts the retry delays anew."""
    ping_after_s: float = 10.0
    """Silence after which we ask for a sign of life, where the venue sends no heartbeats."""
    stalled_after_s: float = 15.0
    """Silence after which the session is given up."""
    quiet_after_s: float = 60.0
    """Time with heartbeats and no market data after which one book is subscribed anew, to see whether it lives."""
    snapshot_timeout_s: float = 10.0
    """Until a snapshot that should have come with a subscription is asked for again."""
    refused_retry_s: float = 60.0
    """Until symbols that the venue refused are asked for again."""
    rotate_after_s: float | None = None
    """None takes the venue's: a while before it ends every connection."""
    snapshots: SnapshotPace = field(default_factory=SnapshotPace)
    tls: ssl.SSLContext | None = None
    """Other certificates than the system's."""
    seed: int | None = None
    """Of the jitter; None = different each time."""


@dataclass(frozen=True, slots=True)
class LineStatus:
    """How one of a feed's connections is doing, for people."""

    connected: bool
    subscribed: bool
    """Everything the line should carry was subscribed, or refused."""
    connection: int
    """Number of the newest session; 0 before the first."""
    symbols: tuple[str, ...]
    frame_count: int
    """Of the live session."""
    silent_s: float
    """Since its last frame."""
    last_end: str
    """Why the last session ended; empty before the first end."""


class LineOwner(Protocol):
    """The connector, as its lines see it."""

    def next_connection(self) -> int:
        """The number of a new session, given once and for all."""

    def write_state(self, event: str, connection: int, /, **facts: Any) -> None:
        """A change of a connection becomes a message of the feed."""

    def has_symbols(self) -> bool:
        """Whether the feed is subscribed to anything."""

    def session_opened_on(self, line: "Line") -> None:
        """A session began."""

    def snapshot_seen_on(self, line: "Line", symbol: str) -> None:
        """A book's snapshot was written."""

    def snapshot_failed(self, symbol: str, reason: str) -> None:
        """A snapshot did not come; it is asked for again."""

    def capture_failed(self, error: Exception) -> None:
        """The sink raised."""


@dataclass(frozen=True, slots=True)
class LineParts:
    """What all lines of a feed share."""

    protocol: VenueProtocol
    options: ConnectorOptions
    sink: RawSink
    pace: ConnectPace
    fetcher: SnapshotFetcher
    random: random.Random
    owner: LineOwner


class Line:
    """One socket with `symbols`, which the owner changes; `run` keeps a session alive until cancelled."""

    def __init__(self, parts: LineParts, route: Route, symbols: Iterable[str], *, carries_shared: bool) -> None:
        self.route = route
        self.symbols = dict.fromkeys(symbols)
        self.refused: dict[str, str] = {}
        """Symbols the venue refused to the live session, and why. The next session asks again."""
        self._parts = parts
        self._carries_shared = carries_shared
        self._session: Session | None = None
        self._carried: dict[str, None] = {}
        self._subscribed = False
        self._changing = asyncio.Lock()
        self._woken = asyncio.Event()
        self._resubscriber: Resubscriber | None = None
        self._last_end = ""
        self._sign_count = 0
        self._last_sign_s = 0.0
        self._data_count = 0
        self._last_data_s = 0.0
        self._pinged = False

    # For the connector

    async def run(self) -> None:
        """Connects, stays connected. Ends only by cancellation."""
        options, parts = self._parts.options, self._parts
        backoff = Backoff(options.first_retry_s, options.max_retry_s, parts.random)
        while True:
            # Without a subscription there are no heartbeats, and nothing to connect for.
            while not self.symbols and not (self._carries_shared and parts.owner.has_symbols()):
                self._woken.clear()
                await self._woken.wait()
            await asyncio.sleep(parts.pace.delay_s(time.monotonic()))
            number = parts.owner.next_connection()
            began = time.monotonic()
            try:
                session = await self._open(number)
            except VenueError as error:
                retry_s = max(backoff.next_s(), float(str(error.facts.get("retry_after_s", 0.0))))
                log.warning(
                    "connect failed", venue=self._parts.protocol.venue, reason=str(error), retry_s=round(retry_s, 3)
                )
                parts.owner.write_state("connect_failed", number, reason=str(error), retry_s=round(retry_s, 3))
                await asyncio.sleep(retry_s)
                continue
            log.info("connected", venue=self._parts.protocol.venue, connection=number, symbols=len(self.symbols))
            if not await self._stay(session):
                continue  # still alive: the next session takes over from it
            stable = time.monotonic() - began >= options.stable_after_s
            if stable:
                backoff.reset()
            if not (stable and self._last_end == SERVER_SHUTDOWN):
                await asyncio.sleep(backoff.next_s())

    @property
    def connection(self) -> int | None:
        """Number of the live session."""
        return self._session.number if self._session is not None and self._session.alive else None

    def retire(self, reason: str) -> None:
        """Ends the live session."""
        if self._session is not None:
            self._session.retire(reason)

    async def reconcile(self) -> dict[str, str]:
        """Subscribes and gives up until the live session carries `symbols`. Those that were refused, and why.

        Without a live session there is nothing to do: the next one subscribes everything.
        """
        self._woken.set()
        session = self._session
        if session is None or not session.alive:
            return {}
        refused: dict[str, str] = {}
        with contextlib.suppress(VenueError):  # the session ended, and told it
            async with self._changing:
                refused = await self._change(session)
        return refused

    def want_snapshot(self, symbol: str) -> "asyncio.Future[None] | None":
        """A new snapshot of the symbol's book; None without a live session, whose successor fetches it anyway."""
        if self.connection is None or symbol in self.refused:
            return None
        if self._parts.protocol.snapshots is Snapshots.REST:
            return self._parts.fetcher.want(symbol)
        return self._resubscriber.want(symbol) if self._resubscriber is not None else None

    def check_silence(self, now_s: float) -> None:
        """Gives a silent session up; called with every tick of the feed's timer."""
        session, options = self._session, self._parts.options
        if session is None or not session.alive:
            return
        heartbeats = self._parts.protocol.heartbeats
        data_count = session.message_count - session.heartbeat_count
        if data_count != self._data_count:
            self._data_count, self._last_data_s = data_count, now_s
        # Where the venue sends heartbeats, a pong says less than they do.
        sign_count = session.message_count if heartbeats else session.frame_count
        if sign_count != self._sign_count:
            self._sign_count, self._last_sign_s, self._pinged = sign_count, now_s, False
        silent_s = now_s - self._last_sign_s
        if silent_s >= options.stalled_after_s:
            session.retire(f"stalled: no frame for {silent_s:.1f} s")
        elif silent_s >= options.ping_after_s and not self._pinged and not heartbeats:
            self._pinged = True
            session.ping()
        elif now_s - self._last_data_s >= options.quiet_after_s and self._resubscriber is not None and self._carried:
            # Heartbeats go on beside a dead book: only a snapshot proves that it lives.
            self._last_data_s = now_s
            self._resubscriber.want(next(iter(self._carried)))

    def status(self) -> LineStatus:
        """How it is doing now."""
        session = self._session
        alive = session is not None and session.alive
        return LineStatus(
            connected=alive,
            subscribed=alive and self._subscribed,
            connection=session.number if session else 0,
            symbols=tuple(self.symbols),
            frame_count=session.frame_count if session else 0,
            silent_s=time.monotonic() - self._last_sign_s if session else 0.0,
            last_end=self._last_end,
        )

    # What a session tells

    def session_opened(self, session: Session) -> None:
        """The new session is the live one from this message on; the one before is retired."""
        if self._session is not None:
            self._session.retire("rotation")
        now_s = time.monotonic()
        self._session, self._subscribed, self._carried, self.refused = session, False, {}, {}
        self._sign_count, self._last_sign_s, self._pinged = 0, now_s, False
        self._data_count, self._last_data_s = 0, now_s
        parts = self._parts
        if self.route.carries_books and parts.protocol.snapshots is Snapshots.RESUBSCRIBE:
            self._resubscriber = Resubscriber(
                session,
                self._subscribe_books_again,
                failed=parts.owner.snapshot_failed,
                pace=parts.options.snapshots,
                timeout_s=parts.options.snapshot_timeout_s,
            )
        parts.owner.session_opened_on(self)
        names = parts.protocol.stream_names(self.route, list(self.symbols))
        parts.owner.write_state("connected", session.number, url=self.route.url, streams=names)

    def session_ended(self, session: Session, reason: str) -> None:
        """Notes the end where it happened among the messages."""
        self._last_end = reason
        if self.route.carries_books:
            self._parts.fetcher.cancel(list(self.symbols))
        if self._resubscriber is not None:
            self._resubscriber.close()
            self._resubscriber = None
        log.info("disconnected", venue=self._parts.protocol.venue, connection=session.number, reason=reason)
        self._parts.owner.write_state("disconnected", session.number, connection=session.number, reason=reason)

    def snapshot_seen(self, symbol: str) -> None:
        """A book's snapshot was written."""
        if self._resubscriber is not None:
            self._resubscriber.seen(symbol)
        self._parts.owner.snapshot_seen_on(self, symbol)

    def capture_failed(self, error: Exception) -> None:
        """The sink raised."""
        self._parts.owner.capture_failed(error)

    # Helpers

    async def _open(self, number: int) -> Session:
        """A session that carries everything the line should."""
        parts = self._parts
        dial = parts.protocol.dial(self.route, list(self.symbols))
        session = await Session.connect(
            number,
            dial.url,
            parts.protocol,
            parts.sink,
            self,
            tls=parts.options.tls,
            timeout_s=parts.options.connect_timeout_s,
            answer_timeout_s=parts.options.answer_timeout_s,
        )
        try:
            async with self._changing:
                self._carried = dict.fromkeys(dial.symbols)
                self._expect(list(self.symbols))
                extra = parts.protocol.subscribe_always()
                if self._carries_shared:
                    extra += parts.protocol.subscribe_shared()
                self._tell_refused(session, await session.ask(extra))
                refused = await self._change(session, dial.symbols)
                if refused and len(refused) == len(self.symbols):
                    symbol, reason = next(iter(refused.items()))
                    raise VenueError(f"{parts.protocol.venue}: {symbol} refused: {reason}", url=self.route.url)
        except VenueError as error:
            session.retire(f"cannot subscribe: {error}")
            raise
        self._subscribed = True
        return session

    async def _change(self, session: Session, dialed: Iterable[str] = ()) -> dict[str, str]:
        """What `reconcile` does, under its lock; `dialed` are subscribed by the address already."""
        protocol, owner = self._parts.protocol, self._parts.owner
        refused: dict[str, str] = {}
        granted = list(dialed)
        while True:
            gone = [symbol for symbol in self._carried if symbol not in self.symbols]
            added = [symbol for symbol in self.symbols if symbol not in self._carried and symbol not in self.refused]
            if gone:
                await session.ask(protocol.unsubscribe(self.route, gone))
                self._carried = {symbol: None for symbol in self._carried if symbol not in gone}
                owner.write_state("unsubscribed", session.number, streams=protocol.stream_names(self.route, gone))
            if added:
                self._expect(added)
                now_refused = await session.ask(protocol.subscribe(self.route, added))
                self._refuse(session, now_refused)
                refused |= now_refused
                accepted = [symbol for symbol in added if symbol not in now_refused]
                self._carried |= dict.fromkeys(accepted)
                granted += accepted
            if not gone and not added:
                break
        if granted:
            streams = protocol.stream_names(self.route, granted)
            owner.write_state("subscribed", session.number, streams=streams)
            self._begin_books(granted)
        return refused

    def _refuse(self, session: Session, refused: dict[str, str]) -> None:
        self.refused |= refused
        self._tell_refused(session, refused)
        if self._resubscriber is not None:
            self._resubscriber.drop(refused)

    def _tell_refused(self, session: Session, refused: dict[str, str]) -> None:
        for symbol, reason in refused.items():
            log.warning("subscription refused", venue=self._parts.protocol.venue, symbol=symbol, reason=reason)
            self._parts.owner.write_state("refused", session.number, symbol=symbol, reason=reason)

    def _expect(self, symbols: list[str]) -> None:
        if self._resubscriber is not None:
            self._resubscriber.expect(symbols)

    def _begin_books(self, symbols: list[str]) -> None:
        if not self.route.carries_books:
            return
        if self._resubscriber is not None:
            self._resubscriber.subscribed(symbols)
        elif self._parts.protocol.snapshots is Snapshots.REST:
            for symbol in symbols:
                self._parts.fetcher.want(symbol)

    async def _subscribe_books_again(self, symbols: list[str]) -> dict[str, str]:
        session = self._session
        if session is None:
            return {}
        async with self._changing:
            carried = [symbol for symbol in symbols if symbol in self._carried]
            # What the venue does not give up it did not have; only the second answer counts.
            await session.ask(self._parts.protocol.unsubscribe_books(self.route, carried))
            return await session.ask(self._parts.protocol.subscribe_books(self.route, carried))

    async def _stay(self, session: Session) -> bool:
        """Waits for the session's end or for the time of its successor; whether it ended."""
        rotate_after_s = self._parts.options.rotate_after_s
        if rotate_after_s is None:
            rotate_after_s = self._parts.protocol.limits.rotate_after_s
        # Spread over an hour of a day, or connections opened together would all change over together.
        until_s = time.monotonic() + rotate_after_s * (1 - self._parts.random.random() / 24)
        while (left_s := until_s - time.monotonic()) > 0:
            if await session.wait_end(min(left_s, self._parts.options.refused_retry_s)):
                return True
            if self.refused:
                self.refused = {}
                await self.reconcile()
        return False

"""One of a feed's sockets: the symbols it carries, and the session that carries them now.

A line outlives its sessions. It connects, subscribes what it should carry, changes over to a new session before the
venue ends the old one, gives up a session that is silent, and tries again with growing delays. What it should carry may
change at any time; `reconcile` brings the live session there, stream by stream.
"""

import asyncio
import random
import ssl
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tidebook.errors import VenueError
from tidebook.feeds.backoff import Backoff
from tidebook.feeds.book_watch import BookWatch, Silence
from tidebook.feeds.pace import Pace
from tidebook.feeds.protocol import Route, Snapshots, SymbolStream, VenueProtocol
from tidebook.feeds.rest import SnapshotFetcher, SnapshotPace
from tidebook.feeds.resubscription import Resubscriber
from tidebook.feeds.session import SERVER_SHUTDOWN, Pacing, Session
from tidebook.feeds.sink import RawSink
from tidebook.feeds.standing import Standing, by_streams
from tidebook.feeds.stop_signs import StopSigns
from tidebook.observe.logs import logger

log = logger("feeds.line")

T = TypeVar("T")

# How often books are asked whether they are silent: of hundreds it takes a while.
BOOKS_CHECK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorOptions:
    """How a connector behaves.

    Symbols in the venue's spelling, in any case; None resumes those of `state_file`. A feed may have none and wait for some.
    """

    symbols: tuple[str, ...] | None = None
    state_file: Path | None = None
    last_ts_recv_ns: int | None = None
    """Receive time of the newest message that the feed has; a clock that is behind it was stepped meanwhile."""
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
    """Time without market data on a connection that lives: then one book is subscribed anew, to see whether it lives,
    or where a book does not come with its subscription the connection is replaced. Also the time without a change after
    which a book is subscribed anew while others change."""
    quiet_max_s: float = 900.0
    """What is quiet again and again is looked at ever more rarely, at last after this time."""
    book_silent_after_s: float = 10.0
    """Time of trades and best prices without a change of their book after which the book is subscribed anew."""
    snapshot_timeout_s: float = 10.0
    """Until a snapshot that should have come with a subscription is asked for again."""
    refused_retry_s: float = 60.0
    """Until a stream that the venue refused is asked for again, and at first a book of which no snapshot comes."""
    refused_retry_max_s: float = 900.0
    """A book of which no snapshot comes is asked for ever more rarely, at last after this time."""
    too_fast_pause_s: float = 1.0
    """The first rest after an answer that says we come too fast; further ones are longer."""
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
    refused: dict[str, str]
    """Symbols of which the venue does not deliver everything to the live session, and why."""
    frame_count: int
    """Of the live session."""
    silent_s: float
    """Since its last frame."""
    last_end: str
    """Why the last session ended; empty before the first end."""


class LineOwner(Protocol):
    """The connector, as its lines see it."""

    async def next_connection(self) -> int:
        """The number of a new session, given once and for all."""

    def write_state(self, event: str, connection: int, /, **facts: Any) -> None:
        """A change of a connection becomes a message of the feed."""

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
    connects: Pace
    requests: Pace | None
    """Of the messages of all lines, where the venue counts them together; None where each connection has its own."""
    signs: StopSigns
    fetcher: SnapshotFetcher
    watch: BookWatch
    random: random.Random
    owner: LineOwner

    def rare(self) -> Backoff:
        """Growing delays for what the venue does not give now."""
        first_s = self.options.refused_retry_s
        return Backoff(first_s, max(first_s, self.options.refused_retry_max_s), self.random)


class Line:
    """One socket with `symbols`, which the owner changes; `run` keeps a session alive until cancelled.

    `carries_shared` is whether it has what is subscribed once for the whole feed.
    """

    def __init__(self, parts: LineParts, route: Route, symbols: Iterable[str], *, carries_shared: bool) -> None:
        self.route = route
        self.symbols = dict.fromkeys(symbols)
        self.carries_shared = carries_shared
        self._parts = parts
        self._session: Session | None = None
        self._standing = Standing(parts.options.refused_retry_s)
        self._subscribed = False
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[Any]] = set()
        self._resubscriber: Resubscriber | None = None
        self._useless = False
        """The last session was given up because its books did not live."""
        self._last_end = ""
        self._sign_count = 0
        self._last_sign_s = 0.0
        self._data_count = 0
        self._last_data_s = 0.0
        self._pinged = False
        self._quiet_after_s = parts.options.quiet_after_s
        self._books_checked_s = 0.0
        self.data_seen = parts.watch.saw
        """What a session tells of each frame of market data; the watch itself, since it is called so often."""

    # For the connector

    async def run(self) -> None:
        """Connects, stays connected. Ends only by cancellation."""
        options, parts = self._parts.options, self._parts
        backoff = Backoff(options.first_retry_s, options.max_retry_s, parts.random)
        while True:
            await self._turn_to_connect()
            number = await parts.owner.next_connection()
            began = time.monotonic()
            try:
                session = await self._open(number)
            except VenueError as error:
                stop_s = float(str(error.facts.get("retry_after_s", 0.0)))
                parts.signs.obey(parts.protocol.endpoints.ws, time.monotonic(), stop_s)
                retry_s = max(backoff.next_s(), stop_s)
                log.warning("connect failed", venue=parts.protocol.venue, reason=str(error), retry_s=round(retry_s, 3))
                parts.owner.write_state("connect_failed", number, reason=str(error), retry_s=round(retry_s, 3))
                await asyncio.sleep(retry_s)
                continue
            log.info("connected", venue=parts.protocol.venue, connection=number, symbols=len(self.symbols))
            if not await self._stay(session):
                continue  # still alive: the next session takes over from it
            stable = time.monotonic() - began >= options.stable_after_s and not self._useless
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

    async def close(self) -> None:
        """Waits for the changes under way, which end with the session."""
        await asyncio.gather(*self._changes, return_exceptions=True)

    async def reconcile(self) -> dict[str, str]:
        """Subscribes and gives up until the live session carries `symbols`. Those refused whole just now, and why.

        Without a live session there is nothing to do: the next one subscribes everything. A caller that is cancelled
        leaves the change to go on: what was asked of the venue has to be known to the end.
        """
        session = self._session
        if session is None or not session.alive:
            return {}
        return await asyncio.shield(self._begin_change(self._reconcile(session), session))

    def request_count(self) -> int:
        """How many messages subscribe everything."""
        subscribe = self._parts.protocol.subscribe
        return sum(len(subscribe(streams, symbols)) for streams, symbols in by_streams(self._wanted()))

    def want_snapshot(self, symbol: str) -> "asyncio.Future[None] | None":
        """A new snapshot of the symbol's book; None where there is no book now, which has its snapshot when it comes."""
        if self.connection is None or not self._has_book(symbol):
            return None
        if self._parts.protocol.snapshots is Snapshots.REST:
            return self._parts.fetcher.want(symbol)
        return self._resubscriber.want(symbol) if self._resubscriber is not None else None

    def check_silence(self, now_s: float) -> None:
        """Gives a silent session up, has a quiet one replaced, takes silent books anew; called with every tick of the timer."""
        session, options = self._session, self._parts.options
        if session is None or not session.alive:
            return
        heartbeats = self._parts.protocol.heartbeats
        if session.data_count != self._data_count:
            self._data_count, self._last_data_s = session.data_count, now_s
            self._quiet_after_s = options.quiet_after_s
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
        elif session.relief_reason:
            pass  # its successor is on the way, and begins anew
        elif now_s - self._last_data_s >= self._quiet_after_s:
            self._look_into_quiet(session, now_s)
        elif now_s - self._books_checked_s >= min(BOOKS_CHECK_S, options.book_silent_after_s / 4):
            self._books_checked_s = now_s
            self._check_books(session, now_s)

    def status(self) -> LineStatus:
        """How it is doing now."""
        session = self._session
        alive = session is not None and session.alive
        return LineStatus(
            connected=alive,
            subscribed=alive and self._subscribed,
            connection=session.number if session else 0,
            symbols=tuple(self.symbols),
            refused=self._standing.reasons(self.symbols),
            frame_count=session.frame_count if session else 0,
            silent_s=time.monotonic() - self._last_sign_s if session else 0.0,
            last_end=self._last_end,
        )

    # What a session tells

    def session_opened(self, session: Session) -> None:
        """The new session is the live one from this message on; the one before is retired."""
        if self._session is not None:
            self._session.retire(self._session.relief_reason or "rotation")
        now_s = time.monotonic()
        parts = self._parts
        self._session, self._subscribed, self._useless = session, False, False
        self._standing = Standing(parts.options.refused_retry_s)
        self._sign_count, self._last_sign_s, self._pinged = 0, now_s, False
        self._data_count, self._last_data_s = 0, now_s
        if self.route.books and parts.protocol.snapshots is Snapshots.RESUBSCRIBE:
            self._resubscriber = Resubscriber(
                self._subscribe_books_again,
                failed=parts.owner.snapshot_failed,
                give_up=self._give_up,
                rare=parts.rare,
                pace=parts.options.snapshots,
                timeout_s=parts.options.snapshot_timeout_s,
            )
        parts.owner.session_opened_on(self)
        parts.owner.write_state(
            "connected", session.number, url=self.route.url, streams=self._names(self._of_symbols())
        )

    def session_ended(self, session: Session, reason: str) -> None:
        """Notes the end where it happened among the messages."""
        self._last_end = reason
        if self.route.books:
            self._parts.fetcher.cancel(list(self.symbols))
        if self._resubscriber is not None:
            self._resubscriber.close()
            self._resubscriber = None
        log.info("disconnected", venue=self._parts.protocol.venue, connection=session.number, reason=reason)
        self._parts.owner.write_state("disconnected", session.number, connection=session.number, reason=reason)

    def snapshot_seen(self, symbol: str) -> None:
        """A book's snapshot was written."""
        # A name that nobody asked for proves nothing: a damaged frame may have it.
        if self._resubscriber is not None and symbol in self.symbols:
            self._resubscriber.seen(symbol)
        self._parts.owner.snapshot_seen_on(self, symbol)

    def capture_failed(self, error: Exception) -> None:
        """The sink raised."""
        self._parts.owner.capture_failed(error)

    # Helpers

    async def _turn_to_connect(self) -> None:
        """Waits for a place among the feed's connections that no stop sign forbids."""
        parts = self._parts
        while True:
            now_s = time.monotonic()
            delay_s = parts.connects.delay_s(now_s)
            await asyncio.sleep(delay_s)
            stop_s = parts.signs.delay_s(parts.protocol.endpoints.ws, time.monotonic())
            if stop_s > 0:
                await asyncio.sleep(stop_s)
            elif parts.connects.holds(now_s + delay_s, time.monotonic()):
                return

    async def _open(self, number: int) -> Session:
        """A session that carries everything the line should."""
        parts = self._parts
        options, limits = parts.options, parts.protocol.limits
        dial = parts.protocol.dial(self.route, list(self.symbols))
        session = await Session.connect(
            number,
            dial.url,
            parts.protocol,
            parts.sink,
            self,
            tls=options.tls,
            timeout_s=options.connect_timeout_s,
            pacing=Pacing(
                parts.requests or Pace(limits.request_spacing_s), options.answer_timeout_s, options.too_fast_pause_s
            ),
        )
        dialed = [SymbolStream(symbol, stream) for symbol in dial.symbols for stream in self.route.streams]
        try:
            async with self._changing:
                self._expect_books(dialed)
                self._standing.grant(dialed)
                await self._change(session, dialed)
                refused = self._standing.reasons(self.symbols)
                if refused and not any(stream.symbol for stream in self._standing.granted):
                    symbol, reason = next(iter(refused.items()))
                    raise VenueError(f"{parts.protocol.venue}: {symbol} refused: {reason}", url=self.route.url)
        except VenueError as error:
            session.retire(f"cannot subscribe: {error}")
            raise
        self._subscribed = True
        return session

    async def _reconcile(self, session: Session) -> dict[str, str]:
        try:
            async with self._changing:
                refused = await self._change(session, ())
        except VenueError:
            return {}  # the session ended, and told it
        standing = {stream.symbol for stream in self._standing.granted}
        whole = {stream.symbol for stream in refused if stream.symbol and stream.symbol not in standing}
        return self._standing.reasons(whole)

    async def _change(self, session: Session, dialed: Iterable[SymbolStream]) -> dict[SymbolStream, str]:
        """What `reconcile` does, under its lock; `dialed` are subscribed by the address already. What was refused."""
        protocol, owner, standing = self._parts.protocol, self._parts.owner, self._standing
        refused: dict[SymbolStream, str] = {}
        granted = list(dialed)
        began_s = time.monotonic()
        while True:
            wanted = self._wanted()
            gone = standing.surplus(wanted)
            missing = standing.missing(wanted, began_s)
            if not gone and not missing:
                break
            self._forget_books(gone)
            for streams, symbols in by_streams(gone):
                await session.ask(protocol.unsubscribe(streams, symbols))
            standing.give_up(gone)
            if gone:
                owner.write_state("unsubscribed", session.number, streams=self._names(gone))
            self._expect_books(missing)
            for streams, symbols in by_streams(missing):
                now_refused = await session.ask(protocol.subscribe(streams, symbols))
                asked = [SymbolStream(symbol, stream) for symbol in symbols or ("",) for stream in streams]
                accepted = [stream for stream in asked if stream not in now_refused]
                standing.grant(accepted)
                self._refuse(session, now_refused)
                refused |= now_refused
                granted += accepted
        of_symbols = [stream for stream in granted if stream.symbol and stream in standing.granted]
        if of_symbols:
            owner.write_state("subscribed", session.number, streams=self._names(of_symbols))
            self._begin_books(of_symbols)
        return refused

    def _wanted(self) -> dict[SymbolStream, None]:
        protocol = self._parts.protocol
        shared = protocol.feed_streams if self.carries_shared else ()
        wanted = [SymbolStream("", stream) for stream in shared]
        wanted += self._of_symbols()
        wanted += [SymbolStream("", stream) for stream in protocol.connection_streams]
        return dict.fromkeys(wanted)

    def _of_symbols(self) -> list[SymbolStream]:
        return [SymbolStream(symbol, stream) for symbol in self.symbols for stream in self.route.streams]

    def _names(self, streams: Iterable[SymbolStream]) -> list[str]:
        return [self._parts.protocol.stream_name(stream) for stream in streams if stream.symbol]

    def _refuse(self, session: Session, refused: dict[SymbolStream, str]) -> None:
        """Notes and tells it: once a symbol where all its streams were refused for one reason."""
        self._standing.refuse(refused, time.monotonic())
        self._forget_books(refused)
        together: dict[tuple[str, str], list[SymbolStream]] = {}
        for stream, reason in refused.items():
            together.setdefault((stream.symbol, reason), []).append(stream)
        for (symbol, reason), streams in together.items():
            names = [stream.stream for stream in streams]
            venue = self._parts.protocol.venue
            log.warning("subscription refused", venue=venue, symbol=symbol, streams=names, reason=reason)
            self._parts.owner.write_state("refused", session.number, symbol=symbol, streams=names, reason=reason)

    def _begin_change(self, work: Coroutine[Any, Any, T], session: Session) -> "asyncio.Task[T]":
        change = asyncio.create_task(work, name=f"change {session.number}")
        self._changes.add(change)
        change.add_done_callback(self._changes.discard)
        return change

    # Books

    def _look_into_quiet(self, session: Session, now_s: float) -> None:
        quiet_s = now_s - self._last_data_s
        self._last_data_s = now_s
        if self._resubscriber is not None:
            # Heartbeats go on beside a dead book: only a snapshot proves that it lives.
            self._resubscriber.want_any()
        else:
            # Pongs and heartbeats go on beside a session that sends nothing more: only another session tells. One that
            # is as quiet waits twice as long for the next, since then nobody may be trading.
            quiet_max_s = max(self._parts.options.quiet_after_s, self._parts.options.quiet_max_s)
            self._quiet_after_s = min(2 * self._quiet_after_s, quiet_max_s)
            session.relieve(f"quiet: no market data for {quiet_s:.1f} s")

    def _check_books(self, session: Session, now_s: float) -> None:
        """Subscribes a silent book anew; if that does not help, replaces the session; at last counts it as refused."""
        if not self.route.books or not self._subscribed:
            return
        with_book = [symbol for symbol in self.symbols if self._has_book(symbol)]
        others_move = now_s - self._last_data_s < self._parts.options.book_silent_after_s
        silent = self._parts.watch.check(with_book, now_s, others_move=others_move)
        if not silent:
            return
        for symbol, silence in silent.items():
            tell = log.warning if silence.attempt else log.info
            tell("book silent", venue=self._parts.protocol.venue, symbol=symbol, reason=silence.reason)
            self._parts.owner.write_state("book_silent", session.number, symbol=symbol, reason=silence.reason)
            if silence.attempt == 2:
                session.relieve(f"book of {symbol} silent after it was subscribed anew: {silence.reason}")
        taken_anew = {symbol: silence for symbol, silence in silent.items() if silence.attempt != 2}
        if taken_anew:
            self._begin_change(self._take_anew(session, taken_anew), session)

    async def _take_anew(self, session: Session, silent: dict[str, Silence]) -> None:
        """Gives silent books up and takes them again, at once or, after attempts that did not help, when it is time."""
        protocol, books = self._parts.protocol, self.route.books
        try:
            async with self._changing:
                carried = [symbol for symbol in silent if self._has_book(symbol)]
                if session is not self._session or not carried:
                    return
                gone = [SymbolStream(symbol, stream) for symbol in carried for stream in books]
                self._forget_books(gone)
                for streams, symbols in by_streams(gone):
                    await session.ask(protocol.unsubscribe(streams, symbols))
                self._standing.give_up(gone)
                self._parts.owner.write_state("unsubscribed", session.number, streams=self._names(gone))
                self._parts.fetcher.cancel(carried)
                hopeless = {
                    stream: silent[stream.symbol].reason for stream in gone if silent[stream.symbol].attempt > 2
                }
                self._refuse(session, hopeless)
                await self._change(session, ())
        except VenueError:
            pass  # the session ended, and told it

    def _has_book(self, symbol: str) -> bool:
        return bool(self.route.books) and self._standing.has(symbol, self.route.books)

    def _with_books(self, streams: Iterable[SymbolStream]) -> list[str]:
        """Symbols whose book these streams are about."""
        return list(dict.fromkeys(symbol for symbol, stream in streams if stream in self.route.books and symbol))

    def _expect_books(self, streams: Iterable[SymbolStream]) -> None:
        symbols = self._with_books(streams)
        # Known before they are granted: the first change may come before the answer does.
        self._parts.watch.begin(symbols, time.monotonic())
        if self._resubscriber is not None:
            self._resubscriber.expect(symbols)

    def _forget_books(self, streams: Iterable[SymbolStream]) -> None:
        if self._resubscriber is not None:
            self._resubscriber.drop(self._with_books(streams))

    def _begin_books(self, streams: Iterable[SymbolStream]) -> None:
        symbols = self._with_books(streams)
        self._parts.watch.begin(symbols, time.monotonic())
        if self._resubscriber is not None:
            self._resubscriber.subscribed(symbols)
        elif self._parts.protocol.snapshots is Snapshots.REST:
            for symbol in symbols:
                self._parts.fetcher.want(symbol)

    async def _subscribe_books_again(self, symbols: list[str]) -> None:
        session = self._session
        if session is None or self._resubscriber is None:
            return
        protocol, books = self._parts.protocol, self.route.books
        async with self._changing:
            carried = [symbol for symbol in symbols if self._has_book(symbol)]
            self._resubscriber.drop([symbol for symbol in symbols if symbol not in carried])
            if carried:
                # What the venue does not give up it did not have; only the second answer counts.
                await session.ask(protocol.unsubscribe(books, carried))
                self._refuse(session, await session.ask(protocol.subscribe(books, carried)))

    def _give_up(self, reason: str) -> None:
        self._useless = True
        self.retire(reason)

    async def _stay(self, session: Session) -> bool:
        """Waits for the session's end or for the time of its successor; whether it ended."""
        rotate_after_s = self._parts.options.rotate_after_s
        if rotate_after_s is None:
            rotate_after_s = self._parts.protocol.limits.rotate_after_s
        # Spread over an hour of a day, or connections opened together would all change over together.
        until_s = time.monotonic() + rotate_after_s * (1 - self._parts.random.random() / 24)
        retry_s = self._parts.options.refused_retry_s
        while (now_s := time.monotonic()) < until_s and not session.relief_reason:
            # Whatever is refused while this waits is not due before it looks again.
            due_s = min(until_s, now_s + retry_s, self._standing.again_s())
            await session.wait_relief(max(0.0, due_s - now_s))
            if not session.alive:
                return True
            if self._standing.again_s() <= time.monotonic():
                await self.reconcile()
        return False

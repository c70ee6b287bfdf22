"""The connector: keeps a feed's sessions with a venue alive and writes everything that happens to the sink of `feed.<venue>`.

It decodes nothing and knows no book. Frames, snapshots, changes of connections and a 100 ms timer become raw messages
in the order they happened; the market-data engine makes sense of them, live and in replay alike, and tells by a status
record when it wants a snapshot (`request_snapshot`). What is particular about the venue is in its `VenueProtocol`.

State messages are JSON objects; docs/feeds.md lists them. Those of one session carry its number, all others, and the
timer, number 0.
"""

import asyncio
import json
import random
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from tidebook.errors import ConfigError, VenueError
from tidebook.feeds.backoff import Backoff
from tidebook.feeds.book_watch import BookWatch
from tidebook.feeds.line import ConnectorOptions, Line, LineParts, LineStatus
from tidebook.feeds.pace import Pace, connect_pace
from tidebook.feeds.protocol import RestRequest, Route, Snapshots, VenueProtocol
from tidebook.feeds.rest import HOPELESS_STATUSES, RestClient, SnapshotFetcher
from tidebook.feeds.sink import MessageKind, RawSink
from tidebook.feeds.stop_signs import StopSigns
from tidebook.feeds.subscriptions import Subscriptions, SubscriptionsFile
from tidebook.observe.logs import logger

log = logger("feeds.connector")

_T = TypeVar("_T")

# A clock that is only slewed drifts by at most 50 us in a timer's 100 ms; reading two clocks costs far less.
CLOCK_STEP_MIN_NS = 5_000_000
# A venue whose REST side is slow must not keep market data away.
REFERENCE_WAIT_S = 2.0
# Whoever adds a symbol waits for as long to hear whether the venue knows it.
SNAPSHOT_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    """How a connector is doing, for people."""

    venue: str
    connected: bool
    """Every connection is up; a feed of no symbols needs none."""
    connection: int
    """The newest number given to a session."""
    symbols: tuple[str, ...]
    refused: dict[str, str]
    """Symbols of which the venue does not deliver everything, and why."""
    frame_count: int
    """Of the live sessions."""
    silent_s: float
    """Since the last frame of the most silent one."""
    session_count: int
    """Sessions opened by this process."""
    snapshot_count: int
    last_end: str
    """Why the last session ended; empty before the first end."""
    lines: tuple[LineStatus, ...]


class Connector:
    """One feed. `run` works until cancelled; the other methods are for the same event loop.

    A feed whose symbols were all given up, or that is told to begin with none, waits for some.

    Raises: ConfigError when nothing says what the symbols are, or for one that cannot be a symbol; SubscriptionsError for
    a damaged state file.
    """

    def __init__(self, protocol: VenueProtocol, options: ConnectorOptions, sink: RawSink) -> None:
        self.protocol = protocol
        self.options = options
        self._sink = sink
        self._file = SubscriptionsFile(options.state_file)
        saved = self._file.load()
        if options.symbols is None and saved is None:
            where = f" and there is no {options.state_file} to resume" if options.state_file else ""
            raise ConfigError(f"feeds: no symbols are named{where}; name at least one", key="symbols", value=())
        saved = saved or Subscriptions()
        named = saved.symbols if options.symbols is None else map(protocol.normal, options.symbols)
        self._symbols = dict.fromkeys(named)
        self._connection = saved.connection
        self._random = random.Random(options.seed)
        self._session_count = 0
        self._snapshots_seen = 0
        self._last_end = ""
        self._failure: asyncio.Future[None] | None = None
        signs = StopSigns()
        self._client = RestClient(protocol, options.tls, signs)
        self._fetcher = SnapshotFetcher(
            protocol,
            self._client,
            sink,
            connection=self._book_connection,
            symbol_count=lambda: len(self._symbols),
            failed=self.snapshot_failed,
            refused=self._snapshot_refused,
            capture_failed=self.capture_failed,
            random_source=self._random,
            rare=lambda: self._parts.rare(),
            pace=options.snapshots,
        )
        self._watch = BookWatch(
            protocol.about,
            protocol.name_in_frames,
            silent_after_s=options.book_silent_after_s,
            quiet_after_s=options.quiet_after_s,
            quiet_max_s=options.quiet_max_s,
        )
        limits = protocol.limits
        self._connects = connect_pace(limits)
        requests = Pace(limits.request_spacing_s) if limits.requests_shared else None
        self._parts = LineParts(
            protocol, options, sink, self._connects, requests, signs, self._fetcher, self._watch, self._random, self
        )
        self._lines: list[Line] = []
        self._book_lines: dict[str, Line] = {}
        self._jobs: dict[Line, asyncio.Task[None]] = {}
        self._side_jobs: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[Any]] = set()
        for route in protocol.routes:
            for part in _spread(list(self._symbols), self._line_size(route)):
                self._add_line(route, part)

    # For the node

    async def run(self) -> None:
        """Connects, stays connected, writes. Ends only by cancellation or with what the sink raised."""
        self._failure = asyncio.get_running_loop().create_future()
        ahead_ns = (self.options.last_ts_recv_ns or 0) - time.time_ns()
        if ahead_ns >= CLOCK_STEP_MIN_NS:
            # Nobody saw it, but the feed has been later than it is now. At least by so much.
            self.write_state("clock_stepped", 0, step_ns=-ahead_ns)
        self.write_state("started", 0)
        timer = asyncio.create_task(self._keep_time(), name=f"{self.protocol.venue} timer")
        try:
            # Best before the first market data: an instrument then begins with the venue's own increments.
            tried: asyncio.Future[Any] = asyncio.gather(*self._fetch_reference(self._symbols))
            first: set[asyncio.Future[Any]] = {tried, self._failure}
            await asyncio.wait(first, timeout=REFERENCE_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
            tried.cancel()
            for line in self._lines:
                self._start(line)
            done, _ = await asyncio.wait([timer, self._failure], return_when=asyncio.FIRST_COMPLETED)
            for finished in done:
                finished.result()
        finally:
            # What ends at the same time elsewhere may have this cancelled; its sockets are closed all the same.
            await _to_its_end(self._end(timer))

    async def _end(self, timer: asyncio.Task[None]) -> None:
        # What a change begins must be there to be ended.
        await self._changes_done()
        jobs = [timer, *self._jobs.values(), *self._side_jobs]
        self._jobs.clear()
        for job in jobs:
            job.cancel()
        for line in self._lines:
            line.retire("stopped")
        await asyncio.gather(*jobs, *(line.close() for line in self._lines), return_exceptions=True)
        await self._changes_done()
        await self._fetcher.close()
        await self._client.close()
        if self._failure is not None and self._failure.done():
            self._failure.exception()  # seen: a second failure while stopping adds nothing

    async def request_snapshot(self, symbol: str) -> None:
        """Has a new book snapshot written to the feed; returns when it is.

        Calls for a symbol whose snapshot is under way share it. Without a live session it returns at once: the next
        session brings all snapshots anyway.

        Raises: VenueError for a symbol that is not subscribed.
        """
        symbol = self._known(symbol)
        if symbol not in self._symbols:
            raise VenueError(f"{self.protocol.venue}: snapshot of {symbol} asked for, which is not subscribed", url="")
        line = self._book_lines.get(symbol)
        wanted = None if line is None else line.want_snapshot(symbol)
        if wanted is not None:
            # Not `await`: the session may end first, which drops the fetch and is no failure of the caller's.
            await asyncio.wait({wanted})

    async def subscribe(self, symbols: Iterable[str]) -> None:
        """Adds symbols, durably; their snapshots follow.

        Where snapshots are asked for over REST, what the venue says of them is waited for, since its streams are granted for any
        name; a venue that cannot be reached leaves the symbol to the sessions to come.
        Raises: ConfigError for what cannot be a symbol; VenueError when the venue refuses all of one, or its snapshot, which is
        then not kept. What it refuses in part is kept, and the rest asked for again.
        """
        added, lines = await self._change(self._take_in([self.protocol.normal(symbol) for symbol in symbols]))
        awaits = self._failure is not None and self.protocol.snapshots is Snapshots.REST
        snapshots = asyncio.create_task(self._fetcher.first_refusals(added, SNAPSHOT_WAIT_S if awaits else 0.0))
        refused: dict[str, str] = {}
        try:
            for answer in await asyncio.gather(*(line.reconcile() for line in lines)):
                refused |= answer
            refused = {symbol: reason for symbol, reason in refused.items() if symbol in added}
            refused = refused or await snapshots
        finally:
            snapshots.cancel()
        if refused:
            await self.unsubscribe(refused)
            words = "; ".join(f"{symbol} refused: {reason}" for symbol, reason in refused.items())
            raise VenueError(f"{self.protocol.venue}: {words}", url=self.protocol.endpoints.ws)

    async def unsubscribe(self, symbols: Iterable[str]) -> None:
        """Gives symbols up, durably."""
        lines = await self._change(self._give_up([self._known(symbol) for symbol in symbols]))
        await asyncio.gather(*(line.reconcile() for line in lines))

    async def _take_in(self, symbols: list[str]) -> tuple[list[str], list[Line]]:
        """Those of `symbols` that are new, and the lines that have to act."""
        added = [symbol for symbol in dict.fromkeys(symbols) if symbol not in self._symbols]
        if not added:
            return [], []
        await self._keep(self._symbols | dict.fromkeys(added), self._connection)
        lines = [line for route in self.protocol.routes for line in self._place(route, added)]
        self._fetch_reference(added)
        return added, lines

    async def _give_up(self, symbols: list[str]) -> list[Line]:
        """The lines that have to act."""
        gone = [symbol for symbol in dict.fromkeys(symbols) if symbol in self._symbols]
        if not gone:
            return []
        await self._keep({symbol: None for symbol in self._symbols if symbol not in gone}, self._connection)
        self._fetcher.forget(gone)
        self._watch.forget(gone)
        lines = [line for line in self._lines if not line.symbols.keys().isdisjoint(gone)]
        for symbol in gone:
            self._book_lines.pop(symbol, None)
        for line in lines:
            line.symbols = {symbol: None for symbol in line.symbols if symbol not in gone}
        for line in lines[:]:
            if not line.symbols:
                lines.remove(line)
                self._remove(line)
        if self._lines and not self._lines[0].carries_shared:
            # The line that had what is subscribed once for the whole feed is gone: the next one takes it over.
            self._lines[0].carries_shared = True
            lines = list(dict.fromkeys((self._lines[0], *lines)))
        return lines

    def status(self) -> ConnectorStatus:
        """How it is doing now."""
        lines = tuple(line.status() for line in self._lines)
        return ConnectorStatus(
            venue=self.protocol.venue,
            connected=all(line.connected for line in lines),
            connection=self._connection,
            symbols=tuple(self._symbols),
            refused=self._refused(lines),
            frame_count=sum(line.frame_count for line in lines),
            silent_s=max((line.silent_s for line in lines), default=0.0),
            session_count=self._session_count,
            snapshot_count=self._fetcher.fetched_count + self._snapshots_seen,
            last_end=self._last_end,
            lines=lines,
        )

    # What a line tells

    async def next_connection(self) -> int:
        """The number of a new session, on disk before it is tried."""
        return await self._change(self._count_connection())

    async def _count_connection(self) -> int:
        await self._keep(self._symbols, self._connection + 1)
        return self._connection

    def session_opened_on(self, line: Line) -> None:
        """Counts it."""
        del line
        self._session_count += 1

    def snapshot_seen_on(self, line: Line, symbol: str) -> None:
        """Counts it."""
        del line, symbol
        self._snapshots_seen += 1

    def snapshot_failed(self, symbol: str, reason: str) -> None:
        """Told to people and to the feed."""
        log.warning("snapshot failed", venue=self.protocol.venue, symbol=symbol, reason=reason)
        self.write_state("snapshot_failed", self._book_connection(symbol) or 0, symbol=symbol, reason=reason)

    def capture_failed(self, error: Exception) -> None:
        """The sink raised; `run` ends with it."""
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    def _snapshot_refused(self, symbol: str, reason: str) -> None:
        """A symbol of which the venue gives no snapshot: told as refused, asked for again ever more rarely."""
        log.warning("snapshot refused", venue=self.protocol.venue, symbol=symbol, reason=reason)
        self.write_state("refused", self._book_connection(symbol) or 0, symbol=symbol, reason=reason)

    def write_state(self, event: str, connection: int, /, **facts: Any) -> None:
        """A change becomes a message of the session, or of the feed with 0."""
        if event == "disconnected":
            self._last_end = facts["reason"]
        body = json.dumps({"event": event, **facts}, separators=(",", ":")).encode()
        self._write(MessageKind.STATE, connection, body)

    # Lines

    def _line_size(self, route: Route) -> int:
        limits = self.protocol.limits
        streams = max(1, len(route.streams))
        size = min(limits.streams_per_connection // streams, limits.symbols_per_connection)
        if size < 1:
            raise ConfigError(
                f"feeds: {streams} streams a symbol exceed the {limits.streams_per_connection} that "
                f"{self.protocol.venue} allows on one connection; name fewer",
                key="streams",
                value=streams,
            )
        return min(size, self.options.symbols_per_connection or size)

    def _add_line(self, route: Route, symbols: Iterable[str]) -> Line:
        line = Line(self._parts, route, symbols, carries_shared=not self._lines)
        self._lines.append(line)
        if route.books:
            self._book_lines |= dict.fromkeys(line.symbols, line)
        limits = self.protocol.limits
        if limits.requests_shared and len(self._lines) > 1:
            # Connections opened faster than they may subscribe would be closed by the venue before they had said a word.
            subscribing_s = limits.request_spacing_s * line.request_count()
            self._connects.spacing_s = max(self._connects.spacing_s, subscribing_s)
        return line

    def _place(self, route: Route, symbols: list[str]) -> list[Line]:
        """Gives new symbols to the route's lines with room, and the rest to new lines. The lines that have to act."""
        size, rest, changed = self._line_size(route), symbols, []
        for line in self._lines:
            if line.route is route and rest and (room := size - len(line.symbols)) > 0:
                mine, rest = rest[:room], rest[room:]
                line.symbols |= dict.fromkeys(mine)
                if route.books:
                    self._book_lines |= dict.fromkeys(mine, line)
                changed.append(line)
        for part in _spread(rest, size):
            line = self._add_line(route, part)
            if self._failure is not None:
                self._start(line)
        return changed

    def _start(self, line: Line) -> None:
        job = asyncio.create_task(line.run(), name=f"{self.protocol.venue} line")
        self._jobs[line] = job
        job.add_done_callback(self._job_ended)

    def _remove(self, line: Line) -> None:
        self._lines.remove(line)
        job = self._jobs.pop(line, None)
        if job is not None:
            job.cancel()
        line.retire("nothing left to carry")

    def _job_ended(self, job: asyncio.Task[None]) -> None:
        self._side_jobs.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            self.capture_failed(error if isinstance(error, Exception) else RuntimeError(str(error)))

    # Jobs

    async def _keep_time(self) -> None:
        period_ns = self.options.timer_ms * 1_000_000
        offset_ns = time.time_ns() - time.monotonic_ns()
        while True:
            await asyncio.sleep((period_ns - time.time_ns() % period_ns) / 1e9)
            step_ns = time.time_ns() - time.monotonic_ns() - offset_ns
            if abs(step_ns) >= CLOCK_STEP_MIN_NS:
                self.write_state("clock_stepped", 0, step_ns=step_ns)
            offset_ns += step_ns
            self._write(MessageKind.TIMER, 0, b"")
            now_s = time.monotonic()
            for line in self._lines:
                line.check_silence(now_s)

    def _fetch_reference(self, symbols: Iterable[str]) -> "list[asyncio.Future[None]]":
        """Starts the requests; the futures are done when each was answered once, well or not."""
        futures: list[asyncio.Future[None]] = []
        if self._failure is None:
            return futures
        for request, about in self.protocol.reference_requests(list(symbols)):
            tried = asyncio.get_running_loop().create_future()
            futures.append(tried)
            job = asyncio.create_task(self._fetch_one_reference(request, about, tried), name="reference data")
            self._side_jobs.add(job)
            job.add_done_callback(self._job_ended)
        return futures

    async def _fetch_one_reference(
        self, request: RestRequest, about: tuple[str, ...], tried: "asyncio.Future[None]"
    ) -> None:
        backoff = Backoff(self.options.first_retry_s, self.options.max_retry_s, self._random)
        while True:
            answer = await self._client.get(request)
            if not answer.trouble:
                self._write(MessageKind.REST, 0, answer.body, request.target.encode(), answer.ts_recv_ns)
            if not tried.done():
                tried.set_result(None)
            if not answer.trouble:
                return
            log.warning("reference data failed", venue=self.protocol.venue, reason=answer.trouble)
            self.write_state("reference_failed", 0, target=request.target, reason=answer.trouble)
            if answer.status in HOPELESS_STATUSES:
                # One unknown symbol spoils the request for all: the halves are asked for on their own.
                if len(about) > 1:
                    self._fetch_reference(about[: len(about) // 2])
                    self._fetch_reference(about[len(about) // 2 :])
                return
            await asyncio.sleep(backoff.next_s())
            if about and self._symbols.keys().isdisjoint(about):
                return  # given up meanwhile

    # Helpers

    def _known(self, symbol: str) -> str:
        """The spelling of a subscribed symbol; anything else as it is, to be named in an error."""
        try:
            return self.protocol.normal(symbol)
        except ConfigError:
            return symbol

    def _book_connection(self, symbol: str) -> int | None:
        line = self._book_lines.get(symbol)
        return line.connection if line is not None else None

    def _refused(self, lines: Iterable[LineStatus]) -> dict[str, str]:
        refused = {symbol: why for symbol, why in self._fetcher.refusals.items() if symbol in self._symbols}
        for line in lines:
            for symbol, why in line.refused.items():
                refused[symbol] = f"{refused[symbol]}; {why}" if symbol in refused else why
        return refused

    async def _change(self, change: Coroutine[Any, Any, _T]) -> _T:
        """What `change` gives. Changes are made one after the other, each to its end though its caller be cancelled: what is
        on disk is what counts.
        """

        async def alone() -> _T:
            async with self._changing:
                return await change

        task = asyncio.create_task(alone(), name=f"{self.protocol.venue} change")
        self._changes.add(task)
        task.add_done_callback(self._change_ended)
        return await asyncio.shield(task)

    def _change_ended(self, task: asyncio.Task[Any]) -> None:
        self._changes.discard(task)
        if not task.cancelled():
            task.exception()  # seen: who asked for it may be gone

    async def _changes_done(self) -> None:
        while self._changes:
            await asyncio.wait(self._changes)

    async def _keep(self, symbols: dict[str, None], connection: int) -> None:
        """On disk before it counts: what cannot be kept is not changed. Only within a change. Raises: OperationError.

        A thread of its own waits for the disk: the event loop stamps the frames of every venue.
        """
        if self.options.state_file is not None:
            await asyncio.to_thread(self._file.save, Subscriptions(symbols=tuple(symbols), connection=connection))
        self._symbols, self._connection = symbols, connection

    def _write(
        self, kind: MessageKind, connection: int, body: bytes, context: bytes = b"", ts_recv_ns: int | None = None
    ) -> None:
        try:
            self._sink.write(ts_recv_ns or time.time_ns(), connection, kind, context, body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the capture has a hole from here on
            self.capture_failed(error)


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Waits for `work`, which a cancellation of who waits does not cut short: it is ending already."""
    task = asyncio.create_task(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()


def _spread(symbols: list[str], size: int) -> list[list[str]]:
    """`symbols` over as few parts of at most `size` as will do, the parts about equal."""
    count = -(-len(symbols) // size)
    cuts = [len(symbols) * number // max(count, 1) for number in range(count + 1)]
    return [symbols[begin:end] for begin, end in pairwise(cuts)]

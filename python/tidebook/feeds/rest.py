"""Requests to a venue's REST side: depth snapshots and reference data, inside the venue's request limits.

A snapshot is fetched when asked, one at a time per symbol, for the session that feeds the symbol's book, and dropped
when that session ends: another session needs another snapshot. Reference data belongs to no session. What the venue
will never answer otherwise, such as a symbol it does not know, is asked for again ever more rarely.
"""

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from tidebook.feeds.backoff import Backoff
from tidebook.feeds.protocol import RestRequest, VenueProtocol
from tidebook.feeds.sink import MessageKind, RawSink
from tidebook.feeds.stop_signs import StopSigns, stop_s
from tidebook.feeds.weight import WeightBudget

FETCHES_AT_ONCE_MAX = 4
# A message of a capture is at most half its ring, 32 MiB, and what cannot be written must not be kept: the rest is for
# the header and the request. Every order of a large book of Coinbase is some tens of megabytes.
ANSWER_BYTES_MAX = 32 * 1024 * 1024 - 64 * 1024
REQUEST_TIMEOUT_S = 10.0
# A venue answers 400 or 404 to what it will not answer otherwise.
HOPELESS_STATUSES = frozenset({400, 404})


@dataclass(frozen=True, slots=True)
class SnapshotPace:
    """How often one symbol's snapshot may be asked for, and how long to wait after a failure."""

    spacing_s: float = 0.2
    first_retry_s: float = 0.1
    max_retry_s: float = 30.0


@dataclass(frozen=True, slots=True)
class RestAnswer:
    """What came; `trouble` says in words why it is of no use, and is empty when it is."""

    ts_recv_ns: int
    status: int
    body: bytes
    trouble: str = ""


class RestClient:
    """GETs within the venue's budget and its stop signs, a few at a time. Close it when done."""

    def __init__(self, protocol: VenueProtocol, tls: ssl.SSLContext | None, signs: StopSigns) -> None:
        self._base = protocol.endpoints.rest
        self._limits = protocol.rest_limits
        self._budget = WeightBudget(self._limits.weight, window_s=self._limits.window_s)
        self._tls = tls
        self._signs = signs
        self._http: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(FETCHES_AT_ONCE_MAX)

    async def get(self, request: RestRequest) -> RestAnswer:
        """One request; waits for stop signs and for its place in the budget. A failure is an answer with trouble."""
        async with self._slots:
            while True:
                delay_s = self._signs.delay_s(self._base, time.monotonic())
                delay_s = delay_s or self._budget.delay_s(time.time(), request.weight)
                if delay_s <= 0:
                    return await self._get(request)
                await asyncio.sleep(delay_s)

    async def close(self) -> None:
        """Ends the HTTP connections."""
        if self._http is not None:
            await self._http.close()

    async def _get(self, request: RestRequest) -> RestAnswer:
        if self._http is None:
            timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
            self._http = aiohttp.ClientSession(timeout=timeout, auto_decompress=True)
        headers = request.headers() if request.headers is not None else None
        try:
            async with self._http.get(self._base + request.target, ssl=self._tls or True, headers=headers) as answer:
                body = await _read(answer.content)
                ts_recv_ns = time.time_ns()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return RestAnswer(time.time_ns(), 0, b"", f"{type(error).__name__}: {error}")
        used = answer.headers.get(self._limits.used_header, "") if self._limits.used_header else ""
        if used.isdecimal():
            self._budget.heard(time.time(), int(used))
        stop = stop_s(answer.status, answer.headers.get("Retry-After"), time.time())
        if stop is not None:
            self._signs.obey(self._base, time.monotonic(), stop)
        if len(body) > ANSWER_BYTES_MAX:
            return RestAnswer(ts_recv_ns, answer.status, b"", f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        trouble = "" if answer.status == 200 else f"HTTP {answer.status}: {body[:200].decode(errors='replace')}"
        return RestAnswer(ts_recv_ns, answer.status, body, trouble)


class SnapshotFetcher:
    """Fetches books' snapshots and writes the bodies as REST messages of the session that feeds the book.

    `connection` tells that session's number for a symbol, or None; `symbol_count` how many symbols share the budget.
    `failed` hears of every failure of a fetch, in words; `refused` of one that is for good; `capture_failed` of the sink's.
    `rare` makes the growing delays of a symbol whose snapshot is refused.
    """

    def __init__(
        self,
        protocol: VenueProtocol,
        client: RestClient,
        sink: RawSink,
        *,
        connection: Callable[[str], int | None],
        symbol_count: Callable[[], int],
        failed: Callable[[str, str], None],
        refused: Callable[[str, str], None],
        capture_failed: Callable[[Exception], None],
        random_source: random.Random,
        rare: Callable[[], Backoff],
        pace: SnapshotPace,
    ) -> None:
        self.fetched_count = 0
        self.refusals: dict[str, str] = {}
        """Symbols of which the venue gives no snapshot now, and why."""
        self._protocol = protocol
        self._client = client
        self._sink = sink
        self._connection = connection
        self._symbol_count = symbol_count
        self._failed = failed
        self._refused = refused
        self._capture_failed = capture_failed
        self._random = random_source
        self._rare = rare
        self._pace = pace
        self._wanted: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_fetch: dict[str, float] = {}
        self._first_answers: dict[str, asyncio.Event] = {}

    async def first_refusals(self, symbols: Sequence[str], wait_s: float) -> dict[str, str]:
        """Which of these symbols the venue gives no snapshot of, and why, as soon as it answered for all of them.

        Asks for nothing: who wants their snapshots does so after this began to wait. After `wait_s` it is what is known by then.
        """
        awaited = {symbol: asyncio.Event() for symbol in symbols}
        self._first_answers |= awaited
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                for answered in awaited.values():
                    await answered.wait()
        return {symbol: self.refusals[symbol] for symbol in symbols if symbol in self.refusals}

    def want(self, symbol: str) -> asyncio.Task[None]:
        """The fetch of this symbol: the one under way, or a new one."""
        task = self._wanted.get(symbol)
        if task is None:
            task = asyncio.create_task(self._fetch(symbol), name=f"snapshot {symbol}")
            self._wanted[symbol] = task
            self._tasks.add(task)
            task.add_done_callback(self._done)
        return task

    def cancel(self, symbols: Sequence[str]) -> None:
        """Drops the fetches of these symbols; one wanted from now on is fetched anew."""
        for symbol in symbols:
            self.refusals.pop(symbol, None)
            task = self._wanted.pop(symbol, None)
            if task is not None:
                task.cancel()

    def forget(self, symbols: Sequence[str]) -> None:
        """These symbols were given up."""
        self.cancel(symbols)
        for symbol in symbols:
            self._last_fetch.pop(symbol, None)
            self._answered(symbol)

    async def close(self) -> None:
        """Ends every fetch."""
        self._wanted.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wanted = {symbol: other for symbol, other in self._wanted.items() if other is not task}

    async def _fetch(self, symbol: str) -> None:
        connection = self._connection(symbol)
        backoff = Backoff(self._pace.first_retry_s, self._pace.max_retry_s, self._random)
        rare = self._rare()
        while connection is not None and connection == self._connection(symbol):
            await asyncio.sleep(self._last_fetch.get(symbol, 0.0) + self._pace.spacing_s - time.monotonic())
            request = self._protocol.snapshot_request(symbol, self._symbol_count())
            answer = await self._client.get(request)
            self._last_fetch[symbol] = time.monotonic()
            if not answer.trouble:
                self.refusals.pop(symbol, None)
                self._answered(symbol)
                if connection == self._connection(symbol):
                    self._write(answer, connection, request.target)
                return
            if answer.status in HOPELESS_STATUSES:
                self.refusals[symbol] = answer.trouble
                self._refused(symbol, answer.trouble)
                self._answered(symbol)
                await asyncio.sleep(rare.next_s())
            else:
                self._failed(symbol, answer.trouble)
                await asyncio.sleep(backoff.next_s())

    def _answered(self, symbol: str) -> None:
        """The venue said whether there is a snapshot of this symbol, or nobody wants to know any more."""
        answered = self._first_answers.pop(symbol, None)
        if answered is not None:
            answered.set()

    def _write(self, answer: RestAnswer, connection: int, target: str) -> None:
        try:
            self._sink.write(answer.ts_recv_ns, connection, MessageKind.REST, target.encode(), answer.body)
        except Exception as error:  # noqa: BLE001 - handed to who can stop the capture
            self._capture_failed(error)
        self.fetched_count += 1


async def _read(content: aiohttp.StreamReader) -> bytes:
    """The body, or as much of it as shows that it is too large."""
    body = bytearray()
    async for part in content.iter_any():
        body += part
        if len(body) > ANSWER_BYTES_MAX:
            break
    return bytes(body)

"""Depth snapshots over REST: fetched when asked, one at a time per symbol, inside the venue's request limits.

Source: Binance API documentation, Spot, "REST API" (order book and its weights, limits).
"""

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from tidebook.feeds.backoff import Backoff
from tidebook.feeds.sink import MessageKind, RawSink
from tidebook.feeds.weight import WeightBudget

DEPTH_PATH = "/api/v3/depth"
DEPTH_LIMIT = 1_000
DEPTH_WEIGHT = 50
USED_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
FETCHES_AT_ONCE_MAX = 4
REQUEST_TIMEOUT_S = 10.0
# An answer 404 or 400 will not get better by asking again; these will.
STOP_STATUSES = frozenset({418, 429})


@dataclass(frozen=True, slots=True)
class SnapshotPace:
    """How often one symbol may be fetched, and how long to wait after a failure."""

    spacing_s: float = 0.2
    first_retry_s: float = 0.1
    max_retry_s: float = 30.0
    weight_per_minute: int = 5_000
    """Of the venue's 6,000: the rest is for whoever shares our address."""


class SnapshotFetcher:
    """Fetches `GET /api/v3/depth` and writes the body as a REST message.

    `connection` tells the number of the live session, or None; a snapshot is only of use to the session it was asked
    for, so a fetch that outlives its session is dropped. `failed` hears of every failure of a fetch, in words;
    `capture_failed` of the sink's.
    """

    def __init__(
        self,
        rest_url: str,
        sink: RawSink,
        *,
        connection: Callable[[], int | None],
        failed: Callable[[str, str], None],
        capture_failed: Callable[[Exception], None],
        random_source: random.Random,
        pace: SnapshotPace,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.fetched_count = 0
        self._rest_url = rest_url
        self._sink = sink
        self._connection = connection
        self._failed = failed
        self._capture_failed = capture_failed
        self._random = random_source
        self._pace = pace
        self._budget = WeightBudget(pace.weight_per_minute)
        self._tls = tls
        self._http: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(FETCHES_AT_ONCE_MAX)
        self._wanted: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_fetch: dict[str, float] = {}

    def want(self, symbol: str) -> asyncio.Task[None]:
        """The fetch of this symbol: the one under way, or a new one."""
        task = self._wanted.get(symbol)
        if task is None:
            task = asyncio.create_task(self._fetch(symbol), name=f"snapshot {symbol}")
            self._wanted[symbol] = task
            self._tasks.add(task)
            task.add_done_callback(self._done)
        return task

    def cancel_all(self) -> None:
        """Drops every fetch under way; a symbol wanted from now on is fetched anew."""
        self._wanted.clear()
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Ends every fetch and the HTTP connections."""
        self.cancel_all()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wanted = {symbol: other for symbol, other in self._wanted.items() if other is not task}

    async def _fetch(self, symbol: str) -> None:
        connection = self._connection()
        backoff = Backoff(self._pace.first_retry_s, self._pace.max_retry_s, self._random)
        while connection is not None and connection == self._connection():
            await asyncio.sleep(self._last_fetch.get(symbol, 0.0) + self._pace.spacing_s - time.monotonic())
            async with self._slots:
                await self._wait_for_budget()
                self._last_fetch[symbol] = time.monotonic()
                trouble = await self._try(symbol, connection)
            if trouble is None:
                return
            self._failed(symbol, trouble)
            await asyncio.sleep(backoff.next_s())

    async def _wait_for_budget(self) -> None:
        while True:
            delay_s = self._budget.delay_s(time.time(), DEPTH_WEIGHT)
            if delay_s <= 0:
                return
            await asyncio.sleep(delay_s)

    async def _try(self, symbol: str, connection: int) -> str | None:
        """One request. What went wrong, or None when there is nothing left to do."""
        target = f"{DEPTH_PATH}?symbol={symbol}&limit={DEPTH_LIMIT}"
        if self._http is None:
            timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
            self._http = aiohttp.ClientSession(timeout=timeout, auto_decompress=True)
        try:
            async with self._http.get(self._rest_url + target, ssl=self._tls or True) as answer:
                body = await answer.read()
                ts_recv_ns = time.time_ns()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"
        used = answer.headers.get(USED_WEIGHT_HEADER, "")
        if used.isdecimal():
            self._budget.heard(time.time(), int(used))
        if answer.status in STOP_STATUSES:
            self._budget.refused(time.time(), _seconds(answer.headers.get("Retry-After")))
        if answer.status != 200:
            return f"HTTP {answer.status}: {body[:200].decode(errors='replace')}"
        if connection == self._connection():
            try:
                self._sink.write(ts_recv_ns, connection, MessageKind.REST, target.encode(), body)
            except Exception as error:  # noqa: BLE001 - handed to who can stop the capture
                self._capture_failed(error)
            self.fetched_count += 1
        return None


def _seconds(text: str | None) -> float | None:
    with contextlib.suppress(ValueError):
        return None if text is None else max(0.0, float(text))
    return None

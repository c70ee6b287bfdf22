"""A simulated venue on one port: REST, WebSocket streams, `/sim/`, and the clock that drives them.

One task plays the venue's time against the wall clock. Real venues have separate hosts for REST and streams; here one
port serves both, so that one number is all a client needs. Which venue it is says its dialect.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tidebook.simulate.control import Control
from tidebook.simulate.faults import Fault, Faults
from tidebook.simulate.limits import VenueLimits
from tidebook.simulate.serving import serve_on
from tidebook.simulate.streams import StreamHub
from tidebook.simulate.venue import SimulatedVenue, VenueOptions

if TYPE_CHECKING:
    from aiohttp import web

# The longest stretch of time played in one turn, so that requests are served while the venue catches up.
TURN_US_MAX = 20_000
TURN_S_MIN = 0.001
TURN_S_MAX = 0.050


class Simulator:
    """Runs a `SimulatedVenue` in real time. Use as `async with Simulator(options) as simulator`.

    Port 0 takes any free port; `rest_url` and `ws_url` then say which. Without `options.start_us` the venue's clock
    starts at the wall clock; the order flow is the same either way.

    Raises: AddressError on start when the port cannot be bound. Facts: host, port.
    """

    def __init__(
        self,
        options: VenueOptions,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Iterable[Fault] = (),
        limits: VenueLimits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        wall_us = time.time_ns() // 1_000
        if options.start_us is None:
            options = replace(options, start_us=wall_us)
        self.venue = SimulatedVenue(options)
        self.faults = Faults(list(faults))
        self.host = host
        self.port = port
        self._tls = tls
        self._wall_ahead_us = wall_us - self.venue.now_us
        self._paused = False
        limits = limits or self.venue.dialect.limits
        self._hub = StreamHub(self.faults, limits)
        self._hub.talk = self.venue.dialect.talk(self.venue, self._hub, self.faults, limits)
        self.venue.wanted = self._hub.subscribers
        self._control = Control(self.venue, self._hub, self.faults, self.set_paused)
        self._runner: web.AppRunner | None = None
        self._clock: asyncio.Task[None] | None = None

    @property
    def rest_url(self) -> str:
        """Base of the REST requests."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """Base of the WebSocket paths, which are those of the venue."""
        return f"{'wss' if self._tls else 'ws'}://{self.host}:{self.port}"

    async def start(self) -> None:
        """Binds the port and starts the clock."""
        routes = self._hub.talk.routes() + self._control.routes()
        self._runner, self.port = await serve_on(routes, self.host, self.port, self._tls)
        self._clock = asyncio.create_task(self._run_clock(), name="simulator clock")

    async def close(self) -> None:
        """Stops the clock, resets every connection, frees the port."""
        if self._clock is not None:
            self._clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._clock
        self._hub.abort_all()
        if self._runner is not None:
            await self._runner.cleanup()

    async def serve_forever(self) -> None:
        """Serves until cancelled; raises what stopped the clock, if anything did."""
        assert self._clock is not None, "start() comes before serve_forever()"
        await self._clock

    def set_paused(self, paused: bool) -> None:
        """Stops the venue after sending all pending depth, or lets it go on from where it stopped."""
        if paused and not self._paused:
            for message in self.venue.settle():
                self._hub.deliver(message)
            self._hub.write_out()
        if self._paused and not paused:
            self._wall_ahead_us = time.time_ns() // 1_000 - self.venue.now_us
        self._paused = paused

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _run_clock(self) -> None:
        venue = self.venue
        while True:
            if self._paused:
                await asyncio.sleep(TURN_S_MIN)
                continue
            wall_us = time.time_ns() // 1_000 - self._wall_ahead_us
            until_us = min(wall_us, venue.now_us + TURN_US_MAX)
            for message in venue.advance(until_us):
                self._hub.deliver(message)
            self._hub.write_out()
            if until_us < wall_us:
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(min(TURN_S_MAX, max(TURN_S_MIN, (venue.next_due_us - wall_us) / 1e6)))

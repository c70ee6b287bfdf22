"""The one task that moves records: source to view every few milliseconds, view to clients at the streams' pace.

Both happen on the event loop, in one step each, so nobody ever sees half a batch. Polling is faster than publishing
so that REST is fresh and a small ring is not overrun between two publishes.
"""

import asyncio
import logging
import time

from tidebook.api.hub import Hub
from tidebook.api.source import RecordSource
from tidebook.api.view import MarketView

_log = logging.getLogger("tidebook.api")

STALLED_AFTER_S = 2.0


class Pump:
    """Polls `source` every `poll_s` and publishes every `publish_s`; both in seconds."""

    def __init__(self, source: RecordSource, view: MarketView, hub: Hub, *, poll_s: float, publish_s: float) -> None:
        self._source = source
        self._view = view
        self._hub = hub
        self._poll_s = poll_s
        self._publish_s = publish_s
        self._polled_at: float | None = None
        self._failure: str | None = None

    def step(self) -> None:
        """Takes what the source has."""
        for batch in self._source.poll():
            if batch.missed:
                self._view.missed(batch.channel, batch.missed, batch.missed_of)
            self._view.feed(batch.channel, batch.records)
        if self._view.windows is not None:
            self._view.windows.step()
        self._polled_at = time.monotonic()

    def publish(self) -> None:
        """Offers what changed to the clients."""
        self._view.tick()
        self._hub.publish()

    def not_ready(self) -> str | None:
        """Why market data cannot be answered now, or None."""
        if self._failure is not None:
            return f"reading records failed: {self._failure}"
        if self._polled_at is None or time.monotonic() - self._polled_at > STALLED_AFTER_S:
            return "records are not being read; the server is starting, stopping or overloaded"
        if not self._view.instruments():
            return "no instrument has been seen yet; is a feed connected?"
        return None

    async def run(self) -> None:
        """Runs until cancelled. A source that fails ends the pump: it is logged and `not_ready` says so."""
        publish_at = time.monotonic()
        try:
            while True:
                self.step()
                now = time.monotonic()
                if now >= publish_at:
                    self.publish()
                    # Keep the pace, but do not make up for a stall with a burst.
                    publish_at = max(publish_at + self._publish_s, now)
                await asyncio.sleep(min(self._poll_s, max(0.0, publish_at - time.monotonic())))
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"
            _log.exception("the API stopped reading records")
            raise

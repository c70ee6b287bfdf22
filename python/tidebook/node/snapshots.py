"""The engine's wishes for snapshots, brought to the connectors.

The engine knows when a book needs one and says so in `md.status`; only a connector talks to its venue. What lies
between is this task: two channels read, one method called. A wish is told once, so what a gap in `md.status` may have
swallowed is made up for by asking for every book.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from tidebook._core import venues
from tidebook.errors import VenueError
from tidebook.feeds.status import StatusKind
from tidebook.observe.logs import logger
from tidebook.transport import Batch, Gap, open_consumer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logger("node.snapshots")

_BATCH_MAX = 4_096


class SnapshotFetching(Protocol):
    """What a connector offers."""

    async def request_snapshot(self, symbol: str) -> None:
        """Has a snapshot written to the feed. Raises: VenueError for a symbol that is not subscribed."""


class SnapshotRequests:
    """Asks the connector of each venue for the snapshots that the engine of `rings` wants."""

    def __init__(self, rings: Path, connectors: Mapping[str, SnapshotFetching]) -> None:
        self._connectors = connectors
        self._venues = venues()
        # Definitions are read first, whole; a wish that was told before this node started is of no use any more.
        self._status = open_consumer("md.status", directory=rings, start="latest", policy="overwrite", wait="park")
        self._instruments = open_consumer("md.instruments", directory=rings, start="earliest", policy="overwrite")
        self._symbols: dict[int, str] = {}
        self._asked: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            self._learn()
            async for taken in self._status:
                wanted = _wanted(taken)
                # In this order: a definition is published before the first status that needs it.
                self._learn()
                for instrument_id in sorted(self._symbols if wanted is None else wanted & self._symbols.keys()):
                    self._ask_for(instrument_id)
        finally:
            for task in self._asked:
                task.cancel()
            self._status.close()
            self._instruments.close()

    def _learn(self) -> None:
        """Takes in what instruments are called."""
        while (taken := self._instruments.poll_batch(_BATCH_MAX)) is not None:
            if isinstance(taken, Gap):
                continue
            with taken as batch:
                for row in batch.array:
                    name = bytes(row["symbol"]).rstrip(b"\0").decode()
                    self._symbols[int(row["instrument_id"])] = name.rpartition(".")[0]

    def _ask_for(self, instrument_id: int) -> None:
        venue = self._venues.get(instrument_id >> 24, "")
        if venue in self._connectors:
            task = asyncio.create_task(self._ask(venue, self._symbols[instrument_id]), name="snapshot request")
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)

    async def _ask(self, venue: str, symbol: str) -> None:
        try:
            await self._connectors[venue].request_snapshot(symbol)
        except VenueError:
            # Given up between the wish and now, by somebody who knows; the next subscription brings a snapshot anyway.
            log.debug("snapshot of a symbol that is not subscribed any more", venue=venue, symbol=symbol)


def _wanted(taken: Batch | Gap) -> set[int] | None:
    """Instruments whose snapshot the engine wants; None where it may be any."""
    if isinstance(taken, Gap):
        return None
    with taken as batch:
        rows = batch.array
        found: set[int] = set(rows["instrument_id"][rows["kind"] == StatusKind.SNAPSHOT_WANTED].tolist())
        return found

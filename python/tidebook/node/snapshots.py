"""The engine's wish for a snapshot, brought to the connector.

The engine knows when a book needs one and says so in `md.status`; only the connector talks to the venue. What lies
between is this task: two channels read, one method called.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from tidebook.errors import VenueError
from tidebook.observe.logs import logger
from tidebook.transport import Consumer, Gap, open_consumer

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

log = logger("node.snapshots")

SNAPSHOT_WANTED = 4
"""`tidebook_feed::StatusKind::SnapshotWanted`; stored in files, so it never changes."""
_POLL_INTERVAL_S = 0.02
_BATCH_MAX = 4_096


class SnapshotFetching(Protocol):
    """What a connector offers."""

    async def request_snapshot(self, symbol: str) -> None:
        """Fetches a depth snapshot into the feed."""


class SnapshotRequests:
    """Asks `connector` for the snapshots that the engine of `rings` wants."""

    def __init__(self, rings: Path, connector: SnapshotFetching) -> None:
        self._connector = connector
        # Definitions are read first, whole; a wish that was told before this node started is of no use any more.
        self._status = open_consumer("md.status", directory=rings, start="latest", policy="overwrite")
        self._instruments = open_consumer("md.instruments", directory=rings, start="earliest", policy="overwrite")
        self._symbols: dict[int, str] = {}
        self._asked: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            while True:
                self.step()
                await asyncio.sleep(_POLL_INTERVAL_S)
        finally:
            for task in self._asked:
                task.cancel()
            self._status.close()
            self._instruments.close()

    def step(self) -> None:
        """Asks for what is wanted by now."""
        # In this order: a definition is published before the first status that needs it.
        wanted = {int(row["instrument_id"]) for row in _rows(self._status) if row["kind"] == SNAPSHOT_WANTED}
        for row in _rows(self._instruments):
            symbol = bytes(row["symbol"]).rstrip(b"\0").decode()
            self._symbols[int(row["instrument_id"])] = symbol.partition(".")[0]
        for instrument_id in sorted(wanted):
            if instrument_id in self._symbols:
                task = asyncio.create_task(self._ask(self._symbols[instrument_id]), name="snapshot request")
                self._asked.add(task)
                task.add_done_callback(self._asked.discard)

    async def _ask(self, symbol: str) -> None:
        try:
            await self._connector.request_snapshot(symbol)
        except VenueError as error:
            log.warning("snapshot refused", symbol=symbol, reason=str(error))


def _rows(consumer: Consumer) -> list[np.void]:
    """What is there now. A gap loses wishes, and a book that still needs its snapshot wishes again."""
    rows: list[np.void] = []
    while (taken := consumer.poll_batch(_BATCH_MAX)) is not None:
        if not isinstance(taken, Gap):
            with taken as batch:
                rows.extend(batch.array.copy())
    return rows

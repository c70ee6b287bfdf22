"""The records of a node's channels for the API: read by copies, without ever holding the engine up."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING

from tidebook.analytics import ACCOUNTS_CHANNEL, MARKETS_CHANNEL
from tidebook.api import CHANNELS, Batch
from tidebook.errors import ChannelNotFoundError, EndpointBusyError
from tidebook.transport import Consumer, Gap, open_consumer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Whose = Callable[[str, int, int], dict[int, int] | None]

_BATCH_MAX = 8_192
_WINDOWS = (MARKETS_CHANNEL, ACCOUNTS_CHANNEL)
_LOOK_AGAIN_S = 1.0


class RingSource:
    """Consumers of `md.*` that are overwritten rather than waited for."""

    def __init__(self, rings: Path, whose: Whose | None = None) -> None:
        """Joins the channels at the oldest they hold; without a name, so it leaves nothing behind.

        `whose` tells how many of a channel's records from a first one on are of which instrument.
        """
        self._whose = whose
        self._consumers = {
            channel: open_consumer(channel, directory=rings, start="earliest", policy="overwrite")
            for channel in CHANNELS
        }

    def poll(self) -> Iterable[Batch]:
        """What came since the last call, in the order of `CHANNELS`.

        Read in the opposite order: what is published last is read first, so a record never arrives in an earlier poll
        than the definition or status that was published before it.
        """
        read = {
            channel: list(_batches(channel, self._consumers[channel], self._whose)) for channel in reversed(CHANNELS)
        }
        for channel in CHANNELS:
            yield from read[channel]

    def close(self) -> None:
        """Leaves the channels."""
        for consumer in self._consumers.values():
            consumer.close()


class WindowSource:
    """Consumers of `analytics.*`, which are there some time after the node has begun."""

    def __init__(self, rings: Path) -> None:
        self._rings = rings
        self._consumers: dict[str, Consumer] = {}
        self._look_at = 0.0

    def poll(self) -> Iterable[Batch]:
        """What came since the last call, and how many windows were overwritten before it."""
        if len(self._consumers) < len(_WINDOWS) and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_AGAIN_S
            self._join()
        for channel, consumer in self._consumers.items():
            yield from _batches(channel, consumer)

    def _join(self) -> None:
        for channel in _WINDOWS:
            if channel not in self._consumers:
                # Another time, when it is there or has a place.
                with contextlib.suppress(ChannelNotFoundError, EndpointBusyError):
                    self._consumers[channel] = open_consumer(
                        channel, directory=self._rings, start="earliest", policy="overwrite", wait="park"
                    )

    def close(self) -> None:
        """Leaves the channels."""
        for consumer in self._consumers.values():
            consumer.close()


def _batches(channel: str, consumer: Consumer, whose: Whose | None = None) -> Iterable[Batch]:
    missed, of, known = 0, Counter[int](), whose is not None
    while (taken := consumer.poll_batch(_BATCH_MAX)) is not None:
        if isinstance(taken, Gap):
            missed += taken.count
            found = None if whose is None else whose(channel, taken.first, taken.count)
            known = known and found is not None
            of.update(found or {})
            continue
        with taken as batch:
            # A lossy consumer's batch is a copy already: its arrays may be kept.
            yield Batch(channel, batch.array, missed, dict(of) if known else None)
        missed, of, known = 0, Counter(), whose is not None

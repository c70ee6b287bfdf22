"""The records of a node's channels for the API: read by copies, without ever holding the engine up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidebook.api import CHANNELS, Batch
from tidebook.transport import Consumer, Gap, open_consumer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_BATCH_MAX = 8_192


class RingSource:
    """Consumers of `md.*` that are overwritten rather than waited for."""

    def __init__(self, rings: Path) -> None:
        """Joins the channels at the oldest they hold; without a name, so it leaves nothing behind."""
        self._consumers = {
            channel: open_consumer(channel, directory=rings, start="earliest", policy="overwrite")
            for channel in CHANNELS
        }

    def poll(self) -> Iterable[Batch]:
        """What came since the last call, in the order of `CHANNELS`.

        Read in the opposite order: what is published last is read first, so a record never arrives in an earlier poll
        than the definition or status that was published before it.
        """
        read = {channel: list(_batches(channel, self._consumers[channel])) for channel in reversed(CHANNELS)}
        for channel in CHANNELS:
            yield from read[channel]

    def close(self) -> None:
        """Leaves the channels."""
        for consumer in self._consumers.values():
            consumer.close()


def _batches(channel: str, consumer: Consumer) -> Iterable[Batch]:
    missed = 0
    while (taken := consumer.poll_batch(_BATCH_MAX)) is not None:
        if isinstance(taken, Gap):
            missed += taken.count
            continue
        with taken as batch:
            # A lossy consumer's batch is a copy already: its arrays may be kept.
            yield Batch(channel, batch.array, missed)
        missed = 0

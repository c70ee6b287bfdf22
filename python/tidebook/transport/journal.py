"""The journal of a durable channel, run by its producer.

Ring and journal hold one sequence. Who opens the producer owns both: what the ring holds beyond the journal, because
its last producer was killed, is journaled first; then a thread of this process copies and syncs what is published.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidebook._core import DurableChannel, journal_layouts
from tidebook.errors import (
    ChannelUsageError,
    EndpointBusyError,
    JournalError,
    JournalLockedError,
)
from tidebook.transport.layout import difference

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from tidebook._core import Ring
    from tidebook.transport.keep_rule import KeepPlan

JOURNAL_CONSUMER = "journal"
"""The name under which a journal reads its ring: nobody else's on a durable channel."""
_SEGMENT_SIZE_BYTES = 64 << 20
_LOOK_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JournalPlace:
    """Where a channel's journal is, and how it is synced."""

    directory: Path
    sync_interval_ms: int | None
    snapshot_interval_ms: int | None = None
    """How often cursors of its consumers are stored; None: as usual."""
    staging_size_bytes: int = 64 << 20
    segment_size_bytes: int = _SEGMENT_SIZE_BYTES
    keep: KeepPlan | None = None
    """What of it stays; None: all."""


@dataclass(frozen=True, kw_only=True)
class RingShape:
    """What a ring is made of, as far as a journal's owner must know it to make it anew."""

    record_size_bytes: int
    capacity: int
    schema: tuple[str, int, str] | None
    crc: bool
    parking: bool
    consumers_max: int

    @classmethod
    def of(cls, ring: Ring) -> RingShape:
        """That of a ring which is there."""
        return cls(
            record_size_bytes=ring.record_size_bytes,
            capacity=ring.capacity,
            schema=ring.schema,
            crc=ring.crc,
            parking=ring.parking,
            consumers_max=ring.consumers_max,
        )


@dataclass(frozen=True, kw_only=True)
class RecordLayout:
    """What the messages of a journal are from one of them on."""

    first_sequence: int
    text: str | None
    """As a ring has it; empty for plain messages, None where the journal does not say."""
    record_size_bytes: int = 0


def record_layouts(directory: str | os.PathLike[str]) -> list[RecordLayout]:
    """What the messages of a journal are, oldest first: the first that are held, and each change.

    Raises: JournalAbsentError, JournalVersionError; JournalDamagedError for a damaged header.
    """
    return [
        RecordLayout(first_sequence=first_sequence, text=text, record_size_bytes=size_bytes)
        for first_sequence, text, size_bytes in journal_layouts(directory)
    ]


def _other_layout(name: str, error: ChannelUsageError) -> ChannelUsageError:
    """The error of a journal whose newest messages have another layout, for who asked for the channel: by its fields."""
    facts = error.facts
    differs = difference(str(facts["expected"]), str(facts["found"]), "journal")
    if not differs:
        differs = f"{facts['expected_bytes']} bytes a record expected, {facts['found_bytes']} in the journal"
    return ChannelUsageError(
        f"channel {name} is there with another layout ({differs}): its journal is {facts['path']}; use its layout or another "
        "name",
        **facts,
    )


class Journal:
    """A running journal. Calls release the GIL while they wait and obey Ctrl-C."""

    def __init__(self, name: str, path: Path, place: JournalPlace, shape: RingShape) -> None:
        """Opens or makes ring and journal and brings them to one sequence.

        Raises: EndpointBusyError while another process runs it; ChannelUsageError for a journal of records of another
                layout; JournalError and its kinds; ChannelError.
        """
        common: dict[str, Any] = {
            "crc": shape.crc,
            "parking": shape.parking,
            "consumers_max": shape.consumers_max,
            "sync_interval_ms": place.sync_interval_ms,
            "staging_size_bytes": place.staging_size_bytes,
            # A segment holds the longest message, which is half of a ring of messages.
            "segment_size_bytes": max(place.segment_size_bytes, shape.capacity if shape.schema is None else 0),
            "configuration": "" if place.keep is None else place.keep.configuration(place.directory),
        }
        try:
            if shape.schema is None:
                self._channel = DurableChannel.frames(name, path, place.directory, shape.capacity, **common)
            else:
                self._channel = DurableChannel.slots(
                    name, path, place.directory, shape.record_size_bytes, shape.capacity, schema=shape.schema, **common
                )
        except JournalLockedError as error:
            raise EndpointBusyError(
                f"channel {name} has a living producer: it runs the journal in {place.directory}", path=str(path)
            ) from error
        except ChannelUsageError as error:
            if error.facts.get("option") != "dtype":
                raise
            raise _other_layout(name, error) from error
        epoch = self._channel.recovery["epoch_behind_copy"]
        if epoch is not None:
            # Who makes the channel may open and close it at once, and its recovery is seen by nobody.
            _log.warning(
                "channel %s: its journal in %s was put back from a copy, behind which more may have been acknowledged: it goes on in "
                "epoch %d; one that was moved whole keeps its epoch by `tidebook journal adopt`",
                name,
                place.directory,
                epoch,
            )

    @property
    def recovery(self) -> str:
        """What opening found, in one line."""
        text: str = self._channel.recovery["text"]
        return text

    def guarantee(self) -> dict[str, Any]:
        """What is promised now: text (one line), published, durable, journal (directory), failure (text or None).

        `no_staging` is why the producer waits for a slow disk as soon as the ring is full, and None where it does not.
        """
        return self._channel.guarantee()

    def wait(self, sequence: int, timeout: float | None = None) -> bool:
        """Waits until `sequence` is durable; False when `timeout` s passed first. Raises: JournalError when it has failed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _LOOK_S if deadline is None else min(_LOOK_S, max(0.0, deadline - time.monotonic()))
            if self._channel.wait_durable(sequence, left):
                return True
            self.check()
            if deadline is not None and time.monotonic() >= deadline:
                return False

    def check(self) -> None:
        """Raises: JournalError when nothing becomes durable any more."""
        guarantee = self._channel.guarantee()
        if guarantee["failure"] is not None:
            raise JournalError(
                f"the journal in {guarantee['journal']} has stopped at {guarantee['durable']}: {guarantee['failure']}; "
                "close the producer and open it again once that is mended"
            )

    def close(self) -> None:
        """Journals all that is published, syncs and ends. Raises: JournalError when it had failed."""
        self._channel.close()

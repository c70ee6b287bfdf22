"""Finding the record of a moment among those a channel still holds.

Neither ring nor journal has an index by time, so records are looked at from the oldest on, once and without holding a
producer up.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from tidebook._core import Gap, RingBatch, RingConsumer
from tidebook.errors import ChannelError, ChannelUsageError, JournalError
from tidebook.transport.batch import Batch
from tidebook.transport.layout import slot

if TYPE_CHECKING:
    from tidebook.transport.channel import Channel

_FIELDS = ("ts_recv", "ts_event")
_LIMIT = 4_096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def first_sequence_at(channel: Channel, start: datetime | np.datetime64, *, peek: bool, policy: str | None) -> int:
    """Sequence of the first record that is not before `start`; the next one to come when all are.

    Of those in the ring, and for a consumer that spills of those in the journal too: it is read from its beginning where
    the ring does not reach back so far.
    Raises: ChannelUsageError for records without a time, and for a time without a zone.
    """
    field, nanoseconds = _time_field(channel), _nanoseconds(start)
    ring = RingConsumer(channel.ring, "", start="earliest", policy="overwrite", peek=peek)
    oldest = ring.next_sequence
    found = _first(channel, ring, field, nanoseconds)
    if found > oldest or peek or policy not in (None, "spill") or not channel.ring.visible_durable:
        return found
    try:
        journal = RingConsumer(channel.ring, "", start="earliest", policy="spill")
    except (ChannelError, JournalError):
        if policy == "spill":
            raise
        return found
    return _first(channel, journal, field, nanoseconds)


def _first(channel: Channel, reader: RingConsumer, field: str, nanoseconds: int) -> int:
    """Sequence of the first record of this reader whose `field` is not before; its next one when all are."""
    record = channel.dtype
    assert record is not None
    layout = slot(record, *channel.ring.slot)
    try:
        while (taken := reader.take(_LIMIT, 0.0)) is not None:
            if isinstance(taken, Gap):
                continue
            assert isinstance(taken, RingBatch)
            with Batch(taken, layout) as batch:
                reached = batch.array[field] >= nanoseconds
                if reached.any():
                    return batch.first_sequence + int(reached.argmax())
        return reader.next_sequence
    finally:
        reader.close()


def _time_field(channel: Channel) -> str:
    names = () if channel.dtype is None else channel.dtype.names or ()
    found = next((field for field in _FIELDS if field in names), None)
    if found is None:
        what = f"records of {', '.join(names)}" if names else "plain messages"
        raise ChannelUsageError(
            f"channel {channel.name} cannot start at a time: it has {what} without {' or '.join(_FIELDS)}; "
            "start at a sequence",
            option="start",
        )
    return found


def _nanoseconds(start: datetime | np.datetime64) -> int:
    if isinstance(start, np.datetime64):
        return int(start.astype("datetime64[ns]").astype(np.int64))
    if start.tzinfo is None:
        raise ChannelUsageError(f"start = {start!r} has no time zone; use datetime(..., tzinfo=UTC)", option="start")
    return (start - _EPOCH) // timedelta(microseconds=1) * 1_000

"""Finding the record of a moment among those a ring still holds.

A ring has no index by time, so its records are looked at from the oldest on, once and without holding a producer up.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from tidebook._core import Gap, RingBatch, RingConsumer
from tidebook.errors import ChannelUsageError
from tidebook.transport.batch import Batch
from tidebook.transport.layout import slot

if TYPE_CHECKING:
    from tidebook.transport.channel import Channel

_FIELDS = ("ts_recv", "ts_event")
_LIMIT = 4_096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def first_sequence_at(channel: Channel, start: datetime | np.datetime64, *, peek: bool) -> int:
    """Sequence of the first record that is not before `start`; the next one to come when all are.

    Raises: ChannelUsageError for records without a time, and for a time without a zone.
    """
    field, nanoseconds = _time_field(channel), _nanoseconds(start)
    record = channel.dtype
    assert record is not None
    layout = slot(record, *channel.ring.slot)
    reader = RingConsumer(channel.ring, "", start="earliest", policy="overwrite", peek=peek)
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

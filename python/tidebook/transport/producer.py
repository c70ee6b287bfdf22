"""The one writer of a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tidebook._core import Full, RingProducer
from tidebook.errors import ChannelUsageError
from tidebook.transport.channel import Channel, open_channel
from tidebook.transport.layout import to_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType


class Producer:
    """Publishes messages or records. Calls release the GIL while they wait and obey Ctrl-C."""

    def __init__(self, channel: Channel) -> None:
        """Raises: EndpointBusyError while another producer lives."""
        self.channel = channel
        self._ring = channel.ring
        self._producer = RingProducer(channel.ring)
        self._text = channel.ring.schema[2] if channel.ring.schema else None

    @property
    def published(self) -> int:
        """Last committed sequence; 0 when there is none."""
        return self._producer.published

    def write(self, message: bytes | bytearray | memoryview, timeout: float | None = None) -> int | Full:
        """Commits one message and gives its sequence; waits for consumers that gate. `Full` when `timeout` s passed."""
        return self._producer.write(message, timeout)

    def write_batch(self, messages: Sequence[bytes] | np.ndarray[Any, Any], timeout: float | None = None) -> int | Full:
        """Commits many: a structured array of the channel's layout, or a sequence of bytes. Gives the last sequence.

        Raises: ChannelUsageError for an array of another layout.
        """
        if not isinstance(messages, np.ndarray):
            return self._producer.write_messages(messages, timeout)
        dtype = messages.dtype
        if dtype.names is None or to_text(dtype) != self._text:
            raise ChannelUsageError(
                f"array of {dtype} written to {self.channel.name}, whose records are {self._text or 'plain messages'}",
                option="dtype",
            )
        return self._producer.write_records(np.ascontiguousarray(messages).view(np.uint8).data, timeout)

    def flush(self) -> int:
        """Last sequence others can see: memory channels publish with each write."""
        return self.published

    def close(self) -> None:
        """Gives the channel free for another producer."""
        self._producer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_producer(channel: Channel | str, **where: Any) -> Producer:
    """Becomes the producer of a channel; `where` (node or directory) finds one that is given by name."""
    return Producer(open_channel(channel, **where) if isinstance(channel, str) else channel)

"""A writer of a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tidebook._core import Full, RingProducer
from tidebook.errors import ChannelUsageError
from tidebook.transport.channel import DEFAULT_NODE, Channel, open_channel
from tidebook.transport.claim import Claim

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from types import TracebackType


class Producer:
    """Publishes messages or records. Calls release the GIL while they wait and obey Ctrl-C."""

    def __init__(self, channel: Channel, producer: RingProducer) -> None:
        self.channel = channel
        self._producer = producer
        self._dtype = channel.dtype

    @property
    def published(self) -> int:
        """Last committed sequence; 0 when there is none. In mode mpsc, of any producer, with all before it committed too."""
        return self._producer.published

    def write(self, message: bytes | bytearray | memoryview, timeout: float | None = None) -> int | Full:
        """Commits one message and gives its sequence; waits for consumers that gate.

        `Full` when `timeout` s passed, or when a consumer in the way is not to be waited for longer.
        """
        return self._producer.write(message, timeout)

    def write_batch(self, messages: Sequence[bytes] | np.ndarray[Any, Any], timeout: float | None = None) -> int | Full:
        """Commits many: a structured array of the channel's layout, or a sequence of bytes. Gives the last sequence.

        Raises: ChannelUsageError for an array of another layout.
        """
        if not isinstance(messages, np.ndarray):
            return self._producer.write_messages(messages, timeout)
        if messages.dtype != self._dtype:
            raise ChannelUsageError(
                f"array of {messages.dtype} written to {self.channel.name}, whose records are "
                f"{'plain messages' if self._dtype is None else self._dtype}",
                option="dtype",
            )
        return self._producer.write_records(np.ascontiguousarray(messages).view(np.uint8).data, timeout)

    def claim(self, size: int | None = None, timeout: float | None = None) -> Claim | Full:
        """Room for a message of `size` bytes, or for one record, to be filled in place; waits as `write` does.

        A producer has one claim at a time and writes nothing else meanwhile. A claim is one piece: at most an eighth of
        the buffer, in mode mpsc 108 bytes; `write` takes longer messages. `with` over a `Full` raises ChannelFullError.
        Raises: ChannelUsageError for a size the channel cannot take, and while another claim is open.
        """
        if size is None:
            if self._dtype is None:
                raise ChannelUsageError("plain messages have no size of their own; use claim(size)", option="size")
            size = self._dtype.itemsize
        claimed = self._producer.claim(size, timeout)
        return claimed if isinstance(claimed, Full) else Claim(claimed, self._dtype)

    def flush(self) -> int:
        """Last sequence others can see: memory channels publish with each write."""
        return self.published

    def close(self) -> None:
        """Gives the channel free for another producer; an open claim is aborted."""
        self._producer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_producer(
    channel: Channel | str, *, node: str = DEFAULT_NODE, directory: str | os.PathLike[str] | None = None
) -> Producer:
    """Becomes a producer of a channel, after its last committed message; `node` or `directory` find one given by name.

    Raises: EndpointBusyError while another producer lives (mode spsc) or as many as may (mpsc); ChannelNotFoundError, ChannelFormatError;
            CorruptMessageError when the newest messages are damaged.
    """
    opened = open_channel(channel, node=node, directory=directory) if isinstance(channel, str) else channel
    return Producer(opened, RingProducer(opened.ring))

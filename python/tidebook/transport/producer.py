"""A writer of a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tidebook._core import Full, RingProducer
from tidebook.errors import ChannelUsageError
from tidebook.transport.channel import DEFAULT_NODE, Channel, declared, open_channel
from tidebook.transport.claim import Claim
from tidebook.transport.record import Packing

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import DTypeLike

    Message = bytes | bytearray | memoryview | Any
    """Bytes, or an instance of the dataclass that the channel's record type was declared as."""


class Producer:
    """Publishes messages or records. Calls release the GIL while they wait and obey Ctrl-C."""

    def __init__(self, channel: Channel, producer: RingProducer) -> None:
        self.channel = channel
        self._producer = producer
        self._dtype = channel.dtype
        record = channel.record
        self._packing = None if record is None or self._dtype is None else Packing(record, self._dtype)

    @property
    def published(self) -> int:
        """Last committed sequence; 0 when there is none. In mode mpsc, of any producer, with all before it committed too."""
        return self._producer.published

    def write(self, message: Message, timeout: float | None = None) -> int | Full:
        """Commits one message, as bytes or as an instance of the channel's dataclass; waits for consumers that gate.

        Gives its sequence, or `Full` when `timeout` s passed, or a consumer in the way is not to be waited for longer.
        Raises: ChannelUsageError for a value that its field cannot hold.
        """
        try:
            return self._producer.write(message, timeout)
        except TypeError:
            if self._packing is None or not isinstance(message, self._packing.record):
                raise
        return self._producer.write(self._packing.pack([message]).tobytes(), timeout)

    def write_batch(
        self, messages: Sequence[Message] | np.ndarray[Any, Any], timeout: float | None = None
    ) -> int | Full:
        """Commits many: a structured array of the channel's layout, or a sequence of what `write` takes.

        Gives the last sequence, or `Full` with how many were written.
        Raises: ChannelUsageError for an array of another layout, and as `write`.
        """
        if not isinstance(messages, np.ndarray):
            if self._packing is None or not messages or not isinstance(messages[0], self._packing.record):
                return self._producer.write_messages(messages, timeout)
            messages = self._packing.pack(messages)
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
    channel: Channel | str,
    *,
    dtype: DTypeLike | type[Any] | None = None,
    node: str = DEFAULT_NODE,
    directory: str | os.PathLike[str] | None = None,
) -> Producer:
    """Becomes a producer of a channel, after its last committed message; `node` or `directory` find one given by name.

    dtype:  the record type, as in `ChannelOptions`; a channel of another one is refused, field by field.

    Raises: EndpointBusyError while another producer lives (mode spsc) or as many as may (mpsc); ChannelNotFoundError, ChannelFormatError;
            CorruptMessageError when the newest messages are damaged.
    """
    opened = open_channel(channel, node=node, directory=directory) if isinstance(channel, str) else channel
    opened = declared(opened, dtype)
    return Producer(opened, RingProducer(opened.ring))

"""Messages read at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from tidebook.errors import ChannelUsageError
from tidebook.transport.layout import from_text

if TYPE_CHECKING:
    from types import TracebackType

    from tidebook._core import RingBatch


class Batch:
    """A run of messages. Its place in the ring is kept until it is released and no array refers to it.

    Memory: `array` lies in the ring. `release()` refuses with BufferError while an array still refers to it; leaving
            a `with` block or reading the next batch lets the producer on as soon as the last array is gone.
    """

    def __init__(self, batch: RingBatch, text: str | None) -> None:
        self._batch = batch
        self._text = text

    def __len__(self) -> int:
        return len(self._batch)

    @property
    def first_sequence(self) -> int:
        """Sequence of the first message; the others follow without a hole."""
        return self._batch.first_sequence

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """The records as one read-only structured array, without a copy.

        Shape:  (len(self),), strided: between records lie the ring's own headers.
        Raises: ChannelUsageError on a channel of plain messages.
        """
        if self._text is None:
            raise ChannelUsageError("plain messages have no array; use messages()", option="dtype")
        batch = self._batch
        dtype = from_text(self._text, base=batch.record_offset, itemsize=batch.stride)
        array: np.ndarray[Any, Any] = np.frombuffer(cast("Any", batch), dtype)
        return array

    def messages(self) -> list[bytes]:
        """The payloads, copied."""
        return self._batch.messages()

    def release(self) -> None:
        """Lets the producer on now. Raises: BufferError while an array still refers to the batch."""
        self._batch.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batch.finish()

"""Messages read at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from tidebook.errors import ChannelUsageError

if TYPE_CHECKING:
    from types import TracebackType

    from tidebook._core import RingBatch
    from tidebook.transport.record import Packing


class Batch:
    """A run of messages. Its place in the ring is kept until it is released and no array refers to it.

    Memory: `array` lies in the ring. `release()` refuses with BufferError while an array still refers to it; leaving
            a `with` block or reading the next batch lets the producer on as soon as the last array is gone.
    """

    def __init__(self, batch: RingBatch, slot: np.dtype[Any] | None, packing: Packing | None = None) -> None:
        self._batch = batch
        self._slot = slot
        self._packing = packing

    def __len__(self) -> int:
        return len(self._batch)

    @property
    def first_sequence(self) -> int:
        """Sequence of the first message; the others follow without a hole."""
        return self._batch.first_sequence

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """The records as one read-only structured array of the channel's dtype, without a copy.

        Shape:  (len(self),), strided: between records lie the ring's own headers.
        Memory: the ring's, for this process; a forked child that inherits the array sees it change when its parent reads
                on, so hand it a copy.
        Raises: ChannelUsageError on a channel of plain messages; BufferError once the batch is released.
        """
        array: np.ndarray[Any, Any] = self._slots()["record"]
        return array

    @property
    def sequences(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """The sequence of each record, read from the ring like `array`; shape, memory and errors as there."""
        sequences: np.ndarray[Any, np.dtype[np.uint64]] = self._slots()["sequence"]
        return sequences

    def _slots(self) -> np.ndarray[Any, Any]:
        if self._slot is None:
            raise ChannelUsageError("plain messages have no array; use messages()", option="dtype")
        # Keeps a view of the batch, which keeps its place in the ring.
        return np.frombuffer(cast("Any", self._batch), self._slot)

    def messages(self) -> list[bytes]:
        """The payloads, copied."""
        return self._batch.messages()

    def records(self) -> list[Any]:
        """The records as instances of the dataclass they were declared as, copied.

        Raises: ChannelUsageError where the channel was opened without one, or has plain messages; BufferError once the batch is released.
        """
        if self._slot is None:
            raise ChannelUsageError("plain messages have no records; use messages()", option="dtype")
        if self._packing is None:
            raise ChannelUsageError(
                "this channel was opened without a dataclass; open it with dtype= the dataclass, or use array",
                option="dtype",
            )
        return self._packing.unpack(self.array)

    def release(self) -> None:
        """Lets the producer on now. Raises: BufferError while an array still refers to the batch."""
        self._batch.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batch.finish()

"""A message that is filled where readers will find it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from tidebook.errors import ChannelUsageError

if TYPE_CHECKING:
    from types import TracebackType

    from tidebook._core import RingClaim


class Claim:
    """Room for one message in the ring, without a copy. A `with` block commits it, or aborts it when it raises.

        with producer.claim() as claim:
            claim.record["price"] = 101

    Memory: `buffer` and `record` lie in the ring and hold what an earlier message left: fill all of it. A claim cannot
            be committed while an array or another view refers to it (BufferError); `buffer` itself is released by that.
            When a claim is aborted, arrays that are left refer to memory of their own.
    Others: with many producers (mode mpsc) the claim has its place among the messages already, so readers wait at it;
            with one, nobody notices before it is committed.
    """

    def __init__(self, claim: RingClaim, record: np.dtype[Any] | None) -> None:
        self._claim = claim
        self._dtype = record
        self._view: memoryview | None = None

    def __len__(self) -> int:
        """Bytes of the message."""
        return len(self._claim)

    @property
    def buffer(self) -> memoryview:
        """The payload as writable bytes. Raises: BufferError once the claim is over."""
        if self._view is None:
            self._view = memoryview(cast("Any", self._claim))
        return self._view

    @property
    def record(self) -> np.ndarray[Any, Any]:
        """The payload as a writable structured array of one record.

        Shape:  (1,)
        Raises: ChannelUsageError on a channel of plain messages; BufferError once the claim is over.
        """
        if self._dtype is None:
            raise ChannelUsageError("a plain message has no record; fill buffer", option="dtype")
        return np.frombuffer(cast("Any", self._claim), self._dtype)

    def commit(self) -> int:
        """Publishes the message and gives its sequence.

        Raises: BufferError while an array or view refers to it, and the claim stays open; ChannelUsageError when it is
                over already; EndpointLostError when this producer was deposed.
        """
        self._forget_view()
        return self._claim.commit()

    def abort(self) -> None:
        """Gives the room back; no message comes of it. On a claim that is over it does nothing."""
        self._forget_view()
        self._claim.abort()

    def _forget_view(self) -> None:
        """Releases `buffer`, unless something refers to it: then the claim knows."""
        if self._view is not None:
            with suppress(BufferError):
                self._view.release()
            self._view = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif self._claim.is_open:
            try:
                self.commit()
            except BufferError:
                self.abort()
                raise

"""The newest trades of one instrument.

Their rows are copied into memory of the tape's own. A row that is kept as numpy gives it holds the batch it came in, with
the rows of all other instruments, so a thousand trades of a quiet market held a thousand batches of the busy ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROOM_FIRST = 16


class Tape:
    """At most `kept` trades, oldest first, each with its sequence: those this server saw of the instrument, from 1."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._rows: NDArray[Any] | None = None
        self._sequences = np.zeros(0, np.int64)
        self._first = 0
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._first

    @property
    def last(self) -> Any:
        """The newest row; None before any. Memory: a view, valid until the next `extend`."""
        return self._rows[self._end - 1] if self._rows is not None and len(self) else None

    def extend(self, rows: NDArray[Any], sequence: int) -> None:
        """Adds rows, of which the last has `sequence` and each other one less than the next; the oldest fall off."""
        rows = rows[-self._kept :]
        if self._rows is None or self._end + len(rows) > len(self._rows):
            self._make_room(rows)
            assert self._rows is not None
        stop = self._end + len(rows)
        self._rows[self._end : stop] = rows
        self._sequences[self._end : stop] = np.arange(sequence - len(rows) + 1, sequence + 1)
        self._end = stop
        self._first = max(self._first, stop - self._kept)

    def after(self, sequence: int) -> NDArray[Any] | tuple[()]:
        """Rows later than `sequence`, oldest first. Memory: a view, valid until the next `extend`."""
        return self._between(int(np.searchsorted(self._held, sequence, "right")), len(self))

    def newest(self, count: int, upto: int | None = None) -> NDArray[Any] | tuple[()]:
        """The newest `count` rows, oldest first, leaving out those later than `upto`. Memory: as of `after`."""
        stop = len(self) if upto is None else int(np.searchsorted(self._held, upto, "right"))
        return self._between(max(0, stop - count), stop)

    @property
    def _held(self) -> NDArray[np.int64]:
        return self._sequences[self._first : self._end]

    def _between(self, start: int, stop: int) -> NDArray[Any] | tuple[()]:
        return () if self._rows is None else self._rows[self._first + start : self._first + stop]

    def _make_room(self, more: NDArray[Any]) -> None:
        """Moves what is still kept to the front of twice the room it and `more` take, twice `kept` at most."""
        stays = min(len(self), self._kept - len(more))
        room = min(2 * self._kept, max(_ROOM_FIRST, 2 * (stays + len(more))))
        rows, sequences = np.zeros(room, more.dtype), np.zeros(room, np.int64)
        if self._rows is not None:
            rows[:stays] = self._rows[self._end - stays : self._end]
            sequences[:stays] = self._sequences[self._end - stays : self._end]
        self._rows, self._sequences, self._first, self._end = rows, sequences, 0, stays

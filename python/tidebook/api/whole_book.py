"""Every level of one book, as far as depth records have told it, grouped into steps for a page.

Images hold the best 25 levels; who looks at a wider part of the book needs all of them. They are made of `md.depth`, whose
records applied in order are the engine's book, from the end of a snapshot on: before the first one, and after records that were
overwritten before they were read, the book here is not whole and says so. Then the engine tells it again, a large one in
pieces between which it goes on changing; who has it whole passes over these. Whether a book may be used is not known here.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tidebook._core import DepthBook

RETOLD_INDEX: Final = 1 << 19
"""`source_index` from which on a record tells again what stands."""

_ACTION_CLEAR: Final = 2
_FLAG_LAST: Final = 128
_FLAG_SNAPSHOT: Final = 32

Levels = tuple[list[int], list[int]]
"""Prices and sizes of one side in units, best first."""


class WholeBook:
    """The levels of one instrument."""

    def __init__(self) -> None:
        self._book = DepthBook()
        self._exponents = (0, 0)
        # Message that the snapshot began with whose end is still to come.
        self._begun: int | None = None
        self.whole = False
        """A snapshot was seen to its end, and every change since."""

    def take(self, records: NDArray[Any]) -> None:
        """Applies depth records of the instrument, in order."""
        if self.whole:
            records = records[records["source_index"] < RETOLD_INDEX]
        cleared = np.flatnonzero(records["action"] == _ACTION_CLEAR)
        if len(cleared):
            # What came before the last snapshot is of no interest any more.
            records = records[cleared[-1] :]
            self._exponents = (int(records["price_exp"][0]), int(records["size_exp"][0]))
            self._begun, self.whole = int(records["source_sequence"][0]), False
        if self._begun is not None:
            # Changes of later messages may stand between the pieces of one that is told again.
            flags = records["flags"]
            of_it = (flags & _FLAG_SNAPSHOT != 0) | (records["source_sequence"] == self._begun)
            if bool(np.any(of_it & (flags & _FLAG_LAST != 0))):
                self._begun, self.whole = None, True
            self._book.apply(records)
        elif self.whole:
            self._book.apply(records)

    def lost(self) -> None:
        """Changes were not seen: the book is not whole until the end of the next snapshot."""
        self._begun, self.whole = None, False

    @property
    def exponents(self) -> tuple[int, int]:
        """Of prices and sizes."""
        return self._exponents

    @property
    def venue_sequence(self) -> int:
        """The venue's sequence of the newest change."""
        return self._book.venue_sequence

    def counts(self) -> tuple[int, int]:
        """Levels of each side."""
        return self._book.counts()

    def grouped(self, step: int, count: int) -> tuple[Levels, Levels]:
        """The best `count` groups of both sides, `step` price units wide, best first."""
        prices, sizes = self._book.levels(max(self._book.counts()))
        return group(prices[0], sizes[0], -step, count), group(prices[1], sizes[1], step, count)


def group(prices: NDArray[np.int64], sizes: NDArray[np.int64], step: int, count: int) -> Levels:
    """Levels of one side, best first, as at most `count` groups of |`step`| units.

    A group is named by the worst price in it: asks (`step` above 0) are rounded up, bids (below 0) down, so that nobody
    would pay more, or get less, than it says. Levels of size 0 are none.
    """
    there = sizes > 0
    prices, sizes = prices[there], sizes[there]
    if not len(prices):
        return [], []
    rounded = -(-prices // step) * step if step > 0 else prices // -step * -step
    first = np.flatnonzero(np.diff(rounded, prepend=rounded[0] - 1))[: count + 1]
    stop = int(first[count]) if len(first) > count else len(rounded)
    first = first[:count]
    return rounded[first].tolist(), np.add.reduceat(sizes[:stop], first).tolist()

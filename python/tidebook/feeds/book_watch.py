"""Books that fall silent while their session goes on: found by what the venue still sends beside them.

A session lives by its other streams, so nobody misses one book that the venue stopped sending. Two things tell. Trades
and best prices of the same instrument cannot go on without its book: after some of them, over some seconds, the book
is dead. Where the whole instrument is still while others move, it may as well be quiet: it is looked at ever more
rarely. A state machine over counts of frames and time given as an argument; what is done is the line's to say.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

# Trades and best prices without a change of the book: fewer may come in the moment before its own message does.
MOVES_MIN = 20
# A book that had so many changes since it was found silent is well again.
WELL_AFTER_UPDATES = 20


class Silence(NamedTuple):
    """A book that says nothing."""

    reason: str
    attempt: int
    """How often in a row its instrument moved without it, from 1; 0 where the instrument may just be quiet."""


@dataclass(slots=True)
class _Book:
    quiet_after_s: float
    updates: int = 0
    moves: int = 0
    """Trades and best prices of the instrument."""
    updates_checked: int = 0
    moves_before: int = 0
    """`moves` when the book last changed."""
    still_since_s: float = math.inf
    moving_since_s: float | None = None
    """Since when the instrument moves without its book."""
    attempts: int = 0
    updates_at_attempt: int = 0

    def begin(self, now_s: float) -> None:
        self.updates_checked, self.moves_before = self.updates, self.moves
        self.still_since_s, self.moving_since_s = now_s, None


class BookWatch:
    """All books of a feed. `about` tells of a frame the instrument and whether it changes the book, as `VenueProtocol` does.

    A book is silent after `silent_after_s` of its instrument's moves without it, and looked at after `quiet_after_s` of
    nothing at all, each time after twice as long up to `quiet_max_s`.
    """

    def __init__(
        self,
        about: Callable[[bytes], tuple[bytes, bool] | None],
        name_in_frames: Callable[[str], bytes],
        *,
        silent_after_s: float,
        quiet_after_s: float,
        quiet_max_s: float,
    ) -> None:
        self._about = about
        self._name_in_frames = name_in_frames
        self._silent_after_s = silent_after_s
        self._quiet_after_s = quiet_after_s
        self._quiet_max_s = max(quiet_after_s, quiet_max_s)
        self._books: dict[bytes, _Book] = {}

    def saw(self, body: bytes) -> None:
        """Counts a frame of market data."""
        about = self._about(body)
        if about is not None:
            name, of_book = about
            book = self._books.get(name)
            if book is None:
                return
            if of_book:
                book.updates += 1
            else:
                book.moves += 1

    def begin(self, symbols: Iterable[str], now_s: float) -> None:
        """The venue granted these books, for the first time or again: their time runs from now."""
        for symbol in symbols:
            self._books.setdefault(self._name_in_frames(symbol), _Book(self._quiet_after_s)).begin(now_s)

    def forget(self, symbols: Iterable[str]) -> None:
        """These were given up."""
        for symbol in symbols:
            self._books.pop(self._name_in_frames(symbol), None)

    def check(self, symbols: Iterable[str], now_s: float, *, others_move: bool) -> dict[str, Silence]:
        """Which of these books are silent; each is told once, and its time then runs anew."""
        found: dict[str, Silence] = {}
        for symbol in symbols:
            book = self._books.get(self._name_in_frames(symbol))
            silence = self._check(book, now_s, others_move=others_move) if book is not None else None
            if silence is not None:
                found[symbol] = silence
        return found

    def _check(self, book: _Book, now_s: float, *, others_move: bool) -> Silence | None:
        if book.updates != book.updates_checked:
            book.begin(now_s)
            if book.updates - book.updates_at_attempt >= WELL_AFTER_UPDATES:
                book.attempts = 0
            return None
        moves = book.moves - book.moves_before
        if moves and book.moving_since_s is None:
            book.moving_since_s = now_s
        moving_since_s = now_s if book.moving_since_s is None else book.moving_since_s
        if moves >= MOVES_MIN and now_s - moving_since_s >= self._silent_after_s:
            book.attempts += 1
            book.updates_at_attempt = book.updates
            silent_s = now_s - book.still_since_s
            book.begin(now_s)
            return Silence(
                f"no change of the book for {silent_s:.1f} s beside {moves} trades and quotes", book.attempts
            )
        # One that never changed may be of a symbol that nobody trades.
        if others_move and book.updates and now_s - book.still_since_s >= book.quiet_after_s:
            silent_s = now_s - book.still_since_s
            book.quiet_after_s = min(2 * book.quiet_after_s, self._quiet_max_s)
            book.begin(now_s)
            return Silence(f"no change of the book for {silent_s:.1f} s while others change", 0)
        return None

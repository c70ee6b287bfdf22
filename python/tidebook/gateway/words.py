"""Numbers of commands and executions as the words that requests and answers use, and back.

The words are those of `docs/formats/orders.md`: the names of `tidebook.venue.codes` in small letters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tidebook.venue import codes

if TYPE_CHECKING:
    from enum import IntEnum


class Words(dict[int, str]):
    """The word of each number; of one that means nothing its digits, for a refused command may have any."""

    def __missing__(self, number: int) -> str:
        return str(number)


def _words(kind: type[IntEnum]) -> Words:
    return Words({int(code): code.name.lower() for code in kind})


def numbers(words: dict[int, str]) -> dict[str, int]:
    """The same the other way round."""
    return {word: number for number, word in words.items()}


COMMAND_KINDS: Final = _words(codes.CommandKind)
ORDER_TYPES: Final = _words(codes.OrderType)
TIMES_IN_FORCE: Final = _words(codes.TimeInForce)
SELF_TRADES: Final = _words(codes.SelfTrade)
PEGS: Final = _words(codes.Peg)
SESSIONS: Final = _words(codes.Session)
BAND_ACTIONS: Final = _words(codes.BandAction)
EXECUTION_KINDS: Final = _words(codes.ExecutionKind)
REASONS: Final = _words(codes.Reason)
SIDES: Final = Words({1: "buy", -1: "sell"})

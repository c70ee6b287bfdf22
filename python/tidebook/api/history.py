"""What happened before this process: bars and outages from wherever they are stored.

A swap point: a node reads its store, a test gives what it made. Calls are made in a worker thread, one at a time.
"""

from collections.abc import Sequence
from typing import Protocol

from tidebook.api.bars import Bar
from tidebook.api.outages import Outage


class History(Protocol):
    """Stored market data of one node. Blocking. Its methods raise StorageError when what is stored cannot be read."""

    def bars(self, instrument: str, timeframe: str, before_ns: int, count: int) -> Sequence[Bar]:
        """The newest `count` closed bars that begin before `before_ns`, rising, each in its last revision."""
        ...

    def outages(self, instrument: str, start_ns: int, end_ns: int) -> Sequence[Outage]:
        """Times within [`start_ns`, `end_ns`) in which the book could not be used or no session was there."""
        ...


class NoHistory:
    """Of a node that stores nothing."""

    def bars(self, instrument: str, timeframe: str, before_ns: int, count: int) -> Sequence[Bar]:  # noqa: ARG002
        """None."""
        return ()

    def outages(self, instrument: str, start_ns: int, end_ns: int) -> Sequence[Outage]:  # noqa: ARG002
        """None."""
        return ()

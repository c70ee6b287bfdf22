"""Where the records of a `MarketView` come from.

One method, so that a test may hand over arrays it made and a node the rings it reads. Polling never waits: the API
reads by overwrite policy, so it can fall behind, but can never hold up the engine.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from tidebook.api.view import Records

# The channels a view keeps, definitions last: read in this order, any record's instrument has been published before
# `md.instruments` is read.
CHANNELS = ("md.book", "md.quotes", "md.trades", "md.instruments")


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one channel, oldest first, and how many before them were overwritten unread."""

    channel: str
    records: Records
    missed: int = 0


class RecordSource(Protocol):
    """Anything that has batches of canonical records."""

    def poll(self) -> Iterable[Batch]:
        """What came since the last call; definitions before the records that need them. Does not wait.

        Rows are valid until the next step of the iteration.
        """
        ...

"""Where the records of a `MarketView` come from.

One method, so that a test may hand over arrays it made and a node the rings it reads. Polling never waits: the API
reads by overwrite policy, so it can fall behind, but can never hold up the engine.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from tidebook.api.view import Records


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one channel, oldest first, how many before them were overwritten unread, and of which instruments those were.

    Whose they were is by `instrument_id`, and None where nobody knows.
    """

    channel: str
    records: Records
    missed: int = 0
    missed_of: dict[int, int] | None = None


class RecordSource(Protocol):
    """Anything that has batches of canonical records."""

    def poll(self) -> Iterable[Batch]:
        """What came since the last call, in the order of `CHANNELS`. Does not wait.

        Several channels have to be *read* in the opposite order: what is published last is then read first, so that
        a record never arrives in an earlier poll than the definition or status that was published before it.
        Rows are valid until the next step of the iteration.
        """
        ...

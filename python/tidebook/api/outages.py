"""When a book could not be used, and when nothing came from a venue: what a chart marks and a trader must not overlook.

Two state machines over records, without a clock of their own. A book's outages follow its status records from
`book_unusable` to `book_usable`. A feed's silences follow `md.health`, which counts the frames of each second of the
feed's clock: two seconds without one, heartbeats included, are a silence, and so is a time in which the feed's clock
itself stood still because no process ran it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from tidebook.feeds.status import StatusKind, said

OUTAGES_KEPT: Final = 500

SILENT: Final = "silent"
"""The reason of a silence; all others are words of `md.status`."""
UNKNOWN: Final = "unknown"
"""The reason of an outage that began before this process looked."""

_STOOD_STILL_NS: Final = 3_000_000_000
_SILENT_WINDOWS: Final = 2


class Outage(NamedTuple):
    """A time in which a market's numbers could not be trusted, ns since 1970 UTC."""

    since: int
    until: int | None
    """None while it lasts."""
    reason: str


class Outages:
    """The newest outages of one book or feed, in the order they began. At most one lasts."""

    def __init__(self) -> None:
        self._over: deque[Outage] = deque(maxlen=OUTAGES_KEPT)
        self.lasting: Outage | None = None
        self.version = 0
        """Rises with every change."""

    def __iter__(self) -> Iterator[Outage]:
        yield from self._over
        if self.lasting is not None:
            yield self.lasting

    def begin(self, ns: int, reason: str) -> None:
        """An outage begins, unless one lasts: its first reason is what started it."""
        if self.lasting is None:
            self.lasting = Outage(ns, None, reason)
            self.version += 1

    def end(self, ns: int) -> None:
        """The outage that lasts is over; does nothing when none does."""
        if self.lasting is not None:
            self._over.append(self.lasting._replace(until=max(ns, self.lasting.since)))
            self.lasting = None
            self.version += 1


class BookOutages(Outages):
    """Of one instrument's book, by its status records and, before the first of these, by its images."""

    def __init__(self) -> None:
        super().__init__()
        self._told = False

    def happened(self, kind: int, reason: int, ts_recv: int) -> None:
        """Takes a status record of the instrument; kinds that do not change whether the book may be used do nothing."""
        match kind:
            case StatusKind.BOOK_UNUSABLE:
                if not self._told:
                    self.lasting = None  # what an image made us guess
                self.begin(ts_recv, said(reason))
                self._told = True
            case StatusKind.BOOK_USABLE:
                self.end(ts_recv)
                self._told = True
            case StatusKind.SNAPSHOT_WANTED if not self._told:
                # The first word about a book that has never been usable: from here on a page waits for it.
                self.begin(ts_recv, said(reason))
                self._told = True

    def shown(self, usable: bool, ts_recv: int) -> None:
        """Takes the state of an image, which counts only while no status record has told."""
        if self._told:
            return
        if usable:
            self.end(ts_recv)
        else:
            self.begin(ts_recv, UNKNOWN)


class FeedSilences(Outages):
    """Of one feed, by its `md.health` records in order."""

    def __init__(self) -> None:
        super().__init__()
        self._silent_windows = 0
        self._silent_since = 0

    def told(self, record: Any) -> None:
        """Takes the next record."""
        until = int(record["ts_recv"])
        since = until - int(record["interval_ns"])
        if until - since > _STOOD_STILL_NS:
            # Where in this time messages came is not known; nobody was there for most of it.
            self.begin(since, SILENT)
            self.end(until)
            self._silent_windows = 0
        elif int(record["messages"]) > 0:
            self.end(since)
            self._silent_windows = 0
        else:
            if self._silent_windows == 0:
                self._silent_since = since
            self._silent_windows += 1
            if self._silent_windows >= _SILENT_WINDOWS:
                self.begin(self._silent_since, SILENT)


def in_order(*sources: Iterable[Outage]) -> list[Outage]:
    """All of them by their beginning, each once."""
    return sorted({outage for source in sources for outage in source}, key=lambda outage: (outage.since, outage.reason))

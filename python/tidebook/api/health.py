"""Health of one venue's feed, counted from the records that reach this process.

Records carry the sequence of the feed message they were derived from, so the message rate needs no counter of its
own: it is the rise of that sequence over time. Ages and rates go by a steady clock: the wall clock may be set while we run.
Time is an argument; nothing here reads a clock.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidebook.api import wire
from tidebook.feeds.status import StatusKind

RATE_WINDOW_NS = 2_000_000_000
QUIET_AFTER_NS = 2_000_000_000
OWN_VENUE = "local"
"""The node's own: nothing comes between it and this server, so when it says nothing, nothing happened."""


@dataclass(slots=True)
class FeedHealth:
    """Counters and clocks of one venue's feed."""

    venue: str
    messages: int = 0
    last_message_ns: int = 0
    # Steady clock when the newest records came, and how old they were then.
    _seen_at: int = 0
    _age_then: int = 0
    venue_delay_ns: int | None = None
    delay_ns: int | None = None
    gaps: int = 0
    resyncs: int = 0
    quarantined: int = 0
    checks_failed: int = 0
    reconnects: int = 0
    missed_records: int = 0
    # (our clock, messages) at past ticks, oldest first; spans RATE_WINDOW_NS once it has run that long.
    _samples: deque[tuple[int, int]] = field(default_factory=deque)
    # Sessions open, and where in the feed the newest end, begin and market record stand: their order in the feed counts,
    # since records of several channels arrive here in no order, and of an overrun channel only the newest.
    _open: set[int] = field(default_factory=set)
    _began_at: int = 0
    _ended_at: int = 0
    _market_at: int = 0
    # The newest end of a session that left none open.
    _alone_at: int = -1
    # Instruments whose book has been usable: a snapshot of one of these is a resync and no beginning.
    _synced: set[int] = field(default_factory=set)

    def saw(self, records: "np.ndarray[Any, Any]", now_ns: int, steady_ns: int, *, market: bool = True) -> None:
        """Takes the clocks and sequences of `records`, a batch of one record type of this venue, oldest first.

        `market` says that they are what a session brought, and not what was said about the feed.
        """
        received = records["ts_recv"]
        newest = int(records["source_sequence"][-1])
        if newest >= self.messages:
            self.messages = newest
            self.last_message_ns = int(received[-1])
            self._seen_at = steady_ns
            self._age_then = max(0, now_ns - self.last_message_ns)
        if market:
            self._market_at = max(self._market_at, newest)
        self.delay_ns = now_ns - int(np.median(received))
        events = records["ts_event"]
        timed = events > 0
        if timed.any():
            self.venue_delay_ns = int(np.median(received[timed] - events[timed]))

    def happened(self, status: Any) -> None:
        """Counts a status record; kinds that say nothing about health are passed over."""
        instrument_id, at = int(status["instrument_id"]), int(status["source_sequence"])
        match int(status["kind"]):
            case StatusKind.GAP | StatusKind.TRADE_GAP:
                self.gaps += 1
            case StatusKind.SNAPSHOT_APPLIED:
                self.resyncs += instrument_id in self._synced
                self._synced.add(instrument_id)
            case StatusKind.CHECKSUM_MISMATCH | StatusKind.ORACLE_DISAGREES | StatusKind.CROSSED:
                self.checks_failed += 1
            case StatusKind.MALFORMED:
                self.quarantined += 1
            case StatusKind.CONNECTED:
                self._open.add(int(status["found"]))
                self._began_at = max(self._began_at, at)
            case StatusKind.DISCONNECTED:
                self._open.discard(int(status["found"]))
                self._ended_at = max(self._ended_at, at)
                if not self._open:
                    self._alone_at = max(self._alone_at, at)
                self.reconnects += 1

    def ended_after(self, sequence: int) -> bool:
        """Whether the feed has been without a session since this message of it: what it said then holds no more."""
        return sequence <= self._alone_at

    def usable(self, instrument_id: int) -> None:
        """Notes that the instrument's book is in use."""
        self._synced.add(instrument_id)

    def tick(self, steady_ns: int) -> None:
        """Remembers where the feed stands at `steady_ns` of a clock that is never set; call at a steady pace."""
        self._samples.append((steady_ns, self.messages))
        while len(self._samples) > 2 and steady_ns - self._samples[1][0] >= RATE_WINDOW_NS:
            self._samples.popleft()

    def messages_per_second(self) -> float:
        """Rise of the message sequence over the remembered window; 0 until two ticks are known."""
        if len(self._samples) < 2:
            return 0.0
        (first_ns, first), (last_ns, last) = self._samples[0], self._samples[-1]
        # Before the first record the sequence is unknown, not zero: joining a running feed is no burst.
        if last_ns <= first_ns or first == 0:
            return 0.0
        return round((last - first) * 1e9 / (last_ns - first_ns), 1)

    def age_ns(self, steady_ns: int) -> int:
        """How old what they say is, ns: of the node's own venue it is always of now."""
        if self.venue == OWN_VENUE:
            return 0
        return self._age_then + steady_ns - self._seen_at

    def state(self, steady_ns: int, silent_ns: int = 0) -> wire.FeedState:
        """Where the feed stands, silent for so long by the count of its frames."""
        # A session whose beginning was overwritten before it was read is known by what it brings.
        # What the end itself brings, books that are lost, stands where the end does.
        if not self._open and self._ended_at >= max(self._began_at, self._market_at, 1):
            return "disconnected"
        if self.last_message_ns == 0:
            return "waiting"
        return "quiet" if max(silent_ns, self.age_ns(steady_ns)) > QUIET_AFTER_NS else "live"

    def said(self, steady_ns: int, instruments: int, books_usable: int, silent_ns: int = 0) -> wire.Feed:
        """The same as the API says it. What is told of a silent feed, such as the end of its session, is no sign of life."""
        seen = self.last_message_ns > 0
        return wire.Feed(
            venue=self.venue,
            state=self.state(steady_ns, silent_ns),
            messages=self.messages,
            messages_per_second=self.messages_per_second(),
            last_message_at=self.last_message_ns // 1000,
            age_us=max(silent_ns, self.age_ns(steady_ns)) // 1000 if seen else None,
            venue_delay_us=None if self.venue_delay_ns is None else self.venue_delay_ns // 1000,
            delay_us=None if self.delay_ns is None else self.delay_ns // 1000,
            gaps=self.gaps,
            resyncs=self.resyncs,
            quarantined=self.quarantined,
            checks_failed=self.checks_failed,
            reconnects=self.reconnects,
            missed_records=self.missed_records,
            instruments=instruments,
            books_usable=books_usable,
        )

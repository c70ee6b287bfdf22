"""What `md.status` records say: the numbers of their `kind` and `reason`.

Numbers and names are those of `tidebook_feed::StatusKind`, which never change because files hold them; a test
compares the two. A number of a later version is no member; `said` gives it all the same.
"""

from enum import IntEnum


class StatusKind(IntEnum):
    """What happened to a feed or book, or why."""

    GAP = 1
    BOOK_UNUSABLE = 2
    BOOK_USABLE = 3
    SNAPSHOT_WANTED = 4
    SNAPSHOT_APPLIED = 5
    SNAPSHOT_REFUSED = 6
    CHECKSUM_MISMATCH = 7
    ORACLE_DISAGREES = 8
    ORACLE_AGREES = 9
    TRADE_GAP = 10
    TRADE_LATE = 11
    MALFORMED = 12
    PRECISION_CHANGED = 13
    CONNECTED = 14
    DISCONNECTED = 15
    UNSUBSCRIBED = 16
    REFUSED = 17
    VENUE_SHUTDOWN = 18
    CROSSED = 19
    OUT_OF_ORDER = 20
    SNAPSHOT_AHEAD = 21
    BUFFER_FULL = 22
    STARTED = 23
    CONNECTION_CHANGED = 24
    CLOCK_STEPPED = 25
    TRADING_HALTED = 26
    TRADING_RESUMED = 27
    TRADE_BROKEN = 28
    SESSION_CHANGED = 29
    INDICATIVE_PRICE = 30
    UNCROSSED = 31


STATUS_WORDS = {int(kind): kind.name.lower() for kind in StatusKind}
"""As tables and logs have them."""


def said(number: int) -> str:
    """The word for a kind or reason."""
    return STATUS_WORDS.get(number, f"status_{number}")

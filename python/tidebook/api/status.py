"""Kinds of `md.status` records that change the health of a feed.

Numbers and names are those of `tidebook_feed::StatusKind`, which never change because files hold them; a test
compares the two. Kinds that are not here (a snapshot wanted, an instrument redefined) are no matter of health.
"""

from enum import IntEnum


class StatusKind(IntEnum):
    """What happened to a feed or book."""

    GAP = 1
    SNAPSHOT_APPLIED = 5
    CHECKSUM_MISMATCH = 7
    ORACLE_DISAGREES = 8
    TRADE_GAP = 10
    MALFORMED = 12
    CONNECTED = 14
    DISCONNECTED = 15
    CROSSED = 19

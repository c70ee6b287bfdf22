"""Until when a host wants to hear nothing of us: its `Retry-After`, obeyed by whoever would ask it something.

A venue counts by address, so what one connection was told holds for every connection of the feed, and for its REST
requests where they go to the same host. A state machine over time given as an argument.

Source: RFC 9110, section 10.2.3 (Retry-After is a number of seconds or a date).
"""

import contextlib
import math
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

# Answers that say when to come back, or mean it.
STOP_STATUSES = frozenset({418, 429})
RETRY_AFTER_UNKNOWN_S = 60.0
"""One of them that does not say for how long."""
RETRY_AFTER_MAX_S = 3 * 86_400.0
"""The longest that a venue is known to shut an address out; a larger number is a mistake."""


class StopSigns:
    """Stop signs by host. Times are seconds of a steady clock."""

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}

    def obey(self, url: str, now_s: float, wait_s: float) -> None:
        """The host of this address answered that nothing may be asked for so long."""
        host = _host(url)
        self._until_s[host] = max(self._until_s.get(host, -math.inf), now_s + wait_s)

    def delay_s(self, url: str, now_s: float) -> float:
        """Seconds until the host may be asked; 0 when it may be now."""
        return max(0.0, self._until_s.get(_host(url), -math.inf) - now_s)


def stop_s(status: int, retry_after: str | None, now_s: float) -> float | None:
    """For how long an answer of this status and header wants silence; None when it wants none. `now_s` is wall time."""
    if status < 400:
        return None
    wait_s = _seconds(retry_after, now_s) if retry_after is not None else None
    if wait_s is None:
        return RETRY_AFTER_UNKNOWN_S if status in STOP_STATUSES else None
    return min(max(0.0, wait_s), RETRY_AFTER_MAX_S)


def _seconds(text: str, now_s: float) -> float | None:
    with contextlib.suppress(ValueError):
        value = float(text)
        return value if math.isfinite(value) else None
    with contextlib.suppress(ValueError):
        return parsedate_to_datetime(text).timestamp() - now_s
    return None


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""

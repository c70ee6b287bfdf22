"""When a feed may open its next connection: staggered, and within what the venue allows in a window of time.

A state machine over time given as an argument. It gives out places rather than permissions, so that many connections
that want to open at once do not ask again and again.
"""

import math
from collections import deque

from tidebook.feeds.protocol import ConnectionLimits


class ConnectPace:
    """Places in time for connection attempts. Times are seconds of a steady clock."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._spacing_s = limits.connect_spacing_s
        self._window_s = limits.connect_window_s
        self._places: deque[float] = deque(maxlen=limits.connects_per_window)

    def delay_s(self, now_s: float) -> float:
        """Seconds until the place that is now taken."""
        last_s = self._places[-1] if self._places else -math.inf
        place_s = max(now_s, last_s + self._spacing_s)
        if len(self._places) == self._places.maxlen:
            place_s = max(place_s, self._places[0] + self._window_s)
        self._places.append(place_s)
        return place_s - now_s

"""When the next thing may be done that a venue counts, a message or a connection: staggered, and so many in a window of time.

A state machine over time given as an argument. It gives out places rather than permissions, so that many who want one
at once do not ask again and again; who shares a limit with others shares its pace.
"""

import math
from collections import deque

from tidebook.feeds.protocol import ConnectionLimits

# What an event loop may be late without a place being lost, however close places are.
LATE_MIN_S = 0.01


class Pace:
    """Places in time, `spacing_s` apart and at most `count_max` in each `window_s`. Times are seconds of a steady clock."""

    def __init__(self, spacing_s: float, count_max: int = 1, window_s: float = 0.0) -> None:
        self.spacing_s = spacing_s
        self._window_s = window_s
        self._places: deque[float] = deque(maxlen=count_max)
        self._rest_until_s = -math.inf

    def delay_s(self, now_s: float) -> float:
        """Seconds until the place that is now taken."""
        last_s = self._places[-1] if self._places else -math.inf
        place_s = max(now_s, last_s + self.spacing_s, self._rest_until_s)
        if len(self._places) == self._places.maxlen:
            place_s = max(place_s, self._places[0] + self._window_s)
        self._places.append(place_s)
        return place_s - now_s

    def rest(self, now_s: float, rest_s: float) -> None:
        """Nobody has a place before this time is over; whose place was in it takes another."""
        self._rest_until_s = max(self._rest_until_s, now_s + rest_s)

    def holds(self, place_s: float, now_s: float) -> bool:
        """Whether a place may be used now that its time has come; otherwise another is to be taken.

        Not in a rest, and not so late that those of the next places would come together with it, as after the process
        stood still.
        """
        return now_s >= self._rest_until_s and now_s < place_s + max(self.spacing_s, LATE_MIN_S)


def connect_pace(limits: ConnectionLimits) -> Pace:
    """Of all connections of one feed."""
    return Pace(limits.connect_spacing_s, limits.connects_per_window, limits.connect_window_s)

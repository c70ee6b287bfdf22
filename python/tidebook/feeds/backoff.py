"""How long to wait before trying again."""

import random


class Backoff:
    """Delays that double from `first_s` to `max_s`, each drawn from its upper half.

    Without the draw, clients that a venue cut off together would come back together. Seed `source` for a test.
    """

    def __init__(self, first_s: float, max_s: float, source: random.Random) -> None:
        assert 0 < first_s <= max_s, "delays grow from a positive first to a larger last"
        self._first_s = first_s
        self._max_s = max_s
        self._random = source
        self._failures = 0

    def next_s(self) -> float:
        """The delay after one more failure."""
        # Beyond 2^30 the bound holds anyway, and a float would overflow some day.
        full_s = min(self._max_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return full_s * (0.5 + 0.5 * self._random.random())

    def reset(self) -> None:
        """What was tried works: the next failure is the first again."""
        self._failures = 0

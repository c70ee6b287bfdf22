"""How much may be asked of a venue's REST side now: request weights per window of time.

A state machine over time given as an argument. It counts what we ask and believes the venue's header when that says more,
since other processes share our address.

Source: Binance API documentation, Spot, "REST API" (limits: REQUEST_WEIGHT per minute and address).
"""

from dataclasses import dataclass

MINUTE_S = 60.0


@dataclass(slots=True)
class WeightBudget:
    """Weight left in the venue's current window. Times are seconds of the wall clock, since the venue counts by it."""

    limit: int
    used: int = 0
    window_s: float = MINUTE_S
    _window: int = 0

    def delay_s(self, now_s: float, weight: int) -> float:
        """0 and the weight is taken, or the seconds to wait before asking again."""
        self._turn(now_s)
        # What weighs more than a whole window has a window for itself, rather than none ever.
        if self.used + weight > self.limit and self.used:
            return (self._window + 1) * self.window_s - now_s
        self.used += weight
        return 0.0

    def heard(self, now_s: float, used: int) -> None:
        """The venue's own count of this window, such as `X-MBX-USED-WEIGHT-1M`."""
        self._turn(now_s)
        self.used = max(self.used, used)

    def _turn(self, now_s: float) -> None:
        window = int(now_s // self.window_s)
        if window != self._window:
            self._window, self.used = window, 0

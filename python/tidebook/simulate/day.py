"""What tickers tell of the last 24 hours: here, of the time since the venue began."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidebook.simulate.market import Trade
    from tidebook.simulate.specs import SymbolSpec


class Day:
    """Prices in ticks, volume in lots. It begins with a little volume, so that there is a mean price."""

    def __init__(self, spec: SymbolSpec) -> None:
        self.opened = self.last = self.low = self.high = spec.start_price
        self.volume = spec.typical_size
        self._worth = spec.typical_size * spec.start_price

    @property
    def vwap(self) -> int:
        """Mean price by volume."""
        return self._worth // self.volume

    @property
    def change(self) -> int:
        """Of the price since the opening."""
        return self.last - self.opened

    def add(self, trade: Trade) -> None:
        """Another trade."""
        self.last = trade.price
        self.low = min(self.low, trade.price)
        self.high = max(self.high, trade.price)
        self.volume += trade.size
        self._worth += trade.size * trade.price

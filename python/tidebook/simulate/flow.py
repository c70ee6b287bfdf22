"""Seeded order flow: who adds, cancels and takes what, and when.

A few habits of real flow are kept because books and stores are sensitive to them: most orders rest near the touch and
are cancelled young, market orders sweep several resting orders, direction persists, and activity comes in bursts with
calm after them. Everything is drawn from one generator through integer tables, never through `log` or `gauss`, whose
last bit may differ between machines: the same seed is the same market everywhere.
"""

import math
import random

from tidebook.simulate.book import BUY, SELL, Order
from tidebook.simulate.market import Market

# Quantiles of the exponential distribution with mean 1,000, and of a heavy-tailed size in hundredths of its median.
# Rounded to integers, so that a libm's last bit cannot reach the market.
_QUANTILES = 1_024
EXPONENTIAL = tuple(round(-1_000 * math.log(1 - (k + 0.5) / _QUANTILES)) for k in range(_QUANTILES))
_SIZES: tuple[int, ...] = tuple(
    max(1, round(100 * ((k + 0.5) / (_QUANTILES - k - 0.5)) ** 0.7)) for k in range(_QUANTILES)
)

# Orders the flow keeps resting per symbol, and how many price levels of them lie beyond the active zone. A venue with
# many symbols has thinner books: 2,500 levels of 500 symbols would take gigabytes and minutes.
ACTIVE_ORDERS_MAX = 600
DEEP_LEVELS_MAX = 2_500
ACTIVE_ORDERS_IN_ALL = 30_000
DEEP_LEVELS_IN_ALL = 60_000

# Share of operations that are market orders, in calm and in a burst.
TAKE_CHANCE = 0.015
TAKE_CHANCE_BURSTING = 0.06


class OrderFlow:
    """The traders of one market; `share` markets share the orders of all."""

    def __init__(self, market: Market, random_source: random.Random, share: int = 1) -> None:
        self._market = market
        self._random = random_source.random
        self._active: list[Order] = []
        self._direction = BUY
        self._active_orders = min(ACTIVE_ORDERS_MAX, ACTIVE_ORDERS_IN_ALL // share)
        self._deep_levels = min(DEEP_LEVELS_MAX, DEEP_LEVELS_IN_ALL // share)
        # Mean distance of a passive order from its touch, in ticks: far enough that levels near the touch hold about one
        # order and come and go, but at most 0.2 % of the price.
        start = market.spec.start_price
        self._spread_out = max(4, start // 20_000, min(self._active_orders // 2, start // 500))

    def open(self) -> None:
        """Fills the empty book: dense at the touch, thinning outwards to about a tenth of the price."""
        start, deep = self._market.spec.start_price, self._deep_levels
        for side in (BUY, SELL):
            distance = 1
            for level in range(deep):
                self._market.add(side, start - side * distance, self._size())
                # Steps grow with the square of the level; beyond one tick each they sum to about 10 % of the price.
                distance += 1 + self._below(1 + start * 3 * level * level // (5 * deep**3))
        for place in range(self._active_orders):
            self._place(BUY if place % 2 else SELL)
        self._market.events.clear()

    def step(self, time_us: int, *, bursting: bool) -> None:
        """One order operation; in a burst more of them cross the spread."""
        take_chance = TAKE_CHANCE_BURSTING if bursting else TAKE_CHANCE
        draw = self._random()
        if draw < take_chance:
            self._take(time_us)
        elif draw < take_chance + 0.45 * len(self._active) / self._active_orders:
            self._cancel()
        else:
            self._place(BUY if self._random() < 0.5 else SELL)

    def _take(self, time_us: int) -> None:
        if self._random() < 0.08:
            self._direction = -self._direction
        mid = self._market.spec.start_price
        best = self._market.book.sides[BUY].best() or mid
        # Beyond 4 % from where it began the market turns back, so a long run stays inside its deep book.
        if abs(best - mid) * 25 > mid:
            self._direction = BUY if best < mid else SELL
        size = self._size() * (1 + self._below(4))
        # A thin book keeps its last level: nobody could say where the next order belongs.
        levels = min(40, len(self._market.book.sides[-self._direction].keys) - 1)
        self._market.take(time_us, self._direction, size, levels)

    def _cancel(self) -> None:
        active = self._active
        # The younger an order, the likelier its cancel: the larger of two uniform places.
        place = max(self._below(len(active)), self._below(len(active)))
        order = active[place]
        if len(self._market.book.sides[order.side].keys) == 1:
            return
        active[place] = active[-1]
        active.pop()
        self._market.cancel(order)

    def _place(self, side: int) -> None:
        best_own = self._market.book.sides[side].best()
        best_other = self._market.book.sides[-side].best()
        assert best_own is not None, "a side is never emptied"
        assert best_other is not None, "a side is never emptied"
        gap = (best_other - best_own) * side
        draw = self._random()
        if draw < 0.10 and gap > 1:
            price = best_own + side * (1 + self._below(gap - 1))
        elif draw < 0.30:
            price = best_own
        else:
            price = best_own - side * (1 + EXPONENTIAL[self._below(_QUANTILES)] * self._spread_out // 1_000)
        if price > 0:
            self._active.append(self._market.add(side, price, self._size()))

    def _size(self) -> int:
        return max(1, self._market.spec.typical_size * _SIZES[self._below(_QUANTILES)] // 100)

    def _below(self, bound: int) -> int:
        return int(self._random() * bound)

"""A small price-time order book: what the simulated venue matches on.

It keeps every resting order, because trades must come one per resting order as on a real venue. Prices of a side are
one sorted list whose best is last: inserting into a list of a few thousand integers is one short memory move, faster
in Python than any tree, and a snapshot is a slice. The price is O(levels) per new level, irrelevant at this size.

Units are integers: price in ticks, size in lots. It is no engine for others to trade on; that is `crates/venue`.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import NamedTuple

BUY = 1
SELL = -1


class Order(NamedTuple):
    """A resting order; its size is in the book, because it shrinks."""

    order_id: int
    side: int
    price: int


class Fill(NamedTuple):
    """One resting order's part in a taker's sweep."""

    price: int
    size: int


@dataclass(slots=True)
class BookSide:
    """One side. `keys` hold price * side, so the best price is always the last key."""

    side: int
    keys: list[int] = field(default_factory=list)
    queues: dict[int, dict[int, int]] = field(default_factory=dict)
    totals: dict[int, int] = field(default_factory=dict)

    def best(self) -> int | None:
        """Best price, or None when the side is empty."""
        return self.keys[-1] * self.side if self.keys else None

    def levels(self, count: int) -> list[tuple[int, int]]:
        """Up to `count` best levels as (price, size), best first."""
        side, totals = self.side, self.totals
        return [(key * side, totals[key * side]) for key in self.keys[: -count - 1 : -1]]


class OrderBook:
    """Resting orders of one symbol, matched by price, then by time."""

    def __init__(self) -> None:
        self.sides = {BUY: BookSide(BUY), SELL: BookSide(SELL)}
        self._next_order_id = 1

    def add(self, side: int, price: int, size: int) -> Order:
        """Rests an order behind all others of its price. The caller has made sure that it does not cross."""
        opposite = self.sides[-side].best()
        assert opposite is None or (opposite - price) * side > 0, "a resting order must not cross the book"
        order = Order(self._next_order_id, side, price)
        self._next_order_id += 1
        own = self.sides[side]
        queue = own.queues.get(price)
        if queue is None:
            queue = own.queues[price] = {}
            own.totals[price] = 0
            insort(own.keys, price * side)
        queue[order.order_id] = size
        own.totals[price] += size
        return order

    def cancel(self, order: Order) -> bool:
        """Removes the order; False when it has been filled meanwhile."""
        own = self.sides[order.side]
        queue = own.queues.get(order.price)
        if queue is None:
            return False
        size = queue.pop(order.order_id, 0)
        if size == 0:
            return False
        own.totals[order.price] -= size
        self._drop_if_empty(own, order.price)
        return True

    def take(self, aggressor: int, size: int, levels_max: int) -> list[Fill]:
        """Fills a market order of `size` against at most `levels_max` levels; what remains is cancelled."""
        other = self.sides[-aggressor]
        fills: list[Fill] = []
        levels = 0
        while size > 0 and other.keys and levels < levels_max:
            price = other.keys[-1] * other.side
            queue = other.queues[price]
            while queue and size > 0:
                order_id, resting = next(iter(queue.items()))
                filled = min(resting, size)
                if filled == resting:
                    del queue[order_id]
                else:
                    queue[order_id] = resting - filled
                other.totals[price] -= filled
                size -= filled
                fills.append(Fill(price, filled))
            self._drop_if_empty(other, price)
            levels += 1
        return fills

    @staticmethod
    def _drop_if_empty(own: BookSide, price: int) -> None:
        if not own.queues[price]:
            assert own.totals[price] == 0, "an empty level has no size left"
            del own.queues[price], own.totals[price]
            own.keys.pop(bisect_left(own.keys, price * own.side))

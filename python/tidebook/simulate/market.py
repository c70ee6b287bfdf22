"""One symbol of a simulated venue: its book, its numbering, and what each order operation makes public.

The numbering is Binance's, and other venues take from it what they show: every change of a price level takes the next
update id; an order that sweeps several levels takes one id per level but shows one new top of book; each fill is a
trade with the next trade id; the fills of one order at one price are one aggregate trade. Depth is conflated per
cadence: a flush carries each level touched since the flush before, with its size now, so a first id is always the last
id before it plus one.

Source: Binance API documentation, Spot, "WebSocket Streams" (trade, aggTrade, bookTicker, diff. depth; how to manage a
local order book correctly); the id patterns were checked on recordings of 2024-08-08 and 09.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from tidebook.simulate.book import BUY, SELL, Order, OrderBook
from tidebook.simulate.specs import SymbolSpec

# Of all symbols of a venue together.
TRADES_KEPT_MAX = 1_000_000
CHECKPOINTS_KEPT_MAX = 6_000
CHECKPOINT_LEVELS = 25
# Reading them costs as much as all else that a message costs: a market of ten or fewer has one each 100 ms at most.
CHECKPOINT_EVERY_US = 100_000


class Trade(NamedTuple):
    """One fill. Sizes in lots, price in ticks, time in microseconds since 1970 UTC."""

    time_us: int
    trade_id: int
    price: int
    size: int
    buyer_is_maker: bool
    sequence: int
    """Its place among all changes and trades of the symbol."""


class AggregateTrade(NamedTuple):
    """The fills of one order at one price."""

    time_us: int
    aggregate_id: int
    price: int
    size: int
    first_trade_id: int
    last_trade_id: int
    buyer_is_maker: bool


class Top(NamedTuple):
    """Best bid and ask after update `update_id`."""

    update_id: int
    bid_price: int
    bid_size: int
    ask_price: int
    ask_size: int
    time_us: int


class DepthDiff(NamedTuple):
    """Levels touched by updates `first_id` to `last_id` with their sizes now; 0 = gone. Best first on both sides."""

    time_us: int
    first_id: int
    last_id: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


class Checkpoint(NamedTuple):
    """The venue's own truth at a flush of its first cadence: its best levels, (price, size), best first."""

    time_us: int
    update_id: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


PublicEvent = Trade | AggregateTrade | Top


class _Touched:
    """Levels changed since a depth stream's last flush; one per cadence."""

    __slots__ = ("first_id", "prices")

    def __init__(self, first_id: int) -> None:
        self.first_id = first_id
        self.prices: dict[int, set[int]] = {BUY: set(), SELL: set()}


class Market:
    """Book, numbering and pending depth of one symbol. Each operation appends what it makes public to `events`."""

    def __init__(
        self, spec: SymbolSpec, first_update_id: int, first_trade_id: int, cadences: Iterable[str], share: int = 1
    ) -> None:
        """A closed market with an empty book. `share`: how many markets share the room for trades and checkpoints."""
        self.spec = spec
        self.book = OrderBook()
        self.update_id = first_update_id - 1
        self.trade_id = first_trade_id - 1
        self.aggregate_id = first_trade_id // 2 - 1
        self.events: list[PublicEvent] = []
        self.trades: deque[Trade] = deque(maxlen=TRADES_KEPT_MAX // share)
        self.checkpoints: deque[Checkpoint] = deque(maxlen=max(20, CHECKPOINTS_KEPT_MAX // share))
        self._pending = {cadence: _Touched(first_update_id) for cadence in cadences}
        self._first_cadence = next(iter(self._pending))
        self._checkpoint_every_us = CHECKPOINT_EVERY_US * max(1, share // 10)
        self._checkpoint_due_us = 0
        self._sequence_base = first_update_id + first_trade_id - 2
        self._top: Top | None = None
        self.now_us = 0
        """Time of the operation in progress."""

    @property
    def sequence(self) -> int:
        """Changes and trades so far: the number of a venue that counts both in one row."""
        return self.update_id + self.trade_id - self._sequence_base

    def add(self, side: int, price: int, size: int) -> Order:
        """Rests an order."""
        order = self.book.add(side, price, size)
        self._touch(side, price)
        self._publish_top()
        return order

    def cancel(self, order: Order) -> bool:
        """Removes a resting order; False, and nothing public, when it is gone already."""
        if not self.book.cancel(order):
            return False
        self._touch(order.side, order.price)
        self._publish_top()
        return True

    def take(self, time_us: int, aggressor: int, size: int, levels_max: int) -> int:
        """Executes a market order; returns the number of trades."""
        fills = self.book.take(aggressor, size, levels_max)
        buyer_is_maker = aggressor == SELL
        start = 0
        while start < len(fills):
            price = fills[start].price
            end = start
            first_trade_id = self.trade_id + 1
            total = 0
            while end < len(fills) and fills[end].price == price:
                self.trade_id += 1
                total += fills[end].size
                trade = Trade(time_us, self.trade_id, price, fills[end].size, buyer_is_maker, self.sequence)
                self.trades.append(trade)
                self.events.append(trade)
                end += 1
            self.aggregate_id += 1
            self.events.append(
                AggregateTrade(time_us, self.aggregate_id, price, total, first_trade_id, self.trade_id, buyer_is_maker)
            )
            self._touch(-aggressor, price)
            start = end
        if fills:
            self._publish_top()
        return len(fills)

    def flush_depth(self, time_us: int, cadence: str) -> DepthDiff | None:
        """The diff of a cadence since its last flush, or None when nothing changed. Flushes of the first keep checkpoints."""
        touched = self._pending[cadence]
        if touched.first_id > self.update_id:
            return None
        bids, asks = self.book.sides[BUY].totals, self.book.sides[SELL].totals
        diff = DepthDiff(
            time_us,
            touched.first_id,
            self.update_id,
            [(price, bids.get(price, 0)) for price in sorted(touched.prices[BUY], reverse=True)],
            [(price, asks.get(price, 0)) for price in sorted(touched.prices[SELL])],
        )
        self.drop_depth(time_us, cadence)
        return diff

    def drop_depth(self, time_us: int, cadence: str) -> bool:
        """A flush that nobody listens to; False when nothing changed since the last one."""
        touched = self._pending[cadence]
        if touched.first_id > self.update_id:
            return False
        touched.first_id = self.update_id + 1
        for side in (BUY, SELL):
            if touched.prices[side]:
                touched.prices[side] = set()
        if cadence == self._first_cadence and time_us >= self._checkpoint_due_us:
            self.keep_checkpoint(time_us)
        return True

    def keep_checkpoint(self, time_us: int) -> None:
        """Remembers the best levels now. Nothing may be pending for the first cadence."""
        self._checkpoint_due_us = time_us + self._checkpoint_every_us
        if not self.checkpoints or self.checkpoints[-1].update_id != self.update_id:
            self.checkpoints.append(Checkpoint(time_us, self.update_id, *self.levels(CHECKPOINT_LEVELS)))

    def whole(self, time_us: int) -> DepthDiff:
        """The whole book, as a diff from an empty one."""
        bids, asks = self.book.sides.values()
        return DepthDiff(time_us, 0, self.update_id, bids.levels(len(bids.keys)), asks.levels(len(asks.keys)))

    def levels(self, count: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Best levels of (bids, asks) as of `update_id`."""
        return self.book.sides[BUY].levels(count), self.book.sides[SELL].levels(count)

    def _touch(self, side: int, price: int) -> None:
        self.update_id += 1
        for touched in self._pending.values():
            touched.prices[side].add(price)

    def _publish_top(self) -> None:
        bids, asks = self.book.sides[BUY], self.book.sides[SELL]
        bid, ask = bids.best(), asks.best()
        if bid is None or ask is None:
            return
        top = Top(self.update_id, bid, bids.totals[bid], ask, asks.totals[ask], self.now_us)
        if self._top is None or top[1:5] != self._top[1:5]:
            self._top = top
            self.events.append(top)

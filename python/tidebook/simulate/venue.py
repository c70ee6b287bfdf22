"""A simulated venue as a state machine: time goes in, messages of its streams come out.

No clock, no socket and no task lives here. `advance(until_us)` plays every order operation and every flush due by then,
so one seed and one start time give one sequence of messages, however often and in however large steps the caller looks.

The pace is counted in messages, because that is what a subscriber feels: the time to the next operation is drawn in
proportion to what the last one made public at once, and to what an operation has made public later on the average so
far. Bursts borrow time that the calm after them pays back, so the mean holds. A flush stands in the schedule only while
something is pending: silent symbols cost nothing.
"""

import random
from bisect import bisect_right
from collections.abc import Container, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from tidebook.errors import ConfigError
from tidebook.simulate.dialect import Dialect, StreamMessage, SymbolTexts
from tidebook.simulate.flow import EXPONENTIAL, OrderFlow
from tidebook.simulate.market import Market
from tidebook.simulate.specs import SYMBOLS_MAX
from tidebook.simulate.wire import dialect_of

# 2024-08-08T23:54:00Z: where the clock begins when nobody says otherwise, so that a run needs no real clock.
DEFAULT_START_US = 1_723_161_240_000_000
RATE_MAX = 200_000.0
IDS_PER_SECOND_MAX = 10_000

BURST_SPEED = 8
BURST_EVERY_US = 6_000_000
BURST_LENGTH_US = 80_000
"""Means; both are drawn."""

# A venue that conflates everything could hide any number of operations in one message.
OPERATIONS_PER_MESSAGE_MAX = 4

# Prime, so that the flushes of the symbols spread over the period.
PHASE_STEP_US = 13_007


@dataclass(frozen=True, slots=True)
class VenueOptions:
    """What one run of a venue is. `rate` is the mean of its trade and book messages per second over all symbols.

    Raises: ConfigError for an unknown venue, a symbol that is none of its form, no symbol, a symbol twice, more than
        `SYMBOLS_MAX`, or a rate outside (0, `RATE_MAX`].
    """

    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    rate: float = 1_000.0
    seed: int = 7
    start_us: int | None = None
    bursts: bool = True
    venue: str = "binance"

    def __post_init__(self) -> None:
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise ConfigError(
                f"simulator: symbols {','.join(self.symbols) or '(none)'}: name each symbol once, at least one",
                key="symbols",
                value=self.symbols,
            )
        if len(self.symbols) > SYMBOLS_MAX:
            raise ConfigError(
                f"simulator: {len(self.symbols)} symbols; it trades at most {SYMBOLS_MAX}",
                key="symbols",
                value=self.symbols,
            )
        dialect = dialect_of(self.venue)
        for symbol in self.symbols:
            dialect.spec(symbol)
        if not 0 < self.rate <= RATE_MAX:
            raise ConfigError(
                f"simulator: rate {self.rate} messages/s must be above 0, at most {RATE_MAX:.0f}",
                key="rate",
                value=self.rate,
            )


class SimulatedVenue:
    """Several markets over one simulated clock.

    `wanted` limits what is turned into text to the streams somebody listens to; None means all of them. It never
    changes what happens in the markets.
    """

    def __init__(self, options: VenueOptions) -> None:
        self.options = options
        self.dialect: Dialect = dialect_of(options.venue)
        self.now_us = DEFAULT_START_US if options.start_us is None else options.start_us
        self.wanted: Container[str] | None = None
        self.message_count = 0
        """Messages that `rate` counts so far, written or not."""
        self._random = random.Random(options.seed).random
        self.markets: dict[str, Market] = {}
        self.texts: dict[str, SymbolTexts] = {}
        self._flows: list[OrderFlow] = []
        share = len(options.symbols)
        # A venue never gives an id twice: one that starts later goes on above all that an earlier one can have reached.
        since = max(0, self.now_us - DEFAULT_START_US) * IDS_PER_SECOND_MAX // 1_000_000
        for index, symbol in enumerate(options.symbols):
            first_update_id = 10_000_000_000 * (index + 1) + options.seed % 1_000 * 1_000_000 + 1 + since
            market = Market(
                self.dialect.spec(symbol),
                first_update_id,
                1_000_000_000 * (index + 1) + 1 + since,
                self.dialect.book_cadences,
                share,
            )
            flow = OrderFlow(market, random.Random(f"{options.seed}/{symbol}"), share)
            flow.open()
            for cadence in self.dialect.book_cadences:
                # What was there before the clock began was never pending.
                market.drop_depth(self.now_us, cadence)
            self.markets[symbol] = market
            self._flows.append(flow)
            self.texts[symbol] = self.dialect.texts(market)
        self._market_list = list(self.markets.values())
        self._texts_list = list(self.texts.values())
        self._indexes = {symbol: index for index, symbol in enumerate(options.symbols)}
        # The first symbols are the busy ones: weights 1, 1/2, 1/3, ...
        weights = [1 / (index + 1) for index in range(share)]
        self._shares = [sum(weights[: index + 1]) / sum(weights) for index in range(share)]
        self._shares[-1] = 1.0
        self._gap_us = 1e6 / options.rate
        self._operations = 0
        self._flushed = 0
        """Messages of periodic flushes that `rate` counts."""
        self._debt_us = 0
        self._burst_from_us = self._burst_until_us = self.now_us
        self._next_operation_us = self.now_us
        self._immediate = [name for name, period in self.dialect.cadences.items() if period == 0]
        self._periodic = [(name, period) for name, period in self.dialect.cadences.items() if period > 0]
        self._flushes: list[tuple[int, int, str]] = []
        """(due, symbol index, cadence) of what is pending, earliest first."""
        self._scheduled: list[set[str]] = [set() for _ in range(share)]

    def streams(self) -> frozenset[str]:
        """Every stream this venue has."""
        return frozenset().union(*(texts.streams for texts in self._texts_list))

    @property
    def next_due_us(self) -> int:
        """When something happens next."""
        return min(self._next_operation_us, self._flushes[0][0]) if self._flushes else self._next_operation_us

    def advance(self, until_us: int) -> Iterator[StreamMessage]:
        """Plays everything due by `until_us`, in order of time. The clock moves as the iterator is consumed."""
        while True:
            if self._flushes and self._flushes[0][0] <= self._next_operation_us:
                due, index, cadence = self._flushes[0]
                if due > until_us:
                    break
                heappop(self._flushes)
                self._scheduled[index].discard(cadence)
                self.now_us = due
                counted = self.message_count
                yield from self._flush(index, cadence)
                self._flushed += self.message_count - counted
            else:
                if self._next_operation_us > until_us:
                    break
                yield from self._operate()
        self.now_us = max(self.now_us, until_us)

    def settle(self, symbol: str | None = None) -> Iterator[StreamMessage]:
        """Flushes all that is pending now, so that subscribers can have exactly the book the venue has.

        A client that gets a snapshot needs it too: what was pending before is no update of its book.
        """
        chosen = range(len(self._market_list)) if symbol is None else (self._indexes[symbol],)
        for index in chosen:
            for cadence in self.dialect.cadences:
                yield from self._flush(index, cadence)
            if symbol is None:
                self._market_list[index].keep_checkpoint(self.now_us)

    def _operate(self) -> Iterator[StreamMessage]:
        self.now_us = self._next_operation_us
        index = bisect_right(self._shares, self._random())
        market, texts = self._market_list[index], self._texts_list[index]
        if self.now_us >= self._burst_until_us:
            self._burst_from_us = self.now_us + self._draw(BURST_EVERY_US)
            self._burst_until_us = self._burst_from_us + self._draw(BURST_LENGTH_US)
        bursting = self.options.bursts and self.now_us >= self._burst_from_us
        market.now_us = self.now_us
        before, counted = market.update_id, self.message_count
        self._flows[index].step(self.now_us, bursting=bursting)
        if market.update_id != before:
            if market.events:
                events, market.events = market.events, []
                count = texts.count
                yield from texts.operation(events, self.wanted)
                self.message_count += texts.count - count
            for cadence in self._immediate:
                yield from self._flush(index, cadence)
            scheduled = self._scheduled[index]
            if len(scheduled) < len(self._periodic):
                self._schedule(index, scheduled)
        self._operations += 1
        self._next_operation_us += self._pause_us(self.message_count - counted, bursting=bursting)

    def _schedule(self, index: int, scheduled: set[str]) -> None:
        for cadence, period in self._periodic:
            if cadence not in scheduled:
                scheduled.add(cadence)
                # The next point of the symbol's own grid.
                wait = period - (self.now_us - index * PHASE_STEP_US) % period
                heappush(self._flushes, (self.now_us + wait, index, cadence))

    def _flush(self, index: int, cadence: str) -> Iterator[StreamMessage]:
        texts = self._texts_list[index]
        count = texts.count
        yield from texts.flush(cadence, self.now_us, self.wanted)
        self.message_count += texts.count - count

    def _pause_us(self, public: int, *, bursting: bool) -> int:
        """Time to the next operation, paid for what this one made public and will."""
        at_once = self.message_count - self._flushed
        later = max(self._flushed, self._operations / OPERATIONS_PER_MESSAGE_MAX - at_once) / self._operations
        pause = self._draw((public + later) * self._gap_us)
        if bursting:
            short = pause // BURST_SPEED
            self._debt_us += pause - short
            return short
        repaid = min(self._debt_us, pause // 2)
        self._debt_us -= repaid
        return pause + repaid

    def _draw(self, mean: float) -> int:
        """An exponentially distributed whole number."""
        return int(mean * EXPONENTIAL[int(self._random() * len(EXPONENTIAL))]) // 1_000

"""The simulated venue as a state machine: time goes in, messages of its streams come out.

No clock, no socket and no task lives here. `advance(until_us)` plays every order operation and depth flush due by then,
so one seed and one start time give one sequence of messages, however often and in however large steps the caller looks.

The pace is counted in messages, because that is what a subscriber feels: the time to the next operation is drawn in
proportion to what the last one made public. Bursts borrow time that the calm after them pays back, so the mean holds.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heapreplace
from typing import NamedTuple

from tidebook.errors import ConfigError
from tidebook.simulate.binance_wire import Wire
from tidebook.simulate.flow import EXPONENTIAL, OrderFlow
from tidebook.simulate.market import SPECS, AggregateTrade, Market, PublicEvent, Top, Trade

DEPTH_CADENCES_US = {"100ms": 100_000, "1000ms": 1_000_000}
DEPTH_STREAMS = {"100ms": "depth@100ms", "1000ms": "depth"}

# 2024-08-08T23:54:00Z: where the clock begins when nobody says otherwise, so that a run needs no real clock.
DEFAULT_START_US = 1_723_161_240_000_000
RATE_MAX = 200_000.0

BURST_SPEED = 8
BURST_EVERY_US = 6_000_000
BURST_LENGTH_US = 80_000
"""Means; both are drawn."""


@dataclass(frozen=True, slots=True)
class VenueOptions:
    """What one run of the venue is. `rate` is the mean of trade + bookTicker + depth@100ms messages per second.

    Raises: ConfigError for an unknown symbol, no symbol, a symbol twice, or a rate outside (0, `RATE_MAX`].
    """

    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    rate: float = 1_000.0
    seed: int = 7
    start_us: int | None = None
    bursts: bool = True

    def __post_init__(self) -> None:
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise ConfigError(
                f"simulator: symbols {','.join(self.symbols) or '(none)'}: name each symbol once, at least one",
                key="symbols",
                value=self.symbols,
            )
        for symbol in self.symbols:
            if symbol not in SPECS:
                raise ConfigError(
                    f"simulator: unknown symbol {symbol}; it trades {', '.join(SPECS)}", key="symbols", value=symbol
                )
        if not 0 < self.rate <= RATE_MAX:
            raise ConfigError(
                f"simulator: rate {self.rate} messages/s is outside 0 to {RATE_MAX:.0f}", key="rate", value=self.rate
            )


class StreamMessage(NamedTuple):
    """One message of one stream, as its subscribers get it."""

    stream: str
    """Its name, `btcusdt@trade`."""
    body: bytes
    """The payload without the combined wrapper."""


class _Streams:
    """Stream names and texts of one symbol."""

    def __init__(self, market: Market) -> None:
        name = market.spec.symbol.lower()
        self.wire = Wire(market.spec)
        self.trade = f"{name}@trade"
        self.aggregate = f"{name}@aggTrade"
        self.top = f"{name}@bookTicker"
        self.depth = {cadence: f"{name}@{stream}" for cadence, stream in DEPTH_STREAMS.items()}
        self.all = frozenset({self.trade, self.aggregate, self.top, *self.depth.values()})


class SimulatedVenue:
    """Several markets over one simulated clock.

    `wanted` limits what is turned into text to the streams somebody listens to; None means all of them. It never
    changes what happens in the markets.
    """

    def __init__(self, options: VenueOptions) -> None:
        self.options = options
        self.now_us = DEFAULT_START_US if options.start_us is None else options.start_us
        self.wanted: frozenset[str] | None = None
        self.message_count = 0
        """Messages of trade, bookTicker and depth@100ms so far, encoded or not: the ones `rate` counts."""
        self._random = random.Random(options.seed).random
        self.markets: dict[str, Market] = {}
        self._flows: list[OrderFlow] = []
        self._streams: list[_Streams] = []
        for index, symbol in enumerate(options.symbols):
            first_update_id = 10_000_000_000 * (index + 1) + options.seed % 1_000 * 1_000_000 + 1
            market = Market(SPECS[symbol], first_update_id, 1_000_000_000 * (index + 1) + 1)
            flow = OrderFlow(market, random.Random(f"{options.seed}/{symbol}"))
            flow.open()
            self.markets[symbol] = market
            self._flows.append(flow)
            self._streams.append(_Streams(market))
        self._market_list = list(self.markets.values())
        # The first symbols are the busy ones: weights 1, 1/2, 1/3, ...
        weights = [1 / (index + 1) for index in range(len(self._flows))]
        self._shares = [sum(weights[: index + 1]) / sum(weights) for index in range(len(weights))]
        depth_rate = 10.0 * len(self._flows)
        self._gap_us = 1e6 / max(options.rate - depth_rate, options.rate / 5)
        self._debt_us = 0
        self._burst_from_us = self._burst_until_us = self.now_us
        self._next_operation_us = self.now_us
        # (due, symbol index, cadence): phases differ by symbol, as on the venue.
        self._flushes = [
            (self.now_us + period + index * 13_000 % period, index, cadence)
            for index in range(len(self._flows))
            for cadence, period in DEPTH_CADENCES_US.items()
        ]
        for market in self._market_list:
            # What was there before the clock began was never pending.
            for cadence in DEPTH_CADENCES_US:
                market.flush_depth(self.now_us, cadence)
        heapify(self._flushes)

    def streams(self) -> frozenset[str]:
        """Every stream this venue has."""
        return frozenset().union(*(streams.all for streams in self._streams))

    @property
    def next_due_us(self) -> int:
        """When something happens next."""
        return min(self._next_operation_us, self._flushes[0][0])

    def advance(self, until_us: int) -> Iterator[StreamMessage]:
        """Plays everything due by `until_us`, in order of time. The clock moves as the iterator is consumed."""
        while True:
            flush_us = self._flushes[0][0]
            if flush_us <= self._next_operation_us:
                if flush_us > until_us:
                    break
                yield from self._flush()
            else:
                if self._next_operation_us > until_us:
                    break
                yield from self._operate()
        self.now_us = max(self.now_us, until_us)

    def settle(self) -> Iterator[StreamMessage]:
        """Flushes all pending depth now, so that subscribers can have exactly the book the venue has."""
        for market, streams in zip(self._market_list, self._streams, strict=True):
            for cadence in DEPTH_CADENCES_US:
                yield from self._flush_one(market, streams, cadence)

    def _operate(self) -> Iterator[StreamMessage]:
        self.now_us = self._next_operation_us
        draw = self._random()
        index = 0
        while draw >= self._shares[index] and index < len(self._shares) - 1:
            index += 1
        market, flow = self._market_list[index], self._flows[index]
        if self.now_us >= self._burst_until_us:
            self._burst_from_us = self.now_us + self._draw(BURST_EVERY_US)
            self._burst_until_us = self._burst_from_us + self._draw(BURST_LENGTH_US)
        bursting = self.options.bursts and self.now_us >= self._burst_from_us
        flow.step(self.now_us, bursting=bursting)
        public = 0
        if market.events:
            events, market.events = market.events, []
            public = sum(type(event) is not AggregateTrade for event in events)
            self.message_count += public
            yield from self._texts(self._streams[index], events)
        self._next_operation_us += self._pause_us(public, bursting=bursting)

    def _pause_us(self, public: int, *, bursting: bool) -> int:
        pause = self._draw(public * self._gap_us)
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

    def _texts(self, streams: _Streams, events: Iterable[PublicEvent]) -> Iterator[StreamMessage]:
        wanted, wire = self.wanted, streams.wire
        for event in events:
            if isinstance(event, Top):
                if wanted is None or streams.top in wanted:
                    yield StreamMessage(streams.top, wire.book_ticker(event))
            elif isinstance(event, Trade):
                if wanted is None or streams.trade in wanted:
                    yield StreamMessage(streams.trade, wire.trade(event))
            elif wanted is None or streams.aggregate in wanted:
                yield StreamMessage(streams.aggregate, wire.aggregate_trade(event))

    def _flush(self) -> Iterator[StreamMessage]:
        due, index, cadence = self._flushes[0]
        heapreplace(self._flushes, (due + DEPTH_CADENCES_US[cadence], index, cadence))
        self.now_us = due
        yield from self._flush_one(self._market_list[index], self._streams[index], cadence)

    def _flush_one(self, market: Market, streams: _Streams, cadence: str) -> Iterator[StreamMessage]:
        diff = market.flush_depth(self.now_us, cadence)
        if diff is None:
            return
        if cadence == "100ms":
            self.message_count += 1
        stream = streams.depth[cadence]
        if self.wanted is None or stream in self.wanted:
            yield StreamMessage(stream, streams.wire.depth(diff))

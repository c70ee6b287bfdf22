"""A seeded market that speaks canonical records, for tests and benches of what shows a market.

It is not the exchange simulator: no orders, no venue bytes, only books that move like books and trades that hit them.
Same seed and same number of steps, same records; time is what the caller says. `Depths` and `ClosedBars` make of its
images and trades what an engine would publish beside them.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidebook._core import schemas
from tidebook.api import Batch

LEVELS = 25
DTYPES = {f"md.{name}": schema.dtype() for name, schema in schemas().items()}


def records(channel: str, *rows: dict[str, Any]) -> NDArray[np.void]:
    """Records of `channel` with the named fields set and all others zero."""
    made = np.zeros(len(rows), DTYPES[channel])
    for index, row in enumerate(rows):
        for name, value in row.items():
            if name == "symbol":
                value = np.frombuffer(value.encode().ljust(40, b"\0"), np.uint8)
            made[name][index] = value
    return made


@dataclass
class Listing:
    """One instrument of the market."""

    symbol: str
    instrument_id: int
    price: float
    price_exp: int
    size_exp: int
    tick: int
    lot: int
    trades_per_step: float = 0.6


LISTINGS = (
    Listing("BTCUSDT.BINANCE", 1 << 24, 61_837.63, 2, 5, 1, 1, trades_per_step=0.8),
    Listing("ETHUSDT.BINANCE", 1 << 24 | 1, 2_684.12, 2, 4, 1, 1),
    # Eight decimals on the wire, five of which never change: what a page should not print.
    Listing("XRPUSDT.BINANCE", 1 << 24 | 2, 0.6213, 8, 8, 10_000, 100_000_000, trades_per_step=0.2),
    Listing("BTC/USD.KRAKEN", 2 << 24, 61_841.2, 1, 8, 1, 1, trades_per_step=0.2),
)


# Numbers and names of the venues that `many` spreads its instruments over.
_MANY_VENUES = ((1, "{}USDT.BINANCE"), (2, "{}/USD.KRAKEN"), (6, "{}-USD.COINBASE"))


def many(count: int) -> tuple[Listing, ...]:
    """`count` listings over three venues, whose names and prices are made up."""
    made = []
    for at in range(count):
        venue, name = _MANY_VENUES[at % 3]
        number = at // 3
        base = chr(65 + number // 26 % 26) + chr(65 + number % 26) + "X"
        price = round(1.37 ** (number % 30) * 0.5 + number / 100, 4)
        made.append(Listing(name.format(base), venue << 24 | number, price, 4, 3, 1, 1, trades_per_step=0.05))
    return tuple(made)


@dataclass
class _Book:
    listing: Listing
    bid_ticks: int
    ask_ticks: int
    bids: list[int]
    asks: list[int]
    sequence: int = 1_000
    trade_id: int = 5_000
    drift: float = 0.0


@dataclass
class SyntheticMarket:
    """Call `step(now_ns)` for the records of one instant."""

    seed: int
    listings: tuple[Listing, ...] = LISTINGS[:2]
    _random: random.Random = field(init=False)
    _books: list[_Book] = field(init=False)
    _sequence: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._books = []
        for listing in self.listings:
            mid = round(listing.price * 10**listing.price_exp / listing.tick)
            sizes = [[self._size(listing, at) for at in range(LEVELS)] for _ in "ba"]
            self._books.append(_Book(listing, mid - 1, mid + 1, sizes[0], sizes[1]))

    def definitions(self, now_ns: int) -> Batch:
        """The `md.instruments` records, to be handed over first."""
        rows = [
            {
                **self._head(book, now_ns),
                "symbol": book.listing.symbol,
                "instrument_version": 1,
                "price_exp": book.listing.price_exp,
                "size_exp": book.listing.size_exp,
                "tick": book.listing.tick,
                "lot": book.listing.lot,
            }
            for book in self._books
        ]
        return Batch("md.instruments", records("md.instruments", *rows))

    def step(self, now_ns: int) -> Iterator[Batch]:
        """Moves every book once; its image, its top and the trades that moved it."""
        images, tops, trades = [], [], []
        for book in self._books:
            trades += self._trade(book, now_ns)
            self._quote(book)
            book.sequence += self._random.randint(1, 9)
            images.append(self._image(book, now_ns))
            tops.append(self._top(book, now_ns))
        yield Batch("md.book", records("md.book", *images))
        yield Batch("md.quotes", records("md.quotes", *tops))
        if trades:
            yield Batch("md.trades", records("md.trades", *trades))

    def _size(self, listing: Listing, at: int) -> int:
        """Sizes are log-normal and grow away from the touch; now and then somebody leaves a wall."""
        wall = 6.0 if self._random.random() < 0.04 else 1.0
        size = self._random.lognormvariate(-0.4 + at * 0.06, 0.9) * wall * 10.0**listing.size_exp
        return max(1, round(size / listing.lot)) * listing.lot

    def _head(self, book: _Book, now_ns: int) -> dict[str, Any]:
        self._sequence += 1
        delay_ns = round(self._random.lognormvariate(14.5, 0.3))
        return {
            "ts_event": now_ns - delay_ns,
            "ts_recv": now_ns,
            "source_sequence": self._sequence,
            "instrument_id": book.listing.instrument_id,
        }

    def _trade(self, book: _Book, now_ns: int) -> list[dict[str, Any]]:
        made = []
        busy = 4.0 if self._random.random() < 0.03 else 1.0
        while self._random.random() < 1 - 1 / (1 + book.listing.trades_per_step * busy):
            buy = self._random.random() < 0.5 + book.drift
            levels, touch = (book.asks, book.ask_ticks) if buy else (book.bids, book.bid_ticks)
            size = min(levels[0], self._size(book.listing, 0))
            levels[0] -= size
            book.trade_id += 1
            made.append(
                {
                    **self._head(book, now_ns),
                    "price": touch * book.listing.tick,
                    "size": size,
                    "trade_id": book.trade_id,
                    "side": 1 if buy else -1,
                    "price_exp": book.listing.price_exp,
                    "size_exp": book.listing.size_exp,
                }
            )
            if levels[0] == 0:
                levels.pop(0)
                levels.append(self._size(book.listing, LEVELS - 1))
                if buy:
                    book.ask_ticks += 1
                else:
                    book.bid_ticks -= 1
        return made

    def _quote(self, book: _Book) -> None:
        """Changes a few levels, closes a wide spread, and leans the other way after a run."""
        for _ in range(self._random.randint(1, 4)):
            at = min(LEVELS - 1, int(self._random.expovariate(0.25)))
            self._random.choice((book.bids, book.asks))[at] = self._size(book.listing, at)
        book.drift = max(-0.2, min(0.2, book.drift * 0.98 + self._random.gauss(0, 0.03)))
        while book.ask_ticks - book.bid_ticks > 1 and self._random.random() < 0.7:
            if self._random.random() < 0.5 + book.drift:
                book.bid_ticks += 1
                book.bids.insert(0, self._size(book.listing, 0))
                book.bids.pop()
            else:
                book.ask_ticks -= 1
                book.asks.insert(0, self._size(book.listing, 0))
                book.asks.pop()

    def _image(self, book: _Book, now_ns: int) -> dict[str, Any]:
        tick = book.listing.tick
        return {
            **self._head(book, now_ns),
            "venue_sequence": book.sequence,
            "bid_count": 1_000,
            "ask_count": 1_000,
            "usable": 1,
            "price_exp": book.listing.price_exp,
            "size_exp": book.listing.size_exp,
            "bid_price": [(book.bid_ticks - at) * tick for at in range(LEVELS)],
            "bid_size": book.bids,
            "ask_price": [(book.ask_ticks + at) * tick for at in range(LEVELS)],
            "ask_size": book.asks,
        }

    def _top(self, book: _Book, now_ns: int) -> dict[str, Any]:
        tick = book.listing.tick
        return {
            **self._head(book, now_ns),
            "venue_sequence": book.sequence,
            "bid_price": book.bid_ticks * tick,
            "bid_size": book.bids[0],
            "ask_price": book.ask_ticks * tick,
            "ask_size": book.asks[0],
            "price_exp": book.listing.price_exp,
            "size_exp": book.listing.size_exp,
        }


SNAPSHOT, LAST = 32, 128
"""Flags of records: of a snapshot, the last of their message."""


@dataclass
class Depths:
    """Depth records of a market's images: a snapshot first, then what changed, with levels far beyond the best 25."""

    far_levels: int = 2_000
    _sides: dict[int, tuple[dict[int, int], dict[int, int]]] = field(default_factory=dict)

    def of(self, images: NDArray[np.void]) -> Batch:
        """The records that lead to these images."""
        rows: list[dict[str, int]] = []
        for image in images:
            instrument_id = int(image["instrument_id"])
            common = {
                name: int(image[name])
                for name in ("ts_event", "ts_recv", "instrument_id", "venue_sequence", "price_exp", "size_exp")
            }
            begun = len(rows)
            is_snapshot = instrument_id not in self._sides
            if is_snapshot:
                self._sides[instrument_id] = self._far(image)
                rows.append({**common, "action": 2})
                rows += self._changes(common, ({}, {}), self._sides[instrument_id])
            before = self._sides[instrument_id]
            after = tuple(self._moved(side, image, name) for side, name in zip(before, ("bid", "ask"), strict=True))
            rows += self._changes(common, before, (after[0], after[1]))
            self._sides[instrument_id] = (after[0], after[1])
            for row in rows[begun:]:
                row["flags"] = SNAPSHOT if is_snapshot else 0
            if rows[begun:]:
                rows[-1]["flags"] |= LAST
        return Batch("md.depth", records("md.depth", *rows))

    def _far(self, image: Any) -> tuple[dict[int, int], dict[int, int]]:
        step = abs(int(image["bid_price"][0]) - int(image["bid_price"][1]))
        size = int(image["bid_size"].mean())
        places = range(LEVELS, LEVELS + self.far_levels)
        bids = {int(image["bid_price"][0]) - at * step: size * (1 + at % 7) // 4 + 1 for at in places}
        return bids, {int(image["ask_price"][0]) + at * step: size * (1 + at % 5) // 3 + 1 for at in places}

    def _moved(self, side: dict[int, int], image: Any, name: str) -> dict[int, int]:
        prices, sizes = image[f"{name}_price"].tolist(), image[f"{name}_size"].tolist()
        worst = prices[-1]
        beyond = {price: size for price, size in side.items() if (price < worst if name == "bid" else price > worst)}
        return {**dict(zip(prices, sizes, strict=True)), **beyond}

    def _changes(
        self,
        common: dict[str, int],
        before: tuple[dict[int, int], dict[int, int]],
        after: tuple[dict[int, int], dict[int, int]],
    ) -> Iterator[dict[str, int]]:
        for side, old, new in ((1, before[0], after[0]), (-1, before[1], after[1])):
            for price in old.keys() - new.keys():
                yield {**common, "action": 1, "side": side, "price": price, "size": 0}
            for price, size in new.items():
                if old.get(price) != size:
                    yield {**common, "action": 1, "side": side, "price": price, "size": size}


@dataclass
class ClosedBars:
    """Closed bars of a market's trades, a second after the end of each interval; none for an interval without trades."""

    _open: dict[tuple[int, int, int], dict[str, Any]] = field(default_factory=dict)

    def of(self, trades: NDArray[np.void] | None, now_ns: int) -> Batch:
        """Takes trades and gives the bars that are closed by now."""
        for trade in () if trades is None else trades:
            for interval_s in (1, 60, 300, 3_600, 86_400):
                time, price, size = int(trade["ts_event"]), int(trade["price"]), int(trade["size"])
                key = (interval_s, int(trade["instrument_id"]), time - time % (interval_s * 1_000_000_000))
                bar = self._open.setdefault(
                    key, {"open": price, "high": price, "low": price, **dict.fromkeys(_SUMS, 0)}
                )
                bar["high"], bar["low"], bar["close"] = max(bar["high"], price), min(bar["low"], price), price
                bar["volume"] += size
                bar["buy_volume"] += size if trade["side"] == 1 else 0
                bar["trade_count"] += 1
                bar["price_exp"], bar["size_exp"] = int(trade["price_exp"]), int(trade["size_exp"])
        due = sorted(key for key in self._open if key[2] + (key[0] + 1) * 1_000_000_000 <= now_ns)
        rows = [
            {**self._open.pop(key), "interval_s": key[0], "instrument_id": key[1], "ts_open": key[2], "ts_recv": now_ns}
            for key in due
        ]
        return Batch("md.bars", records("md.bars", *rows))


_SUMS = ("volume", "buy_volume", "trade_count")

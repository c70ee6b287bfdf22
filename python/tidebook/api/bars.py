"""The bars of one instrument, closed and open, of every timeframe.

Closed bars are those of `md.bars`; a revision takes the place of what it revises. Open bars are in no channel: the
seconds that are still open are made here from `md.trades`, by the engine's rule (order of venue time and trade id), and
an open minute is its closed seconds and the open ones, an open hour its closed five minutes and so on. So a trade costs
one addition whatever is shown, and an open bar agrees with the closed one that follows it, but for trades that come
too late for their second.

Rows are integer units in one array per timeframe; memory grows with what is there, up to `BARS_KEPT` rows.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

SECOND_NS: Final = 1_000_000_000

TimeframeName = Literal["1s", "1m", "5m", "1h", "1d"]
TIMEFRAMES: Final[dict[str, int]] = {"1s": 1, "1m": 60, "5m": 300, "1h": 3_600, "1d": 86_400}
"""Name to seconds, rising; each but the first is made of the one before."""
_NAMES: Final = {seconds: name for name, seconds in TIMEFRAMES.items()}
_FINER: Final = dict(zip(list(TIMEFRAMES)[1:], TIMEFRAMES, strict=False))

BARS_KEPT: Final = 600

_FLAG_UNPROVEN: Final = 4
# A trade whose time is further off than this is in no bar (`crates/feed/src/market.rs`).
_CLOCKS_DIFFER_NS: Final = 3_600 * SECOND_NS


class Bar(NamedTuple):
    """One bar in integer units; the fields of `md.bars` that a chart needs."""

    ts_open: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    buy_volume: int
    trade_count: int
    revision: int
    flags: int
    price_exp: int
    size_exp: int

    @property
    def unproven(self) -> bool:
        """It may lack trades."""
        return bool(self.flags & _FLAG_UNPROVEN)


_TYPES: Final = {"trade_count": "<u4", "revision": "<u4", "flags": "u1", "price_exp": "u1", "size_exp": "u1"}
ROW: Final = np.dtype([(name, _TYPES.get(name, "<i8")) for name in Bar._fields] + [("change", "<u8")])
"""A kept bar, and the change of its series that brought it."""


class Series:
    """Closed bars of one timeframe, rising by `ts_open`, at most `kept` of them."""

    def __init__(self, kept: int = BARS_KEPT) -> None:
        self._kept = kept
        self._rows: NDArray[Any] = np.zeros(16, ROW)
        self._first = 0
        self._end = 0
        self.version = 0
        """Changes so far."""

    @property
    def rows(self) -> NDArray[Any]:
        """Shape (n,), dtype `ROW`. Memory: a view, valid until the next `put`."""
        return self._rows[self._first : self._end]

    def put(self, bar: Bar) -> None:
        """Adds a bar, or revises the one of the same interval. One older than all that is kept falls away."""
        times = self.rows["ts_open"]
        at = len(times) if not len(times) or bar.ts_open > times[-1] else int(np.searchsorted(times, bar.ts_open))
        if at == len(times) or times[at] != bar.ts_open:
            if len(times) == self._kept:
                if at == 0:
                    return
                self._first += 1
                at -= 1
            self._make_room(at)
        self.version += 1
        self.rows[at] = (*bar, self.version)

    def changed_after(self, version: int) -> list[Bar]:
        """Bars that changed after `version`, rising."""
        rows = self.rows
        return bars_of(rows[rows["change"] > version])

    def before(self, ts_open: int | None, count: int) -> list[Bar]:
        """The newest `count` bars that begin before `ts_open`, rising; None: the newest of all."""
        rows = self.rows
        if ts_open is not None:
            rows = rows[: int(np.searchsorted(rows["ts_open"], ts_open))]
        return bars_of(rows[max(0, len(rows) - count) :])

    def since(self, ts_open: int) -> list[Bar]:
        """Bars that begin at `ts_open` or later, rising."""
        rows = self.rows
        return bars_of(rows[int(np.searchsorted(rows["ts_open"], ts_open)) :])

    @property
    def first_open(self) -> int | None:
        """Start of the oldest bar kept."""
        return int(self._rows["ts_open"][self._first]) if self._end > self._first else None

    @property
    def last_open(self) -> int | None:
        """Start of the newest bar."""
        return int(self._rows["ts_open"][self._end - 1]) if self._end > self._first else None

    def _make_room(self, at: int) -> None:
        """One more row, free at place `at` of `rows`."""
        if self._end == len(self._rows):
            kept = self.rows
            room = np.zeros(max(16, 2 * len(kept)), ROW)
            room[: len(kept)] = kept
            self._rows, self._first, self._end = room, 0, len(kept)
        place = self._first + at
        self._rows[place + 1 : self._end + 1] = self._rows[place : self._end].copy()
        self._end += 1


def bars_of(rows: NDArray[Any]) -> list[Bar]:
    """Rows of dtype `ROW` as bars."""
    return [Bar(*row[:-1]) for row in rows.tolist()]


class _Second:
    """Trades of one second so far."""

    __slots__ = ("buy_volume", "close", "first", "high", "last", "low", "open", "trade_count", "volume")

    def __init__(self, place: tuple[int, int], price: int) -> None:
        self.first = self.last = place
        self.open = self.high = self.low = self.close = price
        self.volume = self.buy_volume = self.trade_count = 0

    def add(self, place: tuple[int, int], price: int, size: int, side: int) -> None:
        if place < self.first:
            self.first, self.open = place, price
        if place >= self.last:
            self.last, self.close = place, price
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.volume += size
        self.buy_volume += size if side == 1 else 0
        self.trade_count += 1

    def bar(self, ts_open: int, flags: int, exponents: tuple[int, int]) -> Bar:
        return Bar(
            ts_open=ts_open,
            open=self.open,
            high=self.high,
            low=self.low,
            close=self.close,
            volume=self.volume,
            buy_volume=self.buy_volume,
            trade_count=self.trade_count,
            revision=0,
            flags=flags,
            price_exp=exponents[0],
            size_exp=exponents[1],
        )


class Bars:
    """All bars of one instrument."""

    def __init__(self) -> None:
        self._series = {timeframe: Series() for timeframe in TIMEFRAMES}
        self._seconds: dict[int, _Second] = {}
        self._closed_upto = 0
        """Start of the newest second that is closed."""
        self._seen_from: int | None = None
        """From here on every closed bar and every trade was seen."""
        self._filled_from: dict[str, int] = {}
        """From here up to `_seen_from` closed bars were filled in."""
        self._exponents = (0, 0)
        """Of the newest trade."""
        self._doubted = False
        """Trades were missed: seconds that are open may lack some."""
        self.version = 0
        """Rises with every change of any bar, open or closed."""

    def closed(self, timeframe: str) -> Series:
        """The closed bars of a timeframe."""
        return self._series[timeframe]

    def take_bars(self, records: NDArray[Any]) -> None:
        """Takes records of `md.bars`, in order; lengths that are no timeframe of ours are passed over."""
        columns = [records[name].tolist() for name in Bar._fields]
        for interval_s, *values in zip(records["interval_s"].tolist(), *columns, strict=True):
            timeframe = _NAMES.get(interval_s)
            if timeframe is None:
                continue
            bar = Bar(*values)
            self._series[timeframe].put(bar)
            self.version += 1
            if self._seen_from is None:
                self._seen_from = bar.ts_open + interval_s * SECOND_NS
            if interval_s == 1 and bar.ts_open > self._closed_upto:
                self._closed_upto = bar.ts_open
                self._seconds = {second: made for second, made in self._seconds.items() if second > bar.ts_open}
                self._doubted &= bool(self._seconds)

    def take_trades(self, records: NDArray[Any]) -> None:
        """Takes records of `md.trades`, in order; trades of closed seconds come as revisions."""
        exponents = (int(records["price_exp"][-1]), int(records["size_exp"][-1]))
        if exponents != self._exponents:
            self._exponents = exponents
            self._seconds.clear()
        columns = (records[name].tolist() for name in ("ts_event", "ts_recv", "trade_id", "price", "size", "side"))
        for ts_event, ts_recv, trade_id, price, size, side in zip(*columns, strict=True):
            time = ts_event or ts_recv  # a venue that gives trades no time leaves ours
            second = time - time % SECOND_NS
            if second <= self._closed_upto or abs(time - ts_recv) > _CLOCKS_DIFFER_NS:
                continue
            if self._seen_from is None:
                self._seen_from = second + SECOND_NS
            place = (ts_event, trade_id)
            made = self._seconds.get(second)
            if made is None:
                made = self._seconds[second] = _Second(place, price)
            made.add(place, price, size, side)
        self.version += 1

    def trades_missed(self) -> None:
        """Notes that trades were not seen."""
        self._doubted = True
        self.version += 1

    def bars_missed(self) -> None:
        """Begins anew: closed bars were not seen, and a hole among those kept would look like none."""
        self._series = {timeframe: Series() for timeframe in TIMEFRAMES}
        self._seen_from = None
        self._filled_from = {}
        self.version += 1

    def opened(self, timeframe: str) -> list[Bar]:
        """Bars that are not closed yet and have trades, rising: one, or two while the first waits for late trades."""
        if timeframe == "1s":
            proven_from = self._seen_from or 0
            return [
                made.bar(second, _FLAG_UNPROVEN if self._doubted or second < proven_from else 0, self._exponents)
                for second, made in sorted(self._seconds.items())
            ]
        interval, finer = TIMEFRAMES[timeframe] * SECOND_NS, _FINER[timeframe]
        last_closed = self._series[timeframe].last_open
        begins = 0 if last_closed is None else last_closed + interval
        pieces = [*self._series[finer].since(begins), *(bar for bar in self.opened(finer) if bar.ts_open >= begins)]
        groups: dict[int, list[Bar]] = {}
        for piece in pieces:
            if (piece.price_exp, piece.size_exp) == (pieces[-1].price_exp, pieces[-1].size_exp):
                groups.setdefault(piece.ts_open - piece.ts_open % interval, []).append(piece)
        merged = [_merged(ts_open, of, self._doubt_of(finer, ts_open)) for ts_open, of in groups.items()]
        return [bar for bar in merged if bar.trade_count]

    def lacks(self, timeframe: str, now_ns: int) -> list[tuple[str, int, int]]:
        """Which closed bars the open one of `timeframe` misses: their timeframe, first start, and end of the last start."""
        lacking = []
        while timeframe in _FINER:
            interval, finer = TIMEFRAMES[timeframe] * SECOND_NS, _FINER[timeframe]
            start = now_ns - now_ns % interval
            if self._doubt_of(finer, start):
                lacking.append((finer, start, self._seen_from or now_ns))
            timeframe = finer
        return lacking

    def fill(self, timeframe: str, since: int, bars: Iterable[Bar]) -> None:
        """Adds all closed bars from `since` on that are known from elsewhere; those kept already stay as they are."""
        series = self._series[timeframe]
        first = series.first_open
        for bar in bars:
            if first is None or bar.ts_open < first:
                series.put(bar)
        self._filled_from[timeframe] = min(since, self._filled_from.get(timeframe, since))
        self.version += 1

    def _doubt_of(self, finer: str, ts_open: int) -> int:
        """The flag of an open bar made of `finer` ones from `ts_open` on: unproven unless all of them are known."""
        seen = self._seen_from is not None and self._seen_from <= ts_open
        filled = finer in self._filled_from and self._filled_from[finer] <= ts_open
        return 0 if seen or filled else _FLAG_UNPROVEN


def _merged(ts_open: int, pieces: Sequence[Bar], flags: int) -> Bar:
    """One bar of consecutive ones."""
    traded = [piece for piece in pieces if piece.trade_count] or list(pieces)
    for piece in pieces:
        flags |= piece.flags & _FLAG_UNPROVEN
    return Bar(
        ts_open=ts_open,
        open=traded[0].open,
        high=max(piece.high for piece in traded),
        low=min(piece.low for piece in traded),
        close=traded[-1].close,
        volume=sum(piece.volume for piece in traded),
        buy_volume=sum(piece.buy_volume for piece in traded),
        trade_count=sum(piece.trade_count for piece in traded),
        revision=0,
        flags=flags,
        price_exp=pieces[0].price_exp,
        size_exp=pieces[0].size_exp,
    )

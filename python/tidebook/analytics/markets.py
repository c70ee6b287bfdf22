"""Windows of markets: records of `md.*` in, one record a market and window out.

A state machine: it takes records and no clock. Those of one venue's feed are put in the order that (`source_sequence`, `source_index`)
gives them before anything is made of them, and a record is held until all that were published before it are here, so what comes out follows
from the records alone, whatever the batches they came in. Windows go by `ts_recv`: the node's clock, which all feeds have and which, unlike
the venues' own, never leaves a record behind that comes too late; where it steps back, it stands still.

A second is computed when it is over, at once and from all its records; sums over many numbers are exact (`fsum`), so that no grouping shows
in the last digit. Longer windows are made of the seconds, and of the quiet time between them, in which the last quote stands.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tidebook.analytics.layouts import DAY, GAP, LATE_START, MARKET, MINUTE, NS, OPEN, SECOND, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Records = np.ndarray[Any, np.dtype[np.void]]

CHANNELS: Final = ("md.trades", "md.quotes", "md.status", "md.health", "md.bars")
"""What it is made of; health and bars say the time where nothing else comes."""
CLOCKS: Final = frozenset(("md.health", "md.bars"))
"""Of these nothing is missed."""

_CLOCK, _VOID, _QUOTE, _TRADE = range(4)
_DERIVED, _BACKFILL = 16, 8
_BOOK_UNUSABLE, _DISCONNECTED = 2, 15
_TOLD_AGAIN: Final = 1 << 19
"""From this `source_index` on."""
_WHOLE_FEED: Final = (1 << 24) - 1
_ROW: Final[np.dtype[Any]] = np.dtype(
    [
        ("sequence", "<u8"),
        ("index", "<u8"),
        ("ts", "<i8"),
        ("instrument_id", "<u4"),
        ("kind", "u1"),
        ("side", "i1"),
        ("derived", "?"),
        ("known", "?"),
        ("bid", "<f8"),  # of a trade its price
        ("bid_size", "<f8"),  # of a trade its size
        ("ask", "<f8"),
        ("ask_size", "<f8"),
    ]
)
_SUMS: Final = (
    "trades", "quotes", "volume", "buy", "sell", "notional", "flow", "variance",
    "effective", "effective_bps", "effective_size", "effective_bps_size",
    "quoted", "spread", "spread_bps", "mid", "sized", "imbalance", "priced", "price",
)  # fmt: skip
_AT: Final = {name: place for place, name in enumerate(_SUMS)}
_STANDING: Final = [
    _AT[name] for name in ("quoted", "spread", "spread_bps", "mid", "sized", "imbalance", "priced", "price")
]
_LATE_S: Final = 3_600
"""So much older than the newest loss a record may be whose window is not known to be open, to be told what was lost of it to the record."""
_POWERS: Final = 10.0 ** np.arange(32)


class _Tally:
    """Counts by second, summed up from the first one on."""

    def __init__(self) -> None:
        self.seconds: list[int] = []
        self._sums: list[int] = []

    def add(self, second: int, count: int) -> None:
        at = bisect_left(self.seconds, second)
        if at == len(self.seconds) or self.seconds[at] != second:
            self.seconds.insert(at, second)
            self._sums.insert(at, self._sums[at - 1] if at else 0)
        for later in range(at, len(self._sums)):
            self._sums[later] += count

    def before(self, second: int) -> int:
        at = bisect_left(self.seconds, second)
        return self._sums[at - 1] if at else 0

    def move(self, until: int, to: Callable[[int], int]) -> None:
        """Counts those before a second as of where `to` puts them, which keeps their order and does not go behind that second."""
        old = bisect_left(self.seconds, until)
        sums = {to(second): total for second, total in zip(self.seconds[:old], self._sums[:old], strict=True)}
        self.seconds[:old], self._sums[:old] = list(sums), list(sums.values())


class _Losses:
    """How many records were lost, by the times between which that was.

    All windows begin and end with a second, so seconds are all that is kept of the times. Of older ones it keeps only on which side of the
    windows that are open they lie: it grows with the windows, whatever the number of losses, and the sums stay exact.
    """

    def __init__(self) -> None:
        self._began, self._ended = _Tally(), _Tally()
        self._kept_from = 0

    def add(self, first: int, last: int, count: int) -> None:
        """Times of the records around them."""
        self._began.add(first // NS, count)
        self._ended.add(last // NS, count)

    def of(self, opened: int, ends: int) -> int:
        """Those that may have been in a window: all that began before its end, less those that ended before it."""
        return self._began.before(ends // NS) - self._ended.before(opened // NS)

    def forget(self, feeds: Iterable[_Feed]) -> None:
        """Keeps of what is old what the open windows of these need, and the minute and day of what is newer.

        A record that comes later still has its window told with more losses than there were, never with fewer.
        """
        if not self._ended.seconds:
            return
        until = (self._ended.seconds[-1] - _LATE_S) // MINUTE * MINUTE
        if until <= self._kept_from:
            return
        self._kept_from = until
        edges = {until, until // DAY * DAY}
        for second in {second for feed in feeds for second in feed.open_seconds()}:
            for interval_s in (SECOND, MINUTE, DAY):
                opened = second // interval_s * interval_s
                edges.update((opened, opened + interval_s))
        ordered = [-1, *sorted(edges)]
        self._began.move(until, lambda second: ordered[bisect_right(ordered, second) - 1])
        self._ended.move(until, lambda second: ordered[bisect_right(ordered, second)] - 1)


class _Market:
    """What is known of one instrument."""

    __slots__ = (
        "active",
        "ask",
        "ask_size",
        "bid",
        "bid_size",
        "day",
        "derives",
        "known",
        "last",
        "mid",
        "minute",
        "quoted_from",
        "until",
    )

    def __init__(self, until: int) -> None:
        self.bid = self.bid_size = self.ask = self.ask_size = math.nan
        self.known = False
        """The quote stands."""
        self.quoted_from: int | None = None
        """Time of the first word about its quote."""
        self.derives = False
        """It has a book of our own: a venue's ticker does not count."""
        self.last = math.nan
        self.mid = math.nan
        """At the end of the last second with a quote; of its changes volatility is made."""
        self.minute = np.zeros(len(_SUMS))
        self.day = np.zeros(len(_SUMS))
        self.active = False
        """Something was said of it in this minute."""
        self.until = until
        """Time up to which the sums have the standing quote."""

    def stand(self, until: int) -> None:
        """Counts the quote and the last price as they are up to this time, which is in the same minute."""
        quiet = float(until - self.until)
        self.until = until
        if quiet <= 0 or not (self.known or self.last == self.last):
            return
        per_ns = np.zeros(len(_STANDING))
        if self.known:
            mid, spread = (self.bid + self.ask) / 2, self.ask - self.bid
            per_ns[:4] = 1.0, spread, spread / mid * 1e4 if mid > 0 else 0.0, mid
            if (sizes := self.bid_size + self.ask_size) > 0:
                per_ns[4:6] = 1.0, (self.bid_size - self.ask_size) / sizes
        if self.last == self.last:
            per_ns[6:] = 1.0, self.last
        per_ns *= quiet
        self.minute[_STANDING] += per_ns
        self.day[_STANDING] += per_ns


class _Feed:
    """One venue's: what was published of it, in order, as far as it is here."""

    def __init__(self) -> None:
        self.pending: list[Records] = []
        self.complete = np.empty(0, _ROW)
        """In order, of a second that is not over."""
        self.seen = 0
        """Newest source sequence."""
        self.since = 0
        """Time of its first record."""
        self.now = 0
        """Time of the newest complete record."""
        self.minute: int | None = None
        """The one that is open: its number since 1970."""
        self.markets: dict[int, _Market] = {}
        self.closed = (0, -1)
        """Source sequence and index of the newest record that was made."""

    def open_rows(self) -> bool:
        return bool(self.pending) or len(self.complete) > 0

    def open_seconds(self) -> set[int]:
        """In each second, minute and day that are open one, and all of what is not made yet."""
        seconds = {self.now // NS}
        if self.minute is not None:
            seconds.add(self.minute * MINUTE)
        for rows in self.pending:
            seconds.update(np.unique(np.maximum(rows["ts"], self.now) // NS).tolist())
        return seconds


class Markets:
    """The windows of all markets of a node."""

    def __init__(self, resume: dict[tuple[int, int], tuple[int, int]] | None = None) -> None:
        """`resume`: by venue and interval, window (`ts_open`) and instrument of the last record that was made before; those up to it are
        not made again.
        """
        self._feeds: dict[int, _Feed] = {}
        self._resume = dict(resume or {})
        self._from = 0
        """Time before which records are not there; 0: of each feed from its first one on."""
        self._losses = _Losses()
        self._last_ts: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        """By channel: lost behind the last record; before which one is not known yet."""
        self.missed = 0
        """Records that were lost, of all channels."""

    def begins(self, ts: int) -> None:
        """What a channel had before this time is not there: said before its first records, if they are not the first ever."""
        self._from = max(self._from, ts)

    def gap(self, channel: str, count: int) -> None:
        """So many records of the channel were lost behind those that were taken."""
        if channel in CLOCKS:
            return
        self.missed += count
        self._lost[channel] = self._lost.get(channel, 0) + count
        if channel in ("md.quotes", "md.status"):
            # What stood before may not stand any more.
            for venue, feed in self._feeds.items():
                row = np.zeros(1, _ROW)
                row["sequence"], row["index"], row["ts"], row["kind"] = feed.seen, 1 << 33, feed.now, _VOID
                row["instrument_id"] = venue << 24 | _WHOLE_FEED
                feed.pending.append(row)

    def take(self, channel: str, records: Records) -> None:
        """The next records of a channel; nothing is made of them yet. What is told again of what stands is left out: it is nothing new,
        and when it comes is up to other readers.
        """
        if not len(records):
            return
        if lost := self._lost.pop(channel, 0):
            before, behind = self._last_ts.get(channel, self._from), int(records["ts_recv"][0])
            # Where the clock stepped back, what was lost counts where the windows stand.
            newest = max((feed.now for feed in self._feeds.values()), default=0)
            self._losses.add(min(before, behind), max(before, behind, newest), lost)
        self._last_ts[channel] = int(records["ts_recv"][-1])
        rows = _ROWS[channel](records[records["source_index"] < _TOLD_AGAIN])
        venues = rows["instrument_id"] >> 24
        for venue in np.unique(venues).tolist():
            own = rows[venues == venue]
            feed = self._feeds.setdefault(venue, _Feed())
            feed.pending.append(own)

    def turn(self) -> Records:
        """Records of the windows that have ended, behind those of earlier turns.

        All channels must have been read to their ends, each after the turn before: a record that was seen then shows that all before it have
        been published, and so are here now.
        """
        made: list[tuple[Any, ...]] = []
        for venue in sorted(self._feeds):
            feed = self._feeds[venue]
            if not feed.pending:
                continue
            rows = feed.pending[0] if len(feed.pending) == 1 else np.concatenate(feed.pending)
            held = rows["sequence"] >= feed.seen
            feed.seen = max(feed.seen, int(rows["sequence"].max()))
            feed.pending = [rows[held]] if held.any() else []
            self._order(feed, rows[~held])
            self._close(venue, feed, made, _first(rows[held], feed.now))
        self._losses.forget(self._feeds.values())
        return self._records(made)

    def preview(self, venues: Iterable[int] | None = None) -> Records:
        """Windows as they are so far (flag OPEN), as if nothing more came in this second; changes nothing.

        For feeds that have gone quiet: the next record may be hours away.
        """
        made: list[tuple[Any, ...]] = []
        for venue in sorted(self._feeds if venues is None else venues):
            feed = copy.deepcopy(self._feeds[venue])
            if feed.pending:
                self._order(feed, np.concatenate(feed.pending))
                feed.pending = []
            self._close(venue, feed, [])  # those come when they are known to be whole
            if not len(feed.complete):
                continue
            last = feed.complete[-1]
            cause = int(last["sequence"]), int(feed.now)
            second = feed.now // NS
            assert feed.minute is not None, "it was reached"
            self._second(venue, feed, second, feed.complete, cause, made, OPEN)
            for market_id in sorted(feed.markets):
                market = feed.markets[market_id]
                if market.active:
                    market.stand((second + 1) * NS)
                    minute = feed.minute * MINUTE * NS
                    self._say(venue, feed, market_id, market, market.minute, MINUTE, minute, cause, made, OPEN)
                    self._say_day(venue, feed, market_id, market, cause, made)
        return self._records(made)

    def is_open(self, venue: int) -> bool:
        """Whether a feed has records of which no window was closed."""
        return self._feeds[venue].open_rows()

    def venues(self) -> dict[int, int]:
        """Newest source sequence of each feed."""
        return {venue: feed.seen for venue, feed in self._feeds.items()}

    # Of one feed.

    @staticmethod
    def _order(feed: _Feed, rows: Records) -> None:
        """Appends what is complete, in order, with a time that does not go back."""
        if not len(rows):
            return
        rows = rows[np.lexsort((rows["index"], rows["sequence"]))]
        times = np.maximum.accumulate(np.maximum(rows["ts"], feed.now))
        rows["ts"] = times
        feed.since = feed.since or int(times[0])
        feed.now = int(times[-1])
        feed.complete = np.concatenate((feed.complete, rows)) if len(feed.complete) else rows

    def _close(
        self, venue: int, feed: _Feed, made: list[tuple[Any, ...]], upcoming: tuple[int, int] | None = None
    ) -> None:
        """Makes the records of all seconds that are over, and of what ends with them.

        `upcoming`: sequence and time of the message behind those that are complete, of which all records may not be here.
        """
        rows = feed.complete
        seconds = rows["ts"] // NS
        begins = [0, *(np.flatnonzero(np.diff(seconds)) + 1).tolist()] if len(rows) else []
        causes = [(int(rows["sequence"][begin]), int(rows["ts"][begin])) for begin in begins]
        left = len(rows)
        for nth, begin in enumerate(begins):
            self._reach(venue, feed, causes[nth], made)
            second = int(seconds[begin])
            if nth + 1 < len(begins):
                self._second(venue, feed, second, rows[begin : begins[nth + 1]], causes[nth + 1], made, 0)
            elif upcoming is not None and upcoming[1] // NS > second:
                self._second(venue, feed, second, rows[begin:], upcoming, made, 0)
            else:
                left = begin
        feed.complete = rows[left:].copy() if left else rows
        if upcoming is not None and not len(feed.complete):
            self._reach(venue, feed, upcoming, made)

    def _reach(self, venue: int, feed: _Feed, at: tuple[int, int], made: list[tuple[Any, ...]]) -> None:
        """The feed has come to a message: the minute that it is not in any more ends."""
        minute = at[1] // (MINUTE * NS)
        if feed.minute is None:
            feed.minute = minute
        elif minute != feed.minute:
            self._minute(venue, feed, minute, at, made)

    def _minute(self, venue: int, feed: _Feed, now: int, cause: tuple[int, int], made: list[tuple[Any, ...]]) -> None:
        """The open minute ends; `now` is the one that begins."""
        assert feed.minute is not None
        begin, per_day = feed.minute, DAY // MINUTE
        day_ends = begin // per_day != now // per_day
        end = (begin + 1) * MINUTE * NS
        for market_id in sorted(feed.markets):
            market = feed.markets[market_id]
            market.stand(end)
            if market.active:
                opened = begin * MINUTE * NS
                self._say(venue, feed, market_id, market, market.minute, MINUTE, opened, cause, made, 0)
                if not day_ends:
                    self._say_day(venue, feed, market_id, market, cause, made)
                market.active = False
        if day_ends:
            midnight = (begin // per_day + 1) * DAY * NS
            for market_id in sorted(feed.markets):
                market = feed.markets[market_id]
                market.stand(midnight)
                if market.day[0] or market.day[1]:
                    opened = begin // per_day * DAY * NS
                    self._say(venue, feed, market_id, market, market.day, DAY, opened, cause, made, 0)
                market.day[:] = 0.0
                market.until = now // per_day * DAY * NS
        for market in feed.markets.values():
            market.stand(now * MINUTE * NS)
            market.minute[:] = 0.0
        feed.minute = now

    def _say_day(
        self,
        venue: int,
        feed: _Feed,
        market_id: int,
        market: _Market,
        cause: tuple[int, int],
        made: list[tuple[Any, ...]],
    ) -> None:
        assert feed.minute is not None
        opened = feed.minute * MINUTE // DAY * DAY * NS
        self._say(venue, feed, market_id, market, market.day, DAY, opened, cause, made, OPEN)

    def _second(
        self,
        venue: int,
        feed: _Feed,
        second: int,
        rows: Records,
        cause: tuple[int, int],
        made: list[tuple[Any, ...]],
        flags: int,
    ) -> None:
        """One second that is over: its records, by instrument."""
        opened = second * NS
        whole = (rows["kind"] != _CLOCK) & (rows["instrument_id"] & _WHOLE_FEED == _WHOLE_FEED)
        if whole.any():
            rows = _spread(rows, whole, feed.markets)
        rows = rows[rows["kind"] != _CLOCK]
        if not len(rows):
            return
        rows = rows[np.argsort(rows["instrument_id"], kind="stable")]
        bounds = [0, *(np.flatnonzero(np.diff(rows["instrument_id"])) + 1).tolist(), len(rows)]
        for begin, end in pairwise(bounds):
            market_id = int(rows["instrument_id"][begin])
            market = feed.markets.setdefault(market_id, _Market(opened))
            market.stand(opened)
            sums = _sums(market, rows[begin:end], opened)
            market.minute += sums
            market.day += sums
            if not (sums[_AT["trades"]] or sums[_AT["quotes"]]):
                continue
            market.active = True
            self._say(venue, feed, market_id, market, sums, SECOND, opened, cause, made, flags)

    def _say(
        self,
        venue: int,
        feed: _Feed,
        market_id: int,
        market: _Market,
        sums: np.ndarray[Any, np.dtype[np.float64]],
        interval_s: int,
        opened: int,
        cause: tuple[int, int],
        made: list[tuple[Any, ...]],
        flags: int,
    ) -> None:
        sequence, now = cause
        ends = opened + interval_s * NS
        feed.closed = sequence, feed.closed[1] + 1 if feed.closed[0] == sequence else 0
        if not flags & OPEN and (opened, market_id) <= self._resume.get((venue, interval_s), (-1, -1)):
            return
        since = max(opened, self._from, feed.since)
        if self._from:
            # A quote that is older than what is there may have stood until the first word about it.
            since = max(since, ends if market.quoted_from is None else min(market.quoted_from, ends))
        if since > opened:
            flags |= LATE_START
        missed = self._losses.of(opened, ends)
        missed += sum(lost for channel, lost in self._lost.items() if self._last_ts.get(channel, self._from) < ends)
        if missed:
            flags |= GAP
        made.append(
            (
                min(now, ends),
                now,
                *feed.closed,
                market_id,
                opened,
                since,
                interval_s,
                flags,
                missed,
                *_said(market, sums),
            )
        )

    @staticmethod
    def _records(made: list[tuple[Any, ...]]) -> Records:
        return np.array(made, MARKET)


def _first(rows: Records, now: int) -> tuple[int, int] | None:
    """Sequence and time of the first of the messages that these records are of."""
    if not len(rows):
        return None
    sequence = rows["sequence"].min()
    return int(sequence), max(now, int(rows["ts"][rows["sequence"] == sequence].min()))


def _spread(rows: Records, whole: np.ndarray[Any, Any], markets: Iterable[int]) -> Records:
    """Rows of the whole feed as one for each of its markets, in their places."""
    ids = np.union1d(np.fromiter(markets, np.uint32), rows["instrument_id"][~whole])
    ids = ids[ids & _WHOLE_FEED != _WHOLE_FEED]
    told = np.repeat(rows[whole], len(ids))
    told["instrument_id"] = np.tile(ids, np.count_nonzero(whole))
    rows = np.concatenate((rows[~whole], told))
    return rows[np.lexsort((rows["index"], rows["sequence"]))]


def _said(market: _Market, sums: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, ...]:
    (
        trades, quotes, volume, buy, sell, notional, flow, variance,
        effective, effective_bps, effective_size, effective_bps_size,
        quoted, spread, spread_bps, mid, sized, imbalance, priced, price,
    ) = sums.tolist()  # fmt: skip
    sizes = market.bid_size + market.ask_size
    known = market.known
    return (
        trades,
        quotes,
        volume,
        buy,
        sell,
        notional,
        ratio(notional, volume),
        ratio(price, priced),
        market.last,
        (market.bid + market.ask) / 2 if known else math.nan,
        ratio(mid, quoted),
        (market.bid * market.ask_size + market.ask * market.bid_size) / sizes if known and sizes > 0 else math.nan,
        ratio(spread, quoted),
        ratio(spread_bps, quoted),
        ratio(effective, effective_size),
        ratio(effective_bps, effective_bps_size),
        math.sqrt(variance) if variance == variance else math.nan,
        flow,
        ratio(buy - sell, buy + sell),
        ratio(imbalance, sized),
        quoted / NS,
    )


def _sums(market: _Market, rows: Records, opened: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Sums of one second of one market, which is moved to the second's end."""
    sums = np.zeros(len(_SUMS))
    ends = opened + NS
    quotes = rows[rows["kind"] <= _QUOTE]
    if market.quoted_from is None and len(quotes):
        market.quoted_from = int(quotes["ts"][0])
    is_quote = quotes["kind"] == _QUOTE
    if quotes["derived"][is_quote].any():
        market.derives = True
    if market.derives:
        quotes = quotes[quotes["derived"] | ~is_quote]
    trades = rows[rows["kind"] == _TRADE]

    # The standing quote first, then those of this second.
    known = np.concatenate(([market.known], quotes["known"]))
    bid, bid_size = (
        np.concatenate(([market.bid], quotes["bid"])),
        np.concatenate(([market.bid_size], quotes["bid_size"])),
    )
    ask, ask_size = (
        np.concatenate(([market.ask], quotes["ask"])),
        np.concatenate(([market.ask_size], quotes["ask_size"])),
    )
    mid, spread, sizes = (bid + ask) / 2, ask - bid, bid_size + ask_size
    spans = np.diff(np.concatenate(([opened], quotes["ts"], [ends]))).astype(np.float64)
    sums[_AT["quotes"]] = np.count_nonzero(quotes["kind"] == _QUOTE)
    sums[_AT["quoted"]] = _exact(spans[known])
    sums[_AT["spread"]] = _exact((spans * spread)[known])
    positive = known & (mid > 0)
    sums[_AT["spread_bps"]] = _exact((spans[positive] * (spread[positive] / mid[positive])) * 1e4)
    sums[_AT["mid"]] = _exact((spans * mid)[known])
    sized = known & (sizes > 0)
    sums[_AT["sized"]] = _exact(spans[sized])
    sums[_AT["imbalance"]] = _exact(spans[sized] * ((bid_size[sized] - ask_size[sized]) / sizes[sized]))
    both = known[1:] & known[:-1]
    if both.any():
        up, down = bid[1:] >= bid[:-1], bid[1:] <= bid[:-1]
        falls, rises = ask[1:] <= ask[:-1], ask[1:] >= ask[:-1]
        flow = up * bid_size[1:] - down * bid_size[:-1] - falls * ask_size[1:] + rises * ask_size[:-1]
        sums[_AT["flow"]] = _exact(flow[both])

    if len(trades):
        price, size, side = trades["bid"], trades["bid_size"], trades["side"]
        worth = price * size
        sums[_AT["trades"]] = len(trades)
        sums[_AT["volume"]] = _exact(size)
        sums[_AT["buy"]] = _exact(size[side > 0])
        sums[_AT["sell"]] = _exact(size[side < 0])
        sums[_AT["notional"]] = _exact(worth)
        # The quote that stood before the message that the trade came with.
        at = np.searchsorted(quotes["sequence"], trades["sequence"], "left")
        before, is_known = mid[at], known[at]
        paid = np.where(side == 0, np.abs(price - before), side * (price - before)) * 2.0 * size
        sums[_AT["effective"]] = _exact(paid[is_known])
        sums[_AT["effective_size"]] = _exact(size[is_known])
        relative = is_known & (before > 0)
        sums[_AT["effective_bps"]] = _exact(paid[relative] / before[relative] * 1e4)
        sums[_AT["effective_bps_size"]] = _exact(size[relative])
        prices = np.concatenate(([market.last], price))
        spans = np.diff(np.concatenate(([opened], trades["ts"], [ends]))).astype(np.float64)
        if market.last != market.last:
            prices, spans = prices[1:], spans[1:]
        sums[_AT["priced"]], sums[_AT["price"]] = _exact(spans), _exact(spans * prices)
        market.last = float(price[-1])
    elif market.last == market.last:
        sums[_AT["priced"]], sums[_AT["price"]] = float(NS), market.last * NS

    market.known = bool(known[-1])
    market.bid, market.bid_size, market.ask, market.ask_size = (
        float(each[-1]) for each in (bid, bid_size, ask, ask_size)
    )
    if market.known:
        at_end = (market.bid + market.ask) / 2
        if at_end > 0:
            if market.mid > 0:
                sums[_AT["variance"]] = math.log(at_end / market.mid) ** 2
            market.mid = at_end
    market.until = ends
    return sums


def _exact(values: np.ndarray[Any, Any]) -> float:
    return math.fsum(values.tolist())


def _rows(records: Records, kind: int) -> Records:
    rows = np.zeros(len(records), _ROW)
    rows["sequence"], rows["index"] = records["source_sequence"], records["source_index"]
    rows["ts"], rows["instrument_id"], rows["kind"] = records["ts_recv"], records["instrument_id"], kind
    return rows


def _trade_rows(records: Records) -> Records:
    records = records[records["flags"] & _BACKFILL == 0]
    rows = _rows(records, _TRADE)
    rows["side"] = records["side"]
    rows["bid"] = records["price"] / _POWERS[records["price_exp"]]
    rows["bid_size"] = records["size"] / _POWERS[records["size_exp"]]
    return rows


def _quote_rows(records: Records) -> Records:
    rows = _rows(records, _QUOTE)
    rows["derived"] = records["flags"] & _DERIVED != 0
    price, size = _POWERS[records["price_exp"]], _POWERS[records["size_exp"]]
    for side in ("bid", "ask"):
        rows[side], rows[f"{side}_size"] = records[f"{side}_price"] / price, records[f"{side}_size"] / size
    # A ticker may have no sizes; in a book of our own an empty side has none.
    sized = (records["bid_size"] > 0) & (records["ask_size"] > 0)
    priced = (records["bid_price"] != 0) & (records["ask_price"] != 0)
    # Orders that wait for each other, as in an auction, may cross: they are no quote.
    rows["known"] = np.where(rows["derived"], sized, priced) & (records["bid_price"] <= records["ask_price"])
    return rows


def _status_rows(records: Records) -> Records:
    void = (records["kind"] == _BOOK_UNUSABLE) | (records["kind"] == _DISCONNECTED)
    rows = _rows(records, _CLOCK)
    rows["kind"][void] = _VOID
    rows["derived"] = True
    return rows


def _clock_rows(records: Records) -> Records:
    return _rows(records, _CLOCK)


_ROWS: Final = {
    "md.trades": _trade_rows,
    "md.quotes": _quote_rows,
    "md.status": _status_rows,
    "md.health": _clock_rows,
    "md.bars": _clock_rows,
}


def last_windows(records: Sequence[Records]) -> dict[tuple[int, int], tuple[int, int]]:
    """What `Markets` resumes behind, from the records that were made before."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for array in records:
        closed = array[array["flags"] & OPEN == 0]
        keys = zip(
            (closed["instrument_id"] >> 24).tolist(),
            closed["interval_s"].tolist(),
            closed["ts_open"].tolist(),
            closed["instrument_id"].tolist(),
            strict=True,
        )
        for venue, interval_s, opened, market_id in keys:
            found[venue, interval_s] = max(found.get((venue, interval_s), (-1, -1)), (opened, market_id))
    return found

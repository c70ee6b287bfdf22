"""The newest state of every market, kept from batches of canonical records.

One object serves REST and the hub: it is fed whole numpy batches (one per channel and poll), keeps per instrument the
latest book image, the top and the last trades, and per venue a `FeedHealth`. Rows stay integer records until somebody
asks; only what is asked for is turned into decimal text. It belongs to one thread, the event loop's.
"""

import difflib
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidebook._core import format_units, venues
from tidebook.api import wire
from tidebook.api.health import FeedHealth
from tidebook.api.status import StatusKind
from tidebook.errors import UnknownInstrumentError

Records = NDArray[np.void]

# Channels a view keeps, in the order in which a batch of each is fed: definitions before what needs them, what happened
# to a book before the book it led to.
CHANNELS = ("md.instruments", "md.status", "md.book", "md.quotes", "md.trades")

TRADES_KEPT = 1_000
TOP_FIELDS = tuple(field.name for field in fields(wire.Top))
DEPTH_LEVELS_MAX = 25

# Channels whose records need no session: they tell of the feed and of instruments.
_SAID_OF_FEEDS = ("md.instruments", "md.status")
_FLAG_DERIVED = 16
_VENUES = venues()
_SIDES: dict[int, wire.Side] = {1: "buy", -1: "sell", 0: "none"}


@dataclass(slots=True)
class InstrumentView:
    """What is known of one instrument now. Versions rise with each change, so that a reader knows what it has."""

    name: str
    venue: str
    definition: Any = None
    book: Any = None
    book_version: int = 0
    quote: Any = None
    top_version: int = 0
    # Newest last, as (sequence, record); sequences count this server's trades of the instrument from 1.
    trades: deque[tuple[int, Any]] = field(default_factory=lambda: deque(maxlen=TRADES_KEPT))
    trade_sequence: int = 0
    gaps: int = 0
    # Rises with every change that a line of `tops` shows.
    version: int = 0
    # The line as JSON, and the version it was made of.
    _line: tuple[int, msgspec.Raw] | None = None

    def said(self) -> wire.Instrument:
        """The definition as the API says it."""
        row = self.definition
        price_exp, size_exp = int(row["price_exp"]), int(row["size_exp"])
        tick, lot = int(row["tick"]), int(row["lot"])
        return wire.Instrument(
            instrument=self.name,
            venue=self.venue,
            version=int(row["instrument_version"]),
            price_decimals=price_exp,
            size_decimals=size_exp,
            tick=format_units(tick, price_exp) if tick else None,
            lot=format_units(lot, size_exp) if lot else None,
        )

    def depth(self, levels: int) -> wire.Depth | None:
        """The best `levels` of both sides; None before the first book image."""
        if self.book is None:
            return None
        row = self.book
        price_exp, size_exp = int(row["price_exp"]), int(row["size_exp"])
        return wire.Depth(
            instrument=self.name,
            last_update_id=int(row["venue_sequence"]),
            usable=bool(row["usable"]),
            ts_event=int(row["ts_event"]) // 1000,
            ts_recv=int(row["ts_recv"]) // 1000,
            bid_count=int(row["bid_count"]),
            ask_count=int(row["ask_count"]),
            bids=_levels(row["bid_price"], row["bid_size"], price_exp, size_exp, levels),
            asks=_levels(row["ask_price"], row["ask_size"], price_exp, size_exp, levels),
        )

    def top(self) -> wire.BookTicker | None:
        """Top of book: the newest quote, the venue's or our book's, else that of the book image; None before any.

        A book that was lost since takes its tops along: both sides are null until it is good again or the venue says
        its own.
        """
        book, quote = self.book, self.quote
        if quote is not None:
            row = quote
            bid, ask = (row["bid_price"], row["bid_size"]), (row["ask_price"], row["ask_size"])
            derived = bool(int(row["flags"]) & _FLAG_DERIVED)
        elif book is not None:
            row = book
            bid, ask = (row["bid_price"][0], row["bid_size"][0]), (row["ask_price"][0], row["ask_size"][0])
            derived = True
        else:
            return None
        # A top is derived of good books only, so the one of a later message than the image says that this book is good again.
        lost = derived and book is not None and not book["usable"] and row["source_sequence"] <= book["source_sequence"]
        if lost:
            row, bid, ask = book, (0, 0), (0, 0)
        price_exp, size_exp = int(row["price_exp"]), int(row["size_exp"])
        bid_price, bid_size = _level_or_none(*bid, price_exp, size_exp)
        ask_price, ask_size = _level_or_none(*ask, price_exp, size_exp)
        return wire.BookTicker(
            instrument=self.name,
            update_id=int(row["venue_sequence"]),
            derived=derived,
            usable=not lost,
            ts_event=int(row["ts_event"]) // 1000,
            ts_recv=int(row["ts_recv"]) // 1000,
            bid_price=bid_price,
            bid_size=bid_size,
            ask_price=ask_price,
            ask_size=ask_size,
        )

    def line(self) -> wire.Top:
        """The instrument in a line."""
        top = self.top()
        trade = self.trades[-1][1] if self.trades else None
        last = None if trade is None else _trade(trade)
        updated = [int(row["ts_recv"]) for row in (self.book, self.quote, trade) if row is not None]
        return wire.Top(
            instrument=self.name,
            venue=self.venue,
            book="none" if self.book is None else "usable" if self.book["usable"] else "unusable",
            bid_price=None if top is None else top.bid_price,
            bid_size=None if top is None else top.bid_size,
            ask_price=None if top is None else top.ask_price,
            ask_size=None if top is None else top.ask_size,
            last_price=None if last is None else last.price,
            last_size=None if last is None else last.size,
            last_side="none" if last is None else last.side,
            last_at=0 if last is None else last.ts_recv,
            updated_at=max(updated, default=0) // 1000,
            gaps=self.gaps,
        )

    def encoded_line(self) -> msgspec.Raw:
        """The line's values as a JSON array, in the order of `TOP_FIELDS`; made once per change."""
        if self._line is None or self._line[0] != self.version:
            line = self.line()
            self._line = (self.version, msgspec.Raw(wire.encode([getattr(line, name) for name in TOP_FIELDS])))
        return self._line[1]

    def last_trades(self, count: int, upto: int | None = None) -> list[wire.Trade]:
        """The newest `count` trades kept, oldest first, leaving out those later than sequence `upto`."""
        rows = [row for at, row in self.trades if upto is None or at <= upto]
        return [_trade(row) for row in rows[-count:]]

    def trades_after(self, sequence: int) -> tuple[list[wire.Trade], int]:
        """Trades later than `sequence`, oldest first, and how many of them are no longer kept."""
        wanted = self.trade_sequence - sequence
        fresh = [_trade(row) for at, row in self.trades if at > sequence]
        return fresh, wanted - len(fresh)


def _levels(prices: Any, sizes: Any, price_exp: int, size_exp: int, levels: int) -> list[tuple[str, str]]:
    return [
        (format_units(price, price_exp), format_units(size, size_exp))
        for price, size in zip(prices[:levels].tolist(), sizes[:levels].tolist(), strict=True)
        if size
    ]


def _level_or_none(price: Any, size: Any, price_exp: int, size_exp: int) -> tuple[str | None, str | None]:
    if not size:
        return None, None
    return format_units(int(price), price_exp), format_units(int(size), size_exp)


def _trade(row: Any) -> wire.Trade:
    return wire.Trade(
        id=int(row["trade_id"]),
        price=format_units(int(row["price"]), int(row["price_exp"])),
        size=format_units(int(row["size"]), int(row["size_exp"])),
        side=_SIDES[int(row["side"])],
        ts_event=int(row["ts_event"]) // 1000,
        ts_recv=int(row["ts_recv"]) // 1000,
    )


class MarketView:
    """Latest state of all instruments and feeds of one node.

    `venues` are the feeds that are expected, so that a page can show one before its first record. `clock` gives ns
    since 1970 UTC, `steady_clock` ns since any moment; tests and replays pass their own.
    """

    def __init__(
        self,
        venues: Iterable[str] = (),
        clock: Callable[[], int] = time.time_ns,
        steady_clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.clock = clock
        self._steady_clock = steady_clock
        self.feeds: dict[str, FeedHealth] = {venue: FeedHealth(venue) for venue in venues}
        self._by_id: dict[int, InstrumentView] = {}
        self._by_name: dict[str, InstrumentView] = {}
        self.version = 0
        """Rises with every change of any instrument."""
        self._take: dict[str, Callable[[Records], None]] = {
            "md.instruments": self._take_instruments,
            "md.status": self._take_status,
            "md.book": self._take_books,
            "md.quotes": self._take_quotes,
            "md.trades": self._take_trades,
        }

    def feed(self, channel: str, records: Records) -> None:
        """Takes a batch of `channel`, oldest first. The rows are copied: the caller may reuse its buffer.

        Raises: KeyError for a channel this view does not keep.
        """
        if channel not in CHANNELS:
            raise KeyError(channel)
        if not len(records):
            return
        records = records.copy()
        self._take[channel](records)
        now, steady = self.clock(), self._steady_clock()
        codes = records["instrument_id"] >> 24
        for code in np.unique(codes).tolist():
            health = self._health(code)
            if health is not None:
                health.saw(records[codes == code], now, steady, market=channel not in _SAID_OF_FEEDS)

    def missed(self, channel: str, count: int) -> None:
        """Says that `count` records of `channel` were overwritten before this view read them.

        Books and quotes are states of which only the newest is wanted, so nothing is missed there.
        """
        if channel in ("md.book", "md.quotes"):
            return
        if channel == "md.trades":
            # Whose trades they were is unknown, so every trade stream must say that it may have a hole.
            for view in self._by_id.values():
                view.trade_sequence += count
        for health in self.feeds.values():
            health.missed_records += count

    def tick(self) -> None:
        """Lets rates move; call at a steady pace, records or none."""
        now = self._steady_clock()
        for health in self.feeds.values():
            health.tick(now)

    def tops(self) -> wire.Tops:
        """Every instrument in a line, by name, as `!tops` says it."""
        return wire.Tops(TOP_FIELDS, [view.encoded_line() for view in self.instruments()])

    def instruments(self) -> list[InstrumentView]:
        """Every instrument seen, by name."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def instrument(self, name: str) -> InstrumentView:
        """The instrument called `name`, in any case.

        Raises: UnknownInstrumentError, naming the nearest.
        """
        found = self._by_name.get(name.upper())
        if found is None:
            near = difflib.get_close_matches(name.upper(), self._by_name, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UnknownInstrumentError(f"no instrument {name!r} has been seen{hint}", instrument=name, near=near)
        return found

    def health(self) -> list[wire.Feed]:
        """Health of every feed, by venue."""
        now = self._steady_clock()
        said = []
        for venue in sorted(self.feeds):
            own = [view for view in self._by_id.values() if view.venue == venue]
            usable = sum(1 for view in own if view.book is not None and view.book["usable"])
            said.append(self.feeds[venue].said(now, len(own), usable))
        return said

    def _health(self, venue_code: int) -> FeedHealth | None:
        """Feed of the venue with this number; None while it is not expected and has said nothing of an instrument."""
        return self.feeds.get(_VENUES.get(venue_code, ""))

    def _take_status(self, records: Records) -> None:
        for row in records:
            health = self._health(int(row["instrument_id"]) >> 24)
            if health is not None:
                health.happened(row)
            view = self._by_id.get(int(row["instrument_id"]))
            if view is not None and int(row["kind"]) in (StatusKind.GAP, StatusKind.TRADE_GAP):
                view.gaps += 1
                self._changed(view)

    def _take_instruments(self, records: Records) -> None:
        for row in records:
            name = bytes(row["symbol"]).rstrip(b"\0").decode()
            instrument_id = int(row["instrument_id"])
            venue = _VENUES[instrument_id >> 24]
            self.feeds.setdefault(venue, FeedHealth(venue))
            view = self._by_id.get(instrument_id)
            if view is None:
                view = self._by_id[instrument_id] = self._by_name[name.upper()] = InstrumentView(name, venue)
            view.definition = row
            self._changed(view)

    def _take_books(self, records: Records) -> None:
        for view, rows in self._by_instrument(records):
            view.book = rows[-1]
            if view.book["usable"]:
                self.feeds[view.venue].usable(int(view.book["instrument_id"]))
            view.book_version += 1
            view.top_version += 1
            self._changed(view)

    def _take_quotes(self, records: Records) -> None:
        for view, rows in self._by_instrument(records):
            view.quote = rows[-1]
            view.top_version += 1
            self._changed(view)

    def _take_trades(self, records: Records) -> None:
        for view, rows in self._by_instrument(records):
            # Rows that would fall off at once are counted, not made into objects: a burst costs what is kept.
            first = view.trade_sequence + 1 + max(0, len(rows) - TRADES_KEPT)
            view.trades.extend(enumerate(rows[-TRADES_KEPT:], start=first))
            view.trade_sequence += len(rows)
            self._changed(view)

    def _changed(self, view: InstrumentView) -> None:
        view.version += 1
        self.version += 1

    def _by_instrument(self, records: Records) -> Iterable[tuple[InstrumentView, Records]]:
        ids = records["instrument_id"]
        for instrument_id in np.unique(ids).tolist():
            rows = records[ids == instrument_id]
            view = self._by_id.get(instrument_id)
            if view is not None:
                yield view, rows
                continue
            # A record before its instrument's definition cannot be shown; it is counted, not hidden.
            health = self._health(instrument_id >> 24)
            if health is not None:
                health.missed_records += len(rows)

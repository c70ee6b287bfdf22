"""The newest state of every market, kept from batches of canonical records.

One object serves REST and the hub: it is fed whole numpy batches (one per channel and poll), keeps per instrument the
latest book image, all levels, the top, the last trades, bars and outages, and per venue a `FeedHealth` and its
silences. Rows stay integer records until somebody asks; only what is asked for is turned into decimal text. It belongs
to one thread, the event loop's.
"""

import difflib
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidebook._core import format_units, parse_units, venues
from tidebook.api import wire
from tidebook.api.bars import Bar, Bars
from tidebook.api.health import OWN_VENUE, FeedHealth
from tidebook.api.outages import BookOutages, FeedSilences, Outage, in_order
from tidebook.api.tape import Tape
from tidebook.api.whole_book import RETOLD_INDEX, Levels, WholeBook, group
from tidebook.errors import DecimalError, UnknownInstrumentError
from tidebook.feeds.status import StatusKind, said
from tidebook.venue import Session

if TYPE_CHECKING:
    from tidebook.api.windows import Windows

Records = NDArray[np.void]

# Channels a view keeps, in the order in which a batch of each is fed: definitions before what needs them, what happened
# to a book before the book it led to.
CHANNELS = (
    "md.instruments",
    "md.status",
    "md.health",
    "md.depth",
    "md.book",
    "md.quotes",
    "md.bars",
    "md.trades",
)

TRADES_KEPT = 1_000
TOP_FIELDS = tuple(field.name for field in fields(wire.Top))
DEPTH_LEVELS_MAX = 25
GROUPS_MAX = 200

# Channels whose records need no session: they tell of the feed and of instruments.
_SAID_OF_FEEDS = ("md.instruments", "md.status")
# Channels whose records a clock brings, whether the feed speaks or not.
_SAID_BY_CLOCK = ("md.health", "md.bars")
# Channels of which only the newest is wanted: what was overwritten is not missed, where something newer comes.
_STATES = ("md.book", "md.quotes", "md.health")
_FLAG_DERIVED = 16
# Reasons of a lost book that say the same of the venue's own quotes: of those so far, or of all, since streams of a market
# that is given up end one after the other.
_DISCONNECTED, _UNSUBSCRIBED = said(StatusKind.DISCONNECTED), said(StatusKind.UNSUBSCRIBED)
# Reason of a book whose newest image this server has not read.
OVERTAKEN = "overtaken"
_STEP = re.compile(r"0\.0*[125]|[125]0*")
_VENUES = venues()
_SIDES: dict[int, wire.Side] = {1: "buy", -1: "sell", 0: "none"}


@dataclass(slots=True)
class InstrumentView:
    """What is known of one instrument now. Versions rise with each change, so that a reader knows what it has."""

    name: str
    venue: str
    definition: Any = None
    book: Any = None
    # The newest image may have been overwritten before it was read; it is told again.
    book_lost: bool = False
    book_version: int = 0
    quote: Any = None
    top_version: int = 0
    trades: Tape = field(default_factory=lambda: Tape(TRADES_KEPT))
    trade_sequence: int = 0
    # The newest that was known before the first was told: what is told up to it is no news to the tape.
    past_trade_id: int = 0
    gaps: int = 0
    # Our clock at receipt of what told the newest of them.
    gap_ns: int = 0
    whole_book: WholeBook = field(default_factory=WholeBook)
    whole_version: int = 0
    bars: Bars = field(default_factory=Bars)
    outages: BookOutages = field(default_factory=BookOutages)
    # Of the instrument's venue, shared by all of them.
    silences: FeedSilences = field(default_factory=FeedSilences)
    feed: FeedHealth = field(default_factory=lambda: FeedHealth(""))
    # Whether this node has a feed of the venue; of one left out at its start the channels still hold what was.
    fed: bool = True
    # The newest word of its venue on how it is traded: session and our clock at receipt, and price and size of an auction.
    trading: tuple[int, int] | None = None
    indicative: tuple[int, int] | None = None
    # The same of these.
    trading_lost: bool = False
    trading_version: int = 0
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

    def session(self) -> wire.Session | None:
        """How it is traded now; None where its venue has not said so, or it is not known for the moment (`trading_lost`)."""
        if self.trading is None or self.trading_lost:
            return None
        number, since = self.trading
        price, size = self.indicative or (0, 0)
        price_exp, size_exp = int(self.definition["price_exp"]), int(self.definition["size_exp"])
        return wire.Session(
            instrument=self.name,
            session=Session(number).name.lower(),
            since=since // 1000,
            indicative_price=format_units(price, price_exp) if size else None,
            indicative_size=format_units(size, size_exp) if size else None,
        )

    @property
    def usable(self) -> bool:
        """Whether there is a book, it may be used, and somebody feeds it."""
        return self.fed and self.book is not None and not self.book_lost and bool(self.book["usable"])

    def _outage(self) -> tuple[int | None, str | None]:
        """Since when its book cannot be used, in us, and why; nothing of a book that can."""
        lasting = self.outages.lasting
        if self.usable:
            return None, None
        if lasting is not None:
            return lasting.since // 1000, lasting.reason
        if self.book_lost:
            return None, OVERTAKEN
        if not self.fed and self.book is not None:
            return int(self.book["ts_recv"]) // 1000, _DISCONNECTED
        return None, None

    def depth(self, levels: int) -> wire.Depth | None:
        """The best `levels` of both sides; None before the first book image."""
        if self.book is None:
            return None
        row = self.book
        sides = (
            _levels(row["bid_price"][:levels], row["bid_size"][:levels]),
            _levels(row["ask_price"][:levels], row["ask_size"][:levels]),
        )
        return self._depth(int(row["venue_sequence"]), sides, int(row["price_exp"]), int(row["size_exp"]), None)

    def step_units(self, step: str) -> int:
        """A step of its prices in units. Raises: ValueError for a step that cannot be."""
        return step_units(step, self._exponents()[0])

    def _exponents(self) -> tuple[int, int]:
        if self.whole_book.whole:
            return self.whole_book.exponents
        row = self.definition if self.book is None else self.book
        return int(row["price_exp"]), int(row["size_exp"])

    def grouped(self, step: str, groups: int) -> wire.Depth | None:
        """The best `groups` of both sides, `step` wide each; None before the first book image.

        Of all levels while these are known, else of those of the image.
        Raises: ValueError for a step that cannot be.
        """
        if self.book is None:
            return None
        row, whole = self.book, self.whole_book
        price_exp, size_exp = self._exponents()
        width = self.step_units(step)
        if whole.whole:
            return self._depth(whole.venue_sequence, whole.grouped(width, groups), price_exp, size_exp, step)
        sides = (
            group(row["bid_price"], row["bid_size"], -width, groups),
            group(row["ask_price"], row["ask_size"], width, groups),
        )
        return self._depth(int(row["venue_sequence"]), sides, price_exp, size_exp, step)

    def _depth(
        self, sequence: int, sides: tuple[Levels, Levels], price_exp: int, size_exp: int, step: str | None
    ) -> wire.Depth:
        row = self.book
        since, reason = self._outage()
        counts = self.whole_book.counts() if self.whole_book.whole else (int(row["bid_count"]), int(row["ask_count"]))
        return wire.Depth(
            instrument=self.name,
            last_update_id=sequence,
            usable=self.usable,
            unusable_since=since,
            unusable_reason=reason,
            ts_event=int(row["ts_event"]) // 1000,
            ts_recv=int(row["ts_recv"]) // 1000,
            bid_count=counts[0],
            ask_count=counts[1],
            step=step,
            whole=self.whole_book.whole,
            bids=_texts(sides[0], price_exp, size_exp),
            asks=_texts(sides[1], price_exp, size_exp),
        )

    def top(self) -> wire.BookTicker | None:
        """Top of book: the newest quote, the venue's or our book's, else that of the book image; None before any.

        A book that was lost since takes its tops along: both sides are null until it is good again or the venue says
        its own. So does the end of what brings them, the last session of the feed or the market's subscription, with
        the venue's own.
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
        before = book is not None and not book["usable"] and row["source_sequence"] <= book["source_sequence"]
        before = before or (self.book_lost and quote is None)
        reason = self._outage()[1]
        lost = (before and (derived or reason == _DISCONNECTED)) or reason == _UNSUBSCRIBED
        if lost or not self.fed or self.feed.ended_after(int(row["source_sequence"])):
            row, bid, ask, lost = row if book is None else book, (0, 0), (0, 0), True
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
        trade = self.trades.last
        last = None if trade is None else _trade(trade)
        updated = [int(row["ts_recv"]) for row in (self.book, self.quote, trade) if row is not None]
        since, reason = self._outage()
        session = self.session()
        return wire.Top(
            instrument=self.name,
            venue=self.venue,
            book="none" if self.book is None else "usable" if self.usable else "unusable",
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
            gap_at=self.gap_ns // 1000,
            unusable_since=since,
            unusable_reason=reason,
            session=None if session is None else session.session,
            indicative_price=None if session is None else session.indicative_price,
            indicative_size=None if session is None else session.indicative_size,
        )

    def encoded_line(self) -> msgspec.Raw:
        """The line's values as a JSON array, in the order of `TOP_FIELDS`; made once per change."""
        if self._line is None or self._line[0] != self.version:
            line = self.line()
            self._line = (self.version, msgspec.Raw(wire.encode([getattr(line, name) for name in TOP_FIELDS])))
        return self._line[1]

    def last_trades(self, count: int, upto: int | None = None) -> list[wire.Trade]:
        """The newest `count` trades kept, oldest first, leaving out those later than sequence `upto`."""
        return [_trade(row) for row in self.trades.newest(count, upto)]

    def all_outages(self) -> list[Outage]:
        """When its book could not be used and when its feed was silent, in order."""
        return in_order(self.outages, self.silences)

    @property
    def outages_version(self) -> int:
        """Rises with every change of `all_outages`."""
        return 1 + self.outages.version + self.silences.version

    def trades_after(self, sequence: int) -> tuple[list[wire.Trade], int]:
        """Trades later than `sequence`, oldest first, and how many of them are no longer kept."""
        wanted = self.trade_sequence - sequence
        fresh = [_trade(row) for row in self.trades.after(sequence)]
        return fresh, wanted - len(fresh)


def _levels(prices: NDArray[np.int64], sizes: NDArray[np.int64]) -> Levels:
    there = sizes > 0
    return prices[there].tolist(), sizes[there].tolist()


def _texts(levels: Levels, price_exp: int, size_exp: int) -> list[tuple[str, str]]:
    return [(format_units(price, price_exp), format_units(size, size_exp)) for price, size in zip(*levels, strict=True)]


def _level_or_none(price: Any, size: Any, price_exp: int, size_exp: int) -> tuple[str | None, str | None]:
    if not size:
        return None, None
    return format_units(int(price), price_exp), format_units(int(size), size_exp)


def step_units(step: str, price_exp: int) -> int:
    """A step of prices in units. Raises: ValueError unless it is 1, 2 or 5 times a power of ten, and a whole number of units."""
    if not _STEP.fullmatch(step):
        raise ValueError(f"step {step!r}: write 1, 2 or 5 times a power of ten, such as 0.05 or 20")
    try:
        return parse_units(step, price_exp)
    except DecimalError as error:
        raise ValueError(
            f"step {step!r}: prices have {price_exp} decimals, so the smallest step is one of these"
        ) from error


def said_bar(bar: Bar, *, closed: bool) -> wire.Bar:
    """A bar as the API says it."""
    price, size = bar.price_exp, bar.size_exp
    return wire.Bar(
        ts_open=bar.ts_open // 1000,
        open=format_units(bar.open, price),
        high=format_units(bar.high, price),
        low=format_units(bar.low, price),
        close=format_units(bar.close, price),
        volume=format_units(bar.volume, size),
        buy_volume=format_units(bar.buy_volume, size),
        trade_count=bar.trade_count,
        closed=closed,
        revision=bar.revision,
        unproven=bar.unproven,
    )


def said_outage(outage: Outage) -> wire.Outage:
    """An outage as the API says it."""
    return wire.Outage(outage.since // 1000, None if outage.until is None else outage.until // 1000, outage.reason)


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

    `venues` are the feeds that are expected, so that a page can show one before its first record; `no_others` says that
    nobody else feeds the channels, so that what they hold of other venues is a thing of the past. `clock` gives ns since
    1970 UTC, `steady_clock` ns since any moment; tests and replays pass their own.
    """

    def __init__(
        self,
        venues: Iterable[str] = (),
        clock: Callable[[], int] = time.time_ns,
        steady_clock: Callable[[], int] = time.monotonic_ns,
        *,
        no_others: bool = False,
    ) -> None:
        self.clock = clock
        self._steady_clock = steady_clock
        self.feeds: dict[str, FeedHealth] = {venue: FeedHealth(venue) for venue in venues}
        self._fed = frozenset(self.feeds) if no_others else frozenset(_VENUES.values())
        self._silences: dict[str, FeedSilences] = {}
        self._by_id: dict[int, InstrumentView] = {}
        self._by_name: dict[str, InstrumentView] = {}
        # By the name in upper case: of several that differ in case only, the one that is written so, or the first.
        self._by_folded: dict[str, InstrumentView] = {}
        self.version = 0
        """Rises with every change of any instrument."""
        self.windows: Windows | None = None
        """Those of analytics, where somebody makes them."""
        self.past_trades: Callable[[str, int, int], Records] | None = None
        """Gives the newest trades from before this server, of a name and a number, as many as are wanted, oldest first."""
        self.bars_missed = 0
        """Records of `md.bars` that were overwritten before they were read, of any instrument."""
        self._take: dict[str, Callable[[Records], None]] = {
            "md.instruments": self._take_instruments,
            "md.status": self._take_status,
            "md.health": self._take_health,
            "md.depth": self._take_depth,
            "md.bars": self._take_bars,
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
        if channel in _SAID_BY_CLOCK:
            return
        now, steady = self.clock(), self._steady_clock()
        codes = records["instrument_id"] >> 24
        for code in np.unique(codes).tolist():
            health = self._health(code)
            if health is not None:
                # What is told again says nothing new of the feed, and is old.
                said = records[(codes == code) & (records["source_index"] < RETOLD_INDEX)]
                if len(said):
                    health.saw(said, now, steady, market=channel not in _SAID_OF_FEEDS)

    def missed(self, channel: str, count: int, of: dict[int, int] | None = None) -> None:
        """Says that `count` records of `channel` were overwritten before this view read them; `of` how many of which instrument.

        Where nobody knows whose they were every instrument counts with a hole. Of books, quotes and health only the
        newest is wanted, so what is missed there is not counted; what may have been the newest is not shown as that until it is
        told again, as the engine does of books and of sessions.
        """
        of_views = [(view, count if of is None else of.get(number, 0)) for number, view in self._by_id.items()]
        lost = [(view, missed) for view, missed in of_views if missed]
        for view, missed in lost:
            self._lost(channel, view, missed)
        if channel == "md.bars":
            self.bars_missed += count
        if channel in _STATES or channel in ("md.depth", "md.bars"):
            # Of a book its images go on, and it says itself that the rest is lost; bars are stored, and a chart is told to ask.
            return
        for venue, health in self.feeds.items():
            codes = {code for code, name in _VENUES.items() if name == venue}
            health.missed_records += (
                count if of is None else sum(missed for number, missed in of.items() if number >> 24 in codes)
            )

    def _lost(self, channel: str, view: InstrumentView, count: int) -> None:
        """`count` records of the instrument were overwritten."""
        match channel:
            case "md.depth":
                view.whole_book.lost()
                view.whole_version += 1
            case "md.bars":
                view.bars.bars_missed()
            case "md.trades":
                view.trade_sequence += count
                view.bars.trades_missed()
            case "md.status" if view.trading is not None or view.venue == OWN_VENUE:
                view.trading_lost = True
                view.trading_version += 1
                self._changed(view)
            case "md.book" if view.book is not None:
                view.book_lost = True
                view.book_version += 1
                view.top_version += 1
                self._changed(view)
            case "md.quotes" if view.quote is not None:
                # The book says it, until the next one.
                view.quote = None
                view.top_version += 1
                self._changed(view)

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
        """The instrument called `name`; in any case where none is written so.

        Raises: UnknownInstrumentError, naming the nearest.
        """
        found = self._by_name.get(name) or self._by_folded.get(name.upper())
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
            usable = sum(1 for view in own if view.usable)
            silence = self._silences_of(venue).lasting
            silent_ns = 0 if silence is None else self.clock() - silence.since
            said.append(self.feeds[venue].said(now, len(own), usable, silent_ns))
        return said

    def _health(self, venue_code: int) -> FeedHealth | None:
        """Feed of the venue with this number; None while it is not expected and has said nothing of an instrument."""
        return self.feeds.get(_VENUES.get(venue_code, ""))

    def _take_status(self, records: Records) -> None:
        for row in records:
            health = self._health(int(row["instrument_id"]) >> 24)
            if health is not None:
                health.happened(row)
                if int(row["kind"]) in (StatusKind.CONNECTED, StatusKind.DISCONNECTED):
                    self._session_changed(health)
            view = self._by_id.get(int(row["instrument_id"]))
            if view is None:
                continue
            kind, before = int(row["kind"]), view.outages.version
            view.outages.happened(kind, int(row["reason"]), int(row["ts_recv"]))
            if kind == StatusKind.SESSION_CHANGED:
                view.trading, view.indicative = (int(row["found"]), int(row["ts_event"])), None
                view.trading_lost = False
                view.trading_version += 1
                self._changed(view)
            elif kind == StatusKind.INDICATIVE_PRICE:
                view.indicative = (int(row["found"]), int(row["count"]))
                view.trading_version += view.trading is not None
                self._changed(view)
            if kind in (StatusKind.GAP, StatusKind.TRADE_GAP):
                view.gaps += 1
                view.gap_ns = int(row["ts_recv"])
                self._changed(view)
            if view.outages.version != before:
                view.book_version += 1
                self._changed(view)

    def _session_changed(self, feed: FeedHealth) -> None:
        for view in self._by_id.values():
            if view.feed is feed:
                view.top_version += 1
                self._changed(view)

    def _take_health(self, records: Records) -> None:
        for row in records:
            venue = _VENUES.get(int(row["instrument_id"]) >> 24)
            if venue is not None:
                self._silences_of(venue).told(row)

    def _silences_of(self, venue: str) -> FeedSilences:
        return self._silences.setdefault(venue, FeedSilences())

    def _take_instruments(self, records: Records) -> None:
        for row in records:
            name = bytes(row["symbol"]).rstrip(b"\0").decode()
            instrument_id = int(row["instrument_id"])
            venue = _VENUES[instrument_id >> 24]
            self.feeds.setdefault(venue, FeedHealth(venue))
            view = self._by_id.get(instrument_id)
            if view is None:
                view = InstrumentView(
                    name,
                    venue,
                    silences=self._silences_of(venue),
                    feed=self.feeds[venue],
                    fed=venue in self._fed,
                )
                self._by_id[instrument_id] = self._by_name[name] = view
                if self.past_trades is not None and len(rows := self.past_trades(name, instrument_id, TRADES_KEPT)):
                    view.trade_sequence, view.past_trade_id = len(rows), int(rows[-1]["trade_id"])
                    view.trades.extend(rows, len(rows))
                if name == name.upper():
                    self._by_folded[name] = view
                else:
                    self._by_folded.setdefault(name.upper(), view)
            view.definition = row.copy()  # a row alone, here and below: else it holds all of its batch
            self._changed(view)

    def _take_books(self, records: Records) -> None:
        for view, rows in self._by_instrument(records):
            view.book, view.book_lost = rows[-1].copy(), False
            view.outages.shown(view.usable, int(view.book["ts_recv"]))
            if view.book["usable"]:
                self.feeds[view.venue].usable(int(view.book["instrument_id"]))
            view.book_version += 1
            view.top_version += 1
            self._changed(view)

    def _take_quotes(self, records: Records) -> None:
        for view, rows in self._by_instrument(records):
            view.quote = rows[-1].copy()
            view.top_version += 1
            self._changed(view)

    def _take_trades(self, records: Records) -> None:
        for view, rows in self._by_instrument(records):
            news = rows[rows["trade_id"] > view.past_trade_id] if view.past_trade_id else rows
            view.trade_sequence += len(news)
            view.trades.extend(news, view.trade_sequence)
            view.bars.take_trades(rows)
            self._changed(view)

    def _take_depth(self, records: Records) -> None:
        for view, rows in self._by_instrument(records):
            view.whole_book.take(rows)
            view.whole_version += 1

    def _take_bars(self, records: Records) -> None:
        for view, rows in self._by_instrument(records):
            view.bars.take_bars(rows)

    def _changed(self, view: InstrumentView) -> None:
        view.version += 1
        self.version += 1

    def _by_instrument(self, records: Records) -> Iterable[tuple[InstrumentView, Records]]:
        ids = records["instrument_id"]
        # One sort for all of them: with hundreds of instruments a mask for each would cost more than the records.
        order = np.argsort(ids, kind="stable")
        records, ids = records[order], ids[order]
        starts = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1]))).tolist()
        for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
            rows, instrument_id = records[start:stop], int(ids[start])
            view = self._by_id.get(instrument_id)
            if view is not None:
                yield view, rows
                continue
            # A record before its instrument's definition cannot be shown; it is counted, not hidden.
            health = self._health(instrument_id >> 24)
            if health is not None:
                health.missed_records += len(rows)

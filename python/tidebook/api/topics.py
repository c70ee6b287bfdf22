"""The streams a client may subscribe to, and how each turns the market view into frames.

A topic is one stream name with its sequence. It renders only when its part of the view changed, encodes once, and
keeps the text for every subscriber. `<instrument>@depth20`, `@depth20_step_<step>`, `@bookTicker`, `@outages`, `@session`, `@analytics_<interval>`, `!tops` and `!feeds` are states; `@trade` and `@kline_<timeframe>` are events.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from tidebook.api import wire
from tidebook.api.analytics_wire import MarketWindow
from tidebook.api.bars import TIMEFRAMES
from tidebook.api.problems import ApiError
from tidebook.api.view import InstrumentView, MarketView, said_bar, said_outage
from tidebook.api.windows import INTERVALS, no_analytics

DEPTH_LEVELS = 20
GROUPS = (20, 100)
TRADES_IN_SNAPSHOT = 200
BARS_IN_SNAPSHOT = 100
BARS_INTERVAL_NS = 500_000_000
FEEDS_INTERVAL_NS = 1_000_000_000
TOPS_INTERVAL_NS = 250_000_000


class Topic(ABC):
    """One stream; `encodes` counts how often it was turned into JSON."""

    is_state: bool

    def __init__(self, stream: str, view: MarketView) -> None:
        self.stream = stream
        self.view = view
        self.seq = 0
        self.encodes = 0

    @abstractmethod
    def resume(self) -> None:
        """Catches up with what came while nobody listened; called before the first of new subscribers."""

    @abstractmethod
    def snapshot(self) -> str | None:
        """The frame that answers a subscription, encoded at most once per change; None when there is nothing yet.

        It says what was published last, never more: what is fresher reaches old and new subscribers together.
        """

    @abstractmethod
    def news(self) -> str | None:
        """The frame of what changed since the last one; None when nothing did."""

    def _encode(self, data: Any, *, snapshot: bool = False, missed: int = 0) -> str:
        self.encodes += 1
        frame = wire.Frame(self.stream, self.seq, self.view.clock() // 1000, data, snapshot, missed)
        return wire.encode(frame).decode()


class StateTopic(Topic):
    """A stream whose newest frame says everything, so a snapshot is simply that frame again.

    `version` rises whenever `data` changed and is 0 while there is none.
    """

    is_state = True

    def __init__(self, stream: str, view: MarketView, version: Callable[[], int], data: Callable[[], Any]) -> None:
        super().__init__(stream, view)
        self._version = version
        self._data = data
        self._rendered = 0
        self._newest: str | None = None

    def resume(self) -> None:
        """Renders the present state, so that a first subscriber does not get one of long ago."""
        self.news()

    def snapshot(self) -> str | None:
        """The newest frame."""
        return self._newest

    def news(self) -> str | None:
        """The present state, unless it was said already."""
        version = self._version()
        if version == self._rendered:
            return None
        self._rendered = version
        self.seq += 1
        self._newest = self._encode(self._data())
        return self._newest


class TopsTopic(StateTopic):
    """Every instrument in a line. Each line is encoded once per change, so a frame costs what changed since the last."""

    def __init__(self, stream: str, view: MarketView) -> None:
        super().__init__(stream, view, lambda: view.version + 1, view.tops)  # said also while there is none
        self._slot = 0

    def news(self) -> str | None:
        """The present state, at most once per interval."""
        slot = self.view.clock() // TOPS_INTERVAL_NS
        if slot == self._slot:
            return None
        self._slot = slot
        return super().news()


class TradeTopic(Topic):
    """Every trade of an instrument once, those of one publish interval in one frame, oldest first."""

    is_state = False

    def __init__(self, stream: str, view: MarketView, instrument: InstrumentView) -> None:
        super().__init__(stream, view)
        self._instrument = instrument
        self._published = instrument.trade_sequence
        # The snapshot and the trade sequence it ends with.
        self._snapshot: tuple[int, str] | None = None

    def resume(self) -> None:
        """Passes over the trades nobody asked for; the snapshot has the last of them."""
        self._published = self._instrument.trade_sequence

    def snapshot(self) -> str:
        """The last trades, empty when there are none."""
        if self._snapshot is None or self._snapshot[0] != self._published:
            trades = self._instrument.last_trades(TRADES_IN_SNAPSHOT, upto=self._published)
            self._snapshot = (self._published, self._encode(trades, snapshot=True))
        return self._snapshot[1]

    def news(self) -> str | None:
        """Trades since the last frame; `missed` says how many came but are no longer kept."""
        if self._instrument.trade_sequence == self._published:
            return None
        trades, missed = self._instrument.trades_after(self._published)
        self._published = self._instrument.trade_sequence
        self.seq += 1
        return self._encode(trades, missed=missed)


class BarTopic(Topic):
    """Bars of one timeframe that changed since the last frame, rising: closed ones, their revisions, and the open ones.

    A bar said again replaces the one before, so a reader who gets a frame twice is none the worse.
    """

    is_state = False

    def __init__(self, stream: str, view: MarketView, instrument: InstrumentView, timeframe: str) -> None:
        super().__init__(stream, view)
        self._bars = instrument.bars
        self._timeframe = timeframe
        self._slot = 0
        self._seen = -1
        self._closed = 0
        self._missed = view.bars_missed
        self._open: list[wire.Bar] = []

    def resume(self) -> None:
        """Passes over what changed while nobody listened; the snapshot has the last of it."""
        series = self._bars.closed(self._timeframe)
        self._seen, self._closed, self._missed = self._bars.version, series.version, self.view.bars_missed
        self._open = self._opened()
        self._slot = self.view.clock() // BARS_INTERVAL_NS

    def snapshot(self) -> str:
        """The newest bars, the open ones last."""
        closed = self._bars.closed(self._timeframe).before(None, BARS_IN_SNAPSHOT)
        return self._encode([*(said_bar(bar, closed=True) for bar in closed), *self._opened()], snapshot=True)

    def news(self) -> str | None:
        """What changed, at most once per interval; `missed` says that closed bars were not seen: ask REST for them."""
        slot = self.view.clock() // BARS_INTERVAL_NS
        if slot == self._slot or self._seen == self._bars.version:
            return None
        self._slot, self._seen = slot, self._bars.version
        missed, self._missed = self.view.bars_missed - self._missed, self.view.bars_missed
        series = self._bars.closed(self._timeframe)
        if missed:
            self._closed = 0  # the series was begun anew
        closed = series.changed_after(self._closed)
        self._closed = series.version
        before, self._open = self._open, self._opened()
        changed = [*(said_bar(bar, closed=True) for bar in closed), *(bar for bar in self._open if bar not in before)]
        if not changed and not missed:
            return None
        self.seq += 1
        return self._encode(changed, missed=missed)

    def _opened(self) -> list[wire.Bar]:
        return [said_bar(bar, closed=False) for bar in self._bars.opened(self._timeframe)]


def _depth(stream: str, view: MarketView, instrument: InstrumentView) -> Topic:
    return StateTopic(stream, view, lambda: instrument.book_version, lambda: instrument.depth(DEPTH_LEVELS))


def _book_ticker(stream: str, view: MarketView, instrument: InstrumentView) -> Topic:
    return StateTopic(stream, view, lambda: instrument.top_version, instrument.top)


def _outages(stream: str, view: MarketView, instrument: InstrumentView) -> Topic:
    def said() -> list[wire.Outage]:
        return [said_outage(outage) for outage in instrument.all_outages()]

    return StateTopic(stream, view, lambda: instrument.outages_version, said)


def _session(stream: str, view: MarketView, instrument: InstrumentView) -> Topic:
    return StateTopic(stream, view, lambda: instrument.trading_version, instrument.session)


_OF_INSTRUMENT: dict[str, Callable[[str, MarketView, InstrumentView], Topic]] = {
    "depth20": _depth,
    "bookTicker": _book_ticker,
    "trade": TradeTopic,
    "outages": _outages,
    "session": _session,
}
_GROUPED = re.compile(r"depth(\d{1,3})_step_([0-9.]{1,20})")
_BARS = re.compile(r"kline_(\w{1,3})")
_WINDOWS = re.compile(r"analytics_(\w{1,3})")


def open_topic(stream: str, view: MarketView) -> Topic:
    """The topic called `stream`.

    Raises: ApiError when there is no such stream, UnknownInstrumentError when its instrument has not been seen.
    """
    if stream == "!feeds":
        # Said once a second, changed or not: its ages always move.
        return StateTopic(stream, view, lambda: view.clock() // FEEDS_INTERVAL_NS, view.health)
    if stream == "!tops":
        return TopsTopic(stream, view)
    name, _, kind = stream.rpartition("@")
    grouped, bars = _GROUPED.fullmatch(kind), _BARS.fullmatch(kind)
    if name and kind in _OF_INSTRUMENT:
        instrument = view.instrument(name)
        return _OF_INSTRUMENT[kind](_named(instrument, kind), view, instrument)
    if name and grouped is not None and int(grouped[1]) in GROUPS:
        return _grouped(view, view.instrument(name), int(grouped[1]), grouped[2])
    if name and bars is not None and bars[1] in TIMEFRAMES:
        instrument = view.instrument(name)
        return BarTopic(_named(instrument, kind), view, instrument, bars[1])
    windows = _WINDOWS.fullmatch(kind)
    if name and windows is not None and windows[1] in INTERVALS:
        return _window(view, view.instrument(name), kind, windows[1])
    kinds = [
        *_OF_INSTRUMENT,
        *(f"depth{groups}_step_<step>" for groups in GROUPS),
        *(f"kline_{timeframe}" for timeframe in TIMEFRAMES),
        *(f"analytics_{interval}" for interval in INTERVALS),
    ]
    known = ", ".join(f"<instrument>@{kind}" for kind in kinds)
    raise ApiError(404, "unknown_stream", f"no stream {stream!r}; there are {known}, !tops and !feeds")


def _named(instrument: InstrumentView, kind: str) -> str:
    return f"{instrument.name.lower()}@{kind}"


def _window(view: MarketView, instrument: InstrumentView, kind: str, interval: str) -> Topic:
    windows, number = view.windows, int(instrument.definition["instrument_id"])
    if windows is None:
        raise no_analytics()

    def version() -> int:
        return windows.version(number, interval)

    def said() -> MarketWindow | None:
        return windows.newest(instrument.name, number, interval)

    return StateTopic(_named(instrument, kind), view, version, said)


def _grouped(view: MarketView, instrument: InstrumentView, groups: int, step: str) -> Topic:
    try:
        instrument.step_units(step)
    except ValueError as error:
        raise ApiError(422, "invalid_request", str(error)) from error

    def said() -> wire.Depth | None:
        try:
            return instrument.grouped(step, groups)
        except ValueError:  # its prices have fewer decimals than they had
            return None

    def version() -> int:
        return instrument.book_version and instrument.book_version + instrument.whole_version

    return StateTopic(_named(instrument, f"depth{groups}_step_{step}"), view, version, said)

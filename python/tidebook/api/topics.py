"""The streams a client may subscribe to, and how each turns the market view into frames.

A topic is one stream name with its sequence. It renders only when its part of the view changed, encodes once, and
keeps the text for every subscriber. `<instrument>@depth20`, `@bookTicker`, `!tops` and `!feeds` are states; `@trade` is
events.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from tidebook.api import wire
from tidebook.api.problems import ApiError
from tidebook.api.view import InstrumentView, MarketView

DEPTH_LEVELS = 20
TRADES_IN_SNAPSHOT = 200
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


def _depth(stream: str, view: MarketView, instrument: InstrumentView) -> Topic:
    return StateTopic(stream, view, lambda: instrument.book_version, lambda: instrument.depth(DEPTH_LEVELS))


def _book_ticker(stream: str, view: MarketView, instrument: InstrumentView) -> Topic:
    return StateTopic(stream, view, lambda: instrument.top_version, instrument.top)


_OF_INSTRUMENT: dict[str, Callable[[str, MarketView, InstrumentView], Topic]] = {
    "depth20": _depth,
    "bookTicker": _book_ticker,
    "trade": TradeTopic,
}


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
    if not name or kind not in _OF_INSTRUMENT:
        known = ", ".join(f"<instrument>@{kind}" for kind in _OF_INSTRUMENT)
        raise ApiError(404, "unknown_stream", f"no stream {stream!r}; there are {known}, !tops and !feeds")
    instrument = view.instrument(name)
    return _OF_INSTRUMENT[kind](f"{instrument.name.lower()}@{kind}", view, instrument)

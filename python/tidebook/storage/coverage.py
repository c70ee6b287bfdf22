"""What a store holds and what is known to be missing from it.

Extents are the manifest's. Gaps are what the feed wrote down as status records: messages whose numbers never came, and
times without a session. A downtime begins with the last record before it, because that is the last thing known: the end
of a session is noticed late, and a killed process says nothing at all.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import polars as pl

from tidebook.feeds.status import StatusKind
from tidebook.storage.manifest import FileEntry

if TYPE_CHECKING:
    from tidebook.storage.store import Store

# What coverage is made of.
_COUNTED: Final = (
    StatusKind.GAP,
    StatusKind.BOOK_UNUSABLE,
    StatusKind.BOOK_USABLE,
    StatusKind.TRADE_GAP,
    StatusKind.CONNECTED,
    StatusKind.DISCONNECTED,
)
# What a session brings. Bars go on without one: a timer closes them.
_SESSION_TYPES: Final = ("trades", "quotes", "depth", "orders")
# What lacks rows when it ends; instruments and status only tell about it.
_DATA_TYPES: Final = (*_SESSION_TYPES, "bars")
_SEQUENCE_MAX: Final = (1 << 64) - 1


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of a venue that never came, or a time in which nothing could come."""

    kind: Literal["missed", "disconnected"]
    """`missed`: the venue's own numbers show it. `disconnected`: no session was there, or none for this instrument."""
    ts_start: int
    """Receive time of the last record before a downtime, ns since 1970 UTC; of missed messages as `ts_recv`."""
    ts_recv: int
    """When missed messages were noticed; when a session, or the instrument's book, was there again."""
    source_sequence: int
    """Of the message that told."""
    expected: int = 0
    found: int = 0
    count: int = 0
    """How many were missed; 0 where the venue's numbers do not tell."""


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds of one type and symbol."""

    type: str
    timeframe: str | None
    symbol: str
    rows: int
    files: int
    ts_first: int
    """Lowest event time, ns since 1970 UTC; of a shared file the whole file's."""
    ts_last: int
    sequence_first: int
    sequence_last: int
    channel: str
    gaps: tuple[Gap, ...]
    """In the order they were noticed. Missed messages are known of depth and trades, downtimes of all but definitions
    and status; a downtime is told where there are rows before and behind it."""


def covered(store: "Store") -> list[Coverage]:
    """See `Store.coverage`."""
    entries = list(store.manifest.files.values())
    feeds = {channel: _FeedGaps(store, channel, entries) for channel in {entry.channel for entry in entries}}
    groups: dict[tuple[str, str, str, str], list[FileEntry]] = {}
    for entry in entries:
        for symbol in entry.symbols:
            groups.setdefault((entry.type, entry.timeframe or "", symbol, entry.channel), []).append(entry)
    found = []
    for (kind, timeframe, symbol, channel), files in sorted(groups.items()):
        first, last = min(file.sequence_first for file in files), max(file.sequence_last for file in files)
        found.append(
            Coverage(
                type=kind,
                timeframe=timeframe or None,
                symbol=symbol,
                channel=channel,
                rows=sum(file.symbols[symbol] for file in files),
                files=len(files),
                ts_first=min(file.ts_first for file in files),
                ts_last=max(file.ts_last for file in files),
                sequence_first=first,
                sequence_last=last,
                gaps=tuple(feeds[channel].between(kind, symbol, first, last)),
            )
        )
    return found


def downtimes(store: "Store", symbol: str, start: int, end: int) -> list[Gap]:
    """Times without a session for `symbol`, as far as files with rows of [`start`, `end`), ns, tell of them.

    Only those files are opened, so a session that began before them is not known: the end of another one beside it may be
    told as a downtime that is as short as the time between two of its messages.
    """
    entries = [entry for entry in store.manifest.files.values() if entry.ts_last >= start and entry.ts_first < end]
    channels = sorted({entry.channel for entry in entries if symbol in entry.symbols})
    found = [
        gap
        for channel in channels
        for gap in _FeedGaps(store, channel, entries).between("bars", symbol, -1, _SEQUENCE_MAX)
        if gap.kind == "disconnected"
    ]
    return sorted(found, key=lambda gap: gap.ts_start)


class _FeedGaps:
    """The gaps of one channel."""

    def __init__(self, store: "Store", channel: str, entries: Iterable[FileEntry]) -> None:
        self._store = store
        self._entries = [entry for entry in entries if entry.channel == channel]
        self._missed: dict[tuple[str, str], list[Gap]] = {}
        """By type and symbol."""
        self._down: list[Gap] = []
        """Of the whole feed."""
        self._symbol_down: dict[str, list[Gap]] = {}
        """Of instruments, while other sessions of the feed lived."""
        self._read()

    def between(self, type: str, symbol: str, first: int, last: int) -> list[Gap]:
        """Gaps of rows with these sequences."""
        gaps = list(self._missed.get((type, symbol), ()))
        if type in _DATA_TYPES:
            downtimes = [*self._down, *self._symbol_down.get(symbol, ())]
            gaps += [gap for gap in downtimes if first < gap.source_sequence <= last]
        return sorted(gaps, key=lambda gap: gap.source_sequence)

    def _read(self) -> None:
        sessions: set[int] = set()
        down_from = 0
        symbols_down: dict[str, int] = {}
        for kind, reason, symbol, ts_recv, sequence, expected, found, count in self._statuses():
            if kind in (StatusKind.GAP, StatusKind.TRADE_GAP):
                numbers = {"expected": expected, "found": found, "count": count}
                gap = Gap(kind="missed", ts_start=ts_recv, ts_recv=ts_recv, source_sequence=sequence, **numbers)
                self._missed.setdefault(("depth" if kind == StatusKind.GAP else "trades", symbol), []).append(gap)
            elif kind == StatusKind.CONNECTED:
                if not sessions:
                    self._down += self._downtime(down_from or sequence, ts_recv, sequence)
                    symbols_down.clear()
                sessions.add(found)
            elif kind == StatusKind.DISCONNECTED:
                sessions.discard(found)
                down_from = sequence
            elif kind == StatusKind.BOOK_UNUSABLE and reason == StatusKind.DISCONNECTED:
                symbols_down[symbol] = sequence
            elif kind == StatusKind.BOOK_USABLE and symbol in symbols_down:
                gaps = self._downtime(symbols_down.pop(symbol), ts_recv, sequence, symbol)
                self._symbol_down.setdefault(symbol, []).extend(gaps)

    def _statuses(self) -> Iterator[tuple[int, int, str, int, int, int, int, int]]:
        kinds = [int(kind) for kind in _COUNTED]
        files = [entry for entry in self._entries if entry.type == "status"]
        rows = (
            self._store.read("status", files)
            .filter(pl.col("kind").is_in(kinds))
            .sort("source_sequence", "source_index")
            .select(
                "kind",
                "reason",
                "symbol",
                pl.col("ts_recv").dt.epoch("ns"),
                "source_sequence",
                "expected",
                "found",
                "count",
            )
        )
        return rows.collect().iter_rows()

    def _downtime(self, from_sequence: int, ts_recv: int, sequence: int, symbol: str | None = None) -> list[Gap]:
        """A downtime that began with message `from_sequence`; none where nothing came before."""
        start = self._last_before(from_sequence, symbol)
        if start is None:
            return []
        return [Gap(kind="disconnected", ts_start=start, ts_recv=ts_recv, source_sequence=sequence)]

    def _last_before(self, sequence: int, symbol: str | None) -> int | None:
        """Receive time of the last record of the feed, or the instrument, that came from a message before `sequence`."""
        entries = [
            entry
            for entry in self._entries
            if entry.type in _SESSION_TYPES
            and entry.sequence_first < sequence
            and (symbol is None or symbol in entry.symbols)
        ]
        # One that ends before is of interest only if it ends last.
        ended = max((entry.sequence_last for entry in entries if entry.sequence_last < sequence), default=0)
        times = [
            self._last_in(entry, sequence, symbol)
            for entry in entries
            if entry.sequence_last >= sequence or entry.sequence_last == ended
        ]
        return max((time for time in times if time is not None), default=None)

    def _last_in(self, entry: FileEntry, sequence: int, symbol: str | None) -> int | None:
        rows = self._store.read(entry.type, [entry]).filter(pl.col("source_sequence") < sequence)
        if symbol is not None and _others(entry.symbols, symbol):
            rows = rows.filter(pl.col("symbol") == symbol)
        time: int | None = rows.select(pl.col("ts_recv").dt.epoch("ns").max()).collect().item()
        return time


def _others(symbols: Collection[str], symbol: str) -> bool:
    return any(name != symbol for name in symbols)

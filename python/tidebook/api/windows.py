"""The newest windows of analytics, for REST and WebSocket: of each market and account a few hundred seconds, minutes and days.

Who wants more reads the channels. A window that is told again, as those that are open are, replaces itself. Nobody waits for who reads here:
what came faster than it was read is gone, and said to be.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from tidebook.analytics import ACCOUNT, ACCOUNTS_CHANNEL, MARKET, MARKETS_CHANNEL
from tidebook.analytics.layouts import DAY, GAP, LATE_START, MINUTE, OPEN, SECOND
from tidebook.api.analytics_wire import AccountWindow, AnalyticsStatus, MarketWindow
from tidebook.api.problems import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tidebook.api.source import Batch

Records = np.ndarray[Any, np.dtype[np.void]]
Interval = Literal["1s", "1m", "1d"]
INTERVALS: Final[dict[str, int]] = {"1s": SECOND, "1m": MINUTE, "1d": DAY}
KEPT: Final = {SECOND: 300, MINUTE: 240, DAY: 7}
"""Windows of each market or account."""
PIECE: Final = 512
"""Records a step: a few milliseconds of the event loop."""
_WAITING_MAX: Final = 65_536
"""Records that are read but not taken in; while there are so many, nothing is read."""

_NOT_SAID: Final = frozenset(
    ("ts_event", "ts_recv", "source_sequence", "source_index", "instrument_id", "ts_open", "ts_from", "interval_s", "flags", "account", "reserved")
)  # fmt: skip
_MARKET_FIELDS: Final = [name for name in MARKET.names or () if name not in _NOT_SAID]
_ACCOUNT_FIELDS: Final = [name for name in ACCOUNT.names or () if name not in _NOT_SAID]


def no_analytics() -> ApiError:
    """For who asks where nobody makes windows."""
    return ApiError(404, "no_analytics", "this node makes no windows; set `enabled = true` under [analytics]")


class _Kept:
    """The newest windows of one market, or of one account in one instrument; with each whether some before it may be missing."""

    __slots__ = ("losses", "told")

    def __init__(self, interval_s: int) -> None:
        self.told: deque[tuple[int, np.void, bool]] = deque(maxlen=KEPT.get(interval_s, 1))
        """Beginning, record, and that."""
        self.losses = 0
        """Of the channel, when the newest one came."""

    def put(self, opened: int, one: np.void, losses: int) -> None:
        after_loss, self.losses = losses > self.losses, losses
        while self.told and self.told[-1][0] >= opened:
            after_loss |= self.told.pop()[2]
        # A copy of its own: else it would keep all that it was read with.
        self.told.append((opened, one.copy(), after_loss))


class Windows:
    """What was published last. Belongs to the event loop's thread."""

    def __init__(
        self, poll: Callable[[], Iterable[Batch]] = tuple, status: Callable[[], dict[str, Any]] = dict
    ) -> None:
        """`poll` gives what came since its last call, as a `RecordSource` does; `status` what their engine says of itself."""
        self._poll = poll
        self._status = status
        self._waiting: deque[Batch] = deque()
        self._waiting_count = 0
        self._losses = dict.fromkeys((MARKETS_CHANNEL, ACCOUNTS_CHANNEL), 0)
        """By channel: how often some were overwritten before they were read."""
        self._unread = 0
        self._unread_until = 0
        self._markets: dict[tuple[int, int], _Kept] = {}
        self._accounts: dict[tuple[int, int], dict[int, _Kept]] = {}
        """By account and interval: by instrument."""
        self._versions: dict[tuple[int, int], int] = {}

    def status(self) -> AnalyticsStatus:
        """How their engine does, and what was not read of it."""
        return AnalyticsStatus(
            made=True, unread=self._unread, unread_until=self._unread_until // 1000, **self._status()
        )

    def step(self) -> None:
        """Reads what is there, and takes in a piece of what was read."""
        if self._waiting_count < _WAITING_MAX:
            for batch in self._poll():
                self._waiting.append(batch)
                self._waiting_count += len(batch.records)
        left = PIECE
        while self._waiting and left > 0:
            batch = self._waiting.popleft()
            piece, rest = batch.records[:left], batch.records[left:]
            if len(rest):
                self._waiting.appendleft(replace(batch, records=rest, missed=0))
            left -= len(piece)
            self._waiting_count -= len(piece)
            self._take(batch, piece)

    def version(self, instrument_id: int, interval: str) -> int:
        """Rises whenever a window of it was told; 0 before the first."""
        return self._versions.get((instrument_id, INTERVALS[interval]), 0)

    def newest(self, name: str, instrument_id: int, interval: str) -> MarketWindow | None:
        """The newest window of a market."""
        found = self.of_market(name, instrument_id, interval, 1)
        return found[0] if found else None

    def of_market(self, name: str, instrument_id: int, interval: str, limit: int) -> list[MarketWindow]:
        """The newest windows, oldest first."""
        kept = self._markets.get((instrument_id, INTERVALS[interval]))
        told = [] if kept is None else list(kept.told)
        return [
            MarketWindow(
                instrument=name,
                interval=interval,
                after_loss=after_loss,
                **_common(one),
                **_numbers(one, _MARKET_FIELDS),
            )
            for _, one, after_loss in told[-limit:]
        ]

    def of_account(
        self, account: str, number: int, names: Callable[[int], str], instrument: int, interval: str, limit: int
    ) -> list[AccountWindow]:
        """The newest windows of an account, oldest first, those of one time by instrument; `instrument` 0: of all."""
        by_instrument = self._accounts.get((number, INTERVALS[interval]), {})
        told = [each for of, own in sorted(by_instrument.items()) if instrument in (0, of) for each in own.told]
        told.sort(key=lambda each: each[0])
        return [
            AccountWindow(
                account=account,
                instrument=names(int(one["instrument_id"])),
                interval=interval,
                after_loss=after_loss,
                **_common(one),
                **_numbers(one, _ACCOUNT_FIELDS),
            )
            for _, one, after_loss in told[-limit:]
        ]

    def _take(self, batch: Batch, records: Records) -> None:
        if batch.channel not in self._losses:
            return
        if batch.missed:
            self._losses[batch.channel] += 1
            self._unread += batch.missed
            self._unread_until = max(self._unread_until, int(batch.records["ts_recv"][0]))
        losses = self._losses[batch.channel]
        if batch.channel == MARKETS_CHANNEL:
            self._take_markets(records, losses)
        else:
            self._take_accounts(records, losses)

    def _take_markets(self, records: Records, losses: int) -> None:
        for of, interval_s, opened, one in _columns(records, "instrument_id", "interval_s", "ts_open"):
            key = of, interval_s
            self._versions[key] = self._versions.get(key, 0) + 1
            if (kept := self._markets.get(key)) is None:
                kept = self._markets[key] = _Kept(interval_s)
            kept.put(opened, one, losses)

    def _take_accounts(self, records: Records, losses: int) -> None:
        for account, interval_s, opened, of, one in _columns(
            records, "account", "interval_s", "ts_open", "instrument_id"
        ):
            by_instrument = self._accounts.setdefault((account, interval_s), {})
            if (kept := by_instrument.get(of)) is None:
                kept = by_instrument[of] = _Kept(interval_s)
            kept.put(opened, one, losses)


def _columns(records: Records, *names: str) -> Iterable[Any]:
    """Of each record these numbers and itself."""
    return zip(*(records[name].tolist() for name in names), records, strict=True)


def _common(one: np.void) -> dict[str, Any]:
    flags = int(one["flags"])
    return {
        "ts_open": int(one["ts_open"]) // 1000,
        "ts_event": int(one["ts_event"]) // 1000,
        "closed": not flags & OPEN,
        "whole": not flags & (LATE_START | GAP),
        "ts_from": int(one["ts_from"]) // 1000,
    }


def _numbers(one: np.void, fields: Iterable[str]) -> dict[str, Any]:
    """JSON has no NaN: what is not known is null."""
    values = ((name, one[name].item()) for name in fields)
    return {name: None if value != value or math.isinf(value) else value for name, value in values}

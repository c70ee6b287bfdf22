"""The newest windows of analytics, for REST and WebSocket: of each market and account a few hundred seconds, minutes and days.

Who wants more reads the channels. A window that is told again, as those that are open are, replaces itself.
"""

from __future__ import annotations

import math
from collections import deque
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

_NOT_SAID: Final = frozenset(
    ("ts_event", "ts_recv", "source_sequence", "source_index", "instrument_id", "ts_open", "ts_from", "interval_s", "flags", "account", "reserved")
)  # fmt: skip
_MARKET_FIELDS: Final = [name for name in MARKET.names or () if name not in _NOT_SAID]
_ACCOUNT_FIELDS: Final = [name for name in ACCOUNT.names or () if name not in _NOT_SAID]


def no_analytics() -> ApiError:
    """For who asks where nobody makes windows."""
    return ApiError(404, "no_analytics", "this node makes no windows; set `enabled = true` under [analytics]")


class Windows:
    """What was published last. Belongs to the event loop's thread."""

    def __init__(
        self, poll: Callable[[], Iterable[Batch]] = tuple, status: Callable[[], dict[str, Any]] = dict
    ) -> None:
        """`poll` gives what came since its last call, as a `RecordSource` does; `status` what their engine says of itself."""
        self._poll = poll
        self._status = status
        self._markets: dict[tuple[int, int], deque[np.void]] = {}
        self._accounts: dict[tuple[int, int], dict[int, deque[np.void]]] = {}
        """By account and interval: by instrument."""
        self._versions: dict[tuple[int, int], int] = {}

    def status(self) -> AnalyticsStatus:
        """How their engine does."""
        return AnalyticsStatus(made=True, **self._status())

    def step(self) -> None:
        """Takes what is there."""
        for batch in self._poll():
            if batch.channel == MARKETS_CHANNEL:
                self._take_markets(batch.records)
            elif batch.channel == ACCOUNTS_CHANNEL:
                self._take_accounts(batch.records)

    def version(self, instrument_id: int, interval: str) -> int:
        """Rises whenever a window of it was told; 0 before the first."""
        return self._versions.get((instrument_id, INTERVALS[interval]), 0)

    def newest(self, name: str, instrument_id: int, interval: str) -> MarketWindow | None:
        """The newest window of a market."""
        found = self.of_market(name, instrument_id, interval, 1)
        return found[0] if found else None

    def of_market(self, name: str, instrument_id: int, interval: str, limit: int) -> list[MarketWindow]:
        """The newest windows, oldest first."""
        kept = self._markets.get((instrument_id, INTERVALS[interval]), ())
        return [
            MarketWindow(instrument=name, interval=interval, **_common(one), **_numbers(one, _MARKET_FIELDS))
            for one in list(kept)[-limit:]
        ]

    def of_account(
        self, account: str, number: int, names: Callable[[int], str], instrument: int, interval: str, limit: int
    ) -> list[AccountWindow]:
        """The newest windows of an account, oldest first, those of one time by instrument; `instrument` 0: of all."""
        by_instrument = self._accounts.get((number, INTERVALS[interval]), {})
        kept = [one for of, own in sorted(by_instrument.items()) if instrument in (0, of) for one in own]
        kept.sort(key=lambda one: int(one["ts_open"]))
        return [
            AccountWindow(
                account=account,
                instrument=names(int(one["instrument_id"])),
                interval=interval,
                **_common(one),
                **_numbers(one, _ACCOUNT_FIELDS),
            )
            for one in kept[-limit:]
        ]

    def _take_markets(self, records: Records) -> None:
        for one in records.copy():
            key = int(one["instrument_id"]), int(one["interval_s"])
            self._versions[key] = self._versions.get(key, 0) + 1
            _put(self._markets.setdefault(key, deque(maxlen=KEPT.get(key[1], 1))), one)

    def _take_accounts(self, records: Records) -> None:
        for one in records.copy():
            key = int(one["account"]), int(one["interval_s"])
            by_instrument = self._accounts.setdefault(key, {})
            _put(by_instrument.setdefault(int(one["instrument_id"]), deque(maxlen=KEPT.get(key[1], 1))), one)


def _put(kept: deque[np.void], one: np.void) -> None:
    while kept and kept[-1]["ts_open"] >= one["ts_open"]:
        kept.pop()
    kept.append(one)


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

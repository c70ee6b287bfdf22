"""Windows of accounts: commands of `orders` in, one record an account, instrument and window out.

A state machine over the one journal that says everything: a replica of the venue carries each command out again, as the audit trail's does,
so positions and profits are the venue's own from its first command on, whenever this begins, and the same commands give the same records.
Counts and sums are whole numbers until they are told. What an order arrived at (the middle of the book before its command) is remembered
until it ends, or its day does: so a start knows of a day all that one who was there from the day before knows.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tidebook.analytics.layouts import ACCOUNT, DAY, LATE_START, MINUTE, NS, OPEN, SECOND, ratio
from tidebook.venue.codes import CommandKind, ExecutionKind, Reason, Verdict
from tidebook.venue.holdings import LEDGER_EXP
from tidebook.venue.layouts import LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tidebook.venue import Records, Venue

    Key = tuple[int, int]

VENUE_CODE: Final = 12
"""Of the node's own venue among the venues of `md.*`."""
_ORDERS, _REPLACES, _CANCELS, _REFUSED, _FILLS, _MAKER, _ORDERED, _BOUGHT, _SOLD, _NOTIONAL, _FEES = range(11)
_SLIPPED, _ARRIVED, _SLIPPED_SIZE, _REALIZED = range(11, 15)
_COUNT: Final = 15
_OF_CLIENTS: Final = frozenset(range(CommandKind.PLACE, CommandKind.CANCEL_ALL_AFTER + 1))
_WANTED_OUT: Final = frozenset((Reason.REQUESTED, Reason.MASS_CANCEL, Reason.DISCONNECTED, Reason.DEAD_MAN))
_LEDGER: Final = 10**LEDGER_EXP


class Accounts:
    """The windows of all accounts of a venue."""

    def __init__(self, venue: Venue, resume: dict[int, tuple[int, int, int]] | None = None, *, since: int = 0) -> None:
        """`venue` is a replica that stands where `take` goes on; it is this one's from now on. `resume`: by interval, window (`ts_open`),
        instrument and account of the last record that was made before; those up to it are not made again. `since`: commands before this
        time are not to be had, though windows they belong to are made.
        """
        self._venue = venue
        self._resume = dict(resume or {})
        self._since = since
        self._second: int | None = None
        """The one that is open: its number since 1970."""
        self._now = 0
        self._sums: dict[int, dict[Key, list[int]]] = {SECOND: {}, MINUTE: {}, DAY: {}}
        """By interval and (instrument, account), of the windows that are open."""
        self._touched: set[int] = set()
        """Instruments that commands named in the open minute."""
        self._arrivals: dict[int, int] = {}
        """By order, bid plus ask before its command."""
        self._realised: dict[Key, int] = {}
        self._held: set[Key] = set()
        self._exponents: dict[int, tuple[int, int]] = {}
        self._told = (0, -1)
        self._read_holdings()

    @property
    def sequence(self) -> int:
        """Last command taken in."""
        return self._venue.sequence

    @property
    def is_open(self) -> bool:
        """Whether a window is."""
        return bool(self._sums[SECOND])

    def skip(self, commands: Records) -> None:
        """Takes in the next commands, of which no windows are wanted: those of days before."""
        assert self._second is None, "days that are wanted follow those that are not"
        self._venue.replay(commands)
        self._read_holdings()

    def take(self, commands: Records) -> Records:
        """Takes in the next commands and gives the records of windows that ended."""
        made: list[tuple[Any, ...]] = []
        if not len(commands):
            return np.array(made, ACCOUNT)
        seconds = commands["ts"] // NS
        bounds = [0, *(np.flatnonzero(np.diff(seconds)) + 1).tolist(), len(commands)]
        for begin, end in pairwise(bounds):
            part = commands[begin:end]
            second = int(seconds[begin])
            if self._second is None:
                self._second = second
            elif second != self._second:
                self._close(second, (self._venue.sequence + 1, int(part["ts"][0])), made)
            self._apply(part)
        self._now = int(commands["ts"][-1])
        return np.array(made, ACCOUNT)

    def preview(self) -> Records:
        """Windows as they are so far (flag OPEN); changes nothing. For a venue that has gone quiet."""
        made: list[tuple[Any, ...]] = []
        second = self._second
        if second is not None and self._sums[SECOND]:
            now = _Moment(self._venue)
            cause = self._venue.sequence, self._now
            opens = {SECOND: second, MINUTE: second // MINUTE * MINUTE, DAY: second // DAY * DAY}
            for key in sorted(self._sums[SECOND]):
                own = list(self._sums[SECOND][key])
                own[_REALIZED] = now.realised(key) - self._realised.get(key, 0)
                for interval_s, open_s in opens.items():
                    before = self._sums[interval_s].get(key) if interval_s != SECOND else None
                    sums = own if before is None else [a + b for a, b in zip(own, before, strict=True)]
                    self._say(interval_s, open_s * NS, key, sums, now, cause, made, OPEN)
        return np.array(made, ACCOUNT)

    def _read_holdings(self) -> None:
        self._realised.clear()
        self._held.clear()
        for found in self._venue.positions():
            key = found.instrument_id, found.account
            self._realised[key] = found.realised
            if found.position:
                self._held.add(key)

    # One second.

    def _apply(self, commands: Records) -> None:
        first = self._venue.sequence + 1
        replayed, tops = self._venue.replay_with_tops(commands)
        kinds, verdicts = commands["kind"], commands["verdict"]
        instruments, accounts = commands["instrument_id"], commands["account"]
        self._touched.update(np.unique(instruments).tolist())
        if (kinds == CommandKind.INSTRUMENT).any():
            self._exponents.clear()
        for at in np.flatnonzero(verdicts == Verdict.REJECTED).tolist():
            if int(kinds[at]) in _OF_CLIENTS:
                self._refuse(int(instruments[at]), int(accounts[at]))
        amounts = commands.view(LAYOUTS[CommandKind.PLACE])["amount"]
        for (
            source, instrument, order_id, contra_id, account, contra, price, size, remaining, contra_left, fee, contra_fee,
            kind, reason, side,
        ) in _executions(replayed.executions):  # fmt: skip
            if kind == ExecutionKind.FILL:
                buys = side or 1
                maker = 1 if side else 0
                self._fill((instrument, account), order_id, buys, price, size, fee, 0, remaining)
                self._fill((instrument, contra), contra_id, -buys, price, size, contra_fee, maker, contra_left)
                continue
            if kind == ExecutionKind.REJECTED:
                self._refuse(instrument, account)
                continue
            if kind not in (ExecutionKind.ACCEPTED, ExecutionKind.REPLACED, ExecutionKind.CANCELLED):
                continue
            sums = self._of((instrument, account))
            if kind == ExecutionKind.ACCEPTED:
                sums[_ORDERS] += 1
                at = source - first
                by_amount = kinds[at] == CommandKind.PLACE and amounts[at] != 0
                # Of a pair one leg alone can be filled.
                if not by_amount and not order_id & 1:
                    sums[_ORDERED] += size
                bid, ask = tops[at].tolist()
                if _NO_PRICE < bid <= ask:  # crossed while an auction collects orders: no price
                    self._arrivals[order_id] = bid + ask
            elif kind == ExecutionKind.REPLACED:
                sums[_REPLACES] += 1
            else:
                self._arrivals.pop(order_id, None)
                if reason in _WANTED_OUT:
                    sums[_CANCELS] += 1

    def _of(self, key: Key) -> list[int]:
        sums = self._sums[SECOND].get(key)
        if sums is None:
            sums = self._sums[SECOND][key] = [0] * _COUNT
        return sums

    def _refuse(self, instrument: int, account: int) -> None:
        """What names no instrument, or none that there is, is no window's."""
        if account and self._exponents_of(instrument) is not None:
            self._of((instrument, account))[_REFUSED] += 1

    def _fill(
        self, key: Key, order_id: int, side: int, price: int, size: int, fee: int, maker: int, remaining: int
    ) -> None:
        sums = self._of(key)
        sums[_FILLS] += 1
        sums[_MAKER] += maker
        sums[_BOUGHT if side > 0 else _SOLD] += size
        sums[_NOTIONAL] += price * size
        sums[_FEES] += fee
        arrival = self._arrivals.get(order_id)
        if arrival is not None:
            sums[_SLIPPED] += side * (2 * price - arrival) * size
            sums[_ARRIVED] += arrival * size
            sums[_SLIPPED_SIZE] += size
            if remaining <= 0:
                del self._arrivals[order_id]

    # Windows.

    def _close(self, now_s: int, cause: tuple[int, int], made: list[tuple[Any, ...]]) -> None:
        """The open second ends, and with it perhaps minute and day; `now_s` is the one that begins."""
        assert self._second is not None
        second, now = self._second, _Moment(self._venue)
        for key in sorted(self._sums[SECOND]):
            sums = self._sums[SECOND][key]
            realised = now.realised(key)
            sums[_REALIZED] = realised - self._realised.get(key, 0)
            self._realised[key] = realised
            (self._held.add if now.position(key) else self._held.discard)(key)
            for longer in (MINUTE, DAY):
                into = self._sums[longer].get(key)
                if into is None:
                    self._sums[longer][key] = list(sums)
                else:
                    for place, value in enumerate(sums):
                        into[place] += value
            self._say(SECOND, second * NS, key, sums, now, cause, made, 0)
        self._sums[SECOND] = {}
        self._second = now_s
        if second // MINUTE == now_s // MINUTE:
            return
        day, day_ends = second // DAY, second // DAY != now_s // DAY
        nothing = [0] * _COUNT
        told = {*self._sums[MINUTE], *(key for key in self._held if key[0] in self._touched)}
        for key in sorted(told):
            self._say(
                MINUTE, second // MINUTE * MINUTE * NS, key, self._sums[MINUTE].get(key, nothing), now, cause, made, 0
            )
            if not day_ends:
                self._say(DAY, day * DAY * NS, key, self._sums[DAY].get(key, nothing), now, cause, made, OPEN)
        self._sums[MINUTE] = {}
        self._touched.clear()
        if day_ends:
            for key in sorted({*self._sums[DAY], *self._held}):
                self._say(DAY, day * DAY * NS, key, self._sums[DAY].get(key, nothing), now, cause, made, 0)
            self._sums[DAY] = {}
            self._arrivals.clear()

    def _say(
        self,
        interval_s: int,
        opened: int,
        key: Key,
        sums: list[int],
        now: _Moment,
        cause: tuple[int, int],
        made: list[tuple[Any, ...]],
        flags: int,
    ) -> None:
        sequence, ts = cause
        self._told = sequence, self._told[1] + 1 if self._told[0] == sequence else 0
        if not flags & OPEN and (opened, *key) <= self._resume.get(interval_s, (-1, -1, -1)):
            return
        exponents = self._exponents_of(key[0])
        since = max(opened, self._since)
        assert exponents is not None, "who does something in an instrument does it in one that is there"
        made.append(
            (
                min(ts, opened + interval_s * NS),
                ts,
                *self._told,
                key[0],
                opened,
                since,
                interval_s,
                flags if since == opened else flags | LATE_START,
                0,
                key[1],
                0,
                *_said(sums, exponents, now, key),
            )
        )

    def _exponents_of(self, instrument: int) -> tuple[int, int] | None:
        found = self._exponents.get(instrument)
        if found is None and (definition := self._venue.definition(instrument)) is not None:
            found = self._exponents[instrument] = int(definition["price_exp"]), int(definition["size_exp"])
        return found


class _Moment:
    """Positions and books as they are now, each looked up once."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._holdings: dict[int, dict[int, Any]] = {}
        self._mids: dict[int, int | None] = {}

    def holding(self, key: Key) -> Any:
        instrument, account = key
        if account not in self._holdings:
            self._holdings[account] = {found.instrument_id: found for found in self._venue.positions(account)}
        return self._holdings[account].get(instrument)

    def realised(self, key: Key) -> int:
        found = self.holding(key)
        return found.realised if found is not None else 0

    def position(self, key: Key) -> int:
        found = self.holding(key)
        return found.position if found is not None else 0

    def mid2(self, instrument: int) -> int | None:
        """Bid plus ask, in price units; None without both, and while they cross."""
        if instrument not in self._mids:
            prices, sizes = self._venue.depth(instrument, 1)
            has_middle = sizes.all() and prices[0, 0] <= prices[1, 0]
            self._mids[instrument] = int(prices[0, 0] + prices[1, 0]) if has_middle else None
        return self._mids[instrument]


_NO_PRICE: Final = -(1 << 63)


def _said(sums: list[int], exponents: tuple[int, int], now: _Moment, key: Key) -> tuple[float, ...]:
    price_exp, size_exp = exponents
    price, size = 10**price_exp, 10**size_exp
    both = price * size
    holding, mid2 = now.holding(key), now.mid2(key[0])
    position = holding.position if holding is not None else 0
    cost = holding.cost if holding is not None else 0
    mid = math.nan if mid2 is None else mid2 / (2 * price)
    unrealized = 0.0
    if position:
        if mid2 is None:
            unrealized = holding.unrealised / _LEDGER
        else:
            # One division of whole numbers: no digit of a small difference of large ones is lost.
            unrealized = (position * mid2 * _LEDGER - cost * 2 * both) / (2 * both * _LEDGER)
    average = holding.average_price if holding is not None else None
    traded = sums[_BOUGHT] + sums[_SOLD]
    return (
        *sums[_ORDERS : _MAKER + 1],
        sums[_ORDERED] / size,
        sums[_BOUGHT] / size,
        sums[_SOLD] / size,
        sums[_NOTIONAL] / both,
        sums[_FEES] / price,
        ratio(traded, sums[_ORDERED]),
        ratio(sums[_CANCELS], sums[_FILLS]),
        sums[_SLIPPED] / (2 * both),
        ratio(sums[_SLIPPED] * 10_000, sums[_ARRIVED]),
        sums[_SLIPPED_SIZE] / size,
        position / size,
        math.nan if average is None else float(average / price),
        mid,
        sums[_REALIZED] / _LEDGER,
        (holding.realised if holding is not None else 0) / _LEDGER,
        unrealized,
    )


_FIELDS: Final = (
    "source_sequence", "instrument_id", "order_id", "contra_order_id", "account", "contra_account", "price", "size",
    "remaining", "contra_remaining", "fee", "contra_fee", "kind", "reason", "side",
)  # fmt: skip


def _executions(executions: Records) -> Iterator[tuple[int, ...]]:
    # Column by column: an execution by itself costs ten times as much.
    return zip(*(executions[name].tolist() for name in _FIELDS), strict=True)


def last_windows(records: list[Records]) -> dict[int, tuple[int, int, int]]:
    """What `Accounts` resumes behind, from the records that were made before."""
    found: dict[int, tuple[int, int, int]] = {}
    for array in records:
        closed = array[array["flags"] & OPEN == 0]
        names = ("interval_s", "ts_open", "instrument_id", "account")
        for interval_s, *window in zip(*(closed[name].tolist() for name in names), strict=True):
            key = (window[0], window[1], window[2])
            found[interval_s] = max(found.get(interval_s, (-1, -1, -1)), key)
    return found

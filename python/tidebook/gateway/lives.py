"""What became of every order: from commands of `orders` and the executions that the replica made of them.

The matching engine forgets an order that has ended; whoever placed it asks for it nevertheless, and a request that is sent twice has to
find the order that the first one made. So lives are kept here: all that are open, and the newest `remembered` that have ended.
Nothing is decided here: the same commands give the same lives, from the first one on or from lives that were kept (`lives_file`).

The cost: about 3 µs of Python a command, also when a start reads the journal again, and about 1 KB an order.
"""

from __future__ import annotations

import weakref
from collections import deque
from copy import copy
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Self

from tidebook.gateway.layouts import (
    ACCOUNT,
    CANCEL_ALL_AFTER,
    HEAD,
    HEAD_SIZE_BYTES,
    INSTRUMENT,
    KILL,
    LIMITS,
    NO_CLIENT_ID,
    PAIR,
    PLACE,
    REPLACE,
    AccountDefinition,
    Definition,
    Limits,
)
from tidebook.gateway.names import Numbers
from tidebook.venue.codes import AccountFlag, CommandKind, ExecutionKind, OrderFlag, OrderType, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tidebook.venue import Venue

OPEN: Final = ("waiting", "open")
"""States of an order that has not ended."""

EVER: Final = (0, 1 << 63)
"""All of the venue's time."""

_STOPS: Final = (OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP)


@dataclass(slots=True)
class Order:
    """One order, in units of its instrument. `state`: waiting (a stop), open, filled, cancelled, expired, rejected."""

    order_id: int
    sequence: int
    """Of the command that placed it."""
    account: int
    instrument_id: int
    client_order_id: bytes
    kind: int
    """Of that command: a place, or a pair."""
    placed: bytes
    """Its body, as journaled."""
    side: int
    order_type: int
    time_in_force: int
    self_trade: int
    flags: int
    price: int
    """Its limit, or the worst price it may take, 0 for any; of a pegged order where it is."""
    price_asked: int
    """Of a pegged order the worst price it may take; else as `price`."""
    size: int
    expire_ts: int
    placed_ts: int
    changed_ts: int
    peg: int = 0
    amount: int = 0
    trigger_price: int = 0
    display_size: int = 0
    offset: int = 0
    earlier_ids: tuple[bytes, ...] = ()
    """That the client called it by before it replaced them."""
    linked_order_id: int = 0
    state: str = "open"
    reason: int = 0
    """Why it ended, where nobody filled it whole."""
    filled: int = 0
    remaining: int = 0
    notional: int = 0
    """Sum of price x size of its fills."""
    fee: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in OPEN


@dataclass(frozen=True, slots=True)
class Fill:
    """One account's side of a fill."""

    sequence: int
    """Of the execution."""
    source_sequence: int
    ts: int
    trade_id: int
    order_id: int
    client_order_id: bytes
    account: int
    instrument_id: int
    side: int
    price: int
    size: int
    fee: int
    liquidity: str
    """`maker` waited, `taker` came, `auction`."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution, as the venue wrote it; the fields are those of `docs/formats/orders.md`."""

    sequence: int
    source_sequence: int
    ts: int
    source_index: int
    instrument_id: int
    order_id: int
    contra_order_id: int
    account: int
    contra_account: int
    price: int
    size: int
    remaining: int
    filled: int
    contra_remaining: int
    trade_id: int
    fee: int
    contra_fee: int
    kind: int
    reason: int
    side: int
    command_kind: int


EXECUTION_FIELDS: Final = tuple(Execution.__slots__)


def executions_of(array: Any) -> Iterator[Execution]:
    """The rows of an array of executions, in order."""
    columns = [array[name].tolist() for name in EXECUTION_FIELDS]
    return (Execution(*row) for row in zip(*columns, strict=True))


@dataclass(frozen=True, slots=True)
class Everything:
    """All that lives are at one command."""

    ended: list[Order]
    """Remembered ones, in the order in which they ended."""
    open: list[Order]
    ids: list[tuple[int, bytes, int]]
    """Account, client's id and order."""
    fills: list[Fill]
    """Of each account oldest first."""
    definitions: dict[int, Definition]
    accounts: dict[int, AccountDefinition]
    sessions: dict[int, int]
    killed: list[int]
    limits: dict[tuple[int, int], Limits]
    switches: dict[int, int]


class Past:
    """All that lives were behind one command, whatever has happened since; any thread may read it meanwhile, piece by piece.

    What has ended and what was filled never changes, so it is shared. Of an open order that changes while this is there, and of a
    client's id that goes to another order, lives leave here what was, before they change it. So a reader looks at what is first, and
    then whether it was left here: if not, nobody had begun to change it by then.
    """

    def __init__(
        self,
        ended: list[Order],
        still_open: list[Order],
        fills: list[deque[Fill]],
        owners: dict[tuple[int, bytes], int],
        lives: Lives,
    ) -> None:
        """`owners` are those of ids as they are, which go on to change."""
        self._ended = ended
        self._open = still_open
        self._fills = fills
        self._owners = owners
        self._orders_before: dict[int, Order] = {}
        self._owners_before: dict[tuple[int, bytes], int | None] = {}
        self.definitions = dict(lives.definitions)
        self.accounts = dict(lives.accounts)
        self.sessions = dict(lives.sessions)
        self.killed = list(lives.killed)
        self.limits = dict(lives.limits)
        self.switches = dict(lives.switches)

    def keep_order(self, order: Order) -> None:
        """It is about to change."""
        if order.order_id not in self._orders_before:
            self._orders_before[order.order_id] = copy(order)

    def keep_owner(self, key: tuple[int, bytes]) -> None:
        """The order that a client's id is of is about to be another."""
        if key not in self._owners_before:
            self._owners_before[key] = self._owners.get(key)

    def ended(self) -> Iterator[Order]:
        """Remembered ones, in the order in which they ended."""
        return iter(self._ended)

    def open(self) -> Iterator[Order]:
        """Those that had not ended; copies."""
        for order in self._open:
            now = copy(order)
            yield self._orders_before.get(order.order_id, now)

    def ids(self) -> Iterator[tuple[int, bytes, int]]:
        """Account, client's id and order."""
        for order in chain(self.ended(), self.open()):
            for client_order_id in dict.fromkeys((*order.earlier_ids, order.client_order_id)):
                key = (order.account, client_order_id)
                owner = self._owners.get(key)
                if self._owners_before.get(key, owner) == order.order_id:
                    yield (*key, order.order_id)

    def fills(self) -> Iterator[Fill]:
        """Of each account oldest first."""
        return chain.from_iterable(self._fills)


class Lives:
    """Orders, fills and definitions, as of the last command taken in. Threads: one."""

    def __init__(self, remembered: int) -> None:
        """`remembered`: ended orders that are kept, and fills of each account."""
        self._remembered = remembered
        self._ended: deque[Order] = deque()
        self._ids: dict[tuple[int, bytes], int] = {}
        self._fills: dict[int, deque[Fill]] = {}
        self._open: dict[int, dict[int, Order]] = {}
        self.orders: dict[int, Order] = {}
        """By id: all that are open, and the newest that have ended."""
        self.definitions: dict[int, Definition] = {}
        """Of instruments, by number."""
        self.accounts: dict[int, AccountDefinition] = {}
        """By number."""
        self.sessions: dict[int, int] = {}
        """Of instruments; one that is missing is closed."""
        self.killed: set[int] = set()
        """Accounts whose trading is off; 0: of all."""
        self.limits: dict[tuple[int, int], Limits] = {}
        """In force, by account and instrument, 0 for the account as a whole; one that is missing has none."""
        self.switches: dict[int, int] = {}
        """When the dead man's switch of an account goes off, in the venue's time; one that lies behind it has gone off."""
        self._pasts: list[weakref.ref[Past]] = []

    def order_of(self, account: int, client_order_id: bytes) -> Order | None:
        """The order that an account gave this id, open or ended; None when it is not remembered, or never was."""
        order_id = self._ids.get((account, client_order_id))
        return None if order_id is None else self.orders.get(order_id)

    def open_orders(self, account: int, instrument_id: int = 0) -> list[Order]:
        """Of an account, in the order of acceptance; of one instrument if that is not 0."""
        found = self._open.get(account, {})
        return [order for _, order in sorted(found.items()) if instrument_id in (0, order.instrument_id)]

    def open_count(self) -> int:
        """Open orders of all accounts."""
        return sum(map(len, self._open.values()))

    def is_margin(self, account: int) -> bool:
        """Whether it is a margin account."""
        found = self.accounts.get(account)
        return found is not None and bool(found.flags & AccountFlag.MARGIN)

    def reckons_worst_prices(self, account: int, instrument_id: int) -> bool:
        """Whether risk puts a worst price into an order of the account that has none: not for margin, nor without a collar and a band."""
        if self.is_margin(account):
            return False
        limits = (self.limits.get((account, it)) for it in (instrument_id, 0))
        return self.definitions[instrument_id].band_ppm > 0 or any(it is not None and it.collar_ppm for it in limits)

    def numbers(self) -> Numbers:
        """Those of all assets, instruments and accounts that there are."""
        assets = {asset for it in self.definitions.values() for asset in (it.base_asset, it.quote_asset)}
        return Numbers(assets, self.definitions.keys(), self.accounts.keys())

    def accounts_to_disconnect(self) -> list[int]:
        """Accounts with an open order that is to go when their session ends."""
        return [
            account
            for account, orders in self._open.items()
            if any(order.flags & OrderFlag.CANCEL_ON_DISCONNECT for order in orders.values())
        ]

    def ended_orders(
        self, account: int, limit: int, instrument_id: int = 0, before: int | None = None, ts: tuple[int, int] = EVER
    ) -> list[Order]:
        """The newest of an account that have ended, newest first: those that ended before the order `before` did, and within [begin, end)
        of the venue's time. None of them where `before` is not remembered.
        """
        found: list[Order] = []
        waits = before is not None
        for order in reversed(self._ended):
            if waits:
                waits = order.order_id != before
            elif (
                order.account == account
                and instrument_id in (0, order.instrument_id)
                and ts[0] <= order.changed_ts < ts[1]
            ):
                found.append(order)
                if len(found) == limit:
                    break
        return found

    def fills(
        self, account: int, limit: int, instrument_id: int = 0, before: int | None = None, ts: tuple[int, int] = EVER
    ) -> list[Fill]:
        """The newest of an account, oldest first: of executions below `before`, and within [begin, end) of the venue's time.

        Both sides of one that an account had with itself, where `limit` would part them: nobody could ask for the other.
        """
        found = [
            fill
            for fill in self._fills.get(account, ())
            if instrument_id in (0, fill.instrument_id)
            and (before is None or fill.sequence < before)
            and ts[0] <= fill.ts < ts[1]
        ]
        if len(found) > limit and found[-limit - 1].sequence == found[-limit].sequence:
            limit += 1
        return found[-limit:]

    def trades(self, instrument_id: int) -> Iterator[Fill]:
        """Remembered ones of an instrument, in no order: of each the side that came, of an auction the buyer's."""
        return (
            fill
            for fill in chain.from_iterable(self._fills.values())
            if fill.instrument_id == instrument_id
            and (fill.liquidity == "taker" or (fill.liquidity == "auction" and fill.side > 0))
        )

    def apply(self, sequence: int, command: bytes, executions: Sequence[Execution]) -> None:
        """Takes in a command of `orders` and what it led to."""
        ts, _, _, account, instrument_id, kind, verdict, _ = HEAD.unpack_from(command)
        body = command[HEAD_SIZE_BYTES:]
        if verdict == Verdict.ACCEPTED:
            if kind == CommandKind.PLACE:
                self._place(sequence, ts, account, instrument_id, body)
            elif kind == CommandKind.PLACE_PAIR:
                self._place_pair(sequence, ts, account, instrument_id, body)
            elif kind == CommandKind.KILL:
                (self.killed.add if KILL.unpack(body)[0] else self.killed.discard)(account)
            elif kind == CommandKind.LIMITS:
                limits = Limits(*LIMITS.unpack(body))
                self.limits[account, instrument_id] = limits
                if replace(limits, exposure_exp=0) == Limits():
                    del self.limits[account, instrument_id]
            elif kind == CommandKind.CANCEL_ALL_AFTER:
                (timeout_ns,) = CANCEL_ALL_AFTER.unpack(body)
                self.switches[account] = ts + timeout_ns
                if not timeout_ns:
                    del self.switches[account]
        for execution in executions:
            self._take(execution, body)
            if execution.kind == ExecutionKind.DONE and execution.command_kind == CommandKind.INSTRUMENT:
                self._define(instrument_id, Definition(*INSTRUMENT.unpack(body)))
            elif execution.kind == ExecutionKind.DONE and execution.command_kind == CommandKind.ACCOUNT:
                self.accounts[account] = AccountDefinition(*ACCOUNT.unpack(body))

    def past(self) -> Past:
        """What all of it is now, to be read later. Cost: some nanoseconds for each order and fill, and a copy of each order that changes
        while somebody has it.
        """
        past = Past(
            list(self._ended),
            list(chain.from_iterable(orders.values() for orders in self._open.values())),
            [fills.copy() for fills in self._fills.values()],
            self._ids,
            self,
        )
        self._pasts.append(weakref.ref(past, self._pasts.remove))
        return past

    def everything(self) -> Everything:
        """All of it, to go on from elsewhere."""
        past = self.past()
        return Everything(
            ended=list(past.ended()),
            open=list(past.open()),
            ids=list(past.ids()),
            fills=list(past.fills()),
            definitions=past.definitions,
            accounts=past.accounts,
            sessions=past.sessions,
            killed=past.killed,
            limits=past.limits,
            switches=past.switches,
        )

    @classmethod
    def of(cls, known: Everything, remembered: int) -> Self:
        """Lives that go on from there; of what has ended no more than `remembered`."""
        lives = cls(remembered)
        lives.definitions, lives.accounts = dict(known.definitions), dict(known.accounts)
        lives.sessions, lives.killed = dict(known.sessions), set(known.killed)
        lives.limits, lives.switches = dict(known.limits), dict(known.switches)
        lives._ids = {(account, client_id): order_id for account, client_id, order_id in known.ids}
        for order in known.open:
            lives.orders[order.order_id] = order
            lives._open.setdefault(order.account, {})[order.order_id] = order
        for order in known.ended:
            lives.orders[order.order_id] = order
            lives._keep_ended(order)
        for fill in known.fills:
            lives._keep_fill(fill)
        return lives

    def difference(self, venue: Venue) -> str | None:
        """What of open orders, accounts and instruments a venue at the same command has otherwise; None when nothing."""
        names = ("order_id", "account", "side", "price", "size", "filled", "remaining")
        rows = venue.open_orders()
        found = set(zip(*(rows[name].tolist() for name in names), strict=True))
        said = {
            (it.order_id, it.account, it.side, it.price, it.size, it.filled, it.remaining)
            for orders in self._open.values()
            for it in orders.values()
        }
        if said != found:
            return f"order {min(said ^ found)[0]} is another in the venue"
        if self.accounts.keys() != set(venue.account_ids()) or self.definitions.keys() != set(venue.instrument_ids()):
            return "the venue has other accounts or instruments"
        return None

    def _define(self, instrument_id: int, definition: Definition) -> None:
        self.definitions[instrument_id] = definition
        self.sessions.setdefault(instrument_id, 0)

    def _place(self, sequence: int, ts: int, account: int, instrument_id: int, body: bytes) -> None:
        (client, price, size, amount, trigger, display, offset, expire, side, order_type, tif, stp, peg, flags) = (
            PLACE.unpack(body)
        )
        order = Order(
            order_id=2 * sequence,
            sequence=sequence,
            account=account,
            instrument_id=instrument_id,
            client_order_id=client,
            kind=CommandKind.PLACE,
            placed=body,
            side=side,
            order_type=order_type,
            time_in_force=tif,
            self_trade=stp,
            flags=flags,
            price=0 if order_type == OrderType.PEGGED else price,  # it is parked until it is priced
            price_asked=price,
            size=size,
            expire_ts=expire,
            placed_ts=ts,
            changed_ts=ts,
            peg=peg,
            amount=amount,
            trigger_price=trigger,
            display_size=display,
            offset=offset,
        )
        self._begin(order)

    def _place_pair(self, sequence: int, ts: int, account: int, instrument_id: int, body: bytes) -> None:
        client, stop_client, price, size, trigger, limit, expire, side, tif, stp, flags = PAIR.unpack(body)
        first = Order(
            order_id=2 * sequence,
            sequence=sequence,
            account=account,
            instrument_id=instrument_id,
            client_order_id=client,
            kind=CommandKind.PLACE_PAIR,
            placed=body,
            side=side,
            order_type=OrderType.LIMIT,
            time_in_force=tif,
            self_trade=stp,
            flags=flags,
            price=price,
            price_asked=price,
            size=size,
            expire_ts=expire,
            placed_ts=ts,
            changed_ts=ts,
            linked_order_id=2 * sequence + 1,
        )
        stop = replace(
            first,
            order_id=2 * sequence + 1,
            client_order_id=stop_client,
            order_type=OrderType.STOP_LIMIT if limit else OrderType.STOP,
            flags=flags & ~OrderFlag.POST_ONLY,
            price=limit,
            price_asked=limit,
            trigger_price=trigger,
            linked_order_id=2 * sequence,
        )
        self._begin(first)
        self._begin(stop)

    def _about_to_change(self, order: Order) -> None:
        for seen in tuple(self._pasts):
            if (past := seen()) is not None:
                past.keep_order(order)

    def _about_to_give(self, key: tuple[int, bytes]) -> None:
        """A client's id to another order, or to none."""
        for seen in tuple(self._pasts):
            if (past := seen()) is not None:
                past.keep_owner(key)

    def _begin(self, order: Order) -> None:
        order.remaining = order.amount or order.size
        order.state = "waiting" if order.order_type in _STOPS else "open"
        self.orders[order.order_id] = order
        self._open.setdefault(order.account, {})[order.order_id] = order
        self._give_id(order)

    def _give_id(self, order: Order) -> None:
        if order.client_order_id != NO_CLIENT_ID:
            key = (order.account, order.client_order_id)
            if self._pasts:
                self._about_to_give(key)
            self._ids[key] = order.order_id

    def _take(self, execution: Execution, body: bytes) -> None:
        kind = execution.kind
        if kind == ExecutionKind.FILL:
            self._fill(execution)
            return
        if kind == ExecutionKind.SESSION_CHANGED:
            self.sessions[execution.instrument_id] = execution.size
            return
        if kind == ExecutionKind.REJECTED:
            # The place itself: its order has ended before it began. A cancel or replace that is refused changes no order.
            if execution.command_kind in (CommandKind.PLACE, CommandKind.PLACE_PAIR):
                for order_id in (2 * execution.source_sequence, 2 * execution.source_sequence + 1):
                    refused = self.orders.get(order_id)
                    if refused is not None:
                        if self._pasts:
                            self._about_to_change(refused)
                        refused.remaining = 0
                        self._end(refused, "rejected", execution.reason, execution.ts)
            return
        order = self.orders.get(execution.order_id)
        if order is None or not order.is_open:
            return
        if self._pasts:
            self._about_to_change(order)
        order.changed_ts = execution.ts
        if kind == ExecutionKind.CANCELLED:
            order.remaining = 0
            if order.amount and execution.reason == Reason.AMOUNT_LEFT:
                self._end(order, "filled", execution.reason, execution.ts)
            else:
                state = "expired" if execution.reason == Reason.EXPIRED else "cancelled"
                self._end(order, state, execution.reason, execution.ts)
        elif kind == ExecutionKind.REPLACED:
            self._replaced(order, execution, body)
        elif kind == ExecutionKind.REDUCED:
            order.size -= 0 if order.amount else execution.size
            order.remaining = execution.remaining
            if not execution.remaining:
                self._end(order, "cancelled", Reason.SELF_TRADE, execution.ts)
        elif kind == ExecutionKind.TRIGGERED:
            order.state = "open"
        elif kind == ExecutionKind.REPRICED:
            order.price = execution.price

    def _replaced(self, order: Order, execution: Execution, body: bytes) -> None:
        _, client, price, _, trigger, display, offset, expire = REPLACE.unpack(body)
        order.price_asked = price
        order.price, order.size, order.remaining = execution.price, execution.size, execution.remaining
        if trigger or order.order_type != OrderType.TRAILING_STOP:
            order.trigger_price = trigger
        order.display_size, order.offset, order.expire_ts = display, offset, expire
        if client not in (NO_CLIENT_ID, order.client_order_id):
            if order.client_order_id != NO_CLIENT_ID:
                order.earlier_ids = (*order.earlier_ids, order.client_order_id)
            order.client_order_id = client
            self._give_id(order)

    def _fill(self, execution: Execution) -> None:
        auction = execution.side == 0
        sides = (
            (execution.order_id, execution.account, execution.side or 1, execution.remaining, execution.fee, "taker"),
            (
                execution.contra_order_id,
                execution.contra_account,
                -(execution.side or 1),
                execution.contra_remaining,
                execution.contra_fee,
                "maker",
            ),
        )
        for order_id, account, side, remaining, fee, liquidity in sides:
            order = self.orders.get(order_id)
            self._keep_fill(
                Fill(
                    sequence=execution.sequence,
                    source_sequence=execution.source_sequence,
                    ts=execution.ts,
                    trade_id=execution.trade_id,
                    order_id=order_id,
                    client_order_id=NO_CLIENT_ID if order is None else order.client_order_id,
                    account=account,
                    instrument_id=execution.instrument_id,
                    side=side,
                    price=execution.price,
                    size=execution.size,
                    fee=fee,
                    liquidity="auction" if auction else liquidity,
                )
            )
            if order is None:
                continue
            if self._pasts:
                self._about_to_change(order)
            order.filled += execution.size
            order.remaining = remaining
            order.notional += execution.price * execution.size
            order.fee += fee
            order.changed_ts = execution.ts
            if not remaining:
                self._end(order, "filled", 0, execution.ts)

    def _end(self, order: Order, state: str, reason: int, ts: int) -> None:
        was_open = order.is_open
        order.state, order.reason, order.changed_ts = state, reason, ts
        if not was_open:
            return
        orders = self._open[order.account]
        del orders[order.order_id]
        if not orders:
            del self._open[order.account]
        self._keep_ended(order)

    def _keep_fill(self, fill: Fill) -> None:
        fills = self._fills.get(fill.account)
        if fills is None:
            fills = self._fills[fill.account] = deque(maxlen=self._remembered)
        fills.append(fill)

    def _keep_ended(self, order: Order) -> None:
        self._ended.append(order)
        while len(self._ended) > self._remembered:
            self._forget(self._ended.popleft())

    def _forget(self, order: Order) -> None:
        del self.orders[order.order_id]
        for client_order_id in (order.client_order_id, *order.earlier_ids):
            key = (order.account, client_order_id)
            if self._ids.get(key) == order.order_id:
                if self._pasts:
                    self._about_to_give(key)
                del self._ids[key]

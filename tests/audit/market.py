"""A small venue whose commands and executions tests put into the audit trail, one by one or as a seeded stream."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np

from tidebook import venue
from tidebook._core import JournalWriter, Payloads
from tidebook.audit import upgrade
from tidebook.audit.rows import derive
from tidebook.audit.writer import Position, append, digest
from tidebook.venue import (
    OrderFlag,
    OrderType,
    Peg,
    Records,
    SelfTrade,
    Session,
    Side,
    TimeInForce,
    Venue,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tidebook.audit import Database

BTC_USD = 1
ALICE, BOB, CAROL, DAVE = 1, 2, 3, 4
S = 1_000_000_000
START = 1_800_000_000 * S
"""ns; a whole minute."""


def opening(accounts: Iterable[int] = (ALICE, BOB, CAROL, DAVE), groups: dict[int, int] | None = None) -> list[Any]:
    """Commands that list an instrument of 2 and 3 decimals, open rich accounts and begin continuous trading."""
    listed = venue.instrument(
        BTC_USD,
        tick=1,
        lot=1,
        size_min=1,
        size_max=1 << 40,
        base_asset=1,
        quote_asset=2,
        price_exp=2,
        size_exp=3,
        maker_ppm=10_000,
        taker_ppm=30_000,
        reference_price=10_000,
        ts=START,
    )
    commands: list[Any] = [listed]
    for account in accounts:
        commands.append(venue.account(account, group=(groups or {}).get(account, 0)))
        commands += [venue.transfer(account, asset, 1 << 50, amount_exp=3) for asset in (1, 2)]
    return [*commands, venue.session(BTC_USD, Session.CONTINUOUS)]


class Market:
    """A venue that remembers what it was told, as `orders` would have it, and what it said."""

    def __init__(self, *, groups: dict[int, int] | None = None) -> None:
        self.venue = Venue()
        self._commands: list[Records] = []
        self._executions: list[Records] = []
        self.now = START
        self.do(*opening(groups=groups))

    def do(self, *commands: Any, after_s: float = 0.0) -> int:
        """Submits commands, `after_s` later than the last ones; sequence of the last one."""
        self.now += int(after_s * S)
        batch = venue.commands(commands)
        batch["ts"] = self.now
        result = self.venue.submit(batch)
        self._commands.append(result.commands)
        self._executions.append(result.executions)
        return self.venue.sequence

    def place(self, account: int, side: Side, price: int, size: int, *, after_s: float = 0.0, **terms: Any) -> int:
        """Places an order; its id."""
        return 2 * self.do(venue.place(account, BTC_USD, side, price, size, **terms), after_s=after_s)

    def cancel(self, account: int, *orders: int, after_s: float = 0.0) -> None:
        """Cancels orders, all at one time."""
        self.do(*(venue.cancel(account, BTC_USD, order) for order in orders), after_s=after_s)

    @property
    def commands(self) -> Records:
        return np.concatenate(self._commands)

    @property
    def executions(self) -> Records:
        return np.concatenate(self._executions)

    def add_to(self, database: Database) -> None:
        """Puts all of it into an empty database, in one transaction."""
        upgrade(database)
        executions = self.executions
        end = Position(self.venue.sequence, int(executions["sequence"][-1]), digest(self.commands))
        append(database, Position(), end, derive(1, self.commands, executions))

    def write(self, journal: Path) -> None:
        """Makes the journal of `orders` that a node would have, or adds to it what it lacks."""
        write(journal, self.commands)


def write(journal: Path, commands: Records, *, segment_size_bytes: int = 1 << 26) -> None:
    """As much of `commands`, which begin with the first of all, as the journal does not have yet; durable when it returns."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    writer = JournalWriter(journal, "orders", segment_size_bytes=segment_size_bytes)
    missing = commands[writer.next_sequence - 1 :]
    if len(missing):
        writer.append_all(Payloads([command.tobytes() for command in missing]))
        writer.sync()
    writer.close()


def stream(count: int, seed: int) -> Records:
    """So many commands as a journal of `orders` has them, of every kind, many refused; always the same for a seed."""
    chance = random.Random(seed)
    market = Venue()
    accounts = range(1, 9)
    begun = market.submit(venue.commands(opening(accounts, {7: 1, 8: 1}))).commands
    found: list[Records] = [begun]
    ts, done = START, len(begun)
    while done < count:
        batch = []
        for _ in range(min(256, count - done)):
            ts += chance.randrange(S // 10)
            command = _any_command(chance, 2 * market.sequence, accounts)
            command["ts"] = ts
            batch.append(command)
        result = market.submit(venue.commands(batch))
        # Those that risk asks for itself, behind a kill, are on `orders` too.
        found.append(result.commands)
        done += len(result.commands)
    return np.concatenate(found)[:count]


def _any_command(chance: random.Random, newest_order: int, accounts: range) -> Any:
    account = chance.choice(accounts)
    side = chance.choice((Side.BUY, Side.SELL))
    price, size = 10_000 + chance.randint(-40, 40) - 15 * side, chance.randint(1, 500)
    an_order = max(2, newest_order - 2 * chance.randrange(400))
    terms: dict[str, Any] = {
        "self_trade": chance.choice(list(SelfTrade)),
        "client_order_id": f"c-{chance.randrange(10_000_000)}" if chance.random() < 0.5 else None,
    }
    kind = chance.random()
    if kind < 0.45:
        time_in_force = chance.choice(
            (TimeInForce.GTC, TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.DAY)
        )
        if time_in_force == TimeInForce.GTC:
            terms["flags"] = chance.choice((0, OrderFlag.POST_ONLY, OrderFlag.CANCEL_ON_DISCONNECT))
            terms["display_size"] = max(1, size // 4) if chance.random() < 0.2 and size > 1 else 0
        return venue.place(account, BTC_USD, side, price, size, time_in_force=time_in_force, **terms)
    if kind < 0.53:
        amount = chance.randint(1_000, 5_000_000) if chance.random() < 0.5 else 0
        return venue.place(
            account,
            BTC_USD,
            side,
            price + 300 * side,
            0 if amount else size,
            order_type=OrderType.MARKET,
            amount=amount,
            **terms,
        )
    if kind < 0.60:
        order_type = chance.choice((OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP))
        trigger = 10_000 + 20 * side
        terms |= {"trigger_price": trigger, "offset": 15 if order_type == OrderType.TRAILING_STOP else 0}
        return venue.place(account, BTC_USD, side, trigger + 50 * side, size, order_type=order_type, **terms)
    if kind < 0.63:
        return venue.place(
            account,
            BTC_USD,
            side,
            10_000 - 5 * side,
            size,
            order_type=OrderType.PEGGED,
            peg=Peg.PRIMARY,
            offset=3,
            **terms,
        )
    if kind < 0.66:
        return venue.place_pair(
            account,
            BTC_USD,
            side,
            price - 40 * side,
            size,
            trigger_price=10_000 + 60 * side,
            limit_price=10_000 + 90 * side,
        )
    if kind < 0.78:
        return venue.cancel(account, BTC_USD, an_order)
    if kind < 0.90:
        return venue.replace(account, BTC_USD, an_order, price=price, size=size)
    if kind < 0.92:
        return venue.mass_cancel(account, BTC_USD, chance.choice((Side.NONE, side)))
    if kind < 0.94:
        return venue.disconnect(account)
    if kind < 0.95:
        return venue.cancel_all_after(account, chance.choice((0, 5 * S)))
    if kind < 0.97:
        return venue.timer(0)
    if kind < 0.975:
        return venue.session(BTC_USD, chance.choice(list(Session)))
    if kind < 0.985:
        return venue.session(BTC_USD, Session.CONTINUOUS)
    if kind < 0.99:
        return venue.limits(account, BTC_USD, order_size_max=chance.choice((0, 400)))
    if kind < 0.993:
        return venue.kill(account, killed=chance.random() < 0.3)
    if kind < 0.996:
        return venue.account(account, group=chance.choice((0, 1)))
    return np.frombuffer(bytearray(chance.randbytes(venue.COMMAND.itemsize)), venue.COMMAND)[0]

"""What accounts have: positions, balances, and the portfolio that keeps both exactly.

Amounts are whole numbers of ledger units, 10^-18 of the asset, in which every notional, fee and transfer is exact: `decimal(amount, LEDGER_EXP)`
gives the number. Positions are in size units of their instrument.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np

from tidebook._core import Portfolio as CorePortfolio
from tidebook.venue.layouts import Records, as_commands, as_executions

LEDGER_EXP = 18
"""Amounts of the ledger are in units of 10^-18."""


@dataclass(frozen=True, slots=True)
class Position:
    """An account's position in an instrument; amounts in ledger units of the quote asset."""

    account: int
    instrument_id: int
    position: int
    """In size units; below 0 when short."""
    cost: int
    """What it was bought for; below 0: what a short one was sold for."""
    realised: int
    """Profit of what was closed, before fees."""
    fees: int
    """Paid, less rebates."""
    worth: int
    """At the mark: the last trade, else the reference price; at cost where there is neither."""
    unrealised: int
    """`worth` less `cost`."""
    average_price: Fraction | None
    """In price units, exactly; None without a position."""

    @classmethod
    def of(cls, facts: tuple[int, ...]) -> Self:
        """From what the core says."""
        account, instrument_id, position, cost, realised, fees, worth, unrealised, numerator, denominator = facts
        average = Fraction(numerator, denominator) if denominator else None
        return cls(account, instrument_id, position, cost, realised, fees, worth, unrealised, average)


@dataclass(frozen=True, slots=True)
class Balance:
    """An account's holding of an asset, in ledger units."""

    account: int
    """Whose; 0 for what the venue took in fees."""
    asset: int
    total: int
    """All of it. Of a margin account without its positions."""
    reserved: int
    """The part that open orders may need; 0 in a `Portfolio`."""

    @property
    def available(self) -> int:
        """`total` less `reserved`; below 0 if it owes."""
        return self.total - self.reserved


@dataclass(frozen=True, slots=True)
class Margin:
    """What a margin account has and needs of a quote asset, in ledger units."""

    account: int
    asset: int
    equity: int
    """Cash and what the positions quoted in it are worth."""
    initial: int
    """What positions and open orders need to be opened: the margin in use."""
    maintenance: int
    """What positions need to be kept."""
    called: bool
    """A margin call stands: it was told that the equity is below `maintenance`."""

    @property
    def free(self) -> int:
        """What could be taken out, or be the margin of more; below 0 if `initial` is not met."""
        return self.equity - self.initial


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What a command lacks that is refused for its balance or margin, in ledger units."""

    asset: int
    needed: int
    """Beyond what is reserved already, or is margin in use."""
    available: int
    """What is not reserved; of a margin account what is free."""


def positions_of(facts: list[tuple[int, ...]]) -> list[Position]:
    """Those that were ever something, from what the core says."""
    return [Position.of(fact) for fact in facts if any(fact[2:6])]


def balances_of(facts: list[tuple[int, int, int, int]]) -> list[Balance]:
    """Those that are something, from what the core says."""
    return [Balance(*fact) for fact in facts if any(fact[2:])]


class Portfolio(CorePortfolio):
    """Positions and cash of all accounts, from commands of `orders` and executions alone, without the rest of a venue.

    Both may come in any slices, as long as an instrument or account is defined before its first fill:

        portfolio = Portfolio()
        portfolio.apply(journaled.commands, journaled.executions)
    """

    def apply(self, commands: Any = None, executions: Records | None = None) -> None:
        """Takes in judged commands (refused ones change nothing), then executions (all but fills change nothing).

        Raises: CommandError for arrays of another dtype.
        """
        if commands is not None:
            self._commands(np.ascontiguousarray(as_commands(commands)).view(np.uint8))
        if executions is not None:
            self._executions(np.ascontiguousarray(as_executions(executions)).view(np.uint8))

    def positions(self, account: int | None = None) -> list[Position]:
        """Of an account, or of all, by account and instrument."""
        return positions_of(self._positions(account))

    def balances(self, account: int | None = None) -> list[Balance]:
        """Of an account, or of all, the venue's fees too (account 0), by account and asset."""
        return balances_of(self._balances(account))

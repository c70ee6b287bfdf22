"""A small market for tests: instruments, accounts with cash and holdings, and seeded streams of orders."""

from typing import Any

import numpy as np

from tidebook.venue import (
    COMMAND,
    LAYOUTS,
    AccountFlag,
    CommandKind,
    Records,
    Session,
    Venue,
    account,
    commands,
    instrument,
    session,
    transfer,
)

BASE, QUOTE = 1, 2
ACCOUNTS = (11, 12, 13, 14)
# Enough room for every test, and little enough that a fork costs nothing.
ROOM: dict[str, Any] = {"orders_max": 1 << 14, "accounts_max": 64, "instruments_max": 8, "ended_ids_max": 64}


def opening(instruments: int = 2) -> Records:
    """Instruments 1, 2, ... in continuous trading, four accounts with money and wares; account 14 is a margin account."""
    records = []
    for number in range(1, instruments + 1):
        records.append(
            instrument(
                number, base_asset=BASE, quote_asset=QUOTE, price_exp=2, size_exp=3, maker_ppm=-50, taker_ppm=300
            )
        )
        records.append(session(number, Session.CONTINUOUS))
    for number in ACCOUNTS:
        margin = number == ACCOUNTS[-1]
        records.append(
            account(
                number,
                flags=AccountFlag.MARGIN if margin else 0,
                initial_margin_ppm=100_000 if margin else 0,
                maintenance_margin_ppm=50_000 if margin else 0,
            )
        )
        records.append(transfer(number, QUOTE, 10**9))
        if not margin:
            records.append(transfer(number, BASE, 10**6))
    return commands(records)


def market(instruments: int = 2, **options: Any) -> Venue:
    """A venue behind its opening."""
    venue = Venue(**(ROOM | options))
    assert venue.submit(opening(instruments)).accepted.all()
    return venue


def stream(seed: int, count: int, *, begin: int, instruments: int = 2, bytes_of: Records | None = None) -> Records:
    """Commands of all kinds that clients send, around a price of 100.00; ids they name are of the last hundred commands.

    `begin` is the sequence of the first, by which orders are named.
    """
    random = np.random.default_rng(seed)
    array = np.zeros(count, COMMAND) if bytes_of is None else bytes_of
    array["ts"] = np.sort(random.integers(1, 10**9, count))
    array["account"] = random.choice(ACCOUNTS, count)
    array["instrument_id"] = random.integers(1, instruments + 1, count)
    shares = {CommandKind.PLACE: 0.6, CommandKind.CANCEL: 0.2, CommandKind.REPLACE: 0.15, CommandKind.PLACE_PAIR: 0.04}
    shares[CommandKind.MASS_CANCEL] = 1 - sum(shares.values())
    kinds = random.choice([int(kind) for kind in shares], count, p=list(shares.values()))
    array["kind"] = kinds
    named = 2 * np.maximum(begin + np.arange(count) - random.integers(1, 100, count), 1)
    prices, sizes = random.integers(9_950, 10_050, count), random.integers(1, 50, count)
    for kind in shares:
        chosen = kinds == kind
        view = array.view(LAYOUTS[kind])
        fields = LAYOUTS[kind].names or ()
        if "price" in fields:
            view["price"][chosen], view["size"][chosen] = prices[chosen], sizes[chosen]
        if "side" in fields:
            view["side"][chosen] = random.choice([1, -1], count)[chosen]
        if "time_in_force" in fields:
            view["time_in_force"][chosen] = random.choice([1, 1, 1, 2, 3], count)[chosen]
        if "self_trade" in fields:
            view["self_trade"][chosen] = random.integers(0, 5, count)[chosen]
        if "order_id" in fields:
            view["order_id"][chosen] = named[chosen]
    place, chosen = array.view(LAYOUTS[CommandKind.PLACE]), kinds == CommandKind.PLACE
    place["order_type"][chosen] = random.choice([1, 1, 1, 1, 2, 4], count)[chosen]
    market_orders = chosen & (place["order_type"] == 2)
    place["time_in_force"][market_orders] = 2
    stops = chosen & (place["order_type"] == 4)
    place["trigger_price"][stops], place["time_in_force"][stops] = random.integers(9_950, 10_050, count)[stops], 1
    pairs, chosen = array.view(LAYOUTS[CommandKind.PLACE_PAIR]), kinds == CommandKind.PLACE_PAIR
    pairs["time_in_force"][chosen] = 1
    pairs["trigger_price"][chosen] = prices[chosen] + 60 * pairs["side"][chosen]
    return array

"""Days of orders from a seed: what operators and clients of two instruments and eight accounts send, of every order type, in every session."""

import random
import time
from collections import deque
from typing import Any

import numpy as np

from tidebook import venue
from tidebook.venue import (
    COMMAND,
    AccountFlag,
    BandAction,
    OrderFlag,
    OrderType,
    Peg,
    Records,
    SelfTrade,
    Session,
    Side,
    TimeInForce,
)

S = 1_000_000_000
"""ns."""
BTC, USD, ETH = 1, 2, 3
BASES = {1: BTC, 2: ETH}
ACCOUNTS = tuple(range(11, 19))
MARGIN = (17, 18)
NAMES: dict[str, Any] = {
    "format": "tidebook-venue-names",
    "version": 1,
    "assets": {"BTC": BTC, "USD": USD, "ETH": ETH},
    "accounts": {f"a{number}": {"number": number} for number in ACCOUNTS},
    "instruments": {
        f"{base}-USD.LOCAL": {"number": number, "base": base, "quote": "USD"}
        for number, base in ((1, "BTC"), (2, "ETH"))
    },
}


def opening() -> Records:
    """Two instruments with bands, and eight accounts: two of a group, one with fees of its own, two on margin."""
    records = [
        venue.instrument(
            number,
            base_asset=base,
            quote_asset=USD,
            price_exp=2,
            size_exp=3,
            maker_ppm=maker,
            taker_ppm=taker,
            reference_price=10_000,
            band_ppm=30_000,
            band_action=action,
        )
        for (number, base), maker, taker, action in zip(
            BASES.items(), (-50, 10_000), (300, 30_000), (BandAction.REJECT, BandAction.HALT), strict=True
        )
    ]
    for number in ACCOUNTS:
        flags, terms = 0, {}
        if number in MARGIN:
            flags, terms = AccountFlag.MARGIN, {"initial_margin_ppm": 100_000, "maintenance_margin_ppm": 50_000}
        elif number == ACCOUNTS[0]:
            flags, terms = AccountFlag.OWN_FEES, {"maker_ppm": 0, "taker_ppm": 70}
        records.append(venue.account(number, flags=flags, group=1 if number in (12, 13) else 0, **terms))
        records += [venue.transfer(number, asset, 10**7) for asset in ((USD,) if number in MARGIN else (BTC, USD, ETH))]
    return venue.commands(records)


class Day:
    """What is sent, from a seed: sessions follow each other as on a day, and clients trade in them whatever they are."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.known: deque[tuple[int, int, int]] = deque(maxlen=300)
        """Account, instrument and id of orders that were taken, the newest last."""
        self._sent = 0
        self._sessions = dict.fromkeys(BASES, Session.CLOSED)

    def name(self) -> str:
        """An id of a client's, never given before."""
        self._sent += 1
        return f"d{self._sent}"

    def batch(self, count: int) -> Records:
        """The next commands."""
        return venue.commands([self.command() for _ in range(count)])

    def command(self) -> Any:
        of = self.chance.random()
        instrument = self.chance.choice(list(BASES))
        if of < 0.01 or self._sessions[instrument] == Session.CLOSED:
            return self._next_session(instrument)
        account = self.chance.choice(ACCOUNTS)
        if of < 0.02:
            return self._operators(account, instrument)
        if of < 0.03:
            return self._way_out(account, instrument)
        if of < 0.28 and self.known:
            return self._change(*self.chance.choice(self.known))
        return self._order(account, instrument)

    def _next_session(self, instrument: int) -> Any:
        now = self._sessions[instrument]
        after = {
            Session.CLOSED: (Session.PRE_OPEN, Session.AUCTION, Session.CONTINUOUS),
            Session.PRE_OPEN: (Session.AUCTION, Session.AUCTION, Session.CONTINUOUS),
            Session.AUCTION: (Session.CONTINUOUS,) * 4 + (Session.CLOSED, Session.HALTED),
            # Where a band has halted it, this ends that.
            Session.CONTINUOUS: (Session.CONTINUOUS,) * 3 + (Session.HALTED, Session.AUCTION, Session.CLOSED),
            Session.HALTED: (Session.AUCTION, Session.CONTINUOUS),
        }[now]
        self._sessions[instrument] = self.chance.choice(after)
        return venue.session(instrument, self._sessions[instrument])

    def _operators(self, account: int, instrument: int) -> Any:
        of = self.chance.random()
        if of < 0.3:
            asset = self.chance.choice((USD, BTC, ETH))
            return venue.transfer(
                account, asset, self.chance.choice((1, -1)) * self.chance.randint(1, 10**6), amount_exp=3
            )
        if of < 0.5:
            return venue.limits(
                account,
                instrument,
                order_size_max=self.chance.choice((0, 300)),
                commands_per_s=self.chance.choice((0, 0, 50)),
                open_orders_max=self.chance.choice((0, 200)),
            )
        if of < 0.6:
            return venue.kill(account, killed=self.chance.random() < 0.4)
        if of < 0.9:
            return venue.kill(account, killed=False)
        return np.frombuffer(bytearray(self.chance.randbytes(COMMAND.itemsize)), COMMAND)[0]

    def _way_out(self, account: int, instrument: int) -> Any:
        of = self.chance.random()
        if of < 0.3:
            return venue.mass_cancel(account, self.chance.choice((0, instrument)), self.chance.choice(list(Side)))
        if of < 0.6:
            return venue.disconnect(account)
        return venue.cancel_all_after(account, self.chance.choice((0, S // 10, S)))

    def _change(self, account: int, instrument: int, order: int) -> Any:
        if self.chance.random() < 0.5:
            return venue.cancel(account, instrument, order)
        return venue.replace(account, instrument, order, price=self._price(), size=self.chance.randint(1, 300))

    def _price(self) -> int:
        return 10_000 + self.chance.randint(-40, 40)

    def _order(self, account: int, instrument: int) -> Any:
        side = self.chance.choice((Side.BUY, Side.SELL))
        size, price = self.chance.randint(1, 200), self._price() - 15 * side
        terms: dict[str, Any] = {
            "self_trade": self.chance.choice(list(SelfTrade)),
            "client_order_id": self.name() if self.chance.random() < 0.5 else None,
        }
        lasting = self.chance.choice((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.DAY, TimeInForce.GTD))
        if lasting == TimeInForce.GTD:
            terms["expire_ts"] = time.time_ns() + self.chance.randint(1, 2 * S)
        flags = self.chance.choice((0, 0, OrderFlag.CANCEL_ON_DISCONNECT))
        of = self.chance.random()
        if of < 0.5:
            if self.chance.random() < 0.2:
                terms["display_size"] = max(1, size // 5)
                size += 1
            flags |= self.chance.choice((0, 0, OrderFlag.POST_ONLY))
            return venue.place(account, instrument, side, price, size, time_in_force=lasting, flags=flags, **terms)
        if of < 0.62:
            at_once = self.chance.choice((TimeInForce.IOC, TimeInForce.FOK))
            terms.pop("expire_ts", None)
            return venue.place(account, instrument, side, price + 30 * side, size, time_in_force=at_once, **terms)
        if of < 0.72:
            terms.pop("expire_ts", None)
            amount = self.chance.choice((0, self.chance.randint(1_000, 2_000_000)))
            return venue.place(
                *(account, instrument, side, self.chance.choice((0, price + 400 * side)), 0 if amount else size),
                order_type=OrderType.MARKET,
                amount=amount,
                **terms,
            )
        if of < 0.86:
            order_type = self.chance.choice((OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP))
            trails = order_type == OrderType.TRAILING_STOP
            trigger = 10_000 + self.chance.randint(0, 30) * side
            return venue.place(
                *(account, instrument, side, trigger + 100 * side, size),
                order_type=order_type,
                trigger_price=0 if trails and self.chance.random() < 0.5 else trigger,
                offset=self.chance.randint(5, 30) if trails else 0,
                time_in_force=lasting,
                flags=flags,
                **terms,
            )
        if of < 0.93:
            return venue.place(
                *(account, instrument, side, self.chance.choice((0, 10_000 - 5 * side)), size),
                order_type=OrderType.PEGGED,
                peg=self.chance.choice((Peg.PRIMARY, Peg.OPPOSITE, Peg.MID)),
                offset=self.chance.randint(0, 9),
                time_in_force=lasting,
                flags=flags,
                **terms,
            )
        return venue.place_pair(
            *(account, instrument, side, 10_000 - self.chance.randint(5, 40) * side, size),
            trigger_price=10_000 + self.chance.randint(5, 40) * side,
            limit_price=self.chance.choice((0, 10_000 + 90 * side)),
            time_in_force=lasting,
            flags=flags,
            **terms,
        )

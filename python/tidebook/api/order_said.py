"""Orders, fills and executions in the words of `order_wire`: numbers become names, units become decimals."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal, localcontext
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from tidebook._core import client_order_id_text, format_units
from tidebook.api import order_wire as wire
from tidebook.gateway import words
from tidebook.gateway.layouts import NO_CLIENT_ID, Definition, Limits
from tidebook.gateway.names import VENUE
from tidebook.venue import Balance
from tidebook.venue.codes import AccountFlag, ExecutionKind, OrderFlag, OrderType

if TYPE_CHECKING:
    from tidebook.gateway.desk import OrderDesk
    from tidebook.gateway.lives import Execution, Fill, Order
    from tidebook.venue import Margin, Shortfall

LEDGER_EXP: Final = 18
"""Decimals of what risk and portfolio count in."""
_RATIO_DIGITS: Final = 18
_OF_ORDERS: Final = frozenset(
    {
        ExecutionKind.ACCEPTED,
        ExecutionKind.REJECTED,
        ExecutionKind.CANCELLED,
        ExecutionKind.REPLACED,
        ExecutionKind.REDUCED,
        ExecutionKind.TRIGGERED,
        ExecutionKind.REFRESHED,
        ExecutionKind.REPRICED,
    }
)


def scaled(units: int, exponent: int) -> str:
    """Units of 10^-`exponent` as decimals, however large; `format_units` for what is no price or size."""
    sign, digits = ("-", str(-units)) if units < 0 else ("", str(units))
    if not exponent:
        return sign + digits
    digits = digits.rjust(exponent + 1, "0")
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}"


def trimmed(units: int, exponent: int) -> str:
    """The same without zeros at the end: of the ledger, which counts in units of 10^-18."""
    text = scaled(units, exponent)
    return text.rstrip("0").rstrip(".") if "." in text else text


def ratio(numerator: int, numerator_exp: int, denominator: int, denominator_exp: int) -> str:
    """One amount by another, rounded to 18 significant digits."""
    with localcontext() as context:
        context.prec = _RATIO_DIGITS
        found = Decimal(numerator).scaleb(-numerator_exp) / Decimal(denominator).scaleb(-denominator_exp)
    return f"{found.normalize():f}"


def client_id_said(client_order_id: bytes) -> str | None:
    """A client's id as its text; None for none."""
    return None if client_order_id == NO_CLIENT_ID else client_order_id_text(client_order_id)


class Said:
    """Says what a desk knows."""

    def __init__(self, desk: OrderDesk) -> None:
        self._names = desk.names
        self._follower = desk.follower
        self._lives = desk.follower.lives
        self._venue = desk.follower.venue

    def order(self, order: Order) -> wire.Order:
        """An order as it is now."""
        definition = self._lives.definitions[order.instrument_id]
        price_exp, size_exp = definition.price_exp, definition.size_exp

        def price(units: int) -> str | None:
            return format_units(units, price_exp) if units else None

        notional_exp = price_exp + size_exp
        trigger_price = order.trigger_price
        if order.order_type == OrderType.TRAILING_STOP and order.state == "waiting":
            # It moves with trades, which no execution tells.
            now = self._venue.order(order.order_id)
            trigger_price = trigger_price if now is None else int(now["trigger_price"])
        return wire.Order(
            order_id=order.order_id,
            client_order_id=client_id_said(order.client_order_id),
            account=self._names.account(order.account),
            instrument=self._names.instrument(order.instrument_id),
            side=words.SIDES[order.side],
            type=words.ORDER_TYPES[order.order_type],
            time_in_force=words.TIMES_IN_FORCE[order.time_in_force],
            state=order.state,  # type: ignore[arg-type]
            reason=words.REASONS[order.reason] if order.reason else None,
            price=price(order.price),
            size=None if order.amount else format_units(order.size, size_exp),
            amount=price(order.amount),
            filled=format_units(order.filled, size_exp),
            remaining=format_units(order.remaining, price_exp if order.amount else size_exp),
            average_price=ratio(order.notional, notional_exp, order.filled, size_exp) if order.filled else None,
            filled_notional=scaled(order.notional, notional_exp),
            fee=format_units(order.fee, price_exp),
            trigger_price=price(trigger_price),
            display_size=format_units(order.display_size, size_exp) if order.display_size else None,
            offset=price(order.offset) if order.peg == 0 else format_units(order.offset, price_exp),
            peg=words.PEGS[order.peg] if order.peg else None,
            expire_ts=order.expire_ts // 1_000 or None,
            self_trade=words.SELF_TRADES[order.self_trade],
            post_only=bool(order.flags & OrderFlag.POST_ONLY),
            cancel_on_disconnect=bool(order.flags & OrderFlag.CANCEL_ON_DISCONNECT),
            linked_order_id=order.linked_order_id or None,
            sequence=order.sequence,
            placed_ts=order.placed_ts // 1_000,
            changed_ts=order.changed_ts // 1_000,
        )

    def fill(self, fill: Fill) -> wire.Fill:
        """One side of a trade."""
        definition = self._lives.definitions[fill.instrument_id]
        return wire.Fill(
            sequence=fill.sequence,
            trade_id=fill.trade_id,
            order_id=fill.order_id,
            client_order_id=client_id_said(fill.client_order_id),
            account=self._names.account(fill.account),
            instrument=self._names.instrument(fill.instrument_id),
            side=words.SIDES[fill.side],
            price=format_units(fill.price, definition.price_exp),
            size=format_units(fill.size, definition.size_exp),
            fee=format_units(fill.fee, definition.price_exp),
            liquidity=fill.liquidity,
            ts=fill.ts // 1_000,
        )

    def instrument(self, number: int) -> wire.VenueInstrument:
        """An instrument, listed or only named."""
        name = self._names.instrument(number)
        named = self._names.instruments.get(name)
        found = self._lives.definitions.get(number)
        base = self._names.asset(found.base_asset) if found else named.base if named else ""
        quote = self._names.asset(found.quote_asset) if found else named.quote if named else ""
        session = words.SESSIONS[self._lives.sessions.get(number, 0)]
        if found is None:
            return wire.VenueInstrument(name, number, base, quote, listed=False, session=session)
        # An uncross, and so on, move it: what the venue has is asked, not what the last definition said.
        in_force = self._venue.definition(number)
        reference = 0 if in_force is None else int(in_force["reference_price"])
        return wire.VenueInstrument(
            name,
            number,
            base,
            quote,
            listed=True,
            session=session,
            tick=format_units(found.tick, found.price_exp),
            lot=format_units(found.lot, found.size_exp),
            size_min=format_units(found.size_min, found.size_exp),
            size_max=format_units(found.size_max, found.size_exp),
            band_ppm=found.band_ppm,
            maker_ppm=found.maker_ppm,
            taker_ppm=found.taker_ppm,
            band_action=words.BAND_ACTIONS[found.band_action],
            reference_price=None if not reference else format_units(reference, found.price_exp),
        )

    def instruments(self) -> list[wire.VenueInstrument]:
        """All, by number."""
        numbers = {named.number for named in self._names.instruments.values()} | self._lives.definitions.keys()
        return [self.instrument(number) for number in sorted(numbers)]

    def _account(self, number: int, called: list[int]) -> wire.VenueAccount:
        """An account, open or only named, with assets for which a margin call stands."""
        found = self._lives.accounts.get(number)
        own_fees = found is not None and bool(found.flags & AccountFlag.OWN_FEES)
        switch = self._lives.switches.get(number, 0)
        return wire.VenueAccount(
            account=self._names.account(number),
            number=number,
            open=found is not None,
            wait=self._names.wait_of(number),
            group=0 if found is None else found.group,
            margin=found is not None and bool(found.flags & AccountFlag.MARGIN),
            killed=bool({0, number} & self._lives.killed),
            open_orders=len(self._lives.open_orders(number)),
            maker_ppm=found.maker_ppm if found is not None and own_fees else None,
            taker_ppm=found.taker_ppm if found is not None and own_fees else None,
            initial_margin_ppm=0 if found is None else found.initial_margin_ppm,
            maintenance_margin_ppm=0 if found is None else found.maintenance_margin_ppm,
            cancel_all_after_ts=switch // 1_000 if switch > self._venue.ts else None,
            margin_calls=[self._names.asset(asset) for asset in called],
        )

    def limits(self, account: int | None = None) -> list[wire.Limits]:
        """Those in force of an account, or of all, by account: first as a whole, then by instrument."""
        return [
            self._limits(of, instrument_id, found)
            for (of, instrument_id), found in sorted(self._lives.limits.items(), key=itemgetter(0))
            if account in (None, of)
        ]

    def _limits(self, account: int, instrument_id: int, found: Limits) -> wire.Limits:
        definition = self._lives.definitions.get(instrument_id)
        price_exp = found.exposure_exp if definition is None else definition.price_exp

        def said(units: int, exponent: int) -> str | None:
            return format_units(units, exponent) if units else None

        size_exp = 0 if definition is None else definition.size_exp
        return wire.Limits(
            account=self._names.account(account),
            instrument=self._names.instrument(instrument_id) if instrument_id else None,
            order_size_max=said(found.order_size_max, size_exp),
            order_notional_max=said(found.order_notional_max, price_exp),
            position_max=said(found.position_max, size_exp),
            exposure_max=said(found.exposure_max, price_exp),
            open_orders_max=found.open_orders_max or None,
            collar_ppm=found.collar_ppm or None,
            commands_per_s=found.commands_per_s or None,
            burst=found.burst or None,
        )

    def accounts(self) -> list[wire.VenueAccount]:
        """All, by number."""
        numbers = {named.number for named in self._names.accounts.values()} | self._lives.accounts.keys()
        called: defaultdict[int, list[int]] = defaultdict(list)
        for account, asset in self._venue.margin_calls():
            called[account].append(asset)
        return [self._account(number, called[number]) for number in sorted(numbers)]

    def positions(self, account: int) -> list[wire.Position]:
        """What an account holds by trading, by instrument."""
        found = []
        for held in self._venue.positions(account):
            definition = self._lives.definitions[held.instrument_id]
            average = None
            if held.position:
                average = ratio(held.cost, LEDGER_EXP, held.position, definition.size_exp)
            found.append(
                wire.Position(
                    instrument=self._names.instrument(held.instrument_id),
                    position=trimmed(held.position, definition.size_exp),
                    cost=trimmed(held.cost, LEDGER_EXP),
                    average_price=average,
                    realised=trimmed(held.realised, LEDGER_EXP),
                    unrealised=trimmed(held.unrealised, LEDGER_EXP),
                    fees=trimmed(held.fees, LEDGER_EXP),
                )
            )
        return found

    def balances(self, account: int) -> list[wire.Balance]:
        """What an account has, by asset."""
        margins = {margin.asset: margin for margin in self._venue.margins(account)}
        held = {balance.asset: balance for balance in self._venue.balances(account)}
        used = {asset for asset, margin in margins.items() if margin.equity or margin.initial or margin.maintenance}
        return [
            self._balance(held.get(asset, Balance(account, asset, 0, 0)), margins.get(asset))
            for asset in sorted(held.keys() | used)
        ]

    def _balance(self, held: Balance, margin: Margin | None) -> wire.Balance:
        available = held.available if margin is None else margin.free
        said = wire.Balance(
            asset=self._names.asset(held.asset),
            balance=trimmed(held.total, LEDGER_EXP),
            reserved=trimmed(held.reserved, LEDGER_EXP),
            available=trimmed(available, LEDGER_EXP),
        )
        if margin is None:
            return said
        return replace(
            said,
            equity=trimmed(margin.equity, LEDGER_EXP),
            initial_margin=trimmed(margin.initial, LEDGER_EXP),
            maintenance_margin=trimmed(margin.maintenance, LEDGER_EXP),
            called=margin.called,
        )

    def shortfall(self, lacks: Shortfall) -> wire.Shortfall:
        """What a command lacked."""
        return wire.Shortfall(
            asset=self._names.asset(lacks.asset),
            needed=trimmed(lacks.needed, LEDGER_EXP),
            available=trimmed(lacks.available, LEDGER_EXP),
        )

    def status(self, engine: dict[str, Any], audit: dict[str, Any] | None) -> wire.VenueStatus:
        """The venue, with what the engine and the audit trail say of themselves."""
        follower, lives = self._follower, self._lives
        return wire.VenueStatus(
            venue=VENUE,
            sequence=follower.sequence,
            durable=follower.durable,
            instruments=len(lives.definitions),
            accounts=len(lives.accounts),
            open_orders=lives.open_count(),
            waiting=follower.waiting,
            killed=0 in lives.killed,
            margin_calls=len(self._venue.margin_calls()),
            state_hash=f"{self._venue.state_hash():016x}",
            engine=engine,
            audit=audit,
        )

    def events(self, account: int, executions: list[Execution]) -> list[wire.ExecutionEvent]:
        """What of these an account is told, in order: what happened to its own orders and to what it asked for."""
        found = []
        for execution in executions:
            if execution.kind == ExecutionKind.FILL:
                if execution.account == account:
                    found.append(self._fill_event(execution, contra=False))
                if execution.contra_account == account:
                    found.append(self._fill_event(execution, contra=True))
            elif execution.account == account:
                found.append(self._event(execution))
        return found

    def _event(self, execution: Execution) -> wire.ExecutionEvent:
        order = self._lives.orders.get(execution.order_id)
        definition = self._lives.definitions.get(execution.instrument_id)
        is_of_order = execution.kind in _OF_ORDERS and execution.order_id and definition is not None
        by_amount = order is not None and bool(order.amount)
        exponents = (definition.price_exp, definition.size_exp) if definition else (0, 0)
        left_exp = exponents[0] if by_amount else exponents[1]
        size = str(execution.size) if execution.kind == ExecutionKind.MASS_CANCELLED else None
        return wire.ExecutionEvent(
            sequence=execution.sequence,
            source_sequence=execution.source_sequence,
            ts=execution.ts // 1_000,
            kind=words.EXECUTION_KINDS[execution.kind],
            order_id=execution.order_id or None,
            client_order_id=None if order is None else client_id_said(order.client_order_id),
            instrument=self._names.instrument(execution.instrument_id) if execution.instrument_id else None,
            side=words.SIDES.get(execution.side),
            price=format_units(execution.price, exponents[0]) if is_of_order and execution.price else None,
            size=format_units(execution.size, left_exp) if is_of_order else size,
            remaining=format_units(execution.remaining, left_exp) if is_of_order else None,
            reason=words.REASONS[execution.reason] if execution.reason else None,
            command=words.COMMAND_KINDS[execution.command_kind] if execution.command_kind else None,
        )

    def _fill_event(self, execution: Execution, *, contra: bool) -> wire.ExecutionEvent:
        order_id = execution.contra_order_id if contra else execution.order_id
        order = self._lives.orders.get(order_id)
        definition: Definition = self._lives.definitions[execution.instrument_id]
        by_amount = order is not None and bool(order.amount)
        side = (-1 if contra else 1) * (execution.side or 1)
        remaining = execution.contra_remaining if contra else execution.remaining
        liquidity = "auction" if not execution.side else "maker" if contra else "taker"
        return wire.ExecutionEvent(
            sequence=execution.sequence,
            source_sequence=execution.source_sequence,
            ts=execution.ts // 1_000,
            kind=words.EXECUTION_KINDS[execution.kind],
            order_id=order_id,
            client_order_id=None if order is None else client_id_said(order.client_order_id),
            instrument=self._names.instrument(execution.instrument_id),
            side=words.SIDES[side],
            price=format_units(execution.price, definition.price_exp),
            size=format_units(execution.size, definition.size_exp),
            remaining=format_units(remaining, definition.price_exp if by_amount else definition.size_exp),
            reason=None,
            trade_id=execution.trade_id,
            fee=format_units(execution.contra_fee if contra else execution.fee, definition.price_exp),
            liquidity=liquidity,
        )

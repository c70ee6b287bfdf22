"""Requests as commands: names become numbers, decimals become units, exactly or not at all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from tidebook._core import client_order_id_bytes, parse_units
from tidebook.errors import DecimalError, UsageError
from tidebook.gateway import words
from tidebook.gateway.layouts import (
    ACCOUNT,
    CANCEL,
    CANCEL_ALL_AFTER,
    EMPTY_BODY,
    HEAD,
    INSTRUMENT,
    KILL,
    LIMITS,
    MASS_CANCEL,
    NO_CLIENT_ID,
    PAIR,
    PLACE,
    REPLACE,
    SESSION,
    TRANSFER,
    UNITS_MAX,
    AccountDefinition,
    Definition,
)
from tidebook.venue.codes import AccountFlag, OrderFlag, OrderType

if TYPE_CHECKING:
    from tidebook.gateway import requests
    from tidebook.gateway.lives import Order
    from tidebook.gateway.names import Names

_SIDES: Final = words.numbers(words.SIDES)
_ORDER_TYPES: Final = words.numbers(words.ORDER_TYPES)
_TIMES_IN_FORCE: Final = words.numbers(words.TIMES_IN_FORCE)
_SELF_TRADES: Final = words.numbers(words.SELF_TRADES)
_PEGS: Final = words.numbers(words.PEGS)
_SESSIONS: Final = words.numbers(words.SESSIONS)
_BAND_ACTIONS: Final = words.numbers(words.BAND_ACTIONS)
_SIZE_MAX_UNITS: Final = 10**12
_EXPONENT_MAX: Final = 18


def command(kind: int, account: int, instrument_id: int, body: bytes = EMPTY_BODY) -> bytes:
    """A command as `orders.in` takes it, of now."""
    return HEAD.pack(time.time_ns(), 0, 0, account, instrument_id, kind, 0, 0) + body


def units(text: str | None, exponent: int, field: str) -> int:
    """A decimal as units of 10^-exponent; 0 for none. Raises: DecimalError, UsageError naming the field."""
    if text is None:
        return 0
    try:
        found = parse_units(text, exponent)
    except DecimalError as error:
        raise DecimalError(f"{field}: {error}", **error.facts) from None
    if abs(found) > UNITS_MAX:
        raise UsageError(
            f"{field}: {text} is beyond what a command holds, 2^53 - 1 units of 10^-{exponent}", field=field
        )
    return found


def client_id(text: str | None) -> bytes:
    """The bytes of a client's id; zeros for none. Raises: UsageError for what is none."""
    return NO_CLIENT_ID if text is None else client_order_id_bytes(text)


def place_body(request: requests.Place, definition: Definition) -> bytes:
    """Raises: UsageError, DecimalError."""
    price_exp, size_exp = definition.price_exp, definition.size_exp
    time_in_force = request.time_in_force or ("ioc" if request.type == "market" else "gtc")
    return PLACE.pack(
        client_id(request.client_order_id),
        units(request.price, price_exp, "price"),
        units(request.size, size_exp, "size"),
        units(request.amount, price_exp, "amount"),
        units(request.trigger_price, price_exp, "trigger_price"),
        units(request.display_size, size_exp, "display_size"),
        units(request.offset, price_exp, "offset"),
        request.expire_ts * 1_000,
        _SIDES[request.side],
        _ORDER_TYPES[request.type],
        _TIMES_IN_FORCE[time_in_force],
        _SELF_TRADES[request.self_trade],
        _PEGS[request.peg or "none"],
        _flags(post_only=request.post_only, cancel_on_disconnect=request.cancel_on_disconnect),
    )


def pair_body(request: requests.PlacePair, definition: Definition) -> bytes:
    """Raises: UsageError, DecimalError."""
    price_exp = definition.price_exp
    if request.client_order_id is not None and request.client_order_id == request.stop_client_order_id:
        raise UsageError(
            f"stop_client_order_id: {request.stop_client_order_id!r} is that of the limit order too; two orders need two ids",
            field="stop_client_order_id",
        )
    return PAIR.pack(
        client_id(request.client_order_id),
        client_id(request.stop_client_order_id),
        units(request.price, price_exp, "price"),
        units(request.size, definition.size_exp, "size"),
        units(request.trigger_price, price_exp, "trigger_price"),
        units(request.limit_price, price_exp, "limit_price"),
        request.expire_ts * 1_000,
        _SIDES[request.side],
        _TIMES_IN_FORCE[request.time_in_force],
        _SELF_TRADES[request.self_trade],
        _flags(post_only=request.post_only, cancel_on_disconnect=request.cancel_on_disconnect),
    )


def replace_body(request: requests.Replace, order: Order, definition: Definition, *, reckons: bool) -> bytes:
    """The order's new state: what the request leaves out is as it is now, a size (0) as it is when the venue gets there.

    `reckons`: risk puts a worst price in where the order has none.
    Raises: UsageError, DecimalError.
    """
    price_exp, size_exp = definition.price_exp, definition.size_exp

    def new(text: str | None, exponent: int, field: str, now: int) -> int:
        return now if text is None else units(text, exponent, field)

    # Where a stop's trigger moves, risk reckons its worst price anew; where it reckons none, the stop would be without one.
    is_stop = order.order_type in (OrderType.STOP, OrderType.TRAILING_STOP)
    moves = reckons and is_stop and request.trigger_price is not None
    # A trailing stop's trigger moves by itself: 0 keeps where it is.
    trigger_now = 0 if order.order_type == OrderType.TRAILING_STOP else order.trigger_price
    return REPLACE.pack(
        order.order_id,
        client_id(request.client_order_id),
        new(request.price, price_exp, "price", 0 if moves else order.price_asked),
        new(request.size, size_exp, "size", 0),
        new(request.trigger_price, price_exp, "trigger_price", trigger_now),
        new(request.display_size, size_exp, "display_size", order.display_size),
        new(request.offset, price_exp, "offset", order.offset),
        order.expire_ts if request.expire_ts is None else request.expire_ts * 1_000,
    )


def cancel_body(order_id: int = 0, client_id: bytes = NO_CLIENT_ID) -> bytes:
    """Of one order, by its id or the client's."""
    return CANCEL.pack(order_id, client_id)


def mass_cancel_body(side: str | None) -> bytes:
    """Of one side, or both."""
    return MASS_CANCEL.pack(0 if side is None else _SIDES[side])


def cancel_all_after_body(timeout_ms: int) -> bytes:
    """The dead man's switch."""
    return CANCEL_ALL_AFTER.pack(timeout_ms * 1_000_000)


def instrument_body(
    request: requests.ListInstrument, names: Names, base: str, quote: str, known: Definition | None
) -> bytes:
    """What is left out is as `known` has it, the definition in force; without one `tick` and `lot` are there.

    Raises: UsageError, DecimalError.
    """

    def exponent(asked: int | None, step: str | None, now: int | None) -> int:
        return asked if asked is not None else now if now is not None else _decimals(step or "")

    price_exp = exponent(request.price_exp, request.tick, None if known is None else known.price_exp)
    size_exp = exponent(request.size_exp, request.lot, None if known is None else known.size_exp)

    def new(text: str | None, exponent: int, field: str, default: int) -> int:
        return units(text, exponent, field) if text is not None else getattr(known, field, default)

    def number(asked: int | None, field: str) -> int:
        return asked if asked is not None else getattr(known, field, 0)

    lot = new(request.lot, size_exp, "lot", 0)
    return INSTRUMENT.pack(
        new(request.tick, price_exp, "tick", 0),
        lot,
        new(request.size_min, size_exp, "size_min", lot),
        new(request.size_max, size_exp, "size_max", max(lot, _SIZE_MAX_UNITS)),
        units(request.reference_price, price_exp, "reference_price"),  # 0 keeps it
        number(request.band_ppm, "band_ppm"),
        number(request.maker_ppm, "maker_ppm"),
        number(request.taker_ppm, "taker_ppm"),
        names.asset_number(base),
        names.asset_number(quote),
        price_exp,
        size_exp,
        number(None if request.band_action is None else _BAND_ACTIONS[request.band_action], "band_action"),
    )


def account_body(request: requests.OpenAccount, known: AccountDefinition | None) -> bytes:
    """What is left out is as `known` has it. Raises: UsageError for half of its own fees, for margin without rates."""
    now = known or AccountDefinition(0, 0, 0, 0, 0, 0)
    given = (request.maker_ppm is not None) + (request.taker_ppm is not None)
    if request.own_fees is False and given:
        raise UsageError("own_fees: it is false, and there are rates of its own", field="own_fees")
    had = bool(now.flags & AccountFlag.OWN_FEES)
    own = (had or bool(given)) if request.own_fees is None else request.own_fees
    if own and not had and given != 2:
        raise UsageError("maker_ppm, taker_ppm: an account has both rates of its own or none", field="maker_ppm")
    margin = bool(now.flags & AccountFlag.MARGIN) if request.margin is None else request.margin

    def rate(asked: int | None, before: int, *, counts: bool) -> int:
        return 0 if not counts else before if asked is None else asked

    initial = rate(request.initial_margin_ppm, now.initial_margin_ppm, counts=margin)
    maintenance = rate(request.maintenance_margin_ppm, now.maintenance_margin_ppm, counts=margin)
    if margin and not (initial and maintenance):
        raise UsageError(
            "margin: it needs initial_margin_ppm and maintenance_margin_ppm above 0, such as 100000 and 50000 for 10 % and 5 %: "
            "without them the account could owe without a bound",
            field="margin",
        )
    if not margin and (request.initial_margin_ppm or request.maintenance_margin_ppm):
        raise UsageError("initial_margin_ppm, maintenance_margin_ppm: only with margin", field="margin")
    return ACCOUNT.pack(
        now.group if request.group is None else request.group,
        rate(request.maker_ppm, now.maker_ppm, counts=own),
        rate(request.taker_ppm, now.taker_ppm, counts=own),
        initial,
        maintenance,
        (AccountFlag.OWN_FEES if own else 0) | (AccountFlag.MARGIN if margin else 0),
    )


def limits_body(request: requests.SetLimits, definition: Definition | None) -> bytes:
    """Of an instrument with this definition, or (None) of the account as a whole. Raises: UsageError, DecimalError."""
    if definition is None:
        exposure_exp = _decimals(request.exposure_max or "0")
        for field in ("order_size_max", "order_notional_max", "position_max"):
            if getattr(request, field) is not None:
                raise UsageError(f"{field}: only of an instrument; name one", field=field)
        price_exp, size_exp = exposure_exp, 0
    else:
        price_exp, size_exp, exposure_exp = definition.price_exp, definition.size_exp, 0
    return LIMITS.pack(
        units(request.order_size_max, size_exp, "order_size_max"),
        units(request.order_notional_max, price_exp, "order_notional_max"),
        units(request.position_max, size_exp, "position_max"),
        units(request.exposure_max, price_exp, "exposure_max"),
        request.open_orders_max,
        request.collar_ppm,
        request.commands_per_s,
        request.burst,
        exposure_exp,
    )


def transfer_body(request: requests.Transfer, names: Names) -> bytes:
    """Raises: UsageError, DecimalError."""
    exponent = _decimals(request.amount)
    return TRANSFER.pack(units(request.amount, exponent, "amount"), names.asset_number(request.asset), exponent)


def session_body(session: str) -> bytes:
    """Another session."""
    return SESSION.pack(_SESSIONS[session])


def kill_body(*, killed: bool) -> bytes:
    """Trading off or on."""
    return KILL.pack(killed)


def _flags(*, post_only: bool, cancel_on_disconnect: bool) -> int:
    return (OrderFlag.POST_ONLY if post_only else 0) | (OrderFlag.CANCEL_ON_DISCONNECT if cancel_on_disconnect else 0)


def _decimals(text: str) -> int:
    """Decimals that a text has. Raises: UsageError for more than there can be."""
    count = len(text.partition(".")[2])
    if count > _EXPONENT_MAX:
        raise UsageError(f"{text}: {count} decimals where {_EXPONENT_MAX} can be", value=text)
    return count

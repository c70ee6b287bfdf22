"""Commands of the venue, one record each.

    limits(7, 1, order_size_max=units("10", 8))
    place(7, 1, Side.BUY, price=units("61837.63", 2), size=units("0.5", 8))

Every builder gives one writable record of `COMMAND` that `Venue.submit` takes, alone or several as an array (`commands([...])`), and whose bytes
(`record.tobytes()`) a gateway writes to `orders.in`. Prices and trigger prices are in units of 10^-price_exp of the instrument, sizes in
units of 10^-size_exp, quote amounts in units of 10^-price_exp, rates in parts per million, times in ns since 1970 UTC; `ts` 0 leaves the
venue's time where it is. A builder refuses only what its field cannot hold; whether the command makes sense is said by the venue,
as a verdict with its reason.

Raises: CommandError (facts: field, value, expected), all of them.
"""

from collections.abc import Callable
from struct import Struct, error
from typing import Any

import numpy as np

from tidebook._core import client_order_id_bytes, client_order_id_text
from tidebook.errors import CommandError
from tidebook.venue.codes import (
    AccountFlag,
    BandAction,
    CommandKind,
    OrderFlag,
    OrderType,
    Peg,
    SelfTrade,
    Session,
    Side,
    TimeInForce,
)
from tidebook.venue.layouts import COMMAND, LAYOUTS

ClientOrderId = str | bytes | None
"""A client's id of an order: a UUID or 1 to 20 of A-Z a-z 0-9 _ -, or its 16 bytes; None for none."""

SIZE_MAX_DEFAULT = 1 << 40
"""Largest size of an order where an instrument's definition says none: the venue then has room for four million orders of it."""

_NO_ID = bytes(16)
_CODES = {"i1": "b", "u1": "B", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"}
_WORDS = {
    "side": Side,
    "order_type": OrderType,
    "time_in_force": TimeInForce,
    "self_trade": SelfTrade,
    "peg": Peg,
    "session": Session,
    "band_action": BandAction,
}
_SPARE = {"source_sequence", "executions_seen", "verdict", "reason", "reserved"}


def client_order_id(id: ClientOrderId) -> bytes:
    """The 16 bytes of a client's id; zeros for none. Raises: CommandError."""
    if id is None:
        return _NO_ID
    if isinstance(id, str):
        return client_order_id_bytes(id)
    if type(id) is not bytes or len(id) != len(_NO_ID):
        raise CommandError(
            f"client_order_id: a text, 16 bytes or None are wanted, and this is {id!r}",
            field="client_order_id",
            value=repr(id),
            expected="16 bytes",
        )
    return id


def client_order_text(id: bytes | np.ndarray[Any, Any]) -> str | None:
    """The text of an id's 16 bytes, as arrays hold them; None for no id and for bytes that no text gives."""
    return client_order_id_text(bytes(id))


def _packer(kind: CommandKind) -> Callable[..., Any]:
    """What makes a record of this kind from the fields that callers say, by name."""
    layout = LAYOUTS[kind]
    assert layout.names is not None
    assert layout.fields is not None
    names, code, end, fields = [], "<", 0, {}
    for name in layout.names:
        dtype, offset = layout.fields[name][:2]
        code += f"{offset - end}x" if offset > end else ""
        end = offset + dtype.itemsize
        if name in _SPARE:
            code += f"{dtype.itemsize}x"
            continue
        names.append(name)
        fields[name] = f"{dtype.itemsize}s" if dtype.shape else _CODES[dtype.str[1:]]
        code += fields[name]
    packed = Struct(f"{code}{layout.itemsize - end}x")
    number = int(kind)

    def pack(**values: Any) -> Any:
        values["kind"] = number
        given = values.get
        try:
            bytes_ = packed.pack(*[given(name, _NO_ID if fields[name] == "16s" else 0) for name in names])
        except error:
            raise _refusal(kind, fields, values) from None
        return np.frombuffer(bytearray(bytes_), COMMAND)[0]

    return pack


def _refusal(kind: CommandKind, fields: dict[str, str], values: dict[str, Any]) -> CommandError:
    """The first field that cannot hold its value."""
    for name, code in fields.items():
        value = values.get(name, _NO_ID if code == "16s" else 0)
        try:
            Struct("<" + code).pack(value)
        except error:
            bits = 8 * Struct("<" + code).size
            signed = code.islower()
            low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
            expected = f"an integer from {low} to {high}"
            hint = ""
            if name in _WORDS:
                hint = f"; {', '.join(f'{word.__class__.__name__}.{word.name}' for word in _WORDS[name])}"
            elif isinstance(value, (float, str)) or hasattr(value, "as_tuple"):
                hint = "; `units()` makes integers of decimals"
            return CommandError(
                f"{kind.name.lower()}: {name} cannot hold {value!r}: it takes {expected}{hint}",
                field=name,
                value=repr(value),
                expected=expected,
            )
    raise AssertionError(f"every field of this {kind.name} holds its value, and all together do not")


_place = _packer(CommandKind.PLACE)
_place_pair = _packer(CommandKind.PLACE_PAIR)
_replace = _packer(CommandKind.REPLACE)
_cancel = _packer(CommandKind.CANCEL)
_mass_cancel = _packer(CommandKind.MASS_CANCEL)
_cancel_all_after = _packer(CommandKind.CANCEL_ALL_AFTER)
_disconnect = _packer(CommandKind.DISCONNECT)
_timer = _packer(CommandKind.TIMER)
_session = _packer(CommandKind.SESSION)
_instrument = _packer(CommandKind.INSTRUMENT)
_account = _packer(CommandKind.ACCOUNT)
_limits = _packer(CommandKind.LIMITS)
_transfer = _packer(CommandKind.TRANSFER)
_kill = _packer(CommandKind.KILL)


def place(
    account: int,
    instrument_id: int,
    side: Side | int,
    price: int = 0,
    size: int = 0,
    *,
    order_type: OrderType | int = OrderType.LIMIT,
    time_in_force: TimeInForce | int | None = None,
    client_order_id: ClientOrderId = None,
    amount: int = 0,
    trigger_price: int = 0,
    display_size: int = 0,
    offset: int = 0,
    peg: Peg | int = Peg.NONE,
    self_trade: SelfTrade | int = SelfTrade.NONE,
    flags: OrderFlag | int = 0,
    expire_ts: int = 0,
    ts: int = 0,
) -> np.void:
    """A new order; a limit order unless `order_type` says otherwise.

    `time_in_force`: None is IOC of a market order and GTC of all others. `price` of what is no limit order is the worst it may take, 0
    for none. `amount` instead of `size` makes a market order by quote amount, `display_size` an iceberg.
    """
    if time_in_force is None:
        time_in_force = TimeInForce.IOC if order_type == OrderType.MARKET else TimeInForce.GTC
    return _place(  # type: ignore[no-any-return]
        account=account,
        instrument_id=instrument_id,
        side=side,
        price=price,
        size=size,
        order_type=order_type,
        time_in_force=time_in_force,
        client_order_id=_id(client_order_id),
        amount=amount,
        trigger_price=trigger_price,
        display_size=display_size,
        offset=offset,
        peg=peg,
        self_trade=self_trade,
        flags=flags,
        expire_ts=expire_ts,
        ts=ts,
    )


def place_pair(
    account: int,
    instrument_id: int,
    side: Side | int,
    price: int,
    size: int,
    trigger_price: int,
    *,
    limit_price: int = 0,
    time_in_force: TimeInForce | int = TimeInForce.GTC,
    client_order_id: ClientOrderId = None,
    stop_client_order_id: ClientOrderId = None,
    self_trade: SelfTrade | int = SelfTrade.NONE,
    flags: OrderFlag | int = 0,
    expire_ts: int = 0,
    ts: int = 0,
) -> np.void:
    """A limit order at `price` and a stop at `trigger_price` of which one cancels the other; the stop becomes a limit order at
    `limit_price`, or a market order where that is 0.
    """
    return _place_pair(  # type: ignore[no-any-return]
        account=account,
        instrument_id=instrument_id,
        side=side,
        price=price,
        size=size,
        trigger_price=trigger_price,
        limit_price=limit_price,
        time_in_force=time_in_force,
        client_order_id=_id(client_order_id),
        stop_client_order_id=_id(stop_client_order_id),
        self_trade=self_trade,
        flags=flags,
        expire_ts=expire_ts,
        ts=ts,
    )


def replace(
    account: int,
    instrument_id: int,
    order_id: int = 0,
    price: int = 0,
    size: int | None = None,
    *,
    client_order_id: ClientOrderId = None,
    trigger_price: int = 0,
    display_size: int = 0,
    offset: int = 0,
    expire_ts: int = 0,
    ts: int = 0,
) -> np.void:
    """An order's new state: every field as it shall be, `size` the whole size with what is filled, None to keep it (0 in the command).

    `client_order_id` is the order's id from now on, None to keep it; with `order_id` 0 it names the order.
    """
    if size == 0:
        raise CommandError(
            "replace: size 0 is no size: leave it out to keep the one that the order has, or cancel the order",
            field="size",
            value="0",
            expected="an integer above 0, or None",
        )
    return _replace(  # type: ignore[no-any-return]
        account=account,
        instrument_id=instrument_id,
        order_id=order_id,
        price=price,
        size=size or 0,
        client_order_id=_id(client_order_id),
        trigger_price=trigger_price,
        display_size=display_size,
        offset=offset,
        expire_ts=expire_ts,
        ts=ts,
    )


def cancel(
    account: int, instrument_id: int, order_id: int = 0, *, client_order_id: ClientOrderId = None, ts: int = 0
) -> np.void:
    """One order away, by its id or the client's; `account` 0 is the operator, who may cancel any by its id."""
    return _cancel(  # type: ignore[no-any-return]
        account=account,
        instrument_id=instrument_id,
        order_id=order_id,
        client_order_id=_id(client_order_id),
        ts=ts,
    )


def mass_cancel(account: int, instrument_id: int = 0, side: Side | int = Side.NONE, *, ts: int = 0) -> np.void:
    """Many orders away: of an account (0: of all, the operator's alone), an instrument (0: all) and a side (NONE: both)."""
    return _mass_cancel(account=account, instrument_id=instrument_id, side=side, ts=ts)  # type: ignore[no-any-return]


def cancel_all_after(account: int, timeout_ns: int, *, ts: int = 0) -> np.void:
    """The dead man's switch: all orders of the account go unless this comes again within `timeout_ns`; 0 switches it off."""
    return _cancel_all_after(account=account, timeout_ns=timeout_ns, ts=ts)  # type: ignore[no-any-return]


def disconnect(account: int, *, ts: int = 0) -> np.void:
    """The account's session ended: orders with CANCEL_ON_DISCONNECT go."""
    return _disconnect(account=account, ts=ts)  # type: ignore[no-any-return]


def timer(ts: int) -> np.void:
    """Time goes on to `ts`, and what expires by then goes. The operator's."""
    return _timer(ts=ts)  # type: ignore[no-any-return]


def session(instrument_id: int, session: Session | int, *, ts: int = 0) -> np.void:
    """Another session of an instrument. The operator's."""
    return _session(instrument_id=instrument_id, session=session, ts=ts)  # type: ignore[no-any-return]


def instrument(
    instrument_id: int,
    *,
    base_asset: int,
    quote_asset: int,
    price_exp: int,
    size_exp: int,
    tick: int = 1,
    lot: int = 1,
    size_min: int = 0,
    size_max: int = SIZE_MAX_DEFAULT,
    reference_price: int = 0,
    band_ppm: int = 0,
    band_action: BandAction | int = BandAction.REJECT,
    maker_ppm: int = 0,
    taker_ppm: int = 0,
    ts: int = 0,
) -> np.void:
    """Lists an instrument, closed, or changes one. The operator's.

    `tick`, `lot` and sizes in units; assets are numbers of the venue. Of one that is listed exponents and assets stay, tick, lot and `size_max`
    while it has orders. The venue holds at most 2^62 / `size_max` orders of an instrument.
    """
    return _instrument(  # type: ignore[no-any-return]
        instrument_id=instrument_id,
        base_asset=base_asset,
        quote_asset=quote_asset,
        price_exp=price_exp,
        size_exp=size_exp,
        tick=tick,
        lot=lot,
        size_min=size_min,
        size_max=size_max,
        reference_price=reference_price,
        band_ppm=band_ppm,
        band_action=band_action,
        maker_ppm=maker_ppm,
        taker_ppm=taker_ppm,
        ts=ts,
    )


def account(
    account: int,
    *,
    group: int = 0,
    flags: AccountFlag | int = 0,
    maker_ppm: int = 0,
    taker_ppm: int = 0,
    initial_margin_ppm: int = 0,
    maintenance_margin_ppm: int = 0,
    ts: int = 0,
) -> np.void:
    """Opens an account, or changes one: spot unless it has MARGIN, with the instrument's fees unless it has OWN_FEES. The operator's."""
    return _account(  # type: ignore[no-any-return]
        account=account,
        group=group,
        flags=flags,
        maker_ppm=maker_ppm,
        taker_ppm=taker_ppm,
        initial_margin_ppm=initial_margin_ppm,
        maintenance_margin_ppm=maintenance_margin_ppm,
        ts=ts,
    )


def limits(
    account: int,
    instrument_id: int = 0,
    *,
    order_size_max: int = 0,
    order_notional_max: int = 0,
    position_max: int = 0,
    exposure_max: int = 0,
    exposure_exp: int = 0,
    open_orders_max: int = 0,
    collar_ppm: int = 0,
    commands_per_s: int = 0,
    burst: int = 0,
    ts: int = 0,
) -> np.void:
    """All limits of an account for an instrument, or (0) as a whole; what is 0 is no limit. The operator's."""
    return _limits(  # type: ignore[no-any-return]
        account=account,
        instrument_id=instrument_id,
        order_size_max=order_size_max,
        order_notional_max=order_notional_max,
        position_max=position_max,
        exposure_max=exposure_max,
        exposure_exp=exposure_exp,
        open_orders_max=open_orders_max,
        collar_ppm=collar_ppm,
        commands_per_s=commands_per_s,
        burst=burst,
        ts=ts,
    )


def transfer(account: int, asset: int, amount: int, amount_exp: int = 0, *, ts: int = 0) -> np.void:
    """Cash or holdings in, or out where `amount` is below 0; in units of 10^-`amount_exp` of the asset. The operator's."""
    return _transfer(account=account, asset=asset, amount=amount, amount_exp=amount_exp, ts=ts)  # type: ignore[no-any-return]


def kill(account: int = 0, killed: bool = True, *, ts: int = 0) -> np.void:
    """Trading of an account, or (0) of all, off with all its orders cancelled, or on again. The operator's."""
    return _kill(account=account, killed=int(killed), ts=ts)  # type: ignore[no-any-return]


# Builders have a parameter of the function's name.
_id = client_order_id

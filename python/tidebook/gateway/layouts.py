"""The bytes of commands, read one at a time: `docs/formats/orders.md` as `struct` formats.

Arrays of commands are for batches; a gateway looks into single bodies, where a `struct` is ten times faster than a numpy row.
`tests/gateway/test_layouts.py` compares every offset with the published layouts.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

COMMAND_SIZE_BYTES: Final = 128
HEAD_SIZE_BYTES: Final = 40
NO_CLIENT_ID: Final = bytes(16)

HEAD: Final = Struct("<qQQII3B5x")
"""ts, source_sequence, executions_seen, account, instrument_id, kind, verdict, reason."""
PLACE: Final = Struct("<16s7qb5B10x")
"""client_order_id, price, size, amount, trigger_price, display_size, offset, expire_ts, side, order_type, time_in_force, self_trade,
peg, flags."""
PAIR: Final = Struct("<16s16s5qb3B12x")
"""client_order_id, stop_client_order_id, price, size, trigger_price, limit_price, expire_ts, side, time_in_force, self_trade, flags."""
REPLACE: Final = Struct("<Q16s6q16x")
"""order_id, client_order_id, price, size, trigger_price, display_size, offset, expire_ts."""
INSTRUMENT: Final = Struct("<5qI2i2I3B25x")
"""tick, lot, size_min, size_max, reference_price, band_ppm, maker_ppm, taker_ppm, base_asset, quote_asset, price_exp, size_exp,
band_action."""
ACCOUNT: Final = Struct("<Iii2IB67x")
"""group, maker_ppm, taker_ppm, initial_margin_ppm, maintenance_margin_ppm, flags."""
CANCEL: Final = Struct("<Q16s64x")
"""order_id, client_order_id."""
MASS_CANCEL: Final = Struct("<b87x")
"""side."""
CANCEL_ALL_AFTER: Final = Struct("<q80x")
"""timeout_ns."""
SESSION: Final = Struct("<B87x")
"""session."""
LIMITS: Final = Struct("<4q4IB39x")
"""order_size_max, order_notional_max, position_max, exposure_max, open_orders_max, collar_ppm, commands_per_s, burst, exposure_exp."""
TRANSFER: Final = Struct("<qIB75x")
"""amount, asset, amount_exp."""
KILL: Final = Struct("<B87x")
"""killed."""
EMPTY_BODY: Final = bytes(88)

UNITS_MAX: Final = (1 << 53) - 1
"""Largest price, size and amount."""


@dataclass(frozen=True, slots=True)
class Definition:
    """An instrument as the venue has it: the body of the newest command that was taken."""

    tick: int
    lot: int
    size_min: int
    size_max: int
    reference_price: int
    band_ppm: int
    maker_ppm: int
    taker_ppm: int
    base_asset: int
    quote_asset: int
    price_exp: int
    size_exp: int
    band_action: int


@dataclass(frozen=True, slots=True)
class AccountDefinition:
    """An account as the venue has it."""

    group: int
    maker_ppm: int
    taker_ppm: int
    initial_margin_ppm: int
    maintenance_margin_ppm: int
    flags: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an account as risk has them; 0 is none."""

    order_size_max: int = 0
    order_notional_max: int = 0
    position_max: int = 0
    exposure_max: int = 0
    open_orders_max: int = 0
    collar_ppm: int = 0
    commands_per_s: int = 0
    burst: int = 0
    exposure_exp: int = 0

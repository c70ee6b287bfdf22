"""What clients and operators ask for, over REST and WebSocket alike.

Prices, sizes and amounts are decimal strings and exact: a JSON number would have been a double on its way. What is not known is an
error, so that a misspelt field is never a default.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from tidebook.venue.codes import Wait  # noqa: TC001 - annotations are read at runtime

_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def _is_decimal(given: Any) -> Any:
    if isinstance(given, int | float) and not isinstance(given, bool):
        raise ValueError(f'a decimal is written as a string, "{given}": a number of JSON is rounded on its way')
    if isinstance(given, str) and len(given) <= 40 and not _DECIMAL.fullmatch(given):
        raise ValueError(f"{given!r} is no decimal: digits, and a point and digits if need be, such as 60000.50")
    return given


def _is_above_0(text: str) -> str:
    if text.startswith("-") or not text.strip("0."):
        raise ValueError(f"{text} is not above 0")
    return text


def _is_not_below_0(text: str) -> str:
    if text.startswith("-"):
        raise ValueError(f"{text} is below 0")
    return text


Decimal = Annotated[
    str,
    BeforeValidator(_is_decimal),
    Field(max_length=40, examples=["60000.50"], json_schema_extra={"pattern": f"^{_DECIMAL.pattern}$"}),
]
Above0 = Annotated[Decimal, AfterValidator(_is_above_0)]
NotBelow0 = Annotated[Decimal, AfterValidator(_is_not_below_0)]
ClientOrderId = Annotated[str, Field(min_length=1, max_length=36, examples=["my-order-1"])]
Side = Literal["buy", "sell"]
TimeInForce = Literal["gtc", "ioc", "fok", "gtd", "day"]
SelfTrade = Literal["none", "cancel_newest", "cancel_oldest", "cancel_both", "decrement"]
Session = Literal["closed", "pre_open", "auction", "continuous", "halted"]
Ppm = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
Share = Annotated[int, Field(ge=0, le=1_000_000)]
Count = Annotated[int, Field(ge=0, lt=1 << 32)]
Micros = Annotated[int, Field(ge=0, lt=1 << 53)]


class Request(BaseModel):
    """Something that is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


_OF_TYPES: Final = (
    ("price", ("limit", "stop_limit"), ("market", "stop", "trailing_stop", "pegged")),
    ("amount", (), ("market",)),
    ("trigger_price", ("stop", "stop_limit"), ("trailing_stop",)),
    ("offset", ("trailing_stop",), ("pegged",)),
    ("peg", ("pegged",), ()),
    ("display_size", (), ("limit",)),
)
"""Which types of order need a field, and which others may have it."""
_MICROS_MIN: Final = 10**14
"""1973: a time below that was meant in milliseconds or seconds."""


def _require_expiry(time_in_force: str | None, expire_ts: int) -> None:
    """Raises: ValueError."""
    if time_in_force == "gtd" and not expire_ts:
        raise ValueError("expire_ts: gtd needs it, in microseconds since 1970 UTC")
    if time_in_force != "gtd" and expire_ts:
        raise ValueError('expire_ts: only with "time_in_force": "gtd"')
    if 0 < expire_ts < _MICROS_MIN:
        raise ValueError(f"expire_ts: {expire_ts} is in 1970 to 1973: it is in microseconds, as all times here")


class Place(Request):
    """A new order. Which fields a type needs: `docs/matching.md`."""

    instrument: str
    """Such as `BTC-USD.LOCAL`."""
    side: Side
    type: Literal["limit", "market", "stop", "stop_limit", "trailing_stop", "pegged"] = "limit"
    time_in_force: TimeInForce | None = None
    """Default: `gtc`, of a market order `ioc`."""
    size: Above0 | None = None
    """How much; needed but by a market order with `amount`."""
    price: Above0 | None = None
    """Limit; of a market order, a stop or a pegged order the worst price it may take."""
    amount: Above0 | None = None
    """Of a market order: quote currency to spend or to receive, instead of `size`."""
    trigger_price: Above0 | None = None
    """Of a stop."""
    display_size: Above0 | None = None
    """What an iceberg shows."""
    offset: NotBelow0 | None = None
    """Of a trailing stop or a pegged order."""
    peg: Literal["primary", "opposite", "mid"] | None = None
    """Which price a pegged order follows."""
    expire_ts: Micros = 0
    """Of gtd, microseconds since 1970 UTC."""
    self_trade: SelfTrade = "cancel_newest"
    """What it does when it meets an order of its owner."""
    post_only: bool = False
    """It must not take; refused where it would."""
    cancel_on_disconnect: bool = False
    """It goes when a WebSocket session of the account ends, and when the node starts again."""
    client_order_id: ClientOrderId | None = None
    """The client's own id: a UUID, or up to 20 of A-Z a-z 0-9 _ -. The same request with the same id makes no second order."""

    @model_validator(mode="after")
    def goes_together(self) -> Self:
        """The venue refuses what does not, with one word for all of it; here the field is named."""
        kind = self.type
        if self.size is not None and self.amount is not None:
            raise ValueError("size, amount: give one of them")
        if self.size is None and self.amount is None:
            raise ValueError("size: it is missing" + (", or amount" if kind == "market" else ""))
        for field, need, may in _OF_TYPES:
            given = getattr(self, field) is not None
            if given and kind not in (*need, *may):
                raise ValueError(f"{field}: only of {' or '.join((*need, *may))}, and this is {kind}")
            if not given and kind in need:
                raise ValueError(f"{field}: {kind} needs it")
        _require_expiry(self.time_in_force, self.expire_ts)
        return self


class PlacePair(Request):
    """A limit order and a stop of the same side and size, of which one cancels the other."""

    instrument: str
    """Such as `BTC-USD.LOCAL`."""
    side: Side
    size: Above0
    """Of both."""
    price: Above0
    """Of the limit order."""
    trigger_price: Above0
    """Of the stop."""
    limit_price: Above0 | None = None
    """Of the stop once triggered; without one it becomes a market order."""
    time_in_force: Literal["gtc", "gtd", "day"] = "gtc"
    expire_ts: Micros = 0
    """Of gtd, microseconds since 1970 UTC."""
    self_trade: SelfTrade = "cancel_newest"
    """What they do when they meet an order of their owner."""
    post_only: bool = False
    """The limit order must not take."""
    cancel_on_disconnect: bool = False
    """They go when a WebSocket session of the account ends, and when the node starts again."""
    client_order_id: ClientOrderId | None = None
    """Of the limit order."""
    stop_client_order_id: ClientOrderId | None = None
    """Of the stop."""

    @model_validator(mode="after")
    def goes_together(self) -> Self:
        """As of one order."""
        _require_expiry(self.time_in_force, self.expire_ts)
        return self


class Replace(Request):
    """Another price, size or condition of an order. What is left out stays as it is."""

    price: NotBelow0 | None = None
    """Limit, or the worst price it may take."""
    size: Decimal | None = None
    """The whole size, what is filled included; not 0."""
    trigger_price: NotBelow0 | None = None
    """Of a stop."""
    display_size: NotBelow0 | None = None
    """What an iceberg shows."""
    offset: NotBelow0 | None = None
    """Of a trailing stop or a pegged order."""
    expire_ts: Micros | None = None
    """Of gtd, microseconds since 1970 UTC."""
    client_order_id: ClientOrderId | None = None
    """The client's id from now on."""

    @field_validator("size")
    @classmethod
    def is_a_size(cls, size: str | None) -> str | None:
        """0 is how a command keeps the size: who writes it out most likely wants the order away."""
        if size is not None and (size.startswith("-") or not size.strip("0.")):
            raise ValueError(
                f"{size!r} is no size: leave it out to keep the one that the order has, or cancel the order"
            )
        return size

    @model_validator(mode="after")
    def says_something(self) -> Self:
        """Nothing to change is most likely a misunderstanding, and would be a command all the same."""
        if all(value is None for _, value in self):
            raise ValueError(f"nothing is to be changed; it takes {', '.join(type(self).model_fields)}")
        return self


class CancelAllAfter(Request):
    """The dead man's switch of an account."""

    timeout_ms: Annotated[int, Field(ge=0, le=86_400_000)]
    """All orders of the account are cancelled unless this comes again within that time; 0 switches it off."""


class ListInstrument(Request):
    """An instrument, listed or changed. What is left out of one that is listed stays as it is."""

    instrument: str
    """Such as `BTC-USD.LOCAL`."""
    base: str | None = None
    """What is bought and sold, such as `BTC`; needed by a new one, as `quote`, `tick` and `lot`."""
    quote: str | None = None
    """What it is paid in, such as `USD`."""
    tick: Above0 | None = None
    """Price step; its decimals are those of prices of a new one, unless `price_exp` says more."""
    lot: Above0 | None = None
    """Size step; its decimals are those of sizes of a new one, unless `size_exp` says more."""
    price_exp: Annotated[int, Field(ge=0, le=18)] | None = None
    """Decimals of prices."""
    size_exp: Annotated[int, Field(ge=0, le=18)] | None = None
    """Decimals of sizes."""
    size_min: NotBelow0 | None = None
    """Smallest size of an order; of a new one by default one lot."""
    size_max: Above0 | None = None
    """Largest size of an order; of a new one by default 10^12 units. A larger one leaves room for fewer open orders (2^62 units of them)."""
    reference_price: NotBelow0 | None = None
    """Middle of the price band, and the price before the first trade; the one there is stays also where this is 0."""
    band_ppm: Share | None = None
    """Half width of the band in parts per million; 0 for none."""
    band_action: Literal["reject", "halt"] | None = None
    """What happens to an order that would leave the band; of a new one by default `reject`."""
    maker_ppm: Ppm | None = None
    """Fee of who waited, in parts per million; below 0 a rebate."""
    taker_ppm: Ppm | None = None
    """Fee of who came."""


class OpenAccount(Request):
    """An account, opened or changed. What is left out of one that is open stays as it is."""

    account: str
    """1 to 32 of A-Z a-z 0-9 _ -, not digits alone."""
    wait: Wait | None = None
    """How safe a command is before it is acknowledged; at first `durable`."""
    group: Count | None = None
    """Accounts of one group do not trade with each other; 0 for none."""
    own_fees: bool | None = None
    """False: the instruments' fees again."""
    maker_ppm: Ppm | None = None
    """Its own fee as maker, in parts per million; it has both or none."""
    taker_ppm: Ppm | None = None
    """Its own fee as taker."""
    margin: bool | None = None
    """It may owe, within its margin; needs both rates of it."""
    initial_margin_ppm: Share | None = None
    """What of a position's worth it needs to open it, in parts per million."""
    maintenance_margin_ppm: Share | None = None
    """The same to keep it."""


class Transfer(Request):
    """Cash or holdings in, or out."""

    asset: str
    """Such as `USD`."""
    amount: Decimal
    """In; below 0 out."""


class SetLimits(Request):
    """All limits of an account for an instrument, or as a whole; what is left out is no limit."""

    instrument: str | None = None
    """Which one; null: the account as a whole."""
    order_size_max: NotBelow0 | None = None
    """Largest size of one order; only of an instrument."""
    order_notional_max: NotBelow0 | None = None
    """Largest notional of one order, in the quote asset; only of an instrument."""
    position_max: NotBelow0 | None = None
    """Largest position, long or short; only of an instrument."""
    exposure_max: NotBelow0 | None = None
    """Largest worth of all open orders and positions, in each quote asset."""
    open_orders_max: Count = 0
    """Open orders."""
    collar_ppm: Count = 0
    """How far from the reference a limit price may be, in parts per million."""
    commands_per_s: Count = 0
    """Commands a second."""
    burst: Count = 0
    """How many at once."""


class SetSession(Request):
    """Another session of an instrument."""

    session: Session


class Kill(Request):
    """Trading on or off."""

    killed: bool
    """True: no order any more and all open ones cancelled; false: trading again."""
    account: str | None = None
    """Whose."""
    all: bool = False
    """Of all accounts, instead of one."""

    @model_validator(mode="after")
    def says_whose(self) -> Self:
        """What is left out by mistake must not be the largest of all acts."""
        if (self.account is not None) == self.all:
            raise ValueError('say whose trading: "account", or "all": true for that of all accounts, and not both')
        return self

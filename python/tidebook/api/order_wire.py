"""What the API says of orders, fills, accounts and the venue, over REST and WebSocket alike.

As in `tidebook.api.wire`: one plain dataclass per thing said, exact decimals as strings, times in microseconds since 1970 UTC.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from tidebook.api.problems import Problem

_DESCRIBED = ConfigDict(use_attribute_docstrings=True)

OrderState = Literal["waiting", "open", "filled", "cancelled", "expired", "rejected"]


@dataclass(frozen=True, slots=True)
class Order:
    """One order, as it is now."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    order_id: int
    """Given by the venue; never given again."""
    client_order_id: str | None
    """The client's own id."""
    account: str
    """Whose."""
    instrument: str
    """Such as `BTC-USD.LOCAL`."""
    side: str
    """`buy` or `sell`."""
    type: str
    """As it was placed."""
    time_in_force: str
    """How long it stays."""
    state: OrderState
    """`waiting`: a stop that no trade has reached; `open`: it may trade; the others have ended."""
    reason: str | None
    """Why it ended, where it was not filled whole."""
    price: str | None
    """Its limit, or the worst price it may take; of a pegged order where it is now; null for none."""
    size: str | None
    """The whole of it; null of a market order by amount."""
    amount: str | None
    """Quote currency to spend or to receive, of a market order by amount."""
    filled: str
    """What of it was filled."""
    remaining: str
    """What is left of the size, of an order by amount of the amount."""
    average_price: str | None
    """Of its fills, rounded to 18 digits; null without one."""
    filled_notional: str
    """Sum of price x size of its fills, in quote currency, exact."""
    fee: str
    """What its fills cost, in quote currency; below 0 a rebate."""
    trigger_price: str | None
    """Of a stop; of a trailing stop where it is now, null until the first trade."""
    display_size: str | None
    """What an iceberg shows."""
    offset: str | None
    """Of a trailing stop or a pegged order."""
    peg: str | None
    """Which price a pegged order follows."""
    expire_ts: int | None
    """Of gtd, microseconds."""
    self_trade: str
    """What it does when it meets an order of its owner."""
    post_only: bool
    """It must not take."""
    cancel_on_disconnect: bool
    """It goes when a session of the account ends."""
    linked_order_id: int | None
    """The other leg of its pair."""
    sequence: int
    """Of the command on `orders` that placed it."""
    placed_ts: int
    """The venue's time when it was placed, microseconds."""
    changed_ts: int
    """And when it was last changed."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A command that was carried out."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    sequence: int
    """Of the command on `orders`; of a repeated request that of the command that did it."""
    durable: bool
    """It is on disk; else it survives the death of processes, and not of the machine."""
    repeated: bool = False
    """Nothing new was done: an earlier request had done it."""
    order: Order | None = None
    """What it was about, as it is now."""
    linked: Order | None = None
    """The stop of a pair that was placed."""
    cancelled: int | None = None
    """Orders that a mass cancel or a kill switch took away."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """An asset that an account has too little of."""

    asset: str
    needed: str
    """Beyond what is reserved already, or is margin in use."""
    available: str
    """As in the account's balances."""


@dataclass(frozen=True, slots=True)
class RefusedProblem(Problem):
    """A command that the venue journaled and did not carry out."""

    reason: str = ""
    """A word of `docs/formats/orders.md`."""
    by: str = ""
    """`risk` or `matching`."""
    sequence: int = 0
    """Of the command on `orders`."""
    order: Order | None = None
    """The order, where there is one."""
    lacks: Shortfall | None = None
    """Of a refusal for the balance or margin: what there is too little of, as of now."""
    repeated: bool = False
    """An earlier request with this client_order_id was refused so; nothing was sent now."""


@dataclass(frozen=True, slots=True)
class OrderProblem(Problem):
    """Something that cannot be done with an order that there is."""

    order: Order | None = None
    """It, as it is now; null where it is no longer remembered."""


@dataclass(frozen=True, slots=True)
class Fill:
    """One account's side of a trade."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    sequence: int
    """Of the execution, rising; both sides of a trade have the same."""
    trade_id: int
    """Number of the trade in its instrument."""
    order_id: int
    """Which order."""
    client_order_id: str | None
    """The client's own id of it."""
    account: str
    """Whose."""
    instrument: str
    """Such as `BTC-USD.LOCAL`."""
    side: str
    """`buy` or `sell`."""
    price: str
    """At which."""
    size: str
    """How much."""
    fee: str
    """What it cost, in quote currency; below 0 a rebate."""
    liquidity: str
    """`maker` waited, `taker` came, `auction`."""
    ts: int
    """The venue's time, microseconds."""


@dataclass(frozen=True, slots=True)
class Position:
    """What an account holds of an instrument by trading it."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    instrument: str
    """Such as `BTC-USD.LOCAL`."""
    position: str
    """Below 0 it is short."""
    cost: str
    """What it cost, in quote currency."""
    average_price: str | None
    """Cost by position, rounded to 18 digits; null without a position."""
    realised: str
    """Profit that was realised, fees not taken off."""
    unrealised: str
    """Worth at the last trade, else the reference price, less cost."""
    fees: str
    """Paid so far; below 0 received."""


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account has of an asset."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    asset: str
    """Such as `USD`."""
    balance: str
    """All of it."""
    reserved: str
    """For open orders."""
    available: str
    """The rest; of a margin account what could be taken out: `equity` less `initial_margin`, below 0 if that is not met."""
    equity: str | None = None
    """Of a margin account: the balance and what positions quoted in the asset are worth; null for others."""
    initial_margin: str | None = None
    """What of the equity positions and open orders use."""
    maintenance_margin: str | None = None
    """What positions need to be kept."""
    called: bool = False
    """A margin call stands: the equity is below the maintenance margin."""


@dataclass(frozen=True, slots=True)
class VenueInstrument:
    """An instrument of the node's own venue."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    instrument: str
    """Such as `BTC-USD.LOCAL`."""
    number: int
    """In commands and executions."""
    base: str
    """What is bought and sold."""
    quote: str
    """What it is paid in."""
    listed: bool
    """The venue has taken its definition; else only its name is known."""
    session: str
    """`closed`, `pre_open`, `auction`, `continuous`, `halted`."""
    tick: str | None = None
    """Price step."""
    lot: str | None = None
    """Size step."""
    size_min: str | None = None
    """Smallest size of an order."""
    size_max: str | None = None
    """Largest size of an order."""
    band_ppm: int | None = None
    """Half width of the price band in parts per million; 0 for none."""
    maker_ppm: int | None = None
    """Fee of who waited, in parts per million."""
    taker_ppm: int | None = None
    """Fee of who came."""
    band_action: str | None = None
    """What happens to an order that would leave the band: `reject`, `halt`."""
    reference_price: str | None = None
    """Middle of the band now, and the price before the first trade; null for none."""


@dataclass(frozen=True, slots=True)
class VenueAccount:
    """An account of the node's own venue."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    account: str
    """Its name."""
    number: int
    """In commands and executions."""
    open: bool
    """The venue has taken it; else only its name is known."""
    wait: str
    """How safe a command is before it is acknowledged, where a request does not say."""
    group: int
    """Accounts of one group do not trade with each other; 0 for none."""
    margin: bool
    """It may owe, within its margin."""
    killed: bool
    """Its trading is off."""
    open_orders: int
    """How many it has."""
    maker_ppm: int | None
    """Its own fee as maker, in parts per million; null: that of the instrument."""
    taker_ppm: int | None
    """Its own fee as taker."""
    initial_margin_ppm: int
    """What of a position's worth it needs to open it, in parts per million; 0 without margin."""
    maintenance_margin_ppm: int
    """The same to keep it."""
    cancel_all_after_ts: int | None
    """When its dead man's switch cancels all its orders, microseconds; null while that is off."""
    margin_calls: list[str] = field(default_factory=list)
    """Assets in which a margin call of it stands."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an account that are in force, for an instrument or as a whole; null is no limit."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    account: str
    """Whose."""
    instrument: str | None
    """For which; null: the account as a whole."""
    order_size_max: str | None
    """Largest size of one order."""
    order_notional_max: str | None
    """Largest notional of one order, in the quote asset."""
    position_max: str | None
    """Largest position, long or short."""
    exposure_max: str | None
    """Largest worth of all open orders and positions, in each quote asset."""
    open_orders_max: int | None
    """Open orders."""
    collar_ppm: int | None
    """How far from the reference a limit price may be, in parts per million."""
    commands_per_s: int | None
    """Commands a second."""
    burst: int | None
    """How many at once."""


@dataclass(frozen=True, slots=True)
class VenueStatus:
    """How the node's own venue does."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    venue: str
    """What names of its instruments end with."""
    sequence: int
    """Last command of `orders` that this gateway has seen."""
    durable: int
    """Last one on disk."""
    instruments: int
    """Listed."""
    accounts: int
    """Open."""
    open_orders: int
    """Of all accounts."""
    waiting: int
    """Commands that were handed over and are not judged yet."""
    killed: bool
    """Trading of all is off."""
    margin_calls: int
    """Margin calls that stand, of each account one for each asset."""
    state_hash: str
    """Of the replica, 16 hexadecimal digits: the engine's at the same command is the same."""
    engine: dict[str, Any] = field(default_factory=dict)
    """What the engine says of itself."""
    audit: dict[str, Any] | None = None
    """What keeps the audit trail says of itself: `state` (`following`, `waiting`, `failed`), `problem` and how far it reaches; null where it is off."""


@dataclass(frozen=True, slots=True)
class ExecutionEvent:
    """One thing that happened to an order of an account."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    sequence: int
    """Of the execution: rising, with holes where it was another's."""
    source_sequence: int
    """Of the command on `orders` that led to it."""
    ts: int
    """The venue's time, microseconds."""
    kind: str
    """A word of `docs/formats/orders.md`."""
    order_id: int | None
    """Which order."""
    client_order_id: str | None
    """The client's own id of it."""
    instrument: str | None
    """Where it concerns one."""
    side: str | None
    """`buy` or `sell`."""
    price: str | None
    """Of the fill, or the order's."""
    size: str | None
    """What the event is about."""
    remaining: str | None
    """What is left of the order."""
    reason: str | None
    """Why."""
    trade_id: int | None = None
    """Of a fill."""
    fee: str | None = None
    """Of a fill."""
    liquidity: str | None = None
    """Of a fill."""
    command: str | None = None
    """Kind of the command, of `done` and `rejected`: such as `transfer`."""

"""What the API says of analytics: windows of markets and accounts, as their records have them.

Numbers are JSON numbers, doubles as they were computed; what is not known is null. Times are microseconds. Meanings: `docs/formats/analytics.md`.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

_DESCRIBED = ConfigDict(use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyticsStatus:
    """Whether there are windows, and how their engine does."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    made: bool
    """This node makes windows of its markets and accounts; where it does not, the rest is empty."""
    state: str = ""
    """`starting`: it reads the commands of this day; `following`; `waiting` for what `problem` says; `failed`; `stopped`."""
    problem: str = ""
    """What it waits for or failed of."""
    commands: int = 0
    """Last command of `orders` that windows have."""
    records: int = 0
    """Windows published since it began."""
    missed: int = 0
    """Records of `md.*` that were overwritten before it had read them."""
    unread: int = 0
    """Windows that were overwritten before the API had read them: its lists may lack those. Numbers of what is told are not touched."""
    unread_until: int = 0
    """Newest time up to which that was, microseconds: windows that opened before it may be missing; 0: none."""
    process: int | None = None
    """Its process, where that is one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """Which window, and how much of it is known. Described by `Field`, as docstrings of inherited fields are not read."""

    instrument: Annotated[str, Field(description="Such as `BTC-USD.LOCAL`.")]
    interval: Annotated[str, Field(description="`1s`, `1m` or `1d`.")]
    ts_open: Annotated[
        int,
        Field(
            description="Beginning by the node's clock, microseconds; with instrument and interval it names the window."
        ),
    ]
    ts_event: Annotated[int, Field(description="Its end, microseconds; of an open one how far it goes.")]
    closed: Annotated[bool, Field(description="False while it lasts: what it is so far.")]
    whole: Annotated[bool, Field(description="False where something of it is not known: see `ts_from` and `missed`.")]
    ts_from: Annotated[
        int,
        Field(
            description="From here on all is known of it, microseconds; before it some records, or the quote that stood, are not; what is known is in the sums. Else `ts_open`."
        ),
    ]
    missed: Annotated[int, Field(description="Records that were lost and may have been of this window.")]
    after_loss: Annotated[
        bool,
        Field(
            description="Windows between it and the one before it may be missing here: they were overwritten before the API had read them."
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketWindow(_Window):
    """What a window of time was like in one market."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    trades: int
    """Trades."""
    quotes: int
    """Changes of the top of book."""
    volume: float
    """Size traded."""
    buy_volume: float
    """Of it where the aggressor bought."""
    sell_volume: float
    """Of it where the aggressor sold; the rest is not said, or of an auction."""
    notional: float
    """Sum of price times size."""
    vwap: float | None
    """`notional` / `volume`."""
    twap: float | None
    """Last traded price, weighted by the time it was the last; one from before the window counts."""
    last: float | None
    """Last traded price at the end."""
    mid: float | None
    """Middle of bid and ask at the end."""
    mid_twap: float | None
    """Middle, weighted by time."""
    microprice: float | None
    """At the end: (bid x ask size + ask x bid size) / (bid size + ask size)."""
    spread: float | None
    """Ask less bid, weighted by time."""
    spread_bps: float | None
    """The same in parts of 10,000 of the middle."""
    effective_spread: float | None
    """Twice the distance of each trade from the middle before its message, towards the aggressor; where no
    side is said, either way. Weighted by size, trades without a middle left out."""
    effective_spread_bps: float | None
    """The same in parts of 10,000 of that middle."""
    volatility: float | None
    """Root of the sum of squared log returns of the middle, from the end of one second to that of the next
    that has a quote; of this window, not of a year."""
    order_flow: float
    """Order-flow imbalance of the top of book, in size (Cont, Kukanov, Stoikov): what was added to the bid
    or taken from the ask, less the contrary."""
    trade_imbalance: float | None
    """(buys - sells) / (buys + sells), by size."""
    book_imbalance: float | None
    """(bid size - ask size) / (bid size + ask size), weighted by time."""
    quoted_s: float
    """Seconds with a bid and an ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountWindow(_Window):
    """What an account did and had in one instrument of the node's own venue."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    account: str
    """Whose."""
    orders: int
    """Orders that matching took; of a pair both."""
    replaces: int
    """Changes that were carried out."""
    cancels: int
    """Orders withdrawn because somebody asked: one by one, many at once, at the end of a session, by a dead
    man's switch."""
    refused: int
    """Commands that risk or matching refused."""
    fills: int
    """Fills, from this account's side; who trades with himself has two."""
    maker_fills: int
    """Of them those of resting orders; in an auction none."""
    ordered: float
    """Size of `orders`; without those by amount, and of a pair once."""
    bought: float
    """Size."""
    sold: float
    """Size."""
    notional: float
    """Of what was traded."""
    fees: float
    """Paid; below 0 received."""
    fill_ratio: float | None
    """(`bought` + `sold`) / `ordered` of the same window: above 1 where older orders were filled."""
    cancels_per_fill: float | None
    """`cancels` / `fills`."""
    slippage: float
    """What fills cost against the middle of the book before their order's command, in quote currency; below
    0 they were better."""
    slippage_bps: float | None
    """The same in parts of 10,000 of what they are worth at that middle."""
    slippage_size: float
    """Size that `slippage` is of: orders of this day that came into a book with a bid and an ask."""
    position: float
    """At the end; below 0 when short."""
    average_price: float | None
    """Of it."""
    mid: float | None
    """Middle at the end."""
    realized: float
    """Profit of what was closed in the window, before fees."""
    realized_total: float
    """Since the venue's first command."""
    unrealized: float
    """Of the position, at `mid`; where there is none at the last trade, else at cost."""

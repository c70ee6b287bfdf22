"""What the API says, over REST and WebSocket alike.

One plain dataclass per thing said: FastAPI derives the OpenAPI schema from it, msgspec writes its JSON, so the two
cannot drift apart and no response is validated twice. Prices and sizes are decimal strings, exact from integer units;
times are integer microseconds since 1970 UTC, because nanoseconds exceed what a JavaScript number holds.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import ConfigDict

# Attribute docstrings become the descriptions of the OpenAPI schema.
_DESCRIBED = ConfigDict(use_attribute_docstrings=True)

Side = Literal["buy", "sell", "none"]
FeedState = Literal["waiting", "live", "quiet", "disconnected"]
BookState = Literal["usable", "unusable", "none"]


@dataclass(frozen=True, slots=True)
class Depth:
    """The best levels of one book."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    instrument: str
    """Such as `BTCUSDT.BINANCE`."""
    last_update_id: int
    """The venue's sequence of this state of the book; 0 where it sends none."""
    usable: bool
    """False from a gap to the next snapshot: the levels are those before the gap and must not be traded on."""
    unusable_since: int | None
    """Our clock when it became unusable, microseconds; null while it is usable, and where this server does not know."""
    unusable_reason: str | None
    """Why: a word of `md.status` (`gap`, `disconnected`, ...), `overtaken` where this server read too slowly and the book is told again, or
    `unknown`; null while it is usable, and where this server does not know."""
    ts_event: int
    """The venue's clock, microseconds; 0 where it sends none."""
    ts_recv: int
    """Our clock at receipt, microseconds."""
    bid_count: int
    """Levels of the whole bid side, which may exceed those here."""
    ask_count: int
    """Levels of the whole ask side."""
    step: str | None
    """Width of the groups that levels were put into; null when they are the venue's own."""
    whole: bool
    """All levels are known to this server; else groups are made of the best 25 levels a side."""
    bids: list[tuple[str, str]]
    """Price and size, best (highest) first."""
    asks: list[tuple[str, str]]
    """Price and size, best (lowest) first."""


@dataclass(frozen=True, slots=True)
class BookTicker:
    """Top of book. A side without orders is null, and so are both of a book that may not be used."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    instrument: str
    """Such as `BTCUSDT.BINANCE`."""
    update_id: int
    """The venue's sequence of this top; 0 where it sends none."""
    derived: bool
    """True when this is the top of our own book, false when the venue sent it."""
    usable: bool
    """False from the loss of the book to the next top, of the venue or of a good book; all prices are null then."""
    ts_event: int
    """The venue's clock, microseconds; 0 where it sends none."""
    ts_recv: int
    """Our clock at receipt, microseconds."""
    bid_price: str | None
    """Highest bid."""
    bid_size: str | None
    """Size at the highest bid."""
    ask_price: str | None
    """Lowest ask."""
    ask_size: str | None
    """Size at the lowest ask."""


@dataclass(frozen=True, slots=True)
class Top:
    """One instrument in a line: top of book, last trade, and whether its book may be used."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    instrument: str
    """Such as `BTCUSDT.BINANCE`."""
    venue: str
    """Such as `binance`."""
    book: BookState
    """`unusable` from a gap to the next snapshot, `none` before the first image."""
    bid_price: str | None
    """Highest bid; null without one, and while neither a book that may be used nor the venue itself says one."""
    bid_size: str | None
    """Size at the highest bid."""
    ask_price: str | None
    """Lowest ask; null as `bid_price`."""
    ask_size: str | None
    """Size at the lowest ask."""
    last_price: str | None
    """Price of the newest trade; null before the first."""
    last_size: str | None
    """Its size."""
    last_side: Side
    """Its aggressor."""
    last_at: int
    """Our clock at its receipt, microseconds; 0 before the first."""
    updated_at: int
    """Our clock at receipt of what changed its book, top or trades last, microseconds; 0 before the first."""
    gaps: int
    """Messages or trades of this instrument that never came."""
    gap_at: int
    """Our clock when the newest of them was noticed, microseconds; 0 before the first."""
    unusable_since: int | None
    """Our clock when its book became unusable, microseconds; null while it is usable or nothing is known."""
    unusable_reason: str | None
    """Why: as in `Depth`."""
    session: str | None
    """How it is traded now, as in `Session`; null where its venue does not say so, and while it is not known."""
    indicative_price: str | None
    """What an auction would give if it ended now, as in `Session`."""
    indicative_size: str | None
    """How much it would trade at that price."""


@dataclass(frozen=True, slots=True)
class Trade:
    """One public print."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    id: int
    """The venue's trade id."""
    price: str
    """Exact decimal."""
    size: str
    """Exact decimal."""
    side: Side
    """The aggressor: who crossed the spread; `none` where the venue does not say."""
    ts_event: int
    """The venue's clock, microseconds; 0 where it sends none."""
    ts_recv: int
    """Our clock at receipt, microseconds."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Trades of one interval. An interval without trades repeats the close, but a second without trades has no bar."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    ts_open: int
    """Start of the interval by the venue's clock, microseconds; it names the bar."""
    open: str
    """Price of the first trade."""
    high: str
    """Highest price."""
    low: str
    """Lowest price."""
    close: str
    """Price of the last trade."""
    volume: str
    """Sum of sizes."""
    buy_volume: str
    """Of this, bought by the aggressor."""
    trade_count: int
    """Trades."""
    closed: bool
    """False while the interval lasts, and a second longer for trades on their way."""
    revision: int
    """0 at first; one more each time a late trade changed a closed bar."""
    unproven: bool
    """It may lack trades: some never came, or this server did not see the interval from its beginning."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which an instrument's numbers could not be trusted."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    since: int
    """Our clock when it began, microseconds."""
    until: int | None
    """Our clock when it was over; null while it lasts."""
    reason: str
    """A word of `md.status` on why the book could not be used; `silent`: no message came from the venue; `unknown`."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """Definition of an instrument as of now."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    instrument: str
    """Such as `BTCUSDT.BINANCE`."""
    venue: str
    """Such as `binance`."""
    version: int
    """From 1; one more each time the venue changes the definition."""
    price_decimals: int
    """Decimals of every price text."""
    size_decimals: int
    """Decimals of every size text."""
    tick: str | None
    """Price step; null where not known."""
    lot: str | None
    """Size step; null where not known."""


@dataclass(frozen=True, slots=True)
class Session:
    """How an instrument is traded now, where its venue says so: the node's own does."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    instrument: str
    """Such as `BTC-USD.LOCAL`."""
    session: str
    """`closed`, `pre_open`, `auction`, `continuous`, `halted`."""
    since: int
    """When it began, by the venue's clock, microseconds."""
    indicative_price: str | None
    """What an auction would give if it ended now; null where it would give no trade, and outside of auctions."""
    indicative_size: str | None
    """How much it would trade at that price."""


@dataclass(frozen=True, slots=True)
class ChannelGuarantee:
    """What one durable channel of the node promises now, and never more."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    channel: str
    """Such as `feed.binance`."""
    guarantee: str
    """Mode, sync policy and how far it is durable, in a line."""
    published: int
    """Last message in shared memory: survives the death of processes, not of the machine."""
    durable: int
    """Last message on disk: survives power failure, if the disk keeps what it acknowledges."""
    replicas: int
    """Copies on other machines."""
    stored: int
    """Message up to which rows are stored."""
    storing: str
    """`starting`, `following`, `stalled`, `failed` or `stopped`; `none` of a channel whose messages make no rows."""
    failure: str | None
    """Why nothing more becomes durable or is stored; null while all is well."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """Where one engine of the node runs."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    engine: str
    """`market_data`, `venue`, `audit` or `analytics`."""
    runs_as: Literal["thread", "process"]
    """Threads of the node, or a process of its own."""
    process: int | None
    """Number of the process that it runs in; null while there is none."""
    away: str | None
    """Why it does not work now: its own process has ended and is started again, or says nothing, or the venue takes no commands; null while it works."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The guarantees in force, and what does not work."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    channels: list[ChannelGuarantee]
    """Every durable channel of the node."""
    engines: list[EngineState]
    """Every engine that the node has."""
    problems: list[str]
    """What has failed, also where the node is ready without it: a sentence each."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Health of one venue's feed, as seen by this server."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    venue: str
    """Such as `binance`."""
    state: FeedState
    """`waiting` before its first record, `quiet` when nothing came for two seconds; the node's own venue, `local`, never is."""
    messages: int
    """Inputs of the feed so far: frames, REST answers, state changes and timers."""
    messages_per_second: float
    """Inputs per second over the last two seconds."""
    last_message_at: int
    """Our clock at the newest record, microseconds; 0 before the first."""
    age_us: int | None
    """Time since `last_message_at`, longer when only the feed's end was told since a message came; null before the first, 0 of
    the node's own venue: what it said last holds until it says something else."""
    venue_delay_us: int | None
    """Venue's clock to our receipt, median of the newest batch. Negative where the clocks disagree."""
    delay_us: int | None
    """Our receipt to this server, median of the newest batch."""
    gaps: int
    """Messages or trades that never came; a book with a gap is unusable until a snapshot."""
    resyncs: int
    """Books brought back by a snapshot."""
    quarantined: int
    """Frames set aside because they could not be decoded."""
    checks_failed: int
    """Books that were not what the venue says: a checksum, its own top of book, a crossed book."""
    reconnects: int
    """Connections lost."""
    missed_records: int
    """Trades and status records this server did not see because it read too slowly; storage is not concerned."""
    instruments: int
    """Instruments of the venue."""
    books_usable: int
    """Of these, books that may be used."""


@dataclass(frozen=True, slots=True)
class ServerTime:
    """Our clock."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    server_time: int
    """Microseconds since 1970 UTC."""


@dataclass(frozen=True, slots=True)
class Version:
    """What answers."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    name: str
    """`tidebook`."""
    version: str
    """Version of the package."""
    api: str
    """Version in the path: `v1`."""


@dataclass(frozen=True, slots=True)
class Health:
    """One word on the process."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    status: Literal["alive", "ready", "degraded"]
    """The word; `degraded` is ready, with something that does not work beside."""
    detail: str = ""
    """What that is."""


@dataclass(frozen=True, slots=True)
class Empty:
    """Nothing to say but that someone is there."""


class Frame(msgspec.Struct, frozen=True, omit_defaults=True):
    """One push of a stream.

    `seq` rises by one with each frame the stream publishes. A state stream may skip numbers, because a reader that
    falls behind gets only the newest; an event stream never does.
    """

    stream: str
    seq: int
    ts: int
    data: Any = None
    snapshot: bool = False
    """True for the frame that answers a subscription."""
    missed: int = 0
    """Events before this frame that this server did not see."""


class Tops(msgspec.Struct, frozen=True):
    """Data of `!tops`: the names of the fields once, then a row per instrument."""

    fields: tuple[str, ...]
    rows: list[msgspec.Raw]


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """What a WebSocket client may send."""

    method: str
    params: list[str] = []
    id: int | str | None = None


class Answer(msgspec.Struct, omit_defaults=False):
    """Answer to a request that succeeded."""

    id: int | str | None
    result: Any = None


class Refusal(msgspec.Struct):
    """Answer to a request that failed; `error` is the same object that REST sends as problem+json."""

    id: int | str | None
    error: Any


encode = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(Request).decode
NO_REQUEST = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""What decoding raises: the second for what goes too deep, the third for bytes that are no text."""


class _Numbered(msgspec.Struct):
    id: int | str | None = None


_decode_numbered = msgspec.json.Decoder(_Numbered).decode


def request_id(text: str | bytes) -> int | str | None:
    """The `id` of what is no request otherwise, as far as it has one."""
    try:
        return _decode_numbered(text).id
    except NO_REQUEST:
        return None

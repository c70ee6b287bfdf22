"""What a connector has to know about a venue, and nothing about connecting: one `VenueProtocol` a venue.

A protocol is data and pure functions: where the venue is, what it allows, what is said to subscribe, and what the few
frames mean that are no market data. It decodes no market data. Sockets, clocks and retries are the connector's, which
is the same for all.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, NamedTuple

import msgspec

# Notices are small; a longer frame with an unknown beginning is damaged data, which is not ours to judge.
NOTICE_BYTES_MAX = 1 << 20
# No venue has longer names of instruments or streams.
WORD_BYTES_MAX = 128


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a venue, or one that speaks its protocol, is. No trailing slash."""

    ws: str
    rest: str
    second_ws: str = ""
    """Of a venue that has its streams on two addresses; empty where one address has all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What a client of this venue keeps to: the venue's own limits, or what we stay below where it names none."""

    streams_per_connection: int = 1_000_000
    symbols_per_connection: int = 1_000_000
    names_per_request: int
    """Streams or symbols named in one message."""
    request_spacing_s: float
    """Between two of our messages on one connection, or on all connections of a feed together."""
    requests_shared: bool = False
    """The venue counts messages by address: the spacing holds for all connections together."""
    connect_spacing_s: float
    """Between two connections of one feed: their starts are staggered by it."""
    connects_per_window: int
    connect_window_s: float
    rotate_after_s: float = math.inf
    """A connection is replaced after this time, before the venue ends it."""
    frame_bytes_max: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RestLimits:
    """What may be asked of the venue's REST side: `weight` in each `window_s`, of which others at our address have a part."""

    weight: int
    window_s: float = 60.0
    used_header: str = ""
    """Header of answers that says how much of the window is used."""


class Snapshots(Enum):
    """How a book's snapshot is had."""

    REST = "rest"
    """By a request; the answer is written to the feed."""
    RESUBSCRIBE = "resubscribe"
    """It comes with the subscription, so a new one by giving the subscription up and taking it again."""
    NONE = "none"
    """No book is subscribed."""


@dataclass(frozen=True, slots=True)
class Route:
    """Streams that one connection can carry together; most venues have one route for all."""

    url: str
    streams: tuple[str, ...]
    """Of each symbol."""
    books: tuple[str, ...] = ()
    """Those of them that make a symbol's book."""


class SymbolStream(NamedTuple):
    """What is subscribed, granted or refused by itself: one stream of one symbol."""

    symbol: str
    """Empty for a stream that is of no symbol."""
    stream: str


@dataclass(frozen=True, slots=True)
class Request:
    """One message to the venue about `streams` of `symbols`: `encode(number, symbols)` makes its bytes.

    The bytes are made when they are sent, since some carry a signature that ages, and for fewer symbols when the venue
    refuses the request without saying which of them is at fault.
    """

    encode: Callable[[int, Sequence[str]], bytes] = field(repr=False)
    streams: tuple[str, ...]
    symbols: tuple[str, ...] = ()
    answered_each: bool = False
    """The venue answers for each symbol; otherwise once."""


@dataclass(frozen=True, slots=True)
class Dial:
    """How a connection is opened: some symbols are subscribed by the address itself, the rest by requests."""

    url: str
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestRequest:
    """One GET. `headers` are made when it is sent."""

    target: str
    weight: int = 1
    headers: Callable[[], Mapping[str, str]] | None = field(default=None, repr=False)


# What a frame that is no market data says. Most frames say nothing of the kind.


@dataclass(frozen=True, slots=True)
class Answer:
    """The venue answers a request: all of it, or its part about `symbol`."""

    number: int | None = None
    """As the request was numbered; None where the venue does not number answers."""
    symbol: str | None = None
    refused: str = ""
    """Why, when it is a refusal."""
    too_fast: bool = False
    """A refusal for coming too soon after others: the same request may be granted later."""


@dataclass(frozen=True, slots=True)
class SnapshotSeen:
    """The book snapshot of a subscription."""

    symbol: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The connection lives; whether the books do, it does not say."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The venue is about to end the connection."""


Notice = Answer | SnapshotSeen | Heartbeat | Shutdown
HEARTBEAT = Heartbeat()


class VenueProtocol(ABC):
    """One venue, with the streams that were chosen. Immutable."""

    venue: ClassVar[str]
    """As `tidebook run` and `feed.<venue>` name it."""
    limits: ClassVar[ConnectionLimits]
    rest_limits: ClassVar[RestLimits]
    ws_path: ClassVar[str] = ""
    """Path of the WebSocket address, which a simulator on one port has as well."""
    heartbeats: ClassVar[bool] = False
    """Whether the venue sends frames of its own every second or so: then silence alone tells a dead connection, and a
    pong proves nothing. Without them a quiet connection is asked by ping."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints

    @classmethod
    def local(cls, port: int) -> Endpoints:
        """Those of a simulator on this machine."""
        return Endpoints(f"ws://127.0.0.1:{port}{cls.ws_path}", f"http://127.0.0.1:{port}")

    @property
    @abstractmethod
    def routes(self) -> tuple[Route, ...]:
        """At least one."""

    @property
    @abstractmethod
    def snapshots(self) -> Snapshots:
        """How books get theirs."""

    @classmethod
    @abstractmethod
    def normal(cls, symbol: str) -> str:
        """`symbol` as the venue writes it. Raises: ConfigError for one that cannot be a symbol there."""

    @abstractmethod
    def dial(self, route: Route, symbols: Sequence[str]) -> Dial:
        """The address to open for these symbols."""

    @abstractmethod
    def subscribe(self, streams: Sequence[str], symbols: Sequence[str]) -> list[Request]:
        """These streams of each symbol; with no symbol, streams that are of none."""

    @abstractmethod
    def unsubscribe(self, streams: Sequence[str], symbols: Sequence[str]) -> list[Request]:
        """These streams of each symbol; with no symbol, streams that are of none."""

    @abstractmethod
    def notice(self, body: bytes) -> Notice | None:
        """What the frame says besides market data; None almost always. Called for each frame, and never raises."""

    def about(self, body: bytes) -> tuple[bytes, bool] | None:
        """The instrument of a frame, as frames name it, and whether the frame changes its book or proves that it changed.

        None for all other frames. Called for each one that is no notice, and never raises.
        """
        del body
        return None

    def name_in_frames(self, symbol: str) -> bytes:
        """What `about` calls the symbol."""
        return symbol.encode()

    @property
    def feed_streams(self) -> tuple[str, ...]:
        """Streams of no symbol that one connection has for the whole feed; subscribed before its symbols."""
        return ()

    @property
    def connection_streams(self) -> tuple[str, ...]:
        """Streams of no symbol that each connection has; subscribed after its symbols, whose books wait for nothing."""
        return ()

    def stream_name(self, of: SymbolStream) -> str:
        """For state messages."""
        return f"{of.symbol}@{of.stream}"

    def snapshot_request(self, symbol: str, symbol_count: int) -> RestRequest:
        """With `Snapshots.REST`; `symbol_count` is how many symbols share the budget."""
        raise NotImplementedError(f"{self.venue}: books come without requests")

    def reference_requests(self, symbols: Sequence[str]) -> list[tuple[RestRequest, tuple[str, ...]]]:
        """Requests for what the venue says of its instruments, each with the symbols it is about."""
        del symbols
        return []


def chunks(symbols: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """`symbols` in order, at most `size` together."""
    return [tuple(symbols[start : start + size]) for start in range(0, len(symbols), size)]


def json_bytes(message: Mapping[str, Any]) -> bytes:
    """As it is sent."""
    return msgspec.json.encode(message)


def json_object(body: bytes) -> dict[str, Any] | None:
    """The object in `body`; None when it is none, which a damaged frame is not."""
    if len(body) > NOTICE_BYTES_MAX:
        return None
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the last for brackets in brackets, some hundreds deep
    return value if isinstance(value, dict) else None


def is_too_fast(reason: str) -> bool:
    """Whether a refusal is one for coming too fast. Venues that have no code for it have words: "Exceeded msg rate"."""
    return any(words in reason.lower() for words in ("msg rate", "rate limit", "too many requests"))


def word_after(body: bytes, mark: bytes, within: int) -> bytes | None:
    """The word in quotes behind `mark`, which ends with the first of them; None when the first `within` bytes have none."""
    begin = body.find(mark, 0, within)
    if begin < 0:
        return None
    begin += len(mark)
    end = body.find(b'"', begin, begin + WORD_BYTES_MAX)
    return body[begin:end] if end >= 0 else None


def text_of(value: object) -> str:
    """A word of a notice in an error message: short, whatever the venue sent."""
    return str(value)[:200]

"""What one venue is to the simulator: its names and texts, and how it talks with a client.

A venue is one module under `wire/` with three classes: `SymbolTexts` turns the public events of one market into the
bytes of its streams, `Talk` answers requests over the socket and serves REST, and `Dialect` names them and the venue's
habits. Markets, clock, delivery, faults and `/sim/` are the same for all.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from tidebook.simulate.faults import Fault, FaultKind
from tidebook.simulate.specs import SPECS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from aiohttp import web

    from tidebook.simulate.faults import Faults
    from tidebook.simulate.limits import VenueLimits
    from tidebook.simulate.market import Market, PublicEvent, Trade
    from tidebook.simulate.specs import SymbolSpec
    from tidebook.simulate.streams import Connection, StreamHub
    from tidebook.simulate.venue import SimulatedVenue


class StreamMessage(NamedTuple):
    """One message of one stream, as its subscribers get it."""

    stream: str
    """Its name: `btcusdt@trade`, `book-10:BTC/USD`."""
    body: bytes
    """The payload, without what differs by connection."""


class SymbolTexts(ABC):
    """Streams of one market. It writes only what is in `wanted`; None means everything."""

    streams: frozenset[str]
    """Every stream this market has."""
    count: int = 0
    """Messages so far that the venue's rate counts, written or not."""

    def __init__(self, market: Market) -> None:
        self.market = market

    @abstractmethod
    def operation(self, events: list[PublicEvent], wanted: Container[str] | None) -> Iterable[StreamMessage]:
        """What one order operation makes public at once."""

    @abstractmethod
    def flush(self, cadence: str, time_us: int, wanted: Container[str] | None) -> Iterable[StreamMessage]:
        """What was pending for a cadence."""

    @abstractmethod
    def level(self, price: int, size: int) -> tuple[str, str]:
        """Texts of a level's price and size, as on the wire."""

    def book_id(self, update_id: int) -> int:
        """The number under which the venue knows the state of the book; where it has none, ours."""
        return update_id

    @abstractmethod
    def trade_text(self, trade: Trade) -> str:
        """JSON of one trade, as on the wire."""


class Dialect(ABC):
    """Names and habits of one venue. It has no state; one instance serves all."""

    name: ClassVar[str]
    cadences: ClassVar[Mapping[str, int]]
    """Cadence -> microseconds between its flushes; 0 = after each operation."""
    book_cadences: ClassVar[tuple[str, ...]]
    """Those of depth; checkpoints are taken at the first."""
    limits: ClassVar[VenueLimits]
    special_faults: ClassVar[frozenset[FaultKind]] = frozenset()
    """Faults that only some venues can have."""
    default_symbols: ClassVar[tuple[str, ...]]
    symbol_form: ClassVar[str]
    """A symbol of the asset {}: `{}USDT`."""
    subscribes_by_path: ClassVar[bool] = False
    """Streams may be named when a connection is opened; elsewhere nothing comes before the first request."""
    paths_shown: ClassVar[tuple[str, str]]
    """REST and WebSocket paths to show to somebody who starts the simulator."""

    def made_symbols(self, count: int) -> tuple[str, ...]:
        """So many symbols: the known assets, then made-up ones `S011`, `S012`, ..."""
        assets = [spec.base for spec in SPECS.values() if spec.quote == "USDT"]
        assets += [f"S{number:03}" for number in range(len(assets) + 1, count + 1)]
        return tuple(self.symbol_form.format(asset) for asset in assets[:count])

    def is_answer(self, body: bytes) -> bool:  # noqa: ARG002 - not every venue's answers are recorded
        """Whether a recorded frame answers a client's request."""
        return False

    def stand_in(self, request: str, answers: Sequence[bytes]) -> list[bytes]:  # noqa: ARG002
        """What a recording's player says to a request that none of the recorded answers is for."""
        return []

    @abstractmethod
    def spec(self, symbol: str) -> SymbolSpec:
        """How a symbol of this name trades. Raises: ConfigError when it is none of the venue's form."""

    @abstractmethod
    def texts(self, market: Market) -> SymbolTexts:
        """The streams of a market."""

    @abstractmethod
    def talk(self, venue: SimulatedVenue, hub: StreamHub, faults: Faults, limits: VenueLimits) -> Talk:
        """The venue's side of the conversation."""


class Talk(ABC):
    """What a venue says to one client, and its REST side."""

    numbered: ClassVar[bool] = False
    """Payloads differ by connection."""

    def __init__(self, venue: SimulatedVenue, hub: StreamHub, faults: Faults, limits: VenueLimits) -> None:
        self.venue = venue
        self.hub = hub
        self.faults = faults
        self.limits = limits
        self._requests: deque[float] = deque()

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """Paths of the sockets and of REST."""

    def greet(self, connection: Connection, streams: Iterable[str]) -> None:  # noqa: B027 - a venue may say nothing
        """A connection was opened; `streams` are those that its path names."""

    @abstractmethod
    def answer(self, connection: Connection, text: str) -> None:
        """A client sent a text frame."""

    @abstractmethod
    def too_many(self, connection: Connection, text: str) -> None:
        """The client sent more than it may; refuse this frame."""

    def second(self, connection: Connection) -> None:  # noqa: B027 - not every venue has a heartbeat
        """Another second of the connection went by."""

    def shutdown_notice(self, time_us: int) -> StreamMessage | None:  # noqa: ARG002 - most venues have none
        """What the venue says before it goes down."""
        return None

    def trouble_of_request(self) -> Fault | None:
        """Why a REST request gets no answer: a fault asked for, or one request too many in this second."""
        fault = self.faults.next_for_request()
        if fault is not None:
            return fault
        now = time.monotonic()
        while self._requests and self._requests[0] < now - 1.0:
            self._requests.popleft()
        if len(self._requests) >= self.limits.requests_per_s:
            return Fault(kind=FaultKind.REST)
        self._requests.append(now)
        return None

    def payload(self, message: StreamMessage, connection: Connection) -> bytes:  # noqa: ARG002
        """The message as this connection gets it; connections of one `form` get the same."""
        return message.body


class NumberedTalk(Talk):
    """Of a venue that numbers all messages of a connection: no two connections get the same bytes.

    The place of the number in a body is a byte that JSON never holds.
    """

    numbered = True
    NUMBER: ClassVar[bytes] = b"\0"

    def payload(self, message: StreamMessage, connection: Connection) -> bytes:
        """The body with the connection's next number in it."""
        number = connection.sequence
        connection.sequence += 1
        return message.body.replace(self.NUMBER, b"%d" % number, 1)

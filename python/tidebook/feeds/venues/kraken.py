"""Kraken spot, WebSocket v2: one answer a symbol, books that come with their subscription, heartbeats every second.

A refusal leaves the connection open, and heartbeats go on beside it: only `success` says that a subscription stands.

Source: Kraken API documentation, "Spot WebSocket v2" (book, trade, ticker, instrument, heartbeat, status, ping) and the
overview of its limits; that heartbeats come beside any amount of data, from recordings of August 2026.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from tidebook.errors import ConfigError
from tidebook.feeds.protocol import (
    HEARTBEAT,
    Answer,
    ConnectionLimits,
    Dial,
    Endpoints,
    Notice,
    Request,
    RestLimits,
    Route,
    Snapshots,
    SnapshotSeen,
    VenueProtocol,
    chunks,
    is_too_fast,
    json_bytes,
    json_object,
    text_of,
    word_after,
)

BOOK = "book"
INSTRUMENT = "instrument"
CHANNELS = (BOOK, "trade", "ticker", "ohlc", INSTRUMENT)
DEFAULT_STREAMS = (BOOK, "trade", "ticker", INSTRUMENT)
DEPTHS = (10, 25, 100, 500, 1_000)

_CHANNEL = b'{"channel":"'
_HEARTBEAT = b'{"channel":"heartbeat"'
_SYMBOL = b'"symbol":"'
_HEAD_BYTES = 128
_MOVING = frozenset({b"book", b"trade", b"ticker"})
_SNAPSHOT = b'{"channel":"book","type":"snapshot"'
_SNAPSHOT_SYMBOL = b'{"channel":"book","type":"snapshot","data":[{"symbol":"'


class Kraken(VenueProtocol):
    """WebSocket v2. `depth` is how many levels a side a book has."""

    venue: ClassVar[str] = "kraken"
    limits: ClassVar[ConnectionLimits] = ConnectionLimits(
        # The venue names no bound for the book channel; level3 has 200 symbols.
        symbols_per_connection=100,
        names_per_request=50,
        # "Exceeded msg rate" has no number either.
        request_spacing_s=0.1,
        # About 150 attempts in 10 minutes from one address.
        connect_spacing_s=0.25,
        connects_per_window=100,
        connect_window_s=600.0,
    )
    rest_limits: ClassVar[RestLimits] = RestLimits(weight=1, window_s=1.0)
    ws_path: ClassVar[str] = "/v2"
    heartbeats: ClassVar[bool] = True

    def __init__(self, endpoints: Endpoints, streams: Sequence[str] = DEFAULT_STREAMS, depth: int = 100) -> None:
        super().__init__(endpoints)
        if depth not in DEPTHS:
            known = ", ".join(map(str, DEPTHS))
            raise ConfigError(f"kraken: no book has {depth} levels; choose one of {known}", key="depth", value=depth)
        for stream in streams:
            if stream not in CHANNELS:
                raise ConfigError(
                    f"kraken: no channel is called {stream!r}; there are {', '.join(CHANNELS)}",
                    key="streams",
                    value=stream,
                )
        self._depth = depth
        self._has_instruments = INSTRUMENT in streams
        self._route = Route(
            endpoints.ws,
            tuple(stream for stream in streams if stream != INSTRUMENT),
            (BOOK,) if BOOK in streams else (),
        )

    @property
    def routes(self) -> tuple[Route, ...]:
        """One for all channels."""
        return (self._route,)

    @property
    def snapshots(self) -> Snapshots:
        """With the subscription."""
        return Snapshots.RESUBSCRIBE if self._route.books else Snapshots.NONE

    @classmethod
    def normal(cls, symbol: str) -> str:
        """As v2 spells it: `BTC/USD`, and `AAPLx/USD` for a tokenised stock, whose x is small."""
        base, slash, quote = symbol.partition("/")
        # Printable ASCII has no tabs, and of other characters only these would break what is sent.
        if not (slash and base and quote and symbol.isascii() and symbol.isprintable()) or set(symbol) & set(' "\\'):
            raise ConfigError(
                f"feeds: {symbol!r} is no Kraken symbol, which is BTC/USD or the like", key="symbols", value=symbol
            )
        # `aaplx/usd` may be meant either way, and is no stock.
        stock = base.endswith("x") and base[:-1].isupper()
        return f"{base if stock else base.upper()}/{quote.upper()}"

    def dial(self, route: Route, symbols: Sequence[str]) -> Dial:
        """Everything is subscribed by message."""
        del symbols
        return Dial(route.url)

    def subscribe(self, streams: Sequence[str], symbols: Sequence[str]) -> list[Request]:
        """One message a channel; the venue answers for each symbol."""
        return [request for stream in streams for request in self._requests("subscribe", stream, symbols)]

    def unsubscribe(self, streams: Sequence[str], symbols: Sequence[str]) -> list[Request]:
        """One message a channel."""
        return [request for stream in streams for request in self._requests("unsubscribe", stream, symbols)]

    @property
    def feed_streams(self) -> tuple[str, ...]:
        """The instrument channel: every pair of the venue with its increments, and later changes."""
        return (INSTRUMENT,) if self._has_instruments else ()

    def notice(self, body: bytes) -> Notice | None:
        """A heartbeat, a snapshot, or the answer to a request."""
        if body.startswith(_CHANNEL):
            if body.startswith(_HEARTBEAT):
                return HEARTBEAT
            return _snapshot(body) if body.startswith(_SNAPSHOT) else None
        message = json_object(body)
        if message is None or "channel" in message:
            return None
        return _answer(message)

    def about(self, body: bytes) -> tuple[bytes, bool] | None:
        """Told by the channel; an ohlc comes without a trade too."""
        channel = word_after(body, _CHANNEL, len(_CHANNEL))
        if channel not in _MOVING:
            return None
        symbol = word_after(body, _SYMBOL, _HEAD_BYTES)
        return None if symbol is None else (symbol, channel == b"book")

    def _requests(self, method: str, stream: str, symbols: Sequence[str]) -> list[Request]:
        params: dict[str, Any] = {"channel": stream}
        if stream == BOOK:
            params["depth"] = self._depth
        if method == "subscribe":
            params["snapshot"] = True

        def encode(number: int, part: Sequence[str]) -> bytes:
            of = {"symbol": part} if part else {}
            return json_bytes({"method": method, "params": {**params, **of}, "req_id": number})

        parts = chunks(symbols, self.limits.names_per_request) or [()]
        return [Request(encode, (stream,), part, answered_each=True) for part in parts]


def _snapshot(body: bytes) -> Notice | None:
    if body.startswith(_SNAPSHOT_SYMBOL):
        end = body.find(b'"', len(_SNAPSHOT_SYMBOL))
        return SnapshotSeen(body[len(_SNAPSHOT_SYMBOL) : end].decode(errors="replace"))
    message = json_object(body)
    try:
        return None if message is None else SnapshotSeen(str(message["data"][0]["symbol"]))
    except (KeyError, IndexError, TypeError):
        return None


def _answer(message: dict[str, Any]) -> Notice | None:
    if message.get("method") == "pong" or ("success" not in message and "error" not in message):
        return None
    number, result = message.get("req_id"), message.get("result")
    symbol = result.get("symbol") if isinstance(result, dict) else message.get("symbol")
    refused = "" if message.get("success") is True else text_of(message.get("error", "no reason given"))
    return Answer(
        number if isinstance(number, int) else None,
        symbol if isinstance(symbol, str) else None,
        refused,
        is_too_fast(refused),
    )

"""Binance spot: streams named in the address or by message, depth snapshots and exchangeInfo over REST.

Source: Binance API documentation, Spot, "WebSocket Streams" (general information, limits, live subscribing, server
shutdown) and "REST API" (limits, order book, exchange information).
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

from tidebook.errors import ConfigError
from tidebook.feeds.protocol import (
    Answer,
    ConnectionLimits,
    Dial,
    Endpoints,
    Notice,
    Request,
    RestLimits,
    RestRequest,
    Route,
    Shutdown,
    Snapshots,
    SymbolStream,
    VenueProtocol,
    chunks,
    is_too_fast,
    json_bytes,
    json_object,
    text_of,
    word_after,
)

DEFAULT_STREAMS = ("trade", "bookTicker", "depth@100ms")
INTERVALS = "(1s|1m|3m|5m|15m|30m|1h|2h|4h|6h|8h|12h|1d|3d|1w|1M)"
# A request target stays below what servers commonly take (8 KiB); further streams are subscribed by message.
URL_STREAMS_MAX = 150
EXCHANGE_INFO_SYMBOLS_MAX = 100

# Every combined frame begins `{"stream":"<name>"`; the venue's own notices have a name that begins with `!`.
_WRAPPER = slice(2, 8)
_NAME_START = slice(11, 12)
_STREAM = b'{"stream":"'
_MOVES = frozenset({b"trade", b"aggTrade", b"bookTicker"})


class Binance(VenueProtocol):
    """Spot. `streams` are those of each symbol; books need one diff stream, `depth` or `depth@100ms`."""

    venue: ClassVar[str] = "binance"
    limits: ClassVar[ConnectionLimits] = ConnectionLimits(
        streams_per_connection=1_024,
        names_per_request=200,
        # The venue takes 5 messages a second, pongs included.
        request_spacing_s=0.5,
        # The venue takes 300 attempts in 5 minutes from one address; others may share ours.
        connect_spacing_s=0.1,
        connects_per_window=200,
        connect_window_s=300.0,
        # The venue ends every connection after 24 h.
        rotate_after_s=23.5 * 3_600,
    )
    # Of the venue's 6,000: the rest is for whoever shares our address.
    rest_limits: ClassVar[RestLimits] = RestLimits(weight=5_000, used_header="X-MBX-USED-WEIGHT-1M")
    depth_path: ClassVar[str] = "/api/v3/depth"
    depth_weights: ClassVar[tuple[tuple[int, int], ...]] = ((1_000, 50), (500, 25), (100, 5))
    """Levels a side and what a request for them weighs, most first."""
    exchange_info_path: ClassVar[str] = "/api/v3/exchangeInfo"
    exchange_info_weight: ClassVar[int] = 20

    streams_known: ClassVar[Mapping[str, str]] = {
        "trade": "trade",
        "aggTrade": "aggTrade",
        "blockTrade": "blockTrade",
        "bookTicker": "bookTicker",
        "depth": "depth",
        "depth@100ms": "depth@100ms",
        "depth<5, 10 or 20>": "depth(5|10|20)(@100ms)?",
        "kline_<interval>": rf"kline_{INTERVALS}(@\+08:00)?",
        "miniTicker": "miniTicker",
        "ticker": "ticker(_(1h|4h|1d))?",
        "avgPrice": "avgPrice",
    }
    """Streams of a symbol as people are told of them, each with its pattern. One that is asked for and is none has no answer."""

    def __init__(self, endpoints: Endpoints, streams: Sequence[str] = DEFAULT_STREAMS) -> None:
        """Raises: ConfigError for a stream the venue does not have, one named twice, and two that make the same book."""
        super().__init__(endpoints)
        streams = tuple(streams)
        for stream in streams:
            if not any(re.fullmatch(pattern, stream) for pattern in self.streams_known.values()):
                known = ", ".join(self.streams_known)
                raise ConfigError(
                    f"{self.venue}: no stream is called {stream!r}; there are {known}", key="streams", value=stream
                )
        books = diffs(streams)
        twice = next((stream for number, stream in enumerate(streams) if stream in streams[:number]), None)
        if twice is not None or len(books) > 1:
            why = f"{twice!r} is named twice" if twice is not None else f"{' and '.join(books)} make the same book"
            raise ConfigError(f"{self.venue}: {why}; name one", key="streams", value=",".join(streams))
        self._routes = self._routes_of(streams)
        self._has_books = bool(books)

    def _routes_of(self, streams: tuple[str, ...]) -> tuple[Route, ...]:
        return (Route(self.endpoints.ws, streams, diffs(streams)),)

    @property
    def routes(self) -> tuple[Route, ...]:
        """One for all streams."""
        return self._routes

    @property
    def snapshots(self) -> Snapshots:
        """Over REST, when a diff stream is subscribed."""
        return Snapshots.REST if self._has_books else Snapshots.NONE

    @classmethod
    def normal(cls, symbol: str) -> str:
        """Upper case letters and digits. The venue has a few symbols in other letters, which the engine does not read."""
        if not symbol.isalnum() or not symbol.isascii():
            why = "" if symbol.isascii() else " that can be read here, which has letters of ASCII only"
            raise ConfigError(f"feeds: {symbol!r} is no Binance symbol{why}", key="symbols", value=symbol)
        return symbol.upper()

    def stream_name(self, of: SymbolStream) -> str:
        """The venue's own: `btcusdt@trade`."""
        return f"{of.symbol.lower()}@{of.stream}"

    def dial(self, route: Route, symbols: Sequence[str]) -> Dial:
        """Streams in the request target are subscribed with the connection."""
        named = tuple(symbols[: max(1, URL_STREAMS_MAX // len(route.streams))])
        return Dial(f"{route.url}/stream?streams={'/'.join(self._names(route.streams, named))}", named)

    def subscribe(self, streams: Sequence[str], symbols: Sequence[str]) -> list[Request]:
        """All streams of the symbols, in as few messages as may be."""
        return self._requests("SUBSCRIBE", tuple(streams), symbols)

    def unsubscribe(self, streams: Sequence[str], symbols: Sequence[str]) -> list[Request]:
        """All streams of the symbols."""
        return self._requests("UNSUBSCRIBE", tuple(streams), symbols)

    def notice(self, body: bytes) -> Notice | None:
        """An answer to a request, or `serverShutdown`; a damaged frame is neither."""
        if body[_WRAPPER] == b"stream" and body[_NAME_START] != b"!":
            return None
        message = json_object(body)
        if message is None:
            return None
        data = message.get("data", message)
        if isinstance(data, dict) and data.get("e") == "serverShutdown":
            return Shutdown()
        if isinstance(message.get("id"), int):
            if message.get("result", "no") is None:
                return Answer(message["id"])
            error = message["error"] if isinstance(message.get("error"), dict) else message
            refused = f"{error.get('code')} {text_of(error.get('msg'))}"
            return Answer(message["id"], refused=refused, too_fast=is_too_fast(refused))
        return None

    def about(self, body: bytes) -> tuple[bytes, bool] | None:
        """Told by the stream's name."""
        stream = word_after(body, _STREAM, len(_STREAM))
        if stream is None:
            return None
        name, _, kind = stream.partition(b"@")
        if kind in _MOVES:
            return name, False
        return (name, True) if kind == b"depth" or kind.startswith(b"depth@") else None

    def name_in_frames(self, symbol: str) -> bytes:
        """In lower case, as in the names of streams."""
        return symbol.lower().encode()

    def snapshot_request(self, symbol: str, symbol_count: int) -> RestRequest:
        """As many levels as a minute's budget gives all symbols together, so that a feed of hundreds starts at once."""
        fitting = (pair for pair in self.depth_weights if pair[1] * symbol_count <= self.rest_limits.weight)
        levels, weight = next(fitting, self.depth_weights[-1])
        return RestRequest(f"{self.depth_path}?symbol={symbol}&limit={levels}", weight)

    def reference_requests(self, symbols: Sequence[str]) -> list[tuple[RestRequest, tuple[str, ...]]]:
        """The exchangeInfo of just these symbols: that of all is tens of megabytes."""
        requests = []
        for part in chunks(symbols, EXCHANGE_INFO_SYMBOLS_MAX):
            names = quote(json.dumps(part, separators=(",", ":")), safe=",")
            target = f"{self.exchange_info_path}?symbols={names}"
            requests.append((RestRequest(target, self.exchange_info_weight), part))
        return requests

    def _requests(self, method: str, streams: tuple[str, ...], symbols: Sequence[str]) -> list[Request]:
        def encode(number: int, part: Sequence[str]) -> bytes:
            return json_bytes({"method": method, "params": self._names(streams, part), "id": number})

        per_request = max(1, self.limits.names_per_request // len(streams))
        return [Request(encode, streams, part) for part in chunks(symbols, per_request)]

    def _names(self, streams: Sequence[str], symbols: Sequence[str]) -> list[str]:
        return [self.stream_name(SymbolStream(symbol, stream)) for symbol in symbols for stream in streams]


def diffs(streams: Sequence[str]) -> tuple[str, ...]:
    """Those that make books."""
    return tuple(stream for stream in streams if stream == "depth" or stream.startswith("depth@"))

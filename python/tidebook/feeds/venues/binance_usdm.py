"""Binance USD-M futures: spot's protocol on two addresses, with other weights.

Since 2026 streams of order books and best prices are on `/public`, all others on `/market`; each connection has one of
them. Where both settings name the same address, as for a venue that has all on one, there is one route.

Source: Binance API documentation, USD-M futures, "WebSocket Market Streams" (general information, live subscribing),
"Order Book", "Exchange Information"; announcement of 2026-03-06 on the addresses.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tidebook.errors import ConfigError
from tidebook.feeds.protocol import ConnectionLimits, Endpoints, RestLimits, RestRequest, Route
from tidebook.feeds.venues.binance import INTERVALS, Binance, diffs

DEFAULT_STREAMS = ("trade", "bookTicker", "depth@100ms")
# The end of a perpetual's name, by which the engine tells it from spot: BTCUSDT-PERP.BINANCE.
PERPETUAL = "-PERP"


class BinanceUsdm(Binance):
    """USD-M futures. `endpoints.ws` has books and best prices, `endpoints.second_ws` the rest."""

    venue: ClassVar[str] = "binance-usdm"
    limits: ClassVar[ConnectionLimits] = ConnectionLimits(
        # The documentation says 1,024 in one place and 200 in another.
        streams_per_connection=200,
        names_per_request=100,
        # 10 messages a second on one connection.
        request_spacing_s=0.25,
        connect_spacing_s=0.1,
        connects_per_window=200,
        connect_window_s=300.0,
        # The venue ends every connection after 24 h.
        rotate_after_s=23.5 * 3_600,
    )
    # Of the venue's 2,400 a minute: the rest is for whoever shares our address.
    rest_limits: ClassVar[RestLimits] = RestLimits(weight=2_000, used_header="X-MBX-USED-WEIGHT-1M")
    depth_path: ClassVar[str] = "/fapi/v1/depth"
    depth_weights: ClassVar[tuple[tuple[int, int], ...]] = ((1_000, 20), (500, 10), (100, 5), (50, 2))
    exchange_info_path: ClassVar[str] = "/fapi/v1/exchangeInfo"
    exchange_info_weight: ClassVar[int] = 1

    streams_known: ClassVar[Mapping[str, str]] = {
        "trade": "trade",
        "aggTrade": "aggTrade",
        "bookTicker": "bookTicker",
        "depth": "depth",
        "depth<@0ms, @100ms, @250ms or @500ms>": "depth@(0|100|250|500)ms",
        "depth<5, 10 or 20>": "depth(5|10|20)(@(100|250|500)ms)?",
        "rpiDepth@500ms": "rpiDepth@500ms",
        "kline_<interval>": f"kline_{INTERVALS}",
        "miniTicker": "miniTicker",
        "ticker": "ticker",
        "markPrice": "markPrice(@1s)?",
        "forceOrder": "forceOrder",
    }

    @classmethod
    def local(cls, port: int) -> Endpoints:
        """Those of a simulator on this machine, which has both addresses on one port."""
        return Endpoints(f"ws://127.0.0.1:{port}/public", f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}/market")

    @classmethod
    def normal(cls, symbol: str) -> str:
        """Upper case letters, digits and the underscore of delivery contracts; a perpetual with or without `-PERP`."""
        name = symbol.upper().removesuffix(PERPETUAL)
        if not name.replace("_", "").isalnum() or not name.isascii():
            raise ConfigError(f"feeds: {symbol!r} is no Binance futures symbol", key="symbols", value=symbol)
        return name

    def reference_requests(self, symbols: Sequence[str]) -> list[tuple[RestRequest, tuple[str, ...]]]:
        """The whole list: futures do not take symbols here."""
        return [(RestRequest(self.exchange_info_path, self.exchange_info_weight), ())] if symbols else []

    def _routes_of(self, streams: tuple[str, ...]) -> tuple[Route, ...]:
        public, market = self.endpoints.ws, self.endpoints.second_ws
        if not market or market == public:
            return super()._routes_of(streams)
        books = tuple(stream for stream in streams if _is_public(stream))
        rest = tuple(stream for stream in streams if not _is_public(stream))
        routes = (Route(public, books, diffs(books)), Route(market, rest))
        return tuple(route for route in routes if route.streams)


def _is_public(stream: str) -> bool:
    return stream == "bookTicker" or stream.startswith(("depth", "rpiDepth"))

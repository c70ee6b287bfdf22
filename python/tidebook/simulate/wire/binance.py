"""Binance spot: its texts, byte for byte, and its requests over the socket.

Fields stand in wire order, prices and sizes are strings with eight decimals, times are integers. The texts are built by
formatting, not by a JSON library: the set of fields is closed and a test compares it with recordings.

Source: Binance API documentation, Spot, "WebSocket Streams" (payloads, live subscribing, errors) and "REST API" (order
book, exchange information).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote

from aiohttp import web

from tidebook.simulate.dialect import Dialect, StreamMessage, SymbolTexts, Talk
from tidebook.simulate.limits import VenueLimits
from tidebook.simulate.market import AggregateTrade, Top, Trade
from tidebook.simulate.numerals import padded
from tidebook.simulate.specs import SPECS, SymbolSpec, made_spec, magnitude, split_symbol
from tidebook.simulate.wire.binance_rest import RestApi, RestRules

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from tidebook.simulate.faults import Faults
    from tidebook.simulate.market import DepthDiff, Market, PublicEvent
    from tidebook.simulate.streams import Connection, StreamHub
    from tidebook.simulate.venue import SimulatedVenue

DECIMALS = 8
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
REQUEST_ID_CHARACTERS_MAX = 36

RAW, COMBINED = "raw", "combined"
"""Forms of a connection: payloads alone, or wrapped with the name of their stream."""


class Wire:
    """Texts of one symbol, with times in milliseconds or, on request, in microseconds."""

    def __init__(self, spec: SymbolSpec, *, microseconds: bool = False) -> None:
        self.symbol = spec.symbol
        self.price = padded(spec.price_exp, DECIMALS)
        self.size = padded(spec.size_exp, DECIMALS)
        self._time_divisor = 1 if microseconds else 1_000

    def trade(self, trade: Trade) -> bytes:
        """Payload of `<symbol>@trade`. `M` is always true, a leftover of the venue."""
        time = trade.time_us // self._time_divisor
        maker = "true" if trade.buyer_is_maker else "false"
        return (
            f'{{"e":"trade","E":{time},"s":"{self.symbol}","t":{trade.trade_id},"p":"{self.price(trade.price)}",'
            f'"q":"{self.size(trade.size)}","T":{time},"m":{maker},"M":true}}'
        ).encode()

    def aggregate_trade(self, trade: AggregateTrade) -> bytes:
        """Payload of `<symbol>@aggTrade`."""
        time = trade.time_us // self._time_divisor
        maker = "true" if trade.buyer_is_maker else "false"
        return (
            f'{{"e":"aggTrade","E":{time},"s":"{self.symbol}","a":{trade.aggregate_id},'
            f'"p":"{self.price(trade.price)}","q":"{self.size(trade.size)}","f":{trade.first_trade_id},'
            f'"l":{trade.last_trade_id},"T":{time},"m":{maker},"M":true}}'
        ).encode()

    def book_ticker(self, top: Top) -> bytes:
        """Payload of `<symbol>@bookTicker`; spot sends no time in it."""
        return (
            f'{{"u":{top.update_id},"s":"{self.symbol}","b":"{self.price(top.bid_price)}",'
            f'"B":"{self.size(top.bid_size)}","a":"{self.price(top.ask_price)}","A":"{self.size(top.ask_size)}"}}'
        ).encode()

    def depth(self, diff: DepthDiff) -> bytes:
        """Payload of `<symbol>@depth` and `<symbol>@depth@100ms`."""
        return (
            f'{{"e":"depthUpdate","E":{diff.time_us // self._time_divisor},"s":"{self.symbol}",'
            f'"U":{diff.first_id},"u":{diff.last_id},"b":[{self.levels(diff.bids)}],"a":[{self.levels(diff.asks)}]}}'
        ).encode()

    def snapshot(
        self,
        update_id: int,
        bids: Iterable[tuple[int, int]],
        asks: Iterable[tuple[int, int]],
        time_us: int = 0,  # noqa: ARG002 - futures have times
    ) -> bytes:
        """Body of a REST depth answer; it names no symbol."""
        return (f'{{"lastUpdateId":{update_id},"bids":[{self.levels(bids)}],"asks":[{self.levels(asks)}]}}').encode()

    def levels(self, levels: Iterable[tuple[int, int]]) -> str:
        """The inside of a list of `["price","size"]`."""
        return ",".join([f'["{self.price(price)}","{self.size(size)}"]' for price, size in levels])


class BinanceTexts(SymbolTexts):
    """Streams of one symbol: `btcusdt@trade` and so on."""

    depth_streams: ClassVar[dict[str, str]] = {"100ms": "depth@100ms", "1000ms": "depth"}
    """Cadence -> stream; the rate counts the first."""
    wire_class: ClassVar[type[Wire]] = Wire

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        name = market.spec.symbol.lower()
        self.wire = self.wire_class(market.spec)
        self._trade = f"{name}@trade"
        self._aggregate = f"{name}@aggTrade"
        self._top = f"{name}@bookTicker"
        self._depth = {cadence: f"{name}@{stream}" for cadence, stream in self.depth_streams.items()}
        self.streams = frozenset({self._trade, self._aggregate, self._top, *self._depth.values()})

    def operation(self, events: list[PublicEvent], wanted: Container[str] | None) -> Iterable[StreamMessage]:
        """Trades, aggregate trades and the new top."""
        wire = self.wire
        messages = []
        for event in events:
            if isinstance(event, Top):
                self.count += 1
                if wanted is None or self._top in wanted:
                    messages.append(StreamMessage(self._top, wire.book_ticker(event)))
            elif isinstance(event, Trade):
                self.count += 1
                if wanted is None or self._trade in wanted:
                    messages.append(StreamMessage(self._trade, wire.trade(event)))
            elif wanted is None or self._aggregate in wanted:
                messages.append(StreamMessage(self._aggregate, wire.aggregate_trade(event)))
        return messages

    def flush(self, cadence: str, time_us: int, wanted: Container[str] | None) -> Iterable[StreamMessage]:
        """The depth diff of a cadence."""
        stream = self._depth[cadence]
        if wanted is None or stream in wanted:
            diff = self.market.flush_depth(time_us, cadence)
            messages = [] if diff is None else [StreamMessage(stream, self.wire.depth(diff))]
            changed = diff is not None
        else:
            messages, changed = [], self.market.drop_depth(time_us, cadence)
        if changed and cadence == next(iter(self._depth)):
            self.count += 1
        return messages

    def level(self, price: int, size: int) -> tuple[str, str]:
        """As in a depth message."""
        return self.wire.price(price), self.wire.size(size)

    def trade_text(self, trade: Trade) -> str:
        """As the trade stream has it."""
        return self.wire.trade(trade).decode()


def exchange_info_symbol(spec: SymbolSpec) -> dict[str, object]:
    """One entry of `symbols` in `GET /api/v3/exchangeInfo`."""
    wire = Wire(spec)
    return {
        "symbol": spec.symbol,
        "status": "TRADING",
        "baseAsset": spec.base,
        "baseAssetPrecision": DECIMALS,
        "quoteAsset": spec.quote,
        "quotePrecision": DECIMALS,
        "quoteAssetPrecision": DECIMALS,
        "baseCommissionPrecision": DECIMALS,
        "quoteCommissionPrecision": DECIMALS,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "quoteOrderQtyMarketAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": wire.price(1),
                "maxPrice": wire.price(spec.start_price * 20),
                "tickSize": wire.price(1),
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": wire.size(1),
                "maxQty": wire.size(spec.typical_size * 1_000_000),
                "stepSize": wire.size(1),
            },
        ],
        "permissions": ["SPOT"],
    }


REST_RULES = RestRules(
    prefix="/api/v3",
    depth_limit_default=100,
    depth_weights=((100, 5), (500, 25), (1_000, 50), (5_000, 250)),
    depth_limits=None,
    exchange_info_weight=20,
    rate_limits=(("ORDERS", "SECOND", 10, 100), ("ORDERS", "DAY", 1, 200_000), ("RAW_REQUESTS", "MINUTE", 5, 61_000)),
    exchange_info_symbol=exchange_info_symbol,
)


class BinanceTalk(Talk):
    """Subscriptions by path and by request; two forms of connection."""

    socket_prefixes: ClassVar[tuple[str, ...]] = ("",)
    rest_rules: ClassVar[RestRules] = REST_RULES

    def routes(self) -> list[web.RouteDef]:
        """`/ws`, `/ws/<stream>/<stream>`, `/stream?streams=<a>/<b>` and REST."""

        async def raw(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, RAW, unquote(request.match_info.get("streams", "")))

        async def combined(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, COMBINED, request.query.get("streams", ""))

        sockets = [
            route
            for prefix in self.socket_prefixes
            for route in (
                web.get(f"{prefix}/ws", raw),
                web.get(f"{prefix}/ws/{{streams:.+}}", raw),
                web.get(f"{prefix}/stream", combined),
            )
        ]
        return sockets + self.rest().routes()

    def rest(self) -> RestApi:
        """The REST side."""

        def snapshot(symbol: str, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> bytes:
            texts = self.venue.texts[symbol]
            assert isinstance(texts, BinanceTexts)
            return texts.wire.snapshot(texts.market.update_id, bids, asks, self.venue.now_us)

        return RestApi(self.venue, self.faults, self.limits, self.rest_rules, snapshot)

    async def _serve(self, request: web.Request, form: str, streams: str) -> web.StreamResponse:
        names = [name for name in streams.split("/") if name]
        if len(names) > self.limits.streams_per_connection:
            return web.Response(status=400, text=f"more than {self.limits.streams_per_connection} streams")
        return await self.hub.serve(request, form, names)

    def greet(self, connection: Connection, streams: Iterable[str]) -> None:
        """The streams of the path."""
        for stream in streams:
            self.hub.subscribe(connection, stream)

    def payload(self, message: StreamMessage, connection: Connection) -> bytes:
        """Wrapped or not."""
        if connection.form == COMBINED:
            return b'{"stream":"%b","data":%b}' % (message.stream.encode(), message.body)
        return message.body

    def shutdown_notice(self, time_us: int) -> StreamMessage | None:
        """`serverShutdown`."""
        return StreamMessage("!serverShutdown", b'{"e":"serverShutdown","E":%d}' % (time_us // 1_000))

    def too_many(self, connection: Connection, text: str) -> None:  # noqa: ARG002
        """The connection is closed."""
        self.hub.close(connection, 1008, b"Too many requests")

    def answer(self, connection: Connection, text: str) -> None:
        """One request, after doing it. Errors carry a code and never close the socket."""
        try:
            request = json.loads(text)
        except ValueError as error:
            answer: dict[str, Any] = {"code": 3, "msg": f"Invalid JSON: {error}"}
        else:
            answer = self._handle(connection, request)
        self.hub.say(connection, json.dumps(answer, separators=(",", ":")).encode())

    def _handle(self, connection: Connection, request: Any) -> dict[str, Any]:
        request_id = request.get("id") if isinstance(request, dict) else None

        def invalid(why: str) -> dict[str, Any]:
            return {"code": 2, "msg": f"Invalid request: {why}", "id": request_id}

        if not isinstance(request, dict):
            return invalid("expected an object")
        if isinstance(request_id, str) and len(request_id) > REQUEST_ID_CHARACTERS_MAX:
            return invalid("request ID too long")
        if request_id is not None and not isinstance(request_id, int | str):
            return invalid("request ID must be an integer, a string or null")
        params = request.get("params", [])
        match request.get("method"):
            case "LIST_SUBSCRIPTIONS":
                return {"result": list(connection.streams), "id": request_id}
            case "GET_PROPERTY" if params == ["combined"]:
                return {"result": connection.form == COMBINED, "id": request_id}
            case "SET_PROPERTY" if params in (["combined", True], ["combined", False]):
                connection.form = COMBINED if params[1] else RAW
                return {"result": None, "id": request_id}
            case "GET_PROPERTY" | "SET_PROPERTY":
                return invalid("unknown property")
            case "SUBSCRIBE" | "UNSUBSCRIBE" as method:
                if not isinstance(params, list) or not params or not all(isinstance(name, str) for name in params):
                    return invalid("params must be a list of stream names")
                bound = self.limits.streams_per_connection
                if method == "SUBSCRIBE" and len(connection.streams.keys() | set(params)) > bound:
                    return invalid(f"more than {bound} streams")
                for stream in params:
                    (self.hub.subscribe if method == "SUBSCRIBE" else self.hub.unsubscribe)(connection, stream)
                return {"result": None, "id": request_id}
            case method:
                return invalid(f"unknown variant `{method}`, expected one of {', '.join(METHODS)}")


class Binance(Dialect):
    """Spot."""

    name = "binance"
    cadences: ClassVar[dict[str, int]] = {"100ms": 100_000, "1000ms": 1_000_000}
    book_cadences: ClassVar[tuple[str, ...]] = ("100ms", "1000ms")
    limits = VenueLimits()
    default_symbols = ("BTCUSDT", "ETHUSDT")
    symbol_form = "{}USDT"
    subscribes_by_path = True
    paths_shown = ("/api/v3/exchangeInfo", "/stream")

    def spec(self, symbol: str) -> SymbolSpec:
        """That of the table, or one with about five digits of price."""
        known = SPECS.get(symbol)
        if known is not None:
            return known
        base, quote = split_symbol(symbol, "", self.name)
        digits = magnitude(base, quote)
        return made_spec(symbol, base, quote, max(1, min(DECIMALS, 4 - digits)), max(0, min(5, 1 + digits)))

    def stand_in(self, request: str, answers: Sequence[bytes]) -> list[bytes]:  # noqa: ARG002
        """That it was done: recorders leave answers out."""
        try:
            request_id = json.loads(request)["id"]
        except (ValueError, KeyError, TypeError):
            return []
        return [json.dumps({"result": None, "id": request_id}, separators=(",", ":")).encode()]

    def texts(self, market: Market) -> BinanceTexts:
        """The streams of a symbol."""
        return BinanceTexts(market)

    def talk(self, venue: SimulatedVenue, hub: StreamHub, faults: Faults, limits: VenueLimits) -> BinanceTalk:
        """Binance's side of the conversation."""
        return BinanceTalk(venue, hub, faults, limits)


BINANCE = Binance()

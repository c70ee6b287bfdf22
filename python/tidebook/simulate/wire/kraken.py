"""Kraken spot, WebSocket v2: books with a checksum at five depths, trades, tickers, instruments.

There is no sequence number; every book message carries the CRC32 of its ten best levels. A subscriber of a depth sees
changes inside it only: a level that comes in because another left is part of the update, one that is pushed out is not
removed by any message. Prices and sizes are bare JSON numbers with the pair's full precision.

Source: Kraken API documentation, "Spot WebSockets (v2)": book, trade, ticker, instrument, status, heartbeat, ping,
subscribe, unsubscribe; "Calculate book checksum". Field order and spelling: recordings of 2026-08-01 and 02.
"""

from __future__ import annotations

import json
import zlib
from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from aiohttp import web

from tidebook.simulate.book import BUY, SELL
from tidebook.simulate.day import Day
from tidebook.simulate.dialect import Dialect, StreamMessage, SymbolTexts, Talk
from tidebook.simulate.faults import FaultKind
from tidebook.simulate.limits import NEVER_S, VenueLimits
from tidebook.simulate.market import Trade
from tidebook.simulate.numerals import padded, rfc3339
from tidebook.simulate.specs import SymbolSpec, made_spec, magnitude, split_symbol

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from tidebook.simulate.faults import Faults
    from tidebook.simulate.market import DepthDiff, Market, PublicEvent
    from tidebook.simulate.streams import Connection, StreamHub
    from tidebook.simulate.venue import SimulatedVenue

DEPTHS = (10, 25, 100, 500, 1_000)
DEPTH_DEFAULT = 10
CHECKSUM_LEVELS = 10
SIZE_DECIMALS = 8
TRADES_IN_SNAPSHOT = 50
CHANNELS = ("book", "trade", "ticker", "instrument")

# Below every key of a side that has fewer levels than the depth.
UNBOUNDED = -(1 << 62)

HEARTBEAT = b'{"channel":"heartbeat"}'


class KrakenTexts(SymbolTexts):
    """Streams of one pair: `book-<depth>:<pair>`, `trade:<pair>`, `ticker:<pair>`, `ticker-bbo:<pair>`."""

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        spec = market.spec
        self._symbol = spec.symbol
        self._price = padded(spec.price_exp)
        self._size = padded(spec.size_exp)
        self._trade_stream = f"trade:{spec.symbol}"
        self._ticker_stream = f"ticker:{spec.symbol}"
        self._bbo_stream = f"ticker-bbo:{spec.symbol}"
        self._books = {f"book-{depth}:{spec.symbol}": depth for depth in DEPTHS}
        self.streams = frozenset({self._trade_stream, self._ticker_stream, self._bbo_stream, *self._books})
        # Depth -> the keys of its worst levels, bid and ask, as its subscribers know them.
        self._bounds = {depth: (self._bound(BUY, depth), self._bound(SELL, depth)) for depth in DEPTHS}
        self._day = Day(spec)

    def operation(self, events: list[PublicEvent], wanted: Container[str] | None) -> Iterable[StreamMessage]:
        """One message with all trades of an order, and the ticker."""
        trades = [event for event in events if isinstance(event, Trade)]
        messages = []
        if trades:
            self.count += 1
            for trade in trades:
                self._day.add(trade)
            if wanted is None or self._trade_stream in wanted:
                messages.append(StreamMessage(self._trade_stream, self._trades("update", trades)))
            if wanted is None or self._ticker_stream in wanted:
                messages.append(StreamMessage(self._ticker_stream, self.ticker("update", trades[-1].time_us)))
        if wanted is None or self._bbo_stream in wanted:
            messages.append(StreamMessage(self._bbo_stream, self.ticker("update", 0)))
        return messages

    def flush(self, cadence: str, time_us: int, wanted: Container[str] | None) -> Iterable[StreamMessage]:
        """The update of each depth that has one."""
        if wanted is None:
            books = list(self._books.items())
        else:
            books = [(stream, depth) for stream, depth in self._books.items() if stream in wanted]
        if not books:
            self.count += self.market.drop_depth(time_us, cadence)
            return ()
        diff = self.market.flush_depth(time_us, cadence)
        if diff is None:
            return ()
        self.count += 1
        messages = []
        tail = b""
        for stream, depth in books:
            bids, asks = self._visible(diff, depth)
            if bids or asks:
                tail = tail or self._tail(time_us)
                head = f'{{"channel":"book","type":"update","data":[{{"symbol":"{self._symbol}","bids":[{self._levels(bids)}],"asks":[{self._levels(asks)}]'
                messages.append(StreamMessage(stream, head.encode() + tail))
        return messages

    def level(self, price: int, size: int) -> tuple[str, str]:
        """With the pair's precision."""
        return self._price(price), self._size(size)

    def trade_text(self, trade: Trade) -> str:
        """An element of the trade channel's `data`."""
        side = "sell" if trade.buyer_is_maker else "buy"
        return (
            f'{{"symbol":"{self._symbol}","side":"{side}","price":{self._price(trade.price)},"qty":{self._size(trade.size)},'
            f'"ord_type":"market","trade_id":{trade.trade_id},"timestamp":"{rfc3339(trade.time_us)}"}}'
        )

    def book_snapshot(self, depth: int, time_us: int) -> StreamMessage:
        """The book as a new subscriber of this depth gets it. Nothing may be pending."""
        bids, asks = self.market.levels(depth)
        self._bounds[depth] = (self._bound(BUY, depth), self._bound(SELL, depth))
        head = f'{{"channel":"book","type":"snapshot","data":[{{"symbol":"{self._symbol}","bids":[{self._levels(bids)}],"asks":[{self._levels(asks)}]'
        return StreamMessage(f"book-{depth}:{self._symbol}", head.encode() + self._tail(time_us))

    def trade_snapshot(self) -> StreamMessage:
        """The last trades, oldest first."""
        newest = list(islice(reversed(self.market.trades), TRADES_IN_SNAPSHOT))
        return StreamMessage(self._trade_stream, self._trades("snapshot", newest[::-1]))

    def ticker(self, kind: str, time_us: int) -> bytes:  # noqa: ARG002 - the channel carries no time
        """Best levels and the day so far."""
        bids, asks = self.market.levels(1)
        day, price, size = self._day, self._price, self._size
        (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
        change = day.change
        sign = "-" if change < 0 else ""
        return (
            f'{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{self._symbol}","bid":{price(bid)},'
            f'"bid_qty":{size(bid_size)},"ask":{price(ask)},"ask_qty":{size(ask_size)},"last":{price(day.last)},'
            f'"volume":{size(day.volume)},"vwap":{price(day.vwap)},"low":{price(day.low)},"high":{price(day.high)},'
            f'"change":{sign}{price(abs(change))},"change_pct":{100 * change / day.opened:.2f}}}]}}'
        ).encode()

    def _visible(self, diff: DepthDiff, depth: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """What subscribers of a depth must hear of a diff, and the new bounds of what they know."""
        old_bid, old_ask = self._bounds[depth]
        new_bid, new_ask = self._bounds[depth] = (self._bound(BUY, depth), self._bound(SELL, depth))
        return (
            self._visible_side(BUY, diff.bids, old_bid, new_bid),
            self._visible_side(SELL, diff.asks, old_ask, new_ask),
        )

    def _visible_side(self, side: int, touched: list[tuple[int, int]], old: int, new: int) -> list[tuple[int, int]]:
        # A level that vanished beyond the old bound was never known.
        visible = [
            (price, size) for price, size in touched if price * side >= new and (size > 0 or price * side >= old)
        ]
        if new < old:
            own = self.market.book.sides[side]
            first, end = bisect_left(own.keys, new), bisect_left(own.keys, old)
            if end > first:
                named = {price for price, _ in visible}
                came_in = (key * side for key in own.keys[first:end])
                visible += [(price, own.totals[price]) for price in came_in if price not in named]
        return visible

    def _bound(self, side: int, depth: int) -> int:
        keys = self.market.book.sides[side].keys
        return keys[-depth] if len(keys) >= depth else UNBOUNDED

    def _levels(self, levels: list[tuple[int, int]]) -> str:
        price, size = self._price, self._size
        return ",".join([f'{{"price":{price(level)},"qty":{size(total)}}}' for level, total in levels])

    def _tail(self, time_us: int) -> bytes:
        return b',"checksum":%d,"timestamp":"%b"}]}' % (self._checksum(), rfc3339(time_us).encode())

    def _checksum(self) -> int:
        """Digits without point and leading zeros are the integers themselves, because texts have full precision."""
        bids, asks = self.market.levels(CHECKSUM_LEVELS)
        return zlib.crc32("".join([f"{price}{size}" for price, size in asks + bids]).encode())

    def _trades(self, kind: str, trades: list[Trade]) -> bytes:
        texts = ",".join([self.trade_text(trade) for trade in trades])
        return f'{{"channel":"trade","type":"{kind}","data":[{texts}]}}'.encode()


class KrakenTalk(Talk):
    """Acknowledgements one a symbol, snapshots, a heartbeat each second once something was asked for."""

    def __init__(self, venue: SimulatedVenue, hub: StreamHub, faults: Faults, limits: VenueLimits) -> None:
        super().__init__(venue, hub, faults, limits)
        self._texts: dict[str, KrakenTexts] = {
            symbol: texts for symbol, texts in venue.texts.items() if isinstance(texts, KrakenTexts)
        }

    def routes(self) -> list[web.RouteDef]:
        """The socket and what REST answers without a key."""

        async def socket(request: web.Request) -> web.StreamResponse:
            return await self.hub.serve(request)

        return [
            web.get("/v2", socket),
            web.get("/0/public/Time", self._time),
            web.get("/0/public/SystemStatus", self._system_status),
        ]

    def greet(self, connection: Connection, streams: Iterable[str]) -> None:  # noqa: ARG002
        """The status frame; ids of connections exceed what a float can hold."""
        number = 7_204_881_492_680_171_000 + connection.number
        self.hub.say(connection, _status("online", number))

    def second(self, connection: Connection) -> None:
        """A heartbeat."""
        if connection.subscribed:
            self.hub.say(connection, HEARTBEAT)

    def shutdown_notice(self, time_us: int) -> StreamMessage | None:  # noqa: ARG002
        """A status that is not online."""
        return StreamMessage("status", _status("maintenance", 7_204_881_492_680_171_000))

    def too_many(self, connection: Connection, text: str) -> None:
        """The socket stays open."""
        request = _parsed(text)
        self._refuse(connection, request if isinstance(request, dict) else {}, "Exceeded msg rate")

    def answer(self, connection: Connection, text: str) -> None:
        """`subscribe`, `unsubscribe`, `ping`."""
        request = _parsed(text)
        if not isinstance(request, dict):
            self._refuse(connection, {}, "Malformed request")
            return
        match request.get("method"):
            case "ping":
                self._say(connection, {"method": "pong", **_id_of(request), **self._times()})
            case "subscribe" | "unsubscribe":
                self._subscription(connection, request)
            case _:
                self._refuse(connection, request, "Unsupported method")

    def _subscription(self, connection: Connection, request: dict[str, Any]) -> None:
        """The fields of `params` in turn; each symbol is accepted or refused by itself."""
        params = request.get("params")
        channel = params.get("channel") if isinstance(params, dict) else None
        if not isinstance(params, dict) or channel not in CHANNELS:
            self._refuse(connection, request, f"Unsupported channel {channel}" if channel else "Channel field required")
            return
        snapshot = params.get("snapshot", True)
        if channel == "instrument":
            self._instrument(connection, request, snapshot=snapshot is True)
            return
        symbols = params.get("symbol")
        if not isinstance(symbols, list) or not symbols:
            self._refuse(connection, request, "Symbol(s) field required")
            return
        depth = params.get("depth", DEPTH_DEFAULT)
        if channel == "book" and (isinstance(depth, bool) or depth not in DEPTHS):
            self._refuse(connection, request, "Subscription book depth not supported")
            return
        stream = f"book-{depth}" if channel == "book" else channel
        if channel == "ticker" and params.get("event_trigger") == "bbo":
            stream = "ticker-bbo"
        result = {"channel": channel, **({"depth": depth} if channel == "book" else {})}
        for symbol in symbols:
            if symbol not in self._texts:
                self._refuse(connection, request, f"Currency pair not supported {symbol}", symbol)
            elif request["method"] == "subscribe":
                self._subscribe(connection, request, result, f"{stream}:{symbol}", symbol, snapshot=snapshot is True)
            elif self.hub.unsubscribe(connection, f"{stream}:{symbol}"):
                self._accept(connection, request, {**result, "symbol": symbol})
            else:
                self._refuse(connection, request, "Subscription Not Found", symbol)

    def _subscribe(
        self,
        connection: Connection,
        request: dict[str, Any],
        result: dict[str, Any],
        stream: str,
        symbol: str,
        *,
        snapshot: bool,
    ) -> None:
        channel = result["channel"]
        known = (name.partition(":") for name in connection.streams)
        if any(kind.partition("-")[0] == channel and own == symbol for kind, _, own in known):
            self._refuse(connection, request, "Already subscribed", symbol)
            return
        for message in self.venue.settle(symbol):
            self.hub.deliver(message)
        self.hub.subscribe(connection, stream)
        self._accept(connection, request, {**result, "snapshot": snapshot, "symbol": symbol})
        texts, now_us = self._texts[symbol], self.venue.now_us
        if channel == "book":
            # Also without a snapshot: it says from where on updates are seen.
            message = texts.book_snapshot(result["depth"], now_us)
        elif channel == "trade":
            message = texts.trade_snapshot()
        else:
            message = StreamMessage(stream, texts.ticker("snapshot", now_us))
        if snapshot:
            self.hub.deliver_to(connection, message)

    def _instrument(self, connection: Connection, request: dict[str, Any], *, snapshot: bool) -> None:
        if request["method"] == "unsubscribe":
            if self.hub.unsubscribe(connection, "instrument"):
                self._accept(connection, request, {"channel": "instrument"})
            else:
                self._refuse(connection, request, "Subscription Not Found")
            return
        if not self.hub.subscribe(connection, "instrument"):
            self._refuse(connection, request, "Already subscribed")
            return
        self._accept(connection, request, {"channel": "instrument", "snapshot": snapshot})
        if snapshot:
            pairs = [instrument_pair(market.spec) for market in self.venue.markets.values()]
            names = sorted({name for pair in pairs for name in (pair["base"], pair["quote"])})
            data = {"assets": [instrument_asset(name) for name in names], "pairs": pairs}
            body = _text({"channel": "instrument", "type": "snapshot", "data": data})
            self.hub.deliver_to(connection, StreamMessage("instrument", body))

    def _accept(self, connection: Connection, request: dict[str, Any], result: dict[str, Any]) -> None:
        accepted = {"method": request["method"], **_id_of(request), "result": result, "success": True, **self._times()}
        self._say(connection, accepted)

    def _refuse(self, connection: Connection, request: dict[str, Any], error: str, symbol: str | None = None) -> None:
        refused = {"error": error, "method": str(request.get("method", "")), **_id_of(request), "success": False}
        self._say(connection, {**refused, **({} if symbol is None else {"symbol": symbol}), **self._times()})

    def _times(self) -> dict[str, str]:
        now_us = self.venue.now_us
        return {"time_in": rfc3339(now_us), "time_out": rfc3339(now_us + 40)}

    def _say(self, connection: Connection, answer: dict[str, Any]) -> None:
        self.hub.say(connection, _text(answer))

    async def _time(self, _request: web.Request) -> web.Response:
        return self._rest({"unixtime": self.venue.now_us // 1_000_000, "rfc1123": ""})

    async def _system_status(self, _request: web.Request) -> web.Response:
        return self._rest({"status": "online", "timestamp": rfc3339(self.venue.now_us)})

    def _rest(self, result: dict[str, Any]) -> web.Response:
        fault = self.trouble_of_request()
        if fault is None:
            return web.json_response({"error": [], "result": result})
        # The venue says so in a good answer.
        error = "EAPI:Rate limit exceeded" if fault.status in (418, 429) else "EService:Unavailable"
        return web.json_response({"error": [error]})


class Kraken(Dialect):
    """Every change of a book is sent at once."""

    name = "kraken"
    cadences: ClassVar[dict[str, int]] = {"book": 0}
    book_cadences = ("book",)
    limits = VenueLimits(ping_interval_s=NEVER_S, connection_lifetime_s=NEVER_S, incoming_messages_per_s=100)
    special_faults = frozenset({FaultKind.CHECKSUM})
    default_symbols = ("BTC/USD", "ETH/USD")
    symbol_form = "{}/USD"
    paths_shown = ("/0/public/SystemStatus", "/v2")

    def spec(self, symbol: str) -> SymbolSpec:
        """About six digits of price and eight decimals of size, as most pairs have."""
        base, quote = split_symbol(symbol, "/", self.name)
        return made_spec(symbol, base, quote, max(1, min(8, 5 - magnitude(base, quote))), SIZE_DECIMALS)

    def is_answer(self, body: bytes) -> bool:
        """An acknowledgement or a refusal."""
        return body.startswith((b'{"method":"subscribe"', b'{"method":"unsubscribe"', b'{"error"'))

    def stand_in(self, request: str, answers: Sequence[bytes]) -> list[bytes]:
        """Of channels that were not recorded: that they are subscribed; nothing will come."""
        asked = _parsed(request)
        params = asked.get("params") if isinstance(asked, dict) else None
        if not isinstance(asked, dict) or not isinstance(params, dict):
            return []
        recorded = {(_parsed(answer.decode()) or {}).get("result", {}).get("channel") for answer in answers}
        if params.get("channel") in recorded:
            return []
        result = {"channel": params.get("channel"), "snapshot": False}
        symbols = params.get("symbol", [None])
        times = {"time_in": rfc3339(0), "time_out": rfc3339(0)}
        return [
            _text(
                {
                    "method": asked.get("method"),
                    **_id_of(asked),
                    "result": result if symbol is None else {**result, "symbol": symbol},
                    "success": True,
                    **times,
                }
            )
            for symbol in symbols
        ]

    def texts(self, market: Market) -> KrakenTexts:
        """The streams of a pair."""
        return KrakenTexts(market)

    def talk(self, venue: SimulatedVenue, hub: StreamHub, faults: Faults, limits: VenueLimits) -> KrakenTalk:
        """Kraken's side of the conversation."""
        return KrakenTalk(venue, hub, faults, limits)


KRAKEN = Kraken()


def instrument_asset(name: str) -> dict[str, Any]:
    """One entry of `assets` in the instrument channel."""
    return {
        "id": name,
        "status": "enabled",
        "precision": 10,
        "precision_display": 5,
        "borrowable": True,
        "collateral_value": 1.0,
        "margin_rate": 0.02,
    }


def instrument_pair(spec: SymbolSpec) -> dict[str, Any]:
    """One entry of `pairs` in the instrument channel; increments are spelled with exponents, as 1e-08."""
    tick, lot = 10.0**-spec.price_exp, 10.0**-spec.size_exp
    return {
        "symbol": spec.symbol,
        "base": spec.base,
        "quote": spec.quote,
        "status": "online",
        "qty_precision": spec.size_exp,
        "qty_increment": lot,
        "price_precision": spec.price_exp,
        "cost_precision": 5,
        "marginable": False,
        "has_index": True,
        "cost_min": 0.5,
        "tick_size": tick,
        "price_increment": tick,
        "qty_min": lot * 10,
    }


def _status(system: str, connection_id: int) -> bytes:
    data = [{"version": "2.0.10", "system": system, "api_version": "v2", "connection_id": connection_id}]
    return _text({"channel": "status", "type": "update", "data": data})


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _id_of(request: dict[str, Any]) -> dict[str, Any]:
    return {"req_id": request["req_id"]} if "req_id" in request else {}


def _text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

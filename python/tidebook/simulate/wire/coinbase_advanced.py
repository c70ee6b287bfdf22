"""Coinbase Advanced Trade: every message of a connection is numbered, over all channels, from 0.

Books and trades come in batches. Numbers are written without zeros at their end, "0" removes a level. A snapshot is the
whole book in one frame. A connection that subscribes to nothing in five seconds is closed, and one on which nothing
happens for a minute: heartbeats are a channel of their own.

Source: Coinbase Advanced Trade documentation, "WebSocket overview" and "WebSocket channels"; "List public products".
Field order, spelling and batching: recording of 2026-08-09.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from aiohttp import web

from tidebook.simulate.day import Day
from tidebook.simulate.dialect import Dialect, NumberedTalk, StreamMessage, SymbolTexts
from tidebook.simulate.faults import FaultKind, refusal
from tidebook.simulate.limits import NEVER_S, VenueLimits
from tidebook.simulate.market import Top, Trade
from tidebook.simulate.numerals import padded, rfc3339_ns, rfc3339_trimmed, trimmed
from tidebook.simulate.wire.coinbase_names import DEFAULT_PRODUCTS, json_text, parsed, product_spec

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from tidebook.simulate.faults import Faults
    from tidebook.simulate.market import DepthDiff, Market, PublicEvent
    from tidebook.simulate.specs import SymbolSpec
    from tidebook.simulate.streams import Connection, StreamHub
    from tidebook.simulate.venue import SimulatedVenue

TRADES_IN_SNAPSHOT = 100
HEARTBEATS = "heartbeats"
CHANNELS = ("level2", "market_trades", "ticker", "ticker_batch", "candles", "status", HEARTBEATS)
FED_CHANNELS = ("level2", "market_trades", "ticker")
"""The others are accepted and stay silent."""

NUMBER = NumberedTalk.NUMBER.decode()


class AdvancedTexts(SymbolTexts):
    """Streams of one product: `level2:<product>`, `market_trades:<product>`, `ticker:<product>`."""

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        spec = market.spec
        self._product = spec.symbol
        self._price = trimmed(spec.price_exp)
        self._size = trimmed(spec.size_exp)
        self._book_stream, self._trade_stream, self._ticker_stream = (f"{name}:{spec.symbol}" for name in FED_CHANNELS)
        self.streams = frozenset({self._book_stream, self._trade_stream, self._ticker_stream})
        self._pending: list[Trade] = []
        self._top_moved = False
        self._day = Day(spec)

    def operation(self, events: list[PublicEvent], wanted: Container[str] | None) -> Iterable[StreamMessage]:  # noqa: ARG002
        """Nothing at once."""
        for event in events:
            if isinstance(event, Trade):
                self._pending.append(event)
                self._day.add(event)
            elif isinstance(event, Top):
                self._top_moved = True
        return ()

    def flush(self, cadence: str, time_us: int, wanted: Container[str] | None) -> Iterable[StreamMessage]:
        """A batch of levels, or of trades with the ticker."""
        return self._flush_book(time_us, wanted) if cadence == "level2" else self._flush_trades(time_us, wanted)

    def _flush_book(self, time_us: int, wanted: Container[str] | None) -> Iterable[StreamMessage]:
        if wanted is not None and self._book_stream not in wanted:
            self.count += self.market.drop_depth(time_us, "level2")
            return ()
        diff = self.market.flush_depth(time_us, "level2")
        if diff is None:
            return ()
        self.count += 1
        return (StreamMessage(self._book_stream, self._book("update", diff)),)

    def _flush_trades(self, time_us: int, wanted: Container[str] | None) -> Iterable[StreamMessage]:
        trades, self._pending = self._pending, []
        top_moved, self._top_moved = self._top_moved, False
        messages = []
        if trades:
            self.count += 1
            if wanted is None or self._trade_stream in wanted:
                messages.append(StreamMessage(self._trade_stream, self._trades("update", time_us, trades[::-1])))
        if (trades or top_moved) and (wanted is None or self._ticker_stream in wanted):
            messages.append(self.ticker("update", time_us))
        return messages

    def level(self, price: int, size: int) -> tuple[str, str]:
        """Without zeros at the end."""
        return self._price(price), self._size(size)

    def trade_text(self, trade: Trade) -> str:
        """An element of `trades`; its side is the maker's."""
        side = "BUY" if trade.buyer_is_maker else "SELL"
        return (
            f'{{"product_id":"{self._product}","trade_id":"{trade.trade_id}","price":"{self._price(trade.price)}",'
            f'"size":"{self._size(trade.size)}","time":"{rfc3339_trimmed(trade.time_us)}","side":"{side}"}}'
        )

    def book_snapshot(self, diff: DepthDiff) -> StreamMessage:
        """The whole book. Nothing may be pending."""
        return StreamMessage(self._book_stream, self._book("snapshot", diff))

    def trade_snapshot(self, time_us: int) -> StreamMessage:
        """The last trades, newest first."""
        newest = list(islice(reversed(self.market.trades), TRADES_IN_SNAPSHOT))
        return StreamMessage(self._trade_stream, self._trades("snapshot", time_us, newest))

    def ticker(self, kind: str, time_us: int) -> StreamMessage:
        """Last price, best levels and the day."""
        bids, asks = self.market.levels(1)
        day, price, size = self._day, self._price, self._size
        (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
        ticker = (
            f'{{"type":"ticker","product_id":"{self._product}","price":"{price(day.last)}","volume_24_h":"{size(day.volume)}",'
            f'"low_24_h":"{price(day.low)}","high_24_h":"{price(day.high)}","low_52_w":"{price(day.low)}",'
            f'"high_52_w":"{price(day.high)}","price_percent_chg_24_h":"{100 * day.change / day.opened:.14f}",'
            f'"best_bid":"{price(bid)}","best_ask":"{price(ask)}","best_bid_quantity":"{size(bid_size)}",'
            f'"best_ask_quantity":"{size(ask_size)}"}}'
        )
        return StreamMessage(
            self._ticker_stream, envelope("ticker", time_us, f'{{"type":"{kind}","tickers":[{ticker}]}}')
        )

    def _book(self, kind: str, diff: DepthDiff) -> bytes:
        price, size = self._price, self._size
        time = rfc3339_trimmed(diff.time_us)
        bid, offer = (f'{{"side":"{side}","event_time":"{time}","price_level":"' for side in ("bid", "offer"))
        updates = [f'{bid}{price(level)}","new_quantity":"{size(total)}"}}' for level, total in diff.bids]
        updates += [f'{offer}{price(level)}","new_quantity":"{size(total)}"}}' for level, total in diff.asks]
        event = f'{{"type":"{kind}","product_id":"{self._product}","updates":[{",".join(updates)}]}}'
        return envelope("l2_data", diff.time_us, event)

    def _trades(self, kind: str, time_us: int, trades: list[Trade]) -> bytes:
        texts = ",".join([self.trade_text(trade) for trade in trades])
        return envelope("market_trades", time_us, f'{{"type":"{kind}","trades":[{texts}]}}')


def envelope(channel: str, time_us: int, event: str) -> bytes:
    """A message with a place for its number; it leaves a quarter of a millisecond after what it tells of."""
    return (
        f'{{"channel":"{channel}","timestamp":"{rfc3339_ns(time_us, 250_113)}","sequence_num":{NUMBER},"events":[{event}]}}'
    ).encode()


class AdvancedTalk(NumberedTalk):
    """One channel a request; its answer tells all subscriptions of the connection."""

    def __init__(self, venue: SimulatedVenue, hub: StreamHub, faults: Faults, limits: VenueLimits) -> None:
        super().__init__(venue, hub, faults, limits)
        self._texts: dict[str, AdvancedTexts] = {
            symbol: texts for symbol, texts in venue.texts.items() if isinstance(texts, AdvancedTexts)
        }
        self._started_us = venue.now_us

    def routes(self) -> list[web.RouteDef]:
        """The socket and the public products."""

        async def socket(request: web.Request) -> web.StreamResponse:
            return await self.hub.serve(request)

        products = "/api/v3/brokerage/market/products"
        return [
            web.get("/", socket),
            web.get(products, self._products),
            web.get(f"{products}/{{product}}", self._product),
            web.get("/api/v3/brokerage/time", self._time),
        ]

    def second(self, connection: Connection) -> None:
        """A heartbeat, for those who asked for it."""
        if HEARTBEATS not in connection.streams:
            return
        now_us, counter = self.venue.now_us, connection.notes.get(HEARTBEATS, 0)
        connection.notes[HEARTBEATS] = counter + 1
        date, clock = rfc3339_ns(now_us).rstrip("Z").split("T")
        since = (now_us - self._started_us) / 1e6
        event = f'{{"current_time":"{date} {clock} +0000 UTC m=+{since:.9f}","heartbeat_counter":{counter}}}'
        self.hub.deliver_to(connection, StreamMessage(HEARTBEATS, envelope(HEARTBEATS, now_us, event)))

    def too_many(self, connection: Connection, text: str) -> None:  # noqa: ARG002
        """The frame is refused."""
        self._refuse(connection, "rate limit exceeded")

    def answer(self, connection: Connection, text: str) -> None:
        """`subscribe` and `unsubscribe`."""
        request = parsed(text)
        if request is None:
            self._refuse(connection, "could not parse request")
            return
        kind, channel = request.get("type"), request.get("channel")
        products = request.get("product_ids", [])
        if kind not in ("subscribe", "unsubscribe"):
            self._refuse(connection, f"unknown type {kind}")
        elif channel not in CHANNELS:
            self._refuse(connection, f"channel {channel} is not supported")
        elif channel == HEARTBEATS:
            (self.hub.subscribe if kind == "subscribe" else self.hub.unsubscribe)(connection, HEARTBEATS)
            self._tell(connection)
        elif not isinstance(products, list) or not products:
            self._refuse(connection, "product_ids must name at least one product")
        else:
            known = [self._known(product) for product in products]
            if None in known:
                self._refuse(connection, f"{products[known.index(None)]} is not a valid product")
                return
            for product in known:
                assert product is not None
                if kind == "unsubscribe":
                    self.hub.unsubscribe(connection, f"{channel}:{product}")
                else:
                    self._subscribe(connection, str(channel), product)
            self._tell(connection)

    def _known(self, product: Any) -> str | None:
        """Its own name, or that of the dollar product that stands for one in USDC."""
        if product in self._texts:
            return str(product)
        dollars = str(product).removesuffix("C")
        return dollars if str(product).endswith("-USDC") and dollars in self._texts else None

    def _subscribe(self, connection: Connection, channel: str, product: str) -> None:
        for message in self.venue.settle(product):
            self.hub.deliver(message)
        if not self.hub.subscribe(connection, f"{channel}:{product}"):
            return
        texts, now_us = self._texts[product], self.venue.now_us
        if channel == "level2":
            self.hub.deliver_to(connection, texts.book_snapshot(texts.market.whole(now_us)))
        elif channel == "market_trades":
            self.hub.deliver_to(connection, texts.trade_snapshot(now_us))
        elif channel == "ticker":
            self.hub.deliver_to(connection, texts.ticker("snapshot", now_us))

    def _tell(self, connection: Connection) -> None:
        """All subscriptions of the connection."""
        channels: dict[str, list[str]] = {}
        for stream in connection.streams:
            channel, _, product = stream.partition(":")
            channels.setdefault(channel, []).append(product or channel)
        told = json_text({"subscriptions": dict(sorted(channels.items()))}).decode()
        self.hub.deliver_to(
            connection, StreamMessage("subscriptions", envelope("subscriptions", self.venue.now_us, told))
        )

    def _refuse(self, connection: Connection, why: str) -> None:
        self.hub.say(connection, json_text({"type": "error", "message": why}))

    async def _products(self, request: web.Request) -> web.Response:
        wanted = request.query.getall("product_ids", [])
        markets = self.venue.markets.values()
        chosen = [product_entry(market.spec) for market in markets if not wanted or market.spec.symbol in wanted]
        pages = {"prev_cursor": "", "next_cursor": "", "has_next": False, "has_prev": False}
        return self._rest({"products": chosen, "num_products": len(chosen), "pagination": pages})

    async def _product(self, request: web.Request) -> web.Response:
        market = self.venue.markets.get(request.match_info["product"])
        if market is None:
            return web.json_response({"error": "NOT_FOUND", "message": "valid product_id is required"}, status=404)
        return self._rest(product_entry(market.spec))

    async def _time(self, _request: web.Request) -> web.Response:
        now_us = self.venue.now_us
        second = now_us // 1_000_000
        return self._rest(
            {
                "iso": rfc3339_trimmed(second * 1_000_000),
                "epochSeconds": str(second),
                "epochMillis": str(now_us // 1_000),
            }
        )

    def _rest(self, result: dict[str, Any]) -> web.Response:
        trouble = self.trouble_of_request()
        if trouble is None:
            return web.json_response(result)
        return refusal(trouble, {"error": "rate_limit_exceeded", "message": "too many requests"})


class CoinbaseAdvanced(Dialect):
    """Advanced Trade."""

    name = "coinbase-advanced"
    cadences: ClassVar[dict[str, int]] = {"level2": 50_000, "trades": 100_000}
    book_cadences = ("level2",)
    limits = VenueLimits(
        ping_interval_s=NEVER_S,
        connection_lifetime_s=NEVER_S,
        subscribe_within_s=5.0,
        quiet_s=75.0,
        incoming_messages_per_s=8,
    )
    special_faults = frozenset({FaultKind.SEQUENCE})
    default_symbols = DEFAULT_PRODUCTS
    symbol_form = "{}-USD"
    paths_shown = ("/api/v3/brokerage/market/products", "/")

    def is_answer(self, body: bytes) -> bool:
        """What tells all subscriptions."""
        return body.startswith(b'{"channel":"subscriptions"')

    def spec(self, symbol: str) -> SymbolSpec:
        """As on all of Coinbase."""
        return product_spec(symbol, self.name)

    def texts(self, market: Market) -> AdvancedTexts:
        """The streams of a product."""
        return AdvancedTexts(market)

    def talk(self, venue: SimulatedVenue, hub: StreamHub, faults: Faults, limits: VenueLimits) -> AdvancedTalk:
        """Advanced Trade's side of the conversation."""
        return AdvancedTalk(venue, hub, faults, limits)


COINBASE_ADVANCED = CoinbaseAdvanced()


def product_entry(spec: SymbolSpec) -> dict[str, Any]:
    """One entry of `products`, of the fields the venue sends those that say how a product trades."""
    price, size = padded(spec.price_exp), padded(spec.size_exp)
    return {
        "product_id": spec.symbol,
        "price": price(spec.start_price),
        "base_increment": size(1),
        "quote_increment": price(1),
        "quote_min_size": "1",
        "quote_max_size": "150000000",
        "base_min_size": size(1),
        "base_max_size": "3400",
        "base_name": spec.base,
        "quote_name": spec.quote,
        "is_disabled": False,
        "status": "online",
        "cancel_only": False,
        "limit_only": False,
        "post_only": False,
        "trading_disabled": False,
        "auction_mode": False,
        "product_type": "SPOT",
        "quote_currency_id": spec.quote,
        "base_currency_id": spec.base,
        "alias": "",
        "base_display_symbol": spec.base,
        "quote_display_symbol": spec.quote,
        "price_increment": price(1),
        "display_name": spec.symbol,
    }

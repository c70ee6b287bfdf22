"""Coinbase Exchange: one message an event, or books every 50 ms for those without a key.

There is no number that tells of a lost book message; trades and tickers carry the product's sequence. Sizes and prices
of books have the product's decimals, those of trades none at their end.

Source: Coinbase Exchange documentation, "WebSocket overview", "WebSocket channels", "WebSocket errors"; "Get all known
trading pairs", "Get product book". Field order and spelling: recording of 2021-04-17; `best_bid_size` and
`best_ask_size` came later.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from aiohttp import web

from tidebook.simulate.book import BUY, SELL
from tidebook.simulate.day import Day
from tidebook.simulate.dialect import Dialect, StreamMessage, SymbolTexts, Talk
from tidebook.simulate.faults import refusal
from tidebook.simulate.limits import NEVER_S, VenueLimits
from tidebook.simulate.market import Trade
from tidebook.simulate.numerals import padded, rfc3339, trimmed
from tidebook.simulate.wire.coinbase_names import DEFAULT_PRODUCTS, json_text, parsed, product_spec

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from tidebook.simulate.faults import Faults
    from tidebook.simulate.market import DepthDiff, Market, PublicEvent
    from tidebook.simulate.specs import SymbolSpec
    from tidebook.simulate.streams import Connection, StreamHub
    from tidebook.simulate.venue import SimulatedVenue

LOCKED_CHANNELS = ("level2", "level3", "full", "user")
"""Need a signature."""
CHANNELS = ("level2_batch", "matches", "ticker", "ticker_batch", "heartbeat", "status", *LOCKED_CHANNELS)
SIGNED_FIELDS = ("signature", "key", "passphrase", "timestamp")
SIGNATURE_AGE_S_MAX = 30.0
BOOK_CHANNELS = ("level2", "level2_batch")
BOOK_LEVELS_OF_REST = {"1": 1, "2": 1_000_000}


class ExchangeTexts(SymbolTexts):
    """Streams of one product: `level2:<product>`, `level2_batch:`, `matches:`, `ticker:`, `heartbeat:`."""

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        spec = market.spec
        self._product = spec.symbol
        self._price = padded(spec.price_exp)
        self._size = padded(spec.size_exp)
        self._short_price = trimmed(spec.price_exp)
        self._short_size = trimmed(spec.size_exp)
        self._volume = padded(spec.size_exp, 8)
        self._books = {channel: f"{channel}:{spec.symbol}" for channel in BOOK_CHANNELS}
        self._match_stream = f"matches:{spec.symbol}"
        self._ticker_stream = f"ticker:{spec.symbol}"
        self._heartbeat_stream = f"heartbeat:{spec.symbol}"
        self.streams = frozenset({*self._books.values(), self._match_stream, self._ticker_stream})
        self._day = Day(spec)

    def operation(self, events: list[PublicEvent], wanted: Container[str] | None) -> Iterable[StreamMessage]:
        """Each trade with its ticker."""
        messages = []
        for trade in events:
            if isinstance(trade, Trade):
                self.count += 1
                self._day.add(trade)
                if wanted is None or self._match_stream in wanted:
                    messages.append(StreamMessage(self._match_stream, self.trade_text(trade).encode()))
                if wanted is None or self._ticker_stream in wanted:
                    messages.append(StreamMessage(self._ticker_stream, self.ticker(trade)))
        return messages

    def flush(self, cadence: str, time_us: int, wanted: Container[str] | None) -> Iterable[StreamMessage]:
        """The levels that changed, at once or in batches."""
        stream = self._books[cadence]
        counts = cadence == "level2"
        if wanted is not None and stream not in wanted:
            changed = self.market.drop_depth(time_us, cadence)
            self.count += changed and counts
            return ()
        diff = self.market.flush_depth(time_us, cadence)
        if diff is None:
            return ()
        self.count += counts
        return (StreamMessage(stream, self._update(diff)),)

    def level(self, price: int, size: int) -> tuple[str, str]:
        """With the product's decimals."""
        return self._price(price), self._size(size)

    def trade_text(self, trade: Trade) -> str:
        """A `match`; its side is the maker's."""
        return self._match("match", trade)

    def last_match(self) -> StreamMessage | None:
        """The newest trade as a new subscriber gets it; None before the first."""
        trades = self.market.trades
        return StreamMessage(self._match_stream, self._match("last_match", trades[-1]).encode()) if trades else None

    def last_ticker(self) -> StreamMessage | None:
        """The ticker of the newest trade."""
        trades = self.market.trades
        return StreamMessage(self._ticker_stream, self.ticker(trades[-1])) if trades else None

    def ticker(self, trade: Trade) -> bytes:
        """A trade, the best levels and the day; its side is the taker's."""
        bids, asks = self.market.levels(1)
        day, price, size, short = self._day, self._price, self._size, self._short_price
        (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
        return (
            f'{{"type":"ticker","sequence":{trade.sequence},"product_id":"{self._product}","price":"{short(trade.price)}",'
            f'"open_24h":"{short(day.opened)}","volume_24h":"{self._volume(day.volume)}","low_24h":"{short(day.low)}",'
            f'"high_24h":"{short(day.high)}","volume_30d":"{self._volume(day.volume)}","best_bid":"{price(bid)}",'
            f'"best_bid_size":"{size(bid_size)}","best_ask":"{price(ask)}","best_ask_size":"{size(ask_size)}",'
            f'"side":"{"sell" if trade.buyer_is_maker else "buy"}","time":"{rfc3339(trade.time_us)}",'
            f'"trade_id":{trade.trade_id},"last_size":"{self._short_size(trade.size)}"}}'
        ).encode()

    def heartbeat(self, time_us: int) -> StreamMessage:
        """Sequence and newest trade."""
        body = (
            f'{{"type":"heartbeat","sequence":{self.market.sequence},"last_trade_id":{self.market.trade_id},'
            f'"product_id":"{self._product}","time":"{rfc3339(time_us)}"}}'
        )
        return StreamMessage(self._heartbeat_stream, body.encode())

    def snapshot(self, channel: str, book: DepthDiff) -> StreamMessage:
        """The whole book. Nothing may be pending."""
        asks, bids = self._pairs(book.asks), self._pairs(book.bids)
        body = f'{{"type":"snapshot","product_id":"{self._product}","asks":[{asks}],"bids":[{bids}]}}'
        return StreamMessage(self._books[channel], body.encode())

    def _pairs(self, levels: list[tuple[int, int]]) -> str:
        price, size = self._price, self._size
        return ",".join([f'["{price(level)}","{size(total)}"]' for level, total in levels])

    def _match(self, kind: str, trade: Trade) -> str:
        side = "buy" if trade.buyer_is_maker else "sell"
        return (
            f'{{"type":"{kind}","trade_id":{trade.trade_id},"maker_order_id":"{_order_id("a", trade)}",'
            f'"taker_order_id":"{_order_id("b", trade)}","side":"{side}","size":"{self._short_size(trade.size)}",'
            f'"price":"{self._short_price(trade.price)}","product_id":"{self._product}","sequence":{trade.sequence},'
            f'"time":"{rfc3339(trade.time_us)}"}}'
        )

    def _update(self, diff: DepthDiff) -> bytes:
        price, size = self._price, self._size
        changes = [f'["buy","{price(level)}","{size(total)}"]' for level, total in diff.bids]
        changes += [f'["sell","{price(level)}","{size(total)}"]' for level, total in diff.asks]
        return (
            f'{{"type":"l2update","product_id":"{self._product}","changes":[{",".join(changes)}],"time":"{rfc3339(diff.time_us)}"}}'
        ).encode()


def _order_id(letter: str, trade: Trade) -> str:
    """A name for an order of a trade; the simulated venue keeps no ids of its own that long."""
    return f"{trade.trade_id & 0xFFFFFFFF:08x}-{letter}000-4000-8000-{trade.time_us & 0xFFFFFFFFFFFF:012x}"


class ExchangeTalk(Talk):
    """Channels by name; every answer tells all of them."""

    def __init__(self, venue: SimulatedVenue, hub: StreamHub, faults: Faults, limits: VenueLimits) -> None:
        super().__init__(venue, hub, faults, limits)
        self._texts: dict[str, ExchangeTexts] = {
            symbol: texts for symbol, texts in venue.texts.items() if isinstance(texts, ExchangeTexts)
        }

    def routes(self) -> list[web.RouteDef]:
        """The socket and the public products."""

        async def socket(request: web.Request) -> web.StreamResponse:
            return await self.hub.serve(request)

        return [
            web.get("/", socket),
            web.get("/products", self._products),
            web.get("/products/{product}", self._product),
            web.get("/products/{product}/book", self._book),
            web.get("/products/{product}/trades", self._trades),
            web.get("/time", self._time),
        ]

    def second(self, connection: Connection) -> None:
        """A heartbeat a product, for those who asked for it."""
        for stream in connection.streams:
            channel, _, product = stream.partition(":")
            if channel == "heartbeat":
                self.hub.say(connection, self._texts[product].heartbeat(self.venue.now_us).body)

    def too_many(self, connection: Connection, text: str) -> None:  # noqa: ARG002
        """The frame is refused."""
        self._refuse(connection, "Rate limit exceeded")

    def answer(self, connection: Connection, text: str) -> None:
        """`subscribe` and `unsubscribe`; whatever is wrong in a request refuses the whole of it."""
        request = parsed(text)
        if request is None:
            self._refuse(connection, "Malformed JSON")
            return
        kind = request.get("type")
        if kind not in ("subscribe", "unsubscribe"):
            self._refuse(connection, f"Type has to be either subscribe or unsubscribe, not {kind}")
            return
        wanted, trouble = self._wanted(request)
        if trouble:
            self._refuse(connection, f"Failed to {kind}", trouble)
        elif kind == "unsubscribe":
            for channel, product in wanted:
                self.hub.unsubscribe(connection, f"{channel}:{product}")
            self._tell(connection)
        else:
            for product in dict.fromkeys(product for _, product in wanted):
                for message in self.venue.settle(product):
                    self.hub.deliver(message)
            added = [pair for pair in wanted if self.hub.subscribe(connection, f"{pair[0]}:{pair[1]}")]
            self._tell(connection)
            for channel, product in added:
                self._begin(connection, channel, product)

    def _wanted(self, request: dict[str, Any]) -> tuple[list[tuple[str, str]], str]:
        """(channel, product) of a request, or what is wrong with it."""
        wanted: list[tuple[str, str]] = []
        channels = request.get("channels")
        if not isinstance(channels, list) or not channels:
            return [], "no channels provided"
        for channel in channels:
            own = channel if isinstance(channel, dict) else {"name": channel}
            name, products = own.get("name"), own.get("product_ids", request.get("product_ids", []))
            if name not in CHANNELS:
                return [], f"{name} is not a valid channel"
            if name in LOCKED_CHANNELS and not self._signed(request):
                return [], "level2, level3, and full channels now require authentication"
            if not products and request.get("type") == "unsubscribe":
                products = list(self._texts)
            for product in products:
                if product not in self._texts:
                    return [], f"{product} is not a valid product"
                wanted.append((name, product))
        return (wanted, "") if wanted else ([], "no product_ids provided")

    def _signed(self, request: dict[str, Any]) -> bool:
        """All fields of a signature and a fresh time; whose key it is nobody knows here."""
        values = [request.get(name) for name in SIGNED_FIELDS]
        if not all(isinstance(value, str | int | float) and value for value in values):
            return False
        try:
            return abs(time.time() - float(str(request["timestamp"]))) <= SIGNATURE_AGE_S_MAX
        except ValueError:
            return False

    def _begin(self, connection: Connection, channel: str, product: str) -> None:
        texts = self._texts[product]
        message: StreamMessage | None = None
        if channel in BOOK_CHANNELS:
            message = texts.snapshot(channel, texts.market.whole(self.venue.now_us))
        elif channel == "matches":
            message = texts.last_match()
        elif channel == "ticker":
            message = texts.last_ticker()
        if message is not None:
            self.hub.deliver_to(connection, message)

    def _tell(self, connection: Connection) -> None:
        """All subscriptions of the connection."""
        channels: dict[str, list[str]] = {}
        for stream in connection.streams:
            channel, _, product = stream.partition(":")
            channels.setdefault(channel, []).append(product)
        told = [{"name": name, "product_ids": products} for name, products in channels.items()]
        self.hub.say(connection, json_text({"type": "subscriptions", "channels": told}))

    def _refuse(self, connection: Connection, message: str, reason: str = "") -> None:
        self.hub.say(
            connection, json_text({"type": "error", "message": message, **({"reason": reason} if reason else {})})
        )

    async def _products(self, _request: web.Request) -> web.Response:
        return self._rest([product_entry(market.spec) for market in self.venue.markets.values()])

    async def _product(self, request: web.Request) -> web.Response:
        market = self.venue.markets.get(request.match_info["product"])
        return self._rest(None if market is None else product_entry(market.spec))

    async def _book(self, request: web.Request) -> web.Response:
        """`level=1` the best, `level=2` all levels, with the number of orders of each."""
        texts = self._texts.get(request.match_info["product"])
        count = BOOK_LEVELS_OF_REST.get(request.query.get("level", "1"))
        if count is None:
            return web.json_response({"message": "Invalid level"}, status=400)
        if texts is None:
            return self._rest(None)
        market = texts.market
        book: dict[str, Any] = {}
        for name, side in (("bids", BUY), ("asks", SELL)):
            own = market.book.sides[side]
            book[name] = [[*texts.level(*level), len(own.queues[level[0]])] for level in own.levels(count)]
        now = rfc3339(self.venue.now_us)
        return self._rest({**book, "sequence": market.sequence, "auction_mode": False, "auction": None, "time": now})

    async def _trades(self, request: web.Request) -> web.Response:
        """The last trades, newest first."""
        texts = self._texts.get(request.match_info["product"])
        if texts is None:
            return self._rest(None)
        newest = islice(reversed(texts.market.trades), 100)
        names = ("trade_id", "side", "size", "price", "time")
        found = [parsed(texts.trade_text(trade)) or {} for trade in newest]
        return self._rest([{name: trade[name] for name in names} for trade in found])

    async def _time(self, _request: web.Request) -> web.Response:
        return self._rest({"iso": rfc3339(self.venue.now_us), "epoch": self.venue.now_us / 1e6})

    def _rest(self, result: Any) -> web.Response:
        trouble = self.trouble_of_request()
        if trouble is not None:
            return refusal(trouble, {"message": "Public rate limit exceeded"})
        return web.json_response({"message": "NotFound"}, status=404) if result is None else web.json_response(result)


class Coinbase(Dialect):
    """Exchange."""

    name = "coinbase"
    cadences: ClassVar[dict[str, int]] = {"level2": 0, "level2_batch": 50_000}
    book_cadences = ("level2", "level2_batch")
    limits = VenueLimits(
        ping_interval_s=NEVER_S,
        connection_lifetime_s=NEVER_S,
        subscribe_within_s=5.0,
        incoming_messages_per_s=100,
    )
    default_symbols = DEFAULT_PRODUCTS
    symbol_form = "{}-USD"
    paths_shown = ("/products", "/")

    def is_answer(self, body: bytes) -> bool:
        """What tells all subscriptions."""
        return body.startswith(b'{"type":"subscriptions"')

    def spec(self, symbol: str) -> SymbolSpec:
        """As on all of Coinbase."""
        return product_spec(symbol, self.name)

    def texts(self, market: Market) -> ExchangeTexts:
        """The streams of a product."""
        return ExchangeTexts(market)

    def talk(self, venue: SimulatedVenue, hub: StreamHub, faults: Faults, limits: VenueLimits) -> ExchangeTalk:
        """Coinbase's side of the conversation."""
        return ExchangeTalk(venue, hub, faults, limits)


COINBASE = Coinbase()


def product_entry(spec: SymbolSpec) -> dict[str, Any]:
    """One entry of `/products`."""
    price, size = padded(spec.price_exp), padded(spec.size_exp)
    return {
        "id": spec.symbol,
        "base_currency": spec.base,
        "quote_currency": spec.quote,
        "base_min_size": size(1),
        "base_max_size": "1000000",
        "quote_increment": price(1),
        "base_increment": size(1),
        "display_name": f"{spec.base}/{spec.quote}",
        "min_market_funds": "1",
        "max_market_funds": "1000000",
        "margin_enabled": False,
        "post_only": False,
        "limit_only": False,
        "cancel_only": False,
        "trading_disabled": False,
        "status": "online",
        "status_message": "",
    }

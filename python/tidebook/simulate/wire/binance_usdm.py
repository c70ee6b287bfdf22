"""Binance USD-M futures: what differs from spot.

Depth is chained by `pu`, the last id of the message before, not by `U`: update ids of one symbol are far apart, and a
snapshot's id lies between two of them. Tops and snapshots carry times. Prices have a decimal more than their tick.

Source: Binance API documentation, USDS-Margined Futures, "WebSocket Market Streams" and "REST API" (general
information, order book, exchange information, mark price). Field order and spelling: recordings of 2021-07-22,
2023-04-04 and 2024-08-08.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tidebook.simulate.dialect import StreamMessage
from tidebook.simulate.limits import VenueLimits
from tidebook.simulate.numerals import padded
from tidebook.simulate.specs import SymbolSpec, made_spec, magnitude, split_symbol
from tidebook.simulate.wire.binance import Binance, BinanceTalk, BinanceTexts, Wire
from tidebook.simulate.wire.binance_rest import RestRules

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from tidebook.simulate.faults import Faults
    from tidebook.simulate.market import AggregateTrade, DepthDiff, Market, Top, Trade
    from tidebook.simulate.streams import StreamHub
    from tidebook.simulate.venue import SimulatedVenue

# One change of a level takes so many ids, as if other symbols had taken those between.
IDS_PER_CHANGE = 37
FIRST_ID_AFTER = 3
SNAPSHOT_ID_AFTER = 5
FUNDING_PERIOD_MS = 8 * 3_600_000
DEPTH_LIMITS = frozenset({5, 10, 20, 50, 100, 500, 1_000})


class UsdmWire(Wire):
    """Texts of one contract."""

    def __init__(self, spec: SymbolSpec) -> None:
        super().__init__(spec)
        self.price = padded(spec.price_exp, price_decimals(spec))
        self.size = padded(spec.size_exp)
        self._fine_price = padded(spec.price_exp, 8)

    def trade(self, trade: Trade) -> bytes:
        """Payload of `<symbol>@trade`; `X` says that it came from the book."""
        time = trade.time_us // 1_000
        maker = "true" if trade.buyer_is_maker else "false"
        return (
            f'{{"e":"trade","E":{time},"T":{time},"s":"{self.symbol}","t":{trade.trade_id},"p":"{self.price(trade.price)}",'
            f'"q":"{self.size(trade.size)}","X":"MARKET","m":{maker}}}'
        ).encode()

    def aggregate_trade(self, trade: AggregateTrade) -> bytes:
        """Payload of `<symbol>@aggTrade`."""
        time = trade.time_us // 1_000
        maker = "true" if trade.buyer_is_maker else "false"
        return (
            f'{{"e":"aggTrade","E":{time},"a":{trade.aggregate_id},"s":"{self.symbol}","p":"{self.price(trade.price)}",'
            f'"q":"{self.size(trade.size)}","f":{trade.first_trade_id},"l":{trade.last_trade_id},"T":{time},"m":{maker}}}'
        ).encode()

    def book_ticker(self, top: Top) -> bytes:
        """Payload of `<symbol>@bookTicker`."""
        time = top.time_us // 1_000
        return (
            f'{{"e":"bookTicker","u":{top.update_id * IDS_PER_CHANGE},"s":"{self.symbol}","b":"{self.price(top.bid_price)}",'
            f'"B":"{self.size(top.bid_size)}","a":"{self.price(top.ask_price)}","A":"{self.size(top.ask_size)}",'
            f'"T":{time},"E":{time}}}'
        ).encode()

    def depth(self, diff: DepthDiff) -> bytes:
        """Payload of the depth streams."""
        time, before = diff.time_us // 1_000, (diff.first_id - 1) * IDS_PER_CHANGE
        return (
            f'{{"e":"depthUpdate","E":{time},"T":{time},"s":"{self.symbol}","U":{before + FIRST_ID_AFTER},'
            f'"u":{diff.last_id * IDS_PER_CHANGE},"pu":{before},"b":[{self.levels(diff.bids)}],"a":[{self.levels(diff.asks)}]}}'
        ).encode()

    def snapshot(
        self,
        update_id: int,
        bids: Iterable[tuple[int, int]],
        asks: Iterable[tuple[int, int]],
        time_us: int = 0,
    ) -> bytes:
        """Body of `GET /fapi/v1/depth`. Its id lies inside the next message's."""
        book_id, time = update_id * IDS_PER_CHANGE + SNAPSHOT_ID_AFTER, time_us // 1_000
        return (
            f'{{"lastUpdateId":{book_id},"E":{time},"T":{time},"bids":[{self.levels(bids)}],"asks":[{self.levels(asks)}]}}'
        ).encode()

    def mark_price(self, time_us: int, mark: int) -> bytes:
        """Payload of the mark price streams; the index is the mark here."""
        time = time_us // 1_000
        funding = (time // FUNDING_PERIOD_MS + 1) * FUNDING_PERIOD_MS
        price = self._fine_price(mark)
        return (
            f'{{"e":"markPriceUpdate","E":{time},"s":"{self.symbol}","p":"{price}","P":"{price}","i":"{price}",'
            f'"r":"0.00010000","T":{funding}}}'
        ).encode()


class UsdmTexts(BinanceTexts):
    """Streams of one contract: those of spot, depth at four speeds, the mark price."""

    depth_streams: ClassVar[dict[str, str]] = {
        "100ms": "depth@100ms",
        "0ms": "depth@0ms",
        "250ms": "depth",
        "500ms": "depth@500ms",
    }
    wire_class = UsdmWire

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        name = market.spec.symbol.lower()
        self._marks = {"mark 1s": f"{name}@markPrice@1s", "mark 3s": f"{name}@markPrice"}
        self.streams |= set(self._marks.values())

    def flush(self, cadence: str, time_us: int, wanted: Container[str] | None) -> Iterable[StreamMessage]:
        """Depth, or the mark price: the middle of the book."""
        stream = self._marks.get(cadence)
        if stream is None:
            return super().flush(cadence, time_us, wanted)
        if wanted is not None and stream not in wanted:
            return ()
        bids, asks = self.market.levels(1)
        assert isinstance(self.wire, UsdmWire)
        return (StreamMessage(stream, self.wire.mark_price(time_us, (bids[0][0] + asks[0][0]) // 2)),)

    def book_id(self, update_id: int) -> int:
        """As in `u`."""
        return update_id * IDS_PER_CHANGE


def price_decimals(spec: SymbolSpec) -> int:
    """Of a price's text: one more than the tick needs."""
    return spec.price_exp + 1


def exchange_info_symbol(spec: SymbolSpec) -> dict[str, Any]:
    """One entry of `symbols` in `GET /fapi/v1/exchangeInfo`."""
    wire = UsdmWire(spec)
    lots = {"minQty": wire.size(1), "maxQty": wire.size(spec.typical_size * 1_000_000), "stepSize": wire.size(1)}
    return {
        "symbol": spec.symbol,
        "pair": spec.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": 1_569_398_400_000,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": spec.base,
        "quoteAsset": spec.quote,
        "marginAsset": spec.quote,
        "pricePrecision": price_decimals(spec),
        "quantityPrecision": spec.size_exp,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": wire.price(1),
                "maxPrice": wire.price(spec.start_price * 20),
                "tickSize": wire.price(1),
            },
            {"filterType": "LOT_SIZE", **lots},
            {"filterType": "MARKET_LOT_SIZE", **lots},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }


REST_RULES = RestRules(
    prefix="/fapi/v1",
    depth_limit_default=500,
    depth_weights=((50, 2), (100, 5), (500, 10), (1_000, 20)),
    depth_limits=DEPTH_LIMITS,
    exchange_info_weight=1,
    rate_limits=(("ORDERS", "MINUTE", 1, 1_200), ("ORDERS", "SECOND", 10, 300)),
    exchange_info_symbol=exchange_info_symbol,
)


class UsdmTalk(BinanceTalk):
    """Spot's conversation. The venue has books and tops under `/public` and the rest under `/market`; here both have all."""

    socket_prefixes = ("", "/public", "/market")
    rest_rules = REST_RULES


class BinanceUsdm(Binance):
    """USD-M futures."""

    name = "binance-usdm"
    cadences: ClassVar[dict[str, int]] = {
        "100ms": 100_000,
        "0ms": 0,
        "250ms": 250_000,
        "500ms": 500_000,
        "mark 1s": 1_000_000,
        "mark 3s": 3_000_000,
    }
    book_cadences = ("100ms", "0ms", "250ms", "500ms")
    limits = VenueLimits(
        ping_interval_s=180.0,
        pong_timeout_s=600.0,
        incoming_messages_per_s=10,
        streams_per_connection=200,
        weight_per_minute=2_400,
    )
    paths_shown = ("/fapi/v1/exchangeInfo", "/stream")

    def spec(self, symbol: str) -> SymbolSpec:
        """Fewer decimals than spot."""
        base, quote = split_symbol(symbol, "", self.name)
        power = magnitude(base, quote)
        return made_spec(symbol, base, quote, max(1, min(7, 5 - power)), max(0, min(3, power)))

    def texts(self, market: Market) -> UsdmTexts:
        """The streams of a contract."""
        return UsdmTexts(market)

    def talk(self, venue: SimulatedVenue, hub: StreamHub, faults: Faults, limits: VenueLimits) -> UsdmTalk:
        """USD-M's side of the conversation."""
        return UsdmTalk(venue, hub, faults, limits)


BINANCE_USDM = BinanceUsdm()

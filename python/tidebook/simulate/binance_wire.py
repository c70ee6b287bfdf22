"""Binance spot's texts: what a public event of a market looks like on the wire, byte for byte.

Fields stand in wire order, prices and sizes are strings with eight decimals, times are integers. The texts are built by
formatting, not by a JSON library: the set of fields is closed and a test compares it with recordings.

Source: Binance API documentation, Spot, "WebSocket Streams" (payloads) and "REST API" (order book, exchange information).
"""

from collections.abc import Iterable

from tidebook.simulate.market import AggregateTrade, DepthDiff, SymbolSpec, Top, Trade

DECIMALS = 8


class Wire:
    """Texts of one symbol, with times in milliseconds or, on request, in microseconds."""

    def __init__(self, spec: SymbolSpec, *, microseconds: bool = False) -> None:
        self._symbol = spec.symbol
        self._price_scale = 10**spec.price_exp
        self._size_scale = 10**spec.size_exp
        self._price_format = _tail_format(spec.price_exp)
        self._size_format = _tail_format(spec.size_exp)
        self._time_divisor = 1 if microseconds else 1_000

    def price(self, ticks: int) -> str:
        """A price with eight decimals."""
        whole, part = divmod(ticks, self._price_scale)
        return self._price_format % (whole, part)

    def size(self, lots: int) -> str:
        """A size with eight decimals."""
        whole, part = divmod(lots, self._size_scale)
        return self._size_format % (whole, part)

    def trade(self, trade: Trade) -> bytes:
        """Payload of `<symbol>@trade`. `M` is always true, a leftover of the venue."""
        time = trade.time_us // self._time_divisor
        maker = "true" if trade.buyer_is_maker else "false"
        return (
            f'{{"e":"trade","E":{time},"s":"{self._symbol}","t":{trade.trade_id},"p":"{self.price(trade.price)}",'
            f'"q":"{self.size(trade.size)}","T":{time},"m":{maker},"M":true}}'
        ).encode()

    def aggregate_trade(self, trade: AggregateTrade) -> bytes:
        """Payload of `<symbol>@aggTrade`."""
        time = trade.time_us // self._time_divisor
        maker = "true" if trade.buyer_is_maker else "false"
        return (
            f'{{"e":"aggTrade","E":{time},"s":"{self._symbol}","a":{trade.aggregate_id},'
            f'"p":"{self.price(trade.price)}","q":"{self.size(trade.size)}","f":{trade.first_trade_id},'
            f'"l":{trade.last_trade_id},"T":{time},"m":{maker},"M":true}}'
        ).encode()

    def book_ticker(self, top: Top) -> bytes:
        """Payload of `<symbol>@bookTicker`; spot sends no time in it."""
        return (
            f'{{"u":{top.update_id},"s":"{self._symbol}","b":"{self.price(top.bid_price)}",'
            f'"B":"{self.size(top.bid_size)}","a":"{self.price(top.ask_price)}","A":"{self.size(top.ask_size)}"}}'
        ).encode()

    def depth(self, diff: DepthDiff) -> bytes:
        """Payload of `<symbol>@depth` and `<symbol>@depth@100ms`."""
        return (
            f'{{"e":"depthUpdate","E":{diff.time_us // self._time_divisor},"s":"{self._symbol}",'
            f'"U":{diff.first_id},"u":{diff.last_id},"b":[{self.levels(diff.bids)}],"a":[{self.levels(diff.asks)}]}}'
        ).encode()

    def snapshot(self, update_id: int, bids: Iterable[tuple[int, int]], asks: Iterable[tuple[int, int]]) -> bytes:
        """Body of `GET /api/v3/depth`; it names no symbol."""
        return (f'{{"lastUpdateId":{update_id},"bids":[{self.levels(bids)}],"asks":[{self.levels(asks)}]}}').encode()

    def levels(self, levels: Iterable[tuple[int, int]]) -> str:
        """The inside of a list of `["price","size"]`."""
        return ",".join([f'["{self.price(price)}","{self.size(size)}"]' for price, size in levels])


def _tail_format(exponent: int) -> str:
    """Format of (whole, part); with no decimals of its own, `part` is taken and prints nothing."""
    zeros = "0" * (DECIMALS - exponent)
    return f"%d.%0{exponent}d{zeros}" if exponent else f"%d.{zeros}%.0s"


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

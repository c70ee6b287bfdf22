"""How each symbol of a simulated venue trades: its precisions, where its price begins and how large its orders are.

Ten markets of Binance spot stand in a table. Everything else is made from the symbol's name, so that a venue can have
hundreds of symbols: a known asset begins near its real price, any other at a price drawn from its name's checksum. The
same name is the same market in every run.
"""

import zlib
from dataclasses import dataclass

from tidebook.errors import ConfigError

SYMBOLS_MAX = 500

NOTIONAL_USD = 1_200
"""About the median worth of one order."""


@dataclass(frozen=True, slots=True)
class SymbolSpec:
    """How a symbol trades. Tick = 10^-price_exp, lot = 10^-size_exp of the base asset."""

    symbol: str
    base: str
    quote: str
    price_exp: int
    size_exp: int
    start_price: int
    """Ticks."""
    typical_size: int
    """Lots; median of an order."""


# Prices and precisions of the order of magnitude that the real markets have; nothing depends on their being current.
SPECS: dict[str, SymbolSpec] = {
    spec.symbol: spec
    for spec in (
        SymbolSpec("BTCUSDT", "BTC", "USDT", 2, 5, 6_183_763, 2_000),
        SymbolSpec("ETHUSDT", "ETH", "USDT", 2, 4, 268_342, 3_000),
        SymbolSpec("SOLUSDT", "SOL", "USDT", 2, 3, 16_027, 4_000),
        SymbolSpec("BNBUSDT", "BNB", "USDT", 2, 3, 51_840, 700),
        SymbolSpec("XRPUSDT", "XRP", "USDT", 4, 0, 6_142, 400),
        SymbolSpec("DOGEUSDT", "DOGE", "USDT", 5, 0, 10_731, 2_500),
        SymbolSpec("ADAUSDT", "ADA", "USDT", 4, 1, 3_562, 9_000),
        SymbolSpec("LTCUSDT", "LTC", "USDT", 2, 3, 6_318, 2_000),
        SymbolSpec("DOTUSDT", "DOT", "USDT", 3, 2, 4_815, 3_000),
        SymbolSpec("ETHBTC", "ETH", "BTC", 5, 4, 4_339, 8_000),
    )
}

# Millionths of a US dollar.
_CURRENCIES = {
    "EUR": 1_090_000,
    "GBP": 1_270_000,
    "CHF": 1_130_000,
    "AUD": 660_000,
    "CAD": 730_000,
    "JPY": 6_800,
    "TRY": 30_000,
    "BRL": 180_000,
}
_WORTH: dict[str, int] = {
    **{spec.base: spec.start_price * 10 ** (6 - spec.price_exp) for spec in SPECS.values() if spec.quote == "USDT"},
    **dict.fromkeys(("USD", "USDT", "USDC", "FDUSD", "BUSD", "TUSD"), 1_000_000),
    **_CURRENCIES,
}
QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD", "EUR", "GBP", "AUD", "TRY", "BRL", "BTC", "ETH", "BNB")


def split_symbol(symbol: str, separator: str, venue: str) -> tuple[str, str]:
    """(base, quote) of a venue's symbol; without a separator the quote is the longest known one it ends with.

    Raises: ConfigError when it is no symbol of the venue's form.
    """
    if separator:
        base, _, quote = symbol.partition(separator)
    else:
        quote = next((known for known in QUOTES if symbol.endswith(known)), "")
        base = symbol[: len(symbol) - len(quote)]
    if not (base.isalnum() and quote.isalnum() and symbol.isascii() and symbol == spelled(symbol)):
        example = f"BTC{separator or ''}{'USD' if separator else 'USDT'}"
        raise ConfigError(f"simulator: {symbol} is no symbol of {venue}; write {example}", key="symbols", value=symbol)
    return base, quote


def spelled(symbol: str) -> str:
    """As venues write it: in upper case, but for the small x of Kraken's tokenised stocks (`AAPLx/USD`)."""
    base, slash, quote = symbol.partition("/")
    return symbol if slash and base.endswith("x") and f"{base[:-1]}{quote}".isupper() else symbol.upper()


def magnitude(base: str, quote: str) -> int:
    """The power of ten of the price: 4 for 61,837.63, -1 for 0.6142."""
    millionths = _price_millionths(base, quote)
    return len(str(millionths)) - 7


def made_spec(symbol: str, base: str, quote: str, price_exp: int, size_exp: int) -> SymbolSpec:
    """A spec with these precisions, its price and its sizes made from the names of its assets."""
    ticks = max(4_000, _price_millionths(base, quote) * 10**price_exp // 1_000_000)
    # Some hundredths more or less, so that sizes are no round numbers.
    lots = NOTIONAL_USD * 10**size_exp * 1_000_000 * (900 + zlib.crc32(symbol.encode()) % 200) // 1_000 // _worth(base)
    return SymbolSpec(symbol, base, quote, price_exp, size_exp, ticks, max(20, lots))


def _price_millionths(base: str, quote: str) -> int:
    return max(1, _worth(base) * 1_000_000 // _worth(quote))


def _worth(asset: str) -> int:
    """Millionths of a dollar; of an unknown asset between a cent and a thousand dollars, by its name."""
    known = _WORTH.get(asset)
    if known is not None:
        return known
    draw = zlib.crc32(asset.encode())
    decade: int = 10 ** (2 + draw // 1_000 % 5)
    return (100 + draw % 900) * decade

"""What Coinbase's two feeds have in common: products and their precisions."""

from __future__ import annotations

import json
from typing import Any

from tidebook.simulate.specs import SymbolSpec, made_spec, magnitude, split_symbol

DEFAULT_PRODUCTS = ("BTC-USD", "ETH-USD")


def product_spec(symbol: str, venue: str) -> SymbolSpec:
    """Two decimals of price and eight of size for what is dear, more and fewer for what is cheap."""
    base, quote = split_symbol(symbol, "-", venue)
    power = magnitude(base, quote)
    return made_spec(symbol, base, quote, max(2, min(8, 5 - power)), 8 if power >= 2 else max(1, 2 + power))


def parsed(text: str) -> dict[str, Any] | None:
    """A client's frame; None when it is no JSON object."""
    try:
        request = json.loads(text)
    except ValueError:
        return None
    return request if isinstance(request, dict) else None


def json_text(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()

"""Records of the analytics engine: what a window of time was like, of a market and of an account in it.

The layouts are published as numpy dtypes, and the rings name their fields themselves, so a reader needs none of this. Numbers are doubles in
the instrument's own terms (a price is a price, a size a size); one that is not known is NaN, never 0. Page: `docs/formats/analytics.md`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

MARKETS_CHANNEL: Final = "analytics.markets"
ACCOUNTS_CHANNEL: Final = "analytics.accounts"

NS: Final = 1_000_000_000
SECOND, MINUTE, DAY = 1, 60, 86_400
"""Lengths of windows, s; days are those of UTC."""
INTERVALS: Final = (SECOND, MINUTE, DAY)

OPEN: Final = 1
"""The window has not ended: the record says what it is so far, and another one follows."""
LATE_START: Final = 2
"""Not all is known of the window before `ts_from`; what is, is in its sums."""
GAP: Final = 4
"""Of what it reads, `missed` records were lost that may have been of this window."""

_HEAD: Final = [
    ("ts_event", "<i8"),
    ("ts_recv", "<i8"),
    ("source_sequence", "<u8"),
    ("source_index", "<u4"),
    ("instrument_id", "<u4"),
    ("ts_open", "<i8"),
    ("ts_from", "<i8"),
    ("interval_s", "<u4"),
    ("flags", "<u4"),
    ("missed", "<u8"),
]

MARKET: Final[np.dtype[Any]] = np.dtype(
    [
        *_HEAD,
        ("trades", "<u8"),
        ("quotes", "<u8"),
        ("volume", "<f8"),
        ("buy_volume", "<f8"),
        ("sell_volume", "<f8"),
        ("notional", "<f8"),
        ("vwap", "<f8"),
        ("twap", "<f8"),
        ("last", "<f8"),
        ("mid", "<f8"),
        ("mid_twap", "<f8"),
        ("microprice", "<f8"),
        ("spread", "<f8"),
        ("spread_bps", "<f8"),
        ("effective_spread", "<f8"),
        ("effective_spread_bps", "<f8"),
        ("volatility", "<f8"),
        ("order_flow", "<f8"),
        ("trade_imbalance", "<f8"),
        ("book_imbalance", "<f8"),
        ("quoted_s", "<f8"),
    ]
)
"""A window of a market."""

ACCOUNT: Final[np.dtype[Any]] = np.dtype(
    [
        *_HEAD,
        ("account", "<u4"),
        ("reserved", "<u4"),
        ("orders", "<u8"),
        ("replaces", "<u8"),
        ("cancels", "<u8"),
        ("refused", "<u8"),
        ("fills", "<u8"),
        ("maker_fills", "<u8"),
        ("ordered", "<f8"),
        ("bought", "<f8"),
        ("sold", "<f8"),
        ("notional", "<f8"),
        ("fees", "<f8"),
        ("fill_ratio", "<f8"),
        ("cancels_per_fill", "<f8"),
        ("slippage", "<f8"),
        ("slippage_bps", "<f8"),
        ("slippage_size", "<f8"),
        ("position", "<f8"),
        ("average_price", "<f8"),
        ("mid", "<f8"),
        ("realized", "<f8"),
        ("realized_total", "<f8"),
        ("unrealized", "<f8"),
    ]
)
"""A window of an account in one instrument of the node's own venue."""


def ratio(part: float, whole: float) -> float:
    """NaN of nothing."""
    return part / whole if whole else float("nan")

"""The analytics engine: what `md.*` and `orders` come to, by windows of time, live.

    md.trades, md.quotes, md.status ──► Markets  ──► analytics.markets
    orders (a replica of the venue)  ──► Accounts ──► analytics.accounts

Both are state machines without a clock, so the same records give the same windows; `AnalyticsEngine` reads for them and publishes, in a
thread of a node or a process of its own.
"""

from tidebook.analytics.accounts import Accounts
from tidebook.analytics.engine import AnalyticsEngine, AnalyticsStatus
from tidebook.analytics.layouts import ACCOUNT, ACCOUNTS_CHANNEL, MARKET, MARKETS_CHANNEL
from tidebook.analytics.markets import Markets

__all__ = [
    "ACCOUNT",
    "ACCOUNTS_CHANNEL",
    "MARKET",
    "MARKETS_CHANNEL",
    "Accounts",
    "AnalyticsEngine",
    "AnalyticsStatus",
    "Markets",
]

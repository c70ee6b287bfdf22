"""What compliance asks of the tables, as SQL that SQLite and PostgreSQL both understand.

Each is a view with the usual numbers, and a function that gives the same query with others: a view is that text with its defaults.
They find what a person is to look at. None of them proves an intent, and a market maker may be in any of them.
"""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_S = 1_000_000_000
# PostgreSQL takes a bare NULL for a text.
_NO_NUMBER = "CAST(NULL AS BIGINT)"
_NO_WORD = "CAST(NULL AS TEXT)"


def order_life() -> str:
    """Everything that an order was asked to be, what happened to it and how it ended, one line each; sort by its first three columns."""
    no_terms = ", ".join([_NO_NUMBER] * 5)
    return f"""
SELECT sequence, -1 AS source_index, 0 AS step, order_id, ts, account, 'placed' AS event, verdict AS outcome, reason, side,
       price, size, {_NO_NUMBER} AS remaining, {_NO_WORD} AS liquidity, {_NO_NUMBER} AS fee,
       {_NO_NUMBER} AS counter_order_id, {_NO_NUMBER} AS counter_account, {_NO_NUMBER} AS execution,
       amount, trigger_price, display_size, price_offset, expire_ts
FROM orders
UNION ALL
SELECT sequence, -1, 0, order_id, ts, account, kind, verdict, reason, side, price, size,
       {_NO_NUMBER}, {_NO_WORD}, {_NO_NUMBER}, {_NO_NUMBER}, {_NO_NUMBER}, {_NO_NUMBER},
       {_NO_NUMBER}, trigger_price, display_size, price_offset, expire_ts
FROM commands WHERE order_id IS NOT NULL AND kind IN ('replace', 'cancel')
UNION ALL
SELECT sequence, source_index, 1, order_id, ts, account, kind, {_NO_WORD}, reason, side, price, size,
       remaining, {_NO_WORD}, {_NO_NUMBER}, {_NO_NUMBER}, {_NO_NUMBER}, execution, {no_terms}
FROM events WHERE order_id IS NOT NULL
UNION ALL
SELECT sequence, source_index, 1, order_id, ts, account, 'fill', {_NO_WORD}, {_NO_WORD}, side, price, size,
       remaining, liquidity, fee, counter_order_id, counter_account, execution, {no_terms}
FROM fills
UNION ALL
SELECT sequence, source_index, 2, order_id, ts, account, 'ended', how, reason, side, price, size,
       {_NO_NUMBER}, {_NO_WORD}, {_NO_NUMBER}, {_NO_NUMBER}, {_NO_NUMBER}, execution, {no_terms}
FROM endings"""


def cancels_per_fill(window_s: int = 60) -> str:
    """Of each account, instrument and window of time: orders placed, replaced, cancelled on request, fills, and cancels for each fill.

    Placed are those that neither risk nor matching refused.
    `cancels_per_fill` is NULL where nothing was filled. Cancels are those that the account asked for, one by one or together, and what
    its disconnect or dead man's switch took; what the venue ended by itself (IOC, expiry, self-trade prevention) is none.
    """
    window = f"ts / {window_s * _S} * {window_s * _S}"
    return f"""
SELECT account, instrument_id, window_ts, SUM(placed) AS placed, SUM(replaced) AS replaced, SUM(cancelled) AS cancelled,
       SUM(fills) AS fills, SUM(filled_size) AS filled_size, SUM(cancelled_size) AS cancelled_size,
       CAST(SUM(cancelled) AS DOUBLE PRECISION) / NULLIF(SUM(fills), 0) AS cancels_per_fill
FROM (
    SELECT account, instrument_id, {window} AS window_ts, 1 AS placed, 0 AS replaced, 0 AS cancelled, 0 AS fills,
           0 AS filled_size, 0 AS cancelled_size
    FROM orders WHERE verdict = 'accepted' AND NOT EXISTS
         (SELECT 1 FROM endings WHERE endings.order_id = orders.order_id AND endings.how = 'refused')
    UNION ALL
    SELECT account, instrument_id, {window}, 0, 1, 0, 0, 0, 0 FROM events WHERE kind = 'replaced'
    UNION ALL
    SELECT account, instrument_id, {window}, 0, 0, 1, 0, 0, size
    FROM endings WHERE how = 'cancelled' AND reason IN ('requested', 'mass_cancel', 'disconnected', 'dead_man')
    UNION ALL
    SELECT account, instrument_id, {window}, 0, 0, 0, 1, size, 0 FROM fills
) AS happened
GROUP BY account, instrument_id, window_ts"""


def layering(
    before_s: int = 60, after_s: int = 10, orders_min: int = 3, prices_min: int = 3, size_ratio_min: int = 2
) -> str:
    """Fills of an account with many of its orders waiting on the other side, all cancelled on request soon after, none of them filled.

    A line for each command by which the account was filled: the orders were placed at most `before_s` before it and cancelled at most
    `after_s` after it, at `prices_min` prices or more, so that all but the best stood away from the touch, and were together
    at least `size_ratio_min` times what was filled.
    """
    return f"""
SELECT f.account, f.instrument_id, f.side AS filled_side, f.sequence, f.ts, f.price AS filled_price, f.size AS filled_size,
       COUNT(*) AS orders, COUNT(DISTINCT e.price) AS prices, SUM(e.size) AS cancelled_size,
       MIN(e.price) AS lowest_price, MAX(e.price) AS highest_price, MIN(o.ts) AS first_placed_ts, MAX(e.ts) AS last_cancelled_ts
FROM (
    SELECT account, instrument_id, side, sequence, MIN(ts) AS ts, MAX(price) AS price, SUM(size) AS size
    FROM fills GROUP BY account, instrument_id, side, sequence
) AS f
JOIN endings AS e ON e.account = f.account AND e.ts BETWEEN f.ts AND f.ts + {after_s * _S} AND e.sequence > f.sequence
     AND e.instrument_id = f.instrument_id AND e.side <> f.side
     AND e.how = 'cancelled' AND e.reason IN ('requested', 'mass_cancel')
JOIN orders AS o ON o.order_id = e.order_id AND o.sequence < f.sequence AND o.ts >= f.ts - {before_s * _S}
     AND o.order_type = 'limit'
WHERE NOT EXISTS (SELECT 1 FROM fills AS own WHERE own.order_id = e.order_id)
GROUP BY f.account, f.instrument_id, f.side, f.sequence, f.ts, f.price, f.size
HAVING COUNT(*) >= {orders_min} AND COUNT(DISTINCT e.price) >= {prices_min} AND SUM(e.size) >= {size_ratio_min} * f.size"""


def wash_same_owner() -> str:
    """Trades with one owner on both sides: one account, or two that were of one group then."""
    return """
SELECT execution, sequence, ts, instrument_id, trade_id, price, size, account AS buy_account, counter_account AS sell_account,
       order_id AS buy_order_id, counter_order_id AS sell_order_id, buy_group AS owner_group
FROM (
    SELECT f.*,
           (SELECT a.owner_group FROM accounts AS a WHERE a.account = f.account AND a.sequence <= f.sequence
            ORDER BY a.sequence DESC LIMIT 1) AS buy_group,
           (SELECT a.owner_group FROM accounts AS a WHERE a.account = f.counter_account AND a.sequence <= f.sequence
            ORDER BY a.sequence DESC LIMIT 1) AS sell_group
    FROM fills AS f WHERE f.side = 'buy'
) AS trades
WHERE account = counter_account OR (buy_group = sell_group AND buy_group > 0)"""


def wash_round_trips(window_s: int = 300, returned_percent_min: int = 80, trades_min: int = 2) -> str:
    """Pairs of accounts that within a window of time traded with each other both ways, so that most of what went came back.

    Windows overlap by half, so that no pattern shorter than half of one is cut in two; one that is seen in both has two lines.
    `account` is the lower number of both; `bought` is what it bought of the other, `sold` what it sold to it.
    """
    length, half = window_s * _S, window_s * _S // 2
    sides = "CASE WHEN side = 'buy' THEN size ELSE 0 END"
    return f"""
SELECT account, counter_account, instrument_id, window_ts, COUNT(*) AS trades, SUM(bought) AS bought, SUM(sold) AS sold,
       MIN(price) AS lowest_price, MAX(price) AS highest_price, MIN(ts) AS first_ts, MAX(ts) AS last_ts
FROM (
    SELECT account, counter_account, instrument_id, ts, price, ts / {length} * {length} AS window_ts,
           {sides} AS bought, size - {sides} AS sold
    FROM fills WHERE account < counter_account
    UNION ALL
    SELECT account, counter_account, instrument_id, ts, price, (ts - {half}) / {length} * {length} + {half},
           {sides}, size - {sides}
    FROM fills WHERE account < counter_account
) AS windows
GROUP BY account, counter_account, instrument_id, window_ts
HAVING SUM(bought) > 0 AND SUM(sold) > 0 AND COUNT(*) >= {trades_min}
   AND SUM(bought) >= {returned_percent_min} / 100.0 * SUM(sold) AND SUM(sold) >= {returned_percent_min} / 100.0 * SUM(bought)"""


def self_trade_prevented() -> str:
    """Each time an order was kept from trading with its owner's: cancelled or made smaller."""
    return """
SELECT execution, sequence, ts, instrument_id, account, order_id, side, kind, price, size, remaining
FROM events WHERE reason = 'self_trade' AND kind IN ('cancelled', 'reduced')"""


VIEWS: dict[str, Callable[..., str]] = {
    "order_life": order_life,
    "cancels_per_fill": cancels_per_fill,
    "layering": layering,
    "wash_same_owner": wash_same_owner,
    "wash_round_trips": wash_round_trips,
    "self_trade_prevented": self_trade_prevented,
}
"""Every view by its name, in the order they are made."""


ACCOUNTS_OF: dict[str, tuple[str, ...]] = {
    "cancels_per_fill": ("account",),
    "layering": ("account",),
    "wash_same_owner": ("buy_account", "sell_account"),
    "wash_round_trips": ("account", "counter_account"),
    "self_trade_prevented": ("account",),
}
"""Columns that say whom a line is about."""
ORDER_OF: dict[str, tuple[str, ...]] = {
    "cancels_per_fill": ("window_ts", "account", "instrument_id"),
    "layering": ("sequence", "account", "instrument_id", "filled_side"),
    "wash_same_owner": ("execution",),
    "wash_round_trips": ("window_ts", "account", "counter_account", "instrument_id"),
    "self_trade_prevented": ("execution", "order_id"),
}
"""Columns that tell lines apart, from older to newer."""


def numbers_of(name: str) -> list[str]:
    """Names of the numbers that a view can be asked with."""
    return list(signature(VIEWS[name]).parameters)


def describe() -> list[dict[str, Any]]:
    """Name, first line and usual numbers of each view for compliance."""
    return [
        {
            "name": name,
            "what": (query.__doc__ or "").partition("\n")[0].rstrip("."),
            "numbers": {number: parameter.default for number, parameter in signature(query).parameters.items()},
        }
        for name, query in VIEWS.items()
        if name in ORDER_OF
    ]


def statement(name: str) -> str:
    """The SQL that makes a view."""
    return f"CREATE VIEW {name} AS{VIEWS[name]()}"

"""Windows of markets computed the slow way: record by record, with every number by its definition, to compare the engine's with."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise
from typing import Any

from tests.analytics.tape import NS, Record

_UNUSABLE = 2


def windows(records: list[Record], interval_s: int) -> dict[tuple[int, int], dict[str, float]]:
    """By instrument and beginning: windows with a trade or quote that are over by the last record of their venue."""
    by_market: dict[int, list[Record]] = defaultdict(list)
    ends: dict[int, int] = {}
    for record in records:
        by_market[record["instrument_id"]].append(record)
        ends[record["instrument_id"] >> 24] = record["ts_recv"]
    found = {}
    for of, own in by_market.items():
        over = ends[of >> 24] // (interval_s * NS) * interval_s * NS
        for opened in sorted({record["ts_recv"] // (interval_s * NS) * interval_s * NS for record in own}):
            if opened < over and any(record["channel"] != "md.status" for record in _within(own, opened, interval_s)):
                found[of, opened] = _window(own, opened, interval_s)
    return found


def _within(own: list[Record], opened: int, interval_s: int) -> list[Record]:
    return [record for record in own if opened <= record["ts_recv"] < opened + interval_s * NS]


def _top(record: Record | None) -> tuple[float, float, float, float] | None:
    if record is None or record["channel"] == "md.status" or not (record["bid_size"] and record["ask_size"]):
        return None
    return tuple(record[name] / scale for name, scale in _SCALES)


_SCALES = (("bid_price", 100), ("bid_size", 1000), ("ask_price", 100), ("ask_size", 1000))


def _window(own: list[Record], opened: int, interval_s: int) -> dict[str, float]:
    ends = opened + interval_s * NS
    tops = [record for record in own if record["channel"] != "md.trades"]
    trades = [record for record in _within(own, opened, interval_s) if record["channel"] == "md.trades"]
    changes = [opened, *(r["ts_recv"] for r in tops if opened < r["ts_recv"] < ends), ends]
    spans: list[tuple[int, tuple[float, float, float, float]]] = []
    for begin, end in pairwise(changes):
        standing = _top(next((r for r in reversed(tops) if r["ts_recv"] <= begin), None))
        if standing is not None:
            spans.append((end - begin, standing))
    quoted = sum(span for span, _ in spans)

    def mean(value: Any) -> float:
        return sum(span * value(*top) for span, top in spans) / quoted if quoted else math.nan

    def mid(top: tuple[float, float, float, float]) -> float:
        return (top[0] + top[2]) / 2

    flow, prices = 0.0, [r for r in own if r["channel"] == "md.trades" and r["ts_recv"] < ends]
    for before, after in pairwise(tops):
        if opened <= after["ts_recv"] < ends and (old := _top(before)) and (new := _top(after)):
            flow += (new[1] if new[0] >= old[0] else 0) - (old[1] if new[0] <= old[0] else 0)
            flow -= (new[3] if new[2] <= old[2] else 0) - (old[3] if new[2] >= old[2] else 0)
    paid = worth = size = 0.0
    for print_ in trades:
        standing = _top(next((r for r in reversed(tops) if r["source_sequence"] < print_["source_sequence"]), None))
        if standing is not None:
            price, middle = print_["price"] / 100, mid(standing)
            one = abs(price - middle) if print_["side"] == 0 else print_["side"] * (price - middle)
            paid += 2 * one * print_["size"] / 1000
            worth += 2 * one / middle * 1e4 * print_["size"] / 1000
            size += print_["size"] / 1000
    priced = price_time = 0.0
    at, last = opened, next((r["price"] / 100 for r in reversed(prices) if r["ts_recv"] < opened), None)
    ended: list[Record | None] = [*trades, None]
    for each in ended:
        until = ends if each is None else each["ts_recv"]
        if last is not None:
            priced, price_time = priced + (until - at), price_time + (until - at) * last
        at, last = until, last if each is None else each["price"] / 100
    variance, before_mid = 0.0, None
    for second in range(own[0]["ts_recv"] // NS, ends // NS):
        top = _top(next((r for r in reversed(tops) if r["ts_recv"] < (second + 1) * NS), None))
        if top is not None:
            if before_mid is not None and second * NS >= opened:
                variance += math.log(mid(top) / before_mid) ** 2
            before_mid = mid(top)
    bought = sum(r["size"] for r in trades if r["side"] > 0) / 1000
    sold = sum(r["size"] for r in trades if r["side"] < 0) / 1000
    volume = sum(r["size"] for r in trades) / 1000
    notional = sum(r["price"] * r["size"] for r in trades) / 1e5
    end = _top(next((r for r in reversed(tops) if r["ts_recv"] < ends), None))
    return {
        "trades": len(trades),
        "volume": volume,
        "buy_volume": bought,
        "sell_volume": sold,
        "notional": notional,
        "vwap": notional / volume if volume else math.nan,
        "twap": price_time / priced if priced else math.nan,
        "mid": mid(end) if end else math.nan,
        "microprice": (end[0] * end[3] + end[2] * end[1]) / (end[1] + end[3]) if end else math.nan,
        "mid_twap": mean(lambda bid, _, ask, __: (bid + ask) / 2),
        "spread": mean(lambda bid, _, ask, __: ask - bid),
        "spread_bps": mean(lambda bid, _, ask, __: (ask - bid) / ((bid + ask) / 2) * 1e4),
        "book_imbalance": mean(lambda _, bid, __, ask: (bid - ask) / (bid + ask)),
        "effective_spread": paid / size if size else math.nan,
        "effective_spread_bps": worth / size if size else math.nan,
        "volatility": math.sqrt(variance),
        "order_flow": flow,
        "trade_imbalance": (bought - sold) / (bought + sold) if bought + sold else math.nan,
        "quoted_s": quoted / NS,
    }

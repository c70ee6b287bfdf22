"""Seeded records of `md.*`, and the same told again by somebody who reads as an engine does: in batches, channel by channel."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.market import DTYPES
from tidebook.analytics.markets import CHANNELS, Markets

if TYPE_CHECKING:
    from collections.abc import Iterable

NS = 1_000_000_000
BEGIN = 20_000 * 86_400 * NS + 86_340 * NS
"""A minute before midnight."""
DERIVED = 16

Record = dict[str, Any]


def market(venue: int, index: int) -> int:
    return venue << 24 | index


def trade(at: int, sequence: int, price: float, size: float, side: int, *, of: int = 1 << 24, index: int = 0) -> Record:
    """Prices have two decimals, sizes three."""
    return {
        "channel": "md.trades", "ts_recv": at, "source_sequence": sequence, "source_index": index, "instrument_id": of,
        "price": round(price * 100), "size": round(size * 1000), "side": side, "price_exp": 2, "size_exp": 3,
    }  # fmt: skip


def quote(
    at: int,
    sequence: int,
    bid: tuple[float, float],
    ask: tuple[float, float],
    *,
    of: int = 1 << 24,
    index: int = 0,
    flags: int = DERIVED,
) -> Record:
    return {
        "channel": "md.quotes", "ts_recv": at, "source_sequence": sequence, "source_index": index, "instrument_id": of, "flags": flags,
        "bid_price": round(bid[0] * 100), "bid_size": round(bid[1] * 1000), "ask_price": round(ask[0] * 100),
        "ask_size": round(ask[1] * 1000), "price_exp": 2, "size_exp": 3,
    }  # fmt: skip


def status(at: int, sequence: int, kind: int, *, of: int = 1 << 24, index: int = 0) -> Record:
    return {
        "channel": "md.status", "ts_recv": at, "source_sequence": sequence, "source_index": index, "instrument_id": of, "kind": kind,
    }  # fmt: skip


def clock(at: int, sequence: int, *, venue: int = 1) -> Record:
    return {
        "channel": "md.health", "ts_recv": at, "source_sequence": sequence, "source_index": 0,
        "instrument_id": venue << 24 | 0xFFFFFF,
    }  # fmt: skip


def tape(seed: int, messages: int, step_ms: int = 120, venues: tuple[int, ...] = (1, 2)) -> list[Record]:
    """Quotes, trades, and now and then a lost book, of three markets a venue, in the order an engine publishes them."""
    dice = random.Random(seed)
    made: list[Record] = []
    at, sequences = BEGIN, dict.fromkeys(venues, 0)
    mids = {market(venue, index): 100.0 + index for venue in venues for index in range(3)}
    for _ in range(messages):
        at += dice.randrange(step_ms * 2 * NS // 1_000)
        venue = dice.choice(venues)
        sequences[venue] += 1
        sequence, of = sequences[venue], market(venue, dice.randrange(3))
        mid = mids[of] = max(1.0, mids[of] + dice.choice((-0.01, 0.0, 0.01)))
        index = 0
        if dice.random() < 0.7:
            half = dice.choice((0.01, 0.02))
            bid = (mid - half, dice.randrange(0 if dice.random() < 0.1 else 1, 9))
            made.append(quote(at, sequence, bid, (mid + half, dice.randrange(1, 9)), of=of, index=index))
            index += 1
        for _ in range(dice.choice((0, 0, 1, 3))):
            price = mid + dice.choice((-0.02, -0.01, 0.01, 0.02))
            made.append(
                trade(at, sequence, price, dice.randrange(1, 50) / 10, dice.choice((1, -1, 0)), of=of, index=index)
            )
            index += 1
        if dice.random() < 0.02:
            made.append(status(at, sequence, 2, of=of, index=index))
    return made


def arrays(records: Iterable[Record]) -> dict[str, np.ndarray[Any, Any]]:
    """By channel."""
    by: dict[str, list[Record]] = {channel: [] for channel in CHANNELS}
    for record in records:
        by[record["channel"]].append(record)
    found = {}
    for channel, rows in by.items():
        found[channel] = np.zeros(len(rows), DTYPES[channel])
        for at, row in enumerate(rows):
            for name, value in row.items():
                if name != "channel":
                    found[channel][name][at] = value
    return found


def told(markets: Markets, records: list[Record], seed: int | None = None) -> np.ndarray[Any, Any]:
    """What comes of all of them, read to the end; with a seed in many turns, between which more is published while channels are read."""
    made = []
    dice = random.Random(seed)
    taken = dict.fromkeys(CHANNELS, 0)
    whole = arrays(records)
    places: dict[str, list[int]] = {channel: [] for channel in CHANNELS}
    for at, record in enumerate(records):
        places[record["channel"]].append(at)
    published = 0
    while True:
        for channel in dice.sample(CHANNELS, len(CHANNELS)):
            published = len(records) if seed is None else min(len(records), published + dice.randrange(40))
            first = taken[channel]
            last = first
            while last < len(places[channel]) and places[channel][last] < published:
                last += 1
            markets.take(channel, whole[channel][first:last])
            taken[channel] = last
        made.append(markets.turn())
        if published == len(records) and all(taken[channel] == len(places[channel]) for channel in CHANNELS):
            made.append(markets.turn())
            return np.concatenate(made)

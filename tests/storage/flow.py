"""Seeded synthetic records that look like a busy spot feed; used by the tests and the benches of storage."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidebook._core import schemas

BINANCE = 1 << 24
START_NS = 1_723_075_200_000_000_000  # 2024-08-08 00:00 UTC

Batches = dict[str, NDArray[Any]]


def empty(type: str, rows: int) -> NDArray[Any]:
    return np.zeros(rows, schemas()[type].dtype())


def instruments(symbols: list[str], sequence: int = 1) -> NDArray[Any]:
    """Definitions of `symbols`, ids from 0 of Binance, all from message `sequence`."""
    records = empty("instruments", len(symbols))
    for index, symbol in enumerate(symbols):
        text = symbol.encode().ljust(40, b"\0")
        records[index]["symbol"] = np.frombuffer(text, np.uint8)
        records[index]["instrument_id"] = BINANCE + index
        records[index]["source_index"] = index
    records["source_sequence"] = sequence
    records["ts_recv"] = START_NS
    records["instrument_version"] = 1
    records["price_exp"], records["size_exp"] = 2, 5
    records["tick"], records["lot"] = 1, 1
    return records


def _common(type: str, rows: int, seed: int, first_sequence: int, start_ns: int, span_ns: int) -> NDArray[Any]:
    random = np.random.default_rng((seed, rows, len(type)))
    records = empty(type, rows)
    gaps = random.exponential(span_ns / max(rows, 1), rows)
    records["ts_event"] = start_ns + np.cumsum(gaps).astype(np.int64)
    records["ts_recv"] = records["ts_event"] + random.lognormal(np.log(5e6), 0.6, rows).astype(np.int64)
    records["source_sequence"] = first_sequence + np.arange(rows) // 4
    records["source_index"] = np.arange(rows) % 4
    records["instrument_id"] = BINANCE
    if "price_exp" in (records.dtype.names or ()):
        records["price_exp"], records["size_exp"] = 2, 5
    return records


def walk(random: np.random.Generator, rows: int, start: int = 6_000_000) -> NDArray[np.int64]:
    """Price units: mostly unchanged, else a step of one to three ticks."""
    steps = random.choice([0, 1, -1, 2, -2, 3, -3], rows, p=[0.62, 0.12, 0.12, 0.045, 0.045, 0.025, 0.025])
    return start + np.cumsum(steps)


def lots(random: np.random.Generator, rows: int) -> NDArray[np.int64]:
    """Size units: log-normal lots, a quarter of them round."""
    sizes = np.maximum(1, random.lognormal(np.log(60), 1.5, rows)).astype(np.int64)
    return np.where(random.random(rows) < 0.25, np.maximum(1, sizes // 100) * 100, sizes) * 1_000


def trades(
    rows: int, seed: int = 1, *, first_sequence: int = 2, start_ns: int = START_NS, span_ns: int = 3_600_000_000_000
) -> NDArray[Any]:
    random = np.random.default_rng(seed)
    records = _common("trades", rows, seed, first_sequence, start_ns, span_ns)
    records["price"] = walk(random, rows)
    records["size"] = lots(random, rows)
    records["side"] = np.where(np.cumsum(random.random(rows) < 0.3) % 2, 1, -1)
    records["trade_id"] = 3_700_000_000 + np.arange(rows)
    return records


def quotes(rows: int, seed: int = 1, *, first_sequence: int = 2, start_ns: int = START_NS) -> NDArray[Any]:
    random = np.random.default_rng(seed + 1)
    records = _common("quotes", rows, seed, first_sequence, start_ns, 3_600_000_000_000)
    records["ts_event"] = 0  # Binance's bookTicker sends no time
    records["bid_price"] = walk(random, rows)
    records["ask_price"] = records["bid_price"] + 1
    records["bid_size"] = lots(random, rows)
    records["ask_size"] = lots(random, rows)
    records["venue_sequence"] = 50_000_000_000 + 3 * np.arange(rows)
    return records


def depth(rows: int, seed: int = 1, *, first_sequence: int = 2, start_ns: int = START_NS) -> NDArray[Any]:
    random = np.random.default_rng(seed + 2)
    records = _common("depth", rows, seed, first_sequence, start_ns, 3_600_000_000_000)
    message = np.arange(rows) // 20
    records["source_sequence"] = first_sequence + message
    records["source_index"] = np.arange(rows) % 20
    for clock in ("ts_event", "ts_recv"):
        records[clock] = records[clock][message * 20]
    records["side"] = np.where(np.arange(rows) % 20 < 10, 1, -1)
    away = random.geometric(0.02, rows)
    records["price"] = 6_000_000 + (message % 50) - records["side"] * away
    records["size"] = np.where(random.random(rows) < 0.3, 0, lots(random, rows))
    records["venue_sequence"] = 50_000_000_000 + 7 * message
    records["action"] = 1
    records["flags"] = np.where(np.arange(rows) % 20 == 19, 128, 0)
    return records


def orders(rows: int, seed: int = 1, *, first_sequence: int = 2, start_ns: int = START_NS) -> NDArray[Any]:
    """Each order is added, and most are changed or gone a few records later."""
    random = np.random.default_rng(seed + 4)
    records = _common("orders", rows, seed, first_sequence, start_ns, 3_600_000_000_000)
    records["action"] = random.choice([1, 2, 3, 4, 5], rows, p=[0.48, 0.01, 0.01, 0.05, 0.45])
    records["order_id"] = (
        65_000_000 + np.arange(rows) - np.where(records["action"] == 1, 0, random.integers(0, 40, rows))
    )
    records["side"] = random.choice([1, -1], rows)
    records["price"] = walk(random, rows) - records["side"] * random.geometric(0.05, rows)
    records["size"] = lots(random, rows)
    records["remaining"] = np.where(records["action"] < 3, records["size"], 0)
    records["flags"] = 128
    return records


def bars(rows: int, seed: int = 1, *, first_sequence: int = 2, start_ns: int = START_NS) -> NDArray[Any]:
    random = np.random.default_rng(seed + 3)
    records = _common("bars", rows, seed, first_sequence, start_ns, 60_000_000_000 * rows)
    records["ts_open"] = start_ns + 60_000_000_000 * np.arange(rows)
    records["ts_event"] = records["ts_open"] + 60_000_000_000
    records["interval_s"] = 60
    for name in ("open", "high", "low", "close"):
        records[name] = walk(random, rows)
    records["volume"] = lots(random, rows)
    records["buy_volume"] = records["volume"] // 2
    records["notional_low"] = records["volume"].astype(np.uint64) * np.uint64(6_000_000)
    return records

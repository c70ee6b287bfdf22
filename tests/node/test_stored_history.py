"""What a data directory tells about the past of a market, and that it opens only what it must."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.storage import flow
from tidebook.api import Bar, History, Outage
from tidebook.errors import StorageCorruptError
from tidebook.node.stored_history import StoredHistory
from tidebook.storage.writer import StorageWriter

BTC, ETH = "BTCUSDT.BINANCE", "ETHUSDT.BINANCE"
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = flow.START_NS
GAP, DISCONNECTED = 1, 15
BOOK_UNUSABLE, BOOK_USABLE, CONNECTED = 2, 3, 14
FAR = START + 86_400 * SECOND


def bars(*rows: tuple[int, int, int, int, int]) -> NDArray[Any]:
    """Bars by (sequence, instrument, minute, close, revision)."""
    records = flow.empty("bars", len(rows))
    for record, (sequence, instrument, minute, close, revision) in zip(records, rows, strict=True):
        record["source_sequence"], record["revision"], record["interval_s"] = sequence, revision, 60
        record["instrument_id"] = flow.BINANCE + instrument
        record["ts_open"] = START + minute * MINUTE
        record["ts_event"] = record["ts_recv"] = record["ts_open"] + MINUTE
        for name in ("open", "high", "low", "close"):
            record[name] = close
        record["volume"], record["trade_count"] = 3, 2
        record["price_exp"], record["size_exp"] = 2, 5
    return records


def statuses(*rows: tuple[int, int, int, int]) -> NDArray[Any]:
    """Status records by (second, instrument or -1 for the whole feed, kind, reason); the second is the sequence too."""
    records = flow.empty("status", len(rows))
    for record, (second, instrument, kind, reason) in zip(records, rows, strict=True):
        record["source_sequence"], record["kind"], record["reason"], record["found"] = second, kind, reason, second
        record["ts_recv"] = START + second * SECOND
        record["instrument_id"] = flow.BINANCE + instrument if instrument >= 0 else flow.BINANCE + (1 << 24) - 1
    return records


def trades(*seconds: int) -> NDArray[Any]:
    records = flow.trades(len(seconds))
    records["source_sequence"] = seconds
    records["source_index"] = 0
    records["ts_event"] = records["ts_recv"] = START + np.array(seconds) * SECOND
    return records


def stored(root: Path, *commits: tuple[int, dict[str, NDArray[Any]]]) -> StoredHistory:
    with StorageWriter(root, "feed.binance") as writer:
        writer.append("instruments", flow.instruments([BTC, ETH]))
        for position, batches in commits:
            for name, records in batches.items():
                writer.append(name, records)
            writer.flush(position)
    return StoredHistory(root)


def minutes(found: Any) -> list[tuple[int, int, int]]:
    """(minute, close, revision)."""
    return [((bar.ts_open - START) // MINUTE, bar.close, bar.revision) for bar in found]


def test_bars_are_the_newest_before_a_time_each_in_its_last_revision(tmp_path: Path) -> None:
    """Nine minutes in three commits; the last one revises minute 2 and holds another instrument's bars too."""
    history: History = stored(
        tmp_path,
        (10, {"bars": bars(*((2 + at, 0, at, 100 + at, 0) for at in range(3)))}),
        (20, {"bars": bars(*((12 + at, 0, at, 100 + at, 0) for at in range(3, 6)))}),
        (30, {"bars": bars((21, 0, 2, 777, 1), *((22 + at, at % 2, at, 100 + at, 0) for at in range(6, 8)))}),
    )
    assert minutes(history.bars(BTC, "1m", FAR, 99)) == [
        (0, 100, 0),
        (1, 101, 0),
        (2, 777, 1),
        (3, 103, 0),
        (4, 104, 0),
        (5, 105, 0),
        (6, 106, 0),
    ]
    assert minutes(history.bars(BTC, "1m", FAR, 2)) == [(5, 105, 0), (6, 106, 0)]
    assert minutes(history.bars(BTC, "1m", START + 3 * MINUTE, 2)) == [(1, 101, 0), (2, 777, 1)]
    assert history.bars(BTC, "1m", START, 2) == []
    assert history.bars(ETH, "1m", FAR, 9) == [Bar(START + 7 * MINUTE, 107, 107, 107, 107, 3, 0, 2, 0, 0, 2, 5)]


def test_only_the_files_that_can_answer_are_opened(tmp_path: Path) -> None:
    """Method: the oldest file is damaged, which only a question that needs it notices."""
    history = stored(tmp_path, *((10 * at, {"bars": bars((10 * at, 0, at, 100 + at, 0))}) for at in range(1, 5)))
    oldest = min(tmp_path.glob("warm/bars/**/*.parquet"))
    oldest.write_bytes(oldest.read_bytes()[::-1])
    assert minutes(history.bars(BTC, "1m", FAR, 3)) == [(2, 102, 0), (3, 103, 0), (4, 104, 0)]
    with pytest.raises(StorageCorruptError, match=oldest.name):
        history.bars(BTC, "1m", FAR, 4)


@pytest.mark.parametrize("ask", [("NONE.BINANCE", "1m"), (BTC, "1h"), (BTC, "1m")])
def test_what_is_not_stored_yet_is_empty_and_no_error(tmp_path: Path, ask: tuple[str, str]) -> None:
    for history in (StoredHistory(tmp_path / "none"), StoredHistory(tmp_path), stored(tmp_path, (9, {}))):
        assert list(history.bars(*ask, FAR, 9)) == []
        assert list(history.outages(ask[0], 0, FAR)) == []


def test_a_commit_is_seen_by_the_next_question(tmp_path: Path) -> None:
    history = StoredHistory(tmp_path)
    assert list(history.bars(BTC, "1m", FAR, 9)) == []
    stored(tmp_path, (10, {"bars": bars((2, 0, 0, 100, 0))}))
    assert minutes(history.bars(BTC, "1m", FAR, 9)) == [(0, 100, 0)]


def test_outages_are_those_of_the_book_and_the_times_without_a_session(tmp_path: Path) -> None:
    """A gap of a book; a session that ends beside a living one; and a node that is killed at 40 and back at 60."""
    told = statuses(
        (1, -1, CONNECTED, 0),
        (2, 0, BOOK_USABLE, 5),
        (10, 0, BOOK_UNUSABLE, GAP),
        (12, 0, BOOK_USABLE, 5),
        (20, -1, CONNECTED, 0),
        (30, 1, BOOK_UNUSABLE, GAP),
        (60, -1, DISCONNECTED, 0),
        (61, 0, BOOK_UNUSABLE, DISCONNECTED),
        (62, -1, CONNECTED, 0),
        (63, 0, BOOK_USABLE, 5),
    )
    told["found"][[0, 6]] = 1
    told["found"][4] = 60  # the session of second 20 ends with the process
    told["kind"][6] = DISCONNECTED
    ended = told[6:7].copy()
    ended["found"], ended["source_index"] = 60, 1
    everything = np.concatenate([told[:7], ended, told[7:]])
    history = stored(tmp_path, (70, {"status": everything, "trades": trades(*range(2, 41), *range(62, 66))}))
    us = [
        ((outage.since - START) // SECOND, ((outage.until or 0) - START) // SECOND, outage.reason)
        for outage in history.outages(BTC, START, FAR)
    ]
    assert us == [(10, 12, "gap"), (40, 62, "silent"), (61, 63, "disconnected")]
    assert [outage.reason for outage in history.outages(ETH, START, FAR)] == ["silent"]
    assert isinstance(history.outages(BTC, START, FAR)[0], Outage)

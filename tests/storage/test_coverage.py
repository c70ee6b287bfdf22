"""Coverage tells what is stored, which messages never came, and when nothing could come."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.storage import flow, scenario
from tidebook.storage.coverage import Gap
from tidebook.storage.disk import Disk
from tidebook.storage.store import Store
from tidebook.storage.writer import StorageWriter

# Numbers of `Status.kind`.
BOOK_UNUSABLE, BOOK_USABLE, CONNECTED, DISCONNECTED = 2, 3, 14, 15


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("store")
    scenario.store(root, Disk())
    return Store(root)


def test_coverage_counts_rows_by_symbol(store: Store) -> None:
    covered = {(row.type, row.symbol): row for row in store.coverage()}
    counts = store.scan("trades").group_by("symbol").len().collect()
    assert {symbol: covered["trades", symbol].rows for symbol in scenario.SYMBOLS} == dict(counts.iter_rows())
    assert covered["bars", "BTCUSDT.BINANCE"].timeframe == "1m"
    assert covered["status", "*.BINANCE"].rows == 11


def test_coverage_tells_the_gaps_that_the_feed_noticed(store: Store) -> None:
    gaps = {(row.type, row.symbol): row.gaps for row in store.coverage() if row.gaps}
    missed = Gap(
        kind="missed",
        ts_start=scenario.LATE_NS,
        ts_recv=scenario.LATE_NS,
        source_sequence=16,
        expected=100,
        found=103,
        count=3,
    )
    assert gaps == {("depth", scenario.SYMBOLS[1]): (missed,)}


def statuses(*rows: tuple[int, int, int, int]) -> NDArray[Any]:
    """Status records: sequence, kind, connection, index of the instrument (0 the whole feed)."""
    records = flow.empty("status", len(rows))
    for record, (sequence, kind, connection, instrument) in zip(records, rows, strict=True):
        record["source_sequence"], record["kind"], record["found"] = sequence, kind, connection
        record["ts_recv"] = flow.START_NS + sequence * 1_000_000_000
        record["instrument_id"] = flow.BINANCE + instrument - 1 if instrument else 0
        record["reason"] = DISCONNECTED if kind == BOOK_UNUSABLE else 0
    return records


def at_seconds(type: str, seconds: list[int], instrument: int = 1) -> NDArray[Any]:
    """Records of `type`, message n received at second n."""
    records = flow.empty(type, len(seconds))
    records["source_sequence"] = seconds
    records["ts_recv"] = records["ts_event"] = flow.START_NS + np.array(seconds) * 1_000_000_000
    records["instrument_id"] = flow.BINANCE + instrument - 1
    return records


def downtimes(store: Store) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Seconds from the last record to the next session, by type and symbol."""
    return {
        (row.type, row.symbol): [
            ((gap.ts_start - flow.START_NS) // 1_000_000_000, (gap.ts_recv - flow.START_NS) // 1_000_000_000)
            for gap in row.gaps
            if gap.kind == "disconnected"
        ]
        for row in store.coverage()
        if any(gap.kind == "disconnected" for gap in row.gaps)
    }


def test_coverage_tells_when_no_session_was_there(tmp_path: Path) -> None:
    """A session breaks at 20 s, after 8 s of silence; a new one is there at 25 s. Later the process is killed, and the
    next one begins at 60 s: it says for the dead one that its session ended. Bars close by timers all the while.
    """
    with StorageWriter(tmp_path, "feed.binance") as writer:
        writer.append("instruments", flow.instruments(["A", "B"]))
        writer.append("status", statuses((2, CONNECTED, 1, 0)))
        writer.append("trades", np.concatenate([at_seconds("trades", [3, 11]), at_seconds("trades", [12], 2)]))
        writer.append("bars", at_seconds("bars", [9, 18]))
        writer.flush(18)
        writer.append("status", statuses((20, DISCONNECTED, 1, 0), (25, CONNECTED, 2, 0)))
        writer.append("trades", at_seconds("trades", [26, 40]))
        writer.flush(40)
        writer.append("bars", at_seconds("bars", [41]))
        writer.append("status", statuses((60, DISCONNECTED, 2, 0), (61, CONNECTED, 3, 0)))
        writer.append("trades", at_seconds("trades", [62]))
        writer.flush(62)
    assert downtimes(Store(tmp_path)) == {("trades", "A"): [(12, 25), (40, 61)], ("bars", "A"): [(12, 25)]}


def test_coverage_tells_which_instrument_had_no_session_while_others_lived(tmp_path: Path) -> None:
    """Two sessions, one an instrument. The second one's ends; a planned change of the first one's costs nothing."""
    usable = [(3, BOOK_USABLE, 0, 1), (3, BOOK_USABLE, 0, 2)]
    lost = [(11, DISCONNECTED, 2, 0), (11, BOOK_UNUSABLE, 0, 2), (15, CONNECTED, 3, 0), (17, BOOK_USABLE, 0, 2)]
    changed = [(20, CONNECTED, 4, 0), (21, DISCONNECTED, 1, 0)]
    with StorageWriter(tmp_path, "feed.binance") as writer:
        writer.append("instruments", flow.instruments(["A", "B"]))
        writer.append("status", statuses((2, CONNECTED, 1, 0), (2, CONNECTED, 2, 0), *usable, *lost, *changed))
        depth = [at_seconds("depth", [4, 10, 12, 22], 1), at_seconds("depth", [5, 8, 17, 23], 2)]
        writer.append("depth", np.sort(np.concatenate(depth), order="source_sequence"))
        writer.flush(23)
    assert downtimes(Store(tmp_path)) == {("depth", "B"): [(8, 17)]}

"""One small feed, stored in five commits, and the process that stores it and may be killed.

Everything is a function of the seed, so what a store must hold at a position is known without asking it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.storage import flow
from tidebook.storage.columns import TYPES, to_records
from tidebook.storage.disk import Disk
from tidebook.storage.part import PartOptions, read_part
from tidebook.storage.store import Store
from tidebook.storage.writer import StorageWriter, WriterOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNEL = "feed.binance"
SYMBOLS = ["BTCUSDT.BINANCE", "ETH/USDT.BINANCE", "_X.BINANCE"]
POSITIONS = (1, 40, 41, 120, 300)
LATE_NS = flow.START_NS + 86_400_000_000_000 - 1_800_000_000_000  # half an hour before midnight
OPTIONS = WriterOptions(pack_rows=100, threads=2, part=PartOptions(row_group_rows=500))


def records() -> flow.Batches:
    """Every record of the feed: three instruments, two dates, all types a store keeps."""
    batches = {
        "instruments": flow.instruments(SYMBOLS),
        "trades": flow.trades(1_000, start_ns=LATE_NS),
        "quotes": flow.quotes(900, start_ns=LATE_NS),
        "depth": flow.depth(1_500, start_ns=LATE_NS),
        "orders": flow.orders(700, start_ns=LATE_NS),
        "bars": flow.bars(200, start_ns=LATE_NS),
        "status": flow.empty("status", 12),
    }
    status = batches["status"]
    status["source_sequence"], status["ts_recv"], status["kind"] = 5 + np.arange(12), LATE_NS, 12
    # Message 16 showed that three depth messages of the second instrument never came.
    status[11]["kind"], status[11]["instrument_id"] = 1, flow.BINANCE + 1
    status[11]["expected"], status[11]["found"], status[11]["count"] = 100, 103, 3
    for name in ("trades", "quotes", "depth", "orders"):
        batch = batches[name]
        batch["instrument_id"] += np.select(
            [np.arange(len(batch)) % 40 == 0, np.arange(len(batch)) % 43 == 0], [1, 2]
        ).astype(np.uint32)
    return {name: batch[batch["source_sequence"] <= POSITIONS[-1]] for name, batch in batches.items()}


def up_to(position: int) -> flow.Batches:
    """What a store at `position` must hold, in the order of the feed."""
    return {
        name: np.sort(batch[batch["source_sequence"] <= position], order=["source_sequence", "source_index"])
        for name, batch in records().items()
    }


def store(root: Path, disk: Disk, committed: Callable[[int], None] = lambda _: None) -> None:
    """Replay the feed from its start and store what is not stored yet; tell `committed` each position reached."""
    with StorageWriter(root, CHANNEL, options=OPTIONS, disk=disk) as writer:
        batches, first = records(), 0
        for position in POSITIONS:
            for name, batch in batches.items():
                sequences = batch["source_sequence"]
                writer.append(name, batch[(sequences > first) & (sequences <= position)])
            first = position
            if position > writer.position:
                committed(writer.flush(position).position)


def stored(root: Path) -> flow.Batches:
    """Every record in the store, in the order of the feed, read from its files bit for bit."""
    opened = Store(root)
    found: dict[str, NDArray[Any]] = {}
    for name in TYPES:
        parts = [
            to_records(name, read_part(root / entry.path, name, (root / entry.path).read_bytes()))
            for entry in opened.files(name)
        ]
        whole = np.concatenate([flow.empty(name, 0), *parts])
        found[name] = np.sort(whole, order=["source_sequence", "source_index"])
    return found


def check(root: Path, at_least: int = 0) -> int:
    """The position of a store that holds exactly the records up to it, whole, and not less than was acknowledged."""
    opened = Store(root)
    position = opened.position(CHANNEL)
    assert position >= at_least, f"a commit at {at_least} was acknowledged and is gone"
    expected, found = up_to(position), stored(root)
    for name in TYPES:
        assert np.array_equal(found[name], expected[name]), f"{name} differ at position {position}"
    assert opened.verify().errors == ()
    return position


def files_on_disk(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*.parquet")}

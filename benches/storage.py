"""Storage: rows stored a second with all promises on, bytes a trade, a slice of an hour, a small commit.

Peers get the same records. `pyarrow snappy` writes them as most notebooks do: all defaults, nothing proven, synced or
read back. DuckDB keeps them in its own file.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benches.harness import Bench, Sample, at_least, at_most, measure, times_better
from tests.storage import flow
from tidebook.storage.store import Store
from tidebook.storage.writer import StorageWriter

CHANNEL = "feed.binance"
SYMBOL = "BTCUSDT.BINANCE"
BATCH_ROWS = 8_192
HOUR_NS = 3_600_000_000_000


def run(bench: Bench) -> None:
    with scratch() as folder:
        writing(bench, folder)
        size(bench, folder)
        slicing(bench, folder)
        proving(bench, folder)
        committing(bench, folder)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on a disk and not on a tmpfs, where a sync would cost nothing."""
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/var/tmp") as name:
        yield Path(name)


def naive(folder: Path, type: str, records: NDArray[Any], compression: str = "snappy") -> int:
    """Write records the way of the tutorials; the file's size."""
    columns: dict[str, Any] = {}
    for name in records.dtype.names or ():
        if name.startswith("ts_"):
            columns[name] = pa.array(records[name].view("M8[ns]"))
        elif name.endswith(("price", "size")):
            columns[name] = records[name] / 10.0 ** records["price_exp" if name.endswith("price") else "size_exp"]
        elif name not in {"reserved", "price_exp", "size_exp", "instrument_id"}:
            columns[name] = np.ascontiguousarray(records[name])
    columns["symbol"] = pa.array([SYMBOL] * len(records))
    path = folder / f"{type}.parquet"
    pq.write_table(pa.table(columns), path, compression=compression)
    return path.stat().st_size


def writing(bench: Bench, folder: Path) -> None:
    rows = bench.size(2_000_000, 4_000)
    batches = {"trades": flow.trades(rows // 4), "quotes": flow.quotes(rows // 4), "depth": flow.depth(rows // 2)}
    position = max(int(batch["source_sequence"][-1]) for batch in batches.values())
    writer = StorageWriter(folder / "written", CHANNEL)
    writer.append("instruments", flow.instruments([SYMBOL]))

    def ours() -> None:
        """Batches as a decoder gives them, then one durable commit."""
        stored = writer.position
        for kind, batch in batches.items():
            moved = batch
            if stored:
                moved = batch.copy()
                moved["source_sequence"] += stored
            for start in range(0, len(moved), BATCH_ROWS):
                writer.append(kind, moved[start : start + BATCH_ROWS])
        writer.flush(stored + position)

    def pyarrow() -> None:
        for kind, batch in batches.items():
            naive(folder, kind, batch)

    samples = measure({"ours": ours, "pyarrow snappy": pyarrow}, rounds=bench.size(7, 1))
    writer.close()
    bench.figure(
        "trades, quotes and depth stored",
        samples["ours"].as_rate(rows, "rows"),
        peers={"pyarrow snappy": samples["pyarrow snappy"].as_rate(rows, "rows")},
        goals=[at_least(1_500_000)],
        note="decimals proven, synced, read back, committed with the position; the peer does none of these",
    )


def size(bench: Bench, folder: Path) -> None:
    rows = bench.size(1_000_000, 20_000)
    trades = flow.trades(rows)
    with StorageWriter(folder / "sized", CHANNEL) as writer:
        writer.append("instruments", flow.instruments([SYMBOL]))
        writer.append("trades", trades)
        writer.flush(int(trades["source_sequence"][-1]))
    (entry,) = Store(folder / "sized").files("trades")
    snappy = naive(folder, "sized", trades)
    zstd = naive(folder, "sized", trades, "zstd")
    database = folder / "sized.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"create table trades as from read_parquet('{folder}/sized.parquet')")
    in_unit = {"pyarrow snappy": snappy, "pyarrow zstd": zstd, "duckdb": database.stat().st_size}
    bench.figure(
        "bytes of a trade",
        Sample(entry.size_bytes / rows, 0.0, "B"),
        peers={name: Sample(count / rows, 0.0, "B") for name, count in in_unit.items()},
        goals=[at_most(8.8)],
        note="two ns clocks, id, price, size, side, source",
    )


def slicing(bench: Bench, folder: Path) -> None:
    """A day of three symbols in hourly parts; one hour of one symbol, all columns."""
    rows = bench.size(60_000, 500)
    symbols = ["BTCUSDT.BINANCE", "ETHUSDT.BINANCE", "SOLUSDT.BINANCE"]
    root = folder / "sliced"
    with StorageWriter(root, CHANNEL) as writer:
        writer.append("instruments", flow.instruments(symbols))
        for hour in range(24):
            first = writer.position + 2
            trades = flow.trades(rows, seed=hour, first_sequence=first, start_ns=flow.START_NS + hour * HOUR_NS)
            trades["instrument_id"] += (np.arange(rows) % 3).astype(np.uint32)
            writer.append("trades", trades)
            writer.flush(int(trades["source_sequence"][-1]))
    store = Store(root)
    database = duckdb.connect(str(folder / "sliced.duckdb"))
    database.execute(
        "create table trades as select * replace (ts_event::timestamp_ns as ts_event, ts_recv::timestamp_ns as ts_recv) "
        f"from read_parquet('{root}/warm/trades/*/*/*.parquet', hive_partitioning = false) "
        "order by symbol, source_sequence, source_index"
    )
    day = "2024-08-08"
    expected = store.scan("trades", symbols[1], start=f"{day}T10:30", end=f"{day}T11:30").collect()

    def listed() -> pl.DataFrame:
        frame = pl.scan_parquet(f"{root}/warm/trades/*/*/*.parquet", hive_partitioning=False)
        since = pl.lit(f"{day}T10:30").str.to_datetime(time_unit="ns", time_zone="UTC")
        until = pl.lit(f"{day}T11:30").str.to_datetime(time_unit="ns", time_zone="UTC")
        time = pl.col("ts_event")
        return frame.filter((pl.col("symbol") == symbols[1]) & (time >= since) & (time < until)).collect()

    def duck() -> pl.DataFrame:
        found: pl.DataFrame = database.sql(
            f"select * from trades where symbol = '{symbols[1]}' and ts_event >= '{day} 10:30:00'::timestamp_ns "
            f"and ts_event < '{day} 11:30:00'::timestamp_ns"
        ).pl()
        return found

    assert listed().height == duck().height == expected.height
    samples = measure(
        {
            "ours": lambda: store.scan("trades", symbols[1], start=f"{day}T10:30", end=f"{day}T11:30").collect(),
            "polars over a listing": listed,
            "duckdb": duck,
        },
        rounds=bench.size(25, 1),
        warmup=3,
    )
    database.close()
    bench.figure(
        "an hour of one symbol",
        samples["ours"].in_unit("ms"),
        peers={name: samples[name].in_unit("ms") for name in ("polars over a listing", "duckdb")},
        goals=[at_most(5), times_better(1, "duckdb")],
        note=f"{expected.height} rows, all columns, of {24 * rows} in {len(store.files('trades'))} files",
    )


def proving(bench: Bench, folder: Path) -> None:
    """What the first scan of a process costs: every file is read whole and its hash compared. From the page cache."""
    rows = bench.size(1_000_000, 20_000)
    root = folder / "proven"
    with StorageWriter(root, CHANNEL) as writer:
        writer.append("instruments", flow.instruments([SYMBOL]))
        for seed in range(4):
            trades = flow.trades(rows, seed=seed, first_sequence=writer.position + 2)
            writer.append("trades", trades)
            writer.flush(int(trades["source_sequence"][-1]))
    store = Store(root)
    files = store.files("trades")

    def first() -> None:
        for entry in files:  # a file whose times are fresh is read again
            (root / entry.path).touch()
        store.scan("trades")

    samples = measure({"ours": first, "polars": store.scan("trades").collect}, rounds=bench.size(9, 1), warmup=1)
    megabytes = round(sum(entry.size_bytes for entry in files) / 1e6)
    bench.figure(
        "files proven before their first use",
        samples["ours"].as_rate(megabytes, "MB"),
        goals=[at_least(2_000)],
        note=f"{megabytes} MB in {len(files)} files; reading all columns then takes {samples['polars'].value * 1e3:.0f} ms",
    )


def committing(bench: Bench, folder: Path) -> None:
    """What the live follower does every few minutes for one instrument."""
    rows = 5_000
    writer = StorageWriter(folder / "committed", CHANNEL)
    writer.append("instruments", flow.instruments([SYMBOL]))
    trades = flow.trades(rows)

    def ours() -> None:
        moved = trades.copy()
        moved["source_sequence"] += writer.position
        writer.append("trades", moved)
        writer.flush(int(moved["source_sequence"][-1]))

    samples = measure({"ours": ours, "pyarrow snappy": lambda: naive(folder, "committed", trades)}, bench.size(200, 2))
    writer.close()
    bench.figure(
        "a commit of 5,000 trades",
        samples["ours"].in_unit("ms"),
        peers={"pyarrow snappy": samples["pyarrow snappy"].in_unit("ms")},
        goals=[at_most(15)],
        note="five syncs; the peer writes a file and syncs nothing",
    )
    shutil.rmtree(folder / "committed")

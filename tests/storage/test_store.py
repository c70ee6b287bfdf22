"""A store answers exactly what was stored, from exactly the files it must open, and names what it does not know."""

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

import tidebook as tb
from tests.storage import flow, scenario
from tidebook.errors import QueryError, StorageCorruptError
from tidebook.storage.columns import TYPES
from tidebook.storage.disk import Disk
from tidebook.storage.store import Gap, Store
from tidebook.storage.timespan import Time, to_ns
from tidebook.storage.writer import StorageWriter, WriterOptions

HOUR_NS = 3_600_000_000_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    scenario.store(root, Disk())
    return root


@pytest.fixture
def store(root: Path) -> Store:
    return tb.open(root)


def test_a_scan_returns_every_row_with_the_values_of_its_record(store: Store) -> None:
    for name, expected in scenario.up_to(scenario.POSITIONS[-1]).items():
        frame = store.scan(name).sort("source_sequence", "source_index").collect()
        assert frame.height == len(expected), name
        for field in ("source_sequence", "source_index", "instrument_id"):
            assert (frame[field].to_numpy() == expected[field]).all(), name
        assert (frame["ts_recv"].dt.epoch("ns").to_numpy() == expected["ts_recv"]).all(), name
        if name in {"trades", "depth"}:
            assert (frame["price"].to_numpy() == expected["price"] / 100).all()
            assert (frame["size"].to_numpy() == expected["size"] / 100_000).all()


def test_rows_of_a_symbol_come_by_date_and_then_in_the_order_of_the_feed(store: Store) -> None:
    for symbol in scenario.SYMBOLS:
        frame = store.scan("depth", symbol).collect()
        time = frame.select(pl.col("ts_event").dt.date().alias("date"), "source_sequence", "source_index")
        assert time.equals(time.sort("date", "source_sequence", "source_index"))


def test_a_scan_of_some_symbols_returns_no_other_also_from_shared_files(store: Store) -> None:
    whole = store.scan("trades").collect()
    assert set(whole["symbol"].unique()) == set(scenario.SYMBOLS)
    chosen = store.scan("trades", symbols=["ETH/USDT.BINANCE"]).collect()
    assert chosen.equals(whole.filter(pl.col("symbol") == "ETH/USDT.BINANCE"))


@pytest.mark.parametrize("name", ["trades", "quotes", "bars"])
def test_start_is_included_and_end_is_not(store: Store, name: str) -> None:
    """Quotes have no venue's time here and go by receive time; bars go by their start."""
    clock = {"trades": "ts_event", "quotes": "ts_recv", "bars": "ts_open"}[name]
    times = np.sort(scenario.up_to(300)[name][clock])
    start, end = int(times[20]), int(times[-20])
    found = store.scan(name, start=start, end=end).collect()[clock].dt.epoch("ns").sort().to_list()
    assert found == [time for time in times.tolist() if start <= time < end]


def test_a_slice_opens_only_files_that_may_hold_it(store: Store) -> None:
    assert {entry.date for entry in store.files("trades", end="2024-08-09")} == {"2024-08-08"}
    assert {entry.date for entry in store.files("trades", start=date(2024, 8, 9))} == {"2024-08-09"}
    assert store.files("trades", start="2030-01-01") == []
    assert store.scan("trades", start="2030-01-01").collect().schema == store.scan("trades").collect_schema()


def test_a_frame_keeps_its_files_and_a_new_scan_sees_the_new_ones(tmp_path: Path) -> None:
    with StorageWriter(tmp_path, "feed.binance") as writer:
        writer.append("instruments", flow.instruments(["S"]))
        writer.append("trades", flow.trades(4))
        writer.flush(2)
        store = Store(tmp_path)
        before = store.scan("trades")
        writer.append("trades", flow.trades(4, first_sequence=3))
        writer.flush(3)
        assert before.collect().height == 4
        assert store.scan("trades").collect().height == 8
        assert store.position("feed.binance") == 3


def test_parts_with_and_without_integer_columns_read_as_one_table(tmp_path: Path) -> None:
    exact, inexact = flow.trades(4), flow.trades(4, first_sequence=3)
    inexact["size"][0] = 2**53 + 1
    with StorageWriter(tmp_path, "feed.binance") as writer:
        writer.append("instruments", flow.instruments(["S"]))
        writer.append("trades", exact)
        writer.flush(2)
        assert "size_units" not in Store(tmp_path).scan("trades").collect_schema().names()
        writer.append("trades", inexact)
        writer.flush(3)
    frame = Store(tmp_path).scan("trades").collect()
    assert frame["size_units"].to_list() == [None] * 4 + inexact["size"].tolist()
    assert Store(tmp_path).sql("select count(size_units) from trades").fetchall() == [(4,)]


def test_columns_chooses_and_orders(store: Store) -> None:
    assert store.scan("trades", columns=["side", "price"]).collect_schema().names() == ["side", "price"]


def test_bars_are_chosen_by_timeframe(store: Store) -> None:
    assert store.scan("bars", timeframe="1m").collect().height == len(scenario.up_to(300)["bars"])
    assert store.scan("bars", timeframe="5m").collect().height == 0


def test_sql_sees_every_type_and_the_same_rows(store: Store) -> None:
    for name in TYPES:
        expected = store.scan(name).collect().height
        assert store.sql(f"select count(*) from {name}").fetchall() == [(expected,)], name
    minutes = store.sql("select time_bucket(interval 1 minute, ts_recv) as minute from quotes order by all").pl()
    assert minutes["minute"].equals(
        store.scan("quotes").collect()["ts_recv"].dt.truncate("1m").sort().cast(pl.Datetime("us")).alias("minute")
    )
    volumes = store.sql("select symbol, sum(side * size) as volume from trades group by symbol order by symbol").pl()
    assert volumes["symbol"].to_list() == sorted(scenario.SYMBOLS)


def test_a_listing_of_the_directory_gives_other_tools_the_same_rows(root: Path, store: Store) -> None:
    listed = duckdb.read_parquet(f"{root}/warm/trades/*/*/*.parquet", hive_partitioning=False).pl()
    ours = store.scan("trades").collect()
    key = ["source_sequence", "source_index"]
    assert listed.sort(key)["symbol"].equals(ours.sort(key)["symbol"])


def test_coverage_tells_the_gaps_that_the_feed_noticed(store: Store) -> None:
    gaps = {(row.type, row.symbol): row.gaps for row in store.coverage() if row.gaps}
    assert gaps == {("depth", scenario.SYMBOLS[1]): (Gap(scenario.LATE_NS, 16, 100, 103, 3),)}


def test_coverage_counts_rows_by_symbol(store: Store) -> None:
    covered = {(row.type, row.symbol): row for row in store.coverage()}
    counts = store.scan("trades").group_by("symbol").len().collect()
    assert {symbol: covered["trades", symbol].rows for symbol in scenario.SYMBOLS} == dict(counts.iter_rows())
    assert covered["bars", "BTCUSDT.BINANCE"].timeframe == "1m"
    assert covered["status", "*.BINANCE"].rows == 11


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"type": "trade"}, "unknown record type 'trade'; did you mean 'trades'?"),
        (
            {"type": "trades", "symbols": "BTCUSD.BINANCE"},
            "unknown symbol 'BTCUSD.BINANCE'; did you mean 'BTCUSDT.BINANCE'?",
        ),
        ({"type": "trades", "columns": ["prize"]}, "unknown column 'prize'; did you mean 'price'?"),
        ({"type": "trades", "start": "yesterday"}, "start is 'yesterday', which is no time"),
        ({"type": "trades", "start": "2024-08-09", "end": "2024-08-08"}, "start 2024-08-09 is after end 2024-08-08"),
    ],
)
def test_what_a_store_cannot_answer_is_named_with_the_nearest(
    store: Store, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(QueryError) as caught:
        store.scan(**arguments)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


def test_a_directory_that_is_not_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no store at"):
        tb.open(tmp_path / "nowhere")


def test_times_may_be_given_in_any_usual_form() -> None:
    midnight = flow.START_NS
    same: list[Time] = [
        midnight,
        "2024-08-08",
        "2024-08-08T02:00:00+02:00",
        date(2024, 8, 8),
        datetime(2024, 8, 8, tzinfo=UTC),
    ]
    assert {to_ns(value, "start") for value in same} == {midnight}
    assert to_ns(datetime(2024, 8, 8, 1, 0, 0, 1), "start") == midnight + HOUR_NS + 1_000  # noqa: DTZ001 - is UTC
    assert to_ns("1969-12-31T23:59:59.5", "start") == -500_000_000


def test_verify_finds_every_damaged_file_and_names_it(tmp_path: Path) -> None:
    scenario.store(tmp_path, Disk())
    flipped, cut, gone = sorted(Store(tmp_path).manifest.files)[:3]
    data = bytearray((tmp_path / flipped).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / flipped).write_bytes(data)
    (tmp_path / cut).write_bytes((tmp_path / cut).read_bytes()[:-1])
    (tmp_path / gone).unlink()
    errors = Store(tmp_path).verify().errors
    assert [error.facts["path"] for error in errors] == [str(tmp_path / name) for name in (flipped, cut, gone)]
    assert "its hash is" in str(errors[0])
    assert "were committed" in str(errors[1])
    assert "is missing" in str(errors[2])


def test_a_scan_of_a_file_that_is_gone_or_cut_is_refused_at_once(tmp_path: Path) -> None:
    scenario.store(tmp_path, Disk())
    store = Store(tmp_path)
    path = tmp_path / store.files("trades")[0].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageCorruptError, match="were committed"):
        store.scan("trades")
    path.unlink()
    with pytest.raises(StorageCorruptError, match="is missing though the store needs it"):
        store.scan("trades")


def test_opening_a_store_with_many_versions_stays_fast(tmp_path: Path) -> None:
    """What is counted is reads, not time: at most a checkpoint and the versions behind it."""
    with StorageWriter(tmp_path, "feed.binance", options=WriterOptions(threads=1)) as writer:
        for position in range(1, 400):
            writer.flush(position)

    class Reading(Disk):
        reads = 0

        def read(self, path: Path) -> bytes:
            self.reads += 1
            return super().read(path)

    disk = Reading()
    assert Store(tmp_path, disk).position("feed.binance") == 399
    assert disk.reads < 128 + 2


def test_importing_tidebook_does_not_load_what_a_store_needs() -> None:
    code = "import sys, tidebook; print(sorted({'numpy', 'polars', 'pyarrow', 'duckdb'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"

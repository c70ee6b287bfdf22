"""A store answers exactly what was stored, from exactly the files it must open, and names what it does not know."""

import os
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
from tidebook.storage.columns import TYPES, record_dtype
from tidebook.storage.disk import Disk
from tidebook.storage.store import Store
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
        if name in {"trades", "depth", "orders"}:
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


def test_what_happened_and_why_are_told_in_words_by_scan_and_sql(tmp_path: Path) -> None:
    """Also of a number that a later version would write: no word, and the number stays."""
    records = np.zeros(4, record_dtype("status"))
    records["instrument_id"], records["source_sequence"] = flow.trades(1)["instrument_id"][0], [1, 1, 2, 2]
    records["source_index"] = [0, 1, 0, 1]
    records["kind"], records["reason"] = [2, 3, 14, 250], [7, 5, 0, 1]
    with StorageWriter(tmp_path, "feed.binance") as writer:
        writer.append("instruments", flow.instruments(["S"]))
        writer.append("status", records)
        writer.flush(2)
    store = Store(tmp_path)
    expected = [
        (2, "book_unusable", "checksum_mismatch"),
        (3, "book_usable", "snapshot_applied"),
        (14, "connected", None),
        (250, None, "gap"),
    ]
    assert store.scan("status", columns=["kind", "what", "why"]).collect().rows() == expected
    assert store.sql("select kind, what, why from status order by source_sequence, source_index").fetchall() == expected
    assert store.scan("status").collect_schema().names() == store.sql("from status").columns


def test_columns_chooses_and_orders(store: Store) -> None:
    assert store.scan("trades", columns=["side", "price"]).collect_schema().names() == ["side", "price"]


def test_bars_are_chosen_by_timeframe(store: Store) -> None:
    assert store.scan("bars", timeframe="1m").collect().height == len(scenario.up_to(300)["bars"])
    with pytest.raises(QueryError, match=r"no bars of timeframe '5m' are stored; there are: 1m"):
        store.scan("bars", timeframe="5m")
    with pytest.raises(QueryError, match="trades have no timeframe"):
        store.scan("trades", timeframe="1m")


def test_a_bar_is_given_once_in_its_last_revision_unless_all_are_asked_for(tmp_path: Path) -> None:
    """Method: three bars, the second given again twice because of late trades, the second time in another part."""
    bars = flow.bars(3)
    late = np.repeat(bars[1], 2)
    late["revision"], late["trade_count"] = [1, 2], [7, 9]
    late["source_sequence"], late["source_index"] = [2, 3], 9
    with StorageWriter(tmp_path, "feed.binance") as writer:
        writer.append("instruments", flow.instruments(["S"]))
        writer.append("bars", np.concatenate([bars, late[:1]]))
        writer.flush(2)
        writer.append("bars", late[1:])
        writer.flush(3)
    store = Store(tmp_path)
    shown = ["ts_open", "revision", "trade_count"]
    opened = [flow.START_NS + minute * 60_000_000_000 for minute in range(3)]
    last = [(opened[0], 0, 0), (opened[1], 2, 9), (opened[2], 0, 0)]
    whole = [*last, (opened[1], 0, 0), (opened[1], 1, 7)]

    def rows(frame: pl.DataFrame) -> list[tuple[int, int, int]]:
        return sorted(frame.with_columns(pl.col("ts_open").dt.epoch("ns")).select(shown).iter_rows())

    assert rows(store.scan("bars").collect()) == sorted(last)
    assert rows(store.scan("bars", columns=["revision", "trade_count", "ts_open"]).collect()) == sorted(last)
    assert store.scan("bars", columns=["revision"]).filter(pl.col("revision") < 2).collect().height == 2
    assert rows(store.scan("bars", revisions=True).collect()) == sorted(whole)
    assert rows(store.sql("from bars").pl()) == sorted(last)
    assert rows(store.sql("from bar_revisions").pl()) == sorted(whole)
    with pytest.raises(QueryError, match="revisions are of bars, not of trades"):
        store.scan("trades", revisions=True)


def test_symbols_are_understood_in_any_case(store: Store) -> None:
    expected = store.scan("trades", ["BTCUSDT.BINANCE", "ETH/USDT.BINANCE"]).collect()
    assert expected.height > 0
    assert store.scan("trades", ["btcusdt.binance", "Eth/Usdt.Binance"]).collect().equals(expected)
    start = store.scan("trades", "btcusdt.binance", start="2030-01-01")
    assert start.collect().height == 0
    with pytest.raises(QueryError, match=r"unknown symbol 'btcusd.binance'; did you mean 'BTCUSDT\.BINANCE'\?"):
        store.scan("trades", "btcusd.binance")


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


def test_sql_gives_the_same_times_as_scan_in_every_time_zone(root: Path, store: Store) -> None:
    """Method: a process whose machine lives in New York asks for the first and last time."""
    code = (
        "import sys, tidebook as tb\n"
        "query = 'select min(epoch_ns(ts_event)), max(epoch_ns(ts_recv)), max(ts_event::varchar) from trades'\n"
        "print(*tb.open(sys.argv[1]).sql(query).fetchall()[0], sep='|')"
    )
    words = [sys.executable, "-c", code, str(root)]
    environment = os.environ | {"TZ": "America/New_York"}
    shown = subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout
    times = store.scan("trades").select(
        pl.col("ts_event").min().dt.epoch("ns").alias("first"),
        pl.col("ts_recv").max().dt.epoch("ns").alias("last"),
        pl.col("ts_event").max().dt.to_string("%Y-%m-%d %H:%M:%S%.9f").alias("text"),
    )
    assert shown.strip() == "|".join(map(str, times.collect().row(0)))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select * from trade", 'Table with name trade does not exist! Did you mean "trades"?'),
        ("select prize from trades", 'Referenced column "prize" not found'),
        ("selct 1", 'syntax error at or near "selct"'),
    ],
)
def test_a_query_that_duckdb_refuses_is_one_line_of_its_words(store: Store, query: str, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        store.sql(query)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert caught.value.facts["value"] == query
    assert isinstance(caught.value.__cause__, duckdb.Error)


def test_sums_as_decimals_are_exact(tmp_path: Path) -> None:
    """What the page says of sums. Method: 10,000 sizes whose doubles are each off a little."""
    trades = flow.trades(10_000)
    trades["size"], trades["size_exp"] = 10_000_001, 8
    with StorageWriter(tmp_path, "feed.binance") as writer:
        writer.append("instruments", flow.instruments(["S"]))
        writer.append("trades", trades)
        writer.flush(10_000)
    query = "select sum(size), round(sum(size), 8), sum(size::decimal(38, 8))::varchar from trades"
    plain, rounded, exact = Store(tmp_path).sql(query).fetchall()[0]
    assert (rounded, exact) == (1000.0001, "1000.00010000")
    assert plain != 1000.0001


def test_a_listing_of_the_directory_gives_other_tools_the_same_rows(root: Path, store: Store) -> None:
    listed = duckdb.read_parquet(f"{root}/warm/trades/*/*/*.parquet", hive_partitioning=False).pl()
    ours = store.scan("trades").collect()
    key = ["source_sequence", "source_index"]
    assert listed.sort(key)["symbol"].equals(ours.sort(key)["symbol"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"type": "trade"}, "unknown record type 'trade'; did you mean 'trades'?"),
        (
            {"type": "trades", "symbols": "BTCUSD.BINANCE"},
            "unknown symbol 'BTCUSD.BINANCE'; did you mean 'BTCUSDT.BINANCE'?",
        ),
        (
            {"type": "trades", "symbols": "BTC-USD.LOCAL"},
            "BTC-USD.LOCAL: the node's own venue is not stored as tables; its trades are in the audit trail",
        ),
        ({"type": "trades", "columns": ["prize"]}, "unknown column 'prize'; did you mean 'price'?"),
        ({"type": "trades", "start": "yesterday"}, "start is 'yesterday', which is no time"),
        (
            {"type": "trades", "start": 1_723_161_600},
            "start is 1723161600: as nanoseconds that is 1970-01-01; multiply",
        ),
        (
            {"type": "trades", "end": 1_723_161_600_000_000},
            "end is 1723161600000000: as nanoseconds that is 1970-01-20",
        ),
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


def test_a_directory_with_raw_messages_only_says_how_they_become_rows(tmp_path: Path) -> None:
    (tmp_path / "journal/feed.binance").mkdir(parents=True)
    with pytest.raises(QueryError, match=r"is recorded but not decoded: .* with `tidebook replay --data /"):
        tb.open(tmp_path)


def test_a_store_without_rows_says_when_they_come(tmp_path: Path) -> None:
    with StorageWriter(tmp_path, "feed.binance"):
        store = tb.open(tmp_path)
        for ask in (lambda: store.scan("trades", "S"), lambda: store.sql("from trades")):
            with pytest.raises(QueryError, match=r"nothing is stored in .* yet: `tidebook run` stores"):
                ask()
        assert store.coverage() == []


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
    assert to_ns(0, "start") == 0


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

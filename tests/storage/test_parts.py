"""A part gives back its records bit for bit, to us and to every tool, and is written as the format page says."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.storage import flow
from tests.storage.faults import LyingDisk
from tidebook.errors import StorageCorruptError
from tidebook.storage.columns import TYPES, ColumnBuffer, record_dtype, schema, to_records
from tidebook.storage.disk import Disk
from tidebook.storage.part import PartOptions, decode, read_part, write_part
from tidebook.storage.partition import PartRows, partitions

NAMES = {flow.BINANCE: "BTCUSDT.BINANCE", 0: "*.BINANCE"}


def part_rows(type: str, records: NDArray[Any]) -> PartRows:
    buffer = ColumnBuffer(type)
    buffer.append(records)
    (rows,) = partitions(type, buffer.columns(), NAMES, pack_rows=0)
    return rows


@st.composite
def any_records(draw: st.DrawFn) -> tuple[str, NDArray[Any]]:
    """Records of any type whose every field may hold any value of its width; one instrument and date."""
    kind = draw(st.sampled_from(TYPES))
    rows = draw(st.integers(1, 40))
    dtype = record_dtype(kind)
    raw = draw(st.binary(min_size=rows * dtype.itemsize, max_size=rows * dtype.itemsize))
    records = np.frombuffer(raw, dtype).copy()
    records["reserved" if "reserved" in (dtype.names or ()) else "source_index"] = 0
    for name in ("price_exp", "size_exp"):
        if name in (dtype.names or ()):
            records[name] %= 19
    if draw(st.booleans()):
        records[[name for name in dtype.names or () if name.endswith(("price", "size"))][:1]] = 0
    records["instrument_id"] = flow.BINANCE
    records["ts_event"] = draw(st.sampled_from([0, flow.START_NS]))
    records["ts_recv"] = flow.START_NS + np.arange(rows)
    if kind == "bars":
        records["ts_open"], records["interval_s"] = flow.START_NS, 60
    if kind == "instruments":
        records["symbol"] = np.frombuffer(b"BTCUSDT.BINANCE".ljust(40, b"\0"), np.uint8)
    return kind, records


@given(any_records())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_records_come_back_bit_for_bit(tmp_path: Path, case: tuple[str, NDArray[Any]]) -> None:
    kind, records = case
    path = tmp_path / "part.parquet"
    path.unlink(missing_ok=True)
    written = write_part(Disk(), path, part_rows(kind, records), PartOptions())
    assert np.array_equal(to_records(kind, read_part(path, kind, path.read_bytes())), records)
    assert ("price_units" in pq.read_schema(path).names) == (
        not written.exact and kind in {"trades", "depth", "orders"}
    )


def test_a_part_that_is_written_leaves_no_memory_with_its_thread(tmp_path: Path) -> None:
    """Method: what the process can still give back after parts of many sizes, of which each takes up to a megabyte."""

    def anonymous_bytes() -> int:
        rollup = Path("/proc/self/smaps_rollup").read_text()
        return 1024 * int(rollup.partition("Anonymous:")[2].split()[0])

    for number, rows in enumerate((100, 3_000, 700, 5_000, 40)):
        for kind, make in (("trades", flow.trades), ("quotes", flow.quotes), ("depth", flow.depth)):
            write_part(Disk(), tmp_path / f"{kind}-{number}.parquet", part_rows(kind, make(rows)), PartOptions())
    left = anonymous_bytes()
    pa.default_memory_pool().release_unused()
    assert left - anonymous_bytes() < 500_000


@pytest.fixture
def trades_part(tmp_path: Path) -> Path:
    path = tmp_path / "part.parquet"
    write_part(Disk(), path, part_rows("trades", flow.trades(10_000)), PartOptions(row_group_rows=4_096))
    return path


def test_a_part_where_no_double_keeps_a_size_also_has_the_integers(tmp_path: Path) -> None:
    records = flow.trades(100)
    records["size"][50] = 2**53 + 1
    path = tmp_path / "part.parquet"
    assert not write_part(Disk(), path, part_rows("trades", records), PartOptions()).exact
    table = decode(path, path.read_bytes())
    assert table.schema.equals(schema("trades", units=True))
    assert table["size_units"].to_pylist() == records["size"].tolist()
    assert table["price_units"].to_pylist() == records["price"].tolist()


def test_a_part_is_encoded_as_the_format_page_says(trades_part: Path) -> None:
    metadata = pq.read_metadata(trades_part)
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [4_096, 4_096, 1_808]
    assert metadata.metadata == {b"tidebook.type": b"trades", b"tidebook.record_version": b"1"}
    for index in range(metadata.num_columns):
        column = metadata.row_group(0).column(index)
        delta = column.path_in_schema in {"ts_event", "ts_recv", "trade_id", "source_sequence", "source_index"}
        assert ("DELTA_BINARY_PACKED" if delta else "RLE_DICTIONARY") in column.encodings, column.path_in_schema
        assert column.compression == "ZSTD"
        assert column.is_stats_set
        assert column.has_column_index
        assert column.has_offset_index


TRADES = {
    "ts_event": pa.timestamp("ns", "UTC"),
    "ts_recv": pa.timestamp("ns", "UTC"),
    "symbol": pa.string(),
    "price": pa.float64(),
    "size": pa.float64(),
    "trade_id": pa.int64(),
    "side": pa.int8(),
    "flags": pa.uint8(),
    "price_exp": pa.uint8(),
    "size_exp": pa.uint8(),
    "source_sequence": pa.int64(),
    "source_index": pa.int32(),
    "instrument_id": pa.int32(),
}


def test_pyarrow_reads_a_part_with_its_types(trades_part: Path) -> None:
    for table in (pq.read_table(trades_part), ds.dataset(trades_part).to_table()):
        assert dict(zip(table.schema.names, table.schema.types, strict=True)) == TRADES
    assert list(schema("trades").names) == list(TRADES)


def test_polars_and_duckdb_read_a_part_with_the_same_values(trades_part: Path) -> None:
    expected = flow.trades(10_000)
    frame = pl.read_parquet(trades_part)
    assert frame.schema == pl.Schema(pa.schema(list(TRADES.items())))
    relation = duckdb.read_parquet(str(trades_part))
    assert [str(kind) for kind in relation.types][:4] == ["TIMESTAMPTZ_NS", "TIMESTAMPTZ_NS", "VARCHAR", "DOUBLE"]
    for read in (frame, relation.pl()):
        assert (read["ts_recv"].dt.epoch("ns").to_numpy() == expected["ts_recv"]).all()
        assert (read["price"].to_numpy() == expected["price"] / 100).all()
        assert (read["side"].to_numpy() == expected["side"]).all()
        assert read["symbol"].unique().to_list() == ["BTCUSDT.BINANCE"]


def test_a_clock_the_venue_does_not_send_is_null(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write_part(Disk(), path, part_rows("quotes", flow.quotes(10)), PartOptions())
    assert pl.read_parquet(path)["ts_event"].null_count() == 10


def test_a_disk_that_returns_other_bytes_is_found_out_before_anything_is_published(tmp_path: Path) -> None:
    with pytest.raises(StorageCorruptError, match="distrust this disk") as caught:
        write_part(LyingDisk(), tmp_path / "part.parquet", part_rows("trades", flow.trades(100)), PartOptions())
    assert caught.value.facts["path"] == str(tmp_path / "part.parquet")


def test_a_flipped_byte_in_any_page_is_found_by_its_checksum(trades_part: Path) -> None:
    """Method: flip one byte in the first page of each column and decode with checksums on."""
    whole = trades_part.read_bytes()
    metadata = pq.read_metadata(trades_part)
    for index in range(metadata.num_columns):
        column = metadata.row_group(0).column(index)
        damaged = bytearray(whole)
        damaged[column.data_page_offset + column.total_compressed_size // 2] ^= 4
        with pytest.raises(StorageCorruptError, match=r"part\.parquet is damaged"):
            decode(trades_part, bytes(damaged))

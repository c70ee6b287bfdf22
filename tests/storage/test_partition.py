"""Rows go to the file of their date, length and instrument, and small instruments share one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.storage import flow
from tidebook.errors import UsageError
from tidebook.storage.columns import ColumnBuffer, to_records
from tidebook.storage.layout import DAY_NS, Partition, escape, timeframe
from tidebook.storage.partition import PartRows, partitions

NAMES = {flow.BINANCE + index: f"I{index}.BINANCE" for index in range(70_000)} | {0: "*.BINANCE"}


def split(type: str, records: NDArray[Any], pack_rows: int = 5) -> list[PartRows]:
    buffer = ColumnBuffer(type)
    buffer.append(records)
    return list(partitions(type, buffer.columns(), NAMES, pack_rows))


def test_paths_are_those_of_hive_with_separators_escaped() -> None:
    where = Partition(type="trades", timeframe=None, date="2024-08-08", symbol="BTC/USD.KRAKEN")
    assert where.part(3) == "warm/trades/date=2024-08-08/symbol=BTC%2FUSD.KRAKEN/part-000003.parquet"
    bars = Partition(type="bars", timeframe="1m", date="2024-08-08", symbol=None)
    assert bars.directory == "warm/bars/timeframe=1m/date=2024-08-08/symbol=_packed"
    assert [escape(text) for text in ("_packed", "..", "A=B", "Ü%")] == ["%5Fpacked", "%2E.", "A%3DB", "%C3%9C%25"]
    assert [timeframe(seconds) for seconds in (1, 60, 90, 300, 3600, 86400)] == ["1s", "1m", "90s", "5m", "1h", "1d"]


def test_small_instruments_share_a_part_and_large_ones_do_not() -> None:
    records = flow.trades(20)
    records["instrument_id"] += np.repeat([0, 1, 2], [12, 4, 4]).astype(np.uint32)
    parts = {rows.partition.symbol: rows.symbol_rows for rows in split("trades", records)}
    assert parts == {"I0.BINANCE": {"I0.BINANCE": 12}, None: {"I1.BINANCE": 4, "I2.BINANCE": 4}}


def test_a_small_instrument_without_another_keeps_a_part_of_its_own() -> None:
    records = flow.trades(20)
    records["instrument_id"][:3] += 7
    assert {rows.partition.symbol for rows in split("trades", records)} == {"I0.BINANCE", "I7.BINANCE"}


def test_a_bar_belongs_to_the_day_it_opens_and_to_its_length() -> None:
    records = flow.bars(2, start_ns=flow.START_NS + DAY_NS - 60_000_000_000)
    records["interval_s"] = [60, 300]
    found = {(rows.partition.date, rows.partition.timeframe) for rows in split("bars", records)}
    assert found == {("2024-08-08", "1m"), ("2024-08-09", "5m")}


def test_status_records_always_share_a_part_and_may_concern_the_whole_feed() -> None:
    records = flow.empty("status", 9)
    records["ts_recv"] = flow.START_NS
    records["instrument_id"][3] = flow.BINANCE
    (rows,) = split("status", records)
    assert rows.partition.directory == "warm/status/date=2024-08-08/symbol=_packed"
    assert rows.symbol_rows == {"*.BINANCE": 8, "I0.BINANCE": 1}


def test_rows_of_an_instrument_nobody_defined_are_refused() -> None:
    records = flow.trades(3)
    records["instrument_id"] = 5
    with pytest.raises(UsageError, match="instrument 5 has no name"):
        split("trades", records)


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 2, 3, 69_999]), st.sampled_from([0, 1, 9_000]), st.sampled_from([60, 300])),
        min_size=1,
        max_size=60,
    )
)
def test_every_row_goes_to_exactly_one_right_file_in_the_order_of_the_feed(rows: list[tuple[int, int, int]]) -> None:
    records = flow.bars(len(rows))
    for index, (instrument, day, seconds) in enumerate(rows):
        records[index]["instrument_id"] = flow.BINANCE + instrument
        records[index]["ts_open"] = flow.START_NS + day * DAY_NS
        records[index]["interval_s"] = seconds
        records[index]["source_sequence"] = index
    parts = split("bars", records)
    assert len({part.partition for part in parts}) == len(parts)
    for part in parts:
        assert {timeframe(seconds) for seconds in part.columns["interval_s"].tolist()} == {part.partition.timeframe}
        assert len(set((part.columns["ts_open"] // DAY_NS).tolist())) == 1
        for instrument in set(part.columns["instrument_id"].tolist()):
            sequences = part.columns["source_sequence"][part.columns["instrument_id"] == instrument]
            assert (np.diff(sequences.astype(np.int64)) > 0).all()
        symbols = part.symbols.to_pylist()
        assert symbols == [NAMES[number] for number in part.columns["instrument_id"].tolist()]
    together = np.concatenate([to_records("bars", part.columns) for part in parts])
    assert np.array_equal(np.sort(together, order="source_sequence"), records)

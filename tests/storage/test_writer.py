"""The writer stores each record once and only what is durable, and tells the caller's mistakes apart."""

import errno
import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tests.storage import flow, scenario
from tests.storage.faults import CountingDisk, FailingDisk
from tidebook.errors import StorageAccessError, StorageConflictError, StorageError, StorageFullError, UsageError
from tidebook.storage.disk import Disk
from tidebook.storage.store import Store
from tidebook.storage.writer import StorageWriter, WriterOptions


def test_everything_appended_is_stored_once_with_its_position(tmp_path: Path) -> None:
    scenario.store(tmp_path, Disk())
    assert scenario.check(tmp_path) == scenario.POSITIONS[-1]
    assert scenario.files_on_disk(tmp_path) == set(Store(tmp_path).manifest.files)
    assert not list((tmp_path / "_staging").glob("*/*"))


def test_a_feed_replayed_from_its_start_adds_nothing(tmp_path: Path) -> None:
    scenario.store(tmp_path, Disk())
    version = Store(tmp_path).manifest.version
    scenario.store(tmp_path, Disk())
    assert Store(tmp_path).manifest.version == version
    scenario.check(tmp_path)


def test_what_was_not_flushed_is_not_there(tmp_path: Path) -> None:
    with StorageWriter(tmp_path, "feed.binance") as writer:
        writer.append("instruments", flow.instruments(["S"]))
        writer.append("trades", flow.trades(8))
        writer.flush(3)
        writer.append("trades", flow.trades(8, first_sequence=4))
    assert Store(tmp_path).position("feed.binance") == 3
    assert sum(entry.rows for entry in Store(tmp_path).files("trades")) == 8


def test_a_position_may_advance_without_any_row(tmp_path: Path) -> None:
    with StorageWriter(tmp_path, "feed.binance") as writer:
        assert writer.flush(7).files == ()
        assert writer.position == 7
        assert writer.flush(7).version == 1
    assert Store(tmp_path).position("feed.binance") == 7


def test_a_writer_holds_no_memory_of_what_it_has_stored(tmp_path: Path) -> None:
    """Method: what Python allocates for a store, here and by another feed's writer, between its first and last parts."""

    def held() -> int:
        gc.collect()
        ours = [tracemalloc.Filter(True, "*/tidebook/storage/*")]
        return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)

    with (
        StorageWriter(tmp_path, "feed.binance") as writer,
        StorageWriter(tmp_path, "feed.kraken") as other,
    ):
        writer.append("instruments", flow.instruments(["S"]))
        tracemalloc.start()
        try:
            before = 0
            for batch in range(120):
                writer.append("trades", flow.trades(4, seed=batch, first_sequence=2 + batch))
                writer.flush(2 + batch)
                other.flush(1 + batch)
                before = held() if batch == 19 else before
            grown = held() - before
        finally:
            tracemalloc.stop()
    assert len(Store(tmp_path).manifest.files) == 121
    assert grown < 100 * 100, "an entry of a file takes a kilobyte"


def test_a_flush_runs_while_the_next_rows_are_appended(tmp_path: Path) -> None:
    with StorageWriter(tmp_path, "feed.binance") as writer:
        writer.append("instruments", flow.instruments(["S"]))
        pending = []
        for batch in range(6):
            writer.append("trades", flow.trades(400, seed=batch, first_sequence=2 + 100 * batch))
            pending.append(writer.start_flush(101 + 100 * batch))
        assert [flush.result().version for flush in pending] == [1, 2, 3, 4, 5, 6]
    expected = np.concatenate([flow.trades(400, seed=batch, first_sequence=2 + 100 * batch) for batch in range(6)])
    assert np.array_equal(scenario.stored(tmp_path)["trades"], expected)


def test_only_what_is_durable_may_be_committed(tmp_path: Path) -> None:
    with StorageWriter(tmp_path, "feed.binance") as writer:
        writer.append("instruments", flow.instruments(["S"]))
        writer.append("trades", flow.trades(8))
        with pytest.raises(UsageError, match=r"cannot commit feed\.binance at 2: rows up to 3 were appended"):
            writer.flush(2)
        writer.flush(3)
        with pytest.raises(UsageError, match="rows up to 3"):
            writer.flush(2)


def test_misuse_is_refused_before_anything_is_buffered(tmp_path: Path) -> None:
    with StorageWriter(tmp_path, "feed.binance", options=WriterOptions(buffer_rows_max=10)) as writer:
        with pytest.raises(UsageError, match="unknown record type 'book'"):
            writer.append("book", flow.trades(1))
        with pytest.raises(UsageError, match="trades records have dtype"):
            writer.append("trades", flow.quotes(1))
        with pytest.raises(UsageError, match="exceed the buffer of 10: flush first"):
            writer.append("trades", flow.trades(11))
        writer.append("trades", flow.trades(4, first_sequence=9))
        with pytest.raises(UsageError, match="fall back behind source sequence 9"):
            writer.append("trades", flow.trades(4, first_sequence=8))
        with pytest.raises(UsageError, match="fall back"):
            writer.append("trades", flow.trades(6, first_sequence=10)[::-1])
        assert writer.buffered_rows == 4


def test_of_two_writers_of_one_feed_one_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    with StorageWriter(tmp_path, "feed.binance") as first, StorageWriter(tmp_path, "feed.binance") as second:
        for writer in (first, second):
            writer.append("instruments", flow.instruments(["S"]))
            writer.append("trades", flow.trades(40))
        first.flush(11)
        with pytest.raises(StorageConflictError):
            second.flush(11)
        with pytest.raises(StorageError, match="mend the cause and open the store again"):
            second.append("trades", flow.trades(4, first_sequence=12))
    assert np.array_equal(scenario.stored(tmp_path)["trades"], flow.trades(40))
    assert scenario.files_on_disk(tmp_path) == set(Store(tmp_path).manifest.files)


def test_writers_of_two_feeds_share_a_store(tmp_path: Path) -> None:
    with StorageWriter(tmp_path, "feed.binance") as first, StorageWriter(tmp_path, "feed.other") as second:
        for writer in (first, second):
            writer.append("instruments", flow.instruments(["S"]))
            writer.append("trades", flow.trades(40))
            writer.flush(11)
    store = Store(tmp_path)
    assert [entry.path[-19:] for entry in store.files("trades")] == ["part-000001.parquet", "part-000002.parquet"]
    assert (store.position("feed.binance"), store.position("feed.other")) == (11, 11)
    assert store.verify().ok


def test_a_position_in_another_journal_is_refused(tmp_path: Path) -> None:
    with StorageWriter(tmp_path, "feed.binance", journal="a1") as writer:
        writer.flush(5)
    with StorageWriter(tmp_path, "feed.binance", journal="a1") as writer:
        assert writer.position == 5
    for other in ("b2", ""):
        with pytest.raises(StorageConflictError, match="was stored from journal a1") as caught:
            StorageWriter(tmp_path, "feed.binance", journal=other)
        assert caught.value.facts == {"channel": "feed.binance", "expected": "a1", "found": other}


def test_an_instrument_without_a_name_stops_the_flush_and_loses_nothing_committed(tmp_path: Path) -> None:
    with StorageWriter(tmp_path, "feed.binance") as writer:
        writer.append("trades", flow.trades(8))
        with pytest.raises(UsageError, match=f"instrument {flow.BINANCE} has no name"):
            writer.flush(3)
    assert Store(tmp_path).manifest.version == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_call_loses_nothing_and_the_next_writer_goes_on(tmp_path: Path, code: int) -> None:
    counting = CountingDisk()
    scenario.store(tmp_path / "whole", counting)
    for at in range(1 + code % 17, counting.calls + 1, 17):
        root = tmp_path / str(at)
        committed = [0]
        disk = FailingDisk(at, code)
        with pytest.raises(StorageFullError if code == errno.ENOSPC else StorageError) as caught:
            scenario.store(root, disk, committed.append)
        assert str(root) in str(caught.value)
        scenario.check(root, at_least=committed[-1])
        scenario.store(root, Disk())
        assert scenario.check(root) == scenario.POSITIONS[-1]
        assert scenario.files_on_disk(root) == set(Store(root).manifest.files)


def test_a_directory_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    """`/sys` refuses new directories to everyone, also to root, for whom modes mean nothing."""
    with pytest.raises(StorageAccessError, match=r"cannot make /sys/tidebook: .*; give this user write access"):
        StorageWriter(Path("/sys/tidebook"), "feed.binance")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make"):
        StorageWriter(tmp_path / "file" / "store", "feed.binance")

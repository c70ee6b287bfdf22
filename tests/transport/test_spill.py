"""Consumers of durable channels that producers do not wait for: ring, then journal, then ring again, and nothing missed."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import tidebook as tb
from tidebook import persistence
from tidebook.errors import ChannelUsageError, JournalAbsentError

RECORD = np.dtype([("ts_event", "<i8"), ("number", "<u8")])
KINDS = pytest.mark.parametrize("dtype", [RECORD, None], ids=["records", "messages"])


def make(rings: Path, wal_dir: Path, dtype: np.dtype | None = RECORD) -> tb.Channel:
    """A channel whose ring holds a few hundred messages, synced without pause."""
    options = tb.ChannelOptions(
        dtype=dtype, buffer_size=1 << 14, durability="wal", wal_dir=wal_dir, journal_sync_interval_ms=None
    )
    return tb.create_channel("numbers", options, directory=rings)


def payload(number: int) -> bytes:
    """A record, and as a message the same bytes: the number, and a time of as many ms."""
    return (number * 1_000_000).to_bytes(8, "little") + number.to_bytes(8, "little")


def write(producer: tb.Producer, count: int) -> int:
    """The last of so many more, all durable."""
    first = producer.published + 1
    last = producer.write_batch([payload(number) for number in range(first, first + count)], wait="durable")
    assert isinstance(last, int)
    return last


def numbers(batch: tb.Batch) -> list[int]:
    return [int.from_bytes(message[8:], "little") for message in batch.messages()]


def read_to(consumer: tb.Consumer, last: int, seen: int = 0) -> None:
    """Reads what follows `seen` up to `last`; each once and in order."""
    while seen < last:
        batch = consumer.poll_batch(200, timeout=60)
        assert isinstance(batch, tb.Batch)
        assert numbers(batch) == list(range(seen + 1, seen + 1 + len(batch)))
        assert batch.first_sequence == seen + 1
        seen += len(batch)
    assert consumer.poll_batch() is None


@KINDS
def test_a_consumer_that_falls_behind_reads_on_in_the_journal_and_is_back_in_the_ring(
    rings: Path, tmp_path: Path, dtype: np.dtype | None
) -> None:
    channel = make(rings, tmp_path, dtype)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
        read_to(consumer, write(producer, 100))
        assert write(producer, 5_000) == 5_100
        assert channel.ring.status()["oldest"] > 4_000
        read_to(consumer, 5_100, 100)
        read_to(consumer, write(producer, 50), 5_100)
        assert consumer.committed == 5_150


@KINDS
def test_a_name_that_was_away_resumes_and_a_new_one_begins_with_the_journal(
    rings: Path, tmp_path: Path, dtype: np.dtype | None
) -> None:
    channel = make(rings, tmp_path, dtype)
    with tb.open_producer(channel) as producer:
        with tb.open_consumer(channel, "reader") as consumer:
            read_to(consumer, write(producer, 10))
        last = write(producer, 3_000)
        with tb.open_consumer("numbers", "reader", directory=rings) as consumer:
            assert consumer.next_sequence == 11
            read_to(consumer, last, 10)
        starts: list[Literal["earliest", "resume"]] = ["earliest", "resume"]
        for start in starts:
            with tb.open_consumer("numbers", "new", start=start, directory=rings) as consumer:
                assert consumer.next_sequence == (1 if start == "earliest" else last + 1)
                read_to(consumer, last, consumer.next_sequence - 1)
        with tb.open_consumer(channel, start=1_000) as consumer:
            read_to(consumer, last, 999)


def test_a_batch_of_the_journal_is_an_array_like_one_of_the_ring(rings: Path, tmp_path: Path) -> None:
    channel = make(rings, tmp_path)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel) as consumer:
        write(producer, 2_000)
        batch = consumer.poll_batch(150)
        assert isinstance(batch, tb.Batch)
        assert batch.array.dtype == RECORD
        assert batch.array["number"].tolist() == batch.sequences.tolist() == list(range(1, 151))
        kept = batch.array
        read_to(consumer, 2_000, 150)
        assert kept["number"].tolist() == list(range(1, 151))


def test_a_time_that_the_ring_does_not_reach_back_to_is_found_in_the_journal(rings: Path, tmp_path: Path) -> None:
    channel = make(rings, tmp_path)
    with tb.open_producer(channel) as producer:
        write(producer, 3_000)
        for number in (1, 700, 2_990, 3_001):
            at = np.datetime64(number * 1_000_000, "ns")
            with tb.open_consumer(channel, start=at) as consumer:
                assert consumer.next_sequence == number
        oldest = channel.ring.status()["oldest"]
        with tb.open_consumer(channel, start=np.datetime64(0, "ns"), policy="overwrite") as consumer:
            assert consumer.next_sequence == oldest


@KINDS
def test_after_a_reboot_a_consumer_starts_at_its_cursor_in_the_journal_and_goes_on_live(
    rings: Path, tmp_path: Path, dtype: np.dtype | None
) -> None:
    channel = make(rings, tmp_path, dtype)
    with tb.open_producer(channel) as producer:
        last = write(producer, 500)
    channel.remove()
    assert list(rings.iterdir()) == []
    again = make(rings, tmp_path, dtype)
    assert again.ring.epoch == channel.ring.epoch
    with tb.open_producer(again) as producer, tb.open_consumer(again, "reader", start=123) as consumer:
        read_to(consumer, last, 122)
        read_to(consumer, write(producer, 3), last)


def test_what_is_acknowledged_of_the_journal_does_not_come_again_and_the_rest_does(rings: Path, tmp_path: Path) -> None:
    channel = make(rings, tmp_path)
    with tb.open_producer(channel) as producer:
        write(producer, 2_000)
        with tb.open_consumer(channel, "worker", acknowledge="manual") as consumer:
            batch = consumer.poll_batch(300)
            assert isinstance(batch, tb.Batch)
            assert len(batch) == 300
            assert consumer.acknowledge(120) == 120
        with tb.open_consumer(channel, "worker", acknowledge="manual") as consumer:
            read_to(consumer, 2_000, 120)


def test_a_producer_does_not_wait_for_a_consumer_that_spills(rings: Path, tmp_path: Path) -> None:
    channel = make(rings, tmp_path)
    with (
        tb.open_producer(channel) as producer,
        tb.open_consumer(channel, "spilling"),
        tb.open_consumer(channel, "blocking", policy="block"),
    ):
        held = producer.write_batch([payload(number + 1) for number in range(5_000)], timeout=0.2)
        assert isinstance(held, tb.Full)
        assert held.consumer == "blocking"


async def test_a_task_that_awaits_a_consumer_gets_the_journal_and_is_woken_live(rings: Path, tmp_path: Path) -> None:
    channel = make(rings, tmp_path)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
        last, seen = write(producer, 2_000), 0
        while seen < last:
            batch = await asyncio.wait_for(consumer.next_batch(), 60)
            assert isinstance(batch, tb.Batch)
            assert batch.first_sequence == seen + 1
            seen += len(batch)
        waiting = asyncio.create_task(consumer.next_batch())
        await asyncio.sleep(0)
        producer.write(payload(last + 1))
        batch = await asyncio.wait_for(waiting, 60)
        assert isinstance(batch, tb.Batch)
        assert numbers(batch) == [last + 1]


OTHER = """
import sys
import tidebook as tb
from tidebook import persistence
with tb.open_consumer("numbers", "other", directory=sys.argv[1], policy="spill") as consumer:
    seen = 0
    while seen < int(sys.argv[2]):
        batch = consumer.poll_batch(timeout=60)
        assert batch.first_sequence == seen + 1
        seen += len(batch)
print(seen)
"""


def test_another_process_that_has_the_ring_alone_finds_the_journal(rings: Path, tmp_path: Path) -> None:
    channel = make(rings, tmp_path)
    with tb.open_producer(channel) as producer:
        last = write(producer, 2_000)
        command = [sys.executable, "-c", OTHER, str(rings), str(last)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) == last


def test_what_a_journal_was_made_to_give_up_is_a_gap_with_its_count(rings: Path, tmp_path: Path) -> None:
    channel, last = make(rings, tmp_path), 0
    for _ in range(4):
        with tb.open_producer(channel) as producer:
            last = write(producer, 1_000)
    assert len(persistence.compact(tmp_path / "numbers", last).removed) > 1
    with tb.open_producer(channel), tb.open_consumer(channel, start=5) as consumer:
        gap = consumer.poll_batch(timeout=60)
        assert isinstance(gap, tb.Gap)
        assert gap.first == 5
        read_to(consumer, last, gap.first + gap.count - 1)


def test_who_reads_the_ring_alone_from_the_earliest_on_is_told_what_only_the_journal_has(
    rings: Path, tmp_path: Path
) -> None:
    channel = make(rings, tmp_path)
    with tb.open_producer(channel) as producer:
        last = write(producer, 5_000)
        oldest = channel.status()["oldest"]
        assert 1 < oldest < last
        for name, start in (("", "earliest"), ("new", "earliest"), ("newer", "resume"), ("", 1)):
            with tb.open_consumer(channel, name, start=start, policy="overwrite") as consumer:  # type: ignore[arg-type]
                gap = consumer.poll_batch(timeout=60)
                assert isinstance(gap, tb.Gap)
                assert (gap.first, gap.count) == (1, oldest - 1)
                batch = consumer.poll_batch(10, timeout=60)
                assert isinstance(batch, tb.Batch)
                assert batch.first_sequence == oldest
                batch.release()
        with tb.open_consumer(channel, "new", policy="overwrite") as consumer:
            assert consumer.next_sequence == oldest + 10, "resumed"


def test_spill_is_refused_where_there_is_no_journal_and_a_peek(rings: Path, tmp_path: Path) -> None:
    channel = make(rings, tmp_path)
    with pytest.raises(ChannelUsageError, match="spill gives durable messages only"):
        tb.open_consumer(channel, "ahead", peek=True, policy="spill")
    (rings / "numbers.journal").unlink()
    (rings / "numbers.journal").symlink_to(tmp_path / "nowhere")
    with pytest.raises(JournalAbsentError):
        tb.open_consumer(channel, "reader", policy="spill")


@pytest.mark.parametrize("is_mount_point_there", [True, False])
def test_a_journal_that_is_away_is_an_error_for_who_would_begin_in_it(
    rings: Path, tmp_path: Path, is_mount_point_there: bool
) -> None:
    channel = make(rings, tmp_path)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "known", start="earliest") as known:
        last = write(producer, 3_000)
        read_to(known, last)
        known.checkpoint("sum", b"of all")
    journal, away = tmp_path / "numbers", tmp_path / "away"
    journal.rename(away)
    if is_mount_point_there:
        journal.mkdir()
    starts: list[tuple[str, Literal["earliest", "resume"] | int]] = [
        ("", "earliest"),
        ("", 1),
        ("", "resume"),
        ("new", "resume"),
        ("known", "earliest"),
    ]
    for name, start in starts:
        with pytest.raises(JournalAbsentError):
            tb.open_consumer("numbers", name, start=start, directory=rings)
    with tb.open_consumer("numbers", start="latest", directory=rings) as consumer:
        assert consumer.next_sequence == last + 1
    with tb.open_consumer("numbers", start=last, directory=rings) as consumer:
        assert consumer.next_sequence == last
    with tb.open_consumer("numbers", "known", directory=rings) as consumer:
        with pytest.raises(JournalAbsentError):
            consumer.recover("sum")
        with pytest.raises(JournalAbsentError):
            consumer.checkpoint("sum", b"of others")
    assert list(journal.rglob("*")) == []
    if is_mount_point_there:
        journal.rmdir()
    away.rename(journal)
    with tb.open_consumer("numbers", "known", directory=rings) as consumer:
        found = consumer.recover("sum")
        assert found is not None
        assert (found.state, found.cursor.sequence) == (b"of all", last)

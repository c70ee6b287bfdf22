"""Messages that are filled in the ring itself: published whole, given back whole, and out of reach afterwards."""

import gc
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tidebook as tb
from tidebook.errors import ChannelFullError, ChannelUsageError

TICK = np.dtype([("price", "<i8"), ("size", "<i8")])
MODES = pytest.mark.parametrize("mode", ["spsc", "mpsc"])


def channel(rings: Path, mode: str, dtype: np.dtype | None = TICK, buffer_size: int = 1 << 14) -> tb.Channel:
    return tb.create_channel(
        "ticks", tb.ChannelOptions(dtype=dtype, mode=mode, buffer_size=buffer_size), directory=rings
    )


def messages(consumer: tb.Consumer) -> list[tuple[int, bytes]]:
    """All that can be read now."""
    found: list[tuple[int, bytes]] = []
    while consumer.poll(lambda sequence, payload: found.append((sequence, payload))):
        pass
    return found


@MODES
def test_a_claimed_record_is_seen_when_its_block_ends_and_never_when_that_raises(rings: Path, mode: str) -> None:
    ticks = channel(rings, mode)
    with tb.open_producer(ticks) as producer, tb.open_consumer(ticks, "reader", start="earliest") as consumer:
        with producer.claim() as claim:
            claim.record["price"], claim.record["size"] = 101, 5
            assert consumer.poll_batch() is None
        with pytest.raises(ZeroDivisionError), producer.claim() as claim:
            claim.record["price"] = 1 // 0
        with producer.claim() as claim:
            claim.record[0] = (102, 7)
        batch = consumer.poll_batch()
        assert isinstance(batch, tb.Batch)
        with batch:
            read = [tuple(record) for record in batch.array.tolist()]
            sequences = batch.sequences.tolist()
            if mode == "mpsc" and len(read) == 1:
                # A claim that is given back leaves a sequence without a message, which ends a batch.
                rest = consumer.poll_batch()
                assert isinstance(rest, tb.Batch)
                read += [tuple(record) for record in rest.array.tolist()]
                sequences += rest.sequences.tolist()
        assert read == [(101, 5), (102, 7)]
        assert sequences == ([1, 2] if mode == "spsc" else [1, 3])


@MODES
def test_claimed_messages_have_the_size_that_was_asked_for(rings: Path, mode: str) -> None:
    texts = channel(rings, mode, dtype=None)
    with tb.open_producer(texts) as producer, tb.open_consumer(texts, "reader", start="earliest") as consumer:
        for size in (0, 1, 44, 108):
            with producer.claim(size) as claim:
                assert len(claim) == len(claim.buffer) == size
                claim.buffer[:] = bytes([size]) * size
        last = producer.claim(3)
        assert isinstance(last, tb.Claim)
        last.buffer[:] = b"abc"
        assert last.commit() == 5
        assert messages(consumer) == [
            *((number, bytes([size]) * size) for number, size in enumerate((0, 1, 44, 108), 1)),
            (5, b"abc"),
        ]


@MODES
def test_a_claim_is_not_committed_while_somebody_could_still_write_to_it(rings: Path, mode: str) -> None:
    ticks = channel(rings, mode)
    with tb.open_producer(ticks) as producer, tb.open_consumer(ticks, "reader", start="earliest") as consumer:
        claim = producer.claim()
        assert isinstance(claim, tb.Claim)
        record = claim.record
        price = record["price"]
        price[:] = 101
        del record
        with pytest.raises(BufferError, match="1 arrays or views still refer to this claim"):
            claim.commit()
        part = claim.buffer[8:]
        part[:] = bytes(8)
        del price
        with pytest.raises(BufferError, match="1 arrays or views still refer to this claim"):
            claim.commit()
        seen = np.frombuffer(claim.buffer, "u1")
        del part
        with pytest.raises(BufferError, match="1 arrays or views still refer to this claim"):
            claim.commit()
        assert consumer.poll_batch() is None
        whole = claim.buffer
        del seen
        assert claim.commit() == 1
        with pytest.raises(ValueError, match="released memoryview"):
            whole[0] = 1
        for access in ("buffer", "record"):
            with pytest.raises(BufferError, match="this claim is over"):
                getattr(claim, access)
        with pytest.raises(ChannelUsageError, match="this claim is over"):
            claim.commit()
        claim.abort()
        batch = consumer.poll_batch()
        assert isinstance(batch, tb.Batch)
        assert batch.array.tolist() == [(101, 0)]


@MODES
def test_an_array_that_outlives_its_claim_changes_no_message(rings: Path, mode: str) -> None:
    """Method: the array of an aborted claim is written to after each message of three laps, before that is read."""
    ticks = channel(rings, mode, buffer_size=4_096)
    with tb.open_producer(ticks) as producer, tb.open_consumer(ticks, "reader", start="earliest") as consumer:
        kept: list[np.ndarray] = []

        def keep_and_fail(*views: np.ndarray) -> None:
            kept.extend(views)
            raise RuntimeError

        with pytest.raises(RuntimeError), producer.claim() as claim:
            keep_and_fail(claim.record, np.frombuffer(claim.buffer, "u1"))
        # A block that ends with one is given back too, and says so.
        with pytest.raises(BufferError, match="still refer"), producer.claim() as claim:
            kept.append(claim.record)
        for number in range(3 * ticks.ring.capacity):
            with producer.claim() as claim:
                claim.record[0] = (number, -number)
            for array in kept:
                array[:] = 0x55
            batch = consumer.poll_batch()
            assert isinstance(batch, tb.Batch)
            with batch:
                assert batch.array.tolist() == [(number, -number)]
        assert kept[1].tolist() == [0x55] * 16


def test_a_producer_has_one_claim_at_a_time_and_writes_nothing_beside_it(rings: Path) -> None:
    ticks = channel(rings, "spsc")
    with tb.open_producer(ticks) as producer:
        claim = producer.claim()
        assert isinstance(claim, tb.Claim)
        for attempt in (producer.claim, lambda: producer.write(bytes(16)), lambda: producer.write_batch([bytes(16)])):
            with pytest.raises(ChannelUsageError, match="has an open claim; commit or abort that first"):
                attempt()
        claim.abort()
        assert producer.write(bytes(16)) == 1
        # A claim that nobody refers to any more is given back.
        producer.claim()
        gc.collect()
        assert producer.write(bytes(16)) == 2
        left = producer.claim()
        assert isinstance(left, tb.Claim)
    with pytest.raises(ChannelUsageError, match="its producer was closed"):
        left.commit()
    with tb.open_producer(ticks) as producer:
        assert producer.published == 2


def test_what_cannot_be_claimed_is_refused_with_what_can(rings: Path) -> None:
    texts = channel(rings, "spsc", dtype=None)
    with tb.open_producer(texts) as producer:
        with pytest.raises(ChannelUsageError, match=r"use claim\(size\)"):
            producer.claim()
        with pytest.raises(ChannelUsageError, match="claim of 4096 bytes; a claim on this ring has at most 2024"):
            producer.claim(4_096)
        with producer.claim(5) as claim, pytest.raises(ChannelUsageError, match="a plain message has no record"):
            _ = claim.record
    ticks = tb.create_channel("records", tb.ChannelOptions(dtype=TICK), directory=rings)
    with tb.open_producer(ticks) as producer, pytest.raises(ChannelUsageError, match="record of 5 bytes"):
        producer.claim(5)


@MODES
def test_a_claim_without_room_is_a_value_and_an_error_only_of_its_block(rings: Path, mode: str) -> None:
    ticks = channel(rings, mode, buffer_size=4_096)
    with tb.open_producer(ticks) as producer, tb.open_consumer(ticks, "slow"):
        while isinstance(producer.write(bytes(16), timeout=0), int):
            pass
        full = producer.claim(timeout=0.01)
        assert isinstance(full, tb.Full)
        assert full.consumer == "slow"
        with (
            pytest.raises(ChannelFullError, match='no room in time: consumer "slow" lags a whole ring') as error,
            producer.claim(timeout=0),
        ):
            pytest.fail("there is no room")
        assert error.value.facts["consumer"] == "slow"


@MODES
def test_a_process_killed_with_a_claim_open_leaves_no_message_and_holds_nobody_up(rings: Path, mode: str) -> None:
    ticks = channel(rings, mode)
    victim = """
import signal, sys
import tidebook as tb

with tb.open_producer("ticks", directory=sys.argv[1]) as producer:
    with producer.claim() as claim:
        claim.record[0] = (1, 1)
    claim = producer.claim()
    claim.record[0] = (2, 2)
    print("claimed", flush=True)
    signal.pause()
"""
    with tb.open_consumer(ticks, "reader", start="earliest") as consumer:
        process = subprocess.Popen([sys.executable, "-c", victim, str(rings)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with tb.open_producer(ticks) as producer:
            producer.write(np.array([(3, 3)], TICK).tobytes())
        read: list[tuple[int, ...]] = []
        while len(read) < 2:
            batch = consumer.poll_batch(timeout=60)
            assert isinstance(batch, tb.Batch)
            with batch:
                read += batch.array.tolist()
        assert read == [(1, 1), (3, 3)]


FORKING = """
import os
import sys
import tidebook as tb

channel = tb.create_channel("messages", directory=sys.argv[1])
with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
    claim = producer.claim(16)
    buffer = claim.buffer
    buffer[:] = b"A" * 16
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(ready, 1)
        buffer[:] = b"Z" * 16
        os._exit(0)
    del buffer
    claim.commit()
    os.write(go, b".")
    assert os.waitpid(child, 0)[1] == 0
    print(consumer.poll_batch().messages())
"""


def test_a_forked_child_writes_into_no_claim_of_its_parent(rings: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(rings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == (f"[{b'A' * 16!r}]\n", "")

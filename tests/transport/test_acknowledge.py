"""Consumers that say themselves what is consumed: whatever they have not said comes again, whatever happens to them."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tidebook as tb
from tidebook.errors import ChannelUsageError

NUMBER = np.dtype([("number", "<u8")])
MODES = pytest.mark.parametrize("mode", ["spsc", "mpsc"])
KINDS = pytest.mark.parametrize("dtype", [NUMBER, None], ids=["records", "messages"])


def channel(rings: Path, mode: str, dtype: np.dtype | None, buffer_size: int = 1 << 14) -> tb.Channel:
    options = tb.ChannelOptions(dtype=dtype, mode=mode, buffer_size=buffer_size)
    return tb.create_channel("numbers", options, directory=rings)


def numbers(first: int, count: int) -> list[bytes]:
    return [number.to_bytes(8, "little") for number in range(first, first + count)]


def sequences(consumer: tb.Consumer) -> list[int]:
    """Those of all that can be read now."""
    found: list[int] = []
    while (taken := consumer.poll_batch(7)) is not None:
        assert isinstance(taken, tb.Batch)
        found += range(taken.first_sequence, taken.first_sequence + len(taken))
    return found


@MODES
@KINDS
def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(
    rings: Path, mode: str, dtype: np.dtype | None
) -> None:
    numbered = channel(rings, mode, dtype)
    next_sequence = 1
    with tb.open_producer(numbered) as producer:
        producer.write_batch(numbers(1, 30))
        for acknowledged in (None, 4, 5, 21, 29):
            with tb.open_consumer(numbered, "worker", acknowledge="manual") as worker:
                assert sequences(worker) == list(range(next_sequence, 31))
                assert worker.committed == next_sequence - 1
                if acknowledged is not None:
                    assert worker.acknowledge(acknowledged) == acknowledged
                    # One before it changes nothing.
                    assert worker.acknowledge(1) == acknowledged
                    next_sequence = acknowledged + 1
        with tb.open_consumer(numbered, "worker", acknowledge="manual") as worker:
            seen: list[int] = []
            worker.poll(lambda sequence, _: seen.append(sequence))
            assert worker.acknowledge() == 30
        with tb.open_consumer(numbered, "worker", acknowledge="manual") as worker:
            assert sequences(worker) == []
    assert seen == [30]


def test_an_acknowledged_record_stays_where_an_array_sees_it(rings: Path) -> None:
    numbered = channel(rings, "spsc", NUMBER, 4_096)
    with (
        tb.open_producer(numbered) as producer,
        tb.open_consumer(numbered, "worker", acknowledge="manual") as worker,
    ):
        producer.write_batch(numbers(1, 64))
        batch = worker.poll_batch(64)
        assert isinstance(batch, tb.Batch)
        array = batch.array["number"]
        assert worker.acknowledge() == len(array)
        assert isinstance(producer.write_batch(numbers(65, 1_000), timeout=0.01), tb.Full)
        assert array.tolist() == list(range(1, len(array) + 1))
        del array
        # Asking for the next batch is the end of this one, as it always is.
        worker.poll_batch(1)
        assert isinstance(producer.write(bytes(8), timeout=60), int)


def test_a_consumer_that_acknowledges_nothing_holds_its_producer_up_after_a_whole_buffer(rings: Path) -> None:
    numbered = channel(rings, "spsc", NUMBER, 4_096)
    with (
        tb.open_producer(numbered) as producer,
        tb.open_consumer(numbered, "worker", acknowledge="manual") as worker,
    ):
        written = 0
        while isinstance(producer.write(bytes(8), timeout=0.0), int):
            written += 1
            sequences(worker)
        assert written == numbered.ring.capacity
        assert worker.acknowledge() == written
        assert isinstance(producer.write(bytes(8), timeout=60), int)


def test_what_was_not_read_cannot_be_acknowledged(rings: Path) -> None:
    numbered = channel(rings, "spsc", NUMBER)
    with tb.open_producer(numbered) as producer:
        producer.write_batch(numbers(1, 3))
        with tb.open_consumer(numbered, "worker", acknowledge="manual") as worker:
            with pytest.raises(ChannelUsageError, match="message 1 cannot be acknowledged: the last one read is 0"):
                worker.acknowledge(1)
            assert worker.acknowledge() == 0
        with (
            tb.open_consumer(numbered, "by batch") as consumer,
            pytest.raises(ChannelUsageError, match="acknowledges batch by batch"),
        ):
            consumer.acknowledge()
        with pytest.raises(ChannelUsageError, match="acknowledge = 'each' is none of batch, manual"):
            tb.open_consumer(numbered, "worker", acknowledge="each")  # type: ignore[arg-type]


# Says what it reads, and before and after each acknowledgement what that is.
WORKER = """
import os, random, sys
import tidebook as tb

moments = random.Random(int(sys.argv[2]))
with tb.open_consumer("numbers", "worker", acknowledge="manual", directory=sys.argv[1]) as worker:
    for batch in worker:
        first, last = batch.first_sequence, batch.first_sequence + len(batch) - 1
        os.write(1, f"read {first} {last}\\n".encode())
        while first <= last:
            first = moments.randint(first, last)
            os.write(1, f"before {first}\\n".encode())
            worker.acknowledge(first)
            os.write(1, f"after {first}\\n".encode())
            first += 1
"""


def kill_workers(numbered: tb.Channel, rings: Path, kills: int, seed: int) -> None:
    """Each dies while it works; the next begins right after what the dead one had acknowledged or was about to."""
    moments = random.Random(seed)
    tb.open_consumer(numbered, "worker").close()  # known from the start, so that the producer waits for it
    acknowledged, attempted = 0, 0
    with tb.open_producer(numbered) as producer:
        for kill in range(kills):
            command = [sys.executable, "-c", WORKER, str(rings), str(seed + kill)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            producer.write_batch(numbers(producer.published + 1, 20), timeout=0.0)
            said = process.stdout.readline()
            until = time.monotonic() + moments.random() * 0.02
            while time.monotonic() < until:
                producer.write_batch(numbers(producer.published + 1, 20), timeout=0.0)
            process.send_signal(signal.SIGKILL)
            with process.stdout:
                said += process.stdout.read()
            process.wait(60)
            lines = [line.split() for line in said.splitlines()]
            began = int(lines[0][1])
            assert began - 1 in (acknowledged, attempted), f"seed {seed}, kill {kill}"
            acknowledged = attempted = began - 1
            for word, sequence, *_ in lines[1:]:
                if word == "before":
                    attempted = int(sequence)
                elif word == "after":
                    acknowledged = int(sequence)
    assert acknowledged > kills


@MODES
@KINDS
def test_a_killed_worker_is_followed_by_one_that_begins_after_what_it_acknowledged(
    rings: Path, mode: str, dtype: np.dtype | None
) -> None:
    kill_workers(channel(rings, mode, dtype), rings, kills=3, seed=0x5EED)


@pytest.mark.soak
@MODES
@KINDS
def test_five_hundred_killed_workers(rings: Path, mode: str, dtype: np.dtype | None) -> None:
    kill_workers(channel(rings, mode, dtype), rings, kills=500, seed=time.time_ns())

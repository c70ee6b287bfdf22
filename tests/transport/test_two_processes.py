"""Producers and consumers in processes of their own: killed, forked, interrupted. The rest of the system is untouched."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tidebook as tb
from tidebook.errors import EndpointLostError

NUMBER = np.dtype([("number", "<u8"), ("square", "<u8")])

PRODUCER = """
import sys
import numpy as np
import tidebook as tb

with tb.open_producer("numbers", directory=sys.argv[1]) as producer:
    print("ready", flush=True)
    while True:
        first = producer.published + 1
        records = np.zeros(50, [("number", "<u8"), ("square", "<u8")])
        records["number"] = np.arange(first, first + 50)
        records["square"] = records["number"] ** 2
        producer.write_batch(records)
"""

# Says each batch before it is consumed, as one write.
CONSUMER = """
import os, sys
import tidebook as tb

with tb.open_consumer("numbers", "victim", directory=sys.argv[1]) as consumer:
    for batch in consumer:
        numbers = batch.array["number"]
        os.write(1, f"{numbers[0]} {numbers[-1]}\\n".encode())
        del numbers
"""


@pytest.fixture
def channel(rings: Path) -> tb.Channel:
    options = tb.ChannelOptions(dtype=NUMBER, buffer_size=1 << 14)
    return tb.create_channel("numbers", options, directory=rings)


def spawn(code: str, rings: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, str(rings)], stdout=subprocess.PIPE, text=True)


def rest(process: subprocess.Popen[str]) -> str:
    """What it says until it ends. Not `communicate`, which knows nothing of what `readline` has buffered."""
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.read()
    process.wait(timeout=60)
    return said


def kill(process: subprocess.Popen[str]) -> str:
    """What it had said."""
    process.send_signal(signal.SIGKILL)
    return rest(process)


def numbers(first: int, count: int) -> np.ndarray:
    records = np.zeros(count, NUMBER)
    records["number"] = np.arange(first, first + count)
    records["square"] = records["number"] ** 2
    return records


def check(batch: tb.Batch | tb.Gap | None, expected: int) -> int:
    """The sequence after a batch, which must begin at `expected`; `expected` when there was none."""
    if batch is None:
        return expected
    assert isinstance(batch, tb.Batch)
    assert batch.first_sequence == expected
    assert batch.array["number"].tolist() == batch.sequences.tolist()
    assert (batch.array["number"] ** 2 == batch.array["square"]).all()
    return expected + len(batch)


def kill_producers(channel: tb.Channel, rings: Path, kills: int, seed: int) -> None:
    """Each dies while it writes; what it committed is read, and the next goes on right after it."""
    moments = random.Random(seed)
    expected = 1
    with tb.open_consumer(channel, "watcher") as consumer:
        for _ in range(kills):
            process = spawn(PRODUCER, rings)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            until = time.monotonic() + moments.random() * 0.02
            while time.monotonic() < until:
                expected = check(consumer.poll_batch(1_000, timeout=0.01), expected)
            kill(process)
            while (batch := consumer.poll_batch(1_000)) is not None:
                expected = check(batch, expected)
            assert channel.status()["published"] == expected - 1, f"seed {seed}"
    assert expected > kills


def kill_consumers(channel: tb.Channel, rings: Path, kills: int, seed: int) -> None:
    """Each dies while it reads; the next begins with the batch that was not consumed: no gap, at most it twice."""
    moments = random.Random(seed)
    tb.open_consumer(channel, "victim").close()  # known from the start, so that the producer waits for it
    expected, batch_first = 1, 1
    with tb.open_producer(channel) as producer:
        for _ in range(kills):
            process = spawn(CONSUMER, rings)
            assert process.stdout is not None
            # Something must be there to read, and the ring must not be full of what it leaves behind.
            producer.write_batch(numbers(producer.published + 1, 20), timeout=0.0)
            said = process.stdout.readline()
            until = time.monotonic() + moments.random() * 0.02
            while time.monotonic() < until:
                producer.write_batch(numbers(producer.published + 1, 20), timeout=0.0)
            for line in (said + kill(process)).splitlines():
                first, last = map(int, line.split())
                assert first in (expected, batch_first), f"seed {seed}: {first} after {expected - 1}"
                batch_first, expected = first, last + 1


def test_a_killed_producer_leaves_whole_records_and_the_next_goes_on_after_them(
    channel: tb.Channel, rings: Path
) -> None:
    kill_producers(channel, rings, kills=4, seed=0x5EED)


def test_a_killed_consumer_resumes_with_the_batch_it_had_not_consumed(channel: tb.Channel, rings: Path) -> None:
    kill_consumers(channel, rings, kills=4, seed=0x5EED)


@pytest.mark.soak
@pytest.mark.parametrize("campaign", [kill_producers, kill_consumers])
def test_five_hundred_kills(
    campaign: Callable[[tb.Channel, Path, int, int], None], channel: tb.Channel, rings: Path
) -> None:
    campaign(channel, rings, 500, time.time_ns())


def test_a_forked_child_loses_its_endpoints_and_does_not_keep_the_parents_alive(channel: tb.Channel) -> None:
    """Method: the child tries both endpoints and reports by its exit code; the parent closes its own while it lives."""
    producer, consumer = tb.open_producer(channel), tb.open_consumer(channel, "forked")
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        code = 1
        try:
            for attempt in (lambda: producer.write_batch(numbers(1, 1)), lambda: consumer.poll_batch(1, timeout=1.0)):
                with pytest.raises(EndpointLostError, match="fork"):
                    attempt()
            code = 0
        finally:
            os.close(write)
            os.read(read, 1)
            os._exit(code)
    producer.close()
    consumer.close()
    # The child still lives and holds copies of everything.
    tb.open_producer(channel).close()
    tb.open_consumer(channel, "forked").close()
    os.write(write, b"x")
    os.close(write)
    _, status = os.waitpid(child, 0)
    os.close(read)
    assert os.waitstatus_to_exitcode(status) == 0


CHANGER = """
import sys
import numpy as np

memory = np.memmap(sys.argv[1], np.uint8, "r+")
print("ready", flush=True)
while True:
    for value in range(256):
        memory[:] = value
"""


@pytest.mark.parametrize(
    ("mode", "size", "count"), [("spsc", 8192, 2_000), ("mpsc", 8192, 2_000), ("mpsc", 64, 100_000)]
)
@pytest.mark.parametrize("kind", ["records", "messages"])
def test_memory_that_changes_while_it_is_published_makes_no_damaged_message(
    rings: Path, mode: str, size: int, count: int, kind: str
) -> None:
    """Method: another process writes to the memory all the time; damage would be an error of the consumer."""
    memory = np.memmap(rings / "memory", np.uint8, "w+", shape=(size,))
    dtype = np.dtype([("bytes", "u1", (size,))]) if kind == "records" else None
    channel = tb.create_channel("c", tb.ChannelOptions(dtype=dtype, mode=mode, buffer_size=1 << 20), directory=rings)
    process = subprocess.Popen([sys.executable, "-c", CHANGER, str(rings / "memory")], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        changes: set[bytes] = set()
        with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
            number = 0
            # However fast this process is, the other has its turns.
            while number < count or len(changes) < 10:
                number += 1
                assert producer.write(memory.data) == number
                batch = consumer.poll_batch()
                assert isinstance(batch, tb.Batch)
                with batch:
                    changes.add(batch.messages()[0][:1])
    finally:
        process.kill()
        process.communicate()
    assert len(changes) >= 10

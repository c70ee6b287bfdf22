"""Channels that several processes write."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tidebook as tb
from tidebook.errors import ChannelUsageError, EndpointBusyError

ORDER = np.dtype([("gateway", "<u8"), ("number", "<u8")])

GATEWAY = """
import sys
import numpy as np
import tidebook as tb

own, count, kind = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with tb.open_producer("orders", directory=sys.argv[1]) as producer:
    if kind == "records":
        orders = np.zeros(count, [("gateway", "<u8"), ("number", "<u8")])
        orders["gateway"], orders["number"] = own, np.arange(count)
        for part in np.array_split(orders, 10):
            producer.write_batch(part)
    else:
        for number in range(count):
            producer.write(b"%d %d" % (own, number) + b"." * (number % 400))
"""


@pytest.mark.parametrize("kind", ["records", "messages"])
def test_what_three_processes_write_comes_in_one_order_and_in_each_ones_own(rings: Path, kind: str) -> None:
    count = 2000
    dtype = ORDER if kind == "records" else None
    tb.create_channel("orders", tb.ChannelOptions(dtype=dtype, mode="mpsc", buffer_size=1 << 15), directory=rings)
    seen: list[tuple[int, int]] = []
    sequences: list[int] = []
    with tb.open_consumer("orders", "engine", directory=rings, wait="park") as engine:
        gateways = [
            subprocess.Popen([sys.executable, "-c", GATEWAY, str(rings), str(own), str(count), kind])
            for own in range(3)
        ]
        while len(seen) < 3 * count:
            batch = engine.poll_batch(timeout=60)
            assert isinstance(batch, tb.Batch), batch
            with batch:
                sequences += range(batch.first_sequence, batch.first_sequence + len(batch))
                if kind == "records":
                    seen += [(int(order["gateway"]), int(order["number"])) for order in batch.array]
                else:
                    texts = [message.rstrip(b".").split() for message in batch.messages()]
                    seen += [(int(own), int(number)) for own, number in texts]
        assert [gateway.wait(60) for gateway in gateways] == [0, 0, 0]
    assert sequences == list(range(1, 3 * count + 1))
    for own in range(3):
        assert [number for by, number in seen if by == own] == list(range(count))


def test_as_many_producers_as_asked_for_and_no_more(rings: Path) -> None:
    options = tb.ChannelOptions(mode="mpsc", producers_max=2)
    channel = tb.create_channel("orders", options, directory=rings)
    with tb.open_producer(channel) as one, tb.open_producer(channel) as two:
        assert (one.write(b"a"), two.write(b"b"), one.write_batch([b"c", b"d"])) == (1, 2, 4)
        assert one.published == two.published == 4
        with pytest.raises(EndpointBusyError, match="2 living producers"):
            tb.open_producer(channel)
        status = channel.status()
        assert [producer["alive"] for producer in status["producers"]] == [True, True]
    with pytest.raises(ChannelUsageError, match="with mode mpsc, asked for was spsc"):
        tb.create_channel("orders", tb.ChannelOptions(), directory=rings)
    with pytest.raises(ChannelUsageError, match=r"must be spsc .* or mpsc"):
        tb.create_channel("orders", tb.ChannelOptions(mode="spmc"), directory=rings)


def test_a_consumer_that_fails_a_full_channel_is_not_waited_for(rings: Path) -> None:
    for mode in ("spsc", "mpsc"):
        channel = tb.create_channel(mode, tb.ChannelOptions(mode=mode, buffer_size=4096), directory=rings)
        with tb.open_consumer(channel, "impatient", policy="fail") as impatient, tb.open_producer(channel) as producer:
            written = [producer.write(b"x" * 100, timeout=60)]
            while not isinstance(written[-1], tb.Full):
                written.append(producer.write(b"x" * 100, timeout=60))
            assert (written[-1].consumer, written[-1].producer) == ("impatient", None)
            batch = impatient.poll_batch(1000)
            assert isinstance(batch, tb.Batch)
            assert len(batch) == len(written) - 1
            batch.release()
            assert impatient.poll_batch() is None
            assert producer.write(b"x") == len(written)


SHORT = """
import sys
import tidebook as tb

with tb.open_producer("orders", directory=sys.argv[1]) as producer:
    print("ready", flush=True)
    while True:
        producer.write(b"short", timeout=1.0)
"""

READER = """
import sys
import time
import tidebook as tb

with tb.open_consumer("orders", "slow", directory=sys.argv[1]) as consumer:
    print("ready", flush=True)
    while True:
        batch = consumer.poll_batch(4, timeout=1.0)
        if batch is not None:
            batch.release()
        time.sleep(float(sys.argv[2]))
"""


def started(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def ended(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        process.communicate()


LONG = """
import sys
import tidebook as tb

producer = tb.open_producer("orders", directory=sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    sys.stdin.buffer.read(1)
    answer = producer.write(b"L" * 6_600, timeout=None if sys.argv[2] == "None" else float(sys.argv[2]))
    print(type(answer).__name__, flush=True)
"""


def test_a_long_message_whose_room_others_take_is_given_up_in_time_and_for_ctrl_c(rings: Path) -> None:
    """Method: a slow reader makes room for short messages of two others all the time, and for half a buffer seldom."""
    tb.create_channel("orders", tb.ChannelOptions(mode="mpsc", buffer_size=1 << 14), directory=rings)
    processes = [started(READER, rings, 0.0005), started(SHORT, rings), started(SHORT, rings)]
    try:
        long = started(LONG, rings, 0.2)
        processes.append(long)
        assert long.stdin is not None
        assert long.stdout is not None
        for _ in range(5):
            long.stdin.write(b".")
            long.stdin.flush()
            assert long.stdout.readline() in {b"Full\n", b"int\n"}
        forever = started(LONG, rings, None)
        processes.append(forever)
        assert forever.stdin is not None
        forever.stdin.write(b"." * 1_000)
        forever.stdin.flush()
        forever.send_signal(signal.SIGINT)
        assert forever.wait(60) != 0
    finally:
        ended(processes)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt here, whoever started the tests: jobs in the background of a shell ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("mode", ["spsc", "mpsc"])
@pytest.mark.parametrize("kind", ["array", "list"])
def test_a_batch_ends_in_time_and_for_ctrl_c_while_a_slow_reader_makes_a_little_room(
    rings: Path, mode: str, kind: str
) -> None:
    """Method: the whole batch would take the reader minutes; a signal is on its way while it is written."""
    channel = tb.create_channel("orders", tb.ChannelOptions(dtype=ORDER, mode=mode, buffer_size=2_560), directory=rings)
    batch = np.zeros(100_000, ORDER) if kind == "array" else [bytes(16)] * 100_000
    reader = started(READER, rings, 0.004)
    try:
        with tb.open_producer(channel) as producer:
            full = producer.write_batch(batch, timeout=0.2)
            assert isinstance(full, tb.Full)
            assert 0 < full.written < 100_000
            alarm = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
            alarm.start()
            with pytest.raises(KeyboardInterrupt):
                producer.write_batch(batch)
            alarm.join()
    finally:
        ended([reader])

"""What a Python program sees of the rings: one message handed over, one written, a thousand records taken at once."""

import asyncio
import gc
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from benches import wake_a_task as wake
from benches.ends import ROOT, process, wait_until_ready
from benches.hand_over import SIZE_BYTES, WAYS, End, connect
from benches.harness import Bench, Sample, at_most, times_better, within
from tidebook import _core
from tidebook.transport import Batch, ChannelOptions, create_channel, open_consumer, open_producer

MESSAGE = bytes([1]) * SIZE_BYTES
PEERS = [way for way in WAYS if way != "ours"]
BATCH = 1024
BATCHES = 16  # timed together: one alone is over before the clock has settled
BURST = 256  # as many messages as a pipe surely holds


def hand_over(bench: Bench, directory: str) -> None:
    """`bytes` in, `bytes` out, all ways taking turns, each end on a processor of its own."""
    rounds, messages = bench.size((15, 2_000), (2, 20))
    times: dict[str, list[list[int]]] = {}
    cpus = sorted(os.sched_getaffinity(0))
    with ExitStack() as running:
        ends = {}
        for way in WAYS:
            folder = Path(directory, f"python-{way.replace(' ', '-')}")
            folder.mkdir(mode=0o700)
            try:
                end = connect(way, folder, "out", "back")
            except ImportError:
                continue  # printed as missing
            command = [sys.executable, "-m", "benches.hand_over", way, str(folder)]
            echo = running.enter_context(process(command))
            wait_until_ready(echo)
            os.sched_setaffinity(echo.pid, {cpus[-1]})
            ends[way] = end, echo
            times[way] = []
        running.enter_context(pinned(cpus[0]))
        for _ in range(rounds):
            for way, (end, echo) in ends.items():
                times[way].append(round_trips(end, echo, messages))
    samples = {way: Sample.of([statistics.median(each) / 2e3 for each in taken], "µs") for way, taken in times.items()}
    bench.figure(
        "64 B handed over between Python processes, p50",
        samples["ours"],
        peers={peer: samples.get(peer) for peer in PEERS},
        goals=[at_most(1.5), times_better(2, "iceoryx2"), times_better(4, "pyzmq ipc")],
        note="half a round trip, bytes in and bytes out; iceoryx2 and ours poll, the others wait in the kernel",
    )


def wake_a_task(bench: Bench, directory: str) -> None:
    """What an asyncio program sees: both ends sleep in their loops until a message comes."""
    rounds, messages = bench.size((15, 500), (2, 10))
    medians: dict[str, list[float]] = {}
    folders = {way: Path(directory, f"wake-{way.replace(' ', '-')}") for way in wake.WAYS}
    for folder in folders.values():
        folder.mkdir(mode=0o700)

    async def play() -> None:
        with ExitStack() as echoes:
            ways: dict[str, tuple[wake.End, subprocess.Popen[str]]] = {}
            for way, folder in folders.items():
                try:
                    end = wake.connect(way, folder, "out", "back")
                except ImportError:
                    continue  # printed as missing
                ways[way] = end, echoes.enter_context(echo("benches.wake_a_task", way, folder))
                medians[way] = []
            for _ in range(rounds):
                for way, (end, process) in ways.items():
                    process.send_signal(signal.SIGCONT)
                    times = []
                    for _ in range(messages):
                        start = time.perf_counter_ns()
                        await end.send(bytes(wake.SIZE_BYTES))
                        await end.receive()
                        times.append(time.perf_counter_ns() - start)
                    medians[way].append(statistics.median(times) / 2)
                    process.send_signal(signal.SIGSTOP)

    asyncio.run(play())
    samples = {way: Sample.of(values, "ns").in_unit("µs") for way, values in medians.items()}
    bench.figure(
        "a sleeping task woken by another process, p50",
        samples["ours"],
        peers={way: samples.get(way) for way in wake.WAYS if way != "ours"},
        goals=[within(2, "asyncio pipe"), times_better(1, "pyzmq ipc")],
        note="half a round trip of 64 B between asyncio tasks; one thread of each process waits for all its channels",
    )


@contextmanager
def echo(module: str, way: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The other end, in a process of its own that stands still until it is continued."""
    command = [sys.executable, "-m", module, way, str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Keeps this thread on one processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def round_trips(end: End, echo: subprocess.Popen[str], messages: int) -> list[int]:
    """Nanoseconds of each; the other end is told how many, and sleeps before and afterwards."""
    assert echo.stdin is not None
    echo.stdin.write(f"{messages}\n")
    echo.stdin.flush()
    times = []
    for _ in range(messages):
        start = time.perf_counter_ns()
        end.send(MESSAGE)
        end.receive()
        times.append(time.perf_counter_ns() - start)
    return times


def write_and_take(bench: Bench, directory: str) -> None:
    """What it costs to send one message, and how the peers take one; sender and receiver are in this process."""
    rounds = bench.size(201, 3)
    sends: dict[str, list[float]] = {}
    takes: dict[str, list[float]] = {}
    ends = {}
    for way in WAYS:
        folder = Path(directory, f"write-{way.replace(' ', '-')}")
        folder.mkdir(mode=0o700)
        try:
            ends[way] = connect(way, folder, "out", "back"), connect(way, folder, "back", "out")
        except ImportError:
            continue
        sends[way], takes[way] = [], []
    for _ in range(rounds):
        for way, (sender, receiver) in ends.items():
            sends[way].append(nanoseconds(sender.send_many, BURST) / BURST)
            takes[way].append(nanoseconds(receiver.receive_many, BURST) / BURST)
    samples = {way: Sample.of(each, "ns") for way, each in sends.items()}
    bench.figure(
        "write(64 bytes) in Python",
        samples["ours"],
        peers={peer: samples.get(peer) for peer in PEERS},
        goals=[at_most(400)],
        note="one call, with CRC, into a ring that may wake sleepers; bursts of 256, read in between",
    )
    take_a_batch(bench, directory, {peer: Sample.of(each, "ns") for peer, each in takes.items() if peer != "ours"})


def nanoseconds(work: Callable[[int], object], count: int) -> int:
    """How long this takes, without the garbage collector."""
    gc.collect()
    gc.disable()
    start = time.perf_counter_ns()
    work(count)
    elapsed = time.perf_counter_ns() - start
    gc.enable()
    return elapsed


def take_a_batch(bench: Bench, directory: str, peers: dict[str, Sample]) -> None:
    """64-byte records in batches of 1,024: checked, and seen as one numpy array; the peers take bytes one by one."""
    rounds = bench.size(101, 3)
    taken: dict[bool, list[float]] = {True: [], False: []}
    with ExitStack() as opened:
        channels = {crc: opened.enter_context(records(directory, crc=crc)) for crc in taken}
        for _ in range(rounds):
            for crc, (write, take) in channels.items():
                write(BATCHES)
                taken[crc].append(nanoseconds(take, BATCHES) / (BATCHES * BATCH))
    for crc, goal, what in ((True, 25, "checksums verified"), (False, 15, "a ring without checksums")):
        bench.figure(
            f"poll_batch(1024), per record of 64 B{'' if crc else ', without CRC'}",
            Sample.of(taken[crc], "ns"),
            peers={peer: peers.get(peer) for peer in PEERS},
            goals=[at_most(goal)],
            note=f"{what}, one numpy view; the peers take bytes one by one",
        )


@contextmanager
def records(directory: str, *, crc: bool) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """Writes, and takes, so many batches of records."""
    batch = np.zeros(BATCH, _core.schemas()["trades"].dtype())
    options = ChannelOptions(schema="trades", buffer_size=4 << 20, crc=crc)
    channel = create_channel(f"records-{crc}", options, directory=directory)
    with open_producer(channel) as producer, open_consumer(channel, "reader", start="earliest") as consumer:

        def write(count: int) -> None:
            for _ in range(count):
                producer.write_batch(batch)

        def take(count: int) -> None:
            for _ in range(count):
                found = consumer.poll_batch(BATCH)
                assert isinstance(found, Batch)
                assert len(found.array) == BATCH

        # Sequences begin at 1 and a batch ends where the ring wraps: from here on every batch is a whole one.
        producer.write_batch(batch[1:])
        consumer.poll_batch(BATCH)
        yield write, take

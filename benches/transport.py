"""Messages between processes: one record handed over, and a thousand taken at once.

The hand-over is measured in Rust (`crates/ring/examples/hand_over.rs`), because at 200 ns Python would be all one sees,
and once more between Python programs beside what those use instead (`benches/hand_over.py`); taking a batch is measured
where it is used, in Python.
"""

import asyncio
import json
import multiprocessing
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from benches import wake_a_task as wake
from benches.hand_over import SIZE_BYTES, WAYS, End, connect
from benches.harness import Bench, Sample, at_most, measure, times_better, within
from tidebook import _core
from tidebook.transport import Batch, ChannelOptions, create_channel, open_consumer, open_producer

ROOT = Path(__file__).parent.parent
BATCH = 1024
BATCHES = 16  # timed together: one alone is over before the clock has settled
SHARED_MEMORY = "/dev/shm"


def run(bench: Bench) -> None:
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir=SHARED_MEMORY) as directory:
        hand_over(bench, directory)
        hand_over_in_python(bench, directory)
        wake_a_task(bench, directory)
        take_a_batch(bench, directory)


def hand_over(bench: Bench, directory: str) -> None:
    profile = bench.size(["--release"], [])
    command = ["cargo", "run", "-q", *profile, "-p", "tidebook-ring", "--example", "hand_over", "--", directory]
    rounds, messages = bench.size((15, 100_000), (2, 200))
    shown = subprocess.run([*command, str(rounds), str(messages)], cwd=ROOT, check=True, capture_output=True, text=True)
    # A round trip is two hand-overs.
    samples = {name: Sample.of([ns / 2 for ns in times], "ns") for name, times in json.loads(shown.stdout).items()}
    bench.figure(
        "hand-over of 64 B to another process, p50",
        samples["ours"],
        peers={"bare ring": samples["bare"]},
        goals=[within(1.35, "bare ring")],
        note="half a round trip, both spinning; ours with checksum, cursors and liveness",
    )


def hand_over_in_python(bench: Bench, directory: str) -> None:
    """What a Python program sees: `bytes` in, `bytes` out, all ways taking turns."""
    rounds, messages = bench.size((15, 2_000), (2, 20))
    medians: dict[str, list[float]] = {}
    with ExitStack() as echoes:
        ways: dict[str, tuple[End, subprocess.Popen[str]]] = {}
        for way in WAYS:
            folder = Path(directory, way.replace(" ", "-"))
            folder.mkdir(mode=0o700)
            try:
                end = connect(way, folder, "out", "back")
            except ImportError:
                continue  # printed as missing
            ways[way] = end, echoes.enter_context(echo("benches.hand_over", way, folder))
            medians[way] = []
        for _ in range(rounds):
            for way, (end, process) in ways.items():
                process.send_signal(signal.SIGCONT)
                medians[way].append(round_trip_ns(end, messages) / 2)
                # An idle end must not keep a core while another way is measured.
                process.send_signal(signal.SIGSTOP)
    samples = {way: Sample.of(values, "ns").in_unit("µs") for way, values in medians.items()}
    peers = {way: samples.get(way) for way in WAYS if way != "ours"}
    bench.figure(
        "hand-over of 64 B between Python processes, p50",
        samples["ours"],
        peers=peers,
        goals=[times_better(2, "iceoryx2"), times_better(4, "pyzmq ipc")],
        note="half a round trip, bytes in and bytes out; iceoryx2 and ours poll, ZeroMQ waits in the kernel",
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


def round_trip_ns(end: End, messages: int) -> float:
    """Median of this many round trips."""
    message = bytes([1]) * SIZE_BYTES
    times = []
    for _ in range(messages):
        start = time.perf_counter_ns()
        end.send(message)
        end.receive()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times)


def take_a_batch(bench: Bench, directory: str) -> None:
    """64-byte records in batches of 1,024: checked, and seen as one numpy array; the peer takes bytes from a pipe."""
    rounds = bench.size(101, 3)
    records = np.zeros(BATCH, _core.schemas()["trades"].dtype())
    channel = create_channel("bench", ChannelOptions(schema="trades", buffer_size=4 << 20), directory=directory)
    reader, writer = multiprocessing.Pipe(duplex=False)
    message = bytes(records.dtype.itemsize)
    with open_producer(channel) as producer, open_consumer(channel, "reader", start="earliest") as consumer:

        def ours() -> None:
            for _ in range(BATCHES):
                batch = consumer.poll_batch(BATCH)
                assert isinstance(batch, Batch)
                assert len(batch.array) == BATCH

        def pipe() -> None:
            for _ in range(pipe_count):
                reader.recv_bytes()

        pipe_count = 256  # as many as a pipe surely holds
        # Sequences begin at 1 and a batch ends where the ring wraps: from here on every batch is a whole one.
        producer.write_batch(records[1:])
        consumer.poll_batch(BATCH)
        samples: dict[str, list[float]] = {"ours": [], "pipe": []}
        for _ in range(rounds):
            for _ in range(BATCHES):
                producer.write_batch(records)
            for _ in range(pipe_count):
                writer.send_bytes(message)
            once = measure({"ours": ours, "pipe": pipe}, rounds=1, warmup=0)
            samples["ours"].append(once["ours"].per(BATCHES * BATCH).in_unit("ns").value)
            samples["pipe"].append(once["pipe"].per(pipe_count).in_unit("ns").value)
    reader.close()
    writer.close()
    bench.figure(
        "poll_batch(1024), per record of 64 B",
        Sample.of(samples["ours"], "ns"),
        peers={"multiprocessing.Pipe": Sample.of(samples["pipe"], "ns")},
        goals=[at_most(25)],
        note="checksums verified, one numpy view; the peer copies bytes one by one",
    )

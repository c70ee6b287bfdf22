"""`tidebook channel bench`: what this machine gives, measured in seconds, with what it is told and what disturbs it.

Small on purpose: it answers whether channels work here as they should. `make bench ONLY=transport` compares with peers.
"""

from __future__ import annotations

import json as json_module
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidebook.cli.channel.inputs import Rings  # noqa: TC001 - cyclopts reads annotations
from tidebook.cli.output import Json, console, print_json
from tidebook.cli.shown import amount, duration
from tidebook.errors import OperationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

_SIZE_BYTES = 64
_RING_BYTES = 256 << 10
_ROUNDS = 5
_HAND_OVERS = 4_000
_STREAMED = 400_000
_CALLS = 20_000
_BATCH = 1_024
_BATCHES = 400
_CORES_TO_SPIN = 4
_END_S = 60.0

# Another process's end: nothing of this one's is in what is measured.
_END = "import json, sys; from tidebook import _core; getattr(_core, sys.argv[1])(*json.loads(sys.argv[2]))"


def bench(*, producers: int = 3, rings: Rings = None, json: Json = False) -> None:
    """Measure on this machine: hand-over between processes, throughput, calls from Python.

    Parameters
    ----------
    producers
        Processes that write one channel at once in the part about many producers, up to 64.
    """
    if not 1 <= producers <= 64:
        raise UsageError(f"--producers {producers}: name a number from 1 to 64")
    cores = len(os.sched_getaffinity(0))
    spin = cores >= _CORES_TO_SPIN
    load = os.getloadavg()[0]
    machine = {
        "cpu": _cpu(),
        "cores": cores,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": load,
        "waiting": "spin" if spin else "hybrid",
    }
    screen = console()
    if not json:
        screen.print(f"{machine['cpu']}, {cores} cores, Linux {machine['kernel']}, Python {machine['python']}")
        screen.print(f"load {load:.1f} before; waits {machine['waiting']}; {_SIZE_BYTES} bytes a message, CRC on")
        if load > cores / 2:
            screen.print("[yellow]other work runs here: what follows says how that is, not what the machine can do[/]")
    results = []
    for name, run in (
        ("hand-over, two processes", lambda place: _hand_over(place, spin)),
        ("throughput, one producer", lambda place: _stream(place, 1, spin)),
        (f"throughput, {producers} producers", lambda place: _stream(place, producers, spin)),
        ("Python, a message a call", _calls),
        (f"Python, batches of {_BATCH:,}", _batches),
    ):
        with _place(rings) as place:
            result = {"name": name, **run(place)}
        results.append(result)
        if not json:
            screen.print(f"  {name:<28} {result['text']}")
    load_after = os.getloadavg()[0]
    if json:
        print_json({"machine": machine, "load_after": load_after, "size_bytes": _SIZE_BYTES, "results": results})
    else:
        screen.print(
            f"load {load_after:.1f} after; each figure is the median of {_ROUNDS} rounds, (worst and best of them)"
        )


@contextmanager
def _place(rings: Path | None) -> Iterator[Path]:
    """A directory for rings that is gone afterwards."""
    from tidebook.transport.channel import make_private
    from tidebook.transport.view import rings_root

    root = rings_root(rings)
    make_private(root)
    place = Path(tempfile.mkdtemp(prefix="bench-", dir=root))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _hand_over(place: Path, spin: bool) -> dict[str, Any]:
    from tidebook._core import Ring, measure_hand_over

    rounds = []
    for number in range(_ROUNDS):
        out, back = str(place / f"out{number}.ring"), str(place / f"back{number}.ring")
        for path in (out, back):
            Ring.create_slots(path, _SIZE_BYTES, _RING_BYTES // 1024)
        with _other_end("measure_echo", (out, back, _SIZE_BYTES, _HAND_OVERS, spin)):
            times = sorted(measure_hand_over(out, back, _SIZE_BYTES, _HAND_OVERS, spin))
        _all_came(len(times), _HAND_OVERS)
        # The first ones wait for the other process to start.
        rounds.append([times[int(len(times) * part)] / 2 for part in (0.5, 0.99)])
    p50, p99 = ([one[at] for one in rounds] for at in (0, 1))
    text = f"p50 {_spread_ns(p50)}   p99 {_spread_ns(p99)}"
    return {"text": text, "p50_ns": p50, "p99_ns": p99, "messages": _HAND_OVERS}


def _stream(place: Path, producers: int, spin: bool) -> dict[str, Any]:
    from tidebook._core import Ring, measure_drain

    each = _STREAMED // producers
    rates = []
    for number in range(_ROUNDS):
        path = place / f"stream{number}.ring"
        slots = 1 << (_RING_BYTES // 128).bit_length() - 1
        Ring.create_slots(path, _SIZE_BYTES, slots, producers_max=producers if producers > 1 else None)
        measure_drain(path, 0, spin)  # takes its name, so that producers wait for it from the first message on
        ends = [_started("measure_stream", (str(path), _SIZE_BYTES, each)) for _ in range(producers)]
        try:
            done, took_s = measure_drain(path, each * producers, spin)
        finally:
            for end in ends:
                _ended(end)
        _all_came(done, each * producers)
        rates.append(done / took_s)
    return {"text": f"{_spread_rate(rates)} messages/s", "messages_per_s": rates, "messages": each * producers}


def _calls(place: Path) -> dict[str, Any]:
    from tidebook.transport import ChannelOptions, create_channel, open_consumer, open_producer

    channel = create_channel("calls", ChannelOptions(buffer_size=_RING_BYTES * 32), directory=place)
    message = bytes(_SIZE_BYTES)
    writes, reads = [], []
    with open_producer(channel) as producer, open_consumer(channel, "bench") as consumer:
        for _ in range(_ROUNDS):
            start = time.perf_counter_ns()
            for _ in range(_CALLS):
                producer.write(message)
            middle = time.perf_counter_ns()
            for _ in range(_CALLS):
                consumer.poll(_nothing, 1)
            reads.append((time.perf_counter_ns() - middle) / _CALLS)
            writes.append((middle - start) / _CALLS)
    text = f"write {_spread_ns(writes)}   poll {_spread_ns(reads)}"
    return {"text": text, "write_ns": writes, "poll_ns": reads, "messages": _CALLS}


def _nothing(sequence: int, payload: bytes) -> None:
    """What a callback costs that does nothing is part of a call."""


def _batches(place: Path) -> dict[str, Any]:
    import numpy as np

    from tidebook.transport import Batch, ChannelOptions, create_channel, open_consumer, open_producer

    dtype = np.dtype([("price", "<i8"), ("size", "<i8"), ("rest", "<i8", (6,))])
    records: np.ndarray[Any, Any] = np.zeros(_BATCH, dtype)
    records["price"], records["size"] = np.arange(_BATCH), 2
    channel = create_channel("batches", ChannelOptions(dtype=dtype, buffer_size=_RING_BYTES), directory=place)
    writes, reads = [], []
    with open_producer(channel) as producer, open_consumer(channel, "bench") as consumer:
        for _ in range(_ROUNDS):
            write_ns = read_ns = 0
            for _ in range(_BATCHES):
                start = time.perf_counter_ns()
                producer.write_batch(records)
                middle = time.perf_counter_ns()
                left = _BATCH
                while left:
                    batch = consumer.poll_batch(left)
                    assert isinstance(batch, Batch), batch
                    with batch:
                        batch.array["price"].sum()
                        left -= len(batch)
                read_ns += time.perf_counter_ns() - middle
                write_ns += middle - start
            writes.append(write_ns / _BATCHES / _BATCH)
            reads.append(read_ns / _BATCHES / _BATCH)
    text = f"write {_spread_ns(writes)}   read and sum a column {_spread_ns(reads)}, a message"
    return {"text": text, "write_ns": writes, "read_ns": reads, "messages": _BATCHES * _BATCH}


def _started(function: str, arguments: tuple[Any, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _END, function, json_module.dumps(arguments)], stderr=subprocess.PIPE
    )


def _ended(end: subprocess.Popen[bytes]) -> None:
    """Waits for it. Raises: OperationError with what it said when it failed."""
    try:
        error = end.communicate(timeout=_END_S)[1].decode(errors="replace").strip()
    except subprocess.TimeoutExpired:
        end.kill()
        end.communicate()
        error = "it did not end"
    if end.returncode:
        raise OperationError(f"the other process of the measurement failed: {error.splitlines()[-1] if error else '?'}")


@contextmanager
def _other_end(function: str, arguments: tuple[Any, ...]) -> Iterator[None]:
    end = _started(function, arguments)
    try:
        yield
    except BaseException:
        end.kill()
        end.communicate()
        raise
    _ended(end)


def _all_came(found: int, expected: int) -> None:
    if found != expected:
        raise OperationError(f"{found:,} of {expected:,} messages came before the other process was given up")


def _spread_ns(values: list[float]) -> str:
    shown = [duration(round(one)) for one in (statistics.median(values), max(values), min(values))]
    return f"{shown[0]} ({shown[1]}, {shown[2]})"


def _spread_rate(values: list[float]) -> str:
    shown = [amount(one) for one in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]}, {shown[2]})"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

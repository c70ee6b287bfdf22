"""From the venue's socket to the published top of book, at 1,000 messages/s.

A paced venue writes into each message when it sent it. In between lie the kernel's loopback, the connector in Python,
the capture channel with its journal, the engine, and the record in `md.quotes`; the time is taken when all that follows
from a message is published. A third figure is taken by another process that waits on `md.quotes` and has to be woken.
The peer shares venue and pace but publishes nothing: it is done when its own process knows the top.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import quantiles

from benches.harness import Bench, Sample, at_most
from tidebook.transport import Gap, open_consumer

ROOT = Path(__file__).parent.parent
RATE = 1_000.0
PEER = "websockets + json"
FLAG_DERIVED = 16
WARM_UP_S = 1.0
GOALS = {"p50": 80.0, "p99": 400.0}

Cuts = dict[str, float]
"""Quantile -> microseconds."""


@contextlib.contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of `benches`."""
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def last_words(process: subprocess.Popen[str]) -> Cuts:
    """Closes the process's input; what it measured."""
    told, _ = process.communicate(timeout=60)
    cuts: Cuts = json.loads(told)
    return cuts


@contextlib.contextmanager
def node(wait: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A venue and the feed part of a node whose engine waits by `wait`; its process and the directory of its rings."""
    directory = Path(tempfile.mkdtemp(prefix="tidebook-bench-", dir=ROOT / "benches"))
    try:
        with (
            child("benches.socket_to_book_venue", str(RATE)) as venue,
            child("benches.socket_to_book_node", "node", first_line(venue), str(directory), wait) as process,
        ):
            assert first_line(process) == "ready"
            yield process, directory / "rings"
    finally:
        shutil.rmtree(directory)


def published(wait: str, seconds: float) -> Cuts:
    """Sent to published, by the engine's own histogram."""
    with node(wait) as (process, _):
        time.sleep(WARM_UP_S + seconds)
        return last_words(process)


def seen(seconds: float) -> Cuts:
    """Sent to seen by this process, which is woken for each quote."""
    took: list[float] = []
    with node("park") as (process, rings):
        quotes = open_consumer("md.quotes", directory=rings, start="latest", policy="overwrite", wait="park")
        began = time.monotonic()
        while (now := time.monotonic() - began) < WARM_UP_S + seconds:
            batch = quotes.poll_batch(timeout=0.05)
            now_ns = time.time_ns()
            if batch is None or isinstance(batch, Gap) or now < WARM_UP_S:
                continue
            direct = batch.array["flags"] & FLAG_DERIVED == 0
            took += [(now_ns - sent_ns) / 1e3 for sent_ns in batch.array["ts_recv"][direct].tolist()]
        quotes.close()
        last_words(process)
    cuts = quantiles(took, n=100)
    return {"p50": cuts[49], "p99": cuts[98]}


def peer(seconds: float) -> Cuts:
    """Sent to known, in the peer's process."""
    with (
        child("benches.socket_to_book_venue", str(RATE)) as venue,
        child("benches.socket_to_book_node", "peer", first_line(venue)) as client,
    ):
        assert first_line(client) == "ready"
        time.sleep(WARM_UP_S + seconds)
        return last_words(client)


def socket_to_book(bench: Bench) -> None:
    """The figures of this file, for the area `feeds`."""
    rounds, seconds = bench.size((5, 6.0), (1, 1.0))
    ways: dict[str, tuple[Callable[[], Cuts], str]] = {
        "socket to published top of book": (partial(published, "park", seconds), "engine parked between messages"),
        "the same, engine spinning": (partial(published, "spin", seconds), "a core of its own for the engine"),
        "the same, seen by another process": (partial(seen, seconds), "engine and reader both woken"),
    }
    measured: dict[str, list[Cuts]] = {PEER: [], **{name: [] for name in ways}}
    for _ in range(rounds):
        for name, (run, _) in ways.items():
            measured[name].append(run())
        measured[PEER].append(peer(seconds))
    for name, (_, how) in ways.items():
        for cut, limit in GOALS.items():
            samples = {who: Sample.of([cuts[cut] for cuts in values], "µs") for who, values in measured.items()}
            bench.figure(
                f"{name}, {cut}",
                samples[name],
                peers={PEER: samples[PEER]},
                goals=[at_most(limit)] if "seen" not in name else [],
                note=f"{RATE:,.0f} messages/s; {how}; the peer publishes nothing",
            )

"""From the venue's socket to the top of book that another process sees, at 1,000 messages/s.

A paced venue stamps each bookTicker as it writes it to the socket; this process spins on `md.quotes` and notes when it
sees the same update id. In between lie the kernel's loopback, the connector in Python, the capture channel with its
journal, the engine and the published record. The peer shares venue and pace but publishes nothing: it is done when its
own process knows the top.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

from benches.harness import Bench, Sample, at_most
from tidebook.transport import Gap, open_consumer

ROOT = Path(__file__).parent.parent
RATE = 1_000.0
PEER = "websockets + json"
FLAG_DERIVED = 16
WARM_UP_S = 1.0


@contextlib.contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of `benches`, ended by closing its standard input."""
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def last_words(process: subprocess.Popen[str]) -> dict[int, int]:
    """Closes the process's input; what it says then, as update id -> monotonic ns."""
    told, _ = process.communicate(timeout=30)
    return {int(update_id): ns for update_id, ns in json.loads(told or "{}").items()}


def ours(seconds: float, wait: str) -> list[float]:
    """Microseconds from send to seen in `md.quotes`, one a bookTicker; `wait` is how the engine's thread waits."""
    directory = Path(tempfile.mkdtemp(prefix="tidebook-bench-", dir=ROOT / "benches"))
    seen: dict[int, int] = {}
    try:
        with child("benches.socket_to_book_venue", str(RATE)) as venue:
            port = str(json.loads(first_line(venue))["port"])
            with child("benches.socket_to_book_node", "node", port, str(directory), wait) as node:
                first_line(node)
                quotes = open_consumer(
                    "md.quotes", directory=directory / "rings", start="latest", policy="overwrite", wait="spin"
                )
                end = time.monotonic() + WARM_UP_S + seconds
                while time.monotonic() < end:
                    batch = quotes.poll_batch(timeout=0.05)
                    now_ns = time.time_ns()
                    if batch is None or isinstance(batch, Gap):
                        continue
                    quoted = batch.array[batch.array["flags"] & FLAG_DERIVED == 0]
                    seen.update(dict.fromkeys(quoted["venue_sequence"].tolist(), now_ns))
                quotes.close()
                last_words(node)
            return latencies(last_words(venue), seen)
    finally:
        shutil.rmtree(directory)


def peer(seconds: float) -> list[float]:
    """The same for the peer, up to its own process."""
    with child("benches.socket_to_book_venue", str(RATE)) as venue:
        port = str(json.loads(first_line(venue))["port"])
        with child("benches.socket_to_book_node", "peer", port) as client:
            first_line(client)
            time.sleep(WARM_UP_S + seconds)
            seen = last_words(client)
        return latencies(last_words(venue), seen)


def latencies(sent: dict[int, int], seen: dict[int, int]) -> list[float]:
    """Those after the warm-up."""
    start = min(sent.values()) + int(WARM_UP_S * 1e9)
    found = [(seen[key] - ns) / 1e3 for key, ns in sent.items() if ns >= start and key in seen]
    assert len(found) > 50, f"only {len(found)} quotes arrived: no figure"
    return found


def socket_to_book(bench: Bench) -> None:
    """The figures of this file, for the area `feeds`."""
    rounds, seconds = bench.size((5, 6.0), (1, 1.0))
    engines = {"park": "engine parked between messages, as in tidebook run", "spin": "engine spinning on its own core"}
    cuts: dict[str, list[list[float]]] = {PEER: [], **{wait: [] for wait in engines}}
    for _ in range(rounds):
        for wait in engines:
            cuts[wait].append(quantiles(ours(seconds, wait), n=100))
        cuts[PEER].append(quantiles(peer(seconds), n=100))
    for wait, how in engines.items():
        for name, percent, goal in (("p50", 50, 80.0), ("p99", 99, 400.0)):
            samples = {who: Sample.of([cut[percent - 1] for cut in values], "µs") for who, values in cuts.items()}
            bench.figure(
                f"socket to published top of book, {wait}, {name}",
                samples[wait],
                peers={PEER: samples[PEER]},
                goals=[at_most(goal)],
                note=f"{RATE:,.0f} messages/s; {how}; the peer stops inside its own process",
            )

"""A node that takes many symbols over three venues: what it costs, and that nothing is lost.

The venues are processes of their own, and so is the node: `tidebook run` as a user starts it, connectors, capture with
its journal, engine, storage, API. Only the node's processor time is counted. Then the venues are stopped, and what each
of them sent is compared with what the journals hold, connection by connection; the books' own chains and checksums must
have found nothing either.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benches.harness import Bench, Sample, at_most
from tidebook._core import JournalReader, unpack_message
from tidebook.feeds.registry import feed_kind
from tidebook.feeds.sink import MessageKind

ROOT = Path(__file__).parent.parent
VENUES = ("binance", "coinbase", "kraken")
RATE = 5_000.0
START_TIMEOUT_S = 120.0
CAUGHT_UP_TIMEOUT_S = 30.0
# Shorter than the default, so that committing Parquet parts falls into the time that is measured.
FLUSH_INTERVAL_S = "5"


@dataclass(frozen=True)
class Load:
    """What a node needed over one stretch of time."""

    cores: float
    messages_per_s: float
    lost: int
    """Messages that a venue sent and the journal does not hold, or the other way round."""
    faults: int
    """Gaps, failed checks, frames set aside and lost connections."""
    messages: int
    """Compared."""

    @property
    def us_per_message(self) -> float:
        """Processor time of one message, all threads of the node together."""
        return self.cores / self.messages_per_s * 1e6


def answer(url: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=30) as got:
        return json.load(got)


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def tidebook(*words: str, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A command in a process of its own, and the line of JSON with which it says that it is ready."""
    command = [sys.executable, "-m", "tidebook", *words, "--json"]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


class Journals:
    """Counts the messages that came over WebSocket, by venue and connection, as the journals grow."""

    def __init__(self, data: Path) -> None:
        self._readers = {venue: JournalReader(data / f"journal/feed.{venue}") for venue in VENUES}
        self._counts: dict[str, Counter[int]] = {venue: Counter() for venue in VENUES}

    def counted(self, venue: str) -> list[int]:
        """Messages of each connection, fewest first."""
        while (read := self._readers[venue].next()) is not None:
            payloads = read[1]
            for index in range(len(payloads)):
                _, connection, kind, _, _ = unpack_message(payloads[index])
                if kind == MessageKind.WS:
                    self._counts[venue][connection] += 1
        return sorted(self._counts[venue].values())


def sent(rest: str) -> list[int]:
    """Messages that a venue sent on each of its connections, fewest first."""
    return sorted(connection["messages"] for connection in answer(f"{rest}/sim/status")["connections"])


def difference(rest: str, journals: Journals, venue: str) -> tuple[int, int]:
    """Messages that are on one side only, and messages sent; what is still on its way is waited for.

    Heartbeats go on while the venue is stopped, so the count before and after a reading must be the same.
    """
    deadline = time.monotonic() + CAUGHT_UP_TIMEOUT_S
    while True:
        before = sent(rest)
        held = journals.counted(venue)
        if before == held or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    apart = abs(sum(before) - sum(held)) if len(before) == len(held) else sum(before)
    return max(apart, int(before != held)), sum(before)


def load_of(symbols: int, rate: float, seconds: float) -> Load:
    """What a node needs for `symbols` of each venue that send `rate` messages a second together."""
    folder = Path(tempfile.mkdtemp(prefix="tidebook-bench-", dir="/var/tmp"))
    rings = Path(tempfile.mkdtemp(prefix="tidebook-bench-", dir="/dev/shm"))
    try:
        with contextlib.ExitStack() as stack:
            environment = {
                "TIDEBOOK_RINGS": str(rings),
                "TIDEBOOK_LOG_LEVEL": "warning",
                "TIDEBOOK_VENUE_ENABLED": "false",
            }
            rests, wanted = {}, []
            for venue in VENUES:
                words = ("simulate", venue, "--symbols", str(symbols), "--rate", str(rate / len(VENUES)), "--port", "0")
                _, facts = stack.enter_context(tidebook(*words, "--until-stdin-closes", environment={}))
                endpoints = feed_kind(venue).protocol.local(facts["port"])
                rests[venue] = facts["rest"]
                environment[f"TIDEBOOK_{venue.upper()}_WS_URL"] = endpoints.ws
                environment[f"TIDEBOOK_{venue.upper()}_REST_URL"] = endpoints.rest
                wanted += [f"{venue}:{symbol}" for symbol in facts["symbols"]]
            # `--live` with addresses on this machine: the venues are ours to ask, not the node's.
            run = ["run", "--live", "--venues", ",".join(VENUES), "--symbols", ",".join(wanted), "--port", "0"]
            run += ["--data", str(folder / "data"), "--flush-interval-s", FLUSH_INTERVAL_S]
            node, facts = stack.enter_context(tidebook(*run, environment=environment))
            return measured(node, facts["address"], rests, Journals(folder / "data"), symbols, seconds)
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(rings)


def measured(
    node: subprocess.Popen[str], address: str, rests: dict[str, str], journals: Journals, symbols: int, seconds: float
) -> Load:
    """The load once all books are good, then the comparison of what was sent with what is held."""

    def feeds() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = answer(f"{address}/api/v1/feeds")
        return found

    wait_for(
        lambda: [feed["books_usable"] for feed in feeds()] == [symbols] * len(VENUES), START_TIMEOUT_S, "good books"
    )
    process = psutil.Process(node.pid)
    began, used = time.monotonic(), sum(process.cpu_times()[:2])
    count = sum(sum(sent(rest)) for rest in rests.values())
    time.sleep(seconds)
    used = sum(process.cpu_times()[:2]) - used
    took = time.monotonic() - began
    count = sum(sum(sent(rest)) for rest in rests.values()) - count
    for rest in rests.values():
        answer(f"{rest}/sim/pause", b"")
    compared = [difference(rest, journals, venue) for venue, rest in rests.items()]
    faults = sum(feed[what] for feed in feeds() for what in ("gaps", "checks_failed", "quarantined", "reconnects"))
    node.send_signal(signal.SIGINT)
    node.communicate(timeout=60)
    if node.returncode:
        raise RuntimeError(f"the node ended with {node.returncode}")
    return Load(
        used / took, count / took, sum(apart for apart, _ in compared), faults, sum(all_ for _, all_ in compared)
    )


def many_symbols(bench: Bench) -> None:
    """The figures of this file, for the area `feeds`."""
    symbols, rate, seconds = bench.size((167, RATE, 20.0), (4, 600.0, 1.0))
    loads = [load_of(symbols, rate, seconds) for _ in range(bench.size(3, 1))]
    rates = median(load.messages_per_s for load in loads)
    note = (
        f"{symbols * len(VENUES)} simulated symbols of {', '.join(VENUES)}, {rates:,.0f} messages/s; the whole node: "
        "connectors, journal synced, engine, storage, API"
    )
    bench.figure(
        "a node of many symbols, processor",
        Sample.of([load.cores for load in loads], "cores"),
        goals=[at_most(1.0)],
        note=note,
    )
    bench.figure(
        "a node of many symbols, a message",
        Sample.of([load.us_per_message for load in loads], "µs"),
        note="processor time of all threads",
    )
    messages = sum(load.messages for load in loads)
    for name, values in (
        ("a node of many symbols, messages lost", [load.lost for load in loads]),
        ("a node of many symbols, gaps and faults", [load.faults for load in loads]),
    ):
        bench.figure(
            name,
            Sample(float(sum(values)), 0.0, "messages" if "lost" in name else "events"),
            goals=[at_most(0)],
            note=f"{messages:,} messages sent, counted in the journals by connection",
        )

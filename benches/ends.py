"""Ways to hand messages over between processes, each end a process of its own that sleeps while others are measured.

The ends are programs in Rust (`crates/ring/examples/transport`, `benches/rivals`): over our rings, over a bare one, over
iceoryx2 and Aeron. All have the same loops and take the same words: a role, and then how many messages, round by round.
"""

import json
import os
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.harness import Sample

ROOT = Path(__file__).parent.parent
RIVALS = ROOT / "benches/rivals/target/release"
DRIVER = "aeron_driver"

Processes = list[subprocess.Popen[str]]


@dataclass(frozen=True)
class Role:
    """What an end does (`rounds.rs`), on the first or the last processor, and its number."""

    name: str
    last: bool
    number: int = 0


HAND_OVER = (Role("ping", last=False), Role("pong", last=True))
STREAM = (Role("sink", last=True), Role("source", last=False))
MANY_PRODUCERS = (Role("sink", last=True), *(Role("source", last=False, number=number) for number in range(3)))


def fan_out(consumers: int) -> tuple[Role, ...]:
    """A publisher, and one process with that many consumers."""
    return Role("publisher", last=False), Role("subscribers", last=True, number=consumers)


@dataclass(frozen=True)
class Way:
    """A program and its word for the way."""

    program: Path
    word: str
    roles: tuple[Role, ...]

    @property
    def can_run(self) -> bool:
        """Whether its program was built; rivals may not be."""
        return self.program.exists()


class Ends:
    """The ends of one way, ready and pinned."""

    def __init__(self, roles: tuple[Role, ...], processes: Processes, driver: subprocess.Popen[str] | None) -> None:
        self._roles = roles
        self._processes = processes
        self._driver = driver

    def round(self, messages: int) -> dict[str, Any]:
        """Hands this many messages over; what the end that measures says of it."""
        sources = sum(role.name == "source" for role in self._roles)
        each = messages // max(sources, 1)
        if self._driver is not None:
            self._driver.send_signal(signal.SIGCONT)
        for role, process in zip(self._roles, self._processes, strict=True):
            assert process.stdin is not None
            process.stdin.write(f"{each * sources if role.name == 'sink' else each}\n")
            process.stdin.flush()
        said: dict[str, Any] = {}
        for process in self._processes:
            assert process.stdout is not None
            said |= json.loads(process.stdout.readline())
        if self._driver is not None:
            self._driver.send_signal(signal.SIGSTOP)
        return said


@contextmanager
def started(way: Way, folder: Path) -> Iterator[Ends]:
    """Its ends in processes of their own, in a private folder that is there; Aeron's with its driver."""
    cpus = sorted(os.sched_getaffinity(0))
    with ExitStack() as running:
        driver = None
        if way.word.startswith("aeron"):
            driver = running.enter_context(process([str(way.program.with_name(DRIVER)), str(folder / "driver")]))
            wait_until_ready(driver)
        commands = ([str(way.program), way.word, role.name, str(folder), str(role.number)] for role in way.roles)
        processes = [running.enter_context(process(command)) for command in commands]
        for role, end in zip(way.roles, processes, strict=True):
            wait_until_ready(end)
            # The thread that sends and receives; a library's own threads go where there is time for them.
            os.sched_setaffinity(end.pid, {cpus[-1] if role.last else cpus[0]})
        if driver is not None:
            driver.send_signal(signal.SIGSTOP)
        try:
            yield Ends(way.roles, processes, driver)
        finally:
            # Its clients say goodbye to it.
            if driver is not None:
                driver.send_signal(signal.SIGCONT)


@contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Ends with its input; is killed if that does not end it."""
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.send_signal(signal.SIGCONT)
            assert running.stdin is not None
            running.stdin.close()
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()


def wait_until_ready(end: subprocess.Popen[str]) -> None:
    """Raises: AssertionError when it ended instead; what it said is on the standard error."""
    assert end.stdout is not None
    assert end.stdout.readline() == "ready\n", f"{end.args!r} did not start"


def in_turn(ways: Mapping[str, Way], directory: str, rounds: int, messages: int) -> dict[str, list[dict[str, Any]]]:
    """What each way says of each round, all taking turns; a way that cannot run is left out."""
    said: dict[str, list[dict[str, Any]]] = {name: [] for name, way in ways.items() if way.can_run}
    with ExitStack() as running:
        ends = {}
        for name in said:
            folder = Path(tempfile.mkdtemp(prefix="way-", dir=directory))
            ends[name] = running.enter_context(started(ways[name], folder))
        for _ in range(rounds):
            for name, way in ends.items():
                said[name].append(way.round(messages))
    return said


def quantile(counts: Counter[int], share: float) -> float:
    """The time that this share of all stays below, between the steps of the clock that counted them."""
    wanted, below, last = counts.total() * share, 0, 0
    for time in sorted(counts):
        if below + counts[time] >= wanted:
            return last + (time - last) * (wanted - below) / counts[time]
        below, last = below + counts[time], time
    raise ValueError("no times")


def one_way(rounds: list[dict[str, Any]], share: float) -> Sample:
    """Half a round trip: the quantile over the round trips of all rounds; the spread is that between rounds."""
    histograms = [Counter(dict(said["times"])) for said in rounds]
    spread = Sample.of([quantile(times, share) / 2 for times in histograms], "ns").spread
    return Sample(quantile(sum(histograms, Counter()), share) / 2, spread, "ns")


def rate(rounds: list[dict[str, Any]]) -> Sample:
    """Messages received a second."""
    return Sample.of([said["messages"] / said["ns"] * 1e3 for said in rounds], "M/s", "higher")


def cost(rounds: list[dict[str, Any]]) -> Sample:
    """Nanoseconds a message."""
    return Sample.of([said["ns"] / said["messages"] for said in rounds], "ns")

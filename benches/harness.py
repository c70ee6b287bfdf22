"""What every bench uses: measure, compare with peers in the same run, judge by a goal, keep the raw figures.

An area is a module `benches/<area>.py` with one function:

    def run(bench: Bench) -> None:
        updates = bench.size(full=100_000, small=500)      # small sizes run in the test suite, so benches never rot
        samples = measure({"ours": decode_all, "cryptofeed": cryptofeed_decode_all}, rounds=bench.size(15, 2))
        ours = samples["ours"].per(updates).in_unit("ns")
        bench.figure(
            "decode depth update", ours, peers={"cryptofeed": samples["cryptofeed"].per(updates).in_unit("ns")},
            goals=[at_most(560), times_better(20, "cryptofeed")],
        )

The decision that shaped it: a figure without its peer is no result. A peer that could not be run is given as `None`, is
printed as missing, and every goal that needs it counts as missed. Peers take turns with us round by round, so a busy
machine slows both; the figure is the median, its spread the distance between the quartiles.
"""

import gc
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Literal, TypeVar

from rich.console import Console
from rich.table import Table

AREAS = ("feeds", "transport", "persistence", "matching", "venue", "venue_chain", "audit", "storage", "datasets", "api")

T = TypeVar("T")

# Seconds times this is the unit.
_SECONDS_IN = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}


@dataclass(frozen=True)
class Sample:
    """Median of several rounds with the distance between its quartiles, both in `unit`."""

    value: float
    spread: float
    unit: str
    better: Literal["lower", "higher"] = "lower"

    @classmethod
    def of(cls, values: Sequence[float], unit: str, better: Literal["lower", "higher"] = "lower") -> "Sample":
        """The sample of raw `values`, one a round (bytes, counts, times measured elsewhere)."""
        if len(values) == 1:
            return cls(values[0], 0.0, unit, better)
        low, _, high = quantiles(values, n=4)
        return cls(median(values), high - low, unit, better)

    def per(self, count: int) -> "Sample":
        """The same for one of `count` equal parts."""
        return Sample(self.value / count, self.spread / count, self.unit, self.better)

    def in_unit(self, unit: str) -> "Sample":
        """The same time in s, ms, µs or ns."""
        factor = _SECONDS_IN[unit] / _SECONDS_IN[self.unit]
        return Sample(self.value * factor, self.spread * factor, unit, self.better)

    def as_rate(self, count: int, what: str) -> "Sample":
        """`count` things in this time as `what` a second; the spread keeps its share of the value."""
        rate = count / (self.value / _SECONDS_IN[self.unit])
        return Sample(rate, rate * self.spread / self.value, f"{what}/s", "higher")


def measure(work: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 1) -> dict[str, Sample]:
    """Seconds one call of each takes, over `rounds` in which all take turns, after `warmup` rounds that do not count.

    The garbage collector runs between calls and not within them.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    for round_index in range(warmup + rounds):
        for name, call in work.items():
            gc.collect()
            with _collector_off():
                start = time.perf_counter()
                call()
                elapsed = time.perf_counter() - start
            if round_index >= warmup:
                times[name].append(elapsed)
    return {name: Sample.of(values, "s") for name, values in times.items()}


@contextmanager
def _collector_off() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(frozen=True)
class Goal:
    """A promise about a figure: the words for people and the check."""

    text: str
    check: "Callable[[Figure], bool]"


def at_most(limit: float) -> Goal:
    """The value does not exceed `limit`, in the figure's unit."""
    return Goal(f"≤ {_number(limit)}", lambda figure: figure.value <= limit)


def at_least(limit: float) -> Goal:
    """The value reaches `limit`, in the figure's unit."""
    return Goal(f"≥ {_number(limit)}", lambda figure: figure.value >= limit)


def times_better(times: float, peer: str) -> Goal:
    """At least `times` as good as `peer` in the same run."""
    return Goal(f"≥ {_number(times)}x {peer}", lambda figure: (figure.ratio_to(peer) or 0.0) >= times)


def within(times: float, peer: str) -> Goal:
    """At most `times` as costly as `peer`, where the peer is a floor that cannot be beaten."""
    return Goal(f"≤ {_number(times)}x {peer}", lambda figure: (figure.ratio_to(peer) or 0.0) >= 1 / times)


@dataclass(frozen=True)
class Figure:
    """One measured number with what it is compared to.

    `peers` holds each peer's value in the same unit, or None for a peer that could not be run. `ratio` is how many
    times better we are than the strongest peer that ran (above 1: better, in whichever direction better lies).
    """

    area: str
    name: str
    value: float
    unit: str
    spread: float
    better: Literal["lower", "higher"]
    peers: Mapping[str, float | None]
    goals: Sequence[Goal]
    note: str
    machine: str
    cores: int
    load: float
    date: str

    def ratio_to(self, peer: str) -> float | None:
        """How many times better than `peer`; None when it did not run."""
        theirs = self.peers.get(peer)
        if theirs is None or self.value == 0 or theirs == 0:
            return None
        return theirs / self.value if self.better == "lower" else self.value / theirs

    @property
    def ratio(self) -> float | None:
        """Against the strongest peer that ran."""
        return min((ratio for peer in self.peers if (ratio := self.ratio_to(peer)) is not None), default=None)

    @property
    def missing(self) -> list[str]:
        """Peers that could not be run."""
        return [peer for peer, value in self.peers.items() if value is None]

    @property
    def met(self) -> bool | None:
        """Whether every goal holds and no peer is missing; None without a goal or a missing peer."""
        if self.missing:
            return False
        return all(goal.check(self) for goal in self.goals) if self.goals else None

    def as_json(self) -> str:
        """One line for `benches/out/<area>.jsonl`."""
        return json.dumps(
            {
                "area": self.area,
                "name": self.name,
                "value": self.value,
                "unit": self.unit,
                "spread": self.spread,
                "peers": dict(self.peers),
                "ratio": self.ratio,
                "goal": " and ".join(goal.text for goal in self.goals) or None,
                "met": self.met,
                "note": self.note,
                "machine": self.machine,
                "cores": self.cores,
                "load": self.load,
                "date": self.date,
            },
            ensure_ascii=False,
        )


@dataclass
class Bench:
    """One run of one area: its sizes and the figures it has given so far."""

    area: str
    small: bool = False
    figures: list[Figure] = field(default_factory=list)

    def size(self, full: T, small: T) -> T:
        """`full` in a real run, `small` in the test suite."""
        return small if self.small else full

    def figure(
        self,
        name: str,
        ours: Sample,
        *,
        peers: Mapping[str, Sample | None] | None = None,
        goals: Sequence[Goal] = (),
        note: str = "",
    ) -> Figure:
        """Records one figure; `peers` are in the unit of `ours`, None where a peer could not be run.

        Raises: ValueError if a peer has another unit or a goal names a peer that is not among `peers`.
        """
        theirs = dict(peers or {})
        for peer, sample in theirs.items():
            if sample is not None and (sample.unit, sample.better) != (ours.unit, ours.better):
                raise ValueError(f"{name}: {peer} is in {sample.unit}, we are in {ours.unit}")
        figure = Figure(
            area=self.area,
            name=name,
            value=ours.value,
            unit=ours.unit,
            spread=ours.spread,
            better=ours.better,
            peers={peer: None if sample is None else sample.value for peer, sample in theirs.items()},
            goals=tuple(goals),
            note=note,
            machine=machine(),
            cores=len(os.sched_getaffinity(0)),
            load=round(os.getloadavg()[0], 2),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.figures.append(figure)
        return figure


def machine() -> str:
    """The processor's own name, and the system."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, {platform.system()} {platform.release()}"
    return f"{platform.machine()}, {platform.system()} {platform.release()}"


def write_jsonl(figures: Sequence[Figure], path: Path) -> None:
    """Replaces `path` by one line per figure: the file always is the newest run of its area."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(figure.as_json() + "\n" for figure in figures))


def print_table(area: str, figures: Sequence[Figure], console: Console) -> None:
    """The figures of one area for people."""
    table = Table(title=f"{area} · {machine()} · {os.cpu_count()} cores", title_justify="left", expand=False)
    for column in ("figure", "value", "spread", "peers", "ratio", "goal", "", "load"):
        table.add_column(column, justify="right" if column in ("value", "spread", "ratio", "load") else "left")
    for figure in figures:
        peers = "\n".join(
            f"{peer} {'missing' if value is None else _number(value)}" for peer, value in figure.peers.items()
        )
        table.add_row(
            figure.name + (f"\n[dim]{figure.note}[/dim]" if figure.note else ""),
            f"{_number(figure.value)} {figure.unit}",
            f"±{_number(figure.spread / 2)}",
            peers,
            "" if figure.ratio is None else f"{figure.ratio:.2f}x",
            "\n".join(goal.text for goal in figure.goals),
            {None: "", True: "[green]met[/green]", False: "[red]MISSED[/red]"}[figure.met],
            f"{figure.load:.1f}",
        )
    console.print(table)


def _number(value: float) -> str:
    """Four significant digits, thousands grouped."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"

"""The venue's engine in its channels: orders in, executions out, at a fixed pace, and the whole way of a strategy.

Measured by `crates/plane/examples/venue_chain`, in rounds that take turns with what cannot be beaten: a bare chain of as many rings and threads, and a
bare write and sync of the very batches that the journal made. Commands are due at fixed times and count from then, so whoever is late is not excused.
Each round says what the machine took away meanwhile: the kernel counts for how long threads of ours could have run and had no core. A round is quiet
when that was next to nothing, which is no choice by its result. On few cores risk and matching are one thread, on four and more two; where a strategy
answers market data all engines are one thread, unless there is a core for each. TIDEBOOK_BENCH_FIRST=1 asks for priority over all else, for a machine that others use too.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from benches.ends import ROOT
from benches.harness import Bench, Sample, at_least, at_most, within

Row = dict[str, Any]
"""A line that a program said."""

BARE = "bare chain"
SYNC = "bare write and fdatasync"
RATES = (1_000_000, 100_000)
"""Commands a second: what the goals are of, and what leaves both cores time."""
BATCHES = (1, 16, 64)
"""Commands at once; beyond some hundred carrying them out takes longer than the disk, and hides it."""
WARM_UP_ROUNDS = 3
WAITS = ("hybrid", "park")
"""How threads of the open loop wait: polling, and asleep as a node's do unless told otherwise."""
WAY = {
    "due_seen": "message due, its record in the strategy's hands",
    "received_decoded": "of that: received, decoded",
    "decoded_published": "of that: decoded, record published",
    "seen_taken": "record in hand, order taken by the venue",
    "judged_matched": "order judged, matched",
    "judged_released": "order judged, execution published",
    "taken_acknowledged": "order taken, verdict in the strategy's hands",
    "taken_back": "order taken, execution in the strategy's hands",
    "total": "message due, execution in the strategy's hands",
}
"""Stages in their order; each language has those that it can tell."""


@dataclass(frozen=True)
class Layout:
    """Threads for the cores there are."""

    risk_and_matching: str
    engines: str
    """How engines wait for a feed and for orders that come now and then."""
    strategy: str
    """Threads where a strategy answers market data: up to five cores one for all engines."""

    @classmethod
    def of(cls, cores: int) -> "Layout":
        # The strategy, market data, risk and matching, and two for everything else.
        if cores >= 6:
            return cls("split", "spin", "split")
        return cls("split" if cores >= 4 else "fused", "hybrid", "together")


def run(bench: Bench) -> None:
    layout = Layout.of(len(os.sched_getaffinity(0)))
    program = built(bench)
    for per_s in RATES:
        for wait in WAITS:
            open_loop(bench, program, layout, wait, per_s)
    journaled(bench, program, layout)
    trade(bench, "Rust", [program, "trade", layout.strategy], layout, 10)
    trade(bench, "Python", [sys.executable, "-m", "benches.venue_trader", layout.strategy], layout, 100)


def built(bench: Bench) -> Path:
    """The program that measures."""
    profile = bench.size("release", "debug")
    build = ["cargo", "build", "-q", "-p", "tidebook-plane", "--example", "venue_chain"]
    subprocess.run(build + ["--release"] * (profile == "release"), cwd=ROOT, check=True)
    return ROOT / "target" / profile / "examples/venue_chain"


IS_FIRST = bool(os.environ.get("TIDEBOOK_BENCH_FIRST"))
"""Whether programs are to have their cores before all others of the machine, at real-time priority, which root may give."""
SENDER, ENGINES = (os.sched_param(priority) for priority in (1, 2))
"""What engines and journal do goes before what the sender does, which never sleeps and may have a core of theirs."""


class Turns:
    """Programs that take rounds in turn, one at a time; those whose turn it is not are stopped, so that none takes a core from another."""

    def __init__(self, commands: Mapping[str, Sequence[object]]) -> None:
        self.programs = {
            name: subprocess.Popen(
                [*map(str, command)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for name, command in commands.items()
        }
        for program in self.programs.values() if IS_FIRST else ():
            os.sched_setscheduler(program.pid, os.SCHED_FIFO, ENGINES)

    def __enter__(self) -> Self:
        return self

    def ask(self, name: str, line: str = "round") -> list[Row]:
        """What a program says to a line. Raises: RuntimeError when it ended."""
        program = self.programs[name]
        assert program.stdin is not None
        assert program.stdout is not None
        program.send_signal(signal.SIGCONT)
        # Who ended before it was asked is found by what it no longer says.
        with contextlib.suppress(BrokenPipeError):
            program.stdin.write(line + "\n")
            program.stdin.flush()
        rows: list[Row] = []
        while (said := program.stdout.readline()).strip():
            rows.append(json.loads(said))
        if not said:
            raise RuntimeError(f"{name} ended: {program.wait()}")
        program.send_signal(signal.SIGSTOP)
        return rows

    def rounds(self, count: int) -> list[list[Row]]:
        """Rounds of all programs, after some that warm up: what was said in each."""
        found = []
        for index in range(WARM_UP_ROUNDS + count):
            found.append([row for name in self.programs for row in self.ask(name)])
            if index == 0 and IS_FIRST:
                # Its other threads are there by now, and stay as they are.
                for program in self.programs.values():
                    os.sched_setscheduler(program.pid, os.SCHED_FIFO, SENDER)
        return found[WARM_UP_ROUNDS:]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        codes = []
        for program in self.programs.values():
            program.send_signal(signal.SIGCONT)
            if error is not None:
                program.kill()
            program.communicate()
            codes.append(program.returncode)
        assert error is not None or not any(codes), codes


def micros(rows: Iterable[Row], part: str) -> Sample:
    return Sample.of([row[part] / 1e3 for row in rows], "µs")


def stalls(rows: list[Row]) -> str:
    """What the machine took away."""
    waited = sum(row["waited_ns"] for row in rows) / 1e9 / sum(row["took_s"] for row in rows)
    longest = max(row["longest_gap_ns"] for row in rows) / 1e6
    return (
        f"{waited:.1%} of the time a thread waited for a core, {sum(row['gaps'] for row in rows)} pauses of the sender above 50 µs, "
        f"the longest {longest:.2f} ms"
    )


def is_quiet(rows: Iterable[Row]) -> bool:
    """Whether the machine let a round be: nobody waited for a core for more than a hundredth of it."""
    return all(row["waited_ns"] <= row["took_s"] * 1e7 for row in rows if "waited_ns" in row)


def of_quiet(rounds: list[list[Row]]) -> tuple[list[list[Row]], str]:
    """Rounds in which the machine took next to nothing away, or the one in which it took least: chosen by that, not by what was measured."""
    quiet = [rows for rows in rounds if is_quiet(rows)]
    if quiet:
        return quiet, f"{len(quiet)} of {len(rounds)} rounds were quiet"

    def share(rows: list[Row]) -> float:
        return max(float(row["waited_ns"]) / float(row["took_s"]) for row in rows if "waited_ns" in row)

    return [min(rounds, key=share)], f"none of {len(rounds)} rounds was quiet: the one that waited least"


def of(rounds: list[list[Row]], chain: str) -> list[Row]:
    return [row for rows in rounds for row in rows if row["chain"] == chain]


def open_loop(bench: Bench, program: Path, layout: Layout, wait: str, per_s: int) -> None:
    """Risk, matching, executions, without a journal."""
    count, rounds = bench.size((max(per_s // 200, 1_000), 300), (200, 2))
    pace = bench.size(per_s, 2_000)
    threads = layout.risk_and_matching
    with Turns({chain: [program, chain, threads, wait, pace, count] for chain in ("bare", "venue")}) as turns:
        everything = turns.rounds(rounds)
    quiet, how_many = of_quiet(everything)
    for found, name in ((everything, ""), (quiet, ", quiet rounds")):
        ours, bare = of(found, "venue"), of(found, "bare")
        for part, ratio in (("p50", 1.5), ("p99", 1.3), ("p999", None)):
            goals = [within(ratio, BARE)] if ratio else []
            if part == "p99" and name:
                goals.append(at_most(10))
            bench.figure(
                f"{per_s:,}/s, {wait}, {part.replace('p999', 'p99.9')}{name}",
                micros(ours, f"{part}_ns"),
                peers={BARE: micros(bare, f"{part}_ns")},
                goals=goals if per_s == RATES[0] else [],
                note=f"{threads}; {how_many}; {stalls(ours)}" if part == "p50" else "",
            )


def journaled(bench: Bench, program: Path, layout: Layout) -> None:
    """The same with `orders` on disk: what it adds to batches of commands, to commands at a pace, and how many a second become durable."""
    per_s = bench.size(RATES[0], 2_000)
    count, rounds, at_once = bench.size((RATES[0] // 50, 30, 1_000_000), (200, 1, 500))
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/var/tmp") as folder:
        words = [layout.risk_and_matching, "park", per_s, count]
        programs = {"venue": [program, "venue", *words], "journal": [program, "journal", *words, folder]}
        with Turns(programs) as turns:
            everything = turns.rounds(rounds)
            asked = {batch: [f"batch {batch}"] * rounds for batch in BATCHES}
            batches = {
                batch: [[row for name in programs for row in turns.ask(name, line)] for line in lines]
                for batch, lines in asked.items()
            }
            rates = [turns.ask("journal", f"at once {at_once}")[0]["per_s"] for _ in range(bench.size(5, 1))]
    bench.figure(
        "through the journal, all at once",
        Sample.of(rates, "commands/s", "higher"),
        goals=[at_least(1e6)],
        note=f"{at_once:,} commands of one sender, judged, matched and synced, group commit; the best {max(rates):,.0f}",
    )
    for batch, found in batches.items():
        added, whole, without = added_by(found)
        bench.figure(
            f"the journal, added to {batch:,} commands, p50",
            added,
            peers={SYNC: micros(of(found, "sync"), "p50_ns")},
            goals=[within(2.2, SYNC)],
            note=f"until the last is executed {whole:,.0f} µs, without a journal {without:,.0f} µs; "
            f"in the best round {min(row['p50_ns'] for row in of(found, 'journal')) / 1e3:,.0f} µs",
        )
    quiet, how_many = of_quiet(everything)
    added, whole, without = added_by(quiet)
    per_batch = median(row["batches"] for row in of(quiet, "sync"))
    bench.figure(
        f"the journal, added at {per_s:,}/s, p50",
        added,
        peers={SYNC: micros(of(quiet, "sync"), "p50_ns")},
        note=f"open loop: p50 {whole:,.0f} µs, without a journal {without:,.0f} µs; {per_batch:,.0f} batches in {count:,} commands, "
        f"and the same bare; {how_many}; {stalls(of(quiet, 'journal'))}",
    )


def added_by(rounds: list[list[Row]]) -> tuple[Sample, float, float]:
    """What the journal adds to the p50 of each round; the medians with it and without it, µs."""
    durable, memory = ([row["p50_ns"] / 1e3 for row in of(rounds, chain)] for chain in ("journal", "venue"))
    added = [with_it - without for with_it, without in zip(durable, memory, strict=True)]
    return Sample.of(added, "µs"), median(durable), median(memory)


def trade(bench: Bench, language: str, command: list[object], layout: Layout, limit: float) -> None:
    """A strategy's whole way, stage by stage."""
    per_s, count, rounds = bench.size((1_000, 50, 100), (200, 40, 1))
    with Turns({language: [*command, layout.engines, per_s, count]}) as turns:
        everything = turns.rounds(rounds)
    quiet, how_many = of_quiet(everything)
    rows, calm = of(everything, "trade"), of(quiet, "trade")
    for stage, words in WAY.items():
        if stage not in rows[0]:
            continue
        p99 = median(row[stage][1] for row in calm) / 1e3
        all_p50, all_p99 = (median(row[stage][at] for row in rows) / 1e3 for at in (0, 1))
        bench.figure(
            f"{language}: {words}",
            Sample.of([row[stage][0] / 1e3 for row in calm], "µs"),
            goals=[at_most(limit)] if stage == "total" else [],
            note=f"p50 of quiet rounds, p99 {p99:,.1f}; of all rounds p50 {all_p50:,.1f}, p99 {all_p99:,.1f} µs"
            + (
                f"; {layout.strategy}, engines {layout.engines}, {per_s:,} messages/s; {how_many}; {stalls(rows)}"
                if stage == "total"
                else ""
            ),
        )

"""Matching on one core: commands a second on exchange-core's mix and in five regimes, beside other engines on the same streams.

Ours is the whole matching engine (`crates/venue/examples/matching.rs`): sessions, accounts, fees, stops and a state hash are in its figures.
The peers are order books alone, so ours is measured alone too (`crates/venue/examples/book_alone.rs`). They are orderbook-rs from its registry (`benches/rivals/order_book_rs`), fastlob in Python, and three in C++ that one
builds by hand: a program in the folder that TIDEBOOK_BENCH_MATCHING names, called as its peer is here. It reads the stream that is its only
argument (the layout: `Flow::write` in `crates/testkit/src/flow/mod.rs`), goes over it once to see what trades and once with a clock, from behind the
orders that fill the book, and prints a line of JSON: `per_s`, `trades` (fills, the filling's too) and `trade_hash` (`TradeHash`, there).
All take turns, and who trades otherwise than the stream was made with is named in the note.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benches.ends import RIVALS, ROOT
from benches.harness import Bench, Figure, Goal, Sample, at_least, times_better

BY_HAND = "TIDEBOOK_BENCH_MATCHING"
IN_CPP = {"geseq/cpp-orderbook": "geseq", "CppTrader": "cpptrader", "liquibook": "liquibook"}
IN_RUST, IN_PYTHON = "orderbook-rs", "fastlob"
# A thousand times slower than others: it sees the beginning of a stream only.
IN_PYTHON_MAX = 20_000
# Some need minutes where others need a second: one that is slow is measured once, one that is not done by then counts as not run.
SLOW_S, TIMEOUT_S = 10, 300

EXCHANGE_CORE = {"exchange-core-1k": ("1K", 6e6), "exchange-core-1m": ("1M", 3e6)}
REGIMES = {
    "static": "static",
    "normal": "normal",
    "swing-25": "swing 25 %",
    "swing-40": "swing 40 %",
    "flash-crash": "flash crash",
}

Told = dict[str, Any]


def built(bench: Bench) -> Path:
    """The program that makes the streams and measures the venue on them; `book_alone` lies beside it."""
    profile = bench.size("release", "debug")
    build = ["cargo", "build", "-q", "-p", "tidebook-venue", "--example", "matching", "--example", "book_alone"]
    subprocess.run(build + ["--release"] * (profile == "release"), cwd=ROOT, check=True)
    return ROOT / "target" / profile / "examples/matching"


def run(bench: Bench) -> None:
    program = built(bench)
    for stream, (orders, goal) in EXCHANGE_CORE.items():
        if stream.endswith("1m") and bench.small:
            continue  # it has to be filled
        measure(bench, program, stream, f"exchange-core's mix, {orders} resting orders", [at_least(goal)])
    regimes = [measure(bench, program, stream, f"regime {name}", []) for stream, name in REGIMES.items()]
    venues, books = [venue for venue, _ in regimes], [book for _, book in regimes]
    worst(bench, "the worst of five regimes", venues, at_least(4e6))
    worst(bench, "the worst of five regimes, the order book alone", books)


def measure(bench: Bench, program: Path, stream: str, name: str, goals: list[Goal]) -> tuple[Figure, Figure]:
    """All on one stream, round by round: ours, and our order book alone."""
    commands, rounds = bench.size((2_000_000, 3), (4_000, 1))
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/var/tmp") as folder:
        file = Path(folder) / "stream"
        expected = told([program, "write", stream, commands, file])
        peers = all_peers(file)
        ours: list[Told] = []
        books: list[Told] = []
        theirs: dict[str, list[Told]] = {peer: [] for peer in peers}
        slow: set[str] = set()
        for _ in range(rounds):
            ours.append(told([program, "measure", stream, commands, 1]))
            books.append(told([program.with_name("book_alone"), file]))
            for peer in [peer for peer in peers if peer not in slow]:
                began, command = time.monotonic(), peers[peer]
                row = command() if command else None
                theirs[peer] = [*theirs[peer], row] if row else []
                if not row or time.monotonic() - began > SLOW_S:
                    slow.add(peer)
    others = [
        peer
        for peer, rows in theirs.items()
        if rows and rows[0].get("trade_hash", expected["trade_hash"]) != expected["trade_hash"]
    ]
    assert ours[0]["trade_hash"] == books[0]["trade_hash"] == expected["trade_hash"]
    rates = {peer: rate(rows) if rows else None for peer, rows in theirs.items()}
    venue = bench.figure(
        f"{name}, commands matched",
        rate(ours),
        peers=rates,
        goals=goals,
        note=f"{ours[0]['commands']:,} commands, {ours[0]['executions']:,} executions, {ours[0]['trades']:,} fills, "
        f"{ours[0]['allocations']} allocations; "
        + (f"other fills from {', '.join(others)}" if others else "the same from all who say"),
    )
    book = bench.figure(f"{name}, the order book alone", rate(books), peers=rates)
    for share in ("p50", "p99"):
        bench.figure(
            f"{name}, one command, {share}",
            Sample.of([row[f"{share}_ns"] for row in ours], "ns"),
            note=f"closed loop, the clock's own {ours[0]['clock_ns']} ns included",
        )
    return venue, book


def worst(bench: Bench, name: str, regimes: list[Figure], *goals: Goal) -> None:
    """The regime that is hardest for each: nobody is compared in one where another does well."""
    lowest = min(regimes, key=lambda figure: figure.value)
    peers: dict[str, Sample | None] = {}
    for peer in lowest.peers:
        values = [figure.peers[peer] for figure in regimes]
        known = [value for value in values if value is not None]
        peers[peer] = Sample(min(known), 0.0, lowest.unit, "higher") if len(known) == len(values) else None
    bench.figure(
        name,
        Sample(lowest.value, lowest.spread, lowest.unit, "higher"),
        peers=peers,
        goals=[*goals, *(times_better(1, peer) for peer in peers)],
        note=f"ours in {lowest.name.partition(',')[0]}; each peer in its own worst",
    )


def all_peers(file: Path) -> dict[str, Callable[[], Told | None] | None]:
    """What runs each peer on the stream; None if it is not here."""

    def runs(*command: object) -> Callable[[], Told | None]:
        def call() -> Told | None:
            try:
                return told(command, TIMEOUT_S)
            except subprocess.TimeoutExpired:
                return None

        return call

    by_hand = os.environ.get(BY_HAND)
    found: dict[str, Callable[[], Told | None] | None] = {}
    for peer, word in IN_CPP.items():
        program = Path(by_hand) / word if by_hand else None
        found[peer] = runs(program, file) if program and program.exists() else None
    rival = RIVALS / "tidebook-rival-order-book"
    found[IN_RUST] = runs(rival, file) if rival.exists() else None
    in_python = (sys.executable, "-m", "benches.matching_in_python", file, IN_PYTHON_MAX)
    found[IN_PYTHON] = runs(*in_python) if find_spec(IN_PYTHON) else None
    return found


def told(command: Any, timeout_s: float | None = None) -> Told:
    """The line of JSON that the program says."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=timeout_s)
    line: Told = json.loads(done.stdout)
    return line


def rate(rows: list[Told]) -> Sample:
    return Sample.of([row["per_s"] for row in rows], "commands/s", "higher")

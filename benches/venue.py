"""The venue in Python: commands a second through one array, and what one order takes, beside an order book in Python.

The streams are those that matching is measured with (`benches/matching.py`), as arrays of commands; risk is asked for every one, and accounts have enough
to pay. What trades is counted and is what must. Beside it, in the same rounds: the matching engine alone, in Rust, without risk and without arrays,
which says what the rest costs; and fastlob, which Python programs use instead and which has neither accounts nor checks.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benches.harness import Bench, Sample, at_least, at_most, measure, times_better
from benches.matching import IN_PYTHON, IN_PYTHON_MAX, Told, built, told
from tidebook._core import JournalWriter, Payloads
from tidebook.venue import (
    LAYOUTS,
    CommandKind,
    ExecutionKind,
    Records,
    Session,
    Side,
    Venue,
    account,
    commands,
    instrument,
    session,
    transfer,
)

STREAMS = {"exchange-core-1k": "exchange-core's mix, 1K resting orders", "normal": "regime normal"}
RECORD = np.dtype(
    [
        ("kind", "u1"),
        ("sells", "u1"),
        ("zero", "<u2"),
        ("order", "<u4"),
        ("price", "<i8"),
        ("size", "<i8"),
        ("left", "<i8"),
    ]
)
HEAD = np.dtype([("magic", "S8"), ("filling", "<u8"), ("commands", "<u8"), ("zero", "<u8")])
FOK, CANCEL = 3, 4
ACCOUNTS = 100
# In one array: as large as one would make it, small beside the caches' misses of a first touch.
BATCH = 100_000


def run(bench: Bench) -> None:
    program = built(bench)
    for stream, name in STREAMS.items():
        arrays(bench, program, stream, name)
    singles(bench)
    forks(bench)


def arrays(bench: Bench, program: Path, stream: str, name: str) -> None:
    """Submitted, replayed, rechecked and read from a journal, round by round with matching alone and with the peer."""
    count, rounds = bench.size((1_000_000, 5), (3_000, 1))
    rates: dict[str, list[float]] = {
        "submit": [],
        "replay": [],
        "recheck": [],
        "journal": [],
        "matching": [],
        "peer": [],
    }
    # The same in processor time: what is left of a figure where others use the cores too.
    of_processor: dict[str, list[float]] = {"submit": [], "replay": [], "recheck": [], "journal": []}
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/var/tmp") as folder:
        file = Path(folder) / "stream"
        expected = told([program, "write", stream, count, file])
        begin, array = commands_of(file)
        journaled = judged(begin, array, expected)
        directory = journal_of(Path(folder) / "orders", begin, journaled)
        for _ in range(rounds):
            for what, done in [
                ("submit", submitted(begin, array)),
                ("replay", replayed(begin, journaled, recheck=False)),
                ("recheck", replayed(begin, journaled, recheck=True)),
                ("journal", opened(directory, len(begin) + len(journaled))),
            ]:
                rates[what].append(done[0])
                of_processor[what].append(done[1])
            rates["matching"].append(told([program, "measure", stream, count, 1])["per_s"])
            peer = in_python(file)
            rates["peer"] += [peer["per_s"]] if peer else []

    def sample(what: str) -> Sample:
        return Sample.of(rates[what], "commands/s", "higher")

    peers = {IN_PYTHON: sample("peer") if rates["peer"] else None}
    note = f"{len(array):,} commands in arrays of {min(BATCH, len(array)):,}, {expected['trades']:,} fills, with risk"
    bench.figure(
        f"{name}, submitted",
        sample("submit"),
        peers=peers,
        goals=[at_least(3e6), times_better(1, IN_PYTHON)],
        note=note,
    )
    bench.figure(f"{name}, replayed", sample("replay"), goals=[at_least(5e6)], note="verdicts as journaled")
    bench.figure(f"{name}, replayed and rechecked", sample("recheck"), note="every command judged again and compared")
    bench.figure(f"{name}, opened from a journal", sample("journal"), note="from a file, checksums included")
    bench.figure(f"{name}, matching alone, in Rust", sample("matching"), note="no risk, no arrays")
    words = {"submit": "submitted", "replay": "replayed", "recheck": "rechecked", "journal": "opened from a journal"}
    for what, word in words.items():
        best = max(of_processor[what])
        figure = Sample.of(of_processor[what], "commands/s", "higher")
        bench.figure(f"{name}, {word}, a second of processor time", figure, note=f"the best round: {best:,.0f}")


def singles(bench: Bench) -> None:
    """One order placed and cancelled, again and again, by the core's own calls."""
    count, rounds = bench.size((20_000, 15), (200, 1))
    venue = Venue(history=False)
    venue.submit(opening())
    place, cancel = venue.place, venue.cancel

    def ours() -> None:
        for _ in range(count):
            cancel(1, 1, place(1, 1, Side.BUY, 100, 5).order_id)

    peer = single_in_python(bench.size(300, 20))
    samples = measure({"ours": ours}, rounds)
    bench.figure(
        "one order, placed or cancelled",
        samples["ours"].per(2 * count).in_unit("ns"),
        peers={IN_PYTHON: peer},
        goals=[at_most(1_000), times_better(1, IN_PYTHON)],
        note="with risk, a closed loop",
    )


def forks(bench: Bench) -> None:
    """A fork of a venue with its default room, and its former states."""
    orders, rounds = bench.size((100_000, 9), (500, 1))
    venue = Venue()
    venue.submit(opening())
    place = commands(orders).view(LAYOUTS[CommandKind.PLACE])
    place["kind"], place["account"], place["instrument_id"] = CommandKind.PLACE, np.arange(orders) % ACCOUNTS + 1, 1
    place["price"], place["size"], place["side"] = np.arange(orders) % 100 + 1, 1, Side.BUY
    place["order_type"] = place["time_in_force"] = 1
    assert venue.submit(place).accepted.all()
    samples = measure({"fork": venue.fork, "at": lambda: venue.at(venue.sequence // 2)}, rounds)
    bench.figure(f"fork with {orders:,} open orders", samples["fork"].in_unit("ms"), note="room for a million orders")
    bench.figure("the same venue as it was half of its commands ago", samples["at"].in_unit("ms"))


def opening() -> Records:
    """An instrument of tick and lot 1 in continuous trading, and accounts that can pay for everything."""
    records = [instrument(1, base_asset=1, quote_asset=2, price_exp=0, size_exp=0, size_max=1 << 20)]
    records.append(session(1, Session.CONTINUOUS))
    for number in range(1, ACCOUNTS + 1):
        records += [account(number), transfer(number, 1, 10**15), transfer(number, 2, 10**15)]
    return commands(records)


def commands_of(file: Path) -> tuple[Records, Records]:
    """What fills the book, behind the opening, and the commands that count, from a stream's file.

    Accounts are not in it: an order's is one by its number, so that who changes an order is who placed it.
    """
    filling = int(np.fromfile(file, HEAD, 1)["filling"][0])
    records = np.fromfile(file, RECORD, offset=HEAD.itemsize)
    begin = opening()
    array = commands(len(records))
    array["ts"] = np.arange(1, len(records) + 1)
    array["account"], array["instrument_id"] = records["order"] % ACCOUNTS + 1, 1
    kinds = np.array([0, *[CommandKind.PLACE] * 3, CommandKind.CANCEL, CommandKind.REPLACE], np.uint8)
    array["kind"] = kinds[records["kind"]]
    places, cancels = records["kind"] <= FOK, records["kind"] == CANCEL
    order_ids = 2 * (len(begin) + records["order"].astype(np.uint64))
    for kind, chosen in [
        (CommandKind.PLACE, places),
        (CommandKind.CANCEL, cancels),
        (CommandKind.REPLACE, ~places & ~cancels),
    ]:
        fields = array.view(LAYOUTS[kind])
        if kind != CommandKind.CANCEL:
            fields["price"][chosen], fields["size"][chosen] = records["price"][chosen], records["size"][chosen]
        if kind != CommandKind.PLACE:
            fields["order_id"][chosen] = order_ids[chosen]
            continue
        fields["order_type"][chosen], fields["time_in_force"][chosen] = 1, records["kind"][chosen]
        fields["side"][chosen] = np.where(records["sells"], Side.SELL, Side.BUY)[chosen]
    return np.concatenate([begin, array[:filling]]), array[filling:]


def judged(begin: Records, array: Records, expected: Told) -> Records:
    """The commands as they are journaled; what traded is what must."""
    venue = Venue()
    done = [venue.submit(begin), venue.submit(array)]
    fills = sum(int(np.count_nonzero(part.executions["kind"] == ExecutionKind.FILL)) for part in done)
    assert fills == expected["trades"], f"{fills} fills where there must be {expected['trades']}"
    return done[1].commands


def rates_of(count: int, work: Callable[[], object]) -> tuple[float, float]:
    """Commands a second, by the clock and of this thread's processor time."""
    start, processor = time.perf_counter(), time.thread_time()
    work()
    return count / (time.perf_counter() - start), count / (time.thread_time() - processor)


def submitted(begin: Records, array: Records) -> tuple[float, float]:
    venue = Venue()
    venue.submit(begin)
    parts = parts_of(array)

    def work() -> None:
        for part in parts:
            venue.submit(part)

    return rates_of(len(array), work)


def replayed(begin: Records, journaled: Records, *, recheck: bool) -> tuple[float, float]:
    venue = Venue()
    venue.submit(begin)
    parts = parts_of(journaled)

    def work() -> None:
        for part in parts:
            venue.replay(part, recheck=recheck)

    return rates_of(len(journaled), work)


def parts_of(array: Records) -> list[Any]:
    return np.array_split(array, max(1, len(array) // BATCH))


def journal_of(directory: Path, begin: Records, journaled: Records) -> Path:
    """A journal of all commands, as a node writes one: a thousand commands a batch."""
    journal = JournalWriter(directory, "orders")
    first = Venue()
    everything = np.concatenate([first.submit(begin).commands, journaled])
    for at in range(0, len(everything), 1_000):
        journal.append_all(Payloads([command.tobytes() for command in everything[at : at + 1_000]]))
        journal.flush()
    journal.close()
    return directory


def opened(directory: Path, count: int) -> tuple[float, float]:
    found: list[Venue] = []
    rates = rates_of(count, lambda: found.append(Venue.open(directory)))
    assert found[0].sequence == count
    return rates


def in_python(file: Path) -> Told | None:
    """The peer on the stream's beginning."""
    if find_spec(IN_PYTHON) is None:
        return None
    return told([sys.executable, "-m", "benches.matching_in_python", file, IN_PYTHON_MAX])


def single_in_python(count: int) -> Sample | None:
    """What one order takes the peer, placed or cancelled."""
    if find_spec(IN_PYTHON) is None:
        return None
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/var/tmp") as folder:
        file = Path(folder) / "stream"
        records = np.zeros(2 * count, RECORD)
        records["kind"][::2], records["kind"][1::2] = 1, CANCEL
        records["order"][::2] = records["order"][1::2] = np.arange(1, 2 * count, 2)
        records["price"], records["size"], records["left"][1::2] = 100, 5, 5
        head = np.array([(b"tbflow1\n", 0, len(records), 0)], HEAD)
        file.write_bytes(head.tobytes() + records.tobytes())
        rows = [told([sys.executable, "-m", "benches.matching_in_python", file, len(records)]) for _ in range(3)]
    return Sample.of([1e9 / row["per_s"] for row in rows], "ns")

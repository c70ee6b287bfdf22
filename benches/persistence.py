"""Persistence: messages made durable a second, what waiting for it costs, how fast a journal is read back and a state rebuilt.

Peers are the embedded stores a team would reach for instead: SQLite in WAL mode with `synchronous=FULL`, RocksDB with a synced
log, LMDB with its default of a synced commit; and a bare `pwrite` with `fdatasync` of the same bytes, which nobody can beat. All get
the same Python bytes in the same batches and sync once a batch, on the same disk. How fast that disk syncs decides the small
batches, so they mean something only beside their peers. Channels, recovery and followers are measured by the examples of their
crates (`crates/channel/examples/wal.rs`, `crates/journal/examples/recovery.rs`), because Python would be all one sees.
"""

import json
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from benches.ends import ROOT
from benches.harness import Bench, Sample, at_least, at_most, measure, times_better, within
from tidebook._core import JournalReader, JournalWriter, Payloads

LMDB_MAP_SIZE_BYTES = 64 << 30
BARE = "bare write and fdatasync"


class Log(Protocol):
    """What all of them do here."""

    def commit(self, messages: list[bytes]) -> None:
        """Appends `messages`; durable when it returns."""
        ...

    def read(self) -> int:
        """Reads every message from the first; bytes of their payloads."""
        ...


class Journal:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = JournalWriter(folder, "feed.bench")

    def commit(self, messages: list[bytes]) -> None:
        self._writer.append_all(Payloads(messages))
        self._writer.sync()

    def read(self) -> int:
        reader = JournalReader(self._folder)
        size_bytes = 0
        while (found := reader.next(messages_max=1_000)) is not None:
            size_bytes += found[1].size_bytes
        return size_bytes


class Sqlite:
    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._connection = sqlite3.connect(folder / "log.sqlite", isolation_level=None)
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = full")
        self._connection.execute("create table log (sequence integer primary key, payload blob not null)")

    def commit(self, messages: list[bytes]) -> None:
        self._connection.execute("begin")
        self._connection.executemany("insert into log (payload) values (?)", [(message,) for message in messages])
        self._connection.execute("commit")

    def read(self) -> int:
        return sum(len(payload) for (payload,) in self._connection.execute("select payload from log order by sequence"))


class Lmdb:
    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        lmdb: Any = import_module("lmdb")
        self._environment = lmdb.open(str(folder), map_size=LMDB_MAP_SIZE_BYTES)
        self._next = 1

    def commit(self, messages: list[bytes]) -> None:
        with self._environment.begin(write=True) as transaction:
            for sequence, message in enumerate(messages, self._next):
                transaction.put(sequence.to_bytes(8, "big"), message, append=True)
        self._next += len(messages)

    def read(self) -> int:
        with self._environment.begin() as transaction:
            return sum(len(payload) for _, payload in transaction.cursor())


class RocksDb:
    def __init__(self, folder: Path) -> None:
        rocksdict: Any = import_module("rocksdict")
        self._batch = rocksdict.WriteBatch
        self._database = rocksdict.Rdict(str(folder), rocksdict.Options(raw_mode=True))
        self._synced = rocksdict.WriteOptions()
        self._synced.sync = True
        self._next = 1

    def commit(self, messages: list[bytes]) -> None:
        batch = self._batch(raw_mode=True)
        for sequence, message in enumerate(messages, self._next):
            batch.put(sequence.to_bytes(8, "big"), message)
        self._database.write(batch, self._synced)
        self._next += len(messages)

    def read(self) -> int:
        return sum(map(len, self._database.values()))


class Bare:
    """A file of zeros that is written from front to end, as a segment is; no checksums, no lengths."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder, os.O_RDWR | os.O_CREAT, 0o600)
        self._end = self._zeros = 0

    def commit(self, messages: list[bytes]) -> None:
        joined = b"".join(messages)
        while self._zeros < self._end + len(joined):
            self._zeros += os.pwrite(self._file, bytes(64 << 20), self._zeros)
            os.fsync(self._file)
        os.pwrite(self._file, joined, self._end)
        os.fdatasync(self._file)
        self._end += len(joined)

    def read(self) -> int:
        return len(os.pread(self._file, self._end, 0))


def run(bench: Bench) -> None:
    group_commit(bench, size_bytes=64, times=5)
    group_commit(bench, size_bytes=512, times=2)  # half a megabyte a batch: more of it is the disk all share
    one_message(bench)
    replay(bench)
    replay_count(bench)
    wal_channel(bench)
    recovery(bench)
    follower(bench)


@contextmanager
def logs() -> Iterator[dict[str, Log | None]]:
    """Ours and each peer, empty, on a disk and not on a tmpfs, where a sync would cost nothing; None if missing."""
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        yield {
            "ours": Journal(folder / "journal"),
            "sqlite": Sqlite(folder / "sqlite"),
            "rocksdb": RocksDb(folder / "rocksdb") if find_spec("rocksdict") else None,
            "lmdb": Lmdb(folder / "lmdb") if find_spec("lmdb") else None,
            BARE: Bare(folder / "bare"),
        }


def timed(work: Mapping[str, Callable[[], object] | None], rounds: int) -> dict[str, Sample | None]:
    """Samples of those that can run."""
    samples = measure({name: call for name, call in work.items() if call is not None}, rounds)
    return {name: samples.get(name) for name in work}


def group_commit(bench: Bench, size_bytes: int, times: float) -> None:
    batch, batches = 1_000, bench.size(100, 2)
    messages = [bytes([number % 256]) * size_bytes for number in range(batch)]

    def committing(log: Log) -> Callable[[], None]:
        def commit() -> None:
            for _ in range(batches):
                log.commit(messages)

        return commit

    with logs() as made:
        work = {name: committing(log) if log else None for name, log in made.items()}
        samples = timed(work, rounds=bench.size(15, 1))
    rates = {name: sample and sample.as_rate(batch * batches, "messages") for name, sample in samples.items()}
    ours = rates.pop("ours")
    assert ours is not None
    bench.figure(
        f"group commit of {batch:,} messages of {size_bytes} B",
        ours,
        peers=rates,
        goals=[times_better(times, "sqlite"), times_better(1, "rocksdb"), times_better(min(times, 3), "lmdb")],
        note="one fdatasync a batch; from Python lists of bytes",
    )


def one_message(bench: Bench) -> None:
    """What an order waits for when nobody shares its commit; the median is the disk's sync and little else."""
    message = [bytes(64)]
    with logs() as made:
        work = {name: (lambda log=log: log.commit(message)) if log else None for name, log in made.items()}
        samples = timed(work, rounds=bench.size(500, 3))
    in_microseconds = {name: sample and sample.in_unit("µs") for name, sample in samples.items()}
    ours = in_microseconds.pop("ours")
    assert ours is not None
    bench.figure(
        "one durable message of 64 B",
        ours,
        peers=in_microseconds,
        goals=[times_better(1, "sqlite"), times_better(1, "rocksdb"), times_better(1, "lmdb")],
        note="p50 of append and sync",
    )


def replay(bench: Bench) -> None:
    """Checksums verified; the peers verify none."""
    batch, batches, size_bytes = 1_000, bench.size(500, 2), 200
    messages = [bytes([number % 256]) * size_bytes for number in range(batch)]
    with logs() as made:
        made.pop(BARE)
        for log in made.values():
            for _ in range(batches if log else 0):
                assert log is not None
                log.commit(messages)
        assert {log.read() for log in made.values() if log} == {batch * batches * size_bytes}
        samples = timed({name: log.read if log else None for name, log in made.items()}, rounds=bench.size(7, 1))
    megabytes = batch * batches * size_bytes / 1e6

    def rate(sample: Sample | None) -> Sample | None:
        return sample and Sample(
            megabytes / sample.value, megabytes / sample.value * sample.spread / sample.value, "MB/s", "higher"
        )

    rates = {name: rate(sample) for name, sample in samples.items()}
    ours = rates.pop("ours")
    assert ours is not None
    bench.figure(
        "replay of messages of 200 B",
        ours,
        peers=rates,
        goals=[times_better(5, "sqlite"), times_better(3, "rocksdb"), times_better(3, "lmdb")],
        note="payload bytes into Python's hands, ours verified; ours as whole batches, the peers one by one",
    )


def replay_count(bench: Bench) -> None:
    """Messages of 64 B a second from a journal, each checksum verified, each sequence checked to follow the one before."""
    count, batch = bench.size(10_000_000, 10_000), 10_000
    messages = Payloads([bytes(64)] * batch)
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/var/tmp") as name:
        folder = Path(name) / "journal"
        writer = JournalWriter(folder, "feed.bench")
        for _ in range(count // batch):
            writer.append_all(messages)
            writer.flush()
        writer.close()

        def read() -> None:
            reader, last = JournalReader(folder), 0
            while (found := reader.next(messages_max=batch)) is not None:
                assert found[0] == last + 1, f"{found[0]} after {last}"
                last += len(found[1])
            assert last == count

        sample = measure({"ours": read}, rounds=bench.size(5, 1))["ours"]
    bench.figure(
        "replay of messages of 64 B",
        sample.as_rate(count, "messages"),
        goals=[at_least(10e6)],
        note=f"{count:,} messages, no gap and no duplicate; checksums verified; into Python's hands as whole batches",
    )


def example(bench: Bench, package: str, name: str) -> Path:
    """The built example."""
    profile = bench.size("release", "debug")
    build = ["cargo", "build", "-q", "-p", package, "--example", name]
    subprocess.run(build + ["--release"] * (profile == "release"), cwd=ROOT, check=True)
    return ROOT / "target" / profile / "examples" / name


def told(program: Path, *words: object) -> list[dict[str, Any]]:
    """What a run of the example says, a line of JSON for each figure."""
    command = [str(program), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def wal_channel(bench: Bench) -> None:
    """A durable channel in group commit, in Rust: one producer, and until the last message is durable."""
    program = example(bench, "tidebook-channel", "wal")
    messages, rounds = bench.size((10_000_000, 500), (2_000, 3))
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/var/tmp") as folder:
        runs = [told(program, folder, messages, rounds) for _ in range(bench.size(3, 1))]
    rates = [figure["per_s"] for run in runs for figure in run if figure["figure"] == "rate"]
    bench.figure(
        "wal channel, messages of 64 B",
        Sample.of(rates, "messages/s", "higher"),
        goals=[at_least(1e6)],
        note="written in batches of 1,024 and durable, group commit",
    )
    for batch in (1, 16, 256, 4096):
        found = [figure for run in runs for figure in run if figure.get("batch") == batch]
        bench.figure(
            f"wal channel, a batch of {batch:,} durable",
            Sample.of([figure["channel_us"][0] for figure in found], "µs"),
            peers={BARE: Sample.of([figure["bare_us"][0] for figure in found], "µs")},
            goals=[within(2.2, BARE)],
            note="p50, from before the write to the wake-up behind its sync; the same bytes bare, in turns",
        )


def recovery(bench: Bench) -> None:
    """Orders rebuilt from a log of commands. The peers' logs are only read here, in their own code as far as Python lets one;
    applying the commands is added to them as it took us, so that what they lack is counted for nobody.
    """
    count = bench.size(10_000_000, 3_000)
    program = example(bench, "tidebook-journal", "recovery")
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        runs = [told(program, "replay", folder, count) for _ in range(bench.size(3, 1))]
        took = {
            start: Sample.of(
                [line["took_ms"] / 1e3 for run in runs for line in run if line.get("recovery") == start], "s"
            )
            for start in ("history", "middle", "end")
        }

        def ours_read() -> None:
            reader = JournalReader(folder / "wal")
            while reader.next(messages_max=10_000) is not None:
                pass

        reading = measure({"ours": ours_read}, rounds=bench.size(3, 1))["ours"]
        applying = max(0.0, took["history"].value - reading.value)
        logs: dict[str, Log | None] = {
            "sqlite": Sqlite(folder / "sqlite"),
            "rocksdb": RocksDb(folder / "rocksdb") if find_spec("rocksdict") else None,
        }
        for log in logs.values():
            for _ in range(count // 1_000 if log else 0):
                assert log is not None
                log.commit([bytes(64)] * 1_000)
        read = timed({peer: log.read if log else None for peer, log in logs.items()}, rounds=bench.size(3, 1))
    peers = {peer: sample and Sample(sample.value + applying, sample.spread, "s") for peer, sample in read.items()}
    bench.figure(
        f"recovery of {count:,} messages, the whole history",
        took["history"],
        peers=peers,
        goals=[at_most(3.0), times_better(3, "sqlite"), times_better(3, "rocksdb")],
        note=f"state of open orders; of it {applying:.2f} s applying them, which is in each peer's time too",
    )
    for start, words in (("middle", "a snapshot of its middle"), ("end", "a snapshot of its end")):
        bench.figure(f"the same from {words}", took[start], note="verified, mapped, loaded, the rest replayed")


def follower(bench: Bench) -> None:
    """A live writer beside a follower that takes one snapshot after another, in turns with the same writer alone and with one beside
    somebody who only writes as many bytes as a snapshot has: what the disk makes of any neighbour.
    """
    orders, seconds = bench.size((1_000_000, 42), (500, 1))
    program = example(bench, "tidebook-journal", "recovery")
    waits: dict[str, list[float]] = {"nothing": [], "follower": [], "copy": []}
    snapshots: list[float] = []
    for _ in range(bench.size(3, 1)):
        with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/var/tmp") as folder:
            for line in told(program, "beside", folder, orders, seconds):
                waits[line["beside"]].append(float(line["p999_us"]))
                if line["beside"] == "follower":
                    snapshots.append(line["snapshot_ms"])
    bench.figure(
        f"a live writer's p99.9 beside snapshots of {orders:,} orders",
        Sample.of(waits["follower"], "µs"),
        peers={
            "without a follower": Sample.of(waits["nothing"], "µs"),
            "beside a bare copy": Sample.of(waits["copy"], "µs"),
        },
        goals=[within(1.15, "without a follower"), within(1.15, "beside a bare copy")],
        note=f"20 messages and a sync each 2 ms; a snapshot took {Sample.of(snapshots, 'ms').value:,.0f} ms, one behind the other",
    )

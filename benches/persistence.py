"""Persistence: messages made durable a second, what one durable message costs, how fast a journal is read back.

Peers are the embedded stores a team would reach for instead: SQLite in WAL mode with `synchronous=FULL`, and LMDB with
its default of a synced commit. All get the same Python bytes in the same batches and sync once a batch, on the same
disk. How fast that disk syncs decides the small batches, so they mean something only beside their peers.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from benches.harness import Bench, Sample, measure, times_better
from tidebook._core import JournalReader, JournalWriter, Payloads

LMDB_MAP_SIZE_BYTES = 64 << 30


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


def run(bench: Bench) -> None:
    group_commit(bench, size_bytes=64, times=3)
    group_commit(bench, size_bytes=512, times=2)  # half a megabyte a batch: more of it is the disk all share
    one_message(bench)
    replay(bench)


@contextmanager
def logs() -> Iterator[dict[str, Log | None]]:
    """Ours and each peer, empty, on a disk and not on a tmpfs, where a sync would cost nothing; None if missing."""
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        yield {
            "ours": Journal(folder / "journal"),
            "sqlite": Sqlite(folder / "sqlite"),
            "lmdb": Lmdb(folder / "lmdb") if find_spec("lmdb") else None,
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
        goals=[times_better(times, "sqlite"), times_better(times, "lmdb")],
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
        goals=[times_better(1, "sqlite"), times_better(1, "lmdb")],
        note="p50 of append and sync",
    )


def replay(bench: Bench) -> None:
    """Checksums verified; the peers verify none."""
    batch, batches, size_bytes = 1_000, bench.size(500, 2), 200
    messages = [bytes([number % 256]) * size_bytes for number in range(batch)]
    with logs() as made:
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
        goals=[times_better(5, "sqlite"), times_better(3, "lmdb")],
        note="payload bytes into Python's hands, ours verified; ours as whole batches, the peers one by one",
    )

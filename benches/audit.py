"""The audit trail: how many rows a second it adds, all steps together, and how long after a command is durable its rows are there.

The stream is of every kind of command, many refused. Its peer is the bare driver that adds the very same rows to the same tables with the same
indexes, in transactions of the same size: what an engine cannot be faster than. PostgreSQL is one that the bench starts, on this machine, with its
usual settings but `fsync = off`: disks are measured elsewhere.
"""

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from benches.harness import Bench, Sample, measure, within
from tests.audit.market import stream, write
from tests.audit.postgresql import PostgreSql
from tidebook._core import JournalWriter
from tidebook.audit import AuditEngine, open_database, upgrade
from tidebook.audit.engine import AuditOptions
from tidebook.audit.rows import Rows, derive
from tidebook.audit.schema import metadata
from tidebook.venue import Records, Venue

BATCH = AuditOptions().batch_commands
BARE = "the bare driver"
LONG_S = 600.0


def run(bench: Bench) -> None:
    given = stream(bench.size(full=30_000, small=1_500), seed=1)
    executions = Venue(history=False).replay(given).executions
    batches = list(_batches(given, executions))
    rows = sum(len(added) for batch in batches for added in batch.values())
    rounds = bench.size(full=3, small=1)
    taken = measure({"derive": lambda: list(_batches(given, executions))}, rounds, warmup=0)["derive"]
    bench.figure("rows derived of commands and executions", taken.as_rate(rows, "rows"), note=f"{len(given)} commands")
    server = PostgreSql()
    with tempfile.TemporaryDirectory() as folder, _running(server):
        data = Path(folder)
        write(data / "journal/orders", given)
        numbers = count()
        for name in ("SQLite", "PostgreSQL"):

            def address(name: str = name) -> str:
                return server.new_database() if name == "PostgreSQL" else f"sqlite:///{data}/{next(numbers)}.sqlite"

            times = measure(
                {"ours": lambda a=address: _follow(data, a(), len(given)), BARE: lambda a=address: _bare(a(), batches)},  # type: ignore[misc]
                rounds,
                warmup=0,
            )
            ours, bare = times["ours"].as_rate(rows, "rows"), times[BARE].as_rate(rows, "rows")
            bench.figure(
                f"rows added to {name}, from the journal on", ours, peers={BARE: bare}, goals=[within(2, BARE)]
            )
            delays = _delays(data / name, address(), given[: bench.size(full=350, small=60)])
            bench.figure(f"durable until its rows are in {name}", Sample.of(delays, "ms"), note="one command at a time")


def _batches(given: Records, executions: Records) -> Iterator[Rows]:
    for first in range(1, len(given) + 1, BATCH):
        commands = given[first - 1 : first - 1 + BATCH]
        source = executions["source_sequence"]
        yield derive(first, commands, executions[(source >= first) & (source < first + len(commands))])


def _follow(data: Path, url: str, last: int) -> None:
    engine = AuditEngine(data, url=url)
    engine.start()
    assert engine.wait(last, LONG_S), engine.status()
    assert engine.stop()


def _bare(url: str, batches: list[Rows]) -> None:
    database = open_database(url, Path())
    upgrade(database)
    database.close()
    names = {table.name: [f'"{column.name}"' for column in table.columns] for table in metadata.sorted_tables}
    if database.is_sqlite:
        connection = sqlite3.connect(str(database.url.database), isolation_level=None)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -65536")
        for batch in batches:
            connection.execute("BEGIN IMMEDIATE")
            for table, rows in batch.items():
                places = ", ".join("?" * len(names[table]))
                connection.executemany(f"INSERT INTO {table} ({', '.join(names[table])}) VALUES ({places})", rows)
            connection.execute("COMMIT")
        connection.close()
        return
    with psycopg.connect(url) as server:
        for batch in batches:
            for table, rows in batch.items():
                with server.cursor().copy(f"COPY {table} ({', '.join(names[table])}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
            server.commit()


def _delays(data: Path, url: str, given: Records) -> list[float]:
    """Milliseconds from when a command is durable until its rows are committed, of each but the first."""
    journal = data / "journal/orders"
    write(journal, given[:50])
    engine = AuditEngine(data, url=url)
    engine.start()
    assert engine.wait(50, LONG_S)
    found = []
    writer = JournalWriter(journal, "orders")
    for command in given[50:]:
        last = writer.append(command.tobytes())
        writer.sync()
        began = time.perf_counter()
        assert engine.wait(last, LONG_S)
        found.append(1e3 * (time.perf_counter() - began))
    writer.close()
    assert engine.stop()
    return found


@contextmanager
def _running(server: Any) -> Iterator[None]:
    try:
        server.start()
        yield
    finally:
        server.remove()

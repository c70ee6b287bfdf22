"""`python -m tests.audit.kill_runs DIRECTORY URL COMMANDS KILLS SEED`: kills the audit's writer at random moments, again and again.

A program of its own, because it forks: each writer is a child of a process that has imported everything, so that the kill lands in its
work. After each kill the rows are those of the commands up to the stored position and no others, by their counts; at the end they are
those of a run that nothing broke, field by field. Prints one line, or ends with status 1.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from sqlalchemy import Column, func, select

from tests.audit.market import stream, write
from tidebook.audit import AuditEngine, AuditOptions, Database, Position, open_database, position, upgrade
from tidebook.audit.rebuild import Content, content, drop
from tidebook.audit.rows import derive
from tidebook.audit.schema import commands, events, fills
from tidebook.audit.writer import append, digest
from tidebook.venue import Records, Venue

BATCH = 40
LONG_S = 120.0


def follow(data: Path, url: str, last: int, rows: int = 0) -> tuple[int, int]:
    """A child that adds rows up to the last command and ends with status 0: its process id, and a pipe that ends when it has begun.

    It has begun when it is about to add, or has added so many `rows`.
    """
    began, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            engine = AuditEngine(data, url=url, options=AuditOptions(batch_commands=BATCH))
            engine.start()
            with engine._moved:
                engine._moved.wait_for(
                    lambda: engine.status().rows >= rows and engine.status().state != "starting", LONG_S
                )
            os.close(says)
            if engine.wait(last, LONG_S):
                status = 0
            else:
                print(engine.status(), file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(says)
    return pid, began


def check(database: Database) -> Position:
    """Where the rows reach. Raises: AssertionError where they are not exactly those up to there."""
    with database.reading() as connection:
        reached = position(database)
        if reached is None:
            return Position()

        def count(column: Column[int]) -> int:
            return connection.execute(select(func.count(column))).scalar_one()

        assert count(commands.c.sequence) == reached.sequence, reached
        assert count(events.c.execution) + count(fills.c.execution) // 2 == reached.executions, reached
        return reached


def unbroken(data: Path, given: Records) -> dict[str, Content]:
    """What every table holds after a single transaction."""
    database = open_database("", data)
    upgrade(database)
    replica = Venue()
    executions = replica.replay(given).executions
    end = Position(len(given), int(executions["sequence"][-1]), digest(given))
    append(database, Position(), end, derive(1, given, executions))
    with database.reading() as connection:
        return content(connection)


def main() -> int:
    directory, url, count, kills, seed = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
    chance = random.Random(seed)
    given = stream(count, seed)
    data = directory / "killed"
    write(data / "journal/orders", given)
    expected = unbroken(directory / "unbroken", given)
    landed, whole = 0, 0
    reached = Position()
    began = time.monotonic()
    for _ in range(kills):
        if reached.sequence == count:
            whole += compare(open_database(url, data), expected)
            drop(open_database(url, data))
            reached = Position()
        pid, began_adding = follow(data, url, count, chance.choice((0, 1, 1)))
        # A few before it is well begun, the others while it adds.
        if chance.random() < 0.85:
            os.read(began_adding, 1)
        os.close(began_adding)
        time.sleep(chance.random() * 0.04)
        os.kill(pid, signal.SIGKILL)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert ended in (0, -signal.SIGKILL), ended
        before, reached = reached, check(open_database(url, data))
        assert reached.sequence >= before.sequence
        landed += before.sequence < reached.sequence < count
    pid, began_adding = follow(data, url, count)
    os.close(began_adding)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    whole += compare(open_database(url, data), expected)
    rows = sum(table.rows for table in expected.values())
    print(
        f"{kills} kills in {time.monotonic() - began:.0f} s, {landed} in the middle of the work, seed {seed}: {whole} times {count} "
        f"commands to the end, each time {rows} rows, every one once"
    )
    return 0


def compare(database: Database, expected: dict[str, Content]) -> int:
    """1 where every table holds what it should. Raises: AssertionError."""
    with database.reading() as connection:
        found = content(connection)
    assert found == expected, [table for table in found if found[table] != expected[table]]
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""The audit trail from a process of its own: one that is killed is started again, and loses and doubles nothing."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import select

import tidebook as tb
from tests.audit.market import stream
from tidebook._core import VenueEngine
from tidebook.audit import open_database, rebuild
from tidebook.audit.process import AuditProcess
from tidebook.audit.schema import commands
from tidebook.venue import COMMAND

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONG_S = 120.0
KILLS = 3


def until(audit: AuditProcess, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, audit.status()
        time.sleep(0.005)


def test_a_process_killed_while_it_adds_rows_comes_back_and_every_row_is_there_once(url: str, tmp_path: Path) -> None:
    """Method: kill -9 whenever it has added some more; then the trail is dropped, derived again and compared, table by table."""
    rings, journal = tmp_path / "rings", tmp_path / "journal/orders"
    rings.mkdir(mode=0o700)
    given = stream(4_000, seed=23)
    asked = np.zeros(len(given), COMMAND)
    for name in ("account", "instrument_id", "kind", "body"):
        asked[name] = given[name]
    engine = VenueEngine(rings, journal, orders_max=64, segment_size_bytes=65_536)
    audit = AuditProcess(tmp_path, url=url, journal=journal, rings=rings)
    try:
        audit.start()
        killed: set[int] = set()
        with tb.open_producer("orders.in", directory=rings) as producer:
            for part in np.array_split(asked, KILLS + 1):
                before = audit.status().sequence
                producer.write_batch(part)
                until(audit, lambda before=before: audit.status().sequence > before)  # type: ignore[misc]
                if len(killed) < KILLS:
                    process = audit.status().process
                    assert process is not None
                    os.kill(process, signal.SIGKILL)
                    killed.add(process)
                    until(audit, lambda last=process: audit.status().process not in (None, last))  # type: ignore[misc]
        until(audit, lambda: engine.status()["source_sequence"] == len(asked))
        last = engine.status()["sequence"]
        until(audit, lambda: audit.status().sequence >= last)
        assert (audit.status().state, audit.status().problem) == ("following", "")
        process = audit.status().process
        assert process not in killed
        assert len(killed) == KILLS
        assert audit.stop()
        assert (audit.status().state, audit.status().process) == ("stopped", None)
        assert process is not None
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    finally:
        audit.stop()
        engine.stop()
    database = open_database(url, tmp_path)
    with database.reading() as connection:
        sources = connection.execute(select(commands.c.source_sequence).where(commands.c.source_sequence > 0))
        assert sorted(sources.scalars()) == list(range(1, len(asked) + 1))
    rebuilt = rebuild(database, journal)
    assert rebuilt.ok, rebuilt.different
    assert rebuilt.before is not None
    assert last <= rebuilt.before.sequence <= rebuilt.after.sequence  # timers may have come behind
    database.close()

"""Beside the running engine of the venue: what it journals is in the trail, with the executions that it published."""

from __future__ import annotations

import resource
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import select

import tidebook as tb
from tests.audit.market import stream
from tidebook._core import Follower, SnapshotStore, VenueEngine
from tidebook.audit import AuditEngine, open_database
from tidebook.audit.schema import commands, events, fills
from tidebook.audit.source import Source
from tidebook.persistence import compact
from tidebook.venue import COMMAND

if TYPE_CHECKING:
    from pathlib import Path

LONG_S = 60.0


@pytest.mark.parametrize("layout", ["fused", "split"])
def test_what_the_engine_journals_is_there_with_the_executions_that_it_published(
    layout: str, url: str, tmp_path: Path
) -> None:
    rings = tmp_path / "rings"
    rings.mkdir(mode=0o700)
    journal = tmp_path / "journal/orders"
    given = stream(2_000, seed=17)
    asked = np.zeros(len(given), COMMAND)
    for name in ("account", "instrument_id", "kind", "body"):
        asked[name] = given[name]
    engine = VenueEngine(rings, journal, layout=layout, orders_max=16, segment_size_bytes=65_536)
    try:
        audit = AuditEngine(tmp_path, url=url, channel=lambda: tb.open_channel("orders", directory=rings))
        audit.start()
        with (
            tb.open_consumer("executions", directory=rings, start="earliest") as everything,
            tb.open_consumer("executions", directory=rings, start="latest") as published,
            tb.open_producer("orders.in", directory=rings) as producer,
        ):
            for begin in range(0, len(asked), 250):
                producer.write_batch(asked[begin : begin + 250])
            while engine.status()["source_sequence"] < len(asked):
                assert engine.status()["failure"] is None
                published.poll_batch(timeout=0.1)
            last = engine.status()["sequence"]
            assert audit.wait(last, LONG_S), audit.status()
            heard: list[int] = []
            while len(heard) < audit.status().executions:
                batch = everything.poll_batch(timeout=LONG_S)
                assert isinstance(batch, tb.Batch), batch
                heard += batch.array["sequence"].tolist()
                del batch
        assert audit.stop()
    finally:
        engine.stop()
    database = open_database(url, tmp_path)
    with database.reading() as connection:
        told = set(connection.execute(select(events.c.execution)).scalars())
        told |= set(connection.execute(select(fills.c.execution)).scalars())
        sources = connection.execute(select(commands.c.source_sequence).where(commands.c.source_sequence > 0))
        assert sorted(sources.scalars()) == list(range(1, len(asked) + 1))
        full = connection.execute(select(commands.c.sequence).where(commands.c.reason == "open_orders")).first()
    database.close()
    assert sorted(told) == heard
    assert full is not None, "the small room of this venue has refused nobody: the sizes of its journal are not tried"
    go_on_behind_a_snapshot(tmp_path, url, journal, last)


def go_on_behind_a_snapshot(data: Path, url: str, journal: Path, last: int) -> None:
    """The journal loses its first commands, for which a snapshot of the venue stands from now on; a start goes on all the same."""
    follower = Follower.of_venue(journal, SnapshotStore(data / "snapshots/orders/orders", "orders"))
    assert follower.snapshot() is not None
    follower.stop()
    assert compact(journal, last).first_sequence > 1
    audit = AuditEngine(data, url=url)
    audit.start()
    with audit._moved:
        assert audit._moved.wait_for(lambda: audit.status().state in ("following", "failed"), LONG_S)
    assert (audit.status().state, audit.status().sequence) == ("following", last), audit.status()
    assert audit.stop()


def test_who_waits_for_commands_of_an_idle_venue_sleeps(tmp_path: Path) -> None:
    """Method: how often the waiting thread gave its core away; one that polls does so for each of its naps, thousands of times a second."""
    rings = tmp_path / "rings"
    rings.mkdir(mode=0o700)
    journal = tmp_path / "journal/orders"
    engine = VenueEngine(rings, journal, orders_max=16, segment_size_bytes=65_536)
    try:
        with Source(journal, 0, tb.open_channel("orders", directory=rings)) as source:
            source.read(1, threading.Event())  # what joins the channel may work for it
            before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
            assert [source.read(1, threading.Event()) for _ in range(5)] == [None] * 5
            assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before < 200
    finally:
        engine.stop()

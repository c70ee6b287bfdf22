"""The venue's engine from Python: channels by their names, commands in, executions out, and a start again."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tidebook as tb
from tidebook._core import Follower, SnapshotStore, VenueEngine, usable_venue_snapshots, venue_sizes
from tidebook.errors import ChannelError
from tidebook.venue import (
    EXECUTION,
    CommandKind,
    ExecutionKind,
    Session,
    Side,
    Verdict,
    account,
    commands,
    instrument,
    place,
    session,
    transfer,
)


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    directory = tmp_path / "rings"
    directory.mkdir(mode=0o700)
    return directory


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def opening() -> Iterator[np.void]:
    yield instrument(1, tick=1, lot=1, size_max=1_000_000, base_asset=1, quote_asset=2, price_exp=2, size_exp=0)
    for number in (1, 2):
        yield account(number)
        for asset in (1, 2):
            yield transfer(number, asset, 1_000_000)
    yield session(1, Session.CONTINUOUS)


@pytest.mark.parametrize(("layout", "shards"), [("fused", 1), ("together", 1), ("split", 1), ("split", 3)])
def test_commands_go_in_and_executions_come_out_over_channels_and_a_start_goes_on(
    rings: Path, tmp_path: Path, layout: str, shards: int
) -> None:
    journal, snapshots = tmp_path / "orders", tmp_path / "snapshots"
    engine = VenueEngine(rings, journal, snapshots_dir=snapshots, layout=layout, shards=shards, orders_max=1_000)
    threads = {"fused": 1, "together": 1, "split": 2 if shards == 1 else shards + 2}[layout]
    orders = [place(1, 1, Side.BUY, price=100, size=5), place(2, 1, Side.SELL, price=100, size=3)]
    batch = commands([*opening(), *orders])
    with (
        tb.open_producer("orders.in", directory=rings) as producer,
        tb.open_consumer("executions", "test", directory=rings, start="earliest") as consumer,
    ):
        producer.write_batch(batch)
        until(lambda: engine.status()["executions"] == 11)
        found = consumer.poll_batch()
        assert isinstance(found, tb.Batch)
        assert found.array.dtype == EXECUTION
        assert found.sequences.tolist() == list(range(1, 12))
        assert found.array["kind"].tolist()[-3:] == [ExecutionKind.ACCEPTED, ExecutionKind.ACCEPTED, ExecutionKind.FILL]
        assert (int(found.array["price"][-1]), int(found.array["size"][-1])) == (100, 3)
        found.release()
    with tb.open_consumer("orders", "gateway", directory=rings, start="earliest") as consumer:
        judged = consumer.poll_batch()
        assert isinstance(judged, tb.Batch)
        assert judged.array["source_sequence"].tolist() == list(range(1, 11))
        assert set(judged.array["verdict"].tolist()) == {Verdict.ACCEPTED}
        assert judged.array["kind"][-1] == CommandKind.PLACE
        judged.release()
    status = engine.status()
    assert (status["durable"], status["accepted"], status["failure"]) == (10, 10, None)
    assert (status["layout"], status["shards"], status["threads"]) == (layout, shards, threads)
    assert status["cores"] >= 1
    assert engine.latency()["judged_matched"]["count"] >= 0
    ended = engine.stop()
    assert ended is not None
    assert (ended["sequence"], engine.stop()) == (10, None)
    with pytest.raises(ChannelError, match="is stopped"):
        engine.status()

    store = SnapshotStore(snapshots / "orders" / "orders", "orders")
    follower = Follower.of_venue(journal, store)
    facts = follower.snapshot()
    assert facts is not None
    follower.stop()
    assert usable_venue_snapshots(journal, snapshots, 100, 5) == ([10], [])
    replica = tb.Venue.open(journal, recheck=True)
    assert (replica.sequence, replica.state_hash()) == (10, ended["state_hash"])
    sizes = venue_sizes(journal)
    assert sizes is not None
    assert sizes["matching"]["orders_max"] == 1_000
    again = VenueEngine(rings, journal, snapshots_dir=snapshots, recheck=True)
    assert again.recovery["state"]["used"]["place"]["sequence"] == 10
    assert (again.recovery["source_sequence"], again.recovery["sizes"]) == (10, sizes)
    assert again.stop() == ended


def test_what_cannot_be_is_refused_by_name(rings: Path, tmp_path: Path) -> None:
    wrong = [("durability", "replicated"), ("layout", "both"), ("wait", "sleep"), ("time", "none"), ("shards", 17)]
    for option, value in wrong:
        with pytest.raises(ChannelError, match=f"{option} = "):
            VenueEngine(rings, tmp_path / "orders", **{option: value})  # type: ignore[arg-type]
    assert venue_sizes(tmp_path / "orders") is None

"""`tb.connect()` beside a venue's engine: what it says of what it was asked, and of what happened."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tidebook as tb
from tests.venue.market import opening
from tidebook._core import VenueEngine
from tidebook.errors import UsageError
from tidebook.venue import ExecutionKind, Reason, Side, commands, place, timer

ACCOUNT = 11


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[..., VenueEngine]]:
    """Begins a venue whose rings are in `rings`; it ends with the test."""
    rings, begun = tmp_path / "rings", list[VenueEngine]()
    rings.mkdir(mode=0o700)

    def begin(**options: Any) -> VenueEngine:
        begun.append(VenueEngine(rings, tmp_path / "orders", orders_max=1 << 16, **options))
        return begun[-1]

    yield begin
    for each in begun:
        each.stop()


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    return tmp_path / "rings"


def released(engine: VenueEngine, count: int) -> None:
    """Returns when so many executions are published."""
    deadline = time.monotonic() + 60
    while engine.status()["executions"] < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def offers(count: int) -> np.ndarray[Any, Any]:
    return commands([place(ACCOUNT, 1, Side.BUY, price=100, size=1)] * count)


def test_one_call_gives_all_that_happened_since_the_last_one(engine: Callable[..., VenueEngine], rings: Path) -> None:
    """Method: more than any piece of the ring, and twice around its end."""
    venue = engine(executions_count=1 << 14)
    with tb.connect(directory=rings) as connection:
        begun = len(opening())
        assert connection.submit(opening()).accepted.all()
        told = begun
        for count in (9_000, 12_000, 12_000):
            done = connection.submit(offers(count), wait="memory", timeout=60)
            assert done.accepted.all()
            released(venue, told + count)
            happened = connection.executions()
            assert not isinstance(happened, tb.Gap)
            assert happened["sequence"].tolist() == list(range(1 if told == begun else told + 1, told + count + 1))
            assert happened["kind"].tolist()[-count:] == [ExecutionKind.ACCEPTED] * count
            told += count
            assert isinstance(nothing := connection.executions(), np.ndarray)
            assert len(nothing) == 0


def test_a_limit_leaves_the_rest_for_the_next_call(engine: Callable[..., VenueEngine], rings: Path) -> None:
    venue = engine()
    with tb.connect(directory=rings) as connection:
        connection.submit(opening())
        connection.submit(offers(20))
        released(venue, count := len(opening()) + 20)
        taken = []
        while True:
            found = connection.executions(limit=7)
            assert not isinstance(found, tb.Gap)
            if not len(found):
                break
            assert len(found) <= 7
            taken += found["sequence"].tolist()
        assert taken == list(range(1, count + 1))
        with pytest.raises(UsageError, match="limit"):
            connection.executions(limit=0)


def test_what_was_missed_is_a_gap_and_what_came_behind_it_follows(
    engine: Callable[..., VenueEngine], rings: Path
) -> None:
    venue = engine(executions_count=1 << 8)
    with tb.connect(directory=rings) as connection:
        connection.submit(opening())
        connection.submit(offers(2_000), timeout=60)
        released(venue, count := len(opening()) + 2_000)
        gap = connection.executions()
        assert isinstance(gap, tb.Gap)
        behind = connection.executions()
        assert not isinstance(behind, tb.Gap)
        assert (gap.first, gap.count + len(behind)) == (1, count)
        assert behind["sequence"].tolist() == list(range(gap.count + 1, count + 1))


def test_a_gap_that_opens_while_a_call_reads_is_told_by_the_next_one(
    engine: Callable[..., VenueEngine], rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: behind the first piece that is read the ring is overwritten."""
    venue = engine(executions_count=1 << 8)
    with tb.connect(directory=rings) as connection, tb.connect(directory=rings) as other:
        connection.submit(opening())
        connection.submit(offers(100))
        released(venue, before := len(opening()) + 100)
        poll = connection._executions.poll_batch

        def overwritten(limit: int = 1, timeout: float | None = 0.0) -> Any:
            monkeypatch.undo()
            other.submit(offers(1_000), timeout=60)
            released(venue, before + 1_000)
            return poll(limit, timeout)

        def few(limit: int = 1, timeout: float | None = 0.0) -> Any:
            monkeypatch.setattr(connection._executions, "poll_batch", overwritten)
            return poll(10, timeout)

        monkeypatch.setattr(connection._executions, "poll_batch", few)
        first, gap, behind = connection.executions(), connection.executions(), connection.executions()
        assert isinstance(gap, tb.Gap)
        assert not isinstance(first, tb.Gap)
        assert not isinstance(behind, tb.Gap)
        assert first["sequence"].tolist() == list(range(1, 11))
        assert (gap.first, gap.first + gap.count) == (11, behind["sequence"][0])
        assert behind["sequence"][-1] == before + 1_000


def test_each_command_of_a_batch_is_as_old_as_itself(
    engine: Callable[..., VenueEngine], rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the clock stands a minute back for the first two commands, as it does for what takes long to hand over."""
    engine(age_max_s=30.0)
    with tb.connect(directory=rings) as connection:
        connection.submit(opening())
        now, behind = time.time_ns, iter((60, 60))
        monkeypatch.setattr(time, "time_ns", lambda: now() - next(behind, 0) * 1_000_000_000)
        done = connection.submit(offers(4))
        assert done.commands["reason"].tolist() == [Reason.LATE, Reason.LATE, 0, 0]


@pytest.mark.parametrize("timeout", [0, 0.0, -1, float("nan")])
def test_a_submit_that_would_not_wait_is_refused_and_hands_nothing_over(
    engine: Callable[..., VenueEngine], rings: Path, timeout: float
) -> None:
    venue = engine()
    with tb.connect(directory=rings) as connection:
        with pytest.raises(UsageError, match="a time above 0 s"):
            connection.submit(timer(0), timeout=timeout)
        with pytest.raises(UsageError, match="a time above 0 s"):
            connection.place(ACCOUNT, 1, Side.BUY, price=1, size=1, timeout=timeout)
        assert venue.status()["source_published"] == 0


def test_what_one_command_came_to_is_said_as_the_venue_in_process_says_it(
    engine: Callable[..., VenueEngine], rings: Path
) -> None:
    """Method: the same commands here and there; what both have is the same."""
    engine()
    local = tb.Venue(orders_max=1 << 16)
    local.submit(opening())
    with tb.connect(directory=rings) as connection:
        connection.submit(opening())
        either: tuple[Any, ...] = (local, connection)
        for venue in either:
            placed = venue.place(ACCOUNT, 1, Side.BUY, price=100, size=5)
            assert placed
            assert (placed.reason, placed.order_id) == (0, 2 * placed.sequence)
            changed = venue.replace(ACCOUNT, 1, placed.order_id, price=100, size=4)
            assert (bool(changed), changed.order_id) == (True, placed.order_id)
            gone = venue.cancel(ACCOUNT, 1, placed.order_id)
            assert (bool(gone), gone.order_id) == (True, placed.order_id)
            refused = venue.place(ACCOUNT, 1, Side.BUY, price=1_000_000, size=1_000_000_000)
            assert not refused
            assert (Reason(refused.reason), refused.order_id) == (Reason.BALANCE, 0)
            many = venue.submit(offers(3))
            assert (many.accepted.all(), len(many.own)) == (True, 3)
            assert many.order_ids.tolist() == (2 * many.sequences).tolist()
        first = connection.place(ACCOUNT, 1, Side.BUY, price=100, size=5)
        assert repr(first) == f"Judged(sequence={first.sequence}, order_id={first.order_id})"
        refused = connection.place(ACCOUNT, 1, Side.BUY, price=1_000_000, size=1_000_000_000)
        assert repr(refused) == f"Judged(sequence={refused.sequence}, refused: BALANCE)"
        several = connection.submit(offers(3))
        assert repr(several) == "Judged(3 commands, 3 accepted)"
        with pytest.raises(UsageError, match="these are 3 commands"):
            _ = several.order_id

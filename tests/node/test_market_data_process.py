"""The market data engine in a process of its own: used as one of threads, killed alone while its capture goes on, asked what a reader lost."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.node.test_engine import opened, trades, wait_for, write_trades
from tests.node.test_engine import rings as rings
from tidebook._core import MarketDataEngine
from tidebook.api import EngineState
from tidebook.errors import TidebookError
from tidebook.node.engines import engine_states
from tidebook.node.market_data_process import MarketDataPlan, MarketDataProcess
from tidebook.node.metrics import node_metrics

BINANCE = 1


def planned(tmp_path: Path, rings: Path, journals: dict[str, Path]) -> MarketDataPlan:
    return MarketDataPlan(
        feeds={venue: str(journal) for venue, journal in journals.items()},
        rings_dir=str(rings),
        venue=None,
        snapshots_dir=str(tmp_path / "snapshots"),
        wait="park",
        cpu=None,
        lock_memory=False,
        huge_pages=False,
        numa_node=None,
        seccomp="off",
    )


@contextmanager
def running(plan: MarketDataPlan) -> Iterator[MarketDataProcess]:
    engine = MarketDataProcess(plan)
    try:
        yield engine
    finally:
        engine.stop()


def at(engine: MarketDataProcess) -> int:
    sequence: int = engine.status()["feeds"]["binance"]["sequence"]
    return sequence


def gauges(engine: MarketDataProcess) -> dict[str, float]:
    return {sample.name: sample.value for metric in node_metrics([], engine) for sample in metric.samples}


def test_one_killed_alone_is_away_and_the_next_tells_what_its_capture_took_meanwhile_once(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the next process is not begun before the capture has more."""
    feeds, journals = opened(tmp_path, rings, "binance")
    with running(planned(tmp_path, rings, journals)) as engine:
        assert (engine.made_anew, engine.taken_up) == (None, [("binance", 0, [])])
        before = write_trades(feeds["binance"], range(1, 30))
        wait_for(lambda: at(engine) == before)
        assert engine.status()["live"]
        assert (gauges(engine)["tidebook_engine_away"], gauges(engine)["tidebook_engine_starts_total"]) == (0, 0)
        begin_process, may_begin = engine._started, threading.Event()

        def when_it_may() -> Any:
            assert may_begin.wait(60)
            return begin_process()

        monkeypatch.setattr(engine, "_started", when_it_may)
        killed = engine.process
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: engine.away is not None)
        away = "ended by itself (signal 9) and is started again"
        assert engine_states(engine, None, None) == [EngineState("market_data", "process", None, away)]
        assert (engine.status()["failure"], at(engine), gauges(engine)["tidebook_engine_away"]) == (None, before, 1)
        assert engine.whose("md.trades", 1, 29) is None
        after = write_trades(feeds["binance"], range(30, 60))
        may_begin.set()
        wait_for(lambda: at(engine) == after)
        assert trades(rings) == [(BINANCE, number) for number in range(1, 60)]
        assert engine.process not in (None, killed)
        assert (gauges(engine)["tidebook_engine_away"], gauges(engine)["tidebook_engine_starts_total"]) == (0, 1)
    feeds["binance"].close()


def test_what_a_reader_lost_is_asked_of_the_process_and_one_that_does_not_answer_is_asked_no_more(
    tmp_path: Path, rings: Path
) -> None:
    """Method: a process that is stopped while it is asked more than its pipe could hold."""
    feeds, journals = opened(tmp_path, rings, "binance")
    with running(planned(tmp_path, rings, journals)) as engine:
        last = write_trades(feeds["binance"], range(1, 30))
        wait_for(lambda: at(engine) == last)
        found: dict[int, int] | None = {}

        def is_answered() -> bool:
            nonlocal found
            found = engine.whose("md.trades", 1, 29)
            return found is not None

        wait_for(is_answered)  # in time, also where many others work
        assert found is not None
        (instrument_id,) = found
        assert (instrument_id >> 24, found[instrument_id]) == (BINANCE, 29)
        assert engine.whose("md.trades", 1, 1_000_000) is None
        assert engine.process is not None
        process = psutil.Process(engine.process)
        process.suspend()
        wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
        began = time.monotonic()
        for _ in range(5_000):
            assert engine.whose("md.trades", 1, 29) is None
        assert time.monotonic() - began < 30
        process.resume()
        wait_for(is_answered)
        assert found == {instrument_id: 29}
    feeds["binance"].close()


def test_one_that_cannot_begin_says_why_as_one_of_threads_does(tmp_path: Path, rings: Path) -> None:
    plan = planned(tmp_path, rings, {"binance": tmp_path / "journal/feed.binance"})
    with pytest.raises(TidebookError) as of_threads:
        MarketDataEngine({"binance": tmp_path / "journal/feed.binance"}, rings)
    with pytest.raises(type(of_threads.value)) as of_process:
        MarketDataProcess(plan)
    assert str(of_process.value) == str(of_threads.value)

"""What a process asks for speed, what it is told of it, and that it is itself again afterwards."""

import gc
import os
from pathlib import Path

import pytest

import tidebook as tb
from tidebook.errors import ChannelUsageError


def test_a_tuned_block_pins_the_thread_stops_the_collector_and_undoes_both(rings: Path) -> None:
    channel = tb.create_channel("ticks", directory=rings)
    before, cpu = os.sched_getaffinity(0), max(os.sched_getaffinity(0))
    with tb.tuned([channel], tb.Tuning(cpu=cpu, lock_memory=True, collector="off")) as effects:
        assert os.sched_getaffinity(0) == {cpu}
        assert not gc.isenabled()
        told = {(effect.of, effect.option): effect for effect in effects}
        assert told["thread", "cpu"].in_force
        assert told["ticks", "prefault"].in_force
        lock = told["ticks", "lock"]
        assert lock.in_force or "ulimit -l" in lock.detail
        assert "it does not run" in told["process", "collector"].detail
        assert str(told["thread", "cpu"]).startswith("thread: cpu is in force (CPU ")
    assert os.sched_getaffinity(0) == before
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_what_the_machine_cannot_give_is_told_and_the_block_runs(rings: Path) -> None:
    channel = tb.create_channel("ticks", directory=rings)
    ran = False
    with tb.tuned([channel], tb.Tuning(cpu=100_000, numa_node=63, collector="frozen")) as effects:
        ran = gc.isenabled()
        refused = {effect.option: effect.detail for effect in effects if not effect.in_force}
        assert refused.keys() == {"cpu", "numa_node"}
        assert "100000" in refused["cpu"]
    assert ran
    paused = tb.Tuning(collector="paused")  # type: ignore[arg-type]
    with pytest.raises(ChannelUsageError, match="'paused' is none of on, frozen, off"), tb.tuned([], paused):
        pass

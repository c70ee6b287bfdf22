"""A process that a node keeps for an engine, when signals come or the node goes: it ends as its node does, and in order."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.observe.counting import Counted, Plan
from tidebook.observe.child import Child

LONG_S = 120.0
MODULE = "tests.observe.counting"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_signals_to_all_processes_at_once_leave_it_at_work_until_its_node_ends_it(tmp_path: Path) -> None:
    child = Child(MODULE, "counting", Plan(str(tmp_path)), Counted("stopped"), msgspec.json.Decoder(Counted))
    child.start()
    try:
        until(lambda: child.status().process is not None)
        process, count = child.status().process, child.status().count
        assert process is not None
        for signum in (signal.SIGTERM, signal.SIGINT):
            os.kill(process, signum)
        until(lambda: child.status().process != process or child.status().count > count + 3)
        assert child.status().process == process
        assert not (tmp_path / "stopped").exists()
    finally:
        in_time = child.stop(LONG_S)
    assert in_time
    assert (tmp_path / "stopped").exists()


def test_it_stops_its_engine_in_order_also_when_nobody_hears_any_more_how_it_stands(tmp_path: Path) -> None:
    def count() -> int:
        return int((tmp_path / "count").read_text())

    with subprocess.Popen(
        [sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(msgspec.json.encode(Plan(str(tmp_path))) + b"\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.stdout.close()
        unheard = count()
        until(lambda: process.poll() is not None or count() > unheard + 3)
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(LONG_S) == 0
        assert process.stderr.read() == b""
    assert (tmp_path / "stopped").exists()


def test_one_that_fails_says_of_what_and_nothing_else(tmp_path: Path) -> None:
    """While its node holds the pipe open, as it does."""
    with subprocess.Popen(
        [sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(msgspec.json.encode(Plan(str(tmp_path / "absent"))) + b"\n")
        process.stdin.flush()
        said = process.stderr.read().decode()
        assert process.wait(LONG_S) == 1
    assert "FileNotFoundError" in said.splitlines()[-1]

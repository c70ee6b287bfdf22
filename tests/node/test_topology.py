"""A node whose engines are processes of their own, by `[topology]`: where each runs is told."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.node.test_live import get, node, wait_for
from tests.node.test_live import rings as rings

OPTIONS = ("--venues", "kraken", "--rate", "200")
PROCESSES = ("venue", "audit", "analytics")


def shown(data: Path, rings: Path, *words: str) -> str:
    """The line of a command that says where engines run."""
    command = [sys.executable, "-m", "tidebook", *words, "--data", str(data)]
    environment = os.environ | {"TIDEBOOK_RINGS": str(rings)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=data.parent).stdout
    (line,) = [line for line in said.splitlines() if line.startswith("engines: ")]
    return line


def engines(address: str) -> dict[str, Any]:
    return {found["engine"]: found for found in get(address, "status")["engines"]}


def test_where_each_engine_runs_is_told_by_the_api_and_by_both_commands(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: a node with every engine that can be one a process, then one with threads, over the same data."""
    data = tmp_path / "data"
    monkeypatch.setenv("TIDEBOOK_VENUE_ENABLED", "true")
    monkeypatch.setenv("TIDEBOOK_ANALYTICS_ENABLED", "true")
    with monkeypatch.context() as only:
        for engine in PROCESSES:
            only.setenv(f"TIDEBOOK_TOPOLOGY_{engine.upper()}", "process")
        with node(data, rings, *OPTIONS) as (process, address):
            wait_for(lambda: all(engines(address)[engine]["process"] for engine in PROCESSES))
            found = engines(address)
            assert list(found) == ["market_data", *PROCESSES]
            children = {child.pid for child in psutil.Process(process.pid).children()}
            for engine in PROCESSES:
                assert (found[engine]["runs_as"], found[engine]["away"]) == ("process", None)
                assert found[engine]["process"] in children
            expected = f"engines: market data in threads of the node (process {process.pid}); " + "; ".join(
                f"{engine} in process {found[engine]['process']}" for engine in PROCESSES
            )
            assert shown(data, rings, "status") == shown(data, rings, "venue", "status") == expected
    with node(data, rings, *OPTIONS) as (process, address):
        assert {(found["runs_as"], found["process"], found["away"]) for found in engines(address).values()} == {
            ("thread", process.pid, None)
        }
        expected = f"engines: market data, venue, audit, analytics in threads of the node (process {process.pid})"
        assert shown(data, rings, "status") == shown(data, rings, "venue", "status") == expected

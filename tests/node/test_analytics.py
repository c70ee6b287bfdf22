"""Analytics of a running node, as a user meets them: by a setting, over HTTP, through restarts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.node.test_live import get, node, wait_for
from tests.node.test_live import rings as rings

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

OPTIONS = ("--venues", "kraken", "--rate", "20")


def tidebook(*words: str, data: Path) -> Any:
    command = [sys.executable, "-m", "tidebook", *words, "--data", str(data), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=data.parent).stdout)


def test_a_node_tells_what_trading_comes_to_in_a_thread_or_a_process_and_goes_on_after_a_restart(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEBOOK_VENUE_ENABLED", "true")
    monkeypatch.setenv("TIDEBOOK_ANALYTICS_ENABLED", "true")
    data = tmp_path / "data"

    def fills(address: str, account: str) -> int:
        days = get(address, f"analytics/accounts/{account}?interval=1d&instrument=BTC-USD.LOCAL")
        return sum(day["fills"] for day in days)

    def traded(address: str) -> float:
        return float(
            sum(day["volume"] for day in get(address, "analytics/markets?instrument=BTC-USD.LOCAL&interval=1d"))
        )

    def trade() -> None:
        tidebook("venue", "place", "alice", "BTC-USD.LOCAL", "buy", "0.1", "60000", data=data)
        tidebook("venue", "place", "bob", "BTC-USD.LOCAL", "sell", "0.1", "60000", data=data)

    with node(data, rings, *OPTIONS) as (process, address):
        tidebook("venue", "init", data=data)
        trade()
        # Nothing follows: what stands is told all the same.
        wait_for(lambda: (fills(address, "alice"), fills(address, "bob")) == (1, 1))
        wait_for(lambda: traded(address) == 0.1)
        wait_for(lambda: len(get(address, "analytics/markets?instrument=BTC/USD.KRAKEN&interval=1s")) > 2)
        (day,) = get(address, "analytics/accounts/alice?interval=1d&limit=1")
        assert (day["position"], day["average_price"], day["bought"], day["instrument"]) == (
            0.1,
            60_000,
            0.1,
            "BTC-USD.LOCAL",
        )
        status = get(address, "analytics")
        assert (status["made"], status["state"], status["missed"], status["process"]) == (True, "following", 0, None)
        with urllib.request.urlopen(f"{address}/metrics", timeout=30) as answer:
            assert "tidebook_analytics_following 1.0" in answer.read().decode().splitlines()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    monkeypatch.setenv("TIDEBOOK_TOPOLOGY_ANALYTICS", "process")
    with node(data, rings, *OPTIONS) as (process, address):
        trade()
        wait_for(lambda: (fills(address, "alice"), fills(address, "bob")) == (2, 2))
        wait_for(lambda: traded(address) == 0.2)
        assert get(address, "analytics")["process"] not in (None, process.pid)

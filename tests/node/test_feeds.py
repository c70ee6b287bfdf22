"""`tidebook feeds`: subscriptions changed with and without a running node, by the commands a user has."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.node.test_live import get, node, wait_for
from tidebook.node.presence import running_node


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    directory = tmp_path / "rings"
    directory.mkdir(mode=0o700)
    return directory


def feeds(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tidebook", "feeds", *words, "--data", str(data)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=data.parent)


def listed(data: Path) -> Any:
    return json.loads(feeds(data, "ls", "--json").stdout)["feeds"]


def test_without_a_node_the_next_one_finds_the_change(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert feeds(data, "ls").stdout.startswith("no feed has run on ")
    assert feeds(data, "add", "kraken", "btc/usd", "ETH/USD").stdout == "kraken: BTC/USD, ETH/USD\n"
    assert feeds(data, "rm", "kraken", "BTC/USD").stdout == "kraken: ETH/USD\n"
    assert listed(data) == {"kraken": ["ETH/USD"]}
    refused = feeds(data, "rm", "kraken", "XRP/USD")
    assert refused.returncode != 0
    assert refused.stderr == "tidebook: kraken: XRP/USD is not subscribed; it has ETH/USD\n"
    assert "no connector is for 'krakn'" in feeds(data, "add", "krakn", "A/B").stderr
    assert "no node runs on" in feeds(data, "top").stderr


def test_a_running_node_takes_a_symbol_in_and_gives_it_up(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    words = ("--venues", "kraken", "--symbols", "BTC/USD", "--rate", "200")
    with node(data, rings, *words) as (_, address):
        wait_for(lambda: get(address, "feeds")[0]["books_usable"] == 1)
        assert listed(data) == {"kraken": ["BTC/USD"]}
        shown = feeds(data, "top", "--once").stdout
        assert "kraken" in shown
        assert "1/1" in shown
        found = running_node(data)
        assert found is not None
        assert found.address == address
        refused = feeds(data, "add", "kraken", "NOSUCH/USD")
        assert refused.returncode == 1
        assert len(refused.stderr.splitlines()) == 1
        assert listed(data) == {"kraken": ["BTC/USD"]}
        assert "a venue begins with a start" in feeds(data, "add", "binance", "BTCUSDT").stderr
        assert feeds(data, "rm", "kraken", "BTC/USD").stdout == "kraken: nothing\n"
        assert listed(data) == {"kraken": []}
    wait_for(lambda: running_node(data) is None)


def test_simulated_and_real_messages_are_kept_apart(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    with node(data, rings, "--venues", "binance"):
        pass
    words = [
        sys.executable,
        "-m",
        "tidebook",
        "run",
        "--live",
        "--venues",
        "binance",
        "--data",
        str(data),
        "--port",
        "0",
    ]
    refused = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 2
    assert "holds messages of a simulated venue; name another --data for real ones" in refused.stderr

"""A node whose engines are processes of their own, by `[topology]`: where each runs is told, and each that is killed under load goes on."""

import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import pytest

import tidebook as tb
from tests.node.test_live import derived_trades, get, node, wait_for
from tests.node.test_live import rings as rings
from tests.node.test_venue import metrics, tidebook
from tidebook._core import venues
from tidebook.audit import open_database
from tidebook.audit.rebuild import rebuild
from tidebook.persistence import inspect

FEEDS = ("binance", "kraken")
OPTIONS = ("--venues", ",".join(FEEDS), "--rate", "200")
ENGINES = ("market_data", "venue", "audit", "analytics")
PATIENCE_S = 60
BTC = "BTC-USD.LOCAL"


@pytest.fixture(autouse=True)
def with_all_engines(without_venue: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEBOOK_VENUE_ENABLED", "true")
    monkeypatch.setenv("TIDEBOOK_ANALYTICS_ENABLED", "true")


@pytest.fixture
def as_processes(with_all_engines: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for engine in ENGINES:
        monkeypatch.setenv(f"TIDEBOOK_TOPOLOGY_{engine.upper()}", "process")


def shown(data: Path, rings: Path, *words: str) -> str:
    """The line of a command that says where engines run."""
    command = [sys.executable, "-m", "tidebook", *words, "--data", str(data)]
    environment = os.environ | {"TIDEBOOK_RINGS": str(rings)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=data.parent).stdout
    (line,) = [line for line in said.splitlines() if line.startswith("engines: ")]
    return line


def engines(address: str) -> dict[str, Any]:
    return {found["engine"]: found for found in get(address, "status")["engines"]}


def kill_and_wait_for_the_next(address: str, engine: str) -> tuple[set[str], set[str]]:
    """Why it was away and the node not ready, as was seen meanwhile."""
    before, away, unready = engines(address)[engine]["process"], set[str](), set[str]()
    os.kill(before, signal.SIGKILL)

    def is_back() -> bool:
        found = engines(address)[engine]
        away.update({found["away"]} - {None})
        if (answer := httpx.get(f"{address}/api/v1/health/ready", timeout=PATIENCE_S)).status_code == 503:
            unready.add(answer.json()["detail"])
        return found["process"] not in (None, before)

    wait_for(is_back)
    return away, unready


class AtWork:
    """What goes on in a thread of its own inside the block, and ends behind what it has in hand."""

    def __init__(self) -> None:
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._ends.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _work(self) -> None:
        raise NotImplementedError


class Trader(AtWork):
    """Alice buys from Bob until the end, and both ask again for what was not answered; each round is one fill."""

    def __init__(self, address: str) -> None:
        self.fills = 0
        self.refused = 0
        """Answers that nothing was sent, because the venue's engine was away."""
        super().__init__()
        self._address = address

    def _work(self) -> None:
        with httpx.Client(base_url=f"{self._address}/api/v1/", timeout=PATIENCE_S) as client:
            while not self._ends.is_set():
                self._trade(client)

    def _trade(self, client: httpx.Client) -> None:
        for account, side in (("alice", "buy"), ("bob", "sell")):
            body = {
                "instrument": BTC,
                "side": side,
                "size": "0.001",
                "price": "60000",
                "client_order_id": f"{account}{self.fills}",
            }
            while (answer := client.post(f"accounts/{account}/orders", json=body)).status_code != 200:
                assert answer.status_code in (503, 504), answer.text
                self.refused += answer.status_code == 503
                self._ends.wait(0.02)
        self.fills += 1
        self._ends.wait(0.005)


class Trades(AtWork):
    """Every trade on `md.trades`, by venue, read by another program than the node for as long as it is open."""

    def __init__(self, rings: Path) -> None:
        self.of: dict[str, list[tuple[int, int]]] = defaultdict(list)
        """Source sequence and id of each."""
        super().__init__()
        self._rings = rings

    def _work(self) -> None:
        names, is_last = venues(), False
        with tb.open_consumer("md.trades", directory=self._rings, start="earliest", policy="overwrite") as consumer:
            while not is_last:
                is_last = self._ends.wait(0.005)
                while (taken := consumer.poll_batch(4_096)) is not None:
                    assert not isinstance(taken, tb.Gap), taken
                    with taken as batch:
                        rows = batch.array
                        keys = zip(rows["source_sequence"].tolist(), rows["trade_id"].tolist(), strict=True)
                        for instrument_id, key in zip(rows["instrument_id"].tolist(), keys, strict=True):
                            self.of[names[instrument_id >> 24]].append(key)


def test_where_each_engine_runs_is_told_by_the_api_and_by_both_commands(
    tmp_path: Path, rings: Path, as_processes: None
) -> None:
    data = tmp_path / "data"
    with node(data, rings, *OPTIONS) as (process, address):
        wait_for(lambda: all(found["process"] for found in engines(address).values()))
        found = engines(address)
        assert list(found) == list(ENGINES)
        children = {child.pid for child in psutil.Process(process.pid).children()}
        for engine in ENGINES:
            assert (found[engine]["runs_as"], found[engine]["away"]) == ("process", None)
            assert found[engine]["process"] in children
        processes = (f"{engine.replace('_', ' ')} in process {found[engine]['process']}" for engine in ENGINES)
        expected = f"engines: {'; '.join(processes)}"
        assert shown(data, rings, "status") == shown(data, rings, "venue", "status") == expected


def test_engines_are_threads_of_the_node_where_nothing_else_is_asked_for(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    with node(data, rings, *OPTIONS) as (process, address):
        assert {(found["runs_as"], found["process"], found["away"]) for found in engines(address).values()} == {
            ("thread", process.pid, None)
        }
        expected = f"engines: market data, venue, audit, analytics in threads of the node (process {process.pid})"
        assert shown(data, rings, "status") == shown(data, rings, "venue", "status") == expected


@pytest.mark.timeout(600)  # nine processes start, some of them twice: minutes where many others work
def test_each_engine_killed_under_load_goes_on_with_nothing_lost_or_told_twice(
    tmp_path: Path, rings: Path, as_processes: None, say: Callable[[str], None]
) -> None:
    """Method: kill -9 of each engine's process, one after the other, under two feeds and orders; what another program read of `md.trades` is
    then compared with the captures, trade by trade, and the audit trail with `orders`.
    """
    data = tmp_path / "data"
    with node(data, rings, *OPTIONS) as (process, address):
        tidebook("venue", "init", data=data)
        wait_for(lambda: all(feed["books_usable"] for feed in get(address, "feeds")))
        with Trades(rings / "default") as trades, Trader(address) as trader:
            for engine in ENGINES:
                away, unready = kill_and_wait_for_the_next(address, engine)
                assert any("ended by itself (signal 9)" in why for why in away), away
                if engine == "market_data":
                    assert any(
                        why.startswith("market data stands still: its engine ended by itself") for why in unready
                    )
                fills, seen = trader.fills, {venue: len(trades.of[venue]) for venue in (*FEEDS, "local")}
                wait_for(
                    lambda fills=fills, seen=seen: (
                        trader.fills > fills + 10 and all(len(trades.of[venue]) > seen[venue] for venue in seen)
                    )
                )
                wait_for(lambda: get(address, "health/ready")["status"] == "ready")
            trader.end()
            wait_for(lambda: len(trades.of["local"]) == trader.fills)
        before = {venue: len(trades.of[venue]) for venue in FEEDS}
        # Nobody but the engines has ended, so the feeds are whole.
        for feed in get(address, "feeds"):
            assert (feed["gaps"], feed["reconnects"], feed["missed_records"]) == (0, 0, 0), feed
            assert feed["books_usable"] == feed["instruments"]
        told = tidebook("venue", "status", data=data)
        wait_for(lambda: metrics(address)["tidebook_audit_commands_total"] >= told["sequence"])
        wait_for(
            lambda: (
                trader.fills
                == sum(day["fills"] for day in get(address, f"analytics/accounts/bob?interval=1d&instrument={BTC}"))
            )
        )
        assert (metrics(address)["tidebook_engine_starts_total"], metrics(address)["tidebook_engine_away"]) == (1, 0)
        assert metrics(address)["tidebook_venue_engine_starts_total"] == 1
        children = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE_S) == 0
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    for venue in FEEDS:
        assert inspect(data / f"journal/feed.{venue}").closed
        derived = derived_trades(data, venue)
        assert len(derived) >= before[venue] > 0
        assert trades.of[venue] == derived[: len(trades.of[venue])]
    assert len(set(trades.of["local"])) == len(trades.of["local"]) == trader.fills
    trail = rebuild(open_database("", data), data / "journal/orders")
    assert trail.ok, trail
    say(
        f"a kill of each of {len(ENGINES)} engines under load: {trader.fills} fills, {trader.refused} answers that the venue was away, "
        + ", ".join(f"{len(trades.of[venue]):,} trades of {venue}" for venue in FEEDS)
    )

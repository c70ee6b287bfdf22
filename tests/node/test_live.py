"""The whole node as a process: it answers, survives a kill, and stores exactly what it captured."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

import tidebook as tb
from tidebook._core import FeedDecoder, JournalReader
from tidebook.node.presence import owner
from tidebook.node.storing import stored_position

DEADLINE_S = 60


@contextmanager
def node(
    data: Path, rings: Path, *words: str, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running node and the address of its page; `prefix` is a command that runs it."""
    command = [*prefix, sys.executable, "-m", "tidebook", "run", "--data", str(data), "--port", "0", "--json", *words]
    # The seed is the test's; a node refuses settings that it does not know.
    environment = {name: value for name, value in os.environ.items() if name != "TIDEBOOK_SEED"}
    environment["TIDEBOOK_RINGS"] = str(rings)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=data.parent
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.communicate()[1])
        yield process, json.loads(line)["address"]
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children() if prefix else ():
                child.kill()
            process.kill()
        process.communicate()


def get(address: str, path: str) -> Any:
    with urllib.request.urlopen(f"{address}/api/v1/{path}", timeout=5) as answer:
        return json.load(answer)


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def derived_trades(data: Path, venue: str = "binance") -> list[tuple[int, int]]:
    """(source sequence, trade id) of every trade the journal gives."""
    reader, decoder = JournalReader(data / f"journal/feed.{venue}"), FeedDecoder(venue)
    trades: list[tuple[int, int]] = []
    while (read := reader.next()) is not None:
        rows = decoder.decode(*read)["trades"]
        trades += zip(rows["source_sequence"].tolist(), rows["trade_id"].tolist(), strict=True)
    return trades


def stored_trades(data: Path, suffix: str = "BINANCE") -> list[tuple[int, int]]:
    frame = tb.open(data).scan("trades").filter(pl.col("symbol").cast(pl.String).str.ends_with(f".{suffix}")).collect()
    frame = frame.sort("source_sequence", "source_index")
    return list(zip(frame["source_sequence"].to_list(), frame["trade_id"].to_list(), strict=True))


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    directory = tmp_path / "rings"
    directory.mkdir(mode=0o700)
    return directory


def test_a_killed_node_goes_on_and_stores_exactly_what_it_captured(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    options = ("--rate", "800", "--flush-interval-s", "0.3")
    with node(data, rings, "--venues", "binance", "--symbols", "BTCUSDT,SOLUSDT", *options) as (process, address):
        wait_for(lambda: all(feed["books_usable"] == 2 for feed in get(address, "feeds")))
        depth = get(address, "depth?instrument=BTCUSDT.BINANCE&limit=5")
        assert len(depth["bids"]) == 5
        assert float(depth["bids"][0][0]) < float(depth["asks"][0][0])
        wait_for(lambda: stored_position(data, "feed.binance") > 500)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children, "the simulated venue is a process of its own"
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive, "the simulated venue outlived its node"
    before = stored_trades(data)
    with node(data, rings, *options) as (process, address):
        wait_for(lambda: get(address, "feeds")[0]["messages_per_second"] > 100)
        wait_for(lambda: len(stored_trades(data)) > len(before))
        # One gap a symbol: what was traded while no node ran never came, and is said.
        expected = {"state": "live", "reconnects": 1, "gaps": 2}
        wait_for(lambda: expected.items() <= get(address, "feeds")[0].items())
        assert [found["instrument"] for found in get(address, "instruments")] == ["BTCUSDT.BINANCE", "SOLUSDT.BINANCE"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    stored = stored_trades(data)
    assert stored[: len(before)] == before
    assert stored == derived_trades(data)
    assert tb.open(data).verify().ok


@pytest.mark.timeout(360)  # sixteen processes start one life after the other: minutes where many others work
def test_three_venues_killed_and_started_again_are_stored_exactly_once_each(tmp_path: Path, rings: Path) -> None:
    """Several short lives, so that sequences, ids and sessions of one life could be taken for those of another."""
    data = tmp_path / "data"
    venues = {"binance": "BINANCE", "coinbase": "COINBASE", "kraken": "KRAKEN"}
    options = ("--venues", ",".join(venues), "--rate", "300", "--flush-interval-s", "0.3")
    for life in range(4):
        with node(data, rings, *options) as (process, address):
            wait_for(lambda: all(feed["books_usable"] == 2 for feed in get(address, "feeds")))
            positions = {venue: stored_position(data, f"feed.{venue}") for venue in venues}
            wait_for(
                lambda at=positions: all(stored_position(data, f"feed.{venue}") > at[venue] + 100 for venue in venues)
            )
            if life < 3:
                process.send_signal(signal.SIGKILL)
                process.wait()
            else:
                process.send_signal(signal.SIGINT)
                assert process.wait(timeout=60) == 0
    for venue, suffix in venues.items():
        stored = stored_trades(data, suffix)
        assert stored, venue
        assert stored == derived_trades(data, venue)
    assert tb.open(data).verify().ok


def test_a_node_that_has_just_started_shows_its_rows_soon_and_its_downtime_after_the_next_start(
    tmp_path: Path, rings: Path
) -> None:
    """With the default interval of 300 s; the node is killed, so nobody notes when its session ended."""
    data = tmp_path / "data"
    with node(data, rings, "--venues", "binance", "--rate", "800"):
        wait_for(lambda: (data / "_manifest").is_dir() and tb.open(data).coverage())
        before = {part.type for part in tb.open(data).coverage()}
    assert {"trades", "quotes", "depth", "instruments"} <= before
    with node(data, rings, "--venues", "binance", "--rate", "800") as (process, address):
        wait_for(lambda: get(address, "feeds")[0]["messages_per_second"] > 100)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    gaps = {
        part.type: gap.ts_recv - gap.ts_start
        for part in tb.open(data).coverage()
        for gap in part.gaps
        if gap.kind == "disconnected"
    }
    assert gaps.keys() - {"bars"} == {"trades", "quotes", "depth"}  # bars too, if both nodes saw one end
    assert all(length > 0 for length in gaps.values())


def test_another_process_reads_the_live_channels(tmp_path: Path, rings: Path) -> None:
    with node(tmp_path / "data", rings, "--venues", "binance", "--rate", "800"):
        directory = rings / "default"
        wait_for(lambda: (directory / "md.trades.ring").exists())
        with tb.open_consumer("md.trades", "test", directory=directory, start="earliest") as consumer:
            batch = consumer.poll_batch(64, timeout=30.0)
            assert isinstance(batch, tb.Batch)
            with batch:
                trades = batch.array.copy()
        assert (trades["price"] > 0).all()
        assert set(trades["side"].tolist()) <= {-1, 1}


def test_the_channels_of_a_node_are_in_its_metrics_and_whole_for_the_commands(tmp_path: Path, rings: Path) -> None:
    with node(tmp_path / "data", rings, "--venues", "binance", "--rate", "800") as (_, address):

        def metrics() -> dict[str, float]:
            with urllib.request.urlopen(f"{address}/metrics", timeout=30) as answer:
                lines = [line.rpartition(" ") for line in answer.read().decode().splitlines() if line[0] != "#"]
            return {name: float(value) for name, _, value in lines}

        of = 'channel="feed.binance",node="default"'
        wait_for(lambda: metrics().get(f"tidebook_channel_durable_total{{{of}}}", 0) > 100)
        found = metrics()
        assert found[f"tidebook_channel_published_total{{{of}}}"] >= found[f"tidebook_channel_durable_total{{{of}}}"]
        journal = 'channel="feed.binance",consumer="journal",node="default"'
        assert found[f"tidebook_channel_consumer_open{{{journal}}}"] == 1
        assert found[f"tidebook_channel_consumer_lost_total{{{journal}}}"] == 0
        assert found['tidebook_channel_producers{channel="md.trades",node="default"}'] == 1
        environment = os.environ | {"TIDEBOOK_RINGS": str(rings)}
        command = [sys.executable, "-m", "tidebook", "channel"]
        verified = subprocess.run([*command, "verify"], env=environment, capture_output=True, text=True, check=False)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        tail = [*command, "tail", "md.trades", "-n", "1", "--json"]
        shown = subprocess.run(tail, env=environment, capture_output=True, text=True, check=True)
        assert json.loads(shown.stdout)["instrument"].endswith(".BINANCE")


def test_a_node_that_is_ready_is_found_by_commands(tmp_path: Path, rings: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    data = tmp_path / "data"
    command = [sys.executable, "-m", "tidebook", "run", "--data", str(data), "--port", address.rpartition(":")[2]]
    environment = {**os.environ, "TIDEBOOK_RINGS": str(rings)}
    process = subprocess.Popen(
        [*command, "--venues", "binance"], stdout=subprocess.DEVNULL, env=environment, cwd=tmp_path
    )
    try:
        wait_for(lambda: get(address, "health/ready"))
        found = owner(data)
        assert found is not None
        assert found.address == address
    finally:
        process.kill()
        process.wait()


def test_a_port_in_use_is_one_line_and_touches_nothing(tmp_path: Path, rings: Path) -> None:
    with node(tmp_path / "data", rings, "--venues", "binance") as (_, address):
        port = address.rpartition(":")[2]
        words = ["run", "--data", str(tmp_path / "other"), "--port", port]
        result = subprocess.run(
            [sys.executable, "-m", "tidebook", *words], capture_output=True, text=True, check=False, timeout=60
        )
    assert result.returncode == 1
    told = f"tidebook: 127.0.0.1:{port} is in use by another program; stop it or choose another port"
    assert result.stderr == f"{told} (--port, or `port` under [api])\n"
    assert not (tmp_path / "other").exists()


def test_a_second_node_of_one_name_is_told_to_take_another(tmp_path: Path, rings: Path) -> None:
    with node(tmp_path / "data", rings, "--venues", "binance") as (_, address):
        words = ["run", "--data", str(tmp_path / "other"), "--port", "0", "--venues", "binance"]
        result = subprocess.run(
            [sys.executable, "-m", "tidebook", *words],
            env=os.environ | {"TIDEBOOK_RINGS": str(rings)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert get(address, "feeds")
    assert result.returncode == 1
    assert "feed.binance.ring must be made anew (it belongs to another journal)" in result.stderr
    assert result.stderr.endswith("; a node beside the one called default needs a name of its own: --node NAME\n")


def test_a_port_that_is_none_is_one_line(tmp_path: Path) -> None:
    words = ["run", "--data", str(tmp_path / "data"), "--port", "99999"]
    result = subprocess.run(
        [sys.executable, "-m", "tidebook", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert "port 99999 is none; choose one from 1 to 65535" in result.stderr

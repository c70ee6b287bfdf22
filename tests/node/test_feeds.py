"""`tidebook feeds`: subscriptions changed with and without a running node, by the commands a user has."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.node.test_live import get, node, wait_for
from tidebook.config.settings import Settings
from tidebook.errors import OperationError
from tidebook.feeds.sink import MessageKind
from tidebook.node.change_requests import Answer, Asked, Change, take_all
from tidebook.node.changes import change_feed, subscribed
from tidebook.node.presence import running_node
from tidebook.node.venue_feed import FeedOptions, FeedPlan, VenueFeed
from tidebook.storage.follower import FollowerOptions
from tidebook.storage.writer import WriterOptions


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    directory = tmp_path / "rings"
    directory.mkdir(mode=0o700)
    return directory


def tidebook(data: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tidebook", *words, "--data", str(data)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=data.parent,
        env=os.environ | environment,
    )


def feeds(data: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return tidebook(data, "feeds", *words, **environment)


def listed(data: Path) -> Any:
    return json.loads(feeds(data, "ls", "--json").stdout)["feeds"]


def test_without_a_node_the_next_one_finds_the_change(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert feeds(data, "ls").stdout.startswith("no feed has run on ")
    begun = feeds(data, "add", "kraken", "btc/usd", "ETH/USD")
    assert begun.stdout == "kraken: BTC/USD, ETH/USD\n"
    where = f"note: no node runs on {data}"
    assert begun.stderr == f"{where}, which was made for this; the next one there begins with these\n"
    less = feeds(data, "rm", "kraken", "BTC/USD")
    assert less.stdout == "kraken: ETH/USD\n"
    assert less.stderr == f"{where}; the next one there begins with these\n"
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
        assert refused.stderr.startswith("tidebook: kraken: NOSUCH/USD refused: Currency pair not supported")
        assert "a simulated venue trades what the node was started with" in refused.stderr
        assert listed(data) == {"kraken": ["BTC/USD"]}
        assert "a venue begins with a start" in feeds(data, "add", "binance", "BTCUSDT").stderr
        assert feeds(data, "rm", "kraken", "BTC/USD").stdout == "kraken: nothing\n"
        assert listed(data) == {"kraken": []}
    assert running_node(data) is None, "killed"


def test_symbols_that_are_given_up_and_taken_again_are_no_trouble_in_the_log(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    pair = ("BTC/USD", "ETH/USD")
    with node(data, rings, "--venues", "kraken", "--symbols", ",".join(pair), "--rate", "200") as (process, address):
        for _ in range(2):
            wait_for(lambda: get(address, "feeds")[0]["books_usable"] == 2)
            assert feeds(data, "rm", "kraken", *pair).returncode == 0
            wait_for(lambda: get(address, "feeds")[0]["books_usable"] == 0)
            assert feeds(data, "add", "kraken", *pair).returncode == 0
        wait_for(lambda: get(address, "feeds")[0]["books_usable"] == 2)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert [line for line in said.splitlines() if "[warning" in line or "[error" in line] == []


def test_a_misspelt_symbol_is_refused_and_not_kept_on_a_venue_that_grants_streams_of_any_name(
    tmp_path: Path, rings: Path
) -> None:
    data = tmp_path / "data"
    with node(data, rings, "--venues", "binance", "--symbols", "BTCUSDT", "--rate", "200") as (_, address):
        wait_for(lambda: get(address, "feeds")[0]["books_usable"] == 1)
        for _ in range(3):
            refused = feeds(data, "add", "binance", "BTCUSTD")
            assert refused.returncode == 1
            assert refused.stderr.startswith("tidebook: binance: BTCUSTD refused: HTTP 400: ")
            assert "Invalid symbol" in refused.stderr
        assert listed(data) == {"binance": ["BTCUSDT"]}


def test_a_feed_whose_last_symbol_was_given_up_comes_back_empty_and_takes_the_next(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    assert feeds(data, "add", "kraken", "ETH/USD").returncode == 0
    assert feeds(data, "rm", "kraken", "ETH/USD").stdout == "kraken: nothing\n"
    with node(data, rings) as (process, address):
        assert listed(data) == {"kraken": []}
        assert [feed["venue"] for feed in get(address, "feeds")] == ["kraken"]
        assert feeds(data, "add", "kraken", "BTC/USD").stdout == "kraken: BTC/USD\n"
        wait_for(lambda: get(address, "feeds")[0]["books_usable"] == 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    plan = FeedPlan(venue="kraken", settings=Settings().kraken)
    assert plan.resolved_symbols(data) == ("BTC/USD",)
    assert feeds(data, "rm", "kraken", "BTC/USD").returncode == 0
    assert plan.resolved_symbols(data) == (), "named again, without a word about symbols"
    assert plan.resolved_symbols(tmp_path / "new") == ("BTC/USD", "ETH/USD")


def test_a_connector_is_told_how_late_its_feed_has_been(tmp_path: Path, rings: Path) -> None:
    options = FeedOptions(simulated=True, sync_interval_ms=1, follower=FollowerOptions(), writer=WriterOptions())
    plan = FeedPlan(venue="kraken", settings=Settings().kraken, symbols=("BTC/USD",))

    def told(ts_recv_ns: int) -> int | None:
        """What the connector is told at a start; then a message comes."""
        feed = VenueFeed(plan, tmp_path / "data", rings, options)
        try:
            feed.capture.write(ts_recv_ns, 0, MessageKind.TIMER, b"", b"")
            return feed.connector(plan.symbols, None).options.last_ts_recv_ns
        finally:
            feed.capture.close()

    assert [told(ts_recv_ns) for ts_recv_ns in (7_000, 5_000, 0)] == [None, 7_000, 5_000]


def test_symbols_that_are_named_replace_those_of_the_last_run_and_what_is_given_up_is_told(
    tmp_path: Path, rings: Path
) -> None:
    data = tmp_path / "data"
    assert feeds(data, "add", "kraken", "BTC/USD", "ETH/USD", "XRP/USD").returncode == 0
    with node(data, rings, "--venues", "kraken", "--symbols", "eth/usd,SOL/USD") as (process, _):
        assert listed(data) == {"kraken": ["ETH/USD", "SOL/USD"]}
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    (line,) = [line for line in said.splitlines() if "replace those of the last run" in line]
    assert "BTC/USD" in line
    assert "XRP/USD" in line
    assert "ETH/USD" not in line
    with node(data, rings) as (process, _):
        assert listed(data) == {"kraken": ["ETH/USD", "SOL/USD"]}
        process.send_signal(signal.SIGINT)
        assert "replace those of the last run" not in process.communicate(timeout=60)[1]


def test_a_start_that_cannot_be_makes_nothing(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    refused = tidebook(
        data, "run", "--venues", "kraken", "--symbols", "kraken:FOO", "--port", "0", TIDEBOOK_RINGS=str(rings)
    )
    assert refused.returncode == 2
    assert refused.stderr == "tidebook: feeds: 'FOO' is no Kraken symbol, which is BTC/USD or the like\n"
    assert not data.exists()
    assert list(rings.iterdir()) == []


def test_a_node_says_where_its_simulated_venues_take_faults(tmp_path: Path, rings: Path) -> None:
    command = [sys.executable, "-m", "tidebook", "run", "--venues", "kraken", "--port", "0", "--data", "data"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"TIDEBOOK_RINGS": str(rings)},
    ) as process:
        assert process.stdout is not None
        page = process.stdout.readline().split()[5]
        told = process.stdout.readline()
        assert told.startswith("Faults are asked for at POST /sim/faults of kraken http://127.0.0.1:")
        wait_for(lambda: get(page, "feeds")[0]["reconnects"] == 0 and get(page, "feeds")[0]["books_usable"] == 2)
        asked = urllib.request.Request(f"{told.split()[-1]}/sim/faults", b'{"kind": "disconnect"}')
        with urllib.request.urlopen(asked, timeout=5) as answer:
            assert answer.status == 200
        wait_for(lambda: get(page, "feeds")[0]["reconnects"] == 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def test_a_lock_alone_says_that_a_node_runs(tmp_path: Path, rings: Path) -> None:
    """What a killed node left behind names a process that lives and is called tidebook, as numbers are given again."""
    data = tmp_path / "data"
    data.mkdir()
    lives = [sys.executable, "-c", "import sys; sys.stdin.read()", "tidebook"]
    with subprocess.Popen(lives, stdin=subprocess.PIPE) as other:
        left = {"pid": other.pid, "node": "default", "address": "http://127.0.0.1:1"}
        (data / "node.json").write_text(json.dumps(left))
        assert running_node(data) is None
        assert feeds(data, "add", "kraken", "BTC/USD").stdout == "kraken: BTC/USD\n"
        other.communicate(b"")
    with node(data, rings, "--venues", "kraken") as (process, address):
        found = running_node(data)
        assert found is not None
        assert (found.pid, found.address) == (process.pid, address)
        second = tidebook(data, "run", "--venues", "binance", "--port", "0", TIDEBOOK_RINGS=str(rings))
        assert second.returncode == 1
        assert second.stderr.endswith(f"(process {process.pid}); stop it first, or name another --data\n")
        assert get(address, "feeds")[0]["venue"] == "kraken", "the first goes on"
        (data / "node.json").unlink()
        assert running_node(data) is not None, "whatever the file says"
        process.kill()
        process.wait()
        assert running_node(data) is None


def test_no_change_is_lost_while_nodes_start_stop_and_are_killed(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: symbols are added and given up all the time; each change that was said to be made is made at the end."""
    data = tmp_path / "data"
    # Books would have snapshots, which a simulated venue refuses of symbols it was not started with.
    monkeypatch.setenv("TIDEBOOK_BINANCE_STREAMS", "trade")
    expected: list[str] = []
    count = 0
    enough = threading.Event()

    def change() -> None:
        nonlocal count
        for number in itertools.count():
            symbol = f"S{number}USDT"
            change_feed(data, Change(venue="binance", add=(symbol,)))
            expected.append(symbol)
            if len(expected) > 8:
                change_feed(data, Change(venue="binance", remove=(expected[0],)))
                del expected[0]
            count += 1
            if enough.is_set():
                return

    def wait_for_more() -> None:
        mark = count
        wait_for(lambda: count >= mark + 2 or changing.done())

    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(change)
        try:
            wait_for_more()
            for end in (signal.SIGTERM, signal.SIGKILL):
                with node(data, rings, "--venues", "binance", "--rate", "50") as (process, _):
                    wait_for_more()
                    process.send_signal(end)
                    process.wait(timeout=60)
                    wait_for_more()
        finally:
            enough.set()
        changing.result()
    assert subscribed(data, ["binance"])["binance"] == tuple(expected)
    assert list((data / "feeds/changes").iterdir()) == []


def test_a_request_that_nobody_waits_for_is_made_in_its_turn(tmp_path: Path) -> None:
    """A node took the first and was killed; whoever asked for the others was killed too. The next one makes all, in order."""
    data = tmp_path / "data"
    folder = data / "feeds/changes"
    folder.mkdir(parents=True)
    (folder / "001.taken").write_text('{"venue":"kraken","add":["BTC/USD"],"remove":["XRP/USD"]}')
    (folder / "002.asked").write_text('{"venue":"kraken","add":["ETH/USD"]}')
    (folder / "003.asked").write_text("{")
    (folder / "004.asked").write_text('{"venue":"../kraken","add":["ETH/USD"]}')
    assert feeds(data, "rm", "kraken", "BTC/USD").stdout == "kraken: ETH/USD\n"
    answers = {path.name: json.loads(path.read_text())["error"] for path in folder.iterdir()}
    assert answers.keys() == {"001.answered", "002.answered", "003.answered", "004.answered"}
    assert [answers["001.answered"], answers["002.answered"]] == ["", ""]
    assert answers["003.answered"] == "003.taken holds no change of subscriptions"
    assert "no connector is for '../kraken'" in answers["004.answered"]


def test_a_key_that_only_the_node_has_is_not_missed_by_who_asks(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    (tmp_path / "tidebook.toml").write_text('[coinbase]\nstreams = ["level2", "matches", "heartbeat"]\n')
    missing = "coinbase: channel 'level2' needs a key; set TIDEBOOK_KEY_COINBASE, TIDEBOOK_SECRET_COINBASE and "
    kept = feeds(data, "add", "coinbase", "BTC-USD")
    assert (kept.returncode, kept.stdout) == (0, "coinbase: BTC-USD\n")
    assert kept.stderr.startswith(f"note: a node that is started as this command was would not run: {missing}")
    refused = tidebook(data, "run", "--venues", "coinbase", "--port", "0", TIDEBOOK_RINGS=str(rings))
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"tidebook: {missing}")
    assert not (data / "journal").exists(), "nothing was made"
    half = tidebook(data, "run", "--venues", "coinbase", "--port", "0", TIDEBOOK_KEY_COINBASE="name")
    assert (half.returncode, half.stderr.count("\n")) == (2, 1)
    assert "TIDEBOOK_KEY_COINBASE is set and TIDEBOOK_SECRET_COINBASE is not" in half.stderr
    key = {"KEY": "name", "SECRET": "c2VjcmV0", "PASSPHRASE": "words"}
    with pytest.MonkeyPatch.context() as environment:
        for word, value in key.items():
            environment.setenv(f"TIDEBOOK_{word}_COINBASE", value)
        running = node(data, rings, "--venues", "coinbase", "--rate", "100")
        _, address = running.__enter__()
    try:
        wait_for(lambda: get(address, "feeds")[0]["books_usable"] == 1)
        asked = feeds(data, "rm", "coinbase", "BTC-USD")
        assert (asked.returncode, asked.stdout, asked.stderr) == (0, "coinbase: nothing\n", "")
    finally:
        running.__exit__(None, None, None)


def test_a_pipe_among_the_requests_is_none_and_one_in_the_place_of_an_answer_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "feeds/changes"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "0.asked")
    asked = Asked(tmp_path, Change(venue="binance", add=("BTCUSDT",)))
    changes = []
    for taken in take_all(tmp_path):
        changes.append(taken.change)
        taken.answer(Answer(error="" if taken.change else "no request"))
    assert changes == [None, Change(venue="binance", add=("BTCUSDT",))]
    assert asked.answer() == Answer()
    _, answered = sorted(folder.glob("*.answered"))
    answered.unlink()
    os.mkfifo(answered)
    with pytest.raises(OperationError, match=f"{re.escape(str(answered))}: a named pipe stands"):
        asked.answer()
    asked.withdraw()
    assert [path.name for path in folder.iterdir()] == ["0.answered"]


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

"""The node's own venue as a user meets it: commands, the start screen, status, metrics, backup, another process over shared memory."""

import json
import os
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

import tidebook as tb
from tests.node.test_live import get, node, wait_for
from tests.node.test_live import rings as rings
from tidebook.cli import boundary, build_app
from tidebook.errors import OrderEntryError
from tidebook.venue import COMMAND, ExecutionKind, Reason, Side, Verdict, cancel, place

OPTIONS = ("--venues", "kraken", "--rate", "1")


def tidebook(*words: str, data: Path, code: int = 0) -> Any:
    """What a command prints as JSON."""
    command = [sys.executable, "-m", "tidebook", *words, "--data", str(data), "--json"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=data.parent)
    assert shown.returncode == code, shown.stderr
    return json.loads(shown.stdout) if code == 0 else shown.stderr


def metrics(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def end_audit_process_and_wait_for_the_next(data: Path) -> None:
    def audit() -> dict[str, Any]:
        found: dict[str, Any] = tidebook("venue", "status", data=data)["audit"]
        return found

    wait_for(lambda: audit()["state"] == "following")
    ended = audit()["process"]
    os.kill(ended, signal.SIGKILL)
    wait_for(lambda: audit()["process"] not in (None, ended) and audit()["state"] == "following")


def test_a_newcomer_has_an_order_by_two_commands_and_finds_it_after_a_restart_with_other_threads(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    with node(data, rings, *OPTIONS) as (process, address):
        begun = tidebook("venue", "init", data=data)
        assert begun["accounts"] == ["alice", "bob"]
        assert tidebook("venue", "init", data=data)["done"] == []
        resting = tidebook("venue", "place", "alice", "BTC-USD.LOCAL", "buy", "0.1", "60000", data=data)["order"]
        assert (resting["state"], resting["price"]) == ("open", "60000.00")
        assert tidebook("venue", "orders", "alice", data=data)["orders"] == [resting]
        taken = tidebook("venue", "place", "bob", "BTC-USD.LOCAL", "sell", "0.04", data=data)["order"]
        assert (taken["type"], taken["state"], taken["average_price"]) == ("market", "filled", "60000")
        tidebook("venue", "place", "bob", "BTC-USD.LOCAL", "sell", "0.01", "60100", data=data)
        bought = tidebook("venue", "place", "alice", "BTC-USD.LOCAL", "buy", "0.01", data=data)["order"]
        assert (bought["type"], bought["state"], bought["average_price"]) == ("market", "filled", "60100")
        status = tidebook("venue", "status", data=data)
        assert (status["open_orders"], status["instruments"], status["accounts"]) == (1, 1, 2)
        alice = tidebook("venue", "account", "alice", data=data)
        assert (alice["margin"], alice["margin_calls"], status["margin_calls"]) == (False, [], 0)
        assert [row["asset"] for row in alice["balances"]] == ["BTC", "USD"]
        assert [row["position"] for row in alice["positions"]] == ["0.05"]
        assert "no account 'nobody'" in tidebook("venue", "account", "nobody", data=data, code=2)
        assert status["audit"]["state"] in ("starting", "following")
        assert tidebook("status", data=data)["ok"] is True
        wait_for(lambda: metrics(address)["tidebook_venue_open_orders"] == 1)
        assert metrics(address)["tidebook_venue_commands_total"] == status["sequence"]
        wait_for(lambda: metrics(address)["tidebook_audit_commands_total"] == status["sequence"])
        gauges = metrics(address)
        assert (gauges["tidebook_audit_waiting"], gauges["tidebook_audit_failed"]) == (0, 0)
        life = tidebook("audit", "order", str(resting["order_id"]), data=data)
        assert "fill" in json.dumps(life)
        (orders,) = [channel for channel in get(address, "status")["channels"] if channel["channel"] == "orders"]
        assert (orders["durable"], orders["failure"], orders["storing"]) == (status["sequence"], None, "none")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    found = {channel["channel"]: channel for channel in tidebook("status", "--verify", data=data)["channels"]}
    assert found["orders"]["durable"] == status["sequence"]
    assert found["orders"]["closed"] is True
    monkeypatch.setenv("TIDEBOOK_VENUE_SHARDS", "3")
    monkeypatch.setenv("TIDEBOOK_TOPOLOGY_AUDIT", "process")
    with node(data, rings, *OPTIONS) as (_, address):
        after = tidebook("venue", "status", data=data)
        assert (after["engine"]["layout"], after["engine"]["shards"], after["engine"]["threads"]) == ("split", 3, 5)
        assert (after["sequence"], after["state_hash"]) == (status["sequence"], status["state_hash"])
        (order,) = tidebook("venue", "orders", "alice", data=data)["orders"]
        assert (order["order_id"], order["filled"]) == (resting["order_id"], "0.04000")
        assert tidebook("venue", "cancel", "alice", "--all", data=data)["cancelled"] == 1
        assert "or say --all" in tidebook("venue", "kill", data=data, code=2)
        assert tidebook("venue", "limits", "alice", data=data) == {"limits": []}
        killed = tidebook("venue", "kill", "--all", data=data)
        assert killed["cancelled"] == 0
        refused = tidebook("venue", "place", "alice", "BTC-USD.LOCAL", "buy", "1", "1", data=data, code=2)
        assert "refused by risk: killed" in refused
        end_audit_process_and_wait_for_the_next(data)
        tidebook("venue", "kill", "--all", "--revive", data=data)
        tidebook("venue", "place", "alice", "BTC-USD.LOCAL", "buy", "1", "1", data=data)
    assert "no node runs on" in tidebook("venue", "status", data=data, code=1)


def test_an_operator_lists_opens_and_pays_in_and_a_trader_has_every_type_of_order_by_command(
    tmp_path: Path, rings: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"

    def run(*words: str, code: int = 0) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            boundary.run(build_app(), ["venue", *words, "--data", str(data)])
        shown = capfd.readouterr()
        assert ended.value.code == code, shown.err
        return shown.err if code else shown.out

    def venue(*words: str) -> Any:
        return json.loads(run(*words, "--json"))

    def placed(*words: str) -> Any:
        order = venue("place", "carol", "ETH-USD.LOCAL", "sell", *words)["order"]
        return order["type"], order["state"], order

    with node(data, rings, *OPTIONS):
        bounds = ("--reference-price", "2000", "--band-ppm", "100000", "--maker-ppm", "-50", "--taker-ppm", "300")
        venue("list-instrument", "ETH-USD.LOCAL", "ETH", "USD", "--tick", "0.05", "--lot", "0.01", *bounds)
        venue("session", "ETH-USD.LOCAL", "continuous")
        for account in ("carol", "dave"):
            venue("open-account", account)
            venue("transfer", account, "USD", "100000")
            venue("transfer", account, "ETH", "25")
        venue("transfer", "carol", "ETH", "-5")
        assert placed("1", "--trigger-price", "1950")[:2] == ("stop", "waiting")
        assert placed("1", "1940", "--trigger-price", "1950")[:2] == ("stop_limit", "waiting")
        assert placed("1", "--offset", "5")[:2] == ("trailing_stop", "waiting")
        assert placed("1", "--peg", "primary", "--offset", "1")[:2] == ("pegged", "open")
        *_, iceberg = placed(
            "2", "2010", "--display-size", "0.5", "--expires", "2100-01-01T00:00", "--client-order-id", "ice"
        )
        assert (iceberg["display_size"], iceberg["expire_ts"], iceberg["time_in_force"]) == (
            "0.50",
            4_102_444_800_000_000,
            "gtd",
        )
        pair = venue("place-pair", "carol", "ETH-USD.LOCAL", "sell", "1", "2100", "1900")
        assert pair["linked"]["linked_order_id"] == pair["order"]["order_id"]
        moved = venue("replace", "carol", "--client-order-id", "ice", "--price", "2005")["order"]
        assert (moved["order_id"], moved["price"], moved["size"]) == (iceberg["order_id"], "2005.00", "2.00")
        assert "nothing is to be changed" in run("replace", "carol", str(iceberg["order_id"]), code=2)
        bought = venue("place", "dave", "ETH-USD.LOCAL", "buy", "--amount", "100.25")["order"]
        assert (bought["filled"], bought["average_price"]) == ("0.05", "2005")
        (fill,) = venue("fills", "dave")["fills"]
        assert (fill["order_id"], fill["price"], fill["size"]) == (bought["order_id"], "2005.00", "0.05")
        (position,) = venue("positions", "carol")["positions"]
        assert (position["position"], position["instrument"]) == ("-0.05", "ETH-USD.LOCAL")
        (carol,) = (one for one in venue("accounts")["accounts"] if one["account"] == "carol")
        assert [of["balance"] for of in carol["balances"] if of["asset"] == "ETH"] == ["19.95"]
        monkeypatch.setenv("COLUMNS", "200")
        shown = run("orders", "carol")
    (stop,) = (line for line in shown.splitlines() if " stop " in line and "or " not in line)
    assert "trigger 1950.00" in stop
    assert "shows 0.50, until 2100-01-01 00:00:00.000" in shown


def test_a_node_whose_engines_take_turns_in_one_thread_trades_and_tells_market_data(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    monkeypatch.setenv("TIDEBOOK_TOPOLOGY_VENUE", "together")
    with node(data, rings, *OPTIONS) as (process, address):
        tidebook("venue", "init", data=data)
        engine = tidebook("venue", "status", data=data)["engine"]
        assert (engine["layout"], engine["threads"]) == ("together", 1)
        threads = {path.read_text().strip() for path in Path(f"/proc/{process.pid}/task").glob("*/comm")}
        assert "engines" in threads
        assert not threads & {"venue", "venue-risk", "md-engine"}
        tidebook("venue", "place", "alice", "BTC-USD.LOCAL", "buy", "0.05", "60000", data=data)
        taken = tidebook("venue", "place", "bob", "BTC-USD.LOCAL", "sell", "0.04", data=data)["order"]
        assert taken["state"] == "filled"
        wait_for(lambda: [trade["size"] for trade in get(address, "trades?instrument=BTC-USD.LOCAL")] == ["0.04000"])
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def test_a_start_tells_what_it_found_of_orders(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    command = [sys.executable, "-m", "tidebook", "run", "--data", str(data), "--port", "0", "--json", *OPTIONS]
    environment = os.environ | {"TIDEBOOK_RINGS": str(rings)}
    with node(data, rings, *OPTIONS):
        tidebook("venue", "init", data=data)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as process:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    recovered = {channel["channel"]: channel for channel in started["recovery"]["channels"]}
    # Listed, traded, two accounts, three transfers; the node was killed.
    assert (recovered["orders"]["kept_first"], recovered["orders"]["kept_last"]) == (1, 7)
    assert (recovered["orders"]["closed"], recovered["orders"]["refused"]) == (False, "")


def test_a_damaged_journal_of_orders_is_refused_by_name(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    with node(data, rings, *OPTIONS) as (process, _):
        tidebook("venue", "init", data=data)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    (segment,) = (data / "journal/orders").glob("*.segment")
    content = bytearray(segment.read_bytes())
    content[content.index((1_000_000).to_bytes(8, "little"))] ^= 1  # what alice was given
    segment.write_bytes(content)
    command = [sys.executable, "-m", "tidebook", "run", "--data", str(data), "--port", "0", "--json", *OPTIONS]
    environment = os.environ | {"TIDEBOOK_RINGS": str(rings)}
    refused = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert refused.returncode == 1
    assert f"tidebook journal repair {data / 'journal/orders'}" in refused.stderr
    found = {channel["channel"]: channel for channel in json.loads(refused.stdout)["recovery"]["channels"]}
    assert "segment" in found["orders"]["refused_facts"]
    assert found["feed.kraken"]["refused"] == ""


def test_without_it_a_node_has_no_venue_and_says_so(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    monkeypatch.setenv("TIDEBOOK_VENUE_ENABLED", "false")
    with node(data, rings, *OPTIONS):
        assert "this node has no venue" in tidebook("venue", "status", data=data, code=1)
        assert not (data / "journal/orders").exists()
        with pytest.raises(OrderEntryError, match="has no venue here"):
            tb.connect(directory=rings / "default")


def test_a_backup_has_orders_and_names_and_goes_on_where_it_was_taken(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    with node(data, rings, *OPTIONS):
        tidebook("venue", "init", data=data)
        resting = tidebook("venue", "place", "alice", "BTC-USD.LOCAL", "buy", "0.1", "60000", data=data)["order"]
        backup = [sys.executable, "-m", "tidebook", "backup", "backups", "--data", str(data)]
        subprocess.run(backup, check=True, cwd=tmp_path, capture_output=True)
        tidebook("venue", "place", "alice", "BTC-USD.LOCAL", "buy", "0.1", "50000", data=data)
    restored = tmp_path / "restored"
    restore = [sys.executable, "-m", "tidebook", "restore", "backups", "--data", str(restored)]
    subprocess.run(restore, check=True, cwd=tmp_path, capture_output=True)
    drill = [sys.executable, "-m", "tidebook", "drill", "--data", str(data)]
    shown = subprocess.run(drill, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    with node(restored, other, *OPTIONS):
        assert tidebook("venue", "orders", "alice", data=restored)["orders"] == [resting]


def test_another_process_trades_over_shared_memory(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    with node(data, rings, *OPTIONS) as (_, address):
        tidebook("venue", "init", data=data)
        with tb.connect(directory=rings / "default") as alice, tb.connect(directory=rings / "default") as bob:
            resting = alice.submit(
                [place(1, 1, Side.BUY, 6_000_000, size, client_order_id=f"c{size}") for size in (1_000, 2_000, 3_000)]
            )
            assert resting.accepted.tolist() == [True] * 3
            assert resting.commands.dtype == COMMAND
            assert (resting.order_ids == 2 * resting.sequences).all()
            assert [order["order_id"] for order in get(address, "accounts/alice/orders")] == resting.order_ids.tolist()
            taken = bob.place(2, 1, Side.SELL, 6_000_000, 1_500, wait="memory")
            assert taken.accepted.all()
            kinds: list[int] = []
            while kinds.count(ExecutionKind.FILL) < 2:
                happened = bob.executions(timeout=10)
                assert not isinstance(happened, tb.Gap)
                kinds += happened["kind"].tolist()
            again = alice.place(1, 1, Side.BUY, 6_000_000, 1_000, client_order_id="c1000")
            assert (again.commands["verdict"][0], again.commands["reason"][0]) == (
                Verdict.REJECTED,
                Reason.DUPLICATE_CLIENT_ORDER_ID,
            )
            gone = alice.submit([cancel(1, 1, int(order_id)) for order_id in resting.order_ids])
            assert gone.accepted.tolist() == [False, True, True]
            assert gone.order_ids.tolist() == [0, 0, 0]
        assert get(address, "accounts/alice/orders") == []
        # The gateway knows them as its own: the same request is answered with the order that came the other way.
        shown = tidebook(
            *("venue", "place", "alice", "BTC-USD.LOCAL", "buy", "0.03", "60000", "--client-order-id", "c3000"),
            data=data,
            code=2,
        )
        assert "client_order_id: it is that of an order which asks for something else" in shown
    # What a stopped venue is sent would be carried out by its next start.
    with pytest.raises(OrderEntryError, match="does not run: what is sent now might be carried out by its next start"):
        tb.connect(directory=rings / "default")


def test_the_venues_instruments_are_market_data_like_any_others_also_after_a_kill(tmp_path: Path, rings: Path) -> None:
    data, btc = tmp_path / "data", "BTC-USD.LOCAL"

    def of(address: str, path: str, **query: str) -> Any:
        return get(address, f"{path}?" + urllib.parse.urlencode({"instrument": btc, **query}))

    def book(address: str) -> tuple[int, list[list[str]], list[list[str]]]:
        found = of(address, "depth")
        assert (found["usable"], found["whole"]) == (True, True)
        return found["last_update_id"], found["bids"], found["asks"]

    with node(data, rings, *OPTIONS) as (process, address):
        tidebook("venue", "init", data=data)
        for account, side, size, price in [
            ("alice", "buy", "0.1", "60000"),
            ("alice", "buy", "0.2", "59990.5"),
            ("bob", "sell", "0.5", "60010"),
        ]:
            sent = tidebook("venue", "place", account, btc, side, size, price, data=data)
        wait_for(lambda: book(address)[0] == sent["sequence"])
        expected = [["60000.00", "0.10000"], ["59990.50", "0.20000"]], [["60010.00", "0.50000"]]
        assert book(address)[1:] == expected
        with connect(f"ws{address.removeprefix('http')}/ws/v1") as socket:
            streams = [f"{btc.lower()}@trade", f"{btc.lower()}@depth20"]
            socket.send(json.dumps({"method": "SUBSCRIBE", "params": streams, "id": 1}))
            taken = tidebook("venue", "place", "bob", btc, "sell", "0.04", data=data)
            heard: dict[str, Any] = {}
            while heard.get(streams[1], {}).get("last_update_id") != taken["sequence"] or not heard.get(streams[0]):
                frame = json.loads(socket.recv(timeout=30))
                if frame.get("stream") in streams:
                    heard[frame["stream"]] = frame["data"]
        assert heard[streams[1]]["bids"][0] == ["60000.00", "0.06000"]
        (trade,) = of(address, "trades")
        assert (trade["id"], trade["price"], trade["size"], trade["side"]) == (1, "60000.00", "0.04000", "sell")
        (bar,) = of(address, "klines", timeframe="1d")
        assert (bar["open"], bar["volume"], bar["trade_count"], bar["closed"]) == ("60000.00", "0.04000", 1, False)
        top = of(address, "bookTicker")
        assert (top["bid_price"], top["ask_price"], top["usable"]) == ("60000.00", "60010.00", True)
        (line,) = [line for line in get(address, "tops") if line["instrument"] == btc]
        assert (line["venue"], line["book"], line["last_price"]) == ("local", "usable", "60000.00")
        (definition,) = [found for found in get(address, "instruments") if found["instrument"] == btc]
        assert (definition["tick"], definition["lot"]) == ("0.01", "0.00001")
        assert of(address, "session")["session"] == "continuous"
        # A venue that nobody asks for anything is not silent.
        (feed,) = [feed for feed in get(address, "feeds") if feed["venue"] == "local"]
        assert (feed["state"], feed["age_us"], feed["books_usable"]) == ("live", 0, 1)
        assert of(address, "outages") == []
        with tb.open_consumer("md.trades", directory=rings / "default", start="earliest") as consumer:
            batch = consumer.poll_batch()
            assert isinstance(batch, tb.Batch)
            with batch:
                own = batch.array[batch.array["instrument_id"] >> 24 == 12]
                assert (own["price"].tolist(), own["size"].tolist()) == ([6_000_000], [4_000])
                assert own["source_sequence"].tolist() == [taken["sequence"]]
        process.kill()
        process.wait()
    with node(data, rings, *OPTIONS) as (_, address):
        wait_for(lambda: book(address)[0] == taken["sequence"])
        assert book(address) == (taken["sequence"], [["60000.00", "0.06000"], expected[0][1]], expected[1])
        assert [trade["id"] for trade in of(address, "trades")] == [1]
    for ring in (rings / "default").iterdir():
        ring.unlink()
    with node(data, rings, *OPTIONS) as (_, address):
        wait_for(lambda: book(address)[0] == taken["sequence"])
        assert book(address)[1:] == ([["60000.00", "0.06000"], expected[0][1]], expected[1])
        assert of(address, "session")["session"] == "continuous"
        tidebook("venue", "cancel", "alice", "--all", data=data)
        wait_for(lambda: book(address)[1:] == ([], expected[1]))

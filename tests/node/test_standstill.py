"""A venue that is there and judges nothing, or whose rings have lost their names: it is told, orders are refused, and it goes on or ends."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import tidebook as tb
from tests.gateway.test_kills import BTC, OPTIONS, PATIENCE_S
from tests.node.test_live import get, node, wait_for
from tests.node.test_live import rings as rings
from tests.node.test_venue import metrics

ORDER = {"instrument": "BTC-USD.LOCAL", "side": "buy", "size": "1", "price": "100"}


@pytest.fixture(autouse=True)
def with_venue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEBOOK_VENUE_ENABLED", "true")
    monkeypatch.setenv("TIDEBOOK_VENUE_ANSWER_TIMEOUT_S", "4")


@contextmanager
def begun(address: str) -> Iterator[httpx.Client]:
    """Who asks a venue where BTC-USD.LOCAL is traded and alice has dollars."""
    with httpx.Client(base_url=f"{address}/api/v1/", timeout=PATIENCE_S) as client:
        begin(client)
        yield client


def begin(client: httpx.Client) -> None:
    for path, body in (
        ("instruments", BTC),
        ("instruments/BTC-USD.LOCAL/session", {"session": "continuous"}),
        ("accounts", {"account": "alice"}),
        ("accounts/alice/transfers", {"asset": "USD", "amount": "1000000"}),
    ):
        assert client.post(f"operator/{path}", json=body).status_code == 200


def placed(client: httpx.Client, name: str) -> httpx.Response:
    return client.post("accounts/alice/orders", json=ORDER | {"client_order_id": name})


def away(address: str) -> str | None:
    found: str | None = get(address, "venue")["engine"]["away"]
    return found


def assert_told(client: httpx.Client, address: str, words: str) -> None:
    """Whoever asks is told these words, and an order is refused with them."""
    assert words in str(away(address))
    ready = client.get("health/ready")
    assert ready.status_code == 503
    assert words in ready.json()["detail"]
    (venue,) = [found for found in get(address, "status")["engines"] if found["engine"] == "venue"]
    assert words in venue["away"]
    assert metrics(address)["tidebook_venue_away"] == 1
    refused = placed(client, "refused")
    assert refused.status_code == 503, refused.text
    assert words in refused.text
    assert "nothing was sent, try again" in refused.text


def assert_goes_on(client: httpx.Client, address: str) -> None:
    wait_for(lambda: away(address) is None)
    assert client.get("health/ready").status_code == 200
    assert metrics(address)["tidebook_venue_away"] == 0
    assert placed(client, "refused").json()["repeated"] is False


def said(process: Any, words: str) -> int:
    """How many lines of the log have these words, once the node has ended."""
    time.sleep(1.0)  # what has ended is told at the next look, of four a second
    process.send_signal(signal.SIGTERM)
    text: str = process.communicate(timeout=PATIENCE_S)[1]
    return sum(words in line for line in text.splitlines())


@pytest.mark.parametrize("topology", ["fused", "process"])
def test_a_claim_that_is_kept_is_told_with_its_process_and_a_kill_is_carried_out_behind_it(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch, topology: str
) -> None:
    """Method: another program claims a message of `orders.in` and keeps it, while an order and the kill switch come behind it."""
    monkeypatch.setenv("TIDEBOOK_TOPOLOGY_VENUE", topology)
    with node(tmp_path / "data", rings, *OPTIONS) as (process, address), begun(address) as client:
        killed: list[httpx.Response] = []
        with tb.open_producer("orders.in", directory=rings / "default") as producer, producer.claim(128) as claim:
            claim.buffer[:] = bytes(128)
            wait_for(lambda: away(address) is not None)
            assert_told(client, address, f"process {os.getpid()} has claimed message")
            kill = threading.Thread(
                target=lambda: killed.append(client.post("operator/kill", json={"account": "alice", "killed": True}))
            )
            kill.start()
            kill.join(PATIENCE_S)
            assert killed[0].status_code == 504
            assert f"process {os.getpid()} has claimed message" in killed[0].text
        wait_for(lambda: away(address) is None)
        refused = placed(client, "behind")
        assert (refused.status_code, refused.json()["code"]) == (422, "rejected_killed"), refused.text
        assert client.post("operator/kill", json={"account": "alice", "killed": False}).status_code == 200
        assert_goes_on(client, address)
        assert said(process, "has claimed message") == 1


@pytest.mark.parametrize("with_orders", [False, True])
def test_an_engine_whose_process_is_stopped_is_told_whether_commands_wait_or_not(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch, with_orders: bool
) -> None:
    monkeypatch.setenv("TIDEBOOK_TOPOLOGY_VENUE", "process")
    with node(tmp_path / "data", rings, *OPTIONS) as (process, address), begun(address) as client:
        engine = get(address, "venue")["engine"]["process"]
        os.kill(engine, signal.SIGSTOP)
        try:
            if with_orders:
                waiting = placed(client, "waits")
                assert waiting.status_code == 504
                assert "1 of orders.in wait" in waiting.text or "says nothing" in waiting.text
            wait_for(lambda: f"says nothing: its process {engine}" in str(away(address)))
            assert_told(client, address, f"says nothing: its process {engine} is stopped")
            assert get(address, "venue")["engine"]["process"] == engine
            time.sleep(1.0)  # the node, which tells it in its log, looks four times a second
        finally:
            os.kill(engine, signal.SIGCONT)
        assert_goes_on(client, address)
        if with_orders:
            assert placed(client, "waits").json()["repeated"] is True
        # Where the machine is busy it may have been silent once more.
        assert said(process, "the venue stands still no more") >= 1


def test_an_engine_whose_rings_have_lost_their_names_is_not_started_again(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the rings' files are removed, which nobody notices, then the engine is killed; two markets would be one too many."""
    monkeypatch.setenv("TIDEBOOK_TOPOLOGY_VENUE", "process")
    with node(tmp_path / "data", rings, *OPTIONS) as (process, address):
        with begun(address) as client:
            for name in ("orders.in", "orders", "executions", "risk"):
                (rings / "default" / f"{name}.ring").unlink()
            before = placed(client, "before").json()["order"]["order_id"]
            os.kill(get(address, "venue")["engine"]["process"], signal.SIGKILL)
        _, told = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1
        assert f"{rings / 'default' / 'orders.in.ring'} was removed, while the node and who trades have it open" in told
        assert not (rings / "default" / "orders.in.ring").exists()
    with (
        node(tmp_path / "data", rings, *OPTIONS) as (_, address),
        httpx.Client(base_url=f"{address}/api/v1/", timeout=PATIENCE_S) as client,
    ):
        again = placed(client, "before").json()
        assert (again["repeated"], again["order"]["order_id"]) == (True, before)

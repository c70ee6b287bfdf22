"""A node killed at random under orders: gateway, risk, matching, market data and audit go on as if nothing had been.

Whoever was answered finds his order once, and whoever was not may ask again. A replay gives the state that the gateway tells; executions and
trades were published once, as the replay makes them; the book of `md.*` is the venue's; the audit trail is what the journal gives. In the
second run shared memory is lost with each process, as when the machine goes, and the disk is slow (by strace, where that can be had), so that much
waits for it at each kill: what was answered as durable is there all the same.
"""

import asyncio
import os
import random
import secrets
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

import tidebook as tb
from tests.node.test_live import node, wait_for
from tests.node.test_venue import metrics
from tests.persistence.power_runs import cannot_inject
from tidebook._core import JournalReader, schemas
from tidebook.audit import open_database
from tidebook.audit.rebuild import rebuild
from tidebook.venue import LAYOUTS, CommandKind, ExecutionKind, Venue, Verdict, client_order_text
from tidebook.venue.layouts import as_commands, commands

WORKERS = 8
OPTIONS = ("--venues", "kraken", "--rate", "1", "--no-verify")
BTC = {"instrument": "BTC-USD.LOCAL", "base": "BTC", "quote": "USD", "tick": "0.01", "lot": "0.001"}
BOOK = 12 << 24
"""Instrument id of BTC-USD.LOCAL on `md.*`."""
REPEATED_MAX = 5_000
PATIENCE_S = 60
_STRACE = ("strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null")
SLOW_DISK = (*_STRACE, "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=100000")


@dataclass
class Asked:
    """Requests by their client's id, and the order that each was answered with."""

    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    """Whose answer never came: to be asked again."""
    refused: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    _wanted: int = 0
    _enough: asyncio.Event = field(default_factory=asyncio.Event)

    def another(self, random_: random.Random) -> str:
        """A new order."""
        name = f"{len(self.bodies)}"
        self.bodies[name] = {
            "account": random_.choice(("alice", "bob")),
            "instrument": "BTC-USD.LOCAL",
            "side": random_.choice(("buy", "sell")),
            "size": f"{random_.randint(1, 50) / 1000}",
            "price": f"{random_.randint(90, 110)}",
            "time_in_force": random_.choice(("gtc", "gtc", "ioc", "fok")),
            "client_order_id": name,
        }
        return name

    @property
    def told(self) -> int:
        """Requests that were answered so far."""
        return len(self.answered) + len(self.refused)

    def will_be_told(self, count: int) -> asyncio.Event:
        """Set when as many are answered."""
        self._wanted, self._enough = count, asyncio.Event()
        return self._enough

    def note(self) -> None:
        """A request was answered."""
        if self.told >= self._wanted:
            self._enough.set()


async def begin(client: httpx.AsyncClient, waits: dict[str, str]) -> None:
    steps: list[tuple[str, dict[str, Any]]] = [
        ("instruments", BTC),
        ("instruments/BTC-USD.LOCAL/session", {"session": "continuous"}),
    ]
    steps += [("accounts", {"account": account, "wait": wait}) for account, wait in waits.items()]
    steps += [
        (f"accounts/{account}/transfers", {"asset": asset, "amount": "1000000"})
        for account in waits
        for asset in ("USD", "BTC")
    ]
    for path, body in steps:
        answer = await client.post(f"/api/v1/operator/{path}", json=body)
        assert answer.status_code == 200, answer.text


async def place(client: httpx.AsyncClient, asked: Asked, name: str) -> httpx.Response:
    body = dict(asked.bodies[name])
    return await client.post(f"/api/v1/accounts/{body.pop('account')}/orders", json=body)


async def worker(client: httpx.AsyncClient, asked: Asked, random_: random.Random) -> None:
    """Places orders, new ones and those whose answer was lost, until the node is gone."""
    while True:
        if asked.lost:
            name = asked.lost.pop()
            asked.counts["again"] += 1
        else:
            name = asked.another(random_)
        try:
            answer = await place(client, asked, name)
        except httpx.TransportError:
            asked.lost.add(name)
            return
        found = answer.json()
        if answer.status_code == 200:
            asked.answered[name] = found["order"]["order_id"]
            asked.counts["repeated"] += found["repeated"]
        elif answer.status_code == 422:
            assert found["code"].startswith("rejected_"), answer.text
            asked.refused.add(name)
        else:
            # It stops, which a kill in the middle of it may look like: nothing is said of this one.
            assert answer.status_code in (503, 504), answer.text
            asked.lost.add(name)
            return
        asked.note()


def placed(journal: Path) -> dict[tuple[int, str], list[int]]:
    """Order ids of accepted places on `orders`, by account and client's id."""
    found: dict[tuple[int, str], list[int]] = {}
    reader = JournalReader(journal)
    while (read := reader.next()) is not None:
        first, payloads = read
        batch = commands(len(payloads))
        data = b"".join(payloads[index] for index in range(len(payloads)))
        batch.view("u1")[:] = memoryview(data)
        rows = as_commands(batch).view(LAYOUTS[CommandKind.PLACE])
        for index, row in enumerate(rows):
            if row["kind"] == CommandKind.PLACE and row["verdict"] == Verdict.ACCEPTED:
                key = (int(row["account"]), client_order_text(row["client_order_id"]) or "")
                found.setdefault(key, []).append(2 * (first + index))
    return found


def held(channel: str, rings: Path) -> np.ndarray:
    """All records that a ring holds of instruments of the venue, or of any."""
    found: list[np.ndarray] = []
    with tb.open_consumer(channel, directory=rings, start="earliest", policy="overwrite") as consumer:
        while (batch := consumer.poll_batch(1 << 16)) is not None:
            if isinstance(batch, tb.Gap):
                found.clear()
                continue
            with batch:
                found.append(
                    batch.array[batch.array["instrument_id"] >> 24 == 12 if channel[:3] == "md." else ...].copy()
                )
    return np.concatenate([np.zeros(0, schemas()[channel.removeprefix("md.")].dtype()), *found])


def newest_levels(rings: Path) -> list[list[tuple[int, int]]]:
    """Bids and asks of the newest image of the book."""
    images = held("md.book", rings)
    image = images[images["instrument_id"] == BOOK][-1]
    assert image["usable"] == 1
    return [
        [
            (price, size)
            for price, size in zip(image[f"{side}_price"].tolist(), image[f"{side}_size"].tolist(), strict=True)
            if size
        ]
        for side in ("bid", "ask")
    ]


TRADE = ["source_sequence", "trade_id", "price", "size", "side"]


def newest_trades(rings: Path) -> list[Any]:
    found: list[Any] = held("md.trades", rings)[TRADE].tolist()
    return found


async def assert_trades(rings: Path, executions: np.ndarray, *, since: int, rings_lost: bool) -> int:
    """`md.trades` has the fills, each once and in order: all that its ring has room for, or where rings were lost at least those of
    commands behind `since`, of which there are as many as this gives.
    """
    fills = executions[executions["kind"] == ExecutionKind.FILL]
    own = int(np.count_nonzero(fills["source_sequence"] > since))
    needed = own if rings_lost else min(len(fills), 10_000)
    expected = fills[TRADE].tolist()

    def are_there() -> bool:
        trades = newest_trades(rings)
        return len(trades) >= needed and trades == expected[len(expected) - len(trades) :]

    await asyncio.to_thread(wait_for, are_there)
    return own


async def cross(client: httpx.AsyncClient) -> int:
    """Takes all orders away and has two trade; the place of the last command."""
    for account in ("alice", "bob"):
        answer = await client.delete(f"/api/v1/accounts/{account}/orders?wait=durable")
        assert answer.status_code == 200, answer.text
    found: dict[str, Any] = {}
    for account, side in (("alice", "buy"), ("bob", "sell")):
        body = {"instrument": "BTC-USD.LOCAL", "side": side, "size": "0.01", "price": "100"}
        answer = await client.post(f"/api/v1/accounts/{account}/orders?wait=durable", json=body)
        assert answer.status_code == 200, answer.text
        found = answer.json()
    assert found["order"]["state"] == "filled"
    sequence: int = found["sequence"]
    return sequence


async def assert_one_history(rings: Path, journal: Path, told: dict[str, Any], *, since: int, rings_lost: bool) -> None:
    """What a replay makes of the journal is what the gateway, `executions` and `md.*` say."""
    replica = Venue.open(journal, sequence=0)
    executions = replica.catch_up(told["sequence"]).executions
    assert replica.sequence == told["sequence"]
    assert f"{replica.state_hash():016x}" == told["state_hash"]
    rechecked = Venue.open(journal, sequence=told["sequence"], recheck=True)
    assert rechecked.state_hash() == replica.state_hash()

    published = held("executions", rings)
    assert published["sequence"].tolist() == list(range(int(published["sequence"][0]), len(executions) + 1))
    assert published.tobytes() == executions[-len(published) :].tobytes()

    prices, sizes = replica.depth(1, 25)
    expected = [
        [(price, size) for price, size in zip(prices[row].tolist(), sizes[row].tolist(), strict=True) if size]
        for row in (0, 1)
    ]
    await asyncio.to_thread(wait_for, lambda: newest_levels(rings) == expected)
    await assert_trades(rings, executions, since=since, rings_lost=rings_lost)


def kill(process: subprocess.Popen[str], prefix: tuple[str, ...]) -> None:
    """The node, and not what slows its disk, which ends with it."""
    if prefix:
        (tracee,) = psutil.Process(process.pid).children()
        tracee.kill()
    else:
        process.kill()
    process.wait(timeout=PATIENCE_S)


async def one_life(client: httpx.AsyncClient, asked: Asked, random_: random.Random, end: Callable[[], None]) -> None:
    """Orders until some were answered, and from then on for a random while; killed under them."""
    enough = asked.will_be_told(asked.told + random_.randint(10, 40))
    workers = [asyncio.create_task(worker(client, asked, random_)) for _ in range(WORKERS)]
    async with asyncio.timeout(PATIENCE_S):
        await enough.wait()
    await asyncio.sleep(random_.uniform(0, 0.2))  # the moment of the kill, not a wait for something
    end()
    await asyncio.gather(*workers)


def audited(address: str) -> float:
    return metrics(address)["tidebook_audit_commands_total"]


async def lives(place_: Path, count: int, seed: int, *, lose_rings: bool = False) -> Asked:
    data, rings = place_ / "data", place_ / "rings"
    journal = data / "journal/orders"
    rings.mkdir(mode=0o700)
    random_ = random.Random(seed)
    asked = Asked()
    prefix: tuple[str, ...] = ()
    if lose_rings:
        reason = cannot_inject()
        prefix = SLOW_DISK if reason is None else ()
        print(f"disk: {'slow' if prefix else f'as it is, {reason}'}")
    for life in range(count):
        with node(data, rings, *OPTIONS, prefix=prefix) as (process, address):
            async with httpx.AsyncClient(base_url=address, timeout=30) as client:
                if life == 0:
                    # What was answered at memory may go with it.
                    await begin(client, {"alice": "durable" if lose_rings else "memory", "bob": "durable"})
                await one_life(client, asked, random_, lambda: kill(process, prefix))
        if lose_rings:
            for ring in (rings / "default").iterdir():
                ring.unlink()
    with node(data, rings, *OPTIONS) as (process, address):
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            begun = (await client.get("/api/v1/venue")).json()["sequence"]
            # What was not answered, and some more, so that everybody has something to say in this life too.
            for name in [*sorted(asked.lost), *(asked.another(random_) for _ in range(WORKERS))]:
                answer = await place(client, asked, name)
                assert answer.status_code in (200, 422), answer.text
                if answer.status_code == 200:
                    asked.answered[name] = answer.json()["order"]["order_id"]
            before = (await client.get("/api/v1/venue")).json()
            for name, order_id in list(asked.answered.items())[-REPEATED_MAX:]:
                answer = await place(client, asked, name)
                assert answer.status_code == 200, (name, answer.text)
                found = answer.json()
                assert (found["repeated"], found["order"]["order_id"]) == (True, order_id), name
            after = (await client.get("/api/v1/venue")).json()
            assert (after["sequence"], after["state_hash"]) == (before["sequence"], before["state_hash"])
            # What has rows is on disk.
            await asyncio.to_thread(wait_for, lambda: audited(address) == after["sequence"])
            await assert_one_history(rings / "default", journal, after, since=begun, rings_lost=lose_rings)
            # Something certainly trades in this life too.
            last = await cross(client)
            executions = Venue.open(journal, sequence=0).catch_up(last).executions
            assert await assert_trades(rings / "default", executions, since=begun, rings_lost=lose_rings) > 0
            await asyncio.to_thread(wait_for, lambda: audited(address) == last)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    found_orders = placed(journal)
    numbers = {"alice": 1, "bob": 2}
    assert {key: ids for key, ids in found_orders.items() if len(ids) > 1} == {}, "two orders of one id"
    for name, order_id in asked.answered.items():
        assert found_orders[numbers[asked.bodies[name]["account"]], name] == [order_id], name
    trail = rebuild(open_database("", data), journal)
    assert trail.ok, trail
    assert trail.before is not None
    assert trail.before.sequence == trail.after.sequence == last
    return asked


async def campaign(place_: Path, count: int, say: Callable[[str], None], *, lose_rings: bool = False) -> None:
    seed = int(os.environ.get("TIDEBOOK_SEED", secrets.randbits(32)))
    print(f"TIDEBOOK_SEED={seed}")
    asked = await lives(place_, count, seed, lose_rings=lose_rings)
    what = "orders over kills that lose the rings" if lose_rings else "orders over kills"
    say(f"{what}: {len(asked.bodies)} requests, {len(asked.answered)} answered, {dict(asked.counts)}")
    assert asked.told >= 10 * count


@pytest.mark.timeout(300)
async def test_a_node_killed_under_orders_keeps_every_one_that_was_answered_and_makes_none_twice(
    tmp_path: Path, say: Callable[[str], None]
) -> None:
    await campaign(tmp_path, 3, say)


@pytest.mark.timeout(300)
async def test_a_node_that_loses_its_rings_under_orders_keeps_every_one_that_was_answered_as_durable(
    tmp_path: Path, say: Callable[[str], None]
) -> None:
    await campaign(tmp_path, 2, say, lose_rings=True)


@pytest.mark.soak
@pytest.mark.parametrize("lose_rings", [False, True])
async def test_a_node_killed_a_hundred_times_under_orders(
    tmp_path: Path, say: Callable[[str], None], lose_rings: bool
) -> None:
    await campaign(tmp_path, 100, say, lose_rings=lose_rings)

"""A node killed at random under orders: whoever was answered finds his order once, whoever was not may ask again."""

import asyncio
import os
import random
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.node.test_live import node
from tidebook._core import JournalReader
from tidebook.venue import LAYOUTS, CommandKind, Venue, Verdict, client_order_text
from tidebook.venue.layouts import as_commands, commands

WORKERS = 8
OPTIONS = ("--venues", "kraken", "--rate", "1", "--no-verify")
BTC = {"instrument": "BTC-USD.LOCAL", "base": "BTC", "quote": "USD", "tick": "0.01", "lot": "0.001"}


@dataclass
class Asked:
    """Requests by their client's id, and the order that each was answered with."""

    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    """Whose answer never came: to be asked again."""
    refused: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)


async def begin(client: httpx.AsyncClient) -> None:
    steps: list[tuple[str, dict[str, Any]]] = [
        ("instruments", BTC),
        ("instruments/BTC-USD.LOCAL/session", {"session": "continuous"}),
        ("accounts", {"account": "alice", "wait": "memory"}),
        ("accounts", {"account": "bob", "wait": "durable"}),
    ]
    steps += [
        (f"accounts/{account}/transfers", {"asset": asset, "amount": "1000000"})
        for account in ("alice", "bob")
        for asset in ("USD", "BTC")
    ]
    for path, body in steps:
        answer = await client.post(f"/api/v1/operator/{path}", json=body)
        assert answer.status_code == 200, answer.text


async def worker(client: httpx.AsyncClient, asked: Asked, random_: random.Random) -> None:
    """Places orders, new ones and those whose answer was lost, until the node is gone."""
    while True:
        if asked.lost:
            name = asked.lost.pop()
            asked.counts["again"] += 1
        else:
            name = f"{len(asked.bodies)}"
            asked.bodies[name] = {
                "account": random_.choice(("alice", "bob")),
                "instrument": "BTC-USD.LOCAL",
                "side": random_.choice(("buy", "sell")),
                "size": f"{random_.randint(1, 50) / 1000}",
                "price": f"{random_.randint(90, 110)}",
                "time_in_force": random_.choice(("gtc", "gtc", "ioc", "fok")),
                "client_order_id": name,
            }
        body = dict(asked.bodies[name])
        account = body.pop("account")
        try:
            answer = await client.post(f"/api/v1/accounts/{account}/orders", json=body)
        except httpx.TransportError:
            asked.lost.add(name)
            return
        found = answer.json()
        if answer.status_code == 200:
            asked.answered[name] = found["order"]["order_id"]
            asked.counts["repeated"] += found["repeated"]
        elif answer.status_code == 422:
            asked.refused.add(name)
        else:
            # It stops, which a kill in the middle of it may look like: nothing is said of this one.
            assert answer.status_code in (503, 504), answer.text
            asked.lost.add(name)
            return


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


async def lives(place: Path, count: int, seed: int) -> Asked:
    data, rings = place / "data", place / "rings"
    rings.mkdir(mode=0o700)
    random_ = random.Random(seed)
    asked = Asked()
    for life in range(count):
        with node(data, rings, *OPTIONS) as (process, address):
            async with httpx.AsyncClient(base_url=address, timeout=30) as client:
                if life == 0:
                    await begin(client)
                workers = [asyncio.create_task(worker(client, asked, random_)) for _ in range(WORKERS)]
                await asyncio.sleep(random_.uniform(0.05, 1.0))  # the moment of the kill, not a wait for something
                process.kill()
                await asyncio.gather(*workers)
    numbers = {"alice": 1, "bob": 2}
    with node(data, rings, *OPTIONS) as (_, address):
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            for name in sorted(asked.lost):
                body = dict(asked.bodies[name])
                answer = await client.post(f"/api/v1/accounts/{body.pop('account')}/orders", json=body)
                assert answer.status_code in (200, 422), answer.text
                if answer.status_code == 200:
                    asked.answered[name] = answer.json()["order"]["order_id"]
            before = (await client.get("/api/v1/venue")).json()
            # As many as risk remembers of each account, whatever else the run did.
            for name, order_id in list(asked.answered.items())[-2_000:]:
                body = dict(asked.bodies[name])
                answer = await client.post(f"/api/v1/accounts/{body.pop('account')}/orders", json=body)
                found = answer.json()
                if answer.status_code == 200:
                    assert (found["repeated"], found["order"]["order_id"]) == (True, order_id), name
            after = (await client.get("/api/v1/venue")).json()
            assert (after["sequence"], after["state_hash"]) == (before["sequence"], before["state_hash"])
    found = placed(data / "journal/orders")
    assert {key: ids for key, ids in found.items() if len(ids) > 1} == {}, "two orders of one id"
    for name, order_id in asked.answered.items():
        assert found[numbers[asked.bodies[name]["account"]], name] == [order_id], name
    replayed = Venue.open(data / "journal/orders", recheck=True)
    assert f"{replayed.state_hash():016x}" == after["state_hash"] or replayed.sequence != after["sequence"]
    assert replayed.sequence >= after["sequence"]
    return asked


@pytest.mark.timeout(300)
async def test_a_node_killed_under_orders_keeps_every_one_that_was_answered_and_makes_none_twice(
    tmp_path: Path, say: Callable[[str], None]
) -> None:
    seed = int(os.environ.get("TIDEBOOK_SEED", secrets.randbits(32)))
    print(f"TIDEBOOK_SEED={seed}")
    asked = await lives(tmp_path, 4, seed)
    say(f"orders over kills: {len(asked.bodies)} requests, {len(asked.answered)} answered, {dict(asked.counts)}")
    assert len(asked.answered) > 20


@pytest.mark.soak
async def test_a_node_killed_a_hundred_times_under_orders(tmp_path: Path, say: Callable[[str], None]) -> None:
    seed = int(os.environ.get("TIDEBOOK_SEED", secrets.randbits(32)))
    print(f"TIDEBOOK_SEED={seed}")
    asked = await lives(tmp_path, 100, seed)
    say(f"orders over kills: {len(asked.bodies)} requests, {len(asked.answered)} answered, {dict(asked.counts)}")

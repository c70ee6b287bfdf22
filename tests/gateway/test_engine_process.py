"""The venue's engine in a process of its own, killed alone under orders: the node stays, and goes on with the next one as if nothing had been."""

import asyncio
import os
import random
import secrets
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import tidebook as tb
from tests.gateway.serving import served
from tests.gateway.test_kills import (
    BTC,
    OPTIONS,
    PATIENCE_S,
    Asked,
    assert_one_history,
    audited,
    begin,
    place,
    placed,
)
from tests.node.test_live import get, node, wait_for
from tests.node.test_venue import metrics
from tidebook.audit import open_database
from tidebook.audit.rebuild import rebuild
from tidebook.config.settings import TopologySettings, VenueSettings
from tidebook.errors import JournalDamagedError, OrderEntryError
from tidebook.node.hosted_venue import HostedVenue, VenuePlan
from tidebook.persistence import inspect
from tidebook.venue import Side, Venue, Verdict
from tidebook.venue import place as order

WORKERS = 4
KILLS = 4
CAROL = 3


class Trader:
    """A program that trades over shared memory and asks again for what it was not answered, in a thread of its own."""

    def __init__(self, rings: Path) -> None:
        self.judged: dict[str, tuple[int, int]] = {}
        """Command and verdict by the client's id."""
        self._rings = rings
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._trade)
        self._thread.start()

    def end(self) -> None:
        """Ends behind the order in hand."""
        self._ends.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _trade(self) -> None:
        with tb.connect(directory=self._rings) as connection:
            while not self._ends.is_set():
                name = f"c{len(self.judged)}"
                side = (Side.BUY, Side.SELL)[len(self.judged) % 2]
                found = connection.submit(
                    order(CAROL, 1, side, 9_900 + len(self.judged) % 200, 1, client_order_id=name), timeout=PATIENCE_S
                )
                self.judged[name] = (int(found.sequences[0]), int(found.commands["verdict"][0]))


async def worker(client: httpx.AsyncClient, asked: Asked, random_: random.Random, ends: asyncio.Event) -> None:
    """Places orders; what cannot be taken now it asks for again."""
    while asked.lost or not ends.is_set():
        name = asked.lost.pop() if asked.lost else asked.another(random_)
        answer = await place(client, asked, name)
        if answer.status_code == 200:
            asked.answered[name] = answer.json()["order"]["order_id"]
        elif answer.status_code == 422:
            asked.refused.add(name)
        else:
            assert answer.status_code == 503, answer.text
            assert "nothing was sent" in answer.text
            asked.counts["away"] += 1
            asked.lost.add(name)
            await asyncio.sleep(0.02)
        asked.note()


def kill_engine_and_wait_for_the_next(address: str) -> None:
    before = get(address, "venue")["engine"]["process"]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: get(address, "venue")["engine"]["process"] not in (None, before))


async def campaign(place_: Path, kills: int, say: Callable[[str], None]) -> None:
    seed = int(os.environ.get("TIDEBOOK_SEED", secrets.randbits(32)))
    print(f"TIDEBOOK_SEED={seed}")
    data, rings = place_ / "data", place_ / "rings"
    journal = data / "journal/orders"
    rings.mkdir(mode=0o700)
    random_, asked = random.Random(seed), Asked()
    with node(data, rings, *OPTIONS) as (process, address):
        async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_S) as client:
            await begin(client, {"alice": "memory", "bob": "durable", "carol": "durable"})
            trader, ends = Trader(rings / "default"), asyncio.Event()
            workers = [asyncio.create_task(worker(client, asked, random_, ends)) for _ in range(WORKERS)]
            try:
                for _ in range(kills):
                    before = len(trader.judged)
                    async with asyncio.timeout(PATIENCE_S):
                        await asked.will_be_told(asked.told + random_.randint(10, 40)).wait()
                    await asyncio.to_thread(wait_for, lambda before=before: len(trader.judged) > before)
                    await asyncio.to_thread(kill_engine_and_wait_for_the_next, address)
            finally:
                ends.set()
                await asyncio.to_thread(trader.end)
                await asyncio.gather(*workers)
            for name in random_.sample(sorted(asked.answered), min(200, len(asked.answered))):
                answer = (await place(client, asked, name)).json()
                assert (answer["repeated"], answer["order"]["order_id"]) == (True, asked.answered[name]), name
            told = (await client.get("/api/v1/venue")).json()
            assert metrics(address)["tidebook_venue_engine_starts_total"] == kills
            assert metrics(address)["tidebook_venue_away"] == 0
            await asyncio.to_thread(wait_for, lambda: audited(address) == told["sequence"])
            await assert_one_history(rings / "default", journal, told, since=0, rings_lost=False)
        engine = psutil.Process(told["engine"]["process"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_S) == 0
        assert not engine.is_running(), "the engine's process ends before its node"
    assert inspect(journal).closed
    found = placed(journal)
    assert {key: ids for key, ids in found.items() if len(ids) > 1} == {}, "two orders of one id"
    numbers = {"alice": 1, "bob": 2}
    for name, order_id in asked.answered.items():
        assert found[numbers[asked.bodies[name]["account"]], name] == [order_id], name
    for name, (sequence, verdict) in trader.judged.items():
        expected = [2 * sequence] if verdict == Verdict.ACCEPTED else None
        assert found.get((CAROL, name)) == expected, name
    trail = rebuild(open_database("", data), journal)
    assert trail.ok, trail
    say(
        f"orders over {kills} kills of the engine's process: {len(asked.answered)} answered by REST, {len(trader.judged)} over shared "
        f"memory, {asked.counts['away']} answers that it is away"
    )


@pytest.mark.timeout(300)
async def test_an_engine_killed_alone_under_orders_goes_on_with_the_same_numbers_and_loses_nothing_acknowledged(
    tmp_path: Path, say: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: kill -9 of its process whenever some more orders were answered, over REST and shared memory."""
    monkeypatch.setenv("TIDEBOOK_TOPOLOGY_VENUE", "process")
    await campaign(tmp_path, KILLS, say)


@pytest.mark.soak
@pytest.mark.parametrize("shards", ["1", "3"])
async def test_an_engine_killed_alone_a_hundred_times_under_orders(
    tmp_path: Path, say: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, shards: str
) -> None:
    monkeypatch.setenv("TIDEBOOK_TOPOLOGY_VENUE", "process")
    monkeypatch.setenv("TIDEBOOK_VENUE_SHARDS", shards)
    await campaign(tmp_path, 100, say)


@pytest.mark.timeout(300)
def test_the_process_of_an_engine_ends_when_its_node_is_killed_and_the_next_node_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the node is started again at once, while the process of the first may still close its journal."""
    data, rings = tmp_path / "data", tmp_path / "rings"
    rings.mkdir(mode=0o700)
    monkeypatch.setenv("TIDEBOOK_TOPOLOGY_VENUE", "process")
    with (
        node(data, rings, *OPTIONS) as (process, address),
        httpx.Client(base_url=address, timeout=PATIENCE_S) as client,
    ):
        assert client.post("/api/v1/operator/instruments", json=BTC).status_code == 200
        told = client.get("/api/v1/venue").json()
        engine = psutil.Process(told["engine"]["process"])
        # What asks a whole group to end, as service managers do, is the node's to hear.
        engine.send_signal(signal.SIGTERM)
        process.kill()
        with node(data, rings, *OPTIONS) as (_, again):
            gone, _ = psutil.wait_procs([engine], timeout=PATIENCE_S)
            assert gone == [engine]
            after = httpx.get(f"{again}/api/v1/venue", timeout=PATIENCE_S).json()
            assert (after["sequence"], after["state_hash"]) == (told["sequence"], told["state_hash"])


async def test_while_its_process_is_away_orders_are_refused_and_said_to_be_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the next process is not begun before the answer is there."""
    async with served(tmp_path, TopologySettings(venue="process")) as at:
        await at.begin()
        engine, may_begin = at.venue.engine, threading.Event()
        begin_process = engine._started  # type: ignore[union-attr]

        def when_it_may() -> Any:
            assert may_begin.wait(PATIENCE_S)
            return begin_process()

        monkeypatch.setattr(engine, "_started", when_it_may)
        os.kill(engine.process, signal.SIGKILL)  # type: ignore[arg-type, union-attr]
        await asyncio.to_thread(wait_for, lambda: at.venue.away is not None)
        refused = await at.place("alice", "buy", "0.1", "100", status=503)
        assert "ended by itself (signal 9) and is started again; nothing was sent, try again" in str(refused)
        assert (await at.get("venue"))["engine"]["process"] is None
        assert at.venue.failure is None
        may_begin.set()
        await asyncio.to_thread(wait_for, lambda: at.venue.away is None)
        placed_ = await at.place("alice", "buy", "0.1", "100")
        assert placed_["sequence"] == (await at.get("venue"))["sequence"]
        stopped = await asyncio.to_thread(engine.stop)
        assert stopped is not None
        assert stopped["sequence"] == placed_["sequence"]
        assert stopped["state_hash"] == Venue.open(tmp_path / "data/journal/orders").state_hash()
        with pytest.raises(OrderEntryError, match="the venue has stopped"):
            at.venue.desk._destinations["LOCAL"].send(bytes(128))


def test_an_engine_that_cannot_begin_says_why_from_its_process(tmp_path: Path) -> None:
    plan = VenuePlan(settings=VenueSettings(), topology=TopologySettings(venue="process"))
    rings = tmp_path / "rings"
    rings.mkdir(mode=0o700)
    HostedVenue(plan, tmp_path, rings).stop()
    (segment,) = (tmp_path / "journal/orders").glob("*.segment")
    content = bytearray(segment.read_bytes())
    content[16] ^= 1
    segment.write_bytes(content)
    with pytest.raises(JournalDamagedError) as refused:
        HostedVenue(plan, tmp_path, rings)
    assert refused.value.facts["segment"] is not None

"""Days of trading on a venue that is killed again and again while its journal is shortened: at the end everything adds up.

Of all order types and sessions, with fees, margin, bands, pairs, switches and sessions of clients that end; what clients send comes over
`orders.in`, HTTP and WebSocket. A reader beside it keeps every command and execution that the channels tell. A replay of these commands gives
what the venue knows and every execution, as it was told; of every asset there is what was transferred in; the audit trail has the rows of
one run that nothing broke; and each order's fills and ending are its size.
"""

import asyncio
import contextlib
import json
import os
import random
import secrets
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage

import tidebook as tb
from tests.audit.kill_runs import compare, unbroken
from tests.audit.market import write
from tests.node.orders_of_days import ACCOUNTS, BASES, BTC, ETH, MARGIN, NAMES, USD, Day, opening
from tests.node.test_live import wait_for
from tidebook import venue
from tidebook._core import inspect_journal
from tidebook.audit import open_database, position
from tidebook.node.directory import venue_names_file
from tidebook.persistence import verify
from tidebook.venue import (
    COMMAND,
    EXECUTION,
    LAYOUTS,
    CommandKind,
    ExecutionKind,
    Records,
    Venue,
    Verdict,
)

TOPOLOGIES = (("fused", 1), ("split", 1), ("split", 3), ("process", 1), ("process", 2))
LEDGER, SIZE = 10**18, 10**15  # one unit of an asset, and a size unit of 0.001, in ledger units
WAITING_MAX = 2_000
"""Commands on their way: none of the rings is overwritten before it is read."""
PATIENCE_S = 60


class Told:
    """Every command and execution that the channels have told, kept by a thread that reads beside the venue."""

    def __init__(self, rings: Path, day: Day) -> None:
        self._rings, self._day = rings, day
        self._commands: list[Records] = []
        self._executions: list[Records] = []
        self.count = 0
        """Commands, without a hole from the first."""
        self.source = 0
        """The last message of `orders.in` that was judged."""
        self.missed = 0
        """Executions that were overwritten before they were read."""

    @property
    def commands(self) -> Records:
        return np.concatenate([np.zeros(0, COMMAND), *self._commands])

    @property
    def executions(self) -> Records:
        return np.concatenate([np.zeros(0, EXECUTION), *self._executions])

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Reads inside the block, and behind it to the end of what there is."""
        ends, problems = threading.Event(), list[BaseException]()

        def read() -> None:
            try:
                self._read(ends)
            except BaseException as error:
                problems.append(error)
                raise

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            ends.set()
            reader.join(PATIENCE_S)
        assert not reader.is_alive()
        assert problems == []

    def _read(self, ends: threading.Event) -> None:
        last = int(self._executions[-1]["sequence"][-1]) if self._executions else 0
        with (
            tb.open_consumer("orders", directory=self._rings, start=self.count + 1, policy="spill") as orders,
            tb.open_consumer("executions", directory=self._rings, start="earliest", policy="overwrite") as executions,
        ):
            while True:
                ending = ends.is_set()
                batch = orders.poll_batch(4_096, 0.0 if ending else 0.01)
                some = executions.poll_batch(4_096)
                if batch is None and some is None and ending:
                    return
                if batch is not None:
                    assert not isinstance(batch, tb.Gap), batch
                    with batch:
                        self._take(batch.array.copy())
                if some is not None and not isinstance(some, tb.Gap):
                    with some:
                        new = some.array[some.array["sequence"] > last].copy()
                    if len(new):
                        self.missed += int(new["sequence"][0]) - last - 1
                        last = int(new["sequence"][-1])
                        self._executions.append(new)

    def _take(self, commands: Records) -> None:
        places = np.isin(commands["kind"], (CommandKind.PLACE, CommandKind.PLACE_PAIR))
        for at in np.flatnonzero(places & (commands["verdict"] == Verdict.ACCEPTED)).tolist():
            order = 2 * (self.count + at + 1)
            self._day.known.append((int(commands["account"][at]), int(commands["instrument_id"][at]), order))
        self._commands.append(commands)
        self.count += len(commands)
        self.source = max(self.source, int(commands["source_sequence"].max()))


class Clients:
    """Who trades over HTTP and WebSocket, and what they were answered."""

    def __init__(self, day: Day) -> None:
        self.day = day
        self.placed: dict[str, tuple[int, int]] = {}
        """Account and order of each id that was answered."""
        self.refused: set[tuple[int, str]] = set()
        self.events: dict[int, int] = {}
        """Executions that a session was told of, each with its command."""

    @property
    def told(self) -> int:
        """Requests that were answered with what risk said."""
        return len(self.placed) + len(self.refused)

    def _order(self) -> dict[str, Any]:
        chance = self.day.chance
        side = chance.choice((1, -1))
        return {
            "instrument": chance.choice(("BTC-USD.LOCAL", "ETH-USD.LOCAL")),
            "side": "buy" if side == 1 else "sell",
            "size": f"{chance.randint(1, 200) / 1000:.3f}",
            "price": f"{(10_000 + chance.randint(-40, 40)) / 100:.2f}",
            "client_order_id": self.day.name(),
            "cancel_on_disconnect": chance.random() < 0.5,
        }

    def _answered(self, account: int, name: str, status: int, said: dict[str, Any]) -> None:
        if status == 200:
            self.placed[name] = (account, said["order"]["order_id"])
        elif said["code"].startswith("rejected_") and said["by"] == "risk":
            self.refused.add((account, name))
        else:
            assert status in (422, 429, 503, 504), said

    async def over_http(self, address: str) -> None:
        """Orders until the venue is gone."""
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE_S) as client:
            with contextlib.suppress(httpx.TransportError):
                while True:
                    account, order = self.day.chance.choice(ACCOUNTS), self._order()
                    answer = await client.post(
                        f"/api/v1/accounts/a{account}/orders",
                        params={"wait": self.day.chance.choice(("memory", "durable"))},
                        json=order,
                    )
                    self._answered(account, order["client_order_id"], answer.status_code, answer.json())

    async def over_websocket(self, address: str) -> None:
        """Sessions that end and begin again, until the venue is gone."""
        with contextlib.suppress(ConnectionClosed, InvalidMessage, OSError):
            while True:
                account = self.day.chance.choice(ACCOUNTS)
                where = f"ws://{address}/ws/v1/orders?account=a{account}&cancel_on_disconnect=true"
                async with connect(where) as socket:
                    for _ in range(self.day.chance.randint(1, 20)):
                        await self._ask(socket, account)

    async def _ask(self, socket: ClientConnection, account: int) -> None:
        order = self._order()
        await socket.send(json.dumps({"method": "PLACE", "params": order, "id": 1}))
        while True:
            said = json.loads(await socket.recv())
            if "stream" in said:
                self.events |= {event["sequence"]: event["source_sequence"] for event in said["data"]}
            elif "result" in said:
                return self._answered(account, order["client_order_id"], 200, said["result"])
            else:
                return self._answered(account, order["client_order_id"], said["error"]["status"], said["error"])


def begin(place: Path, chance: random.Random) -> tuple[subprocess.Popen[str], str]:
    """The venue in a process of its own, as it is configured this time; and its address."""
    topology, shards = chance.choice(TOPOLOGIES)
    with (place / "log.txt").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.node.venue_day", str(place), topology, str(shards)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    address = process.stdout.readline()
    assert address, (place / "log.txt").read_text()[-4_000:]
    return process, address.strip()


async def live(
    place: Path, day: Day, told: Told, clients: Clients, count: int, *, is_last: bool
) -> dict[str, Any] | None:
    """One life of the venue, under as many commands over `orders.in`; of the last, what it says before it ends well."""
    process, address = await asyncio.to_thread(begin, place, day.chance)
    said = None
    try:
        with told.reading(), tb.open_producer("orders.in", directory=place / "rings") as producer:
            if told.count == 0:
                producer.write_batch(opening())
                await asyncio.to_thread(wait_for, lambda: told.count == len(opening()))
            asking = [
                asyncio.create_task(clients.over_http(address)),
                asyncio.create_task(clients.over_websocket(address)),
            ]
            last, sent, wanted = 0, 0, clients.told + day.chance.randint(2, 6)
            while sent < count or clients.told < wanted or (is_last and first_kept(place) == 1):
                # What it waits for comes with few commands more.
                batch = day.batch(day.chance.randint(1, 150) if sent < count else 2)
                written = producer.write_batch(batch, timeout=PATIENCE_S)
                assert isinstance(written, int), written
                last, sent = written, sent + len(batch)
                async with asyncio.timeout(PATIENCE_S):
                    while last - told.source > WAITING_MAX:
                        assert process.poll() is None, (place / "log.txt").read_text()[-4_000:]
                        await asyncio.sleep(0.005)
                await asyncio.sleep(day.chance.choice((0, 0.002, 0.02)) if sent < count else 0.1)
            assert process.poll() is None, (place / "log.txt").read_text()[-4_000:]
            if is_last:
                for task in asking:
                    task.cancel()
                await asyncio.gather(*asking, return_exceptions=True)
                said = await asyncio.to_thread(said_at_rest, address, told, last)
                assert process.stdin is not None
                process.stdin.close()
                assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0, (place / "log.txt").read_text()[-4_000:]
            else:
                process.kill()
                await asyncio.to_thread(process.wait)
                await asyncio.gather(*asking)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()
    return said


def first_kept(place: Path) -> int:
    """The first command that the journal still has."""
    first: int = inspect_journal(place / "data/journal/orders")["first_sequence"]
    return first


def said_at_rest(address: str, told: Told, last_sent: int) -> dict[str, Any]:
    """What the API says once all that was sent is judged and has rows, and nothing more comes."""
    found: dict[str, Any] = {}
    with httpx.Client(base_url=f"http://{address}/api/v1", timeout=PATIENCE_S) as client:

        def is_at_rest() -> bool:
            found["venue"] = client.get("/venue").json()
            sequence = found["venue"]["sequence"]
            if told.source < last_sent or not sequence == told.count == found["venue"]["audit"]["sequence"]:
                return False
            for account in ACCOUNTS:
                kinds = ("orders", "balances")
                found[str(account)] = {kind: client.get(f"/accounts/a{account}/{kind}").json() for kind in kinds}
            return bool(client.get("/venue").json()["sequence"] == sequence)

        wait_for(is_at_rest)
    return found


def sums(replica: Venue) -> dict[int, int]:
    """All there is of each asset: balances, the fees taken, and what margin accounts hold as positions."""
    totals = dict.fromkeys((BTC, USD, ETH), 0)
    for balance in replica.balances():
        totals[balance.asset] += balance.total
    for account in MARGIN:
        for holding in replica.positions(account):
            totals[BASES[holding.instrument_id]] += holding.position * SIZE
    return totals


def transferred(commands: Records) -> dict[int, int]:
    """What was paid in of each asset."""
    totals = dict.fromkeys((BTC, USD, ETH), 0)
    taken = (commands["kind"] == CommandKind.TRANSFER) & (commands["verdict"] == Verdict.ACCEPTED)
    for row in commands[taken].view(LAYOUTS[CommandKind.TRANSFER]):
        totals[int(row["asset"])] += int(row["amount"]) * LEDGER // 10 ** int(row["amount_exp"])
    return totals


def assert_adds_up(commands: Records, executions: Records, parts: int) -> Venue:
    """A replay of these commands, by parts; behind each of them there is what was paid in, and nobody on spot owes."""
    replica, found = Venue(), []
    for part in np.array_split(commands, parts):
        found.append(replica.replay(part).executions)
        assert sums(replica) == transferred(commands[: replica.sequence]), replica.sequence
        for balance in replica.balances():
            if balance.account not in (0, *MARGIN):
                assert 0 <= balance.reserved <= balance.total, balance
        for instrument in replica.instrument_ids():
            assert sum(it.position for it in replica.positions() if it.instrument_id == instrument) == 0
    replayed = np.concatenate(found)
    # As they were told, each with its number.
    assert executions.tobytes() == replayed[executions["sequence"].astype(np.int64) - 1].tobytes()
    fills = replayed[replayed["kind"] == ExecutionKind.FILL]
    fees = int(fills["fee"].sum()) + int(fills["contra_fee"].sum())
    assert (
        sum(it.total for it in replica.balances(0))
        == sum(it.fees for it in replica.positions())
        == fees * LEDGER // 100
    )
    return replica


def assert_lives_are_whole(data: Path, open_orders: Records) -> int:
    """Each order of the trail ended once or is open, and its fills and what was withdrawn are its size; how many there are."""
    database = open_database("", data)
    with database.reading() as connection:

        def rows(query: str) -> list[Any]:
            return list(connection.exec_driver_sql(query))

        # By amount there is no size: of these only that they end.
        sizes = dict(rows("SELECT order_id, size FROM orders WHERE verdict = 'accepted'"))
        for order, kind, size in rows(
            "SELECT order_id, kind, size FROM events WHERE kind IN ('replaced', 'reduced') ORDER BY execution"
        ):
            if sizes[order] is not None:
                sizes[order] = size if kind == "replaced" else sizes[order] - size
        filled: Counter[int] = Counter()
        for order, size in rows("SELECT order_id, size FROM fills"):
            filled[order] += size
        ended = rows("SELECT order_id, how, size FROM endings")
        accepted = dict(rows("SELECT order_id, count(*) FROM events WHERE kind = 'accepted' GROUP BY order_id"))
    database.close()
    ending = {order: (how, size) for order, how, size in ended}
    assert len(ending) == len(ended), "no order ends twice"
    still = {int(order["order_id"]): int(order["remaining"]) for order in open_orders}
    for order, size in sizes.items():
        assert (order in ending) != (order in still), order
        how, left = ending.get(order, ("open", still.get(order, 0)))
        assert accepted.get(order, 0) == (how != "refused"), (order, how)
        if size is not None and how != "refused":
            # What was reduced to nothing is no longer of its size.
            left = 0 if how == "reduced" else left
            assert filled[order] + left == size, (order, how, filled[order], left, size)
        elif how == "refused":
            assert filled[order] == 0, order
    assert still.keys() <= sizes.keys()
    assert filled.keys() <= sizes.keys()
    return len(sizes)


def assert_clients_were_told_the_truth(clients: Clients, commands: Records, executions: Records) -> None:
    """Whoever was answered finds his order once under his id, and whoever was refused finds none."""
    found: dict[tuple[int, str], list[int]] = {}
    for kind in (CommandKind.PLACE, CommandKind.PLACE_PAIR):
        at = np.flatnonzero((commands["kind"] == kind) & (commands["verdict"] == Verdict.ACCEPTED))
        for index, row in zip(at.tolist(), commands[at].view(LAYOUTS[kind]), strict=True):
            if name := venue.client_order_text(row["client_order_id"]):
                found.setdefault((int(row["account"]), name), []).append(2 * (index + 1))
    assert {key: ids for key, ids in found.items() if len(ids) > 1} == {}, "two orders of one id"
    for name, (account, order) in clients.placed.items():
        assert found[account, name] == [order], name
    assert not clients.refused & found.keys()
    of = dict(zip(executions["sequence"].tolist(), executions["source_sequence"].tolist(), strict=True))
    assert {sequence: of.get(sequence, source) for sequence, source in clients.events.items()} == clients.events


def assert_said(said: dict[str, Any], replica: Venue) -> None:
    """What the API said of every account is what the replica has."""
    assert said["venue"]["sequence"] == replica.sequence
    assert said["venue"]["state_hash"] == f"{replica.state_hash():016x}"
    assets = {number: name for name, number in NAMES["assets"].items()}
    for account in ACCOUNTS:
        own = said[str(account)]
        assert [order["order_id"] for order in own["orders"]] == replica.open_orders(account)["order_id"].tolist()
        held = {it["asset"]: it["balance"] for it in own["balances"] if float(it["balance"]) != 0}
        expected = {assets[it.asset]: it.total for it in replica.balances(account) if it.total != 0}
        assert held.keys() == expected.keys(), account
        for asset, total in expected.items():
            assert Decimal(held[asset]) == venue.decimal(total, venue.LEDGER_EXP), (account, asset)


async def campaign(place: Path, lives: int, commands: int, say: Callable[[str], None]) -> None:
    seed = int(os.environ.get("TIDEBOOK_SEED", secrets.randbits(32)))
    print(f"TIDEBOOK_SEED={seed}")
    data, rings = place / "data", place / "rings"
    rings.mkdir(mode=0o700, parents=True)
    venue_names_file(data).parent.mkdir(parents=True)
    venue_names_file(data).write_text(json.dumps(NAMES))
    day = Day(random.Random(seed))
    told, clients = Told(rings, day), Clients(day)
    said = None
    for life in range(lives):
        said = await live(place, day, told, clients, commands // lives, is_last=life == lives - 1)
    assert said is not None
    given, executions = told.commands, told.executions
    verify(data / "journal/orders")
    sources = given["source_sequence"][given["source_sequence"] > 0]
    assert len(np.unique(sources)) == len(sources), "no message of orders.in was taken twice"
    replica = assert_adds_up(given, executions, 20 * lives)
    # Behind it orders of sessions that ended may have gone.
    assert_said(said, replica.at(said["venue"]["sequence"]))
    archive = place / "archive"
    write(archive / "journal/orders", given)
    database = open_database("", data)
    reached = position(database)
    assert reached is not None
    assert reached.sequence == len(given)
    assert compare(database, unbroken(archive, given)) == 1
    database.close()
    orders = assert_lives_are_whole(data, replica.open_orders())
    assert_clients_were_told_the_truth(clients, given, executions)
    kinds = Counter(ExecutionKind(kind).name for kind in executions["kind"].tolist())
    # A short day need not have the rare ones.
    expected = {kind.name for kind in ExecutionKind} if lives > 3 else {"ACCEPTED", "FILL", "CANCELLED"}
    assert expected <= set(kinds), kinds
    assert clients.placed
    assert clients.events
    say(
        f"days of a venue: seed {seed}: {lives - 1} kills, {len(given)} commands, {orders} orders accepted by risk, {kinds['FILL']} fills, "
        f"{kinds['UNCROSSED']} auctions, {len(executions)} executions told and {told.missed} overwritten, {len(clients.placed)} orders over HTTP "
        f"and WebSocket; the journal begins with command "
        f"{first_kept(place)}"
    )


@pytest.mark.timeout(300)
async def test_days_of_a_venue_that_is_killed_and_shortened_add_up(tmp_path: Path, say: Callable[[str], None]) -> None:
    await campaign(tmp_path, 3, 4_000, say)


@pytest.mark.soak
async def test_many_days_of_a_venue_that_is_killed_and_shortened_add_up(
    tmp_path: Path, say: Callable[[str], None]
) -> None:
    await campaign(tmp_path, 101, 1_000_000, say)

"""Requests and commands that are made of anything, from a seed: over HTTP, WebSocket and shared memory.

Each is answered. What is not carried out is refused with a reason: what was refused before it was sent has journaled nothing, and what the
venue refused has changed nothing. For that the journal is replayed with all that risk refused emptied, which gives the state that the engine
has; and of each command that matching refused orders, balances, positions and books are compared before and behind it.
"""

import asyncio
import json
import os
import random
import secrets
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect

import tidebook as tb
from tests.audit.market import opening, stream
from tests.gateway.serving import Served, served
from tests.gateway.test_hostile import EXTREMES, HOSTILE
from tests.venue.market import ROOM
from tidebook._core import VenueEngine
from tidebook.venue import COMMAND, CommandKind, ExecutionKind, Records, Venue, Verdict

LAYOUTS: tuple[dict[str, Any], ...] = (
    {"layout": "fused"},
    {"layout": "split"},
    {"layout": "together"},
    {"layout": "split", "shards": 3},
)
FAULT = 500
"""Statuses from here on would be the venue's fault."""

WORDS: dict[str, tuple[Any, ...]] = {
    "instrument": (*("BTC-USD.LOCAL",) * 12, "ETH-USD.LOCAL", "BTC-USD.BINANCE"),
    "side": ("buy", "sell"),
    "type": ("limit", "limit", "market", "stop", "stop_limit", "trailing_stop", "pegged"),
    "time_in_force": ("gtc", "gtc", "ioc", "fok", "gtd", "day"),
    "size": (*("0.1", "0.02", "0.005") * 3, "0.00001", "9007199254.7", "0.000001"),
    "price": (*("60000", "60000.01", "59999.5") * 3, "1", "90071992547409.91", "0.001"),
    "amount": ("5", "6000", "0.01"),
    "trigger_price": ("60010", "59990", "61000"),
    "limit_price": ("60020", "59980"),
    "display_size": ("0.05", "0.00001"),
    "offset": ("10", "0.01", "0"),
    "peg": ("primary", "opposite", "mid"),
    "expire_ts": (0, 1, 2**53 - 1, 4_000_000_000_000_000),
    "self_trade": ("none", "cancel_newest", "cancel_oldest", "cancel_both", "decrement"),
    "post_only": (True, False),
    "cancel_on_disconnect": (True, False),
    "client_order_id": ("a", "b", "c-1", "x" * 20, "5e2c8a2e-59a4-4b53-9a04-2d2d5b6f9d11"),
    "stop_client_order_id": ("d", "e"),
    "timeout_ms": (0, 1, 60_000, 86_400_000),
    "session": ("continuous", "continuous", "halted", "auction", "pre_open", "closed"),
    "account": (*("alice", "bob") * 6, "carol", "operator"),
    "asset": ("BTC", "USD", "ETH"),
    "base": ("BTC", "ETH"),
    "quote": ("USD", "BTC"),
    "tick": ("0.01", "0.1"),
    "lot": ("0.00001", "1"),
    "price_exp": (0, 2, 18),
    "size_exp": (0, 5, 18),
    "band_ppm": (0, 1, 1_000_000),
    "band_action": ("reject", "halt"),
    "maker_ppm": (0, -100, 1_000_000),
    "taker_ppm": (0, 300, -1_000_000),
    "group": (0, 1, 2**32 - 1),
    "margin": (True, False),
    "initial_margin_ppm": (0, 100_000),
    "maintenance_margin_ppm": (0, 50_000),
    "order_size_max": ("1", "1000"),
    "open_orders_max": (0, 1_000),
    "collar_ppm": (0, 100_000),
    "wait": ("memory", "durable"),
}
"""What a field may hold; anything else is what it may not."""

NEEDED: dict[str, tuple[str, ...]] = {
    "place": ("instrument", "side", "size", "price"),
    "pair": ("instrument", "side", "size", "price", "trigger_price"),
    "change": ("price", "size"),
    "switch": ("timeout_ms",),
    "instrument": ("instrument", "base", "quote", "tick", "lot"),
    "session": ("session",),
    "account": ("account",),
    "transfer": ("asset", "amount"),
}
# Two of them are left out: a throttle, of which a refused command takes its tokens, and the switch that would end the run.
FIELDS: dict[str, tuple[str, ...]] = {
    "place": (
        *("instrument", "side", "type", "time_in_force", "size", "price", "amount", "trigger_price", "display_size"),
        *("offset", "peg", "expire_ts", "self_trade", "post_only", "cancel_on_disconnect", "client_order_id"),
    ),
    "pair": (
        *("instrument", "side", "size", "price", "trigger_price", "limit_price", "time_in_force", "expire_ts"),
        *("self_trade", "post_only", "cancel_on_disconnect", "client_order_id", "stop_client_order_id"),
    ),
    "change": ("price", "size", "trigger_price", "display_size", "offset", "expire_ts", "client_order_id"),
    "switch": ("timeout_ms",),
    "instrument": (
        *("instrument", "base", "quote", "tick", "lot", "price_exp", "size_exp"),
        *("band_ppm", "band_action", "maker_ppm", "taker_ppm"),
    ),
    "session": ("session",),
    "account": (
        *("account", "wait", "group", "maker_ppm", "taker_ppm"),
        *("margin", "initial_margin_ppm", "maintenance_margin_ppm"),
    ),
    "transfer": ("asset", "amount"),
    "limits": ("instrument", "order_size_max", "open_orders_max", "collar_ppm"),
    "named": ("order_id", "client_order_id"),
    "mass": ("instrument", "side"),
}
ROUTES: tuple[tuple[str, str, str | None], ...] = (
    *(("POST", "accounts/{account}/orders", "place"),) * 6,
    *(("POST", "accounts/{account}/order-pairs", "pair"),) * 2,
    *(("PATCH", "accounts/{account}/orders/{order_id}", "change"),) * 3,
    ("PATCH", "accounts/{account}/client-orders/{client_order_id}", "change"),
    ("DELETE", "accounts/{account}/orders/{order_id}", None),
    ("DELETE", "accounts/{account}/client-orders/{client_order_id}", None),
    ("DELETE", "accounts/{account}/orders", None),
    ("POST", "accounts/{account}/cancel-all-after", "switch"),
    ("GET", "accounts/{account}/orders", None),
    ("GET", "accounts/{account}/orders/{order_id}", None),
    ("GET", "accounts/{account}/client-orders/{client_order_id}", None),
    ("GET", "accounts/{account}/fills", None),
    ("GET", "accounts/{account}/balances", None),
    ("POST", "operator/instruments", "instrument"),
    ("POST", "operator/instruments/{instrument}/session", "session"),
    ("POST", "operator/accounts", "account"),
    ("POST", "operator/accounts/{account}/transfers", "transfer"),
    ("POST", "operator/accounts/{account}/limits", "limits"),
)
METHODS: tuple[tuple[str, str], ...] = (
    *(("PLACE", "place"),) * 4,
    ("PLACE_PAIR", "pair"),
    ("REPLACE", "named"),
    ("CANCEL", "named"),
    ("MASS_CANCEL", "mass"),
    ("CANCEL_ALL_AFTER", "switch"),
    ("OPEN_ORDERS", "mass"),
)
NOTHING: tuple[Any, ...] = tuple(value for values in HOSTILE.values() for value in values)


class Asked(NamedTuple):
    """A request over HTTP."""

    method: str
    path: str
    body: bytes | None


class Anything:
    """What clients may come up with, from a seed: mostly something that is nearly right."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.orders: list[int] = [2]
        """Ids that the venue has told, of which some are asked for."""

    def learn(self, said: Any) -> None:
        """An answer, which may tell of an order."""
        if isinstance(said, dict) and said.get("order"):
            self.orders.append(said["order"]["order_id"])

    def text(self) -> str:
        """Of any characters, also halves of pairs, which no text has."""
        alphabet = self.chance.choice(((32, 127), (0, 256), (0, 0x11_0000)))
        return "".join(chr(self.chance.randrange(*alphabet)) for _ in range(self.chance.choice((0, 1, 3, 20, 300))))

    def nothing(self) -> Any:
        """A value that fits hardly any field."""
        of = self.chance.randrange(6)
        if of == 0:
            return self.text()
        if of == 1:
            return self.chance.choice((self.chance.choice(EXTREMES), self.chance.randrange(-(2**70), 2**70)))
        if of == 2:
            return f"{self.chance.choice(('', '-'))}{self.chance.randrange(10 ** self.chance.randrange(1, 30))}.{self.chance.randrange(10**6)}"
        if of == 3:
            return {self.text(): self.chance.choice(([], {}, None, [[{}]]))}
        return self.chance.choice(NOTHING)

    def value(self, field: str) -> Any:
        """What may be in a field, or what may not."""
        if self.chance.random() > 0.96:
            return self.nothing()
        return self.chance.choice(self.orders[-20:] if field == "order_id" else WORDS[field])

    def fields(self, of: str) -> dict[str, Any]:
        """Of a request: what it needs, mostly, and some of what it may have."""
        names = FIELDS[of]
        given = {name: self.value(name) for name in NEEDED.get(of, ()) if self.chance.random() < 0.97}
        given |= {name: self.value(name) for name in names if self.chance.random() < 1 / len(names)}
        if self.chance.random() < 0.03:
            given[self.text()] = self.nothing()
        return given

    def damaged(self, document: str) -> bytes:
        """Its bytes, at times with some of them changed, cut off, or none of it."""
        data = bytearray(document.encode("utf-8", "surrogatepass"))
        of = self.chance.random()
        if of < 0.02:
            return self.chance.randbytes(self.chance.randrange(300))
        if of < 0.06:
            return bytes(data[: self.chance.randrange(len(data) + 1)])
        if of < 0.12 and data:
            for _ in range(self.chance.randrange(1, 4)):
                data[self.chance.randrange(len(data))] = self.chance.randrange(256)
        return bytes(data)

    def piece(self, field: str) -> str:
        """Of a path."""
        found = self.value(field)
        return quote(str(found).encode("utf-8", "surrogatepass")[:2_000], safe="")

    def request(self) -> Asked:
        """A request over HTTP."""
        method, path, of = self.chance.choice(ROUTES)
        for field in ("account", "order_id", "client_order_id", "instrument"):
            path = path.replace(f"{{{field}}}", self.piece(field))
        if self.chance.random() < 0.1:
            name, value = self.chance.choice(("wait", "instrument", "side", "state", "limit", "x")), self.nothing()
            path += f"?{name}={quote(str(value).encode('utf-8', 'surrogatepass')[:500], safe='')}"
        if self.chance.random() < 0.03:
            method = self.chance.choice(("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"))
        return Asked(method, path, None if of is None else self.damaged(json.dumps(self.fields(of))))

    def frame(self, number: int) -> str | bytes:
        """A request over WebSocket."""
        method, of = self.chance.choice(METHODS)
        params: Any = self.fields(of)
        if of == "named" and not params:
            name = self.chance.choice(FIELDS["named"])
            params = {name: self.value(name)}
        if method == "REPLACE":
            params["change"] = self.fields("change")
        envelope: Any = {"method": method, "params": params, "id": number}
        if self.chance.random() < 0.05:
            envelope[self.chance.choice(("method", "params", "id", "x"))] = self.nothing()
        data = self.damaged(json.dumps(envelope))
        if self.chance.random() < 0.1:
            return data
        return data.decode("utf-8", "replace")

    def commands(self, count: int) -> Records:
        """A stream of commands of all kinds behind one opening; of half of the others words are extremes, or bytes anything, or all of it."""
        begun = len(opening(range(1, 9)))
        array = stream(count, self.chance.randrange(2**32))
        for name in ("ts", "source_sequence", "executions_seen", "verdict", "reason"):
            array[name] = 0
        hostile = array[begun:]
        words = hostile["body"].view("<i8")
        bytes_ = hostile.view(np.uint8).reshape(len(hostile), COMMAND.itemsize)
        for at in range(len(hostile)):
            of = self.chance.random()
            if of < 0.25:
                words[at, self.chance.randrange(words.shape[1])] = self.chance.choice(EXTREMES)
            elif of < 0.45:
                bytes_[at, self.chance.randrange(8, COMMAND.itemsize)] = self.chance.randrange(256)
            elif of < 0.5:
                bytes_[at] = np.frombuffer(self.chance.randbytes(COMMAND.itemsize), np.uint8)
            else:
                continue
            hostile["ts"][at] = 0
            # As above; what is sent says nothing of the time here.
            if hostile["kind"][at] in (CommandKind.LIMITS, CommandKind.KILL):
                hostile["kind"][at] = 200
        return array


def visible(venue: Venue) -> Any:
    """What anybody can see of a venue."""
    books = [[side.tolist() for side in venue.depth(number, 50)] for number in venue.instrument_ids()]
    return venue.open_orders().tobytes(), venue.balances(), venue.positions(), books


def assert_refused_left_no_trace(journal: Path, stopped: dict[str, Any]) -> tuple[int, int]:
    """How many commands risk and matching refused, none of which has changed anything."""
    whole = Venue.open(journal, recheck=True)
    commands = whole.commands().copy()
    assert len(commands) == stopped["sequence"]
    refused = commands["verdict"] == Verdict.REJECTED
    assert np.array_equal(refused, commands["reason"] != 0)
    replica = Venue.open(journal, sequence=0)
    executions = replica.replay(commands).executions
    assert replica.state_hash() == stopped["state_hash"]

    emptied = commands.copy()
    for name in ("body", "kind", "account", "instrument_id", "reserved"):
        emptied[name][refused] = 0
    twin = Venue.open(journal, sequence=0)
    assert twin.replay(emptied).executions.tobytes() == executions.tobytes()
    assert twin.state_hash() == stopped["state_hash"]

    # Nothing else came of it, such as what had expired by then.
    sequences, counts = np.unique(executions["source_sequence"], return_counts=True)
    alone = sequences[counts == 1]
    said = executions[np.isin(executions["source_sequence"], alone) & (executions["kind"] == ExecutionKind.REJECTED)]
    assert np.all(said["reason"] != 0)
    third = Venue.open(journal, sequence=0)
    for sequence in said["source_sequence"].tolist():
        third.replay(commands[third.sequence : sequence - 1])
        before = visible(third)
        third.replay(commands[sequence - 1 : sequence])
        assert visible(third) == before, sequence
    return int(refused.sum()), len(said)


def counted(at: Served) -> int:
    """Commands that were sent; the engine journals timers of its own beside them."""
    sent: int = at.venue.engine.status()["source_published"]
    return sent


def is_refused(code: str, said: dict[str, Any], asked: Any) -> bool:
    """Whether the venue refused it, behind the journal; in any case with a reason."""
    assert code, (asked, said)
    assert said["detail"], (asked, said)
    return code.startswith("rejected_")


async def over_http(at: Served, anything: Anything, count: int, found: Counter[str]) -> None:
    for _ in range(count):
        asked = anything.request()
        before = counted(at)
        headers = {"content-type": "application/json"} if anything.chance.random() < 0.98 else {}
        try:
            answer = await at.client.request(asked.method, f"/api/v1/{asked.path}", content=asked.body, headers=headers)
        except httpx.InvalidURL:
            found["no address"] += 1
            continue
        assert answer.status_code < FAULT, (asked, answer.text[:500])
        sent = counted(at) - before
        if answer.status_code < 400:
            assert sent == 0 or asked.method not in ("GET", "HEAD", "OPTIONS"), asked
            found["carried out"] += 1
            anything.learn(None if asked.method == "HEAD" else answer.json())
        elif asked.method == "HEAD":
            assert sent == 0, asked
        elif is_refused((said := answer.json())["code"], said, asked):
            assert sent >= 1, (asked, said)
            found["refused by the venue"] += 1
        else:
            assert sent == 0, (asked, said)
            found["not sent"] += 1


async def answer_to(socket: ClientConnection, frame: str | bytes) -> dict[str, Any]:
    """The next answer; what else is told of is passed over."""
    await socket.send(frame)
    while True:
        said: dict[str, Any] = json.loads(await socket.recv())
        if "stream" not in said:
            return said


async def over_websocket(at: Served, anything: Anything, count: int, found: Counter[str]) -> None:
    async with connect(f"ws://{at.address}/ws/v1/orders?account=alice", max_size=None) as socket:
        for number in range(count):
            frame = anything.frame(number)
            before = counted(at)
            said = await answer_to(socket, frame)
            sent = counted(at) - before
            if "result" in said:
                found["carried out"] += 1
                anything.learn(said["result"])
            elif is_refused((error := said["error"])["code"], error, frame):
                assert sent >= 1, (frame, said)
                found["refused by the venue"] += 1
            else:
                assert error["status"] < FAULT, (frame, said)
                assert sent == 0, (frame, said)
                found["not sent"] += 1
    await at.sessions.settle()


async def by_clients(place: Path, seed: int, count: int, say: Callable[[str], None]) -> None:
    """So many requests over HTTP and as many over WebSocket, one after another."""
    print(f"TIDEBOOK_SEED={seed}")
    anything, found = Anything(seed), Counter[str]()
    async with served(place, answer_timeout_s=60.0) as at:
        await at.begin()
        for part in range(0, count, 1_000):
            some = min(1_000, count - part)
            await over_http(at, anything, some, found)
            # What was closed, halted or killed is opened again, so that some are carried out.
            for session in ("halted", "closed", "continuous"):
                await at.client.post("/api/v1/operator/instruments/BTC-USD.LOCAL/session", json={"session": session})
            await over_websocket(at, anything, some, found)
        # Many at once: whatever comes, each is answered.
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(over_http_at_once(at, Anything(anything.chance.randrange(2**32)), count // 20))
        assert at.venue.failure is None
        stopped = await asyncio.to_thread(at.venue.engine.stop)
        assert stopped is not None
    by_risk, by_matching = assert_refused_left_no_trace(place / "data/journal/orders", stopped)
    assert min(found.values()) > 0
    assert by_risk > 0
    assert by_matching > 0
    say(
        f"fuzzed requests: seed {seed}: {2 * count} over HTTP and WebSocket, {dict(found)}; of {stopped['sequence']} commands risk refused "
        f"{by_risk}, matching {by_matching}"
    )


async def over_http_at_once(at: Served, anything: Anything, count: int) -> None:
    for _ in range(count):
        asked = anything.request()
        try:
            answer = await at.client.request(asked.method, f"/api/v1/{asked.path}", content=asked.body)
        except httpx.InvalidURL:
            continue
        assert answer.status_code < FAULT, (asked, answer.text[:500])


def over_shared_memory(place: Path, seed: int, count: int, options: dict[str, Any]) -> tuple[int, int, int]:
    """Commands that were sent, and refused by risk and by matching."""
    rings, journal = place / "rings", place / "orders"
    rings.mkdir(mode=0o700, parents=True)
    room = {key: ROOM[key] for key in ("orders_max", "accounts_max", "instruments_max")}
    engine = VenueEngine(rings, journal, **options, **room)
    sent = Anything(seed).commands(count)
    with tb.connect(directory=rings) as venue:
        for part in np.array_split(sent, max(1, count // 5_000)):
            venue.submit(part, wait="durable", timeout=60.0)
    assert engine.status()["failure"] is None
    stopped = engine.stop()
    assert stopped is not None
    return (count, *assert_refused_left_no_trace(journal, stopped))


async def test_requests_made_of_anything_are_refused_with_a_reason_and_what_was_refused_has_changed_nothing(
    tmp_path: Path, say: Callable[[str], None]
) -> None:
    await by_clients(tmp_path, int(os.environ.get("TIDEBOOK_SEED", 6)), 150, say)


@pytest.mark.parametrize("options", LAYOUTS, ids=lambda options: "-".join(map(str, options.values())))
def test_commands_made_of_anything_are_refused_with_a_reason_and_what_was_refused_has_changed_nothing(
    options: dict[str, Any], tmp_path: Path
) -> None:
    sent, by_risk, by_matching = over_shared_memory(tmp_path, int(os.environ.get("TIDEBOOK_SEED", 23)), 3_000, options)
    assert sent - by_risk > 500
    assert by_risk > 500
    assert by_matching > 50


@pytest.mark.soak
async def test_many_requests_made_of_anything(tmp_path: Path, say: Callable[[str], None]) -> None:
    for round_ in range(10):
        await by_clients(tmp_path / str(round_), secrets.randbits(32), 5_000, say)


@pytest.mark.soak
def test_millions_of_commands_made_of_anything(tmp_path: Path, say: Callable[[str], None]) -> None:
    begin = int(os.environ.get("TIDEBOOK_SEED", secrets.randbits(32)))
    print(f"TIDEBOOK_SEED={begin}")
    told: Counter[str] = Counter()
    for seed in range(begin, begin + 200):
        found = over_shared_memory(tmp_path / str(seed), seed, 20_000, LAYOUTS[seed % len(LAYOUTS)])
        told.update(dict(zip(("commands", "refused by risk", "refused by matching"), found, strict=True)))
    say(f"fuzzed commands: seeds {begin} to {begin + 199}: {dict(told)}")

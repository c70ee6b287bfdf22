"""The simulated venue on its port, spoken to by an ordinary client over 127.0.0.1."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from tidebook.errors import AddressError
from tidebook.simulate import Fault, FaultKind, Simulator, VenueLimits, VenueOptions

OPTIONS = VenueOptions(symbols=("BTCUSDT", "ETHUSDT"), rate=500, seed=4)


@asynccontextmanager
async def simulator(
    options: VenueOptions = OPTIONS, limits: VenueLimits | None = None
) -> AsyncIterator[tuple[Simulator, aiohttp.ClientSession]]:
    async with Simulator(options, limits=limits) as running, aiohttp.ClientSession(running.rest_url) as client:
        yield running, client


async def receive(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[Any]:
    return [json.loads((await socket.receive(timeout=5)).data) for _ in range(count)]


async def test_rest_answers_are_the_venues() -> None:
    async with simulator() as (running, client):
        async with client.get("/api/v3/ping") as answer:
            assert await answer.json() == {}
            assert answer.headers["x-mbx-used-weight-1m"] == "1"
        async with client.get("/api/v3/time") as answer:
            assert abs((await answer.json())["serverTime"] * 1_000 - running.venue.now_us) < 1_000_000
        async with client.get("/api/v3/exchangeInfo?symbol=ETHUSDT") as answer:
            info = await answer.json()
            assert [one["symbol"] for one in info["symbols"]] == ["ETHUSDT"]
            assert info["rateLimits"][0] == {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": 6_000,
            }


@pytest.mark.parametrize(
    ("query", "levels", "weight"),
    [
        ("", 100, 5),
        ("&limit=5", 5, 5),
        ("&limit=500", 500, 25),
        ("&limit=1000", 1_000, 50),
        ("&limit=1001", 1_001, 250),
        ("&limit=9000", None, 250),
    ],
)
async def test_a_depth_snapshot_has_the_levels_and_the_weight_of_its_limit(
    query: str, levels: int | None, weight: int
) -> None:
    async with simulator() as (_, client), client.get(f"/api/v3/depth?symbol=BTCUSDT{query}") as answer:
        snapshot = await answer.json()
        assert levels is None or len(snapshot["bids"]) == len(snapshot["asks"]) == levels
        assert answer.headers["x-mbx-used-weight-1m"] == str(weight)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v3/depth", 400, -1102),
        ("/api/v3/depth?symbol=btcusdt", 400, -1100),
        ("/api/v3/depth?symbol=SOLUSDT", 400, -1121),
        ("/api/v3/depth?symbol=BTCUSDT&limit=x", 400, -1100),
        ("/api/v3/exchangeInfo?symbol=NOPE", 400, -1121),
    ],
)
async def test_a_bad_request_gets_the_venues_code(path: str, status: int, code: int) -> None:
    async with simulator() as (_, client), client.get(path) as answer:
        assert (answer.status, (await answer.json())["code"]) == (status, code)


async def test_too_much_weight_is_429_and_going_on_is_418_both_with_retry_after() -> None:
    limits = VenueLimits(weight_per_minute=100, ban_after_count=2)
    async with simulator(limits=limits) as (_, client):
        statuses = []
        for _ in range(6):
            async with client.get("/api/v3/depth?symbol=BTCUSDT&limit=1000") as answer:
                statuses.append(answer.status)
                if answer.status != 200:
                    assert int(answer.headers["Retry-After"]) >= 0
        # A minute may end between two requests and give back the weight, but only once.
        assert statuses in ([200, 200, 429, 429, 429, 418], [200, 200, 429, 200, 200, 429]) or statuses.count(200) > 2
        assert 429 in statuses


async def test_subscriptions_follow_the_protocol() -> None:
    async with simulator() as (running, client), client.ws_connect(f"{running.ws_url}/ws") as socket:
        for request, answer in [
            ({"method": "LIST_SUBSCRIPTIONS", "id": 1}, {"result": [], "id": 1}),
            ({"method": "SUBSCRIBE", "params": ["solusdt@trade"], "id": "a"}, {"result": None, "id": "a"}),
            ({"method": "LIST_SUBSCRIPTIONS", "id": 2}, {"result": ["solusdt@trade"], "id": 2}),
            ({"method": "UNSUBSCRIBE", "params": ["solusdt@trade"], "id": 3}, {"result": None, "id": 3}),
        ]:
            await socket.send_json(request)
            assert await receive(socket, 1) == [answer]
    async with simulator() as (running, client), client.ws_connect(f"{running.ws_url}/stream") as socket:
        await socket.send_json({"method": "GET_PROPERTY", "params": ["combined"], "id": 4})
        assert await receive(socket, 1) == [{"result": True, "id": 4}]
        await socket.send_json({"method": "SING", "id": 5})
        [refusal] = await receive(socket, 1)
        assert (refusal["code"], refusal["id"]) == (2, 5)
        assert refusal["msg"].startswith("Invalid request: unknown variant `SING`")
        await socket.send_str("{no json")
        [refusal] = await receive(socket, 1)
        assert refusal["code"] == 3


async def test_raw_and_combined_streams_carry_the_same_payloads() -> None:
    async with simulator() as (running, client):
        async with (
            client.ws_connect(f"{running.ws_url}/ws/btcusdt@bookTicker") as raw,
            client.ws_connect(f"{running.ws_url}/stream?streams=btcusdt@bookTicker/ethusdt@trade") as combined,
        ):
            wrapped = {frame["data"]["u"]: frame for frame in await receive(combined, 60) if "u" in frame["data"]}
            plain = {payload["u"]: payload for payload in await receive(raw, 60)}
        both = wrapped.keys() & plain.keys()
        assert both
        for update_id in both:
            assert wrapped[update_id] == {"stream": "btcusdt@bookTicker", "data": plain[update_id]}


async def test_a_snapshot_is_spanned_by_the_diffs_around_it() -> None:
    async with (
        simulator() as (running, client),
        client.ws_connect(f"{running.ws_url}/ws/btcusdt@depth@100ms") as socket,
    ):
        diffs = await receive(socket, 3)
        async with client.get("/api/v3/depth?symbol=BTCUSDT&limit=10") as answer:
            book_id = (await answer.json())["lastUpdateId"]
        diffs += await receive(socket, 3)
        assert [diff["U"] for diff in diffs[1:]] == [diff["u"] + 1 for diff in diffs[:-1]]
        assert diffs[0]["U"] <= book_id + 1 <= diffs[-1]["u"]


async def test_pause_sends_what_is_pending_and_then_nothing_moves() -> None:
    async with (
        simulator() as (running, client),
        client.ws_connect(f"{running.ws_url}/ws/btcusdt@depth@100ms") as socket,
    ):
        _, diff = await receive(socket, 2)
        async with client.post("/sim/pause") as answer:
            status = await answer.json()
        newest = status["update_ids"]["BTCUSDT"]
        # On a slow machine the pause may fall right behind a diff, and then nothing is pending.
        while diff["u"] != newest:
            [diff] = await receive(socket, 1)
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=0.3)
        async with client.get("/sim/book?symbol=BTCUSDT") as answer:
            assert (await answer.json())["lastUpdateId"] == newest
        async with client.get(f"/sim/checkpoints?symbol=BTCUSDT&after={diff['U'] - 1}") as answer:
            assert [one["lastUpdateId"] for one in await answer.json()] == [newest]
        async with client.post("/sim/resume"):
            [diff] = await receive(socket, 1)
        assert diff["U"] == newest + 1


async def test_trades_asked_for_afterwards_are_those_that_were_sent() -> None:
    async with simulator() as (running, client), client.ws_connect(f"{running.ws_url}/ws/btcusdt@trade") as socket:
        sent = await receive(socket, 20)
        async with client.get(f"/sim/trades?symbol=BTCUSDT&from={sent[0]['t']}&limit=20") as answer:
            assert await answer.json() == sent


async def test_the_venue_pings_and_cuts_off_who_does_not_answer() -> None:
    limits = VenueLimits(ping_interval_s=0.05, pong_timeout_s=0.1)
    async with simulator(limits=limits) as (running, client):
        async with client.ws_connect(f"{running.ws_url}/ws", autoping=False) as mute:
            types = [(await mute.receive(timeout=5)).type]
            while not mute.closed:
                types.append((await mute.receive(timeout=5)).type)
            assert types[0] is aiohttp.WSMsgType.PING
            assert mute.close_code == 1008
        async with client.ws_connect(f"{running.ws_url}/ws", autoping=False) as polite:
            for _ in range(6):
                message = await polite.receive(timeout=5)
                assert message.type is aiohttp.WSMsgType.PING
                await polite.pong(message.data)


async def test_more_than_five_messages_a_second_end_the_connection() -> None:
    async with simulator() as (running, client), client.ws_connect(f"{running.ws_url}/ws") as socket:
        for number in range(6):
            await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
        received = [await socket.receive(timeout=5) for _ in range(6)]
        assert [message.type for message in received] == [aiohttp.WSMsgType.TEXT] * 5 + [aiohttp.WSMsgType.CLOSE]
        assert socket.close_code == 1008


async def ask(client: aiohttp.ClientSession, **fault: Any) -> None:
    async with client.post("/sim/faults", json=fault) as answer:
        assert answer.status == 200, await answer.text()


@pytest.mark.parametrize(
    ("kind", "steps"),
    [(FaultKind.DROP, [2]), (FaultKind.DUPLICATE, [0, 1]), (FaultKind.REORDER, [2, -1, 2])],
)
async def test_a_lost_doubled_or_swapped_trade_shows_in_its_ids(kind: FaultKind, steps: list[int]) -> None:
    async with simulator() as (running, client), client.ws_connect(f"{running.ws_url}/ws/btcusdt@trade") as socket:
        await receive(socket, 1)  # a fault on the very first trade would not show
        await ask(client, kind=kind, stream="btcusdt@trade")
        ids = [trade["t"] for trade in await receive(socket, 12)]
        odd = [after - before for before, after in pairwise(ids)]
        while odd and odd[0] == 1:
            del odd[0]
        assert odd[: len(steps)] == steps
        assert set(odd[len(steps) :]) <= {1}


async def test_malformed_frames_come_in_four_ways_and_the_stream_goes_on() -> None:
    async with (
        simulator() as (running, client),
        client.ws_connect(f"{running.ws_url}/stream?streams=btcusdt@bookTicker") as socket,
    ):
        await ask(client, kind="malformed", count=4, stream="btcusdt@*")
        damaged, whole_since = [], 0
        while whole_since < 20:
            message = await socket.receive(timeout=5)
            text = message.data.decode("latin-1") if message.type is aiohttp.WSMsgType.BINARY else message.data
            if "?" in text or not text.endswith("}}"):
                damaged.append(message)
                whole_since = 0
            else:
                assert json.loads(text)["stream"] == "btcusdt@bookTicker"
                whole_since += 1
        assert [message.type for message in damaged] == [aiohttp.WSMsgType.TEXT] * 3 + [aiohttp.WSMsgType.BINARY]


@pytest.mark.parametrize(
    ("kind", "ends"),
    [
        (FaultKind.DISCONNECT, {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}),
        (FaultKind.CLOSE, {aiohttp.WSMsgType.CLOSE}),
    ],
)
async def test_a_connection_is_reset_or_closed_on_request(kind: FaultKind, ends: set[aiohttp.WSMsgType]) -> None:
    async with simulator() as (running, client), client.ws_connect(f"{running.ws_url}/ws/btcusdt@bookTicker") as socket:
        await receive(socket, 1)
        await ask(client, kind=kind)
        message = await socket.receive(timeout=5)
        while message.type is aiohttp.WSMsgType.TEXT:
            message = await socket.receive(timeout=5)
        assert message.type in ends


async def test_a_stalled_connection_is_silent_even_to_pings_and_then_goes_on() -> None:
    async with (
        simulator() as (running, client),
        client.ws_connect(f"{running.ws_url}/ws/btcusdt@bookTicker", autoping=False) as socket,
    ):
        await receive(socket, 1)
        await ask(client, kind="stall", seconds=0.5)
        with suppress(TimeoutError):
            while True:  # what was on its way when the fault was asked for
                await socket.receive(timeout=0.2)
        await socket.ping(b"anybody there")
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=0.1)
        assert (await receive(socket, 1))[0]["s"] == "BTCUSDT"


async def test_a_shutdown_is_announced_before_the_close() -> None:
    async with (
        simulator() as (running, client),
        client.ws_connect(f"{running.ws_url}/stream?streams=btcusdt@bookTicker") as socket,
    ):
        await ask(client, kind="shutdown", seconds=0.05)
        streams = set()
        message = await socket.receive(timeout=5)
        while message.type is aiohttp.WSMsgType.TEXT:
            streams.add(json.loads(message.data)["stream"])
            message = await socket.receive(timeout=5)
        assert streams == {"btcusdt@bookTicker", "!serverShutdown"}
        assert socket.close_code == 1001


async def test_a_rest_request_fails_as_asked() -> None:
    async with simulator() as (_, client):
        await ask(client, kind="rest", status=429, seconds=3)
        await ask(client, kind="rest", status=503)
        async with client.get("/api/v3/ping") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
        async with client.get("/api/v3/ping") as answer:
            assert (answer.status, answer.headers.get("Retry-After")) == (503, None)
        async with client.get("/api/v3/ping") as answer:
            assert answer.status == 200


async def test_an_unknown_fault_is_refused_by_name() -> None:
    async with simulator() as (running, client):
        async with client.post("/sim/faults", json={"kind": "flood"}) as answer:
            assert answer.status == 400
            assert "flood" in await answer.text()
        async with client.post("/sim/faults", json={"kind": "drop", "often": 3}) as answer:
            assert "often" in await answer.text()
        assert running.faults.pending == []


async def test_faults_can_be_there_from_the_start() -> None:
    async with (
        Simulator(OPTIONS, faults=[Fault(kind=FaultKind.REST, status=500)]) as running,
        aiohttp.ClientSession(running.rest_url) as client,
        client.get("/api/v3/ping") as answer,
    ):
        assert answer.status == 500


async def test_a_port_in_use_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=f"port {port} of 127.0.0.1 is in use; choose another port"):
            await Simulator(OPTIONS, port=port).start()


async def test_no_socket_is_left_after_close() -> None:
    async with simulator() as (running, client):
        sockets = [await client.ws_connect(f"{running.ws_url}/ws/btcusdt@trade") for _ in range(3)]
        await running.close()
        for one in sockets:
            message = await one.receive(timeout=5)
            while message.type is aiohttp.WSMsgType.TEXT:
                message = await one.receive(timeout=5)
            assert one.closed
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


def test_the_command_prints_its_port_and_ends_quietly_on_sigterm() -> None:
    command = [sys.executable, "-m", "tidebook", "simulate", "binance", "--rate", "50", "--json", "--port"]
    with subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            facts = json.loads(process.stdout.readline())
            assert facts["rest"] == f"http://127.0.0.1:{facts['port']}"
            port = str(facts["port"])
            refused = subprocess.run([*command, port], capture_output=True, text=True, check=False, timeout=20)
            why = f"simulator: port {port} of 127.0.0.1 is in use; choose another port, or 0 for any free one"
            assert (refused.returncode, refused.stderr) == (1, f"tidebook: {why}\n")
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=10)
            assert (process.returncode, errors) == (0, "")
        finally:
            process.kill()

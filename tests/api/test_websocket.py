"""`/ws/v1` over real sockets: many clients, slow clients, rude clients."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from tests.api.conftest import BTC, SECOND, Clock, Desk, book, open_desk, trade
from tests.market import LISTINGS, records
from tidebook.api import ApiOptions
from tidebook.api.websocket import REQUESTS_BURST
from tidebook.feeds.status import StatusKind

PATIENCE_S = 20
DEPTH = "btcusdt.binance@depth20"
TRADE = "btcusdt.binance@trade"


async def say(client: ClientConnection, method: str, *params: str, id: int = 1) -> None:
    await client.send(msgspec.json.encode({"method": method, "params": params, "id": id}).decode())


async def hear(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        heard = msgspec.json.decode(await client.recv())
    assert isinstance(heard, dict)
    return heard


async def hear_of(client: ClientConnection, stream: str) -> dict[str, Any]:
    """The next frame of `stream`; heartbeats may come at any time."""
    while (frame := await hear(client)).get("stream") != stream:
        assert frame["stream"] == "!heartbeat"
    return frame


async def answer_of(client: ClientConnection) -> Any:
    """The next answer or refusal, past the frames before it."""
    while "id" not in (frame := await hear(client)):
        pass
    return frame


async def closing(client: ClientConnection) -> tuple[int, str]:
    """Reads to the end; the code and the reason of the server's close frame."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await hear(client)
    assert client.close_code is not None
    return client.close_code, client.close_reason or ""


@contextlib.asynccontextmanager
async def subscribed(address: str, *streams: str, **options: Any) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://{address}/ws/v1", compression=None, **options) as client:
        await say(client, "SUBSCRIBE", *streams)
        assert await answer_of(client) == {"id": 1, "result": None}
        yield client


async def test_twenty_clients_get_every_frame_and_it_was_encoded_once(desk: Desk) -> None:
    """Method: the clock stands, so only books make frames; change the book, wait until all twenty have it, repeat."""
    hub = desk.app.state.hub
    async with desk.served() as address, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(subscribed(address, DEPTH)) for _ in range(20)]
        desk.publish()  # at the latest now, the one heartbeat of the second at which the clock stands
        before = hub.counters.encoded
        for sequence in range(1, 26):
            desk.source.put("md.book", book([(sequence, 1)], [(sequence + 1, 1)], venue_sequence=sequence))
            for frame in await asyncio.gather(*(hear_of(client, DEPTH) for client in clients)):
                assert (frame["seq"], frame["data"]["last_update_id"]) == (sequence, sequence)
        assert hub.clients == 20
        assert hub.counters.encoded - before == 25
        assert hub.counters.offered >= 25 * 20


async def test_a_slow_client_is_told_so_and_closed_while_a_fast_one_gets_every_trade(desk: Desk) -> None:
    """Method: one client stops reading; trades flow until its queue and both socket buffers are full."""
    counters = desk.app.state.hub.counters
    async with (
        desk.served() as address,
        subscribed(address, TRADE, max_queue=1) as slow,
        subscribed(address, TRADE) as fast,
    ):
        number = 0
        sequences = []
        while counters.slow_consumers == 0:
            desk.source.put("md.trades", *(trade(number + at) for at in range(500)))
            number += 500
            desk.step()
            desk.publish()
            while (frame := await hear_of(fast, TRADE)).get("snapshot"):
                pass
            assert "missed" not in frame
            sequences.append(frame["seq"])
        assert sequences == list(range(1, len(sequences) + 1))
        assert await closing(slow) == (4008, "slow_consumer")


async def test_a_slow_client_of_a_state_stream_gets_the_newest_and_stays(desk: Desk) -> None:
    """Method: it reads nothing while 40,000 images replace each other; then the last frame it reads is the last image."""
    async with desk.served() as address, subscribed(address, DEPTH, max_queue=1) as slow:
        client = next(iter(desk.app.state.hub._clients))
        sequence = 0
        while client.mailbox.replaced < 50:
            sequence += 1
            levels = [(1_000_000 + at, 99_999_999) for at in range(25)]
            desk.view.feed("md.book", records("md.book", book(levels, levels, venue_sequence=sequence)))
            desk.publish()
            await asyncio.sleep(0)
        seen = 0
        while seen != sequence:
            frame = await hear_of(slow, DEPTH)
            assert frame["data"]["last_update_id"] > seen
            seen = frame["data"]["last_update_id"]
        assert client.close_code is None


async def test_another_session_and_another_price_of_an_auction_reach_who_listens(desk: Desk) -> None:
    stream = "btcusdt.binance@session"
    async with desk.served() as address, subscribed(address, stream) as client:
        for kind, found, count, session, price in [
            (StatusKind.SESSION_CHANGED, 2, 0, "auction", None),
            (StatusKind.INDICATIVE_PRICE, 6_183_763, 150_000, "auction", "61837.63"),
            (StatusKind.SESSION_CHANGED, 4, 0, "halted", None),
        ]:
            desk.source.put("md.status", {"instrument_id": BTC, "kind": kind, "found": found, "count": count})
            desk.step()
            desk.publish()
            data = (await hear_of(client, stream))["data"]
            assert (data["session"], data["indicative_price"]) == (session, price)


async def test_requests_are_answered_in_order_and_refusals_are_problems(desk: Desk) -> None:
    async with desk.served() as address, subscribed(address, "!feeds", TRADE) as client:
        await say(client, "LIST_SUBSCRIPTIONS", id=2)
        await say(client, "SUBSCRIBE", DEPTH, "btcusd.binance@trade", id=3)
        await say(client, "SUBSCRIBE", "btcusdt.binance@candles", id=4)
        await say(client, "UNSUBSCRIBE", TRADE, id=5)
        await say(client, "ORDER", id=6)
        await client.send("{")
        deep = '{"a":' * 3_000 + "1" + "}" * 3_000
        for no_request in (deep, f'{{"id": 8, "params": {deep}}}', b'{"method": "ORDER", "id": "\xff"}', b"\xff"):
            await client.send(no_request)
        await client.send(b'{"method": "LIST_SUBSCRIPTIONS", "id": 7}')
        answers: list[tuple[int | None, Any]] = []
        while len(answers) < 11:
            frame = await answer_of(client)
            answers.append((frame["id"], frame.get("result", frame.get("error", {}).get("code"))))
        assert answers == [
            (2, ["!feeds", TRADE]),
            (3, "unknown_instrument"),
            (4, "unknown_stream"),
            (5, None),
            (6, "unknown_method"),
            *[(None, "invalid_request")] * 5,
            (7, ["!feeds"]),
        ]


async def test_streams_may_stand_in_the_address_also_of_instruments_with_a_slash() -> None:
    desk = open_desk(Clock())
    desk.source.put(
        "md.instruments",
        *(
            {"instrument_id": one.instrument_id, "symbol": one.symbol, "price_exp": one.price_exp}
            for one in (LISTINGS[0], LISTINGS[3])
        ),
    )
    async with desk.served() as address:
        path = f"ws://{address}/ws/v1?streams=btc/usd.kraken@depth20/!feeds/btcusdt.binance@bookTicker"
        async with connect(path, compression=None) as client:
            assert await answer_of(client) == {"id": None, "result": None}
            await say(client, "LIST_SUBSCRIPTIONS")
            assert (await answer_of(client))["result"] == [
                "!feeds",
                "btc/usd.kraken@depth20",
                "btcusdt.binance@bookTicker",
            ]


async def test_a_flood_of_requests_is_closed_with_4029(desk: Desk) -> None:
    async with desk.served() as address, subscribed(address) as client:
        for number in range(REQUESTS_BURST * 2):
            await say(client, "LIST_SUBSCRIPTIONS", id=number)
        assert await closing(client) == (4029, "too_many_requests")


async def test_a_page_of_another_server_is_refused_at_the_door() -> None:
    desk = open_desk(Clock(), ApiOptions(origins=frozenset({"http://127.0.0.1:5173"})))
    async with desk.served() as address:
        port = int(address.rpartition(":")[2])
        for origin, name in ((Origin("http://evil.example"), "127.0.0.1"), (None, "rebound.example")):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://{name}:{port}/ws/v1", origin=origin, host="127.0.0.1", port=port)
            assert refused.value.response.status_code == 403
        for origin in (None, Origin(f"http://{address}"), Origin("http://127.0.0.1:5173")):
            async with connect(f"ws://{address}/ws/v1", origin=origin) as client:
                await say(client, "LIST_SUBSCRIPTIONS")
                assert await answer_of(client) == {"id": 1, "result": []}


async def test_a_server_that_stops_asks_its_clients_to_come_back(desk: Desk) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with desk.served() as address:
            client = await stack.enter_async_context(subscribed(address))
        assert await closing(client) == (1012, "")  # service restart


async def test_one_heartbeat_a_second_counts_on(desk: Desk) -> None:
    """Method: the first beat may come before or after the answer to the subscription, so each is asked for by its time."""
    beats = []
    async with desk.served() as address, subscribed(address) as client:
        for _ in range(3):
            desk.clock.now += SECOND
            while (beat := await hear_of(client, "!heartbeat"))["ts"] != desk.clock.now // 1_000:
                pass
            beats.append(beat)
    assert [beat["seq"] - beats[0]["seq"] for beat in beats] == [0, 1, 2]
    assert beats[2]["ts"] - beats[0]["ts"] == 2_000_000

"""What a connector does when a venue answers badly, late or not at all; the venue is a few scripted lines."""

import asyncio
import base64
import gc
import json
from typing import Any

import pytest
from aiohttp import WSMsgType

from tests.feeds.scripted import Client, Scripted, scripted
from tests.feeds.test_protocols import EXCHANGE_KEY, es256_key
from tidebook.feeds.connector import Connector
from tidebook.feeds.credentials import ApiKey
from tidebook.feeds.line import ConnectorOptions
from tidebook.feeds.protocol import VenueProtocol
from tidebook.feeds.sink import MemorySink, MessageKind
from tidebook.feeds.venues.coinbase import Coinbase
from tidebook.feeds.venues.coinbase_advanced import CoinbaseAdvanced
from tidebook.feeds.venues.kraken import Kraken

HEARTBEAT = {"channel": "heartbeat"}
QUICK: dict[str, Any] = {"snapshot_timeout_s": 0.2, "answer_timeout_s": 0.5, "stable_after_s": 0.0}


def kraken(port: int) -> VenueProtocol:
    return Kraken(Kraken.local(port), ["book"], depth=10)


def coinbase(port: int) -> VenueProtocol:
    return Coinbase(Coinbase.local(port), ["level2_batch", "heartbeat"])


async def accept(client: Client, request: dict[str, Any]) -> None:
    for symbol in request["params"]["symbol"]:
        result = {"channel": "book", "depth": 10, "symbol": symbol}
        await client.say({"method": request["method"], "result": result, "success": True, "req_id": request["req_id"]})


async def accept_with_book(client: Client, request: dict[str, Any]) -> None:
    await accept(client, request)
    if request["method"] == "subscribe":
        for symbol in request["params"]["symbol"]:
            entry = {"symbol": symbol, "bids": [], "asks": [], "checksum": 0}
            await client.say({"channel": "book", "type": "snapshot", "data": [entry]})


def methods(venue: Scripted) -> list[str]:
    return [request["method"] for request in venue.heard()]


async def test_heartbeats_beside_a_book_that_never_came_do_not_keep_a_session() -> None:
    """Twice more it is subscribed, then the connection is given up."""
    async with scripted(kraken, accept, ("BTC/USD",), heartbeat=HEARTBEAT, **QUICK) as venue:
        await venue.until(lambda: bool(venue.states("disconnected")))
        reason = "stalled: 3 subscriptions of BTC/USD brought no snapshot"
        assert venue.states("disconnected")[0]["reason"] == reason
        assert methods(venue)[:5] == ["subscribe"] + ["unsubscribe", "subscribe"] * 2
        assert [state["reason"] for state in venue.states("snapshot_failed")] == [
            "no snapshot within 0.2 s of its subscription"
        ] * 3
        await venue.until(lambda: len(venue.states("connected")) == 2)


async def test_a_book_that_is_quiet_too_long_is_subscribed_anew_to_see_whether_it_lives() -> None:
    """The first answers and stays; what answers no more is given up, heartbeats or not."""
    options: dict[str, Any] = {**QUICK, "quiet_after_s": 0.3}
    async with scripted(kraken, accept_with_book, ("BTC/USD",), heartbeat=HEARTBEAT, **options) as venue:
        await venue.until(lambda: methods(venue).count("subscribe") == 3)
        assert venue.states("disconnected") == []
        assert venue.connector.status().snapshot_count >= 2

    async def die(client: Client, request: dict[str, Any]) -> None:
        if request["method"] == "subscribe" and methods_of(client).count("subscribe") == 1:
            await accept_with_book(client, request)

    async with scripted(kraken, die, ("BTC/USD",), heartbeat=HEARTBEAT, **options) as venue:
        await venue.until(lambda: bool(venue.states("disconnected")))
        assert venue.states("disconnected")[0]["reason"] == "no answer to a request within 0.5 s"


def methods_of(client: Client) -> list[str]:
    return [request["method"] for request in client.heard]


async def test_a_request_without_an_answer_ends_the_session_and_is_tried_again() -> None:
    async def silent_at_first(client: Client, request: dict[str, Any]) -> None:
        if len(venue.clients) > 1:
            await accept_with_book(client, request)

    async with scripted(kraken, silent_at_first, ("BTC/USD",), heartbeat=HEARTBEAT, **QUICK) as venue:
        await venue.until(lambda: bool(venue.states("subscribed")))
        assert "no answer to a request within 0.5 s" in venue.states("connect_failed")[0]["reason"]
        assert [state["reason"] for state in venue.states("disconnected")] == ["no answer to a request within 0.5 s"]
        assert len(venue.states("connected")) == 2


async def test_a_venue_that_takes_connections_and_says_nothing_costs_no_sockets() -> None:
    """An upgrade that is never answered is given up, and its socket closed."""
    opened = closed = 0
    changed = asyncio.Condition()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened, closed
        opened += 1
        while await reader.read(1 << 16):
            pass
        writer.close()
        async with changed:
            closed += 1
            changed.notify()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    options = ConnectorOptions(symbols=("BTC/USD",), connect_timeout_s=0.1, first_retry_s=0.01, max_retry_s=0.02)
    sink = MemorySink()
    connector = Connector(kraken(server.sockets[0].getsockname()[1]), options, sink)
    job = asyncio.create_task(connector.run())
    async with asyncio.timeout(20), changed:
        await changed.wait_for(lambda: closed >= 4)
        job.cancel()
        await asyncio.wait({job})
        await changed.wait_for(lambda: closed == opened)
    server.close()
    assert any(b"no answer within 0.1 s" in message.body for message in sink.messages)


async def test_a_request_refused_as_a_whole_is_asked_again_in_halves() -> None:
    """Coinbase says that a message has an unknown product, and takes none of it."""
    symbols = tuple(f"P{number}-USD" for number in range(7))
    unknown = {"P2-USD", "P6-USD"}

    async def talk(client: Client, request: dict[str, Any]) -> None:
        wrong = [product for product in request["product_ids"] if product in unknown]
        if wrong:
            why = f"{wrong[0]} is not a valid product"
            await client.say({"type": "error", "message": "Failed to subscribe", "reason": why})
            return
        await client.say({"type": "subscriptions", "channels": []})
        for product in request["product_ids"]:
            await client.say({"type": "snapshot", "product_id": product, "bids": [], "asks": []})

    async with scripted(coinbase, talk, symbols, heartbeat={"type": "heartbeat"}) as venue:
        await venue.until(lambda: bool(venue.states("subscribed")))
        granted = {stream.partition("@")[0] for stream in venue.states("subscribed")[0]["streams"]}
        assert granted == set(symbols) - unknown
        assert {state["symbol"]: state["reason"] for state in venue.states("refused")} == {
            symbol: f"Failed to subscribe: {symbol} is not a valid product" for symbol in unknown
        }
        asked = [len(request["product_ids"]) for request in venue.heard()]
        assert asked[0] == 7
        assert len(asked) <= 1 + 2 * 3 * len(unknown), "halving, not one by one"
        assert venue.connector.status().snapshot_count == 5
        assert venue.states("disconnected") == []


async def test_a_venue_that_refuses_everything_is_tried_again_later() -> None:
    async def refuse(client: Client, request: dict[str, Any]) -> None:
        del request
        await client.say({"type": "error", "message": "maintenance"})

    async with scripted(coinbase, refuse, ("BTC-USD",), first_retry_s=0.01, max_retry_s=0.02) as venue:
        await venue.until(lambda: len(venue.states("connect_failed")) == 3)
        assert venue.states("connect_failed")[0]["reason"].endswith("BTC-USD refused: maintenance")


async def test_what_was_refused_is_asked_for_again_while_the_session_lives() -> None:
    async def talk(client: Client, request: dict[str, Any]) -> None:
        if "X/USD" in request["params"]["symbol"] and methods_of(client).count("subscribe") < 3:
            await client.say(
                {"error": "in maintenance", "success": False, "req_id": request["req_id"], "symbol": "X/USD"}
            )
            request["params"]["symbol"].remove("X/USD")
        await accept_with_book(client, request)

    async with scripted(kraken, talk, ("BTC/USD", "X/USD"), heartbeat=HEARTBEAT, refused_retry_s=0.1) as venue:
        await venue.until(lambda: len(venue.states("subscribed")) == 2)
        assert [state["streams"] for state in venue.states("subscribed")] == [["BTC/USD@book"], ["X/USD@book"]]
        assert [state["symbol"] for state in venue.states("refused")] == ["X/USD", "X/USD"]
        assert (venue.connector.status().refused, len(venue.states("connected"))) == ({}, 1)


async def test_a_feed_without_symbols_has_no_connection_until_it_has_some_again() -> None:
    async with scripted(kraken, accept_with_book, ("BTC/USD",), heartbeat=HEARTBEAT, **QUICK) as venue:
        await venue.until(lambda: bool(venue.states("subscribed")))
        await venue.connector.unsubscribe(["BTC/USD"])
        assert [state["reason"] for state in venue.states("disconnected")] == ["nothing left to carry"]
        await venue.until(lambda: all(client.socket.closed for client in venue.clients))
        await asyncio.sleep(0.3)
        assert len(venue.clients) == 1
        await venue.connector.subscribe(["ETH/USD"])
        await venue.until(lambda: len(venue.states("subscribed")) == 2)
        assert venue.heard()[-1]["params"]["symbol"] == ["ETH/USD"]


async def test_a_message_in_many_frames_and_one_of_many_megabytes_are_written_whole() -> None:
    levels = ",".join('["1.00","2.0"]' for _ in range(600_000))
    huge = '{"type":"snapshot","product_id":"BTC-USD","bids":[' + levels + '],"asks":[]}'
    assert 8_000_000 < len(huge) < 16 * 1024 * 1024

    async def talk(client: Client, request: dict[str, Any]) -> None:
        await client.say({"type": "subscriptions", "channels": []})
        if request["type"] == "subscribe":
            writer = client.socket._writer
            assert writer is not None
            await client.socket.send_str(huge)
            pieces = [b'{"type":"l2up', b'date","product_id":"BTC-USD",', b'"changes":[]}']
            for number, piece in enumerate(pieces):
                opcode = WSMsgType.TEXT if number == 0 else WSMsgType.CONTINUATION
                final = 0x80 if number == len(pieces) - 1 else 0
                writer.transport.write(bytes([final | opcode, len(piece)]) + piece)

    async with scripted(coinbase, talk, ("BTC-USD",), heartbeat={"type": "heartbeat"}) as venue:
        whole = b'{"type":"l2update","product_id":"BTC-USD","changes":[]}'
        await venue.until(lambda: any(message.body == whole for message in venue.sink.messages))
        bodies = [message.body for message in venue.sink.messages if message.kind == MessageKind.WS]
        assert huge.encode() in bodies
        await venue.until(lambda: bool(venue.states("subscribed")))
        assert (venue.connector.status().snapshot_count, venue.states("disconnected")) == (1, [])


async def test_a_frame_larger_than_any_ends_its_session_and_is_no_error_of_ours() -> None:
    """Method: the loop's handler of errors that nobody took."""
    untaken: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: untaken.append(context))

    async def talk(client: Client, request: dict[str, Any]) -> None:
        await client.say({"type": "subscriptions", "channels": []})
        if len(venue.clients) == 1:
            await client.socket.send_str(" " * (16 * 1024 * 1024 + 1))

    async with scripted(coinbase, talk, ("BTC-USD",), heartbeat={"type": "heartbeat"}) as venue:
        await venue.until(lambda: len(venue.states("connected")) == 2)
        assert len(venue.states("disconnected")) == 1
    gc.collect()
    assert untaken == []


@pytest.mark.parametrize("venue_name", ["coinbase", "coinbase-advanced"])
async def test_no_part_of_a_key_is_in_the_feed_a_log_or_a_status(
    venue_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Method: every secret text that was sent is looked for in all that was written, also while the venue complains."""
    key = EXCHANGE_KEY if venue_name == "coinbase" else es256_key()[0]

    def build(port: int) -> VenueProtocol:
        if venue_name == "coinbase":
            return Coinbase(Coinbase.local(port), ["level2", "heartbeat"], key)
        return CoinbaseAdvanced(CoinbaseAdvanced.local(port), key=key)

    async def refuse(client: Client, request: dict[str, Any]) -> None:
        assert request.get("signature") or request.get("jwt")
        await client.say({"type": "error", "message": "authentication failure"})

    async with scripted(build, refuse, ("BTC-USD",), first_retry_s=0.01, max_retry_s=0.02) as venue:
        await venue.until(lambda: len(venue.states("connect_failed")) == 2)
        sent = json.dumps(venue.heard())
        written = b"\n".join(message.context + message.body for message in venue.sink.messages).decode()
        written += repr(venue.connector.status()) + repr(venue.connector.protocol) + repr(venue.connector.options)
    captured = capsys.readouterr()
    written += captured.out + captured.err
    assert "authentication failure" in written
    for secret in secrets_of(key, venue.heard()):
        assert secret not in written
    assert key.name in sent or venue_name != "coinbase"


def secrets_of(key: ApiKey, heard: list[dict[str, Any]]) -> list[str]:
    words = [key.name, key.secret, key.passphrase, *key.secret.splitlines()[1:-1]]
    words += [request[word] for request in heard for word in ("signature", "jwt") if word in request]
    if key is EXCHANGE_KEY:
        words.append(base64.b64decode(key.secret).decode())
    return [word for word in words if word]

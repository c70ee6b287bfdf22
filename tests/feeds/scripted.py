"""A venue of a few lines, for behaviour no simulator has: each test says what it answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import WSMsgType, web

from tidebook.feeds.connector import Connector
from tidebook.feeds.line import ConnectorOptions
from tidebook.feeds.protocol import VenueProtocol
from tidebook.feeds.sink import MemorySink, MessageKind

Talk = Callable[["Client", dict[str, Any]], Awaitable[None]]
Serve = Callable[[web.Request], web.Response | None]


class Client:
    """One connection of a scripted venue."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []

    async def say(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            await self.socket.send_str(json.dumps(message, separators=(",", ":")))


class Scripted:
    """The venue's side, and what the connector wrote."""

    def __init__(self, sink: MemorySink) -> None:
        self.clients: list[Client] = []
        self.sink = sink
        self.connector: Connector

    def heard(self) -> list[dict[str, Any]]:
        return [request for client in self.clients for request in client.heard]

    def states(self, event: str) -> list[dict[str, Any]]:
        states = [json.loads(message.body) for message in self.sink.messages if message.kind == MessageKind.STATE]
        return [state for state in states if state["event"] == event]

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.005)


@asynccontextmanager
async def scripted(
    build: Callable[[int], VenueProtocol],
    talk: Talk,
    symbols: tuple[str, ...],
    *,
    heartbeat: dict[str, Any] | None = None,
    heartbeat_s: float = 0.05,
    admit: Serve = lambda _: None,
    rest: Serve = lambda _: None,
    **options: Any,
) -> AsyncIterator[Scripted]:
    """`talk(client, request)` answers each request; `heartbeat` is sent to every client whatever happens.

    What `admit` answers refuses an upgrade; `rest` answers what is no socket, with None an empty list.
    """
    sink = MemorySink()
    venue = Scripted(sink)

    async def serve(request: web.Request) -> web.StreamResponse:
        refusal = admit(request)
        if refusal is not None:
            return refusal
        socket = web.WebSocketResponse(max_msg_size=1 << 26)
        await socket.prepare(request)
        client = Client(socket)
        venue.clients.append(client)
        beat = asyncio.create_task(_beat(client, heartbeat, heartbeat_s)) if heartbeat else None
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                client.heard.append(json.loads(message.data))
                await talk(client, client.heard[-1])
        if beat is not None:
            beat.cancel()
        return socket

    async def serve_rest(request: web.Request) -> web.Response:
        return rest(request) or web.json_response([])

    app = web.Application()
    sockets = [web.get(path, serve) for path in ("/", "/v2", "/stream")]
    app.add_routes([*sockets, web.get("/{path:.*}", serve_rest)])
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    venue.connector = Connector(
        build(runner.addresses[0][1]), ConnectorOptions(symbols=symbols, seed=1, **options), sink
    )
    job = asyncio.create_task(venue.connector.run())
    try:
        yield venue
    finally:
        job.cancel()
        with suppress(asyncio.CancelledError):
            await job
        await runner.cleanup()


class KrakenVenue:
    """A talk: each stream of a symbol is granted or refused by itself, once; a granted book has its snapshot.

    `refuses(channel, symbol)` says why not, or nothing; `brings_book(client, symbol)` whether the snapshot comes.
    """

    def __init__(
        self,
        refuses: Callable[[str, str], str] = lambda _channel, _symbol: "",
        brings_book: Callable[[Client, str], bool] = lambda _client, _symbol: True,
    ) -> None:
        self.refuses = refuses
        self.brings_book = brings_book
        self.asked: list[tuple[str, str, str]] = []
        """Method, channel and symbol, in order; a stream of no symbol has an empty one."""
        self.stands: dict[Client, set[tuple[str, str]]] = {}

    async def __call__(self, client: Client, request: dict[str, Any]) -> None:
        method, channel = request["method"], request["params"]["channel"]
        stands = self.stands.setdefault(client, set())
        for symbol in request["params"].get("symbol", [""]):
            self.asked.append((method, channel, symbol))
            of = {"symbol": symbol} if symbol else {}
            why = self.refuses(channel, symbol) if method == "subscribe" else ""
            if method == "subscribe" and (channel, symbol) in stands:
                why = "Already subscribed"
            elif method == "unsubscribe" and (channel, symbol) not in stands:
                why = "Subscription Not Found"
            answer = {"method": method, "req_id": request["req_id"], "success": not why}
            if why:
                await client.say({**answer, "error": why, **of})
                continue
            (stands.add if method == "subscribe" else stands.discard)((channel, symbol))
            await client.say({**answer, "result": {"channel": channel, **of}})
            if channel == "book" and method == "subscribe" and self.brings_book(client, symbol):
                entry = {"symbol": symbol, "bids": [], "asks": [], "checksum": 0}
                await client.say({"channel": "book", "type": "snapshot", "data": [entry]})

    def count(self, method: str, channel: str, symbol: str) -> int:
        return self.asked.count((method, channel, symbol))


async def _beat(client: Client, heartbeat: dict[str, Any], every_s: float) -> None:
    with suppress(ConnectionError):
        while True:
            await asyncio.sleep(every_s)
            await client.say(heartbeat)

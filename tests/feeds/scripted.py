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
    **options: Any,
) -> AsyncIterator[Scripted]:
    """`talk(client, request)` answers each request; `heartbeat` is sent to every client whatever happens."""
    sink = MemorySink()
    venue = Scripted(sink)

    async def serve(request: web.Request) -> web.StreamResponse:
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

    async def rest(_request: web.Request) -> web.Response:
        return web.json_response([])

    app = web.Application()
    app.add_routes([web.get("/", serve), web.get("/v2", serve), web.get("/{path:.*}", rest)])
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


async def _beat(client: Client, heartbeat: dict[str, Any], every_s: float) -> None:
    with suppress(ConnectionError):
        while True:
            await asyncio.sleep(every_s)
            await client.say(heartbeat)

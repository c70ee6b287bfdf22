"""A simulator on a port and a client of it: what the tests of each venue stand on."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tidebook.simulate import Simulator, VenueLimits, VenueOptions

Socket = aiohttp.ClientWebSocketResponse
Level = tuple[str, str]


@asynccontextmanager
async def serving(
    options: VenueOptions, limits: VenueLimits | None = None
) -> AsyncIterator[tuple[Simulator, aiohttp.ClientSession]]:
    """The simulator and a client whose paths begin at its REST side."""
    async with Simulator(options, limits=limits) as running, aiohttp.ClientSession(running.rest_url) as client:
        yield running, client


def exact(text: str) -> Any:
    """JSON with its decimals as the text of the wire."""
    return json.loads(text, parse_float=str)


async def next_frame(socket: Socket) -> Any:
    """The next text frame."""
    message = await socket.receive(timeout=5)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return exact(message.data)


async def until(socket: Socket, wanted: Callable[[Any], bool]) -> list[Any]:
    """The frames up to and with the first that is wanted."""
    frames = []
    async with asyncio.timeout(10):
        while True:
            frames.append(await next_frame(socket))
            if wanted(frames[-1]):
                return frames


async def ask(client: aiohttp.ClientSession, **fault: Any) -> None:
    """Asks for a fault."""
    async with client.post("/sim/faults", json=fault) as answer:
        assert answer.status == 200, await answer.text()


async def paused(client: aiohttp.ClientSession) -> dict[str, Any]:
    """Stops the venue after all that is pending was sent; its status."""
    async with client.post("/sim/pause") as answer:
        status: dict[str, Any] = await answer.json()
        return status


async def resumed(client: aiohttp.ClientSession) -> None:
    """Lets it go on."""
    async with client.post("/sim/resume") as answer:
        assert answer.status == 200


async def truth(client: aiohttp.ClientSession, symbol: str, levels: int = 1_000_000) -> dict[str, list[Level]]:
    """The venue's own book."""
    async with client.get("/sim/book", params={"symbol": symbol, "levels": levels}) as answer:
        book = await answer.json()
        return {side: [(price, size) for price, size in book[side]] for side in ("bids", "asks")}


async def drained(socket: Socket, quiet_s: float = 0.25) -> list[Any]:
    """The frames until nothing comes for a while: the venue is paused."""
    frames: list[Any] = []
    while True:
        try:
            message = await socket.receive(timeout=quiet_s)
        except TimeoutError:
            return frames
        assert message.type is aiohttp.WSMsgType.TEXT, message
        frames.append(exact(message.data))


def units(text: str) -> int:
    """A decimal with a fixed number of decimals, for comparing and sorting."""
    whole, _, part = text.partition(".")
    return int(whole + part.ljust(12, "0"))

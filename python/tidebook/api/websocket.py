"""`/ws/v1`: one WebSocket session, requests in, frames out.

Plain ASGI and not the framework's WebSocket object: the session sends text that is already encoded, and at twenty
clients times twenty frames a second the wrapping is most of the cost. Two tasks per client: one reads requests, one
waits for the mailbox and for the socket. A key never travels here, so the only door check is the page's origin.
"""

import asyncio
import contextlib
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from tidebook.api import wire
from tidebook.api.hub import CLOSE_SLOW_CONSUMER, Client, Hub
from tidebook.api.origin import origin_allowed
from tidebook.api.problems import ApiError
from tidebook.api.topics import Topic
from tidebook.errors import UnknownInstrumentError

if TYPE_CHECKING:
    from collections.abc import Callable

CLOSE_RATE = 4029

_CLOSE_REASONS = {
    CLOSE_SLOW_CONSUMER: "slow_consumer",
    CLOSE_RATE: "too_many_requests",
}

STREAMS_MAX = 1_024
REQUESTS_PER_SECOND = 10
REQUESTS_BURST = 20
CLOSE_TIMEOUT_S = 5.0

# Streams of `?streams=a/b`. An instrument may hold a slash itself (BTC/USD.KRAKEN), so a name ends at its kind.
_STREAM = re.compile(r"(![a-z]+|[^@!]+@[A-Za-z0-9_.]+)(?:/|$)")
_EXAMPLE = '{"method": "SUBSCRIBE", "params": ["!feeds"], "id": 1}'


class RequestBudget:
    """Token bucket: `REQUESTS_PER_SECOND` in the long run, `REQUESTS_BURST` at once."""

    def __init__(self, now_s: float) -> None:
        self._tokens = float(REQUESTS_BURST)
        self._at = now_s

    def spend(self, now_s: float) -> bool:
        """Takes one token; False when none is left."""
        self._tokens = min(float(REQUESTS_BURST), self._tokens + (now_s - self._at) * REQUESTS_PER_SECOND)
        self._at = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class WebSocketEndpoint:
    """ASGI application for `/ws/v1`."""

    def __init__(self, hub: Hub, origins: frozenset[str]) -> None:
        self._hub = hub
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection to its end."""
        await receive()  # websocket.connect
        if not origin_allowed(scope, self._origins):
            await send({"type": "websocket.close", "code": 1008})  # before accept: HTTP 403
            return
        await send({"type": "websocket.accept"})
        client = self._hub.join()
        try:
            await _Session(self._hub, client, receive, send).run(scope["query_string"])
        finally:
            self._hub.leave(client)


class _Session:
    """One client from accept to close."""

    def __init__(self, hub: Hub, client: Client, receive: Receive, send: Send) -> None:
        self._hub = hub
        self._client = client
        self._receive = receive
        self._send = send
        self._methods: dict[str, Callable[[list[str]], tuple[Any, list[Topic]]]] = {
            "SUBSCRIBE": self._subscribe,
            "UNSUBSCRIBE": self._unsubscribe,
            "LIST_SUBSCRIPTIONS": self._list,
        }

    async def run(self, query: bytes) -> None:
        """Serves until the client leaves, or until it must end."""
        asked = parse_qs(query.decode("latin-1")).get("streams", [""])[0]
        if asked:
            named = _STREAM.findall(asked)
            # What is left over is no name; taken whole it is refused by name.
            self._answer(wire.Request("SUBSCRIBE", [asked] if _STREAM.sub("", asked) else named, None))
        parts = (self._read(), self._write(), self._client.ended.wait())
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._client.close_code is not None:
            await self._close(self._client.close_code)

    async def _close(self, code: int) -> None:
        # A client that reads nothing never lets the close frame out; its socket is then dropped without one.
        reason = _CLOSE_REASONS[code]
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def _write(self) -> None:
        client = self._client
        with contextlib.suppress(OSError):  # uvicorn's ClientDisconnected
            while True:
                await client.bell.wait()
                client.bell.clear()
                while (frame := client.mailbox.take()) is not None:
                    await self._send({"type": "websocket.send", "text": frame})

    async def _read(self) -> None:
        budget = RequestBudget(time.monotonic())
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return
            if not budget.spend(time.monotonic()):
                self._client.end(CLOSE_RATE)
                return
            self._take(message.get("text") or message.get("bytes") or b"")

    def _take(self, text: str | bytes) -> None:
        try:
            request = wire.decode_request(text)
        except wire.NO_REQUEST as error:
            detail = f"not a request: {error}; send for example {_EXAMPLE}"
            self._refuse(wire.request_id(text), ApiError(400, "invalid_request", detail))
            return
        self._answer(request)

    def _answer(self, request: wire.Request) -> None:
        method = self._methods.get(request.method)
        try:
            if method is None:
                detail = f"no method {request.method!r}; there are {', '.join(self._methods)}"
                raise ApiError(404, "unknown_method", detail)
            result, topics = method(request.params)
        except UnknownInstrumentError as error:
            self._refuse(request.id, ApiError(404, "unknown_instrument", str(error)))
        except ApiError as error:
            self._refuse(request.id, error)
        else:
            self._client.put_event(wire.encode(wire.Answer(request.id, result)).decode())
            for topic in topics:
                self._hub.subscribe(self._client, topic)

    def _refuse(self, request_id: int | str | None, error: ApiError) -> None:
        self._client.put_event(wire.encode(wire.Refusal(request_id, error.problem("/ws/v1"))).decode())

    def _subscribe(self, streams: list[str]) -> tuple[None, list[Topic]]:
        # All or nothing: every name is resolved before the first subscription begins.
        topics = [self._hub.open(stream) for stream in streams]
        wanted = {topic.stream for topic in topics} | self._client.streams.keys()
        if len(wanted) > STREAMS_MAX:
            detail = f"{len(wanted)} streams where a connection may have {STREAMS_MAX}; open a second connection"
            raise ApiError(400, "too_many_streams", detail)
        return None, topics

    def _unsubscribe(self, streams: list[str]) -> tuple[None, list[Topic]]:
        for stream in streams:
            self._hub.unsubscribe(self._client, self._hub.open(stream).stream)
        return None, []

    def _list(self, _: list[str]) -> tuple[list[str], list[Topic]]:
        return sorted(self._client.streams), []

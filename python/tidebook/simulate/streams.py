"""WebSocket side of the simulated venue: connections, subscriptions, keep-alive, and delivery with its faults.

A message is encoded once as a ready frame and appended to each subscriber; what a connection got in one turn of the
clock leaves in one write. The frames go past aiohttp's writer, which would cost a call and a system call per message
(14 us against 2): a server's frame is an unmasked header plus the payload.

Source: Binance API documentation, Spot, "WebSocket Streams" (general information, limits, live subscribing, errors).
"""

import asyncio
import contextlib
import json
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import WSMsgType, web

from tidebook.simulate.faults import FaultKind, Faults
from tidebook.simulate.limits import VenueLimits
from tidebook.simulate.venue import StreamMessage

TEXT_FRAME = 0x81
BINARY_FRAME = 0x82
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
REQUEST_ID_CHARACTERS_MAX = 36


@dataclass(slots=True, eq=False)
class Connection:
    """One WebSocket client of the venue."""

    number: int
    socket: web.WebSocketResponse
    transport: asyncio.Transport
    combined: bool
    streams: dict[str, None] = field(default_factory=dict)
    sent: int = 0
    outgoing: list[bytes] = field(default_factory=list)
    """Frames of this turn."""
    held: dict[str, bytes] = field(default_factory=dict)
    """Stream -> the frame that a reorder fault keeps back until the stream's next one."""
    silent_until: float = 0.0
    """Monotonic time until which a stall fault lasts; 0 = none."""
    pings: dict[bytes, float] = field(default_factory=dict)
    """Pings not answered yet and when they left."""
    incoming: deque[float] = field(default_factory=deque)


class StreamHub:
    """Hands messages to the connections that subscribed to their stream.

    `wanted_changed` is told which streams have a subscriber, whenever that changes.
    """

    def __init__(
        self,
        known_streams: frozenset[str],
        faults: Faults,
        limits: VenueLimits,
        wanted_changed: Callable[[frozenset[str]], None],
    ) -> None:
        self.connections: dict[int, Connection] = {}
        self._known_streams = known_streams
        self._faults = faults
        self._limits = limits
        self._wanted_changed = wanted_changed
        self._subscribers: dict[str, list[Connection]] = {}
        self._connection_count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted_changed(frozenset())

    # Delivery

    def deliver(self, message: StreamMessage) -> None:
        """Adds the message to the turn of each subscriber."""
        raw = combined = b""
        for connection in tuple(self._subscribers.get(message.stream, ())):
            if connection.combined:
                combined = combined or frame(combine(message))
            else:
                raw = raw or frame(message.body)
            ready = combined if connection.combined else raw
            if self._faults.pending or connection.silent_until or connection.held:
                self._deliver_with_faults(connection, message, ready)
            else:
                connection.outgoing.append(ready)

    def write_out(self) -> None:
        """Ends the turn: everything added since the last call leaves."""
        for connection in tuple(self.connections.values()):
            if connection.outgoing:
                self._write(connection)

    def abort_all(self) -> None:
        """Resets every connection."""
        for connection in tuple(self.connections.values()):
            connection.transport.abort()
        for task in self._tasks:
            task.cancel()

    def _write(self, connection: Connection) -> None:
        frames, connection.outgoing = connection.outgoing, []
        transport = connection.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > self._limits.buffer_bytes_max:
            transport.abort()  # a client that does not read; the venue cuts it off as well
            return
        transport.write(b"".join(frames))
        connection.sent += len(frames)

    def _deliver_with_faults(self, connection: Connection, message: StreamMessage, ready: bytes) -> None:
        if connection.silent_until:
            if time.monotonic() < connection.silent_until:
                return
            connection.silent_until = 0.0
        late = connection.held.pop(message.stream, None)
        fault = self._faults.next_for_message(message.stream, connection.number)
        match None if fault is None else fault.kind:
            case None:
                connection.outgoing.append(ready)
            case FaultKind.DROP:
                pass
            case FaultKind.DUPLICATE:
                connection.outgoing += (ready, ready)
            case FaultKind.REORDER:
                connection.held[message.stream] = ready
            case FaultKind.MALFORMED:
                payload = combine(message) if connection.combined else message.body
                damaged, binary = self._faults.damage(payload)
                connection.outgoing.append(frame(damaged, BINARY_FRAME if binary else TEXT_FRAME))
            case FaultKind.DISCONNECT:
                self._write(connection)
                connection.transport.abort()
                self._forget(connection)
            case FaultKind.CLOSE:
                self._forget(connection)
                self._close_later(connection, 0.0, 1001, b"going away")
            case FaultKind.STALL:
                assert fault is not None
                connection.silent_until = time.monotonic() + fault.seconds
            case FaultKind.SHUTDOWN:
                assert fault is not None
                notice = StreamMessage(
                    "!serverShutdown", b'{"e":"serverShutdown","E":%d}' % (time.time_ns() // 1_000_000)
                )
                connection.outgoing += (ready, frame(combine(notice) if connection.combined else notice.body))
                self._close_later(connection, fault.seconds, 1001, b"server shutdown")
        if late is not None:
            connection.outgoing.append(late)

    def _close_later(self, connection: Connection, seconds: float, code: int, reason: bytes) -> None:
        async def close() -> None:
            await asyncio.sleep(seconds)
            self._write(connection)
            await connection.socket.close(code=code, message=reason)

        task = asyncio.get_running_loop().create_task(close(), name=f"close connection {connection.number}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Sockets

    async def serve_raw(self, request: web.Request) -> web.StreamResponse:
        """`/ws`, `/ws/<stream>`, `/ws/<stream>/<stream>`: payloads without a wrapper."""
        return await self._serve(request, unquote(request.match_info.get("streams", "")), combined=False)

    async def serve_combined(self, request: web.Request) -> web.StreamResponse:
        """`/stream?streams=<a>/<b>`: payloads wrapped with the name of their stream."""
        return await self._serve(request, request.query.get("streams", ""), combined=True)

    async def _serve(self, request: web.Request, streams: str, *, combined: bool) -> web.StreamResponse:
        names = [name for name in streams.split("/") if name]
        if len(names) > self._limits.streams_per_connection:
            return web.Response(status=400, text=f"more than {self._limits.streams_per_connection} streams")
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=1 << 20, timeout=1.0)
        await socket.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        self._connection_count += 1
        connection = Connection(self._connection_count, socket, request.transport, combined)
        self.connections[connection.number] = connection
        self._subscribe(connection, names)
        keeper = asyncio.create_task(self._keep_alive(connection), name=f"keep-alive {connection.number}")
        try:
            async for message in socket:
                if not self._within_rate(connection):
                    await socket.close(code=1008, message=b"Too many requests")
                elif message.type is WSMsgType.TEXT:
                    await self._answer(connection, message.data)
                elif message.type is WSMsgType.PING and not connection.silent_until:
                    await socket.pong(message.data)
                elif message.type is WSMsgType.PONG:
                    connection.pings.pop(bytes(message.data), None)
        except ConnectionError:
            pass  # the client is gone, or a fault cut it off while an answer was on its way
        finally:
            keeper.cancel()
            self._forget(connection)
        return socket

    def _within_rate(self, connection: Connection) -> bool:
        now = time.monotonic()
        connection.incoming.append(now)
        while connection.incoming[0] < now - 1.0:
            connection.incoming.popleft()
        return len(connection.incoming) <= self._limits.incoming_messages_per_s

    async def _keep_alive(self, connection: Connection) -> None:
        limits = self._limits
        end = time.monotonic() + limits.connection_lifetime_s
        with contextlib.suppress(ConnectionError):
            while True:
                now = time.monotonic()
                await asyncio.sleep(max(0.0, min(limits.ping_interval_s, end - now)))
                now = time.monotonic()
                if now >= end:
                    await connection.socket.close(code=1001, message=b"connection lifetime")
                    return
                if any(now - sent >= limits.pong_timeout_s for sent in connection.pings.values()):
                    await connection.socket.close(code=1008, message=b"Pong timeout")
                    return
                if now >= connection.silent_until:
                    payload = b"%d" % (time.time_ns() // 1_000_000)
                    connection.pings[payload] = now
                    await connection.socket.ping(payload)

    # Requests over the socket

    async def _answer(self, connection: Connection, text: str) -> None:
        try:
            request = json.loads(text)
        except ValueError as error:
            answer: dict[str, Any] = {"code": 3, "msg": f"Invalid JSON: {error}"}
        else:
            answer = self._handle(connection, request)
        if not connection.silent_until:
            await connection.socket.send_str(json.dumps(answer, separators=(",", ":")))

    def _handle(self, connection: Connection, request: Any) -> dict[str, Any]:
        """The answer to one request, after doing it. Errors carry a code and never close the socket."""
        request_id = request.get("id") if isinstance(request, dict) else None

        def invalid(why: str) -> dict[str, Any]:
            return {"code": 2, "msg": f"Invalid request: {why}", "id": request_id}

        if not isinstance(request, dict):
            return invalid("expected an object")
        if isinstance(request_id, str) and len(request_id) > REQUEST_ID_CHARACTERS_MAX:
            return invalid("request ID too long")
        if request_id is not None and not isinstance(request_id, int | str):
            return invalid("request ID must be an integer, a string or null")
        params = request.get("params", [])
        match request.get("method"):
            case "LIST_SUBSCRIPTIONS":
                return {"result": list(connection.streams), "id": request_id}
            case "GET_PROPERTY" if params == ["combined"]:
                return {"result": connection.combined, "id": request_id}
            case "SET_PROPERTY" if params in (["combined", True], ["combined", False]):
                connection.combined = params[1]
                return {"result": None, "id": request_id}
            case "GET_PROPERTY" | "SET_PROPERTY":
                return invalid("unknown property")
            case "SUBSCRIBE" | "UNSUBSCRIBE" as method:
                if not isinstance(params, list) or not params or not all(isinstance(name, str) for name in params):
                    return invalid("params must be a list of stream names")
                if method == "UNSUBSCRIBE":
                    self._unsubscribe(connection, params)
                elif len(connection.streams.keys() | set(params)) > self._limits.streams_per_connection:
                    return invalid(f"more than {self._limits.streams_per_connection} streams")
                else:
                    self._subscribe(connection, params)
                return {"result": None, "id": request_id}
            case method:
                return invalid(f"unknown variant `{method}`, expected one of {', '.join(METHODS)}")

    def _subscribe(self, connection: Connection, streams: Iterable[str]) -> None:
        for stream in streams:
            if stream in connection.streams:
                continue
            connection.streams[stream] = None
            # Like the venue, a stream nobody feeds is accepted and stays silent.
            if stream in self._known_streams:
                self._subscribers.setdefault(stream, []).append(connection)
        self._wanted_changed(frozenset(self._subscribers))

    def _unsubscribe(self, connection: Connection, streams: Iterable[str]) -> None:
        for stream in streams:
            if stream in connection.streams:
                del connection.streams[stream]
                subscribers = self._subscribers.get(stream, [])
                if connection in subscribers:
                    subscribers.remove(connection)
                if not subscribers:
                    self._subscribers.pop(stream, None)
        self._wanted_changed(frozenset(self._subscribers))

    def _forget(self, connection: Connection) -> None:
        self._unsubscribe(connection, list(connection.streams))
        self.connections.pop(connection.number, None)


def combine(message: StreamMessage) -> bytes:
    """The payload inside the wrapper of a combined connection."""
    return b'{"stream":"%b","data":%b}' % (message.stream.encode(), message.body)


def frame(payload: bytes, head: int = TEXT_FRAME) -> bytes:
    """A whole server frame (RFC 6455, section 5.2: not masked, the shortest length form)."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", head, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", head, 126, size) + payload
    return struct.pack("!BBQ", head, 127, size) + payload

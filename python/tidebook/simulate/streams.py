"""WebSocket side of a simulated venue: connections, subscriptions, keep-alive, and delivery with its faults.

A message is encoded once as a ready frame and appended to each subscriber; what a connection got in one turn of the
clock leaves in one write. The frames go past aiohttp's writer, which would cost a call and a system call per message
(14 us against 2): a server's frame is an unmasked header plus the payload. What is said and understood is the dialect's.
"""

import asyncio
import contextlib
import re
import struct
import time
from collections import deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tidebook.simulate.dialect import StreamMessage, Talk
from tidebook.simulate.faults import Fault, FaultKind, Faults, refusal
from tidebook.simulate.limits import VenueLimits

TEXT_FRAME = 0x81
BINARY_FRAME = 0x82
PING_FRAME = 0x89
PONG_FRAME = 0x8A

SECOND_S = 1.0
SLOW_PIECES = 20


@dataclass(slots=True, eq=False)
class Connection:
    """One WebSocket client of the venue."""

    number: int
    socket: web.WebSocketResponse
    transport: asyncio.Transport
    form: str
    """Connections of one form get the same payloads, unless the venue numbers them."""
    streams: dict[str, None] = field(default_factory=dict)
    sent: int = 0
    """Frames that left."""
    control_sent: int = 0
    """Of them pings and pongs, which are no messages."""
    outgoing: list[bytes] = field(default_factory=list)
    """Frames of this turn."""
    held: dict[str, bytes] = field(default_factory=dict)
    """Stream -> the frame that a reorder fault keeps back until the stream's next one."""
    silent_until: float = 0.0
    """Monotonic time until which a stall fault lasts; 0 = none."""
    slow: asyncio.Task[None] | None = None
    """Sends a frame in pieces; what comes after it waits, a close too."""
    pings: dict[bytes, float] = field(default_factory=dict)
    """Pings not answered yet and when they left."""
    incoming: deque[float] = field(default_factory=deque)
    sequence: int = 0
    """Number of the next message, where the venue numbers them."""
    subscribed: bool = False
    """It has subscribed to something at some time."""
    written_at: float = field(default_factory=time.monotonic)
    notes: dict[str, Any] = field(default_factory=dict)
    """What the dialect wants to remember of it."""


class StreamHub:
    """Hands messages to the connections that subscribed to their stream.

    `subscribers` holds the streams that somebody listens to and nothing else.
    """

    def __init__(self, faults: Faults, limits: VenueLimits) -> None:
        self.connections: dict[int, Connection] = {}
        self.subscribers: dict[str, list[Connection]] = {}
        self.talk: Talk
        """Set before anything is served."""
        self._faults = faults
        self._limits = limits
        self._connection_count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # Subscriptions

    def subscribe(self, connection: Connection, stream: str) -> bool:
        """Adds a stream; False when it was there. One that nobody feeds stays silent, as on a real venue."""
        if stream in connection.streams:
            return False
        connection.streams[stream] = None
        connection.subscribed = True
        self.subscribers.setdefault(stream, []).append(connection)
        return True

    def unsubscribe(self, connection: Connection, stream: str) -> bool:
        """Takes a stream away; False when it was not there."""
        if stream not in connection.streams:
            return False
        del connection.streams[stream]
        subscribers = self.subscribers[stream]
        subscribers.remove(connection)
        if not subscribers:
            del self.subscribers[stream]
        return True

    # Delivery

    def deliver(self, message: StreamMessage) -> None:
        """Adds the message to the turn of each subscriber."""
        subscribers = self.subscribers.get(message.stream)
        if subscribers:
            payloads: dict[str, tuple[bytes, bytes]] = {}
            for connection in tuple(subscribers):
                self._hand(connection, message, payloads)

    def deliver_to(self, connection: Connection, message: StreamMessage) -> None:
        """Adds a message that only one connection gets, a snapshot or a heartbeat; faults may befall it."""
        self._hand(connection, message, {})

    def say(self, connection: Connection, payload: bytes, head: int = TEXT_FRAME) -> None:
        """Adds an answer. No fault but silence befalls it."""
        if not connection.silent_until:
            connection.outgoing.append(frame(payload, head))
            connection.control_sent += head == PONG_FRAME

    def write_out(self) -> None:
        """Ends the turn: everything added since the last call leaves."""
        for connection in tuple(self.connections.values()):
            if connection.outgoing:
                self.write(connection)

    def write(self, connection: Connection) -> None:
        """Everything added to this connection leaves, unless a slow frame is before it."""
        if connection.slow is not None:
            return
        frames, connection.outgoing = connection.outgoing, []
        transport = connection.transport
        if transport.is_closing() or not frames:
            return
        if transport.get_write_buffer_size() > self._limits.buffer_bytes_max:
            transport.abort()  # a client that does not read; the venue cuts it off as well
            return
        transport.write(b"".join(frames))
        connection.sent += len(frames)
        connection.written_at = time.monotonic()

    def close(self, connection: Connection, code: int, reason: bytes, after_s: float = 0.0) -> None:
        """Closes a connection politely, after what was added to it."""

        async def close() -> None:
            await asyncio.sleep(after_s)
            await self._end(connection, code, reason)

        self._run(close(), f"close connection {connection.number}")

    def abort_all(self) -> None:
        """Resets every connection."""
        for connection in tuple(self.connections.values()):
            connection.transport.abort()
        for task in self._tasks:
            task.cancel()

    def _hand(self, connection: Connection, message: StreamMessage, payloads: dict[str, tuple[bytes, bytes]]) -> None:
        form = str(connection.number) if self.talk.numbered else connection.form
        ready = payloads.get(form)
        if ready is None:
            payload = self.talk.payload(message, connection)
            ready = payloads[form] = (payload, frame(payload))
        if self._faults.pending or connection.silent_until or connection.held:
            self._hand_with_faults(connection, message, *ready)
        else:
            connection.outgoing.append(ready[1])

    def _hand_with_faults(self, connection: Connection, message: StreamMessage, payload: bytes, ready: bytes) -> None:
        if connection.silent_until:
            if time.monotonic() < connection.silent_until:
                return
            connection.silent_until = 0.0
        late = connection.held.pop(message.stream, None)
        fault = self._faults.next_for_message(message.stream, connection.number, payload)
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
                damaged, binary = self._faults.damage(payload)
                connection.outgoing.append(frame(damaged, BINARY_FRAME if binary else TEXT_FRAME))
            case FaultKind.CHECKSUM:
                connection.outgoing.append(frame(wrong_checksum(payload)))
            case FaultKind.SEQUENCE:
                connection.outgoing.append(ready)
                connection.sequence += 1
            case FaultKind.HUGE:
                assert fault is not None
                connection.outgoing.append(frame(payload.ljust(fault.size_bytes)))
            case FaultKind.SLOW:
                assert fault is not None
                self.write(connection)
                if connection.slow is not None:
                    connection.outgoing.append(ready)
                else:
                    # From now on, not from when the task begins: until then the next frame would overtake this one.
                    trickle = self._trickle(connection, ready, fault.seconds)
                    connection.slow = self._run(trickle, f"slow frame to {connection.number}")
            case FaultKind.DISCONNECT:
                self.write(connection)
                connection.transport.abort()
                self._forget(connection)
            case FaultKind.CLOSE:
                self._forget(connection)
                self.close(connection, 1001, b"going away")
            case FaultKind.STALL:
                assert fault is not None
                connection.silent_until = time.monotonic() + fault.seconds
            case FaultKind.SHUTDOWN:
                assert fault is not None
                self._shut_down(connection, ready, fault)
        if late is not None:
            connection.outgoing.append(late)

    def _shut_down(self, connection: Connection, ready: bytes, fault: Fault) -> None:
        connection.outgoing.append(ready)
        notice = self.talk.shutdown_notice(time.time_ns() // 1_000)
        if notice is not None:
            connection.outgoing.append(frame(self.talk.payload(notice, connection)))
        self.close(connection, 1001, b"server shutdown", fault.seconds)

    async def _trickle(self, connection: Connection, ready: bytes, seconds: float) -> None:
        """Sends one frame in pieces over so many seconds."""
        try:
            size = max(1, len(ready) // SLOW_PIECES)
            pieces = [ready[at : at + size] for at in range(0, len(ready), size)]
            for piece in pieces:
                if connection.transport.is_closing():
                    break
                connection.transport.write(piece)
                await asyncio.sleep(seconds / len(pieces))
        finally:
            connection.slow = None
        self.write(connection)

    async def _end(self, connection: Connection, code: int, reason: bytes) -> None:
        """Closes politely behind all that was added: a close inside a slow frame would be bytes of that frame."""
        while connection.slow is not None:
            await asyncio.wait({connection.slow})
        self.write(connection)
        await connection.socket.close(code=code, message=reason)

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Sockets

    async def serve(self, request: web.Request, form: str = "", streams: Iterable[str] = ()) -> web.StreamResponse:
        """One client, from its upgrade to its end."""
        fault = self._faults.next_for_connect()
        if fault is not None:
            return refusal(fault)
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=1 << 20, timeout=1.0)
        await socket.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        self._connection_count += 1
        connection = Connection(self._connection_count, socket, request.transport, form)
        self.connections[connection.number] = connection
        self.talk.greet(connection, streams)
        self.write(connection)
        keeper = asyncio.create_task(self._keep(connection), name=f"keep-alive {connection.number}")
        try:
            async for message in socket:
                within = self._within_rate(connection)
                if message.type is WSMsgType.TEXT:
                    refused = not within or self._faults.next_for_answer() is not None
                    (self.talk.too_many if refused else self.talk.answer)(connection, message.data)
                elif not within:
                    self.talk.too_many(connection, "")
                elif message.type is WSMsgType.PING:
                    self.say(connection, bytes(message.data), PONG_FRAME)
                elif message.type is WSMsgType.PONG:
                    connection.pings.pop(bytes(message.data), None)
                self.write(connection)
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

    async def _keep(self, connection: Connection) -> None:
        """Pings, heartbeats and the ends that come by themselves."""
        limits = self._limits
        opened = time.monotonic()
        ping_at, second_at = opened + limits.ping_interval_s, opened + SECOND_S
        with contextlib.suppress(ConnectionError):
            while True:
                due = [ping_at, second_at, opened + limits.connection_lifetime_s]
                if not connection.subscribed:
                    due.append(opened + limits.subscribe_within_s)
                await asyncio.sleep(max(0.0, min(due) - time.monotonic()))
                now = time.monotonic()
                reason = self._why_it_ends(connection, opened, now)
                if reason is not None:
                    await self._end(connection, *reason)
                    return
                if now >= second_at:
                    second_at += SECOND_S
                    self.talk.second(connection)
                if now >= ping_at:
                    ping_at += limits.ping_interval_s
                    if now >= connection.silent_until:
                        payload = b"%d" % (time.time_ns() // 1_000_000)
                        connection.pings[payload] = now
                        connection.outgoing.append(frame(payload, PING_FRAME))
                        connection.control_sent += 1
                self.write(connection)

    def _why_it_ends(self, connection: Connection, opened: float, now: float) -> tuple[int, bytes] | None:
        limits = self._limits
        if now >= opened + limits.connection_lifetime_s:
            return 1001, b"connection lifetime"
        if not connection.subscribed and now >= opened + limits.subscribe_within_s:
            return 1008, b"no subscription in time"
        if now - connection.written_at >= limits.quiet_s:
            return 1001, b"quiet"
        if any(now - sent >= limits.pong_timeout_s for sent in connection.pings.values()):
            return 1008, b"Pong timeout"
        return None

    def _forget(self, connection: Connection) -> None:
        for stream in list(connection.streams):
            self.unsubscribe(connection, stream)
        self.connections.pop(connection.number, None)


def wrong_checksum(payload: bytes) -> bytes:
    """The payload with every checksum one off."""
    return re.sub(rb'("checksum":)(\d+)', lambda found: b"%b%d" % (found[1], int(found[2]) ^ 1), payload)


def frame(payload: bytes, head: int = TEXT_FRAME) -> bytes:
    """A whole server frame (RFC 6455, section 5.2: not masked, the shortest length form)."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", head, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", head, 126, size) + payload
    return struct.pack("!BBQ", head, 127, size) + payload

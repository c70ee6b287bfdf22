"""A recording played as the venue sent it: the same frames over a WebSocket, the same answers over REST.

The recording is one row of frames and REST answers. The first connection gets the frames in their order; when it ends,
the next one goes on where it was. A REST answer is a barrier: frames behind it wait until the client has asked for it
and had time to read it, because a client that sees a snapshot at another place than the recorder did makes other
records of it. A recorded answer to a subscription waits for the client's request in the same way. A barrier that
nobody comes to is passed after `patience_s`, so that a client with other habits gets the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from aiohttp import WSMsgType, web

from tidebook._core import Recording, unpack_message
from tidebook.errors import CaptureError
from tidebook.feeds.sink import MessageKind
from tidebook.simulate.serving import serve_on
from tidebook.simulate.streams import PONG_FRAME, frame
from tidebook.simulate.wire import dialect_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

CHUNK_MESSAGES = 8_192
# What may lie unread between us and the client before we wait for it.
UNREAD_BYTES_MAX = 1 << 20
BATCH_BYTES = 1 << 16
AS_FAST_AS_READ = 0.0


@dataclass(slots=True)
class _Item:
    """One thing the venue sent. `target` is the REST request it answers; None of a frame; `ends` a connection's end."""

    ts_ns: int
    body: bytes
    target: str | None = None
    ends: bool = False
    asked: bool = False
    """A REST answer that the client has asked for, or that was waited for in vain."""


class RecordingPlayer:
    """Serves the recordings of one venue, read in the order given. Use as `async with RecordingPlayer(files) as player`.

    `speed` is how often as fast as recorded; 0 = as fast as the client reads. Port 0 takes any free port.

    Raises: CaptureError when a file is unreadable or they are of several venues; ConfigError for a venue that has no
        simulator; AddressError on start when the port cannot be bound.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        speed: float = 1.0,
        patience_s: float = 2.0,
        settle_s: float = 0.05,
    ) -> None:
        recordings = [Recording(path) for path in files]
        venues = sorted({recording.venue for recording in recordings})
        if len(venues) != 1:
            raise CaptureError(f"recordings of different venues ({', '.join(venues)}); play one venue at a time")
        self.venue = venues[0]
        self.host = host
        self.port = port
        self.frames_sent = 0
        self._dialect = dialect_of(self.venue)
        self._tls = tls
        self._speed = speed
        self._patience_s = patience_s
        self._settle_s = settle_s
        self._items: list[_Item] = []
        for recording in recordings:
            self._read(recording)
        self.frame_count = sum(item.target is None and not item.ends for item in self._items)
        self._answers = [
            item.body for item in self._items if item.target is None and self._dialect.is_answer(item.body)
        ]
        self._next = 0
        self._playing = asyncio.Lock()
        self._requests_seen = 0
        self._answers_played = 0
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._offset_s: float | None = None
        """Monotonic time minus scaled recorded time."""

    @property
    def rest_url(self) -> str:
        """Base of the REST requests."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """Base of the WebSocket paths; every path is served."""
        return f"{'wss' if self._tls else 'ws'}://{self.host}:{self.port}"

    @property
    def finished(self) -> bool:
        """Everything was sent."""
        return self._next == len(self._items)

    async def start(self) -> None:
        """Binds the port; the first client starts the recording."""
        routes = [web.get("/sim/status", self._status), web.get("/{path:.*}", self._serve)]
        self._runner, self.port = await serve_on(routes, self.host, self.port, self._tls)

    async def close(self) -> None:
        """Ends every connection and frees the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def serve_forever(self) -> None:
        """Serves until cancelled."""
        await asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _read(self, recording: Recording) -> None:
        while len(chunk := recording.next(CHUNK_MESSAGES)):
            for index in range(len(chunk)):
                ts_ns, _, kind, context, body = unpack_message(chunk[index])
                if kind == MessageKind.WS:
                    self._items.append(_Item(ts_ns, body))
                elif kind == MessageKind.REST:
                    self._items.append(_Item(ts_ns, body, target=context.decode()))
                elif kind == MessageKind.STATE and json.loads(body).get("event") == "disconnected":
                    self._items.append(_Item(ts_ns, b"", ends=True))

    # REST

    async def _status(self, _request: web.Request) -> web.Response:
        facts: dict[str, Any] = {"venue": self.venue, "frames": self.frame_count, "sent": self.frames_sent}
        return web.json_response({**facts, "finished": self.finished})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._serve_socket(request)
        return await self._serve_rest(request)

    async def _serve_rest(self, request: web.Request) -> web.Response:
        """The next recorded answer to such a request, as soon as the frames before it were read; then the last again."""
        wanted = _subject(request.path_qs)
        found = [index for index, item in enumerate(self._items) if item.target and _subject(item.target) == wanted]
        if not found:
            return web.json_response({"code": -1121, "msg": "not in the recording"}, status=404)
        index = next((index for index in found if not self._items[index].asked), found[-1])
        item = self._items[index]
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s * 5):
                    await self._changed.wait_for(lambda: self._next >= index)
        # So that the frames before the snapshot are read before it, and it before those behind.
        await asyncio.sleep(self._settle_s)
        async with self._changed:
            item.asked = True
            self._changed.notify_all()
        return web.Response(body=item.body, content_type="application/json")

    # Frames

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=1 << 20, timeout=1.0)
        await socket.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        playing = asyncio.create_task(self._play(socket, request.transport), name="recording player")
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    for answer in self._dialect.stand_in(message.data, self._answers):
                        request.transport.write(frame(answer))
                    async with self._changed:
                        self._requests_seen += 1
                        self._changed.notify_all()
                elif message.type is WSMsgType.PING:
                    request.transport.write(frame(bytes(message.data), PONG_FRAME))
        except ConnectionError:
            pass  # the client is gone
        finally:
            playing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await playing
        return socket

    async def _play(self, socket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        """Everything that is left, to this connection, once those before it ended."""
        async with self._playing:
            if not self._dialect.subscribes_by_path:
                await self._barrier(lambda: self._requests_seen > 0)
            batch: list[bytes] = []
            batch_bytes = 0
            while not self.finished:
                item = self._items[self._next]
                plain = item.target is None and not item.ends and not self._dialect.is_answer(item.body)
                wait_s = self._wait_s(item)
                if batch and (not plain or wait_s > 0 or batch_bytes > BATCH_BYTES):
                    await self._write(transport, batch)
                    batch, batch_bytes = [], 0
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                if transport.is_closing():
                    return
                if item.ends:
                    self._next += 1
                    await socket.close(code=1001, message=b"recorded end")
                    return
                if item.target is not None:
                    await self._pass(item)
                    continue
                if not plain:
                    await self._barrier(lambda: self._requests_seen > self._answers_played)
                    self._answers_played += 1
                ready = frame(item.body)
                batch.append(ready)
                batch_bytes += len(ready)
                self._next += 1
            await self._write(transport, batch)

    async def _write(self, transport: asyncio.Transport, batch: list[bytes]) -> None:
        while transport.get_write_buffer_size() > UNREAD_BYTES_MAX:  # noqa: ASYNC110 - a transport of aiohttp tells nobody
            await asyncio.sleep(0.001)
        if not transport.is_closing():
            transport.write(b"".join(batch))
            self.frames_sent += len(batch)
        await asyncio.sleep(0)

    async def _pass(self, item: _Item) -> None:
        """A REST answer: whoever waits for it may have it, and what follows it waits until it was had."""
        before = time.monotonic()
        async with self._changed:
            self._changed.notify_all()
        await self._barrier(lambda: item.asked)
        item.asked = True
        await asyncio.sleep(self._settle_s)
        self._next += 1
        if self._offset_s is not None:
            self._offset_s += time.monotonic() - before

    async def _barrier(self, passed: Any) -> None:
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    await self._changed.wait_for(passed)

    def _wait_s(self, item: _Item) -> float:
        """Until its time has come."""
        if self._speed == AS_FAST_AS_READ:
            return 0.0
        at_s = item.ts_ns / 1e9 / self._speed
        now = time.monotonic()
        if self._offset_s is None:
            self._offset_s = now - at_s
        return at_s + self._offset_s - now


def _subject(target: str) -> tuple[str, str]:
    """What a request is about: its path and its symbol. How many levels were asked for is the client's affair."""
    path, _, query = target.partition("?")
    fields = dict(part.partition("=")[::2] for part in query.split("&") if part)
    return path, fields.get("symbol", "")

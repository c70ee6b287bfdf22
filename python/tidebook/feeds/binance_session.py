"""One WebSocket session with Binance spot: every frame to the sink, nothing decoded.

A frame is stamped and written inside the socket's callback, before anything else looks at it. The only bytes read here
are those that tell data from the two things a session must act on: answers to its own requests and the venue's notice
that it shuts down. The client is picows, chosen by measurement: loopback to callback 24 us at the median against 52
(aiohttp) and 58 (websockets), 31 us of processor a message against 79 and 67 (1,000 messages/s, asyncio, Xeon).

Source: Binance API documentation, Spot, "WebSocket Streams" (general information, limits, live subscribing).
"""

import asyncio
import json
import ssl
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, Self

from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from tidebook.errors import VenueError
from tidebook.feeds.sink import MessageKind, RawSink

STREAMS_PER_CONNECTION_MAX = 1_024
# A request target stays below what servers commonly take (8 KiB); further streams are subscribed by message.
URL_STREAMS_MAX = 150
STREAMS_PER_REQUEST_MAX = 200
# The venue takes 5 messages a second, pongs included; requests keep to every half second.
REQUEST_SPACING_S = 0.5
FRAME_SIZE_MAX_BYTES = 16 * 1024 * 1024

# Every combined frame begins `{"stream":"<name>"`; the venue's own notices have a name that begins with `!`.
_WRAPPER = slice(2, 8)
_NAME_START = slice(11, 12)


SERVER_SHUTDOWN = "server shutdown"


class SessionOwner(Protocol):
    """Who hears of a session's life. Called on the event loop, between two frames."""

    def session_opened(self, session: "BinanceSession") -> None:
        """The venue accepted the connection; no frame has been written yet."""

    def session_ended(self, session: "BinanceSession", reason: str) -> None:
        """An opened session ended, or was retired; no frame will be written any more."""

    def capture_failed(self, error: Exception) -> None:
        """The sink raised: the capture cannot go on."""


class BinanceSession(WSListener):
    """Speaks to one `/stream` connection. Make it with `open`."""

    def __init__(self, number: int, url: str, sink: RawSink, owner: SessionOwner) -> None:
        self.number = number
        self.url = url
        self.frame_count = 0
        self._sink_write = sink.write
        self._owner = owner
        self._ended = asyncio.Event()
        self._transport: WSTransport | None = None
        self._parts: list[bytes] = []
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._request_count = 0
        self._last_request = -REQUEST_SPACING_S
        self._end_reason = "connection lost"

    @classmethod
    async def open(
        cls,
        number: int,
        base_url: str,
        streams: Sequence[str],
        sink: RawSink,
        owner: SessionOwner,
        *,
        tls: ssl.SSLContext | None,
        timeout_s: float,
    ) -> Self:
        """Connects and subscribes; the owner hears `session_opened` before the first frame can arrive.

        Streams named in the request target are subscribed with the connection; the rest follows by message.

        Raises: VenueError when the venue cannot be reached, refuses the upgrade, or refuses a subscription.
        """
        session = cls(number, f"{base_url}/stream?streams={'/'.join(streams[:URL_STREAMS_MAX])}", sink, owner)
        try:
            async with asyncio.timeout(timeout_s):
                await ws_connect(
                    lambda: session,
                    session.url,
                    ssl_context=tls,
                    max_frame_size=FRAME_SIZE_MAX_BYTES,
                    websocket_handshake_timeout=None,
                )
            await session.subscribe(streams[URL_STREAMS_MAX:])
        except (OSError, WSError, TimeoutError, VenueError) as error:
            session.retire(f"cannot subscribe: {error}")
            why = f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
            raise VenueError(f"binance: {base_url}: {why}", url=base_url) from error
        return session

    @property
    def alive(self) -> bool:
        """Whether frames may still come."""
        return self._transport is not None and not self._ended.is_set()

    async def wait_end(self, timeout_s: float) -> bool:
        """Whether the session ended within the time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    def retire(self, reason: str) -> None:
        """Ends the session from our side, at once: nothing is written after this returns."""
        transport = self._transport
        self._end(reason)
        if transport is not None and not transport.is_disconnected:
            transport.send_close(WSCloseCode.OK)
            # Not graceful: a venue that stopped reading would hold the socket until its buffers drain.
            transport.disconnect(graceful=False)

    def ping(self) -> None:
        """Asks the venue for a sign of life; its pong counts as a frame."""
        if self.alive and self._transport is not None:
            self._transport.send_ping(b"tidebook")

    async def subscribe(self, streams: Iterable[str]) -> None:
        """Adds streams. Raises: VenueError when the venue refuses them or the session ends first."""
        await self._request("SUBSCRIBE", list(streams))

    async def unsubscribe(self, streams: Iterable[str]) -> None:
        """Gives streams up. Raises: as `subscribe`."""
        await self._request("UNSUBSCRIBE", list(streams))

    async def _request(self, method: str, streams: list[str]) -> None:
        for start in range(0, len(streams), STREAMS_PER_REQUEST_MAX):
            await asyncio.sleep(max(0.0, self._last_request + REQUEST_SPACING_S - time.monotonic()))
            if self._transport is None or not self.alive:
                raise VenueError(f"binance: {self.url}: the session ended before {method}", url=self.url)
            self._last_request = time.monotonic()
            self._request_count += 1
            number = self._request_count
            answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            self._answers[number] = answer
            request = {"method": method, "params": streams[start : start + STREAMS_PER_REQUEST_MAX], "id": number}
            self._transport.send(WSMsgType.TEXT, json.dumps(request, separators=(",", ":")).encode())
            said = await answer
            if said.get("result", "refused") is not None:
                raise VenueError(f"binance: {method} refused: {said.get('code')} {said.get('msg')}", url=self.url)

    # What picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The venue accepted the connection."""
        if self._ended.is_set():  # given up while the handshake was on its way
            transport.disconnect(graceful=False)
            return
        self._transport = transport
        self._owner.session_opened(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Stamps and writes one frame. Nothing before the stamp, nothing slow after it."""
        ts_recv_ns = time.time_ns()
        if self._ended.is_set():
            return
        self.frame_count += 1
        kind = frame.msg_type
        if kind is WSMsgType.TEXT or kind is WSMsgType.BINARY or kind is WSMsgType.CONTINUATION:
            body = frame.get_payload_as_bytes()
            if not frame.fin or self._parts:
                self._parts.append(body)
                if not frame.fin:
                    return
                body = b"".join(self._parts)
                self._parts.clear()
            try:
                self._sink_write(ts_recv_ns, self.number, MessageKind.WS, b"", body)
            except Exception as error:  # noqa: BLE001 - picows would log it and go on; the connector must stop
                self.retire(f"sink failed: {error}")
                self._owner.capture_failed(error)
                return
            if body[_WRAPPER] != b"stream" or body[_NAME_START] == b"!":
                self._on_notice(body)
        elif kind is WSMsgType.CLOSE:
            payload = frame.get_payload_as_bytes()
            code, words = int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace")
            self._end_reason = f"closed by venue: {code} {words}".rstrip()
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        """The socket is gone."""
        self._end(self._end_reason)

    def _on_notice(self, body: bytes) -> None:
        """An answer to a request, or `serverShutdown`. Anything else, such as a damaged frame, is not ours to judge."""
        try:
            notice = json.loads(body)
        except ValueError:
            return
        if not isinstance(notice, dict):
            return
        data = notice.get("data", notice)
        answer = self._answers.pop(notice["id"], None) if isinstance(notice.get("id"), int) else None
        if answer is not None and not answer.done():
            answer.set_result(notice)
        elif isinstance(data, dict) and data.get("e") == "serverShutdown":
            self.retire(SERVER_SHUTDOWN)

    def _end(self, reason: str) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(VenueError(f"binance: {self.url}: {reason}", url=self.url))
                answer.exception()  # its waiter may be gone; it was told
        self._answers.clear()
        if self._transport is not None:
            self._owner.session_ended(self, reason)

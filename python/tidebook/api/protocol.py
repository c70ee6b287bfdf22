"""HTTP with bounds on what a client may make us keep: connections, the size of a request's head, the time it takes.

uvicorn's parser collects headers as they come and waits for the rest for ever. A client that is slow on purpose, or
many that are broken, must cost neither memory nor the descriptors that capture and storage need.
"""

import asyncio
import resource
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tidebook.api import wire
from tidebook.api.problems import MEDIA_TYPE, ApiError

HEAD_SIZE_MAX_BYTES: Final = 16 * 1024
REQUEST_TIMEOUT_S: Final = 10.0
CONNECTIONS_MAX: Final = 512


def _refusal(status: int, code: str, detail: str) -> bytes:
    """A whole answer, with a problem like those of requests that come as far as being one."""
    problem = ApiError(status, code, detail).problem(instance="")
    body = wire.encode(problem)
    head = f"HTTP/1.1 {status} {problem.title}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}"
    return f"{head}\r\nconnection: close\r\n\r\n".encode() + body


def connections_max() -> int:
    """Clients served at once: at most half of the descriptors this process may have."""
    return min(CONNECTIONS_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


def _too_many(count: int) -> bytes:
    detail = f"{count} connections are open, which is as many as are served at once; close some, or try again"
    return _refusal(503, "too_many_connections", detail)


def _too_large() -> bytes:
    detail = f"the head of the request is larger than {HEAD_SIZE_MAX_BYTES} bytes; send fewer or smaller headers"
    return _refusal(431, "head_too_large", detail)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One HTTP connection; a WebSocket leaves it with the upgrade."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_size_bytes: int | None = 0
        """Received of the head being read; None between head and next request."""
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the client in, or tells it that there are too many."""
        if len(self.server_state.connections) >= connections_max():
            transport.write(_too_many(connections_max()))
            transport.close()
            self.transport = transport
            return
        super().connection_made(transport)
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        """Feeds the parser while the head stays small.

        It does not say where in a piece a head ends. So it gets no more at once than the head may still have: what of that was body, or
        the next request, counts for no head. One that begins in the midst of a piece is counted from the next on.
        """
        start = 0
        while start < len(data) and not self.transport.is_closing() and self.transport.get_protocol() is self:
            room = HEAD_SIZE_MAX_BYTES - (self._head_size_bytes or 0)
            if not room:
                self._end(_too_large())
                return
            piece = data[start : start + room]
            start += len(piece)
            if self._head_size_bytes is not None:
                self._head_size_bytes += len(piece)
            super().data_received(piece)

    def on_message_begin(self) -> None:
        """A request's first byte."""
        if self._deadline is None:
            self._wait_for_request()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._head_size_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._stop_waiting()
        self._head_size_bytes = 0
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Another protocol goes on with this connection."""
        self._stop_waiting()
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_waiting()
        if self in self.connections:
            super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self._end_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_slow(self) -> None:
        detail = f"the request was not whole within {REQUEST_TIMEOUT_S:g} s; send it again"
        self._end(_refusal(408, "request_timeout", detail))

    def _end(self, answer: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

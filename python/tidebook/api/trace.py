"""One trace id per request, taken from a W3C `traceparent` or made here, returned as `X-Trace-Id`.

The id is in every problem and log line of the request, so what a user copies from an error finds the server's side.
A plain ASGI wrapper and not Starlette's BaseHTTPMiddleware: that one costs a task and a queue per request.
"""

import re
import secrets
from contextvars import ContextVar

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TRACEPARENT = re.compile(rb"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")
_trace_id: ContextVar[str] = ContextVar("tidebook_trace_id", default="")


def current_trace_id() -> str:
    """Trace id of the request in work, 32 hex digits; empty outside one."""
    return _trace_id.get()


def _trace_id_of(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"traceparent":
            match = _TRACEPARENT.match(value)
            if match and match[1] != b"0" * 32:
                return match[1].decode()
    return secrets.token_hex(16)


class TraceIds:
    """ASGI middleware that sets the trace id of each HTTP request and WebSocket session."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on with its trace id set."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        trace_id = _trace_id_of(scope)
        _trace_id.set(trace_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-trace-id"] = trace_id
            await send(message)

        await self._app(scope, receive, send_with_id if scope["type"] == "http" else send)

"""Which web pages may talk to this server.

A browser lets any page open a WebSocket to 127.0.0.1, and a hostile name server can point its own host name at
127.0.0.1. So a page's `Origin` must be this server itself or one that was allowed by name, and on a loopback address
the `Host` must be a loopback name. Programs send no `Origin` and are not concerned.
"""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from tidebook.api.problems import ApiError, answer

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


def _header(scope: Scope, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


# A host as clients write it: a name, an address, or an IPv6 address between brackets; then perhaps a port.
_HOST = re.compile(r"(?:([A-Za-z0-9.-]+)|\[([0-9A-Fa-f:.]+)\])(?::\d{1,5})?", re.ASCII)
_PAGE = re.compile(r"https?://(.+)")


def _host_name(host: str) -> str:
    """`127.0.0.1:8080` as `127.0.0.1`, `[::1]:8080` as `::1`; empty for what is no host."""
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).lower() if match else ""


def origin_allowed(scope: Scope, origins: frozenset[str]) -> bool:
    """True when the request comes from no page, from a page of this server, or from one of `origins`."""
    origin = _header(scope, b"origin")
    if not origin:
        return True
    page = _PAGE.fullmatch(origin)
    return (page is not None and page[1] == _header(scope, b"host")) or origin in origins


class LoopbackHosts:
    """ASGI middleware of a server bound to loopback: refuses requests made under any other host name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or refuses it."""
        if scope["type"] not in ("http", "websocket") or _host_name(_header(scope, b"host")) in LOOPBACK_HOSTS:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            host = _header(scope, b"host")
            refused = ApiError(403, "foreign_host", f"host {host!r} is not this machine; use http://127.0.0.1")
            await answer(refused, scope["path"])(scope, receive, send)

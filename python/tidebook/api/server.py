"""Runs an application on a socket: uvicorn with the settings that were measured.

websockets-sansio without compression: deflate doubles the cost of the fan-out and nothing is remote by default. The
socket is bound here and not by uvicorn, so that a port in use is one clear error before anything else has started.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from fastapi import FastAPI

from tidebook.api.protocol import BoundedHttpProtocol
from tidebook.errors import AddressError, OperationError, UsageError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def listen(host: str = "127.0.0.1", port: int = 8080, *, allow_remote: bool = False) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises: AddressError when the address is in use or not ours; UsageError for a host other machines can reach unless
    `allow_remote`: the API has no keys yet, so anyone there could read it.
    """
    if host not in LOOPBACK and not allow_remote:
        raise UsageError(
            f"host {host!r} can be reached from other machines and the API has no keys; "
            "use 127.0.0.1, or, if your network is closed, allow it with --allow-remote or `allow_remote = true` under [api]",
            host=host,
        )
    if not 0 <= port <= 65_535:
        raise UsageError(f"port {port} is none; choose one from 1 to 65535, or 0 for any free one", port=port)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            why = "is in use by another program; stop it or choose another port (--port, or `port` under [api])"
        elif error.errno == errno.EACCES:
            why = "needs privileges; choose a port above 1023"
        else:
            why = f"cannot be listened on: {error.strerror}"
        raise AddressError(f"{host}:{port} {why}", host=host, port=port) from error
    return sock


class ApiServer(uvicorn.Server):
    """uvicorn that leaves signals to the node; WebSocket clients are closed with 1012, come back later."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http=BoundedHttpProtocol,
                ws="websockets-sansio",
                ws_per_message_deflate=False,
                ws_max_size=64 * 1024,
                ws_ping_interval=20,
                ws_ping_timeout=20,
                access_log=False,
                log_config=None,
                log_level="warning",
                timeout_graceful_shutdown=2,
                server_header=False,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield


@contextlib.asynccontextmanager
async def serving(app: FastAPI, sock: socket.socket) -> AsyncIterator[ApiServer]:
    """Serves `app` on `sock` inside the block; answers when the block begins, closed when it ends."""
    server = ApiServer(app)
    task = asyncio.create_task(server.serve(sockets=[sock]), name="tidebook-api-server")
    try:
        while not server.started:
            if task.done():
                task.result()
                raise OperationError("the API server ended before it started")
            await asyncio.sleep(0.005)
        yield server
    finally:
        server.should_exit = True
        await task

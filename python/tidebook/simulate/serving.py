"""What serves an aiohttp application on one port of this machine, with port trouble as one clear error."""

import errno
import ssl

from aiohttp import web

from tidebook.errors import AddressError

_BIND_TROUBLE = {
    errno.EADDRINUSE: "is in use; choose another port, or 0 for any free one",
    errno.EACCES: "is not allowed to this user; choose one above 1023, or 0 for any free one",
    errno.EADDRNOTAVAIL: "is no address of this machine; the simulator serves 127.0.0.1",
}


async def serve_on(
    routes: list[web.RouteDef], host: str, port: int, tls: ssl.SSLContext | None
) -> tuple[web.AppRunner, int]:
    """The running server and its port. Raises: AddressError when the port cannot be bound. Facts: host, port."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError as error:
        await runner.cleanup()
        trouble = _BIND_TROUBLE.get(error.errno or 0)
        if trouble is None:
            raise
        raise AddressError(f"simulator: port {port} of {host} {trouble}", host=host, port=port) from error
    return runner, runner.addresses[0][1]

"""Files of the page, with the headers that make them safe and quick.

Built file names carry a hash of their content, so a browser may keep them for ever; `index.html` names them and is
asked for anew each time. The policy lets the page load and talk to nothing but its own server; the one style it lets
a script add, by the hash of its text, is that of the logo which the licence of the chart library asks for.
"""

from pathlib import Path

from fastapi import FastAPI, Response
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DIST = Path(__file__).parent / "dist"

_STYLE_OF_LOGO = "'sha256-3pRED1tOXas1FXFoPb9TGCjmYe9XQsmO9OV23khV2nY='"
_POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {_STYLE_OF_LOGO}; font-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_FOR_EVER = (b"cache-control", b"public, max-age=31536000, immutable")
_ANEW = (b"cache-control", b"no-cache")


class _WithHeaders:
    """ASGI middleware that adds `headers` to every answer."""

    def __init__(self, app: ASGIApp, headers: list[tuple[bytes, bytes]]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def mount_console(app: FastAPI, dist: Path = DIST) -> None:
    """Serves the page at `/` and at the address of every instrument; without a build, `/` says how to make one."""
    if not (dist / "index.html").is_file():

        @app.get("/", include_in_schema=False)
        async def not_built() -> Response:
            said = "The page is not built. Run `make console`, or use the API: /api/v1/instruments, /openapi.json\n"
            return Response(said, 503, media_type="text/plain")

        return

    def file(name: str) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await FileResponse(dist / name)(scope, receive, send)  # one per request: it keeps the file's size

        return _WithHeaders(answer, [*_HEADERS, _ANEW])

    assets = _WithHeaders(StaticFiles(directory=dist / "assets"), [*_HEADERS, _FOR_EVER])
    app.router.routes += [
        Route("/", endpoint=file("index.html")),
        Route("/m/{instrument:path}", endpoint=file("index.html")),
        Route("/docs", endpoint=file("docs.html")),
        Route("/favicon.svg", endpoint=file("favicon.svg")),
        Route("/licences.txt", endpoint=file("licences.txt")),
        Mount("/assets", app=assets),
    ]

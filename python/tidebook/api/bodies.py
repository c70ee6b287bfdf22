"""Bodies of requests: as large as one may be and no larger, and no key twice in an object.

Frameworks read a body to its end before they look at it, and of a key that is there twice the last one counts: an order that says
`buy` and `sell` would sell.
"""

import contextlib
import json
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from tidebook.api.problems import ApiError, FieldError

BODY_SIZE_MAX_BYTES: Final = 64 * 1024
_SAID_MAX: Final = 100
"""Characters of a key that are said."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            said = key[:_SAID_MAX].encode(errors="backslashreplace").decode()
            detail = "it is given twice, and one of them would count"
            raise ApiError(422, "invalid_request", f"{said}: {detail}", [FieldError(said, detail)])
        found[key] = value
    return found


def require_keys_once(text: str | bytes) -> None:
    """Looks at what is JSON otherwise. Raises: ApiError for a key that an object in it has twice."""
    # Numbers stay text: one of more digits than Python converts is said by who wants a number.
    json.loads(text, object_pairs_hook=_once, parse_int=str, parse_float=str)


def _too_large() -> ApiError:
    detail = f"the body of the request is larger than {BODY_SIZE_MAX_BYTES} bytes; nothing of it was done"
    return ApiError(413, "body_too_large", detail)


class _Bounded(Request):
    async def body(self) -> bytes:
        """Raises: ApiError before more than may be is kept."""
        if not hasattr(self, "_body"):
            said = self.headers.get("content-length", "0")  # the server has seen that it is a number
            if len(said) > len(str(BODY_SIZE_MAX_BYTES)) or int(said) > BODY_SIZE_MAX_BYTES:
                raise _too_large()
            read = bytearray()
            async with contextlib.aclosing(self.stream()) as pieces:
                async for piece in pieces:
                    if len(read) + len(piece) > BODY_SIZE_MAX_BYTES:
                        raise _too_large()
                    read += piece
            self._body = bytes(read)
        return self._body


class BoundedRoute(APIRoute):
    """A route that looks at the body before the framework does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's, behind that."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def bounded(request: Request) -> Response:
            asked = _Bounded(request.scope, request.receive)
            body = await asked.body()
            # What is no JSON, or goes too deep, is told by the framework.
            with contextlib.suppress(ValueError, RecursionError):
                require_keys_once(body)
            return await handle(asked)

        return bounded

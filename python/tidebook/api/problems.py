"""Errors as RFC 9457 problems, the same object over REST (`application/problem+json`) and WebSocket (`error`).

Every problem carries a `code` for programs, a `detail` that says what, where, which value and what to do, and the
trace id under which the server logged it. FastAPI's own 422 is replaced in the handlers and in the schema, so a
client meets one shape only.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tidebook.api.trace import current_trace_id

MEDIA_TYPE = "application/problem+json"

_log = logging.getLogger("tidebook.api")


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one part of a request."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    """RFC 9457 problem details, with `code` and `trace_id` of ours."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    trace_id: str
    errors: list[FieldError] = field(default_factory=list)


class ApiError(Exception):
    """A request this API refuses; becomes a `Problem` at the edge."""

    def __init__(self, status: int, code: str, detail: str, errors: list[FieldError] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        # What was asked may be quoted in it, and half a pair of surrogates cannot be sent.
        self.detail = detail.encode(errors="backslashreplace").decode()
        self.errors = errors or []

    def problem(self, instance: str) -> Problem:
        """The refusal as sent; `instance` is the path or method it answers."""
        return Problem(
            type=f"/problems/{self.code.replace('_', '-')}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            instance=instance,
            code=self.code,
            trace_id=current_trace_id(),
            errors=self.errors,
        )


def answer(error: ApiError, instance: str, headers: dict[str, str] | None = None) -> Response:
    """`error` as an HTTP response."""
    body = msgspec.json.encode(error.problem(instance))
    return Response(body, error.status, headers=headers, media_type=MEDIA_TYPE)


def _pointer(location: tuple[int | str, ...]) -> str:
    """`("query", "limit")` as `query/limit`: where in the request the value stands."""
    return "/".join(str(part) for part in location)


def said_of(part: Mapping[str, Any]) -> str:
    """What is wrong with a field, as the sentence that its check gave."""
    return str(part["msg"]).removeprefix("Value error, ")


def install(app: FastAPI) -> None:
    """Makes every error answer of `app` a problem, in its handlers and in its OpenAPI schema."""

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        return answer(error, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [FieldError(_pointer(part["loc"]), said_of(part)) for part in error.errors()]
        said = "; ".join(f"{part.pointer}: {part.detail}" for part in errors)
        return answer(ApiError(422, "invalid_request", said, errors), request.url.path)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_").replace("-", "_")
        detail = f"{request.method} {request.url.path}: {error.detail}"
        return answer(ApiError(error.status_code, code, detail), request.url.path, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        _log.error("request failed", exc_info=error, extra={"path": request.url.path, "trace_id": current_trace_id()})
        detail = "the server failed on this request; its log has the trace id"
        return answer(ApiError(500, "internal_error", detail), request.url.path)

    plain_schema = app.openapi

    def schema_with_problems() -> dict[str, Any]:
        schema = plain_schema()
        components = schema.get("components", {}).get("schemas", {})
        for path in schema.get("paths", {}).values():
            for operation in path.values():
                if "422" in operation.get("responses", {}):
                    operation["responses"]["422"] = described("A parameter is missing or out of range.")
        for replaced in ("HTTPValidationError", "ValidationError"):
            components.pop(replaced, None)
        return schema

    app.openapi = schema_with_problems  # type: ignore[method-assign]


def described(description: str) -> dict[str, Any]:
    """An OpenAPI response that carries a problem; the `Problem` schema is registered by the router's 404."""
    return {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }

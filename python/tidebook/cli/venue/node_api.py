"""The API of the node that runs on a data directory, for commands that ask it something or send it orders."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from tidebook.cli.inputs import node_address
from tidebook.errors import OperationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TIMEOUT_S: Final = 30.0


class NodeApi:
    """The API of a running node."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, *path: str, **query: object) -> Any:
        """What it answers. Raises: as `send`."""
        return self.send("GET", path, query=query)

    def post(self, *path: str, body: dict[str, Any]) -> Any:
        """What it answers to a request. Raises: as `send`."""
        return self.send("POST", path, body)

    def send(
        self,
        method: str,
        path: tuple[str, ...],
        body: dict[str, Any] | None = None,
        query: Mapping[str, object] = MappingProxyType({}),
    ) -> Any:
        """What it answers. Raises: UsageError for what it refuses; OperationError when it does not answer, or takes nothing now."""
        asked = "&".join(f"{name}={quote(str(value))}" for name, value in query.items() if value is not None)
        url = f"{self.address}/api/v1/{'/'.join(quote(part, safe='') for part in path)}{'?' if asked else ''}{asked}"
        request = urllib.request.Request(  # noqa: S310 - the address of our own node
            url,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise _refused(error, path) from error
        except OSError as error:
            raise OperationError(f"the node at {self.address} does not answer ({error}); has it ended?") from error


def _refused(error: urllib.error.HTTPError, path: tuple[str, ...]) -> OperationError | UsageError:
    try:
        problem = json.load(error)
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        code, detail = "", f"{error.code} {error.reason}"
    if code == "not_found" and path[0] != "instruments":
        return OperationError("this node has no venue: the setting venue.enabled is false")
    return OperationError(detail) if error.code in (429, 503, 504) else UsageError(detail)


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """Of a request's fields those that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def node_api(data: Path | None) -> NodeApi:
    """That of the node that runs on `data`. Raises: OperationError when none does, or it starts or stops."""
    return NodeApi(node_address(data))

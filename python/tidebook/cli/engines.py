"""Where the engines of a node run, in a line for people: `tidebook status` and `tidebook venue status` say it in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def engines_line(engines: Sequence[dict[str, Any]]) -> str:
    """Of what `GET /api/v1/status` says of them."""
    threads = [_name(engine) for engine in engines if engine["runs_as"] == "thread"]
    said = []
    if threads:
        (node,) = {engine["process"] for engine in engines if engine["runs_as"] == "thread"}
        said.append(f"{', '.join(threads)} in threads of the node (process {node})")
    said += [
        f"{_name(engine)} {engine['away'] or 'in process ' + str(engine['process'])}"
        for engine in engines
        if engine["runs_as"] == "process"
    ]
    said += [
        f"{_name(engine)} {engine['away']}" for engine in engines if engine["runs_as"] == "thread" and engine["away"]
    ]
    return f"engines: {'; '.join(said)}"


def _name(engine: dict[str, Any]) -> str:
    return str(engine["engine"]).replace("_", " ")

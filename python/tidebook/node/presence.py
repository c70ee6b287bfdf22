"""Where the node that runs on a data directory can be reached: a small file that lives as long as the node."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tidebook.persistence.files import replace_durably

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILE_NAME = "node.json"


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A running node."""

    pid: int
    node: str
    address: str
    """Of its API and page."""


@contextmanager
def present(data: Path, node: str, address: str) -> Iterator[None]:
    """Says so for the length of the block."""
    path = data / _FILE_NAME
    replace_durably(path, msgspec.json.encode(Presence(pid=os.getpid(), node=node, address=address)))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def running_node(data: Path) -> Presence | None:
    """The node that runs on `data`; None when none does, whatever a killed one left behind."""
    try:
        found = msgspec.json.decode((data / _FILE_NAME).read_bytes(), type=Presence)
    except (OSError, msgspec.DecodeError):
        return None
    return found if _alive(found.pid) else None


def _alive(pid: int) -> bool:
    """Whether the process lives and is ours: numbers of dead processes are given again."""
    try:
        return b"tidebook" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False

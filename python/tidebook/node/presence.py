"""Which node runs on a data directory, and where it can be reached.

A node holds the lock of `node.lock` from before it reads anything there to after its last write: that lock alone says that
it runs, and there is one at a time. `node.json` beside it says who it is, and where once its page answers; what a killed
node left in it means nothing.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from tidebook.errors import OperationError
from tidebook.persistence.file_lock import is_locked, locked
from tidebook.persistence.files import replace_durably

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOCK_NAME = "node.lock"
_FILE_NAME = "node.json"


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A node that starts, runs or stops."""

    pid: int
    node: str
    address: str = ""
    """Of its API and page; empty before they answer and after."""


class Claim:
    """The data directory is this process's."""

    def __init__(self, data: Path, node: str) -> None:
        self._path = data / _FILE_NAME
        self._node = node
        self.reachable_at("")

    def reachable_at(self, address: str) -> None:
        """Where the node can be reached from now on; nowhere yet when empty."""
        replace_durably(self._path, msgspec.json.encode(Presence(pid=os.getpid(), node=self._node, address=address)))

    def unreachable(self) -> None:
        """The node stops."""
        self._path.unlink(missing_ok=True)


@contextmanager
def claimed(data: Path, node: str) -> Iterator[Claim]:
    """Makes this process the node of a data directory, which is made if need be, for the length of the block.

    Raises: OperationError while another process is.
    """
    data.mkdir(parents=True, exist_ok=True)
    with locked(data / _LOCK_NAME) as got:
        if not got:
            other = running_node(data)
            who = f" (process {other.pid})" if other is not None and other.pid else ""
            raise OperationError(f"another node runs on {data}{who}; stop it first, or name another --data")
        claim = Claim(data, node)
        try:
            yield claim
        finally:
            claim.unreachable()


def running_node(data: Path) -> Presence | None:
    """The node that runs on `data`, starting and stopping included; None when none does, whatever a killed one left."""
    if not is_locked(data / _LOCK_NAME):
        return None
    try:
        return msgspec.json.decode((data / _FILE_NAME).read_bytes(), type=Presence)
    except (OSError, msgspec.DecodeError):
        return Presence(pid=0, node="")

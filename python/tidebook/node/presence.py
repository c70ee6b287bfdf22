"""Which process owns a data directory, and where its node can be reached.

Who writes to a data directory holds the lock of `node.lock` from before it reads anything there to after its last write:
that lock alone says that there is an owner, and there is one at a time, be it a node, a replay, a recording or a restore.
`node.json` beside it says who it is, and of a node where its page answers; what a killed owner left in it means nothing.
Readers need no lock, and neither does who asks for a change of subscriptions (`tidebook.node.changes`).
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from tidebook.errors import DirectoryBusyError, OperationError
from tidebook.observe.logs import logger
from tidebook.observe.processes import process
from tidebook.persistence.data_directory import (
    LOCK_FILE,
    OWNER_FILE,
    identify,
    make_directories,
    read_identity,
    remove_leftovers,
)
from tidebook.persistence.file_lock import is_locked, locked
from tidebook.persistence.files import read_regular, replace_durably

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logger("node.presence")

_NODE = "run"


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """An owner that starts, runs or stops."""

    pid: int
    node: str = ""
    """Name of a node; empty of another command."""
    address: str = ""
    """Of a node's API and page; empty before they answer and after."""
    command: str = _NODE
    """What it does there: `run`, `replay`, `record`, `restore`, ..."""


_decode_presence = msgspec.json.Decoder(Presence).decode


class Claim:
    """The data directory is this process's."""

    def __init__(self, data: Path, node: str) -> None:
        self._path = data / OWNER_FILE
        self._node = node
        self.is_reachable = False
        """Others find the node by its directory."""
        self.reachable_at("")

    def reachable_at(self, address: str) -> None:
        """Where the node can be reached from now on; nowhere yet when empty."""
        _write(self._path, Presence(pid=os.getpid(), node=self._node, address=address))
        self.is_reachable = address != ""

    def unreachable(self) -> None:
        """The node stops."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


@contextmanager
def claimed(data: Path, node: str) -> Iterator[Claim]:
    """Makes this process the node of a data directory, which is made if need be, for the length of the block.

    Raises: DirectoryBusyError while another process owns it; as `owning`.
    """
    with owning(data, _NODE):
        claim = Claim(data, node)
        try:
            yield claim
        finally:
            claim.unreachable()


@contextmanager
def owning(data: Path, command: str) -> Iterator[None]:
    """Makes this process the owner of a data directory, which is made if need be, for the length of the block.

    What processes that died left of files they were replacing is removed. `command` is told to others.
    Raises: DirectoryBusyError, naming who owns it; DirectoryVersionError, DirectoryError.
    """
    read_identity(data)
    make_directories(data)
    with locked_by(data, command):
        identify(data)
        for path in remove_leftovers(data):
            log.info("left by a process that died, removed", path=str(path))
        yield


@contextmanager
def locked_by(data: Path, command: str) -> Iterator[None]:
    """Holds the lock of a directory that is there, and says so to others, without looking at what it is.

    Raises: DirectoryBusyError.
    """
    with locked(data / LOCK_FILE) as got:
        if not got:
            raise _busy(data)
        _write(data / OWNER_FILE, Presence(pid=os.getpid(), command=command))
        try:
            yield
        finally:
            with suppress(OSError):
                (data / OWNER_FILE).unlink(missing_ok=True)


def owner(data: Path) -> Presence | None:
    """Who owns `data` now; None when nobody does, whatever a killed one left."""
    if not is_locked(data / LOCK_FILE):
        return None
    try:
        return _decode_presence(read_regular(data / OWNER_FILE))
    except (OSError, OperationError, msgspec.DecodeError):
        return Presence(pid=0)


def running_node(data: Path) -> Presence | None:
    """The node that runs on `data`, starting and stopping included; None when none does, whatever a killed one left."""
    found = owner(data)
    return found if found is not None and found.command == _NODE else None


def _busy(data: Path) -> DirectoryBusyError:
    other = owner(data) or Presence(pid=0)
    what = "another node runs on" if other.command == _NODE else f"`tidebook {other.command}` works on"
    who = ""
    if other.pid:
        alive = process(other.pid)
        stopped = ", which is stopped: `kill -CONT` lets it go on" if alive is not None and alive.is_stopped else ""
        who = f" (process {other.pid}{stopped})"
    return DirectoryBusyError(
        f"{what} {data}{who}; stop it first, or name another --data",
        path=str(data),
        process_id=other.pid,
        command=other.command,
    )


def _write(path: Path, presence: Presence) -> None:
    """Tells others. The lock is what counts: where nothing can be told, as on a full disk, the work goes on, not least that which frees it."""
    try:
        replace_durably(path, msgspec.json.encode(presence))
    except OperationError as error:
        log.warning("others cannot be told who owns the data directory", reason=str(error))
        with suppress(OSError):
            path.unlink(missing_ok=True)  # what it said is not so any more

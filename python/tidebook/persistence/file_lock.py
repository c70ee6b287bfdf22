"""A lock on a file, kept by the kernel: it is there as long as its holder is, and its release is the only proof of an end.

An open-file-description lock of Linux, which unlike those of POSIX is not lost when some other descriptor of the file is
closed in the same process, and unlike those of flock(2) can be asked about without being taken. Children do not have it:
the descriptor is closed when they execute something.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tidebook.observe.processes import lock_holders
from tidebook.persistence.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# struct flock on 64-bit Linux: type, whence, start, length, process id.
_FLOCK = struct.Struct("@hhqqi4x")
_POLL_INTERVAL_S = 0.01
_SILENT_S = 1.0


@contextmanager
def locked(path: Path, wait_s: float = 0.0, waiting: Callable[[str], object] = lambda _: None) -> Iterator[bool]:
    """Whether the lock was got within the time; if so it is held to the end of the block. The file is made and stays.

    Blocks while it waits; after a second `waiting` is told, once, who has the lock. Raises: OSError when the file cannot be opened;
    OperationError for what is no regular file.
    """
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
    try:
        begun, is_told = time.monotonic(), False
        while not (got := _lock(descriptor)) and (waited_s := time.monotonic() - begun) < wait_s:
            if waited_s >= _SILENT_S and not is_told:
                is_told = True
                waiting(held_by(path))
            time.sleep(_POLL_INTERVAL_S)
        yield got
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether somebody has the lock now, this process included; nothing is taken, and an absent file has none.

    Raises: as `locked`.
    """
    try:
        descriptor = open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)


def held_by(path: Path) -> str:
    """Who has the lock of a file, in words: `process 123 (tidebook backup ...)`, and what lets it go on if it is stopped."""
    found = [
        f"process {one.pid} ({one.command})"
        + (f", which is stopped: `kill -CONT {one.pid}` lets it go on" if one.is_stopped else "")
        for one in lock_holders(path)
    ]
    return " and ".join(found) or "a process that this user cannot see"


def _lock(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True

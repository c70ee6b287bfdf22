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

from tidebook.persistence.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# struct flock on 64-bit Linux: type, whence, start, length, process id.
_FLOCK = struct.Struct("@hhqqi4x")
_POLL_INTERVAL_S = 0.01


@contextmanager
def locked(path: Path, wait_s: float = 0.0) -> Iterator[bool]:
    """Whether the lock was got within the time; if so it is held to the end of the block. The file is made and stays.

    Blocks while it waits. Raises: OSError when the file cannot be opened; OperationError for what is no regular file.
    """
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
    try:
        deadline = time.monotonic() + wait_s
        while not (got := _lock(descriptor)) and time.monotonic() < deadline:
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


def _lock(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True

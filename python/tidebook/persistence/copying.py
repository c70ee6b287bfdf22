"""Files copied so that they are whole or not there, and known by the hash of what the disk gives back.

A copy is written under another name, synced, read back from the disk and hashed, and only then gets its name. What is
there under its name is whole, so work that was interrupted goes on where it ended.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tidebook._core import blake3_of_file
from tidebook.persistence.files import naming, open_regular

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CHUNK_BYTES = 4 << 20
_UNFINISHED = ".copying"


def copy_file(
    source: Path, target: Path, *, size_max: int | None = None, progress: Callable[[int], None] = lambda _: None
) -> tuple[int, str]:
    """Copies a file, or its first `size_max` bytes, durably but for its name; its size and its BLAKE3 hash.

    The directory of `target` is made if need be. What an interrupted copy left is replaced.
    Raises: OSError; FileExistsError when the target is there; OperationError when the source is no regular file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_regular(source, os.O_RDONLY), "rb") as reading:
        return write_file(target, lambda file: _copy(source, reading.fileno(), file, size_max, progress))


def write_file(target: Path, write: Callable[[int], None]) -> tuple[int, str]:
    """A new file, as `write` fills it, durable but for its name; its size and its BLAKE3 hash, as the disk gives it back.

    Raises: as `copy_file`.
    """
    unfinished = target.with_name(target.name + _UNFINISHED)
    unfinished.unlink(missing_ok=True)
    with naming(target):
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write(descriptor)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            size_bytes = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        digest = blake3_of_file(unfinished)
        # By link and not by rename, which would replace what is there.
        os.link(unfinished, target)
    unfinished.unlink()
    return size_bytes, digest


def remove_unfinished(directory: Path) -> None:
    """Removes what interrupted copies left below a directory. Raises: OSError."""
    for path in directory.rglob(f"*{_UNFINISHED}"):
        path.unlink()


def _copy(path: Path, source: int, target: int, size_max: int | None, progress: Callable[[int], None]) -> None:
    left = size_max
    while left is None or left > 0:
        with naming(path):
            chunk = os.read(source, _CHUNK_BYTES if left is None else min(_CHUNK_BYTES, left))
        if not chunk:
            break
        write_all(target, chunk)
        progress(len(chunk))
        left = None if left is None else left - len(chunk)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of it, however little the system takes at a time. Raises: OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]

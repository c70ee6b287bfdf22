"""A directory for copies that are made and thrown away, locked for as long as its maker lives.

Who is killed leaves its copies behind, as large as all that was copied. The lock tells them from those of one that still works: the
kernel gives it up with its holder, so whoever gets it may remove what lies there. It is a lock of flock(2) on the directory
itself, which needs no file in it and nobody's permission to write.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def scratch_directory(beside: Path, prefix: str) -> Iterator[Path]:
    """A new directory in `beside`; removed at the end of the block, with all that is in it.

    Raises: OSError.
    """
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=beside))
        descriptor = _locked(path)
        if descriptor is not None:
            break
        # Somebody took it for a dead one's before it had its lock, and has removed it.
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def remove_left(beside: Path, prefix: str, holds: frozenset[str]) -> Iterator[tuple[Path, int, OSError | None]]:
    """Removes what killed makers left in `beside` under this prefix, if nothing but what is named `holds` lies there; gives each with its
    size in bytes and why it could not be removed, if so.

    Raises: OSError for a `beside` that cannot be listed.
    """
    for path in sorted(beside.iterdir()):
        if not path.name.startswith(prefix) or path.is_symlink() or not path.is_dir():
            continue
        try:
            descriptor = _locked(path)
        except OSError as error:
            yield path, 0, error
            continue
        if descriptor is None:
            continue
        try:
            if not {entry.name for entry in path.iterdir()} <= holds:
                continue
            size_bytes = sum(found.lstat().st_size for found in path.rglob("*") if not found.is_dir())
            shutil.rmtree(path)
            yield path, size_bytes, None
        except OSError as error:
            yield path, 0, error
        finally:
            os.close(descriptor)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock of a directory; None while another has it, or has removed the directory. Raises: OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None

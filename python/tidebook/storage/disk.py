"""The only place where a store touches a disk, one method for each system call.

It is a class so that tests can put a disk in its place that stops, kills the process or flips a byte at any one call
(`tests/storage/faults.py`). Two rules shaped it: nothing is ever written over (files are made exclusively and
published by hard link, which fails where rename would replace), and a file counts only after its bytes and then its
directory are synced.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidebook._core import blake3_of_file
from tidebook.errors import StorageAccessError, StorageCorruptError, StorageError, StorageFullError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


class Disk:
    """System calls a store makes. Each raises OSError as the system does."""

    def create(self, path: Path) -> int:
        """File descriptor of a new file; FileExistsError if there is one."""
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)

    def write(self, descriptor: int, data: memoryview) -> int:
        """How many bytes the system took."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Return when the file's bytes are durable."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Give the descriptor back."""
        os.close(descriptor)

    def read(self, path: Path) -> bytes:
        """Everything in the file."""
        return path.read_bytes()

    def names(self, directory: Path) -> list[str]:
        """Names in the directory, in no order."""
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries]

    def stat(self, path: Path) -> os.stat_result:
        """Size and times of a file; a directory's time is that of its list of names."""
        return path.stat()

    def exists(self, path: Path) -> bool:
        """Whether the name is there; True also where it may not be looked at."""
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def blake3(self, path: Path) -> str:
        """Hash of everything in the file, 64 hexadecimal digits, without holding it in memory."""
        return blake3_of_file(path)

    def link(self, source: Path, target: Path) -> None:
        """Second name for a file; FileExistsError if the name is taken, so two publishers never share one."""
        os.link(source, target)

    def unlink(self, path: Path) -> None:
        """Remove a name; nothing happens if there is none."""
        path.unlink(missing_ok=True)

    def make_directory(self, path: Path) -> None:
        """Make one directory; nothing happens if there is one."""
        path.mkdir(exist_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Return when the names in the directory are durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_durable(disk: Disk, path: Path, data: bytes | memoryview) -> None:
    """Write a new file and sync it. Its directory is not synced: the caller knows when the name must last."""
    descriptor = disk.create(path)
    try:
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[disk.write(descriptor, rest) :]
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)


def make_directories(disk: Disk, root: Path, relative: str) -> None:
    """Make `relative` below `root`, each step synced into its parent. Cheap where it exists already."""
    if (root / relative).is_dir():
        return
    path = root
    for step in relative.split("/"):
        parent, path = path, path / step
        if not path.is_dir():
            disk.make_directory(path)
            disk.sync_directory(parent)


def taken_away(path: Path) -> StorageCorruptError:
    """The error for a file or directory that a living writer made and somebody removed."""
    return StorageCorruptError(
        f"{path} was removed, moved or replaced while the store was written: nothing more is stored. Find what removes "
        "files here; then put them back from a copy, or remove _manifest, _staging and warm too, and the next start "
        "stores the raw journal again",
        path=str(path),
    )


@contextmanager
def storage_errors(path: Path, action: str) -> Iterator[None]:
    """Turn the system's errors into ours: what was done, where, why, what to do."""
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else str(path)
        facts = {"path": where, "errno": error.errno}
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise StorageFullError(
                f"cannot {action} {where}: {reason}; nothing committed was lost, free some space and run it again",
                **facts,
            ) from error
        if error.errno in _DENIED:
            raise StorageAccessError(
                f"cannot {action} {where}: {reason}; give this user {'read' if action == 'read' else 'write'} access or name another directory",
                **facts,
            ) from error
        if error.errno == errno.ENOENT:
            raise StorageCorruptError(
                f"{where} is missing though the store needs it: restore it from a backup, or rebuild it from the raw journal",
                **facts,
            ) from error
        if error.errno in _IN_THE_WAY:
            raise StorageAccessError(
                f"cannot {action} {where}: {reason}; a file stands where the store needs a directory: move it away or name "
                "another directory",
                **facts,
            ) from error
        raise StorageError(f"cannot {action} {where}: {reason}", **facts) from error

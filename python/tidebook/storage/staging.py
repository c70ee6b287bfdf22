"""A writer's own directory for files that nobody may see yet, and the cleaning up after writers that died.

Each writer locks its directory for as long as it lives, and only a lock that the kernel gave back proves a death. A
part keeps its name here, under the path it will have, until the manifest that lists it is published. So what a dead
writer published but never committed is known exactly: it has a name here, the same file at its place in the store,
and no manifest entry. No file is ever removed because of its age or because a listing shows it.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tidebook.storage.disk import Disk, make_directories, storage_errors, taken_away
from tidebook.storage.layout import STAGING_DIRECTORY
from tidebook.storage.manifest import Manifest

_LOCK_NAME = "lock"


class Staging:
    """Staging directory of one living writer, `_staging/<name>/`."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self.name = uuid.uuid4().hex[:12]
        self.directory = root / STAGING_DIRECTORY / self.name
        self._root = root
        self._disk = disk
        with storage_errors(self.directory, "make"):
            make_directories(disk, root, STAGING_DIRECTORY)
            with _opening(root):
                disk.make_directory(self.directory)
                self._lock = _lock(self.directory)
                assert self._lock is not None, f"{self.directory} was made a moment ago and is locked by another"

    def path(self, relative: str) -> Path:
        """Where the future `relative` is written; its directories are made."""
        path = self.directory / relative
        with storage_errors(path.parent, "make"):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def require_present(self) -> None:
        """Raises: StorageCorruptError if the directory is no longer the one that this writer holds."""
        assert self._lock is not None, "a closed writer is asked no more"
        held = os.fstat(self._lock)
        try:
            if os.path.samestat(held, self._disk.stat(self.directory)):
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        raise taken_away(self.directory)

    def publish(self, relative: str) -> None:
        """Give a staged file its place in the store. Raises FileExistsError if the place is taken."""
        self._disk.link(self.directory / relative, self._root / relative)

    def rename(self, relative: str, other: str) -> None:
        """Let the staged file go to `other` instead."""
        (self.directory / relative).rename(self.directory / other)

    def forget(self, relative: str) -> None:
        """Drop the staged name: the file is committed, or was never published."""
        path = self.directory / relative
        with storage_errors(path, "remove"):
            self._disk.unlink(path)

    def close(self) -> None:
        """Give the lock back; the directory goes too, unless staged files are left for `clean` to judge."""
        if self._lock is None:
            return
        with suppress(OSError):  # no descriptors, or somebody took it away: then it is left for `clean` too
            if not any(self.directory.rglob("*.parquet")):
                _remove_tree(self.directory)
        os.close(self._lock)
        self._lock = None


def clean(root: Path, manifest: Manifest, disk: Disk) -> list[str]:
    """Remove what dead writers left; the paths, relative to the store, of parts that were never committed."""
    removed = []
    with storage_errors(root / STAGING_DIRECTORY, "clean"), _opening(root):
        for directory in sorted((root / STAGING_DIRECTORY).iterdir()):
            if not directory.is_dir() or (lock := _lock(directory)) is None:
                continue
            try:
                # Its writer is dead, so what the manifest does not have by now it will never have.
                manifest.refresh()
                for staged in directory.rglob("*.parquet"):
                    relative = staged.relative_to(directory).as_posix()
                    published = root / relative
                    if relative not in manifest.files and published.exists() and published.samefile(staged):
                        disk.unlink(published)
                        removed.append(relative)
                _remove_tree(directory)
            finally:
                os.close(lock)
    return removed


@contextmanager
def _opening(root: Path) -> Iterator[None]:
    """Held while a directory is made and locked, or judged dead: between the two a living one looks dead."""
    descriptor = os.open(root / STAGING_DIRECTORY / _LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock(directory: Path) -> int | None:
    """Descriptor that holds the directory's lock; None if a living process holds it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_tree(directory: Path) -> None:
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    directory.rmdir()

"""Parts are proven whole before their first use in a process.

An engine reads a flipped bit as a price as readily as it reads a price: of 250 flips in a Parquet file a third gave
other rows without a word. So a file is read whole and its hash compared with the manifest's before an engine is given
its name; later only its size and times are looked at. Costs one reading of the file at about 4 GB/s a core. What rots
on the disk behind an unchanged time, after that, `Store.verify` finds.
"""

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from tidebook.storage.disk import Disk, storage_errors
from tidebook.storage.filehash import of_file_like
from tidebook.storage.manifest import FileEntry
from tidebook.storage.part import corrupt

_REMEMBERED_MAX: Final = 1 << 18

# A change within one tick of the file system's clock, at most 10 ms, leaves a file's times as they are. So a file that
# was changed a moment ago is used but not remembered.
_SETTLED_NS: Final = 100_000_000

# Below this, handing files to threads takes longer than reading them.
_THREADS_WORTH_BYTES: Final = 1 << 20


class _Stamp(NamedTuple):
    """What cannot stay the same when a file's content is changed."""

    size_bytes: int
    modified_ns: int
    changed_ns: int


class _Whole:
    """Hashes of files that were read whole, by device and inode."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[tuple[int, int], tuple[_Stamp, str]] = {}

    def hash_of(self, found: os.stat_result) -> str | None:
        """Hash of the file if it was read as it is now."""
        stamp, known = self._files.get((found.st_dev, found.st_ino), (None, None))
        return known if stamp == _stamp(found) else None

    def remember(self, found: os.stat_result, hash: str) -> None:
        """Note the hash of a file that was `found` so before it was read."""
        with self._lock:
            if len(self._files) >= _REMEMBERED_MAX:
                del self._files[next(iter(self._files))]
            self._files[found.st_dev, found.st_ino] = _stamp(found), hash


_whole = _Whole()


def require_whole(disk: Disk, root: Path, entries: Sequence[FileEntry]) -> None:
    """Return when every file of `entries` is what was committed.

    Threads: as many as there are cores, at most 4; the GIL is released while files are read.
    Raises:  StorageCorruptError for the first that is missing or another, naming it; StorageVersionError,
             StorageAccessError, StorageError.
    """
    found = require_sizes(disk, root, entries)
    unread = [(entry, stat) for entry, stat in zip(entries, found, strict=True) if _whole.hash_of(stat) != entry.hash]
    if len(unread) < 2 or sum(entry.size_bytes for entry, _ in unread) < _THREADS_WORTH_BYTES:
        for entry, stat in unread:
            _read_whole(disk, root / entry.path, entry, stat)
        return
    threads = ThreadPoolExecutor(min(4, len(os.sched_getaffinity(0))), thread_name_prefix="storage-whole")
    try:
        for _ in threads.map(lambda file: _read_whole(disk, root / file[0].path, *file), unread):
            pass
    finally:
        threads.shutdown(cancel_futures=True)


def require_sizes(disk: Disk, root: Path, entries: Sequence[FileEntry]) -> list[os.stat_result]:
    """What the system says of each file of `entries`, all there and of the size that was committed.

    Raises: as `require_whole`.
    """
    found = []
    for entry in entries:
        path = root / entry.path
        with storage_errors(path, "read"):
            stat = disk.stat(path)
        if stat.st_size != entry.size_bytes:
            raise corrupt(path, f"it has {stat.st_size} bytes where {entry.size_bytes} were committed")
        found.append(stat)
    return found


def _read_whole(disk: Disk, path: Path, entry: FileEntry, found: os.stat_result) -> None:
    settled = time.time_ns() - found.st_ctime_ns > _SETTLED_NS
    with storage_errors(path, "read"):
        digest = of_file_like(disk, path, entry.hash)
    if digest != entry.hash:
        raise corrupt(path, f"its hash is {digest}, not {entry.hash}")
    if settled:
        _whole.remember(found, digest)


def _stamp(found: os.stat_result) -> _Stamp:
    return _Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns)

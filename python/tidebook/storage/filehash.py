"""Hash of a part's bytes as the manifest keeps it: the algorithm, a colon, hexadecimal digits.

New parts have `blake3:`, which one core computes faster than a disk reads; parts of older stores have `blake2b:`, ten
times slower, and are checked by it.
"""

import hashlib
from pathlib import Path

from tidebook._core import blake3_of_bytes
from tidebook.errors import StorageVersionError
from tidebook.storage.disk import Disk


def of_bytes(data: bytes | memoryview) -> str:
    """Hash of a new part."""
    return f"blake3:{blake3_of_bytes(memoryview(data).cast('B'))}"


def of_bytes_like(data: bytes | memoryview, committed: str, path: Path) -> str:
    """Hash of `data` by the algorithm of `committed`. Raises: StorageVersionError, naming `path`, if it is not known."""
    algorithm = committed.partition(":")[0]
    if algorithm == "blake3":
        return of_bytes(data)
    if algorithm == "blake2b":
        return f"blake2b:{hashlib.blake2b(data, digest_size=32).hexdigest()}"
    raise StorageVersionError(
        f"{path} was committed with a {algorithm} hash, which this release cannot check: read the store with the release "
        "that wrote it",
        path=str(path),
        expected="blake3",
        found=algorithm,
    )


def of_file_like(disk: Disk, path: Path, committed: str) -> str:
    """Hash of the file at `path`, as `of_bytes_like`. Raises OSError as the system does."""
    if committed.startswith("blake3:"):
        return f"blake3:{disk.blake3(path)}"
    return of_bytes_like(disk.read(path), committed, path)

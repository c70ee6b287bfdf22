"""Small files that are replaced whole: after a kill or a power failure there is the old one or the new one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidebook.errors import OperationError


def replace_durably(path: Path, data: bytes) -> None:
    """Makes `data` the file's content; returns when both content and name are on disk.

    Raises: OperationError naming the file and the system's reason; the old content stays.
    """
    with replacing(path) as staging:
        staging.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write the new content to; at the end of the block it durably takes the place of `path`.

    Raises: OperationError naming the file and the system's reason, also for an OSError of the block; the old content stays.
    """
    staging = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield staging
        with staging.open("rb") as written:
            os.fsync(written.fileno())
        staging.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise OperationError(
            f"{path}: cannot be written ({error.strerror}); free space or change its permissions, then try again"
        ) from error
    finally:
        staging.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Returns when the names in the directory are durable. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

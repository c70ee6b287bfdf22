"""Small files that are replaced whole: after a kill or a power failure there is the old one or the new one.

They are opened without waiting and only if they are files: a named pipe under the name of one would hold up, perhaps for ever,
whoever opens it.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def open_regular(path: Path, flags: int) -> int:
    """A descriptor of the regular file `path`, closed by who executes something. With `os.O_CREAT` it is made, for the user alone whose
    directory it is in: what root makes in another user's place would keep that user out.

    Raises: OSError; OperationError for a named pipe, a directory, a socket or a device, which are not waited for.
    """
    if flags & os.O_CREAT and (made := _made(path, flags)) is not None:
        return made
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError:
        # Some of them cannot even be opened.
        if path.exists():
            _refuse_all_but_files(path, path.stat().st_mode)
        raise
    try:
        _refuse_all_but_files(path, os.fstat(descriptor).st_mode)
    except OperationError:
        os.close(descriptor)
        raise
    return descriptor


def _made(path: Path, flags: int) -> int | None:
    """A new file; None where something of the name is. It is given away by its descriptor: a name may lead elsewhere by now."""
    try:
        descriptor = os.open(path, flags | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return None
    above = path.parent.stat()
    if os.fstat(descriptor).st_uid != above.st_uid:
        with suppress(PermissionError):  # of anybody but root it stays its own
            os.fchown(descriptor, above.st_uid, above.st_gid)
    return descriptor


def read_regular(path: Path) -> bytes:
    """The content of a regular file. Raises: as `open_regular`."""
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        return file.read()


def _refuse_all_but_files(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFDIR: "a directory", stat.S_IFSOCK: "a socket"}
    raise OperationError(
        f"{path}: {kinds.get(stat.S_IFMT(mode), 'a device')} stands in the place of this file; see what put it there, move it "
        "away, and put the file back if there was one"
    )


def files_in(directory: Path, suffix: str) -> list[Path]:
    """Files of a directory whose names end with `suffix`, by name, behind links too; none where there is no directory.

    Raises: OSError for a directory that cannot be listed and for a link that leads nowhere: what a search passes over would be
            missing without a word.
    """
    return sorted(path for path in _entries(directory) if path.name.endswith(suffix) and not path.is_dir())


def files_below(directory: Path, suffix: str) -> Iterator[Path]:
    """As `files_in`, of the directories below it too. A directory that goes away meanwhile has none."""
    for path in sorted(_entries(directory)):
        if path.is_dir():
            yield from files_below(path, suffix)
        elif path.name.endswith(suffix):
            yield path


def directories_in(directory: Path) -> list[Path]:
    """Directories of a directory, by name, behind links too; none where there is no directory. Raises: as `files_in`."""
    return sorted(path for path in _entries(directory) if path.is_dir() and path.name != OF_THE_FILE_SYSTEM)


OF_THE_FILE_SYSTEM = "lost+found"
"""At the root of a disk, of root alone and nobody's data."""


def _entries(directory: Path) -> list[Path]:
    try:
        found = list(directory.iterdir())
    except FileNotFoundError:
        if directory.is_symlink():
            raise
        return []
    for path in found:
        if path.is_symlink():
            path.stat()
    return found


def sync_directory(path: Path) -> None:
    """Returns when the names in the directory are durable. Raises: OSError naming it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of the block that names no file, as those of descriptors do not, names `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def is_full(error: OSError) -> bool:
    """The disk, a quota or the largest file that may be written has no room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

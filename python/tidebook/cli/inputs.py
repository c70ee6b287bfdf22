"""What commands are given: data directories, recordings, journals."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tidebook.errors import OperationError, UsageError
from tidebook.node.directory import journal_directory, journals_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STDIN = "-"

# `*files: RecordingFile`: `-` is no option. Whatever else begins so is one, misspelt.
RecordingFile = Annotated[Path, Parameter(allow_leading_hyphen=True)]


# `--date`, which means the same for every command that takes recordings.
RecordingDay = date | None


def nanoseconds(time: datetime) -> int:
    """Since 1970 UTC, exact to the microsecond that it has; a time that does not say its zone is UTC."""
    known = time if time.tzinfo else time.replace(tzinfo=UTC)
    since = known - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def data_directory(data: Path | None) -> Path:
    """The directory of `--data`, else of the setting; it need not be there.

    Raises: UsageError for a file; DirectoryVersionError, DirectoryError for a directory that this release cannot use.
    """
    from tidebook.persistence.data_directory import read_identity

    directory = named_directory(data)
    read_identity(directory)
    return directory


def node_address(data: Path | None) -> str:
    """Address of the API of the node that runs on `data`. Raises: OperationError when none does, or it starts or stops."""
    from tidebook.node.presence import running_node

    directory = data_directory(data)
    node = running_node(directory)
    if node is None:
        raise OperationError(f"no node runs on {directory}; start one with `tidebook run --data {directory}`")
    if not node.address:
        raise OperationError(f"the node on {directory} is starting or stopping; try again when it runs")
    return node.address


def named_directory(data: Path | None) -> Path:
    """As `data_directory`, whatever is in it. Raises: UsageError for a file."""
    from tidebook.config import load

    settings = load()
    directory = data or settings.data_directory
    if directory.exists() and not directory.is_dir():
        where = f"--data {data}" if data else f"the setting data_directory = {directory}"
        raise UsageError(f"{where} is a file; name a directory")
    return directory


@contextmanager
def owned_journal(journal: Path, command: str) -> Iterator[None]:
    """Owns, for the length of the block, the data directory that a journal lies in; a journal elsewhere has its own lock alone.

    Raises: DirectoryBusyError naming who owns it.
    """
    from tidebook.node.presence import owning
    from tidebook.persistence.data_directory import IDENTITY_FILE

    data = journal.resolve().parent.parent
    if journal_directory(data, journal.name) != journal.resolve() or not (data / IDENTITY_FILE).exists():
        yield
        return
    with owning(data, command):
        yield


@contextmanager
def recording_files(files: Sequence[Path]) -> Iterator[list[Path]]:
    """The files, `-` being what comes on stdin: a copy of it, for a recording is read whole and known by its bytes.

    Raises: UsageError when stdin is named twice, or is a terminal; for an option nobody knows.
    """
    names = [str(path) for path in files]
    for name in names:
        if name.startswith("-") and name != STDIN:
            raise UsageError(f"unknown option {name}; a file of that name is ./{name}")
    if STDIN not in names:
        yield list(files)
        return
    if names.count(STDIN) > 1 or sys.stdin.isatty():
        raise UsageError("- is a recording on stdin: pipe one in, and name it once")
    with tempfile.TemporaryDirectory(prefix="tidebook-") as directory:
        copy = Path(directory) / "stdin"
        with copy.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield [copy if name == STDIN else path for name, path in zip(names, files, strict=True)]


def journals(named: Sequence[Path], data: Path | None) -> list[Path]:
    """Directories of the journals that are meant: those named, else all of `--data`.

    One that is named may be a data directory too, or the `wal_dir` of channels.

    Raises: UsageError when there are none.
    """
    found = []
    for path in named:
        found += journals_in(path) or [path]
    if named:
        return found
    root = data_directory(data)
    there = journals_in(root)
    if not there:
        raise UsageError(f"{root} holds no journals; name a data directory with --data")
    return there


def one_journal(named: Path | None, data: Path | None) -> Path:
    """The journal that is meant, where one has to be. Raises: UsageError when there are several."""
    found = journals([named] if named else [], data)
    if len(found) > 1:
        raise UsageError(f"there are {len(found)} journals; name one of {', '.join(map(str, found))}")
    return found[0]

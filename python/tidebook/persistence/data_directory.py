"""A data directory says what it is: which layout, which directory, since when.

`tidebook.json` is written, durably, by the first owner before anything else, and read by every command before it does
anything there. A later layout is refused by its number instead of being misread by an older release. Directories that
releases before this file filled have layout 1 and get the file from their next owner. Layout: docs/formats/data-directory.md.
"""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING

import msgspec

from tidebook._core import version
from tidebook.errors import DirectoryError, DirectoryVersionError
from tidebook.persistence.files import read_regular, replace_durably, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "tidebook-data"
FORMAT_VERSION = 1
IDENTITY_FILE = "tidebook.json"
LOCK_FILE = "node.lock"
OWNER_FILE = "node.json"
OWNERS_FILES = frozenset({IDENTITY_FILE, LOCK_FILE, OWNER_FILE})
"""What an owner leaves that has kept nothing yet."""
MAINTENANCE_LOCK = "maintenance.lock"
"""Held by who removes history from a directory, and by who needs that none is removed meanwhile."""
RESTORING = "_restoring"
"""Directory that is there while a backup is being restored: without the rest, nothing in it is to be used."""


class RestoredFrom(msgspec.Struct, frozen=True, kw_only=True):
    """Which backup a directory began as."""

    backup: str
    """Its id."""
    node_id: str
    """Of the directory that was backed up."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `tidebook.json`."""

    format: str = FORMAT
    version: int = FORMAT_VERSION
    node_id: str
    """Random: tells this directory from every other, a restored copy of it too."""
    created: int
    """ns since 1970 UTC, for people: nothing depends on it."""
    release: str
    """That wrote the file."""
    restored_from: RestoredFrom | None = None


class _Head(msgspec.Struct):
    format: str
    version: int


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_identity = msgspec.json.Decoder(Identity).decode


def new_identity(restored_from: RestoredFrom | None = None) -> Identity:
    """One that no directory has yet."""
    return Identity(node_id=uuid.uuid4().hex, created=time.time_ns(), release=version(), restored_from=restored_from)


def read_identity(data: Path) -> Identity | None:
    """What the directory is; None where no owner has been yet, or only one before there was this file.

    Raises: DirectoryVersionError for a later layout; DirectoryError for a file that is none, or a restore that did not end;
            OperationError for what is no file.
    """
    if (data / RESTORING).exists():
        raise DirectoryError(
            f"{data} is being restored from a backup, or that was interrupted; run the same `tidebook restore` again",
            path=str(data),
        )
    path = data / IDENTITY_FILE
    try:
        text = read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        head = _decode_head(text)
        if head.format == FORMAT and head.version > FORMAT_VERSION:
            raise DirectoryVersionError(
                f"{data} has layout version {head.version}, this release knows up to {FORMAT_VERSION}; use the release that "
                "wrote it",
                path=str(path),
                found=head.version,
                expected=FORMAT_VERSION,
            )
        found = _decode_identity(text)
    except msgspec.DecodeError as error:
        raise DirectoryError(
            f"{path} does not say what this directory is ({error}); put it back from a backup, or remove it if the rest is "
            "known to be whole",
            path=str(path),
        ) from error
    if found.format != FORMAT:
        raise DirectoryError(f"{path} is of {found.format}, not of Tidebook; name another directory", path=str(path))
    return found


def identify(data: Path) -> Identity:
    """The identity of a directory that this process owns: made, durably, if there is none.

    Raises: as `read_identity`; OperationError when it cannot be written.
    """
    found = read_identity(data)
    if found is None:
        found = new_identity()
        write_identity(data, found)
    return found


def write_identity(data: Path, identity: Identity) -> None:
    """Puts the file there, durably. Raises: OperationError."""
    replace_durably(data / IDENTITY_FILE, msgspec.json.format(msgspec.json.encode(identity), indent=1) + b"\n")


def make_directories(path: Path) -> None:
    """Makes a directory and those above it; returns when their names are durable. Raises: OSError."""
    if path.is_dir():
        return
    make_directories(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
    sync_directory(path.parent)


def remove_leftovers(data: Path) -> list[Path]:
    """Removes what processes that died left of files they were replacing; for who owns the directory. What was removed.

    Raises: OSError.
    """
    removed = []
    for directory in (data, data / "feeds", *sorted((data / "journal").glob("*/"))):
        for path in sorted(directory.glob(".*.tmp")):
            pid = path.name.split(".")[-2]
            if pid.isdecimal() and not _lives(int(pid)):
                path.unlink(missing_ok=True)
                removed.append(path)
    return removed


def _lives(pid: int) -> bool:
    """Whether there is a process of this number: then the file may be one that it writes."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

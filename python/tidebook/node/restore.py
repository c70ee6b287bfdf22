"""A backup put back: every file verified, every journal read, every feed able to start, or nothing taken for a directory.

The copy is made below `_restoring` in the new directory, which no command uses while that is there; it takes the files'
places only when all of it was verified. So an interrupted restore is never mistaken for a directory, and is begun again
by the same command. The new directory has an identity of its own, which says which backup it was, and its journals go on in
epochs of their own: behind the backup's end other messages may have been acknowledged under the next numbers.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tidebook._core import blake3_of_file
from tidebook.errors import BackupError
from tidebook.node.backup import DATA, Backup, backups, full, read_listing, require_beginning
from tidebook.node.directory import journal_directory
from tidebook.node.presence import locked_by
from tidebook.persistence import VerifiedJournal, mark_put_back, verify
from tidebook.persistence.copying import copy_file
from tidebook.persistence.data_directory import (
    IDENTITY_FILE,
    LOCK_FILE,
    OWNER_FILE,
    RESTORING,
    RestoredFrom,
    make_directories,
    new_identity,
    write_identity,
)
from tidebook.persistence.files import is_full, sync_directory
from tidebook.storage.layout import MANIFEST_DIRECTORY
from tidebook.storage.store import Store, Verification

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was put back and verified."""

    backup: Backup
    data: Path
    journals: list[VerifiedJournal]
    """Every batch of each was read."""
    store: Verification | None
    """Every part was read against the manifest; None where there are no rows."""


def newest(destination: Path) -> Path:
    """The newest whole backup below a directory, or that directory itself where it is one.

    Raises: BackupError when there is none.
    """
    found = backups(destination)
    if not found:
        raise BackupError(
            f"{destination} holds no whole backup; name one that `tidebook backup` made, or the directory it is in",
            path=str(destination),
        )
    return found[-1]


def restore(backup: Path, data: Path, progress: Callable[[int], None] = lambda _: None) -> Restored:
    """Puts a backup into `data`, which must be absent, empty, or an interrupted restore; returns when it is durable.

    `progress` is called with bytes copied. Raises: BackupError naming the file that is not what was backed up, because no start
    could go on with what was, for a full disk, or because `data` holds something; DirectoryBusyError; errors of journals and of
    the store, should they not verify; OSError naming the file.
    """
    listing = read_listing(backup)
    _refuse_used(data)
    make_directories(data)
    with locked_by(data, "restore"):
        _refuse_used(data)
        try:
            journals, store = _put_back(backup, listing, data, progress)
        except OSError as error:
            if not is_full(error):
                raise
            raise full(error, f"{data} is no directory to use yet") from error
    return Restored(backup=listing, data=data, journals=journals, store=store)


def _put_back(
    backup: Path, listing: Backup, data: Path, progress: Callable[[int], None]
) -> tuple[list[VerifiedJournal], Verification | None]:
    """Copies, verifies and moves into place, in the directory that this process owns."""
    _clear(data)
    staging = data / RESTORING
    staging.mkdir()
    sync_directory(data)
    for file in listing.files:
        source = backup / DATA / file.path
        try:
            size_bytes, digest = copy_file(source, staging / file.path, progress=progress)
        except FileNotFoundError as error:
            raise _missing(source) from error
        if (size_bytes, digest) != (file.size_bytes, file.hash):
            raise _damaged(source, size_bytes, digest, file.size_bytes, file.hash)
    journals = _verified_journals(staging, listing)
    store = _verified_store(staging)
    for held in listing.journals:
        require_beginning(staging, held)
    for held in listing.journals:
        mark_put_back(journal_directory(staging, held.channel))
    write_identity(staging, new_identity(RestoredFrom(backup=listing.id, node_id=listing.node_id)))
    for directory, _, _ in os.walk(staging, topdown=False):
        sync_directory(Path(directory))
    _move_into_place(staging, data)
    return journals, store


def check(backup: Path, progress: Callable[[int], None] = lambda _: None) -> Backup:
    """Reads every file of a backup; its listing. Raises: BackupError naming the first that is not what was backed up."""
    listing = read_listing(backup)
    for file in listing.files:
        source = backup / DATA / file.path
        try:
            size_bytes, digest = source.stat().st_size, blake3_of_file(source)
        except FileNotFoundError as error:
            raise _missing(source) from error
        if (size_bytes, digest) != (file.size_bytes, file.hash):
            raise _damaged(source, size_bytes, digest, file.size_bytes, file.hash)
        progress(file.size_bytes)
    return listing


def _missing(source: Path) -> BackupError:
    return BackupError(
        f"{source} is missing, which the backup needs; restore another backup, or put this file back into it",
        path=str(source),
    )


def _damaged(source: Path, size_bytes: int, digest: str, size_listed: int, hash_listed: str) -> BackupError:
    found = (
        f"it has {size_bytes} bytes, not {size_listed}"
        if size_bytes != size_listed
        else (f"its hash is {digest}, not {hash_listed}")
    )
    return BackupError(f"{source} is damaged: {found}; restore another backup", path=str(source))


def _refuse_used(data: Path) -> None:
    """Raises: BackupError for a directory that holds something that is no interrupted restore."""
    if data.exists() and not data.is_dir():
        raise BackupError(f"{data} is a file; name a directory that is empty or not there", path=str(data))
    names = {path.name for path in data.iterdir()} if data.is_dir() else set()
    if RESTORING not in names and (held := names - {LOCK_FILE, OWNER_FILE}):
        some = ", ".join(sorted(held)[:3])
        raise BackupError(
            f"{data} is not empty (it holds {some}); restore into a directory that is empty or not there",
            path=str(data),
        )


def _clear(data: Path) -> None:
    """Removes what an interrupted restore left; what says that it was one goes last."""
    left = [path for path in data.iterdir() if path.name not in (LOCK_FILE, OWNER_FILE)]
    for path in sorted(left, key=lambda path: path.name == RESTORING):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _verified_journals(staging: Path, listing: Backup) -> list[VerifiedJournal]:
    """Reads all journals whole. Raises: JournalError and its kinds; BackupError for one that lacks what is listed."""
    verified = []
    for held in listing.journals:
        journal = verify(journal_directory(staging, held.channel))
        if journal.last_sequence < held.last_sequence or journal.last_sequence < held.stored:
            raise BackupError(
                f"{journal.directory} ends at message {journal.last_sequence}, the backup had {held.last_sequence} and rows "
                f"up to {held.stored}",
                path=str(journal.directory),
            )
        verified.append(journal)
    return verified


def _verified_store(staging: Path) -> Verification | None:
    """Reads all parts whole. Raises: StorageCorruptError and the like for the first that is damaged."""
    if not (staging / MANIFEST_DIRECTORY).is_dir():
        return None
    found = Store(staging).verify()
    if found.errors:
        raise found.errors[0]
    return found


def _move_into_place(staging: Path, data: Path) -> None:
    """Everything synced has its place, the identity last; then the directory is one that may be used."""
    for path in sorted(staging.iterdir(), key=lambda path: path.name == IDENTITY_FILE):
        path.rename(data / path.name)
    sync_directory(data)
    staging.rmdir()
    sync_directory(data)


def facts(restored: Restored) -> dict[str, object]:
    """For JSON."""
    return {
        "backup": restored.backup.id,
        "data": str(restored.data),
        "files": len(restored.backup.files),
        "size_bytes": restored.backup.size_bytes,
        "journals": [
            {"channel": journal.channel, "first": journal.first_sequence, "last": journal.last_sequence}
            for journal in restored.journals
        ],
        "store": None if restored.store is None else msgspec.to_builtins(restored.store, enc_hook=str),
    }

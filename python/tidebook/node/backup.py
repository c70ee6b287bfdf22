"""A data directory copied while its owner works, so that what the copy refers to is in the copy.

The order makes it so: first the snapshots, then the manifest with its parts, then of each channel the checkpoints of its readers
and the journal up to what is durable by then. So rows, snapshots and checkpoints are of messages that the copied journal has, and
what is stored in the copy is never before all of its snapshots, which is where a start goes on. Subscriptions come last: their
numbers of sessions are then above all in the journals. A journal that is compacted meanwhile is told by where it begins, and
all is copied again; and of every feed it is asked whether a start could go on with the copy, before that is called a backup.

A backup is a directory `<destination>/<id>/` with the copy in `data/` and `backup.json`, which lists every file with its
size and hash. It is made under another name and gets its own when every byte and name in it is synced, so one that was
interrupted is none; the next one goes on with what it had copied. What never changes (parts, sealed segments,
snapshots) and is in an earlier backup is not copied again but linked: backups share files, and each is whole by
itself. What is linked is read and hashed as what is copied is, and copied anew if it is not what the earlier one listed.
Layout: docs/formats/backup.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from tidebook._core import (
    CheckpointStore,
    JournalReader,
    blake3_of_file,
    journal_durable_end,
    version,
)
from tidebook.errors import BackupError, JournalAbsentError, JournalDamagedError, SnapshotError
from tidebook.node.directory import (
    VENUE_CHANNEL,
    checkpoints_file,
    journal_directory,
    journaled_channels,
    own_journals,
    venue_lives_before_file,
    venue_lives_file,
    venue_names_file,
)
from tidebook.node.snapshot_files import find_start
from tidebook.node.venue_keeping import why_no_start
from tidebook.persistence import inspect
from tidebook.persistence.copying import copy_file, remove_unfinished, write_all, write_file
from tidebook.persistence.data_directory import MAINTENANCE_LOCK, Identity, make_directories, read_identity
from tidebook.persistence.file_lock import held_by, locked
from tidebook.persistence.files import (
    files_below,
    files_in,
    is_full,
    naming,
    open_regular,
    read_regular,
    replace_durably,
    sync_directory,
)
from tidebook.persistence.journal_copy import (
    WATERMARK_FILE,
    first_sequence_of,
    kept_whole,
    same_segment,
    segment_name,
    segment_numbers,
)
from tidebook.storage.disk import Disk
from tidebook.storage.layout import MANIFEST_DIRECTORY
from tidebook.storage.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FORMAT: Final = "tidebook-backup"
FORMAT_VERSION: Final = 1
LISTING_FILE: Final = "backup.json"
DATA: Final = "data"

_PARTIAL: Final = ".partial"
_COPIED: Final = "copied.jsonl"
_LOCK: Final = ".lock"
_MAINTENANCE_WAIT_S: Final = 600.0
_TRIES_MAX: Final = 10
_WATERMARK_WAIT_S: Final = 10.0
_WATERMARK_POLL_S: Final = 0.05


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a backup."""

    path: str
    """Below `data/`."""
    size_bytes: int
    hash: str
    """BLAKE3 of its bytes, 64 hexadecimal digits."""
    sealed: bool = False
    """It never changes under its name, so another backup may share it."""


class JournalHeld(msgspec.Struct, frozen=True, kw_only=True):
    """A journal as a backup has it."""

    channel: str
    journal_id: str
    first_sequence: int
    last_sequence: int
    """Everything up to here was durable when it was copied, and is here; below `first_sequence` for none."""
    stored: int
    """Message up to which the backup's rows reach; never beyond `last_sequence`."""


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """The listing of a backup."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    id: str
    begun: int
    ended: int
    """ns since 1970 UTC."""
    source: str
    """The directory, for people."""
    node_id: str
    """Of it."""
    release: str
    size_bytes: int
    """Of all files."""
    copied_bytes: int
    """That were not in an earlier backup."""
    copied_files: int
    manifest_version: int
    """Of the store; 0 without one."""
    journals: list[JournalHeld]
    files: list[File]


_decode_file = msgspec.json.Decoder(File).decode
_decode_backup = msgspec.json.Decoder(Backup).decode


def back_up(
    data: Path,
    destination: Path,
    progress: Callable[[int], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
) -> Backup:
    """Makes a backup of `data` below `destination`, which is made if need be; returns when it is whole and durable.

    The owner of `data` may work on. `progress` is called with bytes copied, `tell` with a line for each file
    of the backup before that is damaged (such a file is copied anew, and the backup before stays as it is), and when it
    waits for another process.
    Raises: BackupError for a directory that is none, for journals that are damaged, and while another process makes a
            backup there, and for a full disk; StorageError for a store that is; OSError of either disk, naming the file.
    """
    identity = _identity_of(data)
    if destination.resolve().is_relative_to(data.resolve()):
        raise BackupError(
            f"{destination} is in {data} and would be lost with it; name a directory elsewhere, at best on another disk",
            path=str(destination),
        )
    make_directories(destination)
    with locked(destination / _LOCK) as got:
        if not got:
            raise BackupError(
                f"another process makes a backup in {destination}: {held_by(destination / _LOCK)}; wait for it",
                path=str(destination),
            )
        try:
            with _kept_as_it_is(data, tell):
                return _Making(data, destination, identity, progress, tell).run()
        except OSError as error:
            if not is_full(error):
                raise
            raise full(error, "no backup was made; what was copied stays, and the next goes on with it") from error


def full(error: OSError, what: str) -> BackupError:
    """That of a disk which is full: the file, and `what` has become of all of it."""
    path = str(error.filename or "")
    return BackupError(
        f"{path}: {error.strerror}: {what}. Free space there, then give the same command again", path=path
    )


def backups(destination: Path) -> list[Path]:
    """Directories of whole backups, oldest first; of a backup itself that alone."""
    if (destination / LISTING_FILE).is_file():
        return [destination]
    if not destination.is_dir():
        return []
    found = (
        path for path in destination.iterdir() if not path.name.startswith(".") and (path / LISTING_FILE).is_file()
    )
    return sorted(found, key=lambda path: path.name)


def read_listing(backup: Path) -> Backup:
    """The listing of a backup.

    Raises: BackupError for one that is none, damaged or forged, naming the file; OperationError for what is no file.
    """
    path = backup / LISTING_FILE
    try:
        content = read_regular(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BackupError(
            f"{backup} is no backup: it has no {LISTING_FILE}; name one that `tidebook backup` made", path=str(path)
        ) from error
    body, _, _ = content.partition(b"\n")
    if content != _framed(body):
        raise BackupError(
            f"{path} is damaged: its hash does not match its content; take another backup", path=str(path)
        )
    try:
        listing = _decode_backup(body)
    except msgspec.DecodeError as error:
        raise BackupError(f"{path} is of another release: {error}", path=str(path)) from error
    if (listing.format, listing.format_version) != (FORMAT, FORMAT_VERSION):
        raise BackupError(
            f"{path} is {listing.format} version {listing.format_version}; this release reads {FORMAT} version "
            f"{FORMAT_VERSION}",
            path=str(path),
        )
    for file in listing.files:
        if not _stays_below(file.path):
            raise BackupError(
                f"{path} lists {file.path!r}, which would be outside of the directory; this is no backup of ours",
                path=str(path),
            )
    return listing


def _stays_below(path: str) -> bool:
    """Whether a path of a listing names a file below the directory it is relative to, in the one way we write it."""
    return bool(path) and "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


def _framed(body: bytes) -> bytes:
    """Body and its hash, a line each: `head -1` is the JSON."""
    return b"%b\nblake2b:%b\n" % (body, hashlib.blake2b(body, digest_size=32).hexdigest().encode())


def _identity_of(data: Path) -> Identity:
    if not data.is_dir():
        raise BackupError(f"{data} is no directory; name a data directory with --data", path=str(data))
    identity = read_identity(data)
    if identity is None and not ((data / "journal").is_dir() or (data / MANIFEST_DIRECTORY).is_dir()):
        raise BackupError(f"{data} is no data directory: {_what_it_is(data)}", path=str(data))
    return identity or Identity(node_id="", created=0, release="")


def _what_it_is(directory: Path) -> str:
    journals = [journal.name for journal in own_journals(directory)]
    if not journals:
        return "it holds neither a directory `journal` nor rows; name a data directory with --data"
    return (
        f"it holds the journals of channels of your own ({', '.join(journals)}), and a backup is of the directory around them: begin those "
        'channels with "wal_dir": "DATA/journal", or move their journals there while nobody has them open, and name DATA with --data'
    )


@contextlib.contextmanager
def _kept_as_it_is(data: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Nobody compacts a journal of the directory meanwhile; `tell` is told who is waited for. Raises: BackupError when somebody does
    for too long.
    """
    if not os.access(data, os.W_OK):  # then nobody of this user maintains it
        yield
        return
    lock = data / MAINTENANCE_LOCK

    def waiting(whom: str) -> None:
        tell(f"waiting, up to {_MAINTENANCE_WAIT_S:g} s, for who backs up or compacts {data}: {whom}")

    with locked(lock, _MAINTENANCE_WAIT_S, waiting) as got:
        if not got:
            raise BackupError(
                f"{data} has been backed up or compacted for {_MAINTENANCE_WAIT_S:g} s by {held_by(lock)}, which holds {lock}; "
                "let it end, or end it, and try again",
                path=str(data),
            )
        yield


class _Making:
    """One backup being made."""

    def __init__(
        self,
        data: Path,
        destination: Path,
        identity: Identity,
        progress: Callable[[int], None],
        tell: Callable[[str], None],
    ) -> None:
        self._data = data
        self._tell = tell
        self._destination = destination
        self._identity = identity
        self._progress = progress
        self._root = destination / _PARTIAL
        self._target = self._root / DATA
        self._files: dict[str, File] = {}
        self._copied_bytes = self._copied_files = 0
        held = backups(destination)
        self._earlier = held[-1] if held else None
        listing = read_listing(self._earlier) if self._earlier is not None else None
        self._listed = {} if listing is None else {file.path: file for file in listing.files if file.sealed}
        # No backup is begun before the one it comes after, whatever the clock says: the newest is the one made last.
        self._begun = max(time.time_ns(), 0 if listing is None else listing.begun + 1)
        self._resumed: dict[str, File] = {}

    def run(self) -> Backup:
        self._resume()
        log = open_regular(self._root / _COPIED, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with os.fdopen(log, "ab", buffering=0) as self._log, contextlib.ExitStack() as held:
            # Of channels whose own producers compact them; those of feeds wait for the lock of all maintenance.
            for channel in journaled_channels(self._data):
                held.enter_context(kept_whole(journal_directory(self._data, channel), self._tell))
            backup = self._copied()
        self._publish(backup)
        return backup

    def _copied(self) -> Backup:
        for _ in range(_TRIES_MAX):
            began = {channel: self._first_of(channel) for channel in journaled_channels(self._data)}
            self._files.clear()
            self._snapshots()
            if (began.get(VENUE_CHANNEL) or 1) > 1:
                # Behind the snapshots, which they begin behind, and before the commands that follow them.
                for path in (venue_lives_before_file(self._data), venue_lives_file(self._data)):
                    self._small(path.relative_to(self._data).as_posix())
            manifest_version, positions = self._store()
            journals = [
                held
                for channel in journaled_channels(self._data)
                if (held := self._journal(channel, positions)) is not None
            ]
            # One that has lost messages since its snapshots and checkpoints were copied may begin behind all of them.
            if all(began.get(held.channel) in (None, held.first_sequence) for held in journals):
                break
        else:
            raise BackupError(
                f"the journals in {self._data} are compacted faster than they can be copied", path=str(self._data)
            )
        for path in files_in(self._data / "feeds", ".json"):
            self._small(path.relative_to(self._data).as_posix())
        # After the journals: a number has its name before the first command with it is written.
        self._small(venue_names_file(self._data).relative_to(self._data).as_posix())
        self._small("tidebook.json")
        self._forget_others()
        for held in journals:
            require_beginning(self._target, held)
        files = sorted(self._files.values(), key=lambda file: file.path)
        seconds, ns = divmod(self._begun, 1_000_000_000)
        at = datetime.fromtimestamp(seconds, UTC)
        return Backup(
            id=f"{at:%Y%m%dT%H%M%S}.{ns:09d}Z-{uuid.uuid4().hex[:6]}",
            begun=self._begun,
            ended=time.time_ns(),
            source=str(self._data.resolve()),
            node_id=self._identity.node_id,
            release=version(),
            size_bytes=sum(file.size_bytes for file in files),
            copied_bytes=self._copied_bytes,
            copied_files=self._copied_files,
            manifest_version=manifest_version,
            journals=journals,
            files=files,
        )

    # What was copied before.

    def _resume(self) -> None:
        """Finds what an interrupted backup had copied whole."""
        self._target.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self._root)
        with contextlib.suppress(FileNotFoundError):
            for line in read_regular(self._root / _COPIED).splitlines():
                with contextlib.suppress(msgspec.DecodeError):  # the last line may be torn
                    file = _decode_file(line)
                    path = self._target / file.path
                    if path.is_file() and path.stat().st_size == file.size_bytes:
                        self._resumed[file.path] = file
        for path in self._target.rglob("*"):
            if path.is_file() and path.relative_to(self._target).as_posix() not in self._resumed:
                path.unlink()

    def _forget_others(self) -> None:
        """Removes what an interrupted backup had and this one has not."""
        for path in self._target.rglob("*"):
            if path.is_file() and path.relative_to(self._target).as_posix() not in self._files:
                path.unlink()

    def _note(self, file: File, *, copied: bool) -> None:
        if copied:
            self._copied_bytes += file.size_bytes
            self._copied_files += 1
        if self._files.get(file.path) != file:
            self._files[file.path] = file
            if copied:
                self._resumed[file.path] = file
            with naming(self._root / _COPIED):
                os.write(self._log.fileno(), msgspec.json.encode(file) + b"\n")

    # The parts of a directory.

    def _store(self) -> tuple[int, dict[str, int]]:
        """Manifest and parts; the version and the stored position of each channel."""
        if not (self._data / MANIFEST_DIRECTORY).is_dir():
            return 0, {}
        for _ in range(_TRIES_MAX):
            manifest = Manifest(self._data, Disk())
            try:
                for entry in manifest.files.values():
                    self._sealed(entry.path, entry.hash)
                for name in _manifest_files(self._data, manifest.version):
                    self._sealed(f"{MANIFEST_DIRECTORY}/{name}")
            except FileNotFoundError as error:
                if Manifest(self._data, Disk()).version == manifest.version and "checkpoints" not in str(
                    error.filename
                ):
                    raise BackupError(
                        f"{error.filename} is missing though the store needs it; put it back from an earlier backup, or "
                        "rebuild the store from the raw journal",
                        path=str(error.filename),
                    ) from error
                continue  # compacted meanwhile: the newer version says what there is
            break
        else:
            raise BackupError(f"the store in {self._data} changes faster than it can be copied", path=str(self._data))
        copied = Manifest(self._target, Disk())
        if copied.version != manifest.version:
            raise BackupError(
                f"the copied manifest ends at version {copied.version}, not {manifest.version}", path=str(self._target)
            )
        return manifest.version, {channel: step.last for channel, step in copied.positions.items()}

    def _snapshots(self) -> None:
        """Of each state the newest first: the oldest may be rotated away meanwhile, and then there are newer ones."""
        for directory in sorted({path.parent for path in files_below(self._data / "snapshots", ".snapshot")}):
            for _ in range(_TRIES_MAX):
                found = files_in(directory, ".snapshot")[::-1]
                if not found or sum([self._snapshot(path) for path in found]):
                    break
            else:
                raise BackupError(
                    f"the snapshots in {directory} go faster than they can be copied", path=str(directory)
                )

    def _snapshot(self, path: Path) -> bool:
        """Whether it was there to be copied."""
        try:
            self._sealed(path.relative_to(self._data).as_posix())
        except FileNotFoundError:
            return False
        return True

    def _first_of(self, channel: str) -> int | None:
        """Where the journal of a channel begins now; None without one."""
        try:
            return inspect(journal_directory(self._data, channel)).first_sequence
        except JournalAbsentError:
            return None
        except JournalDamagedError as error:
            raise _of_damaged(journal_directory(self._data, channel), error) from error

    def _journal(self, channel: str, positions: dict[str, int]) -> JournalHeld | None:
        """One journal with what lies beside it; None for one in which nothing is durable yet."""
        journal = journal_directory(self._data, channel)
        where = journal.relative_to(self._data).as_posix()
        # Before the journal, which then has what they are checkpoints of.
        self._checkpoints(journal, where)
        for _ in range(_TRIES_MAX):
            recordings = _content(journal / "captures.json")
            try:
                first_copied = self._segments(journal, where)
            except JournalDamagedError as error:
                raise _of_damaged(journal, error) from error
            # The log of recordings has to be that of these messages: written before the first, and after the last of each.
            if first_copied is not None and _content(journal / "captures.json") == recordings:
                break
            if first_copied is None and not segment_numbers(journal):
                return None
        else:
            raise BackupError(f"{journal}: recordings come and go faster than they can be copied", path=str(journal))
        for name in ("first", "simulated", "captures.json"):
            self._small(f"{where}/{name}")
        stored = positions.get(channel, 0)
        state = inspect(self._target / where)
        self._check_chain(journal, self._target / where, first_copied)
        held = JournalHeld(
            channel=channel,
            journal_id=f"{state.journal_id:016x}",
            first_sequence=state.first_sequence,
            last_sequence=state.last_sequence,
            stored=stored,
        )
        if stored > held.last_sequence:
            raise BackupError(
                f"{self._data} has rows of {channel} up to message {stored}, but its journal is durable up to "
                f"{held.last_sequence} only: it is damaged, or not the one they came from",
                path=str(journal),
            )
        return held

    def _checkpoints(self, journal: Path, where: str) -> None:
        """The states and cursors of a channel's readers, as of one moment. Raises: CheckpointError."""
        if not checkpoints_file(journal).is_file():
            return
        path = checkpoints_file(self._target / where)
        copied = path.parent
        shutil.rmtree(copied, ignore_errors=True)
        copied.parent.mkdir(parents=True, exist_ok=True)
        CheckpointStore(checkpoints_file(journal).parent).copy_to(copied)
        self._note(
            File(
                path=path.relative_to(self._target).as_posix(),
                size_bytes=path.stat().st_size,
                hash=blake3_of_file(path),
            ),
            copied=True,
        )

    def _segments(self, journal: Path, where: str) -> int | None:
        """Copies the segments up to where the durable part ends; the message from which on the copy has to be read.

        None when there is no journal yet, or segments went away meanwhile. Raises: JournalDamagedError.
        """
        _wait_for_watermark(journal)
        end = journal_durable_end(journal)
        if end is None:
            return None
        newest_number, size_bytes, watermark = end
        numbers = [number for number in segment_numbers(journal) if number <= newest_number]
        if newest_number not in numbers:
            return None
        for path in [path for path in self._files if path.startswith(f"{where}/")]:
            if self._target / path == checkpoints_file(self._target / where):
                continue
            if Path(path).name not in map(segment_name, numbers[:-1]):
                del self._files[path]
                (self._target / path).unlink(missing_ok=True)
        fresh = newest_number
        try:
            # Rising: whether a segment is the one that is held is told by the next one, which must not have been replaced yet.
            for number in numbers[:-1]:
                if self._sealed(f"{where}/{segment_name(number)}"):
                    fresh = min(fresh, number)
            newest = journal / segment_name(newest_number)
            self._replaced(
                f"{where}/{newest.name}",
                lambda target: copy_file(newest, target, size_max=size_bytes, progress=self._progress),
            )
        except FileNotFoundError:
            return None
        if watermark is not None:
            self._replaced(
                f"{where}/{WATERMARK_FILE}", lambda target: write_file(target, lambda file: write_all(file, watermark))
            )
        return first_sequence_of(self._target / where / segment_name(max(fresh - 1, numbers[0])))

    def _check_chain(self, journal: Path, copied: Path, from_sequence: int) -> None:
        """Reads the batches that were copied, as they came back from the disk, and those of the segment before them, whose end
        they have to follow. Of a damaged journal no copy is kept: the next backup would go on with it when the journal is mended.
        Raises: BackupError with the damage.
        """
        try:
            reader = JournalReader(copied, from_sequence=from_sequence, durable_only=False)
            while reader.next(16_384) is not None:
                pass
        except JournalDamagedError as error:
            for segment in files_in(copied, ".segment"):
                segment.unlink()
            raise _of_damaged(journal, error, copied) from error

    # Ways a file gets into the backup.

    def _sealed(self, relative: str, committed: str = "") -> bool:
        """A file that never changes under its name; whether it is not in an earlier backup, where it was checked.

        Raises: FileNotFoundError; BackupError when it is not what was `committed`, if that is given.
        """
        source, target = self._data / relative, self._target / relative
        resumed = self._resumed.get(relative)
        if resumed is not None and resumed.sealed and _is_held(source, target, committed, resumed):
            self._note(resumed, copied=False)
            return True
        target.unlink(missing_ok=True)
        listed = self._listed.get(relative)
        if listed is not None and self._earlier is not None:
            earlier = self._earlier / DATA / relative
            if _is_held(source, earlier, committed, listed):
                if _linked(earlier, target):
                    self._note(listed, copied=False)
                    return False
            elif not _is_as_listed(earlier, listed):
                self._tell(f"{earlier} is not what its backup lists; it was copied anew, and that backup stays damaged")
        size_bytes, digest = copy_file(source, target, progress=self._progress)
        if committed.startswith("blake3:") and committed != f"blake3:{digest}":
            raise BackupError(
                f"{source} is damaged: its hash is blake3:{digest}, not {committed}; put it back from an earlier backup, or "
                "rebuild the store from the raw journal",
                path=str(source),
            )
        self._note(File(path=relative, size_bytes=size_bytes, hash=digest, sealed=True), copied=True)
        return True

    def _replaced(self, relative: str, write: Callable[[Path], tuple[int, str]]) -> None:
        """A file that is another with each backup."""
        target = self._target / relative
        target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        size_bytes, digest = write(target)
        self._note(File(path=relative, size_bytes=size_bytes, hash=digest), copied=True)

    def _small(self, relative: str) -> None:
        """A small file that is replaced whole; none when it is not there."""
        content = _content(self._data / relative)
        if content is not None:
            self._replaced(relative, lambda target: write_file(target, lambda file: write_all(file, content)))

    def _publish(self, backup: Backup) -> None:
        """Everything synced, then its name."""
        replace_durably(self._root / LISTING_FILE, _framed(msgspec.json.encode(backup)))
        (self._root / _COPIED).unlink()
        for directory, _, _ in os.walk(self._root, topdown=False):
            sync_directory(Path(directory))
        self._root.rename(self._destination / backup.id)
        sync_directory(self._destination)


def require_beginning(data: Path, held: JournalHeld) -> None:
    """Asks what a start of storage asks of a copied feed: whether it can go on where the rows end.

    Raises: BackupError when the journal has lost its first messages and no snapshot leads over to it, or one contradicts it.
    """
    journal = journal_directory(data, held.channel)
    if held.channel == VENUE_CHANNEL and (reason := why_no_start(data)) is not None:
        raise BackupError(f"no start could go on with this copy of {held.channel}: {reason}", path=str(journal))
    try:
        find_start(data, held.channel, held.stored)
    except SnapshotError as error:
        raise BackupError(
            f"no start could go on with this copy of {held.channel}, whose rows reach message {held.stored}: {error}",
            path=str(journal),
        ) from error


def _of_damaged(journal: Path, error: JournalDamagedError, read: Path | None = None) -> BackupError:
    """That of a journal which was `read` where it is or as its copy, by its own files: a copy is what they gave."""
    own = {
        key: str(fact).replace(str(read or journal), str(journal)) for key, fact in error.facts.items() if key == "path"
    }
    return BackupError(
        f"the journal is damaged, so it was not backed up: {str(error).replace(str(read or journal), str(journal))}",
        **{"path": str(journal), **error.facts, **own},
    )


def _wait_for_watermark(journal: Path) -> None:
    """Until a writer that is just opening its journal has told where it is; a power failure may have taken it for good."""
    deadline = time.monotonic() + _WATERMARK_WAIT_S
    path = journal / WATERMARK_FILE
    while segment_numbers(journal) and time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size:
                return
        time.sleep(_WATERMARK_POLL_S)


def _manifest_files(data: Path, newest: int) -> list[str]:
    """Versions and checkpoints up to version `newest`."""
    directory = data / MANIFEST_DIRECTORY
    names = [path.relative_to(directory) for path in files_below(directory, ".json") if path.stem.isdecimal()]
    return sorted(name.as_posix() for name in names if int(name.stem) <= newest)


def _is_held(source: Path, held: Path, committed: str, listed: File) -> bool:
    """Whether a file that never changes is held, byte for byte as it was listed."""
    return (
        held.is_file()
        and held.stat().st_size == listed.size_bytes
        and _same_file(source, held, committed, listed.hash)
        and blake3_of_file(held) == listed.hash
    )


def _is_as_listed(held: Path, listed: File) -> bool:
    """Whether a file of a backup is what its listing says; one that is away was removed by somebody who knows of it."""
    return not held.is_file() or (held.stat().st_size == listed.size_bytes and blake3_of_file(held) == listed.hash)


def _same_file(source: Path, held: Path, committed: str, digest: str) -> bool:
    """Whether a file that never changes is the one that is held: by its committed hash, by headers, or by its bytes."""
    if committed.startswith("blake3:"):
        return committed == f"blake3:{digest}"
    if source.suffix == ".segment" and (same := same_segment(source, held)) is not None:
        return same
    return source.stat().st_size == held.stat().st_size and blake3_of_file(source) == digest


def _linked(source: Path, target: Path) -> bool:
    """Whether both now share one file; false where the file system has no second names."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _content(path: Path) -> bytes | None:
    try:
        return read_regular(path)
    except FileNotFoundError:
        return None

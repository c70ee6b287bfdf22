"""The manifest: which files a store consists of and how far each feed is stored.

A chain of small immutable versions, `_manifest/<20 digits>.json`, each holding what it adds and takes away. A version
is published by giving a synced file a second name, which the system refuses if the name is taken: of two writers one
loses, reads the winner's version and may only go on if the position it builds on still stands. So rows and the feed
position they came from become visible in one step, and no row is stored twice or skipped. Readers never list a
directory of parts: what is not in the manifest does not exist. Byte table: `docs/formats/parquet.md`.
"""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from tidebook.errors import StorageConflictError, StorageCorruptError, StorageVersionError
from tidebook.storage.disk import Disk, storage_errors, taken_away, write_durable
from tidebook.storage.layout import MANIFEST_DIRECTORY

FORMAT: Final = "tidebook-manifest"
FORMAT_VERSION: Final = 1

# A checkpoint holds all files, so its cost grows with them and so does the distance to the next.
CHECKPOINT_VERSIONS_MIN: Final = 128
_CHECKPOINT_FILES_PER_VERSION: Final = 32
_CHECKPOINTS_KEPT: Final = 2
_CHECKPOINT_DIRECTORY: Final = "checkpoints"

_NO_PARENT: Final = "0" * 64

Body = TypeVar("Body", "Version", "Checkpoint")


class Advance(msgspec.Struct, frozen=True):
    """Inputs of one channel that a version stores: sequences `first` to `last`, both included."""

    first: int
    last: int
    journal: str = ""
    """Id of the journal they were read from: sequences of another journal mean other messages. Empty if not given."""


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file of the store."""

    path: str
    """Relative to the store."""
    type: str
    tier: str
    timeframe: str | None
    date: str
    symbols: dict[str, int]
    """Rows of each symbol in it."""
    rows: int
    ts_first: int
    """Lowest event time in it, ns; see `columns.event_time`."""
    ts_last: int
    sequence_first: int
    """Lowest `source_sequence` in it."""
    sequence_last: int
    channel: str
    size_bytes: int
    hash: str
    """Of its bytes."""
    row_hash: str
    """Of its rows in any order; see `rowhash`."""
    record_version: int
    exact: bool
    """All doubles proven exact, so it has no `_units` columns."""
    ts_event_absent: int
    """Rows whose venue sends no time."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the manifest."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    version: int
    parent: str
    """Hash of the version before."""
    created: int
    """ns since 1970 UTC, for people: nothing depends on it."""
    writer: str
    positions: dict[str, Advance]
    add: list[FileEntry]
    remove: list[str]


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The whole manifest as of a version, so that opening need not read them all."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    version: int
    chain: str
    """Hash of that version."""
    positions: dict[str, Advance]
    """The newest step of each channel."""
    files: list[FileEntry]


class _Head(msgspec.Struct):
    format: str
    format_version: int


_decode_head = msgspec.json.Decoder(_Head).decode
_VERSIONS = msgspec.json.Decoder(Version)
_CHECKPOINTS = msgspec.json.Decoder(Checkpoint)


class Manifest:
    """State of a store as of its newest version, and the way to add one."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self.root = root
        self.version = 0
        """0 before the first commit."""
        self._files: dict[str, FileEntry] | None = {}
        self._file_count = 0
        self.positions: dict[str, Advance] = {}
        """The newest step of each channel."""
        self._disk = disk
        self._directory = root / MANIFEST_DIRECTORY
        self._chain = _NO_PARENT
        self._checkpoint_version = 0
        self._newest = 0
        self._listed: int | None = None
        self._load_checkpoint()
        self.refresh()

    @property
    def files(self) -> dict[str, FileEntry]:
        """Every file by its path; not after `forget_files`."""
        assert self._files is not None, "this manifest has forgotten its files: open another to read them"
        return self._files

    def forget_files(self) -> None:
        """Hold no file in memory from here on: a writer knows how far its feed is and needs no list that only grows.

        A checkpoint then reads them again, which costs as much as opening the store does.
        """
        self._files = None

    def refresh(self) -> bool:
        """Read versions published since; True if there were any.

        Raises: StorageCorruptError, StorageVersionError, StorageAccessError, naming the file. A missing version is
                found by a later one; that the newest is missing nothing here can show.
        """
        before = self.version
        self._read_on()
        newest = self._newest_listed()
        if newest > self.version:
            # Published since the look before, or a hole: versions appear in order, so now each up to it can be read.
            self._read_on()
        if newest > self.version:
            raise StorageCorruptError(
                f"manifest {self._version_path(self.version + 1)} is missing though version {newest} is there: restore "
                "it from a backup, or rebuild the store from the raw journal",
                path=str(self._version_path(self.version + 1)),
            )
        return self.version > before

    def require_present(self) -> None:
        """Raises: StorageCorruptError if the newest version is no longer there."""
        path = self._version_path(self.version)
        if self.version > self._checkpoint_version and not self._disk.exists(path):
            raise taken_away(path)

    def position(self, channel: str) -> int:
        """Last stored sequence of `channel`; 0 if nothing of it is stored."""
        step = self.positions.get(channel)
        return 0 if step is None else step.last

    def commit(
        self,
        staging: Path,
        *,
        add: Iterable[FileEntry],
        advance: Mapping[str, Advance],
        writer: str,
        created: int,
        remove: Iterable[str] = (),
    ) -> int:
        """Publish one version and return its number. `staging` is a directory of this writer on the same disk.

        Raises: StorageConflictError if a channel's stored position is not `first - 1`, because another writer stores
                that feed too; then nothing was changed. StorageCorruptError if a later version is there already: this
                one would fill a hole. StorageFullError, StorageAccessError, StorageError.
        """
        added, removed = list(add), list(remove)
        while True:
            self._listed = None
            self.refresh()
            self._check(advance)
            version = Version(
                version=self.version + 1,
                parent=self._chain,
                created=created,
                writer=writer,
                positions=dict(advance),
                add=added,
                remove=removed,
            )
            data = _frame(msgspec.json.encode(version))
            temporary = staging / "version.json"
            target = self._version_path(version.version)
            with storage_errors(target, "write"):
                self._disk.unlink(temporary)
                write_durable(self._disk, temporary, data)
                try:
                    self._disk.link(temporary, target)
                except FileExistsError:
                    continue
                self._disk.sync_directory(self._directory)
                self._disk.unlink(temporary)
            self._apply(version, _digest(data))
            return self.version

    def checkpoint_if_due(self, staging: Path) -> None:
        """Write the whole manifest to one file if opening would otherwise read many. A commit never depends on it."""
        distance = max(CHECKPOINT_VERSIONS_MIN, self._file_count // _CHECKPOINT_FILES_PER_VERSION)
        if self.version - self._checkpoint_version < distance:
            return
        directory = self._directory / _CHECKPOINT_DIRECTORY
        with storage_errors(directory, "read"):
            # Another writer of the store may have made one since.
            names = self._disk.names(directory)
        self._checkpoint_version = max((int(name[:-5]) for name in names if _is_version(name)), default=0)
        if self.version - self._checkpoint_version < distance:
            return
        checkpoint = (self if self._files is not None else Manifest(self.root, self._disk)).whole()
        target = directory / f"{checkpoint.version:020d}.json"
        temporary = staging / "checkpoint.json"
        with storage_errors(target, "write"):
            self._disk.unlink(temporary)
            write_durable(self._disk, temporary, _frame(msgspec.json.encode(checkpoint)))
            with suppress(FileExistsError):  # another writer has made the same one
                self._disk.link(temporary, target)
            self._disk.sync_directory(directory)
            self._disk.unlink(temporary)
            for old in sorted(directory.glob("*.json"))[:-_CHECKPOINTS_KEPT]:
                self._disk.unlink(old)
        self._checkpoint_version = checkpoint.version

    def whole(self) -> Checkpoint:
        """All of it, as of its version."""
        return Checkpoint(
            version=self.version, chain=self._chain, positions=self.positions, files=list(self.files.values())
        )

    def prepare(self) -> None:
        """Make the directories a writer needs, and make durable what a dead writer may have left unsynced."""
        with storage_errors(self._directory, "make"):
            for directory in (self._directory, self._directory / _CHECKPOINT_DIRECTORY):
                self._disk.make_directory(directory)
                self._disk.sync_directory(directory.parent)
            self._disk.sync_directory(self._directory)

    def _check(self, advance: Mapping[str, Advance]) -> None:
        for channel, step in advance.items():
            assert step.last >= step.first, f"a version of {channel} must go forward, not {step}"
            stored = self.position(channel)
            if stored != step.first - 1:
                raise StorageConflictError(
                    f"{self.root} holds {channel} up to sequence {stored}, this writer goes on from {step.first - 1}: "
                    "another process stores the same feed; stop one of them and open again",
                    channel=channel,
                    expected=step.first - 1,
                    found=stored,
                )

    def _apply(self, version: Version, digest: str) -> None:
        if self._files is None:
            self._file_count += len(version.add) - len(version.remove)
        else:
            for path in version.remove:
                self._files.pop(path, None)
            for entry in version.add:
                self._files[entry.path] = entry
            self._file_count = len(self._files)
        for channel, step in version.positions.items():
            self.positions[channel] = step
        self.version = version.version
        self._chain = digest

    def _read_on(self) -> None:
        while (version := self._read_version(self.version + 1)) is not None:
            self._apply(*version)

    def _newest_listed(self) -> int:
        """Highest number of a version in the directory, listed again only when a name has come or gone."""
        with storage_errors(self._directory, "list"):
            try:
                # Taken before the listing: a name that comes between the two has it listed again.
                changed = self._disk.stat(self._directory).st_mtime_ns
                if changed != self._listed:
                    names = self._disk.names(self._directory)
                    self._newest = max((int(name[:-5]) for name in names if _is_version(name)), default=0)
                    self._listed = changed
            except FileNotFoundError:  # no writer has been here yet
                self._newest = 0
        return self._newest

    def _read_version(self, number: int) -> tuple[Version, str] | None:
        path = self._version_path(number)
        data = self._read(path)
        if data is None:
            return None
        version = _decode(path, data, _VERSIONS)
        if version.version != number or version.parent != self._chain:
            raise _damaged(path, f"it does not follow version {number - 1}")
        return version, _digest(data)

    def _load_checkpoint(self) -> None:
        directory = self._directory / _CHECKPOINT_DIRECTORY
        with storage_errors(directory, "read"):
            try:
                names = sorted(name for name in self._disk.names(directory) if _is_version(name))
            except FileNotFoundError:  # none was ever needed
                names = []
        if not names:
            return
        path = directory / names[-1]
        data = self._read(path)
        if data is None:  # a newer one took its place between the listing and here
            self._load_checkpoint()
            return
        checkpoint = _decode(path, data, _CHECKPOINTS)
        self._files = {entry.path: entry for entry in checkpoint.files}
        self._file_count = len(self._files)
        self.positions = dict(checkpoint.positions)
        self.version = self._checkpoint_version = checkpoint.version
        self._chain = checkpoint.chain

    def _version_path(self, number: int) -> Path:
        return self._directory / f"{number:020d}.json"

    def _read(self, path: Path) -> bytes | None:
        with storage_errors(path, "read"):
            try:
                return self._disk.read(path)
            except FileNotFoundError:
                return None


def _is_version(name: str) -> bool:
    return name.endswith(".json") and name[:-5].isdecimal()


def _frame(body: bytes) -> bytes:
    """Body and its hash, a line each: `head -1` is the JSON."""
    return b"%b\nblake2b:%b\n" % (body, hashlib.blake2b(body, digest_size=32).hexdigest().encode())


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def _decode(path: Path, data: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
    text, _, _ = data.partition(b"\n")
    try:
        head = _decode_head(text)
    except msgspec.DecodeError as error:
        raise _damaged(path, f"it is no manifest ({error})") from error
    if (head.format, head.format_version) != (FORMAT, FORMAT_VERSION):
        raise StorageVersionError(
            f"{path} is {head.format} version {head.format_version}; this release reads {FORMAT} version "
            f"{FORMAT_VERSION}: open the store with the release that wrote it",
            path=str(path),
            expected=FORMAT_VERSION,
            found=head.format_version,
        )
    if data != _frame(text):
        raise _damaged(path, "its hash does not match its content")
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as error:
        raise _damaged(path, f"it lacks something ({error})") from error


def _damaged(path: Path, reason: str) -> StorageCorruptError:
    return StorageCorruptError(
        f"manifest {path} is damaged: {reason}. Restore it from a backup, or rebuild the store from the raw journal",
        path=str(path),
    )

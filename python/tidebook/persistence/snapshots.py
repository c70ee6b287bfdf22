"""Snapshots: images of a state at a place of a journal, in a directory of their own.

Each is written whole or not at all, read back from the disk before an older one may go, and says of which journal and
which batch it is. What the bytes mean: `docs/formats/snapshot.md`.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tidebook._core import JournalReader
from tidebook._core import SnapshotStore as _SnapshotStore
from tidebook.errors import OperationError, SnapshotError
from tidebook.persistence.files import files_below, files_in, open_regular


class State(Protocol):
    """A function of a journal's messages that can be saved and loaded.

    The same messages in the same order must give the same `state_hash`, and a state that was loaded must go on exactly as
    the one that was saved would have. A state may also have `recomputed_state_hash()`, the same hash computed anew by
    another way: the two are compared before a snapshot counts.
    """

    @property
    def kind(self) -> str:
        """Names what it is: 1 to 255 of `a-z 0-9 . _ -`."""

    @property
    def version(self) -> int:
        """Rises with each change of what `save` gives; a snapshot of another version is not loaded."""

    def apply(self, sequence: int, payload: bytes) -> None:
        """Takes the next message. Raises whatever it likes for a payload that is no message of this state."""

    def state_hash(self) -> int:
        """64 bits, unsigned, of everything that may change what later messages do.

        One that raises, or gives another number, makes no snapshot and ends a recovery with StateError.
        """

    def save(self) -> bytes:
        """All of it; the same bytes for the same state."""

    def load(self, content: bytes) -> None:
        """Becomes the state that gave these bytes; called on a new state only."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in a journal a state stands: behind a batch."""

    channel: str
    journal_id: int
    epoch: int
    sequence: int
    """Last message the state has taken."""
    batch_number: int
    chain: int
    """Chain value of that batch: stands for every batch up to it."""


def place_behind(journal: str | os.PathLike[str], sequence: int) -> Place:
    """The place behind message `sequence` of a journal, which must be durable and the last of its batch.

    Raises: SnapshotError where no durable batch ends with it; JournalError and its kinds.
    """
    reader = JournalReader(journal, from_sequence=sequence)
    reader.next(messages_max=1)
    end = reader.batch_end
    if end is None or end[2] != sequence:
        durable = reader.durable if end is None else end[2]
        raise SnapshotError(
            f"{journal}: no durable batch ends with message {sequence}, the nearest that was found ends with {durable}; take a "
            "snapshot right behind a sync, of a state that has taken all that it covers",
            sequence=sequence,
            found=durable,
        )
    journal_id, epoch, _, batch_number, chain = end
    return Place(
        channel=reader.channel,
        journal_id=journal_id,
        epoch=epoch,
        sequence=sequence,
        batch_number=batch_number,
        chain=chain,
    )


@dataclass(frozen=True, kw_only=True)
class SnapshotFacts:
    """A snapshot that was read whole and verifies."""

    path: Path
    kind: str
    state_version: int
    place: Place
    created_ns: int
    """ns since 1970 UTC."""
    content_size_bytes: int
    size_bytes: int
    """Bytes of the file."""
    state_hash: int

    @property
    def sequence(self) -> int:
        """Last message it covers."""
        return self.place.sequence


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """What `SnapshotStore.rotate` left and removed; sequences, rising."""

    kept: list[int]
    removed: list[int]
    damaged: list[int]
    """Those between them that do not verify: they count for nothing and stay."""


def facts_from(found: dict[str, Any]) -> SnapshotFacts:
    """The dictionary of the core as what it is."""
    return SnapshotFacts(**found | {"place": Place(**found["place"]), "path": Path(found["path"])})


class SnapshotStore:
    """Snapshots of one kind of state in one directory, which need not exist yet.

    Reading is safe beside who writes, in any process. Calls release the GIL.
    """

    def __init__(self, directory: str | os.PathLike[str], kind: str) -> None:
        """Raises: SnapshotError for a kind that is no name."""
        self._store = _SnapshotStore(directory, kind)

    @property
    def kind(self) -> str:
        """Kind of the states."""
        return self._store.kind

    @property
    def directory(self) -> Path:
        """Where they are."""
        return Path(self._store.directory)

    @property
    def core(self) -> _SnapshotStore:
        """The store of the core, for what takes one."""
        return self._store

    def sequences(self) -> list[int]:
        """Sequences of the snapshots there are, rising; whether they verify is not known by this."""
        return self._store.sequences()

    def verify(self, sequence: int) -> SnapshotFacts:
        """Reads every byte of the snapshot at `sequence`.

        Raises: SnapshotDamagedError, with what shows it; SnapshotError when there is none, or it is of another kind or
                format version.
        """
        return facts_from(self._store.verify(sequence))

    def read(self, sequence: int) -> tuple[SnapshotFacts, bytes]:
        """The snapshot at `sequence` and what its state saved. Raises: as `verify`."""
        found, content = self._store.read(sequence)
        return facts_from(found), content

    def write(self, state: State, place: Place) -> SnapshotFacts:
        """Writes a snapshot of `state`, which stands at `place`; returns when it is on disk, read back and verified.

        Raises: StateError for a state that has no hash; SnapshotError for one that cannot be saved, whose two hashes differ or
                whose kind is another than the store's; SnapshotFullError and other SnapshotErrors. The snapshots before are
                as they were.
        """
        return facts_from(self._store.write(state, asdict(place), time.time_ns()))

    def rotate(self, keep: int) -> Rotation:
        """Removes what is older than the newest `keep` (at least 2) that verify. Raises: SnapshotError."""
        return Rotation(**self._store.rotate(keep))

    def proven_durable(self, journal: str | os.PathLike[str]) -> int:
        """Highest sequence of the journal that a snapshot proves to have been durable, 0 if none does.

        A feed's journal is opened for writing with it: messages up to it that are missing are damage then. `open_producer` asks
        no snapshots; `recover` refuses such a journal, so call that before.
        Raises: SnapshotMismatchError when the newest was taken of another journal.
        """
        return self._store.proven_durable(journal)


def stores(directory: str | os.PathLike[str]) -> list[SnapshotStore]:
    """The stores below a directory of snapshots, `<channel>/<kind>/` or any other depth, in order of their paths.

    The kind is what the newest file says; a store whose files all say nothing has the name of its directory. Raises: OSError for a directory that cannot be listed.
    """
    directories = {file.parent for file in files_below(Path(directory), ".snapshot")}
    return [SnapshotStore(path, _kind_of(path)) for path in sorted(directories)]


_KIND_SIZE_OFFSET = 68
_KIND_OFFSET = 70


def _kind_of(directory: Path) -> str:
    for file in reversed(files_in(directory, ".snapshot")):
        try:
            with os.fdopen(open_regular(file, os.O_RDONLY), "rb") as opened:
                head = opened.read(4096)
        except OperationError:
            continue  # no file; the store says so of it
        if head[:8] == b"TIDESNAP" and len(head) > _KIND_OFFSET:
            kind = head[_KIND_OFFSET : _KIND_OFFSET + head[_KIND_SIZE_OFFSET]].decode("ascii", errors="replace")
            if kind and all(letter in "abcdefghijklmnopqrstuvwxyz0123456789._-" for letter in kind):
                return kind
    return directory.name

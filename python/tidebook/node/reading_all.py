"""Everything a directory holds read once, beside a node at work or without one: what `tidebook status --verify` does.

A status looks at headers, newest segments and the newest snapshot of each channel, which is quick and sees no damage further back.
This reads the rest: every batch of every journal, every row against the manifest, every snapshot, every checkpoint. What a living
node removes meanwhile is not missed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidebook._core import CheckpointStore
from tidebook.errors import (
    CheckpointDamagedError,
    CheckpointError,
    JournalAbsentError,
    JournalDamagedError,
    JournalError,
    SnapshotError,
    StorageAccessError,
)
from tidebook.node.directory import checkpoints_file
from tidebook.node.status import guarantee, last_whole
from tidebook.persistence import verify
from tidebook.persistence.files import files_below
from tidebook.persistence.snapshots import stores
from tidebook.storage.layout import MANIFEST_DIRECTORY
from tidebook.storage.store import Store
from tidebook.transport.checkpoints import others_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidebook.node.status import ChannelStatus, DirectoryStatus


@dataclass(kw_only=True)
class ReadAll:
    """What was read, and what of it is not what was written."""

    messages: int = 0
    journals: int = 0
    rows: int = 0
    parts: int = 0
    snapshots: int = 0
    checkpoints: int = 0
    size_bytes: int = 0
    """Of journals, parts and snapshots."""
    damaged: list[str] = field(default_factory=list)
    """One line for each thing that does not verify, naming it."""
    misplaced: list[str] = field(default_factory=list)
    """One line for each thing that is whole and lies in the place of another."""
    unread: list[str] = field(default_factory=list)
    """One line for each thing that cannot be read here, as this user may not: it may be whole."""

    @property
    def is_whole(self) -> bool:
        """All was read, and is what and where it has to be."""
        return not (self.damaged or self.misplaced or self.unread)

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def size_of(status: DirectoryStatus) -> int:
    """Bytes there are to read, for a bar."""
    data = Path(status.data)
    parts = 0
    with suppress(StorageAccessError):
        parts = sum(entry.size_bytes for entry in Store(data).manifest.files.values()) if _has_rows(data) else 0
    snapshots = sum(path.stat().st_size for path in _snapshot_files(data))
    return parts + snapshots + sum(channel.journal_size_bytes for channel in status.channels)


def read_all(status: DirectoryStatus, progress: Callable[[int], None] = lambda _: None) -> ReadAll:
    """Reads all that a directory holds; a channel whose journal does not verify has failed from here on, in `status` too.

    `progress` is called with bytes read. Changes nothing. Raises: StorageError for a manifest that cannot be read; OSError.
    """
    data, found = Path(status.data), ReadAll()
    for channel in status.channels:
        if not channel.failure:
            _journal(channel, found, progress)
        if channel.failure:
            kind = found.unread if channel.is_unread else found.misplaced if channel.is_misplaced else found.damaged
            kind.append(f"{channel.channel}: {channel.failure}")
            channel.guarantee = guarantee(channel)
        _checkpoints(Path(channel.journal), channel.channel, found)
    _snapshots(data, found, progress)
    if _has_rows(data):
        _rows(data, found, progress)
    return found


def _snapshot_files(data: Path) -> list[Path]:
    """As far as they can be listed: what cannot is told by who reads them."""
    try:
        return list(files_below(data / "snapshots", ".snapshot"))
    except OSError:
        return []


def _has_rows(data: Path) -> bool:
    return (data / MANIFEST_DIRECTORY).is_dir()


def _journal(channel: ChannelStatus, found: ReadAll, progress: Callable[[int], None]) -> None:
    each = channel.journal_size_bytes / max(1, channel.durable - channel.first_sequence + 1)
    try:
        verified = verify(channel.journal, progress=lambda messages: progress(round(messages * each)))
    except JournalAbsentError:
        return  # nothing was ever written to it, or its owner removed it
    except JournalDamagedError as error:
        channel.failure, channel.whole_to = str(error), last_whole(error)
        return
    except JournalError as error:
        channel.failure, channel.is_unread = str(error), True
        return
    found.journals += 1
    found.messages += verified.messages
    found.size_bytes += channel.journal_size_bytes
    if verified.last_sequence < channel.durable:
        channel.failure = (
            f"its journal {channel.journal} shows message {channel.durable:,} to be durable and only {verified.last_sequence:,} can be read: see "
            f"`tidebook journal repair {channel.journal}`"
        )


def _checkpoints(journal: Path, channel: str, found: ReadAll) -> None:
    try:
        if not checkpoints_file(journal).exists():
            return
        store = CheckpointStore(checkpoints_file(journal).parent)
        if others := others_in(store, channel):
            found.misplaced.append(
                f"the checkpoints in {store.path} are of {', '.join(others)}, not of {channel}: those of another channel were copied "
                "here; put back its own, or move the directory away"
            )
        whole, damaged = store.survey()
    except CheckpointDamagedError as error:
        found.damaged.append(str(error))
        return
    except CheckpointError as error:
        found.unread.append(str(error))
        return
    except OSError as error:
        found.unread.append(f"{error.filename}: {error.strerror}")
        return
    found.damaged += [
        f"checkpoint {one['checkpoint_id'] or 'of no number'} in {store.path} is damaged ({one['reason']}); "
        f"`tidebook channel cursor ls` shows what is stored beside it"
        for one in damaged
    ]
    for one in whole:
        try:
            # None of one that a newer one has replaced meanwhile.
            found.checkpoints += store.get(one["checkpoint_id"]) is not None
        except CheckpointError as error:
            found.damaged.append(str(error))


def _snapshots(data: Path, found: ReadAll, progress: Callable[[int], None]) -> None:
    try:
        listed = stores(data / "snapshots")
    except OSError as error:
        found.unread.append(f"{error.filename}: cannot be read: {error.strerror}; no snapshot was looked at")
        return
    for store in listed:
        for sequence in store.sequences():
            try:
                size_bytes = store.verify(sequence).size_bytes
            except SnapshotError as error:
                if sequence in store.sequences():
                    (found.unread if "errno" in error.facts else found.damaged).append(str(error))
                continue
            except OSError as error:
                found.unread.append(f"{error.filename}: {error.strerror}")
                continue
            found.snapshots += 1
            found.size_bytes += size_bytes
            progress(size_bytes)


def _rows(data: Path, found: ReadAll, progress: Callable[[int], None]) -> None:
    try:
        verified = Store(data).verify(progress)
    except StorageAccessError as denied:
        found.unread.append(str(denied))
        return
    found.parts, found.rows = verified.files, verified.rows
    found.size_bytes += verified.size_bytes
    if verified.errors:
        # Parts that were merged into others meanwhile are gone, and whole in those.
        now = {str(data / path) for path in Store(data).manifest.files}
        for error in verified.errors:
            if error.facts.get("path", "") in now:
                (found.unread if isinstance(error, StorageAccessError) else found.damaged).append(str(error))

"""A disaster, rehearsed: a backup is put back elsewhere, recovered there, and compared with the directory it came from.

What is compared is not the files, which the restore has compared already, but what is made of them: the messages themselves,
and the state that the feed's engine has after the last one, derived once from the restored journal and once from the
original's up to the same message. The original is read and never written; its owner may work on. Everything is
done in a directory of its own that is removed in the end.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidebook._core import FeedDecoder, JournalReader, JournalWriter, Payloads, venues
from tidebook.errors import BackupError
from tidebook.node.backup import Backup, back_up, read_listing
from tidebook.node.directory import journal_directory, journaled_channels
from tidebook.node.restore import newest, restore
from tidebook.persistence import inspect

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS: Final = ("backing up", "restoring", "recovering", "comparing")

_CHUNK_MESSAGES: Final = 16_384
_FEED: Final = "feed."


@dataclass(frozen=True, kw_only=True)
class ChannelDrill:
    """How one channel came back."""

    channel: str
    first_sequence: int
    last_sequence: int
    """Of the restored journal."""
    messages: int
    lost: int
    """Messages that the backup had to have and the restored journal lacks."""
    newer: int
    """Messages that the original has by now and that came after the backup."""
    recovery_s: float
    """To open the restored journal and derive the state from it."""
    state_hash: str
    """Of the state derived from the restored journal; of a channel that is no feed, of its messages."""
    state_hash_original: str
    """The same of the original, up to the same message."""

    @property
    def equal(self) -> bool:
        """Both states are one."""
        return self.state_hash == self.state_hash_original

    @property
    def ok(self) -> bool:
        """Nothing was lost and nothing is otherwise."""
        return self.equal and not self.lost


@dataclass(frozen=True, kw_only=True)
class Drill:
    """What a drill found."""

    backup: str
    """Id of the backup."""
    made: bool
    """It was made for the drill."""
    backup_s: float
    restore_s: float
    """Every file, batch and part verified."""
    rows: int
    """Of the restored store."""
    channels: list[ChannelDrill]

    @property
    def ok(self) -> bool:
        """Every channel came back as it was."""
        return all(channel.ok for channel in self.channels)

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        channels = [{**asdict(channel), "equal": channel.equal} for channel in self.channels]
        return {**asdict(self), "channels": channels, "ok": self.ok}


def drill(
    data: Path,
    backup: Path | None = None,
    scratch: Path | None = None,
    step: Callable[[str], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Drill:
    """Rehearses the loss of `data` with a backup of it, or with one that is made now.

    `scratch` is where the copies are made; by default beside `data`. `step` is told each of `STEPS`, `progress` bytes copied.
    Raises: BackupError for a backup that is damaged, of another directory, or without room to restore it; errors of journals
            and of the store.
    """
    expected = {channel: inspect(journal_directory(data, channel)).durable for channel in _channels(data)}
    beside = data.resolve().parent if scratch is None else scratch
    listing = None if backup is None else read_listing(newest(backup))
    _require_room(beside, 2 * _size_bytes(data) if listing is None else listing.size_bytes)
    work = Path(tempfile.mkdtemp(prefix=f".{data.resolve().name}-drill-", dir=beside))
    try:
        began = time.perf_counter()
        step("backing up")
        if backup is None:
            listing = back_up(data, work / "backups", progress)
            source = work / "backups" / listing.id
        else:
            source = newest(backup)
        assert listing is not None, "a backup was given or made"
        backed_up = time.perf_counter()
        step("restoring")
        there = work / "restored"
        restored = restore(source, there, progress)
        shutil.rmtree(work / "backups", ignore_errors=True)
        put_back = time.perf_counter()
        step("recovering")
        channels = [
            _compared(data, there, channel, _owed(listing, channel, expected if backup is None else {}), step)
            for channel in _channels(there)
        ]
        return Drill(
            backup=listing.id,
            made=backup is None,
            backup_s=backed_up - began if backup is None else 0.0,
            restore_s=put_back - backed_up,
            rows=0 if restored.store is None else restored.store.rows,
            channels=channels,
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _compared(data: Path, there: Path, channel: str, owed: int, step: Callable[[str], None]) -> ChannelDrill:
    journal, original = journal_directory(there, channel), journal_directory(data, channel)
    began = time.perf_counter()
    JournalWriter(journal, channel).close()
    found, now = inspect(journal), inspect(original)
    if found.journal_id != now.journal_id:
        raise BackupError(
            f"the backup is of journal {found.journal_id:016x} of {channel}, {original} is journal {now.journal_id:016x}: name "
            "a backup of this directory",
            path=str(original),
        )
    # What was compacted since the backup cannot be derived again, from neither.
    first = max(found.first_sequence, now.first_sequence)
    with ThreadPoolExecutor(1, thread_name_prefix="drill") as other:
        theirs = other.submit(_state_hash, original, channel, first, found.last_sequence)
        ours = _state_hash(journal, channel, first, found.last_sequence)
        recovered = time.perf_counter()
        step("comparing")
        return ChannelDrill(
            channel=channel,
            first_sequence=found.first_sequence,
            last_sequence=found.last_sequence,
            messages=found.last_sequence - found.first_sequence + 1,
            lost=max(0, owed - found.last_sequence),
            newer=max(0, now.durable - found.last_sequence),
            recovery_s=recovered - began,
            state_hash=ours,
            state_hash_original=theirs.result(),
        )


def _state_hash(journal: Path, channel: str, first: int, last: int) -> str:
    """Of the state of a feed's engine after the messages `first` to `last`; of another channel's messages themselves."""
    reader = JournalReader(journal, from_sequence=first, channel=channel)
    venue = channel.removeprefix(_FEED)
    decoder = FeedDecoder(venue) if channel.startswith(_FEED) and venue in venues().values() else None
    digest = hashlib.blake2b(digest_size=8)
    while (read := reader.next(_CHUNK_MESSAGES)) is not None:
        at, payloads = read
        count = min(len(payloads), last - at + 1)
        if decoder is None:
            for index in range(count):
                digest.update(len(payloads[index]).to_bytes(4, "little") + payloads[index])
        elif count == len(payloads):
            decoder.decode(at, payloads)
        else:
            decoder.decode(at, Payloads([payloads[index] for index in range(count)]))
        if at + count > last:
            break
    return digest.hexdigest() if decoder is None else str(decoder.report()["state_hash"])


def _owed(listing: Backup, channel: str, expected: dict[str, int]) -> int:
    """Up to where the restored journal has to go: what the backup says, and what was durable before it was made."""
    listed = next((held.last_sequence for held in listing.journals if held.channel == channel), 0)
    return max(listed, expected.get(channel, 0))


def _channels(data: Path) -> list[str]:
    """Channels in whose journal there is something."""
    return [channel for channel in journaled_channels(data) if any(journal_directory(data, channel).glob("*.segment"))]


def _size_bytes(data: Path) -> int:
    return sum(path.stat().st_size for path in data.rglob("*") if path.is_file())


def _require_room(directory: Path, size_bytes: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < size_bytes:
        raise BackupError(
            f"a drill needs {size_bytes / 1e6:,.0f} MB in {directory}, {free / 1e6:,.0f} MB are free; name another place "
            "with --scratch",
            path=str(directory),
        )

"""A disaster, rehearsed: a backup is put back elsewhere, recovered there, and compared with the directory it came from.

What is compared is not the files, which the restore has compared already, but what is made of them: the state that the feed's
engine has after the last message, to the last byte that a snapshot of it holds. It is derived once as a start would, from the
newest snapshot that is not ahead of what is stored and the messages behind it, of what was restored; and once from the original's whole history up to the same message, as far as that is still there. The original is read and never written; its owner may work on. Everything is
done in a directory of its own that is removed in the end, and of a drill that was killed by the next one in the same place.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from tidebook._core import FeedDecoder, JournalReader, JournalWriter, Payloads
from tidebook.errors import BackupError
from tidebook.node.backup import Backup, back_up, read_listing
from tidebook.node.directory import holds_segments, journal_directory, journaled_channels, snapshots_directory
from tidebook.node.restore import newest, restore
from tidebook.node.snapshot_files import feed_venue
from tidebook.node.storing import stored_position
from tidebook.persistence import inspect
from tidebook.persistence.scratch import remove_left, scratch_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STEPS: Final = ("backing up", "restoring", "recovering", "comparing")

_CHUNK_MESSAGES: Final = 16_384


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
    snapshot: int
    """Message of the snapshot that the restored state begins behind; 0 for its whole history."""
    snapshot_original: int
    """The same of the original's: 0 as long as its journal has the first message."""
    refused: list[str]
    """Snapshots that could not be used, and why."""
    recovery_s: float
    """To open the restored journal and derive the state."""
    state_hash: str
    """Of the state derived from the restored journal; of a channel that is no feed, of its messages."""
    state_hash_original: str
    """The same of the original, up to the same message."""
    saved_hash: str
    """Of all bytes of the restored state as a snapshot would hold it: what the state's hash leaves out too."""
    saved_hash_original: str
    """The same of the original's."""
    compared_from: int = 0
    """Of a channel that is no feed the first message that both have: from there to the last the messages were compared."""
    absent: bool = False
    """The backup has nothing of it."""

    @property
    def equal(self) -> bool:
        """Both states are one."""
        ours, theirs = (self.state_hash, self.saved_hash), (self.state_hash_original, self.saved_hash_original)
        return ours == theirs

    @property
    def limits(self) -> str:
        """What was compared where that is not the state after the whole history, and what could not be; empty where it is."""
        first, last, begun = self.first_sequence, self.last_sequence, self.compared_from
        if not begun or self.absent:
            return ""
        what = f"messages {begun:,} to {last:,} were compared" if begun <= last else "no message could be compared"
        said = [f"{what}, and no state: the drill derives those of feeds alone"]
        if first > 1:
            said.append(f"1 to {first - 1:,} had been removed when the backup was made")
        if begun > first:
            said.append(
                f"{first:,} to {begun - 1:,} of the backup could not be compared, as the original has lost them since"
            )
        return "; ".join(said)

    @property
    def ok(self) -> bool:
        """It came back, nothing was lost and nothing is otherwise."""
        return self.equal and not self.lost and not self.absent


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
        channels = [{**asdict(channel), "equal": channel.equal, "limits": channel.limits} for channel in self.channels]
        return {**asdict(self), "channels": channels, "ok": self.ok}


def drill(
    data: Path,
    backup: Path | None = None,
    scratch: Path | None = None,
    step: Callable[[str], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
) -> Drill:
    """Rehearses the loss of `data` with a backup of it, or with one that is made now.

    `scratch` is where the copies are made; by default beside `data`. What drills of `data` that were killed left there is removed.
    `step` is told each of `STEPS`, `progress` bytes copied, `tell` a line for each such leftover and while another process is waited for.
    Raises: BackupError for a backup that is damaged, of another directory, or without room to restore it; errors of journals
            and of the store.
    """
    expected = {channel: inspect(journal_directory(data, channel)).durable for channel in _channels(data)}
    beside = data.resolve().parent if scratch is None else scratch
    listing = None if backup is None else read_listing(newest(backup))
    if listing is not None and (others := [held.channel for held in listing.journals if held.channel not in expected]):
        raise BackupError(
            f"backup {listing.id} in {newest(backup or data)} has {', '.join(others)}, and {data} has no such journal: it is of another "
            "directory, or that was removed; name a backup of this directory, or the directory that it is of with --data",
            path=str(data),
        )
    _remove_left(data, beside, tell)
    _require_room(beside, 2 * _size_bytes(data) if listing is None else listing.size_bytes)
    with _scratch(data, beside) as work:
        began = time.perf_counter()
        step("backing up")
        if backup is None:
            listing = back_up(data, work / "backups", progress, tell)
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
        here = {channel.channel for channel in channels}
        channels += [
            _absent(data, channel, expected[channel], made=backup is None)
            for channel in expected
            if channel not in here
        ]
        return Drill(
            backup=listing.id,
            made=backup is None,
            backup_s=backed_up - began if backup is None else 0.0,
            restore_s=put_back - backed_up,
            rows=0 if restored.store is None else restored.store.rows,
            channels=channels,
        )


def _prefix(data: Path) -> str:
    return f".{data.resolve().name}-drill-"


def _remove_left(data: Path, beside: Path, tell: Callable[[str], None]) -> None:
    try:
        for path, size_bytes, error in remove_left(beside, _prefix(data), frozenset({"backups", "restored"})):
            if error is None:
                tell(f"{path}: {size_bytes / 1e6:,.0f} MB of copies that a drill left which was killed; removed")
            else:
                tell(f"{path}: left by a drill that was killed, and cannot be removed ({error}); remove it by hand")
    except OSError as error:
        raise _unusable(beside, error) from error


@contextmanager
def _scratch(data: Path, beside: Path) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            work = stack.enter_context(scratch_directory(beside, _prefix(data)))
        except OSError as error:
            raise _unusable(beside, error) from error
        yield work


def _unusable(beside: Path, error: OSError) -> BackupError:
    return BackupError(
        f"{beside}: the copies of a drill are made there, and cannot be ({error.strerror}); name another place with --scratch",
        path=str(beside),
    )


def _absent(data: Path, channel: str, durable: int, *, made: bool) -> ChannelDrill:
    """A channel of `data` that the backup has not: with all of its messages, since when that one was made."""
    held = durable - inspect(journal_directory(data, channel)).first_sequence + 1
    return ChannelDrill(
        channel=channel,
        first_sequence=0,
        last_sequence=0,
        messages=0,
        lost=held if made else 0,
        newer=0 if made else held,
        snapshot=0,
        snapshot_original=0,
        refused=[],
        recovery_s=0.0,
        state_hash="",
        state_hash_original="",
        saved_hash="",
        saved_hash_original="",
        absent=True,
    )


def _compared(data: Path, there: Path, channel: str, owed: int, step: Callable[[str], None]) -> ChannelDrill:
    journal, original = journal_directory(there, channel), journal_directory(data, channel)
    began = time.perf_counter()
    JournalWriter(journal, channel).close()
    found, now = inspect(journal), inspect(original)
    last = found.last_sequence
    if found.journal_id != now.journal_id:
        raise BackupError(
            f"the backup is of journal {found.journal_id:016x} of {channel}, {original} is journal {now.journal_id:016x}: name "
            "a backup of this directory",
            path=str(original),
        )
    if now.first_sequence > last + 1:
        raise BackupError(
            f"the backup ends at message {last} of {channel} and {original} begins at {now.first_sequence} by now: there is "
            "nothing to compare; name a newer backup",
            path=str(original),
        )
    # Messages of what is no feed have no state of ours: those that both have are compared.
    first = max(found.first_sequence, now.first_sequence)
    with ThreadPoolExecutor(1, thread_name_prefix="drill") as other:
        behind = None if now.first_sequence == 1 else (data, last)
        theirs = other.submit(_derived, original, channel, behind, first, last)
        ours = _derived(journal, channel, (there, stored_position(there, channel)), first, last)
        recovered = time.perf_counter()
        step("comparing")
        compared = theirs.result()
    return ChannelDrill(
        channel=channel,
        first_sequence=found.first_sequence,
        last_sequence=last,
        messages=last - found.first_sequence + 1,
        lost=max(0, owed - last),
        newer=max(0, now.durable - last),
        snapshot=ours.behind,
        snapshot_original=compared.behind,
        refused=ours.refused,
        recovery_s=recovered - began,
        state_hash=ours.state_hash,
        state_hash_original=compared.state_hash,
        saved_hash=ours.saved_hash,
        saved_hash_original=compared.saved_hash,
        compared_from=first if feed_venue(channel) is None else 0,
    )


@dataclass(frozen=True, kw_only=True)
class _Derived:
    """A state and where it began."""

    state_hash: str
    saved_hash: str
    behind: int
    refused: list[str]


def _derived(journal: Path, channel: str, behind: tuple[Path, int] | None, first: int, last: int) -> _Derived:
    """The state of a feed's engine after message `last`, from the newest snapshot in a data directory up to a message if these
    are given as `behind`; of another channel a hash of its messages from `first` on.
    """
    venue = feed_venue(channel)
    if venue is None:
        digest = hashlib.blake2b(digest_size=8)
        for _, payloads in _messages(journal, channel, first, last):
            for index in range(len(payloads)):
                digest.update(len(payloads[index]).to_bytes(4, "little") + payloads[index])
        return _Derived(state_hash=digest.hexdigest(), saved_hash=digest.hexdigest(), behind=0, refused=[])
    decoder = FeedDecoder(venue)
    refused: list[str] = []
    if behind is not None:
        data, sequence_max = behind
        decoder, refused = FeedDecoder.begin(venue, journal, snapshots_directory(data), sequence_max)
    begun = decoder.sequence
    for at, payloads in _messages(journal, channel, begun + 1, last):
        decoder.decode(at, payloads)
    state_hash, saved_hash = str(decoder.report()["state_hash"]), decoder.saved_hash()
    return _Derived(state_hash=state_hash, saved_hash=saved_hash, behind=begun, refused=refused)


def _messages(journal: Path, channel: str, first: int, last: int) -> Iterator[tuple[int, Payloads]]:
    """The messages `first` to `last`, some at a time, with the sequence of the first."""
    if first > last:
        return
    reader = JournalReader(journal, from_sequence=first, channel=channel)
    while (read := reader.next(_CHUNK_MESSAGES)) is not None:
        at, payloads = read
        count = min(len(payloads), last - at + 1)
        yield at, payloads if count == len(payloads) else Payloads([payloads[index] for index in range(count)])
        if at + count > last:
            return


def _owed(listing: Backup, channel: str, expected: dict[str, int]) -> int:
    """Up to where the restored journal has to go: what the backup says, and what was durable before it was made."""
    listed = next((held.last_sequence for held in listing.journals if held.channel == channel), 0)
    return max(listed, expected.get(channel, 0))


def _channels(data: Path) -> list[str]:
    """Channels in whose journal there is something. Raises: OSError for one that cannot be listed."""
    return [channel for channel in journaled_channels(data) if holds_segments(journal_directory(data, channel))]


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

"""What a data directory promises right now, channel by channel, of a node that runs or of none, and never more.

Everything is looked at from outside: locks of the kernel, the journals' own proof of what is synced, the rings, the manifest.
So it is true of a node that hangs or was killed, too. What cannot be seen from outside, why something has stopped, is
asked of the node and told as its word. Where two sources differ, the smaller promise is given.
"""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tidebook.errors import (
    ChannelError,
    CheckpointError,
    JournalAbsentError,
    JournalDamagedError,
    JournalError,
    StorageAccessError,
    StorageError,
)
from tidebook.node.directory import journaled_channels, journals_in, simulated_marker
from tidebook.node.places import misplaced, rightful_channel
from tidebook.node.presence import owner
from tidebook.node.snapshot_files import newest_checkpoint_ns, newest_verified
from tidebook.observe.processes import process
from tidebook.persistence import configurations, inspect
from tidebook.persistence.data_directory import read_identity
from tidebook.persistence.holes import but_for, holes, is_fresh_cut
from tidebook.persistence.journal_copy import PUT_BACK_FILE
from tidebook.storage.disk import Disk
from tidebook.storage.layout import MANIFEST_DIRECTORY
from tidebook.storage.manifest import Manifest
from tidebook.transport.companions import continues, journal_of
from tidebook.transport.journal import JOURNAL_CONSUMER
from tidebook.transport.keeping import kept_now
from tidebook.transport.view import ChannelView, channel_files

_TIMEOUT_S: Final = 2.0
_STOPPED: Final = (
    "its journal has stopped while its producer is open, whose process was told why by a JournalError; mend that, close the "
    "producer and open it again"
)


@dataclass(frozen=True, kw_only=True)
class RingState:
    """The ring that goes on with a journal, as shared memory has it."""

    path: str
    epoch: int
    published: int
    """Last message committed: survives the death of any process, not of the machine."""
    durable: int
    """What its owner has told its consumers."""
    has_owner: bool
    """A living process writes it."""
    is_journaled: bool
    """A living process journals it."""
    held_by: tuple[str, ...] = ()
    """Living processes that have it open, for people."""
    journal: Path | None = None
    """Where its owner has last opened its journal; None where nothing says so."""

    def is_of(self, journal_id: int) -> bool:
        """It goes on with this journal."""
        return continues(self.epoch, journal_id)


@dataclass(kw_only=True)
class ChannelStatus:
    """The guarantee in force of one channel."""

    channel: str
    journal: str
    mode: str = "wal"
    sync: str = "unknown"
    """When its journal is synced, as it is, or was last, run."""
    replicas: int = 0
    """Copies on other machines: there are none yet."""
    is_simulated: bool = False
    runs: bool = False
    """A process journals it now."""
    durable: int = 0
    """On disk: survives power failure, if the disk keeps what it acknowledges."""
    published: int = 0
    """Committed to shared memory: survives the death of processes."""
    first_sequence: int = 1
    holes: list[tuple[int, int]] = field(default_factory=list)
    """First and last number of what cuts gave up in between."""
    stored: int = 0
    """Rows reach up to this message."""
    snapshot: int | None = None
    """Sequence of the newest snapshot that was verified."""
    snapshot_age_s: float | None = None
    """Since it was taken."""
    checkpoint_age_s: float | None = None
    """Since a reader last stored a checkpoint or its cursor; None where none did, or the store cannot be read."""
    kept: str = ""
    """What of the journal was removed, by which rule, and what keeps the rest of one that is above its threshold."""
    journal_size_bytes: int = 0
    segments: int = 0
    closed: bool = False
    whole_to: int | None = None
    """Last message before the first damage, where some was met; None where none was, or it is not of a message."""
    unclosed: str = ""
    """Why a journal that nobody writes has no mark of a clean end; empty of one that has, and where there is none."""
    other_copies: list[str] = field(default_factory=list)
    """Journals this one is a copy of, or that are of it, which a ring goes on with."""
    failure: str = ""
    """Why it promises nothing more; empty when it works, or was ended."""
    is_unread: bool = False
    """`failure` is that something cannot be read here, as this user may not: it may be whole."""
    is_misplaced: bool = False
    """`failure` is that another channel's journal lies here."""
    guarantee: str = ""
    """All of it in a line."""


@dataclass(kw_only=True)
class DirectoryStatus:
    """A data directory and its channels."""

    data: str
    node_id: str
    """Empty of a directory that no owner of this release has had."""
    layout_version: int | None
    owner: dict[str, Any] | None
    """pid, command, node, address, is_stopped; None when nobody owns it."""
    answers: bool
    """The node that owns it has answered."""
    free_bytes: int
    """On its disk."""
    channels: list[ChannelStatus] = field(default_factory=list)
    engines: list[dict[str, Any]] = field(default_factory=list)
    """Where each of the node's runs, by its word; empty where none answers."""

    @property
    def ok(self) -> bool:
        """Nothing has failed."""
        return not any(channel.failure for channel in self.channels)

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ok": self.ok}


def directory_status(data: Path, rings_root: Path | None = None) -> DirectoryStatus:
    """Looks at a data directory, or what channels have for `wal_dir`; changes nothing and holds nobody up. Raises: DirectoryError and its kinds; OSError."""
    identity = read_identity(data)
    owned_by = owner(data)
    alive = None if owned_by is None or not owned_by.pid else process(owned_by.pid)
    told = _asked(owned_by.address) if owned_by is not None and owned_by.address else None
    status = DirectoryStatus(
        data=str(data),
        node_id="" if identity is None else identity.node_id,
        layout_version=None if identity is None else identity.version,
        owner=None
        if owned_by is None
        else {
            "pid": owned_by.pid,
            "command": owned_by.command,
            "node": owned_by.node,
            "address": owned_by.address,
            "is_stopped": alive is not None and alive.is_stopped,
        },
        answers=told is not None,
        free_bytes=shutil.disk_usage(data).free,
        engines=[] if told is None else told.get("engines", []),
    )
    positions, trouble, is_hidden = _positions(data)
    of_node = set(journaled_channels(data))
    for journal in journals_in(data):
        channel = rightful_channel(journal, rings_root)
        found = ChannelStatus(channel=channel, journal=str(journal))
        has_stopped = False
        found.stored = positions.get(channel, 0)
        try:
            has_stopped = _look(journal, found, rings_root)
            if not found.failure:
                _look_at_ages(data, found, has_snapshots=channel in of_node)
        except OSError as error:
            found.failure, found.is_unread = f"{error.filename}: {error.strerror}", True
        if trouble and not found.failure:
            found.failure, found.is_unread = trouble, is_hidden
        found.failure = found.failure or _failure(found, told) or (_STOPPED if has_stopped else "")
        found.guarantee = guarantee(found)
        status.channels.append(found)
    return status


def _look_at_ages(data: Path, found: ChannelStatus, *, has_snapshots: bool) -> None:
    if has_snapshots and (newest := newest_verified(data, found.channel)) is not None:
        found.snapshot = newest[0]
        found.snapshot_age_s = age_s(newest[1])
    try:
        stored_ns = newest_checkpoint_ns(Path(found.journal))
    except CheckpointError:  # it is told by who recovers from it
        return
    found.checkpoint_age_s = None if stored_ns is None else age_s(stored_ns)


def age_s(since_ns: int) -> float:
    """Seconds since then by our clock; 0 for what is to come."""
    return max(0, time.time_ns() - since_ns) / 1e9


def guarantee(found: ChannelStatus) -> str:
    """What holds for the messages of a channel, in a line, and no more than that."""
    if found.is_unread:
        seen = f"; on disk up to {found.durable:,}" if found.durable >= found.first_sequence else ""
        return f"NOTHING is promised of what cannot be read here: {found.failure}{seen}"
    if found.failure:
        last = found.durable if found.whole_to is None else min(found.durable, found.whole_to)
        # Of a journal that could not be read at all nothing is said.
        end = f"; on disk up to {last:,}" if last >= max(1, found.first_sequence) else ""
        return f"NOTHING MORE is promised: {found.failure}{end}"
    if found.durable < found.first_sequence:
        on_disk = "nothing is on disk yet"
    else:
        on_disk = f"up to {found.durable:,} on disk, of this machine alone{but_for(found.holes)}"
    beyond = found.published - found.durable
    in_memory = f"; {beyond:,} more survive the death of processes, not of the machine" if beyond > 0 else ""
    if found.kept:
        in_memory += f"; {found.kept}"
    if not found.runs:
        copies = f"; a ring goes on with another copy, {', '.join(found.other_copies)}" if found.other_copies else ""
        return f"nobody writes; {on_disk}{in_memory}{copies}"
    return f"wal, synced {found.sync}; {on_disk}{in_memory}"


def last_whole(error: JournalError) -> int | None:
    """The message before the first that is damaged; None where the error is of no message."""
    sequence = error.facts.get("sequence")
    return (
        sequence - 1 if isinstance(error, JournalDamagedError) and isinstance(sequence, int) and sequence > 0 else None
    )


def _look(journal: Path, found: ChannelStatus, rings_root: Path | None) -> bool:
    """Looks at a journal and the ring that goes on with it; whether a producer is open and journals no more."""
    found.is_simulated = simulated_marker(journal).exists()
    # Before the journal, which then has at least what they know to be durable.
    rings = rings_of(found.channel, rings_root)
    try:
        state = inspect(journal)
        changes = configurations(journal)
        found.holes = holes(journal)
    except JournalAbsentError:
        return False
    except JournalError as error:
        found.failure, found.whole_to = str(error), last_whole(error)
        found.is_unread = not isinstance(error, JournalDamagedError)
        found.durable = found.published = found.whole_to or 0
        return False
    if state.channel != found.channel:
        found.is_misplaced = True
        found.failure = misplaced(journal, state.channel, found.channel)
        return False
    found.first_sequence, found.durable = state.first_sequence, min(state.durable, state.last_sequence)
    found.journal_size_bytes, found.segments, found.closed = state.size_bytes, state.segments, state.closed
    found.kept = kept_now(journal, rings_root).text
    found.published = found.durable
    if changes and changes[-1].configuration is not None:
        found.sync = _sync(changes[-1].configuration)
    own, elsewhere = parted(rings, journal, state.journal_id, state.epoch)
    found.other_copies = [str(ring.journal) for ring in elsewhere]
    # Several nodes may have had the journal: the ring that is written, else that of the latest epoch that holds most.
    ring = max(own, key=lambda one: (one.has_owner, one.epoch >> 32, one.published), default=None)
    if ring is not None:
        found.runs = ring.has_owner
        found.published = max(ring.published, found.durable)
        if ring.durable > state.last_sequence:
            found.failure = (
                f"its ring {ring.path} knows {ring.durable:,} to be durable and the journal ends at {state.last_sequence:,}: an "
                "older copy was put back, or its end is lost. A start takes what the ring still holds of it; the other choices "
                f"are shown by `tidebook journal repair {journal}`"
            )
    if not (found.runs or found.closed):
        found.unclosed = _why_unclosed(journal, found)
    return ring is not None and ring.has_owner and not ring.is_journaled


def _why_unclosed(journal: Path, found: ChannelStatus) -> str:
    if (journal / PUT_BACK_FILE).exists():
        return "put back from a copy"
    if is_fresh_cut(journal):
        return "cut by a repair"
    if found.other_copies:
        return "copied from one that goes on elsewhere"
    return "its owner was killed or failed"


def parted(
    rings: list[RingState], journal: Path, journal_id: int, epoch: int
) -> tuple[list[RingState], list[RingState]]:
    """The rings that go on with a journal, and those that go on with another copy of it and say nothing of this one.

    A ring's link says where its journal is. Where that is gone, it may have been moved here, unless another ring's link leads here, or
    the ring is of a later epoch, which a restored copy takes.
    """
    of_journal = [ring for ring in rings if ring.is_of(journal_id)]
    leads = {ring.path: _leads_to(ring.journal, journal) for ring in of_journal if ring.journal is not None}
    is_led_to = True in leads.values()
    elsewhere = [
        ring
        for ring in of_journal
        if ring.path in leads
        and (leads[ring.path] is False or (leads[ring.path] is None and (is_led_to or ring.epoch >> 32 > epoch)))
    ]
    return [ring for ring in of_journal if ring not in elsewhere], elsewhere


def _leads_to(target: Path, journal: Path) -> bool | None:
    """Whether a ring's link leads here; None where it leads nowhere."""
    try:
        return target.samefile(journal)
    except OSError:
        return None


def rings_of(channel: str, root: Path | None = None) -> list[RingState]:
    """The rings of durable channels of this name, of all nodes, as they stand now."""
    found = []
    for file in channel_files(root):
        if file.name != channel:
            continue
        try:
            view = ChannelView(file)
            status = view.status()
        except ChannelError:
            continue
        if view.info["visible_durable"]:
            found.append(
                RingState(
                    path=str(file.path),
                    epoch=view.info["epoch"],
                    published=status["published"],
                    durable=status["durable"],
                    has_owner=any(producer["alive"] for producer in status["producers"]),
                    is_journaled=any(
                        consumer["alive"] and consumer["name"] == JOURNAL_CONSUMER for consumer in status["consumers"]
                    ),
                    held_by=tuple(
                        [f"a producer (process {one['process_id']})" for one in status["producers"] if one["alive"]]
                        + [
                            f"consumer {one['name'] or '#' + str(one['line'])} (process {one['process_id']})"
                            for one in status["consumers"]
                            if one["alive"]
                        ]
                    ),
                    journal=journal_of(file.path),
                )
            )
    return found


def _sync(configuration: str) -> str:
    """`every 10 ms`, `by group commit`; `unknown` where the journal does not say."""
    try:
        sync = json.loads(configuration).get("sync")
    except (ValueError, AttributeError):
        return "unknown"
    if isinstance(sync, dict) and "interval_ms" in sync:
        return f"every {sync['interval_ms']} ms"
    return "by group commit" if sync == "group" else "unknown"


def _positions(data: Path) -> tuple[dict[str, int], str, bool]:
    """Stored position of each channel, what is wrong with the store, and whether that is that it cannot be read here."""
    if not (data / MANIFEST_DIRECTORY).is_dir():
        return {}, "", False
    try:
        return {channel: step.last for channel, step in Manifest(data, Disk()).positions.items()}, "", False
    except StorageError as error:
        return {}, str(error), isinstance(error, StorageAccessError)


def _failure(found: ChannelStatus, told: dict[str, Any] | None) -> str:
    """What the node says of the channel."""
    if told is None:
        return ""
    failures = {channel["channel"]: channel["failure"] for channel in told.get("channels", [])}
    return str(failures.get(found.channel) or "")


def _asked(address: str) -> dict[str, Any] | None:
    """What the node says; None when it does not answer."""
    try:
        with urllib.request.urlopen(f"{address}/api/v1/status", timeout=_TIMEOUT_S) as answer:  # noqa: S310 - our own node
            told: dict[str, Any] = json.load(answer)
            return told
    except (OSError, ValueError):
        return None

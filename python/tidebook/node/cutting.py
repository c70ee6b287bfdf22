"""A cut journal and what else knows its messages: rows, snapshots, checkpoints, the ring.

A cut gives up messages that other files were made of. These prove to the next start that the journal once had more, which is
why it would refuse to go on; so a cut is one act for all of them. No number is given again: the journal goes on behind the
highest one that anything knows, hence rows of lost messages stay as they are, each with the number of one message alone. What
is an image of lost messages is put aside in `quarantine` of the journal and never removed. The journal is cut first; a cut
that was interrupted is finished by the same command.
"""

from __future__ import annotations

import contextlib
import filecmp
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidebook import persistence
from tidebook._core import CheckpointStore, JournalReader, Ring, damaged_journal_id
from tidebook.errors import (
    CheckpointError,
    CheckpointFullError,
    EndpointBusyError,
    JournalDamagedError,
    JournalError,
    OperationError,
)
from tidebook.node.directory import checkpoints_file, journal_directory
from tidebook.node.snapshot_files import proven_durable
from tidebook.node.status import parted, rings_of
from tidebook.node.storing import stored_position
from tidebook.persistence.files import files_below, sync_directory
from tidebook.storage.layout import MANIFEST_DIRECTORY
from tidebook.transport.companions import remove_companions, staging_of

if TYPE_CHECKING:
    from tidebook.node.status import RingState
    from tidebook.persistence.repair import Cut

_QUARANTINE: Final = "quarantine"
_EPOCH_MAX: Final = (1 << 32) - 1


@dataclass(frozen=True, kw_only=True)
class Beyond:
    """Something that knows messages which a cut gives up."""

    kind: str
    """rows, snapshot, checkpoint, cursor or ring."""
    path: str
    name: str
    """Of a checkpoint's state or a cursor's consumer, else empty."""
    sequence: int | None
    """Last message it knows; None for a store that cannot be read."""
    what_to_do: str


def beyond(directory: Path, sequence: int, *, until: int | None = None) -> list[Beyond]:
    """What knows messages of a journal behind `sequence`, and before `until` where that is given; changes nothing.

    Raises: StorageError for a store whose manifest cannot be read: fix that first, or its rows are not known.
    """
    epoch = None if until is None else persistence.inspect(directory).epoch
    found = _rows(directory) + _snapshots(directory) + _rings(directory, epoch)
    known = [one for one in found if (one.sequence or 0) > sequence and (until is None or (one.sequence or 0) < until)]
    return known + _checkpoints(directory, sequence, epoch)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Something outside a journal that shows a message to have been durable in it."""

    kind: str
    """rows, snapshots or ring."""
    path: str
    sequence: int

    def __str__(self) -> str:
        """For people."""
        return f"{self.kind} up to message {self.sequence:,}, {self.path}"


def proofs(directory: Path, sequence: int) -> list[Proof]:
    """What shows that a journal had durable messages behind `sequence`; changes nothing. What cannot be read shows nothing."""
    data, channel = directory.resolve().parent.parent, directory.name
    found = []
    if journal_directory(data, channel) == directory.resolve():
        with contextlib.suppress(OperationError):
            if (data / MANIFEST_DIRECTORY).is_dir():
                found.append(Proof(kind="rows", path=str(data), sequence=stored_position(data, channel)))
        with contextlib.suppress(OperationError):
            snapshots = proven_durable(data, channel)
            found.append(Proof(kind="snapshots", path=str(data / "snapshots" / channel), sequence=snapshots))
    with contextlib.suppress(OperationError):
        found += [Proof(kind="ring", path=ring.path, sequence=ring.durable) for ring in _rings_of(directory)]
    return [one for one in found if one.sequence > sequence]


def cut(directory: Path, sequence: int) -> tuple[Cut, list[Path]]:
    """Cuts a damaged journal behind `sequence`, and puts aside what was made of the messages it loses; where that is now.

    Raises: as `persistence.cut`, and EndpointBusyError while anybody has the ring open, and then nothing was changed; StorageError as `beyond`; OperationError for what cannot be put
            aside: the journal is cut then, and `finish` goes on.
    """
    known = beyond(directory, sequence)
    for ring in _rings_of(directory):
        if ring.held_by:
            raise EndpointBusyError(
                f"{directory} is not cut while {', '.join(ring.held_by)} has its ring {ring.path} open, which holds what is to be given "
                "up; close it first",
                path=ring.path,
            )
    evidence = max((one.sequence or 0 for one in known), default=0)
    try:
        done = persistence.cut(directory, sequence, evidence)
    except JournalError as error:
        if not persistence.examine(directory).cut_begun:
            raise
        raise JournalError(
            f"the cut of {directory} was begun and is not finished: {error}. Mend that and give the same command again, or put the "
            "damaged segments back with --source, which undoes it",
            **error.facts,
        ) from error
    return done, _put_aside(directory, sequence, known)


def finish(directory: Path, sequence: int) -> list[Path] | None:
    """Puts aside what a cut behind `sequence` that was interrupted has left; None when the journal was not cut there."""
    reader = JournalReader(directory, from_sequence=sequence + 1)
    read = reader.next(1)
    until = reader.next_sequence if read is None else read[0]
    if until == sequence + 1:
        return None
    return _put_aside(directory, sequence, beyond(directory, sequence, until=until))


def _rows(directory: Path) -> list[Beyond]:
    data, channel = directory.resolve().parent.parent, directory.name
    if journal_directory(data, channel) != directory.resolve() or not (data / MANIFEST_DIRECTORY).is_dir():
        return []
    stored = stored_position(data, channel)
    what = "nothing: rows of lost messages stay, and no other message gets their numbers"
    return [Beyond(kind="rows", path=str(data), name="", sequence=stored, what_to_do=what)]


def _snapshots(directory: Path) -> list[Beyond]:
    place = directory.parent.parent / "snapshots" / directory.name
    what = "put aside by the cut; older snapshots and the journal give the state again"
    return [
        Beyond(kind="snapshot", path=str(path), name=path.parent.name, sequence=int(path.stem), what_to_do=what)
        for path in sorted(files_below(place, ".snapshot"), key=lambda path: path.name, reverse=True)
        if path.stem.isdecimal()
    ]


def _rings(directory: Path, epoch: int | None) -> list[Beyond]:
    """Those of an epoch before `epoch`, where that is given: the others are of what came after the cut."""
    what = "copied by the cut, for its messages, and removed; the next start makes it anew"
    return [
        Beyond(kind="ring", path=ring.path, name="", sequence=ring.published, what_to_do=what)
        for ring in _rings_of(directory)
        if epoch is None or ring.epoch >> 32 < epoch
    ]


def _rings_of(directory: Path) -> list[RingState]:
    # Not of a reader: none can be had of a journal that lacks a segment.
    journal_id = damaged_journal_id(directory)
    if journal_id is None:
        return []
    try:
        epoch = persistence.inspect(directory).epoch
    except JournalDamagedError:
        # Not known, so none is above it.
        epoch = _EPOCH_MAX
    return parted(rings_of(directory.name), directory, journal_id, epoch)[0]


def _checkpoints(directory: Path, sequence: int, epoch: int | None) -> list[Beyond]:
    place = checkpoints_file(directory).parent
    if not checkpoints_file(directory).exists():
        return []
    try:
        listed = CheckpointStore(place).list()
    except CheckpointError:
        what = "cannot be read; put aside by the cut"
        return [Beyond(kind="checkpoint", path=str(place), name="", sequence=None, what_to_do=what)]
    whats = {
        "state": (
            "checkpoint",
            "put aside by the cut; begin the state anew from the journal, or from an older one that is left",
        ),
        "consumer": (
            "cursor",
            "put aside by the cut; let the consumer start at the message after the last it has done",
        ),
    }
    newest = {(one["kind"], one["name"]): one for one in listed if _is_cut(one, sequence, epoch)}
    return [
        Beyond(kind=whats[kind][0], path=str(place), name=name, sequence=one["sequence"], what_to_do=whats[kind][1])
        for (kind, name), one in newest.items()
    ]


def _put_aside(directory: Path, sequence: int, known: list[Beyond]) -> list[Path]:
    kept = []
    for one in known:
        path = Path(one.path)
        if one.kind == "snapshot":
            kept.append(_move(path, directory / _QUARANTINE / "snapshots" / one.name))
        elif one.kind == "ring":
            to = directory / _QUARANTINE / "rings"
            there = [held for held in (path, staging_of(path)) if held.exists() and not _is_kept(held, to)]
            kept += [_copy(held, to) for held in there]
            # Else it goes on to give what is cut to readers that come before the next start.
            Ring.remove(path)
            remove_companions(path, all_durable=True)
    if checkpoints_file(directory).exists():
        kept += _put_checkpoints_aside(directory, sequence)
    return kept


def _put_checkpoints_aside(directory: Path, sequence: int) -> list[Path]:
    """All are copied, and those of lost messages removed; what is left, the chain shows to be of messages that are there."""
    place, quarantine = checkpoints_file(directory).parent, directory / _QUARANTINE
    epoch = persistence.inspect(directory).epoch
    try:
        store = CheckpointStore(place)
        lost = [one["checkpoint_id"] for one in store.list() if _is_cut(one, sequence, epoch)]
        if not lost:
            return []
        to = _free_name(quarantine, place.name)
        store.copy_to(to)
        store.remove_numbers(lost)
    except CheckpointFullError:
        raise
    except CheckpointError:
        # One that cannot be read shows of no message that it is there.
        return [_move(place, quarantine)]
    return [to]


def _is_cut(one: dict[str, Any], sequence: int, epoch: int | None) -> bool:
    """Whether a cut behind `sequence` loses a checkpoint, if it is of an epoch before `epoch`: as one of lost messages, or as one
    of which nothing shows that it is none.
    """
    has_ended = epoch is None or one["epoch"] >> 32 < epoch
    return has_ended and (one["sequence"] > sequence or (one["sequence"] > 0 and one["batch"] is None))


def _move(path: Path, directory: Path) -> Path:
    try:
        to = _free_name(directory, path.name)
        path.rename(to)
        sync_directory(directory)
        sync_directory(path.parent)
    except OSError as error:
        raise _not_put_aside(path, error) from error
    return to


def _is_kept(path: Path, directory: Path) -> bool:
    return any(filecmp.cmp(path, copy, shallow=False) for copy in directory.glob(f"{path.name}*"))


def _copy(path: Path, directory: Path) -> Path:
    try:
        to = _free_name(directory, path.name)
        shutil.copyfile(path, to)
        to.chmod(0o600)
        sync_directory(directory)
    except OSError as error:
        raise _not_put_aside(path, error) from error
    return to


def _free_name(directory: Path, name: str) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    to, number = directory / name, 1
    while to.exists():
        number += 1
        to = directory / f"{name}.{number}"
    return to


def _not_put_aside(path: Path, error: OSError) -> OperationError:
    return OperationError(
        f"{path}: cannot be put aside ({error.strerror}); the journal is cut. Mend that and give the same command again"
    )

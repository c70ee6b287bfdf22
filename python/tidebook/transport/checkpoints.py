"""States and cursors of a channel's readers, stored so that they survive crashes and reboots.

A reader that keeps a state stores it together with the cursor it is of, in one synced commit; after a crash it goes on
from both, so the state has seen each message once. The cursors of named consumers of durable channels are stored by
themselves now and then, because their ring is lost with the machine. Of several cursors the one is right that stands
with the reader's own output; then the ring's, which is exact; then the one stored here, which may be older.

The store of a durable channel is `checkpoints` in its journal's directory; what its bytes mean: `docs/formats/checkpoints.md`.
"""

from __future__ import annotations

import logging
import os
import shlex
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidebook._core import BatchFinder, CheckpointStore, JournalReader
from tidebook.errors import (
    ChannelUsageError,
    CheckpointDamagedError,
    CheckpointEpochError,
    CheckpointError,
    JournalCompactedError,
    JournalError,
    TidebookError,
)
from tidebook.transport.companions import checkpoints_of, continues, journal_of
from tidebook.transport.rounds import Rounds

if TYPE_CHECKING:
    from tidebook.transport.channel import Channel

INTERVAL_MS = 5_000
"""How often cursors are stored by themselves, unless the channel was made with another `snapshot_interval_ms`."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """A place in a channel: everything up to `sequence` in this life of it."""

    channel: str
    epoch: int
    sequence: int
    """0 is before the first message."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A state and the cursor it is of, stored in one commit."""

    checkpoint_id: int
    state_id: str
    cursor: Cursor
    created_ns: int
    """When, in ns since 1970 UTC, by our clock."""
    state: bytes


def directory_of(channel: Channel) -> Path | None:
    """Where the checkpoints of a durable channel are; None on a memory channel, and where its journal is not known here."""
    journal = journal_beside(channel)
    return None if journal is None else checkpoints_of(journal)


def journal_beside(channel: Channel) -> Path | None:
    """The journal of a durable channel; None on a memory channel, and where it is not known here."""
    if not channel.ring.visible_durable:
        return None
    return journal_of(channel.path) if channel.journal is None else channel.journal.directory


def stored_beside(ring: Path) -> CheckpointStore | None:
    """The store of a durable channel by the file of its ring; None where there is none. It makes none.

    Raises: CheckpointError and its kinds for one that cannot be read.
    """
    journal = journal_of(ring)
    return None if journal is None else CheckpointStore.existing(checkpoints_of(journal))


def others_in(store: CheckpointStore, channel: str) -> list[str]:
    """Channels besides this one that a store has checkpoints of. In the store beside a journal there are none, unless another
    channel's was copied there.
    """
    return [other for other in store.channels() if other != channel]


def require_own(store: CheckpointStore, channel: str) -> None:
    """Raises: CheckpointError for the store beside a channel's journal whose checkpoints are all of other channels."""
    others = others_in(store, channel)
    if others and channel not in store.channels():
        raise CheckpointError(
            f"the checkpoints in {store.path} are of {', '.join(others)} and none is of {channel}: those of another channel were "
            "copied here; put back its own, or move the directory away to begin without checkpoints",
            path=str(store.path),
        )


class ReaderCheckpoints:
    """The checkpoints that one consumer stores and finds."""

    def __init__(self, channel: Channel, name: str, directory: str | os.PathLike[str] | None) -> None:
        """`directory` replaces that of a durable channel. Nothing is opened yet."""
        self._channel = channel
        self._name = name
        self._directory = directory_of(channel) if directory is None else Path(directory)
        self._is_named = directory is not None
        self._batches: BatchFinder | None = None
        self._opened: CheckpointStore | None = None
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        self._kept: int | None = None
        self._trouble = ""

    def put(self, state_id: str, state: bytes, sequence: int) -> int:
        """Stores a state that is of all up to `sequence`; gives the checkpoint's number when it is on disk.

        Raises: CheckpointError and its kinds.
        """
        ring = self._channel.ring
        # Read before the number is compared with it: it only rises.
        durable = ring.durable if ring.visible_durable else None
        return self._store().put(
            "state",
            self._channel.name,
            state_id,
            epoch=ring.epoch,
            sequence=sequence,
            batch=self._batch_of(sequence, durable),
            state=state,
            durable=durable,
        )

    def _batch_of(self, sequence: int, durable: int | None) -> tuple[int, int] | None:
        """The batch of the journal that holds a durable message; None where this reader cannot look."""
        if durable is None or not 0 < sequence <= durable:
            return None
        if self._batches is None:
            journal = journal_beside(self._channel)
            if journal is None:
                return None
            self._batches = BatchFinder(journal)
        try:
            found = self._batches.find(sequence)
        except JournalError:
            # Of a reader that may not read it, or one so late that its message is gone.
            return None
        return None if found is None else found[:2]

    def find(self, which: str | int) -> Checkpoint | None:
        """The newest checkpoint of a state id, or the one of a number, if it is of this channel and this life of it.

        None where there is none of a state id.
        Raises: CheckpointError for a number that is not kept; CheckpointEpochError; CheckpointError for one beyond the channel's end or of messages that its journal does not
                hold, and for checkpoints of another channel; CheckpointDamagedError.
        """
        if not self._is_there():
            if isinstance(which, int):
                raise self._not_kept(which, [])
            return None
        store = self._store()
        name = self._channel.name
        try:
            found = store.newest("state", name, which) if isinstance(which, str) else store.get(which)
        except CheckpointDamagedError as error:
            raise self._damaged(error) from error
        if found is None:
            if isinstance(which, int):
                raise self._not_kept(which, store.survey()[0])
            return None
        if (found["kind"], found["channel"]) != ("state", name):
            raise ChannelUsageError(
                f"checkpoint {which} is of {found['name']!r} of channel {found['channel']}, not of a state of {name}; "
                "recover it there",
                option="checkpoint_id",
                value=which,
            )
        return self._checked(found)

    def _not_kept(self, checkpoint_id: int, whole: list[dict[str, Any]]) -> CheckpointError:
        """Not to be taken for a state that was never stored, which a program begins anew."""
        states: dict[str, list[str]] = {}
        for one in whole:
            if (one["kind"], one["channel"]) == ("state", self._channel.name):
                states.setdefault(one["name"], []).append(str(one["checkpoint_id"]))
        kept = "; ".join(f"{', '.join(numbers)} of state {name}" for name, numbers in sorted(states.items()))
        return CheckpointError(
            f"checkpoint {checkpoint_id} of channel {self._channel.name} is not kept, as of each state only the newest three are: "
            + (
                f"there are {kept}; recover one of these, or the newest by its state"
                if kept
                else "there is none of any state"
            ),
            checkpoint_id=checkpoint_id,
        )

    def stored_cursor(self) -> int | None:
        """Sequence of the cursor that was stored by itself under this consumer's name; None when there is none.

        Raises: as `find`.
        """
        if self._directory is None or CheckpointStore.existing(self._directory) is None:
            return None
        try:
            found = self._store().newest("consumer", self._channel.name, self._name)
        except CheckpointDamagedError as error:
            raise self._damaged(error) from error
        return None if found is None else self._checked(found | {"state": b""}).cursor.sequence

    def _checked(self, found: dict[str, Any]) -> Checkpoint:
        ring = self._channel.ring
        sequence, epoch = found["sequence"], found["epoch"]
        what = f"checkpoint {found['checkpoint_id']} of {found['name']!r} at message {sequence}"
        end = ring.durable if ring.visible_durable else ring.published
        # Another epoch of the same journal.
        is_cut = epoch != ring.epoch and ring.visible_durable and continues(epoch, ring.epoch)
        # Before the first message nothing can have been lost.
        if epoch != ring.epoch and not (is_cut and (found["batch"] is not None or sequence == 0)):
            why = (
                "its journal was cut, so the state may be of messages that were lost"
                if is_cut
                else "its ring was lost without a journal, so nothing says which messages came between"
            )
            raise self._of_another_life(found, f"{what} is of another life of channel {found['channel']}", why)
        if sequence > end:
            raise CheckpointError(
                f"{what} is beyond the end of channel {found['channel']}, {end}: an older journal was put back; put back the "
                f"newer one, or {self._instead(found)}",
                sequence=sequence,
                durable=end,
            )
        if not self._is_held(found):
            if is_cut:
                where = f"{what} is of another life of channel {found['channel']}"
                # What is journaled again from a ring is in other batches, and a batch is what is compared.
                why = (
                    "its journal was cut or put back before that message, and does not hold it or got it from a ring again, which nothing "
                    "tells from another"
                )
                raise self._of_another_life(found, where, why)
            raise CheckpointError(
                f"{what} of channel {found['channel']} is of messages that the journal in {journal_beside(self._channel)} does not "
                "hold: an older copy of it was put back and has gone on with others; put back the newer one, or "
                f"{self._instead(found)}",
                sequence=sequence,
                durable=end,
                path=str(journal_beside(self._channel)),
            )
        # One of before a cut that did not lose its messages is of this life as well.
        cursor = Cursor(channel=found["channel"], epoch=ring.epoch, sequence=sequence)
        return Checkpoint(
            checkpoint_id=found["checkpoint_id"],
            state_id=found["name"],
            cursor=cursor,
            created_ns=found["created_ns"],
            state=found["state"],
        )

    def _of_another_life(self, found: dict[str, Any], what: str, why: str) -> CheckpointEpochError:
        now = self._channel.ring.epoch
        return CheckpointEpochError(
            f"{what} (epoch {found['epoch']}, now {now}): {why}; {self._instead(found)}",
            expected=now,
            found=found["epoch"],
        )

    def _is_held(self, found: dict[str, Any]) -> bool:
        """Whether the journal has the messages that a checkpoint is of.

        Raises: CheckpointError where the journal cannot be asked.
        """
        if not self._channel.ring.visible_durable or found["sequence"] == 0:
            return True
        journal = journal_beside(self._channel)
        try:
            if journal is None:
                raise JournalError("it is not known here; open the channel's producer first")
            held = BatchFinder(journal).find(found["sequence"])
        except JournalCompactedError:
            # Gone with time: what lies in the journal's own directory has come and gone with it.
            return not self._is_named
        except JournalError as error:
            if found["batch"] is None:
                return True
            raise CheckpointError(
                f"checkpoint {found['checkpoint_id']} of {found['name']!r} at message {found['sequence']} cannot be compared with "
                f"the journal of channel {found['channel']}: {error}",
                sequence=found["sequence"],
            ) from error
        if held is None:
            return False
        if found["batch"] is None:
            # Of version 1: no message can be of before its segment was begun.
            return held[2] is None or held[2] <= found["created_ns"]
        return bool(found["batch"] == held[:2])

    def _damaged(self, error: CheckpointDamagedError) -> CheckpointDamagedError:
        """The same, and what to do without that checkpoint; of a store that is damaged as a whole the error says it itself."""
        checkpoint_id = error.facts.get("checkpoint_id")
        if checkpoint_id is None:
            return error
        whole, damaged = self._store().survey()
        # One whose head is whole and its state is not is in the first.
        entry = next((one for one in whole + damaged if one["checkpoint_id"] == checkpoint_id), None)
        if entry is None or entry["channel"] != self._channel.name:
            return error
        return CheckpointDamagedError(
            f"checkpoint {checkpoint_id} of {entry['name']!r} in {error.facts['path']} is damaged ({error.facts['reason']}): "
            f"{self._instead(entry)}",
            **error.facts,
        )

    def _instead(self, refused: dict[str, Any]) -> str:
        """What to do without a checkpoint: the newest older one of its subject that holds, else none."""
        older = self._older_that_holds(refused)
        if refused["kind"] == "consumer":
            start = (
                "a start you name" if older is None else f"start={older['sequence'] + 1}, behind an older cursor of it"
            )
            opened = f"open it with {start}, or with start=1 if it recovers a state, which moves it behind that"
            if self._is_named:
                return opened
            words = ["tidebook", "channel", "cursor", "remove", str(self._channel.path), refused["name"]]
            return f"{opened}; or forget it by `{shlex.join(words)}`, and it begins as a new one"
        if older is None:
            return "begin the state anew, at a start you name"
        return f"recover checkpoint {older['checkpoint_id']}, which holds, by its number; it is at message {older['sequence']}"

    def _older_that_holds(self, refused: dict[str, Any]) -> dict[str, Any] | None:
        """Of one that is damaged its message is not known, only that its number is higher."""
        ring, subject = self._channel.ring, ("kind", "channel", "name")
        if not ring.visible_durable:
            return None
        try:
            for one in sorted(self._store().survey()[0], key=lambda one: -one["checkpoint_id"]):
                is_older = all(one[key] == refused[key] for key in subject) and (
                    one["sequence"] < refused["sequence"]
                    if "sequence" in refused
                    else one["checkpoint_id"] < refused["checkpoint_id"]
                )
                is_of_here = one["epoch"] == ring.epoch or one["batch"] is not None
                if (
                    is_older
                    and is_of_here
                    and one["sequence"] <= ring.durable
                    and self._is_held(one)
                    and self._is_whole(one)
                ):
                    return one
        except CheckpointError:
            # Of those that cannot be read or compared nothing is said.
            return None
        return None

    def _is_whole(self, listed: dict[str, Any]) -> bool:
        """Whether the state that belongs to it is what was stored, too."""
        try:
            return self._store().get(listed["checkpoint_id"]) is not None
        except CheckpointDamagedError:
            return False

    def _store(self) -> CheckpointStore:
        if self._opened is None:
            if self._directory is None:
                raise ChannelUsageError(
                    f"channel {self._channel.name} has no directory for checkpoints: "
                    + (
                        "its journal is not known here; open its producer first"
                        if self._channel.ring.visible_durable
                        else "it has no journal"
                    )
                    + ", or name one with open_consumer(..., checkpoints=DIRECTORY)",
                    option="checkpoints",
                )
            self._require_journal()
            opened = (CheckpointStore.named if self._is_named else CheckpointStore)(self._directory)
            if not self._is_named:
                require_own(opened, self._channel.name)
            self._opened = opened
        return self._opened

    def _is_there(self) -> bool:
        """Whether there is a store to look into; it is made by who stores something.

        Raises: as `_store`, for what keeps one from being there.
        """
        if self._opened is not None or self._directory is None or CheckpointStore.existing(self._directory) is not None:
            return True
        self._require_journal()
        return False

    def _require_journal(self) -> None:
        """One that is away, as its disk is not mounted, has its checkpoints with it: in its place none is looked for or made.

        Raises: JournalAbsentError.
        """
        if not self._is_named and (journal := journal_beside(self._channel)) is not None:
            JournalReader(journal)

    def keeps_itself(self) -> bool:
        """Whether this consumer's cursor is to be stored by itself."""
        return bool(self._name) and self._directory is not None and self._channel.ring.visible_durable

    def keep(self) -> None:
        """Stores the cursor that the ring has of this consumer, if it moved; what goes wrong is logged, once."""
        if os.getpid() != self._process_id:
            return
        with self._lock:
            try:
                self._keep()
                self._trouble = ""
            except TidebookError as error:
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    _log.warning(
                        "channel %s: the cursor of consumer %s is not stored; the ring has it, but a reboot would take it back: %s",
                        self._channel.name,
                        self._name,
                        error,
                    )

    def _keep(self) -> None:
        ring = self._channel.ring
        following = [line["next"] for line in ring.status()["consumers"] if line["name"] == self._name]
        if not following or following[0] - 1 == self._kept:
            return
        sequence, durable = following[0] - 1, ring.durable
        self._store().put(
            "consumer",
            self._channel.name,
            self._name,
            epoch=ring.epoch,
            sequence=sequence,
            batch=self._batch_of(sequence, durable),
            durable=durable,
        )
        self._kept = sequence


keeper = Rounds("tidebook-cursors", ReaderCheckpoints.keep)
"""Stores the cursors of this process's consumers now and then."""

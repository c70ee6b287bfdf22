"""A state recovered from snapshots and journal, and a follower that takes the snapshots beside a live writer.

The state is any object with the few methods of `State`; the walking, checking and comparing is the core's.
"""

from __future__ import annotations

import logging
import math
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tidebook._core import Follower as _Follower
from tidebook._core import recover_state
from tidebook.errors import SnapshotError
from tidebook.persistence.snapshots import Place, SnapshotFacts, SnapshotStore, State, facts_from, place_behind

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from types import TracebackType

S = TypeVar("S", bound=State)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RecoveryFacts:
    """What a recovery found and did."""

    channel: str
    journal_id: int
    used: SnapshotFacts | None
    """Snapshot the state was loaded from; None if it was derived from the first message."""
    refused: list[tuple[int, str]]
    """Newer snapshots that could not be used, newest first: sequence, and why."""
    tail_count: int
    """Messages applied behind the snapshot."""
    last_sequence: int
    """Last message the state has taken."""
    state_hash: int
    loading_s: float
    replaying_s: float


@dataclass(frozen=True, kw_only=True)
class Recovered(Generic[S]):
    """A recovered state and how it came about."""

    state: S
    """Behind all that is durable."""
    place: Place | None
    """Where it stands; None before the first message."""
    facts: RecoveryFacts


def recover(
    make: Callable[[], S],
    journal: str | os.PathLike[str],
    snapshots: SnapshotStore,
    *,
    snapshot_sequence_max: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Recovered[S]:
    """The state that `make` begins, from the newest snapshot that can be used and the durable messages behind it.

    `make` gives a new state (a class without arguments will do), as often as a snapshot has to be given up. `progress` is
    called with (last message applied, highest durable); what it raises ends the recovery. Nothing on disk is changed.

    Blocks for as long as it takes, without the GIL but for the state's own calls; Ctrl-C ends it.
    Raises: SnapshotMismatchError when a whole snapshot proves that the journal lacks durable messages or is another;
            JournalDamagedError for damage behind the snapshot; StateError for a message that is none of the state's;
            SnapshotError when there is nothing to begin from.
    """
    state, found = recover_state(
        make, journal, snapshots.core, snapshot_sequence_max=snapshot_sequence_max, progress=progress
    )
    place = found.pop("place")
    return Recovered(state=state, place=Place(**place) if place else None, facts=_recovery(found))


def _recovery(found: dict[str, Any]) -> RecoveryFacts:
    used = found.pop("used")
    return RecoveryFacts(used=facts_from(used) if used else None, **found)


@dataclass(frozen=True, kw_only=True)
class FollowerStatus:
    """How a follower stands."""

    applied: int
    """Last message its state has taken."""
    durable: int
    lag_count: int
    """Messages it is behind what is durable."""
    lagging: bool
    """Further behind than it may be."""
    snapshot_count: int
    """Snapshots it has taken."""
    snapshot: SnapshotFacts | None
    """The newest of them, or the one it began from."""
    failure: str | None
    """Why it has ended, if something ended it."""
    trouble: str | None
    """Why it took no snapshot when it last tried, or removed no old ones behind it; it goes on."""


@dataclass(frozen=True, kw_only=True)
class InlineSnapshot:
    """A snapshot of a live state, for which its owner waited."""

    snapshot: SnapshotFacts
    pause_s: float
    """How long the owner waited for it."""
    lag_count: int
    """Messages the follower was behind."""


class Follower:
    """A thread that replays a journal beside its live writer and takes snapshots of a state of its own.

    The writer never pauses for it. A snapshot counts when the state's hash, computed anew where the state can, is the one
    kept, the file was read back from the disk, and it loads as the same state. Trouble is logged and shown in `status`;
    a snapshot that failed is tried again after the interval. Ends with `stop`, the `with` block or the interpreter.
    """

    def __init__(
        self,
        make: Callable[[], State],
        journal: str | os.PathLike[str],
        snapshots: SnapshotStore,
        *,
        interval_s: float = 300.0,
        keep: int = 12,
        lag_count_max: int = 1_000_000,
        prove_by_loading: bool = True,
        tell: Callable[[str, dict[str, Any]], object] | None = None,
    ) -> None:
        """Starts it. `make` is called on its thread.

        `tell` is called there too, with the name of an event and its facts: recovered, snapshot, snapshot_failed,
        rotation_failed (the snapshot stands, old ones could not be removed), lagging, caught_up; inline on the thread of who asks for that. Raises: SnapshotError for options that cannot be.
        """
        self._journal, self._snapshots, self._interval_s = journal, snapshots, interval_s
        self._tell = _Telling(snapshots.kind, tell)
        self._inline_s = -math.inf
        self._core = _Follower(
            make,
            journal,
            snapshots.core,
            interval_s=interval_s,
            keep=keep,
            lag_count_max=lag_count_max,
            prove_by_loading=prove_by_loading,
            tell=self._tell,
        )
        # Before the interpreter is taken apart: its thread needs it.
        self._end = weakref.finalize(self, self._core.stop)

    @property
    def status(self) -> FollowerStatus:
        """How it stands now."""
        found = self._core.status
        snapshot = found.pop("snapshot")
        return FollowerStatus(snapshot=facts_from(snapshot) if snapshot else None, **found)

    def snapshot(self) -> SnapshotFacts | None:
        """Takes a snapshot of all that is durable now and waits for it; None before the first message.

        Raises: SnapshotError when it cannot be taken, or the follower has ended.
        """
        found = self._core.snapshot()
        return facts_from(found) if found else None

    def inline(self, state: State, sequence: int) -> InlineSnapshot | None:
        """Takes a snapshot of the live `state`, if the follower is further behind than it may be: only its owner can.

        `state` has taken all messages up to `sequence`, which has to be durable and the last of its batch, as the last message
        is after a sync. Ask as often as you like: None while the follower is near enough, if one was taken less than
        `interval_s` ago, or while the follower is just taking one. Unlike those of the follower it is of the live state itself,
        so it is no second opinion on it; it is read back from the disk all the same. The pause is logged and told (`inline`).

        Blocks: until it is on disk and verified. Threads: the owner's; the state must not change meanwhile.
        Raises: SnapshotError where no batch ends with `sequence`; SnapshotFullError; JournalError and its kinds.
        """
        status = self.status
        began = time.perf_counter()
        if not status.lagging or began - self._inline_s < self._interval_s:
            return None
        try:
            facts = self._snapshots.write(state, place_behind(self._journal, sequence))
        except SnapshotError as error:
            if "lock" in error.facts:
                return None
            raise
        self._inline_s = time.perf_counter()
        taken = InlineSnapshot(snapshot=facts, pause_s=self._inline_s - began, lag_count=status.lag_count)
        self._tell("inline", {"snapshot": facts, "pause_s": taken.pause_s, "lag_count": taken.lag_count})
        return taken

    def stop(self) -> None:
        """Ends the thread, after the snapshot it may be taking; a second call does nothing."""
        self._end()

    def __enter__(self) -> Follower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Telling:
    """Logs what goes wrong and passes everything on."""

    def __init__(self, kind: str, tell: Callable[[str, dict[str, Any]], object] | None) -> None:
        self._kind = kind
        self._tell = tell

    def __call__(self, name: str, facts: dict[str, Any]) -> None:
        if name == "snapshot_failed":
            _log.error("state %s: %s", self._kind, facts["problem"])
        elif name == "rotation_failed":
            _log.error("state %s: old snapshots could not be removed: %s", self._kind, facts["problem"])
        elif name == "inline":
            _log.warning(
                "state %s: its follower is %d messages behind, so the state itself was saved and paused for %.3f s",
                self._kind,
                facts["lag_count"],
                facts["pause_s"],
            )
        elif name == "lagging":
            _log.warning("state %s: its follower is %d messages behind", self._kind, facts["lag_count"])
        elif name == "recovered":
            for sequence, problem in facts["refused"]:
                _log.warning("state %s: snapshot %d is not used: %s", self._kind, sequence, problem)
        if self._tell is not None:
            self._tell(name, facts)

"""What of `orders` may go, and what holds the rest back.

Everybody who follows `orders` has something of his own to begin from: the engine and the market data their snapshots, the gateway the lives
of orders, the audit trail the position in its database. A command may go when the rule of `[venue] keep` lets it, and none of them could
need it: all snapshots that are kept can be gone on from, and who stands at a command, on disk, finds two snapshots of the venue before it
with all that follows them. What is not known, because a file or a database is away, holds everything back.

All of that is asked of files and databases, never of threads: so a command of somebody else may do the same beside the node or without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tidebook._core import (
    JournalReader,
    inspect_journal,
    usable_market_data_snapshots,
    usable_venue_snapshots,
)
from tidebook.audit.database import open_database
from tidebook.audit.durable import ANSWER_S, durable_position
from tidebook.audit.writer import digest_of
from tidebook.errors import JournalLockedError, TidebookError
from tidebook.gateway.lives_file import Saved
from tidebook.node.directory import (
    MARKET_DATA_STATES,
    VENUE_CHANNEL,
    is_of_node,
    journal_directory,
    snapshots_directory,
    venue_lives_before_file,
    venue_lives_file,
    venue_names_file,
)
from tidebook.persistence.data_directory import MAINTENANCE_LOCK
from tidebook.persistence.file_lock import locked
from tidebook.persistence.files import files_in
from tidebook.transport.keep_rule import FOREVER, THRESHOLD_BYTES, KeepPlan
from tidebook.transport.keeping import Kept, Reader, WrittenOnce, compact_by, judged, ring_consumers, written_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tidebook._core import SnapshotStore
    from tidebook.config.settings import Settings

_SEQUENCE_MAX: Final = (1 << 64) - 1
KEPT_FOREVER: Final = "venue.keep is forever, so no command goes"
_NEEDED: Final = 2
"""Snapshots that somebody begins behind: one to use, and one for when that is damaged."""


@dataclass(frozen=True, kw_only=True)
class OrdersPlan:
    """What is to be kept."""

    rule: str = FOREVER
    """As in `[venue] keep`."""
    threshold_bytes: int = THRESHOLD_BYTES
    """A journal up to this size is left alone."""
    snapshots: int = 12
    """Of each state; as many can be gone on from."""
    audit_url: str | None = None
    """Where the audit trail is, as in `[audit] url`; None: there is none, and it holds nothing back."""

    @property
    def removes(self) -> bool:
        """Something may go."""
        return self.rule != FOREVER


class OrdersKeeping:
    """Of one data directory. Threads: one at a time."""

    def __init__(
        self,
        data: Path,
        plan: OrdersPlan,
        *,
        rings_root: Path | None = None,
        published: Callable[[], int] | None = None,
    ) -> None:
        """`rings_root` as in `channel_files`; `published` gives the last command whose market data is published, where that is known here, and 0 while it is not yet."""
        self._data = data
        self._plan = plan
        self._rings_root = rings_root
        self._published = published or (lambda: _SEQUENCE_MAX)
        self._journal = journal_directory(data, VENUE_CHANNEL)
        self._snapshots = snapshots_directory(data) / VENUE_CHANNEL
        self._audit_told: tuple[str, int] | None = None
        self._usable_files: set[WrittenOnce] = set()
        self._lives_known: dict[WrittenOnce, int] = {}
        self._known: set[WrittenOnce] = set()

    def ask(self) -> None:
        """Has the audit trail's database say how far it is, for the next `compact`, which then waits for nobody: for who holds a lock meanwhile.

        A trail only goes on, so what was said a moment ago holds back more, and never less.
        """
        if self._plan.audit_url is not None:
            self._audit_told = self._of_audit(self._plan.audit_url)

    def judged(self) -> Kept:
        """How the journal stands; nothing is removed. Raises: as `compact`."""
        found = judged(self._journal, self._keep_plan, self._needed_by)
        return replace(found, compacted_by="its node every minute")

    def compact(self) -> Kept:
        """Removes what may go, if the journal is above the threshold; beside the engine too.

        Raises: JournalError and its kinds, JournalLockedError among them; SnapshotMismatchError; CheckpointError; OSError.
        """
        try:
            return compact_by(self._journal, self._keep_plan, self._needed_by, self._known)
        finally:
            self._audit_told = None

    def spare(self, of_venue: SnapshotStore, of_market_data: SnapshotStore) -> None:
        """Has the rotations of both stores leave what somebody may still begin behind, once the first commands are gone or may go."""
        if not self._plan.removes and inspect_journal(self._journal)["first_sequence"] <= 1:
            of_venue.spare([])
            of_market_data.spare([])
            return
        stands = {position for _, position in self._positions()}
        if 0 in stands:
            # Nobody knows where somebody stands: the oldest are before everybody.
            stands |= set(of_venue.sequences()[_NEEDED - 1 : _NEEDED])
        of_venue.spare(sorted(stands - {0}))
        published = self._published()
        of_market_data.spare([published] if published else of_market_data.sequences()[_NEEDED - 1 : _NEEDED])

    @property
    def _keep_plan(self) -> KeepPlan:
        plan = self._plan
        return KeepPlan(rule=plan.rule, threshold_bytes=plan.threshold_bytes, snapshots=self._snapshots).checked()

    def _needed_by(self) -> list[dict[str, Any] | Reader]:
        return [*ring_consumers(self._journal, self._rings_root), *self.readers()]

    def readers(self) -> list[Reader]:
        """Who begins where, beside those who read the channel. Raises: as `compact`."""
        found = [
            self._of_snapshots("the venue", VENUE_CHANNEL, _SEQUENCE_MAX),
            self._of_snapshots("its market data", MARKET_DATA_STATES, self._published()),
        ]
        for who, position in self._positions():
            behind = self._usable(VENUE_CHANNEL, position, _NEEDED) if position else []
            if len(behind) == _NEEDED:
                what = f"{who}, which is at command {position:,} and begins behind a snapshot of the venue,"
                found.append(Reader(what=what, first_needed=behind[0], is_consumer=False))
            elif position:
                what = f"{who}, which is at command {position:,} with {len(behind)} of {_NEEDED} snapshots of the venue before it,"
                found.append(Reader(what=what, first_needed=1, is_consumer=False))
            else:
                found.append(Reader(what=who, first_needed=1, is_consumer=False))
        return found

    def _of_snapshots(self, of: str, kind: str, sequence_max: int) -> Reader:
        wanted = self._plan.snapshots
        usable = self._usable(kind, sequence_max, wanted)
        if len(usable) < wanted:
            what = f"{of}, of which {len(usable)} of {wanted} snapshots (keep_snapshots) can be gone on from,"
            return Reader(what=what, first_needed=1, is_consumer=False)
        return Reader(what=f"the oldest snapshot of {of} that is kept", first_needed=usable[0], is_consumer=False)

    def lives(self) -> list[tuple[str, int]]:
        """At which command the gateway would begin by each of its files; 0 where it could not, and why."""
        return [self._of_lives(path) for path in (venue_lives_file(self._data), venue_lives_before_file(self._data))]

    def usable(self, kind: str, sequence_max: int = _SEQUENCE_MAX) -> bool:
        """Whether a start could begin behind a snapshot of a kind up to a command. Raises: as `compact`."""
        return bool(self._usable(kind, sequence_max, 1))

    def _positions(self) -> list[tuple[str, int]]:
        """Who stands at which command, on disk; 0 where that is nowhere, and why."""
        found = self.lives()
        if self._plan.audit_url is not None:
            found.append(self._audit_told or self._of_audit(self._plan.audit_url))
        return found

    def _of_lives(self, path: Path) -> tuple[str, int]:
        who = f"the gateway ({path.relative_to(self._data)})"
        try:
            known = written_once(path)
            if known not in self._lives_known:
                saved = Saved(path)
                if not saved.is_behind(self._command(saved.sequence)):
                    return f"{who}, which is of another history,", 0
                self._lives_known = {file: at for file, at in self._lives_known.items() if file[0] != known[0]}
                self._lives_known[known] = saved.sequence
            return who, self._lives_known[known]
        except FileNotFoundError:
            return f"{who}, which is not there yet,", 0
        except (TidebookError, OSError) as error:
            return f"{who}, which cannot be gone on from ({error}),", 0

    def _of_audit(self, url: str) -> tuple[str, int]:
        who = "the audit trail"
        try:
            database = open_database(url, self._data, answer_s=ANSWER_S)
            try:
                position = durable_position(database)
            finally:
                database.close()
            if position is None or not position.sequence:
                return f"{who}, which has no rows yet,", 0
            command = self._command(position.sequence)
            if command is None or digest_of(command) != position.digest:
                return f"{who}, which is of another history,", 0
        except (TidebookError, OSError) as error:
            return f"{who}, which cannot be asked how far it is ({error}),", 0
        return who, position.sequence

    def _command(self, sequence: int) -> bytes | None:
        """A durable command of the journal; None where it does not have it. Raises: JournalError and its kinds."""
        found = JournalReader(self._journal, channel=VENUE_CHANNEL, from_sequence=sequence).next(1)
        return None if found is None or found[0] != sequence else bytes(found[1][0])

    def _usable(self, kind: str, sequence_max: int, count: int) -> list[int]:
        """Sequences, rising, of the newest snapshots up to a command that can be begun behind; each file is loaded once."""
        found: list[int] = []
        for path in reversed(files_in(self._snapshots / kind, ".snapshot")):
            sequence = int(path.stem)
            if sequence <= sequence_max and self._is_usable(kind, path, sequence):
                found.insert(0, sequence)
                if len(found) == count:
                    break
        return found

    def _is_usable(self, kind: str, path: Path, sequence: int) -> bool:
        try:
            file = written_once(path)
        except FileNotFoundError:
            return False  # rotated away, so there are newer ones
        if file not in self._usable_files:
            journal, snapshots = self._journal, self._snapshots.parent
            if kind == VENUE_CHANNEL:
                usable, _ = usable_venue_snapshots(journal, snapshots, sequence, 1)
            else:
                usable, _ = usable_market_data_snapshots(journal, venue_names_file(self._data), snapshots, sequence, 1)
            if usable != [sequence]:
                return False
            self._usable_files.add(file)
        return True


def why_no_start(data: Path) -> str | None:
    """Why no node could go on with the `orders` of a directory whose first commands are gone; None where one could, or has no venue.

    Raises: JournalError and its kinds; SnapshotMismatchError; OSError.
    """
    keeping, journal = OrdersKeeping(data, OrdersPlan()), journal_directory(data, VENUE_CHANNEL)
    first = inspect_journal(journal)["first_sequence"]
    if first <= 1 or not is_of_node(journal):
        return None
    for kind, of in ((VENUE_CHANNEL, "venue"), (MARKET_DATA_STATES, "venue's market data")):
        if not keeping.usable(kind):
            return f"it begins with command {first:,} and no snapshot of the {of} can be gone on from"
    lives = keeping.lives()
    if any(position and keeping.usable(VENUE_CHANNEL, position) for _, position in lives):
        return None
    whose = "; ".join(who.rstrip(",") for who, _ in lives)
    return f"it begins with command {first:,} and what became of its orders is nowhere: {whose}"


def orders_plan(settings: Settings) -> OrdersPlan:
    """What the settings say of it."""
    return OrdersPlan(
        rule=settings.venue.keep,
        threshold_bytes=settings.compaction_threshold,
        snapshots=settings.keep_snapshots,
        audit_url=settings.audit.url.get_secret_value() if settings.audit.enabled else None,
    )


def compact_orders(data: Path, plan: OrdersPlan, *, dry_run: bool) -> Kept:
    """Has done what a node does, beside it or without one; by `dry_run` only finds what that would be.

    Raises: as `OrdersKeeping.compact`; JournalLockedError while a backup is made, too.
    """
    keeping = OrdersKeeping(data, plan)
    if dry_run:
        return keeping.judged()
    keeping.ask()
    with locked(data / MAINTENANCE_LOCK) as got:
        if not got:
            raise JournalLockedError(f"{data} is being backed up")
        return keeping.compact()


def orders_kept_now(journal: Path, plan: OrdersPlan) -> Kept:
    """How a node's journal of `orders` stands by its rule; what cannot be looked at is its `failure`."""
    try:
        return OrdersKeeping(journal.resolve().parent.parent, plan).judged()
    except (TidebookError, OSError) as error:
        return Kept(rule=plan.rule, threshold_bytes=plan.threshold_bytes, failure=str(error))

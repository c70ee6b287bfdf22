"""What a node finds on its data directory when it starts, channel by channel, all at once.

Each channel is recovered in a thread of its own: its journal is verified, segments side by side, then opened, which brings ring
and journal to one sequence by the rules of both. The core works without the interpreter's lock, on as many cores as there are.
Nothing is decided here: a torn tail is cut and told, damage is refused and told, with the command that shows the choices. An
interrupted recovery has changed nothing that the next one would not find: run it again.

Beside the node's channels the directory may hold others': those that programs of one's own journal there, and feeds that this run
leaves out. They are checked and told the same way, and nothing of them is opened, cut or taken from a ring: their producers do that,
which may be at work. One of them that is damaged is named and does not keep the node from starting: capture goes on, which cannot be made
up for later, and nothing that the node does reads or writes that journal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidebook.errors import JournalAbsentError, JournalDamagedError, JournalError, OperationError
from tidebook.node.cutting import proofs
from tidebook.node.directory import channel_of, holds_segments, journal_directory
from tidebook.node.hosted_venue import CHANNEL as VENUE_CHANNEL
from tidebook.node.hosted_venue import HostedVenue
from tidebook.node.places import misplaced
from tidebook.node.snapshot_files import newest_snapshot
from tidebook.node.status import RingState, parted, rings_of
from tidebook.node.storing import stored_position
from tidebook.node.venue_feed import VenueFeed
from tidebook.observe.logs import logger
from tidebook.persistence import inspect, verify
from tidebook.persistence.files import OF_THE_FILE_SYSTEM
from tidebook.persistence.holes import holes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tidebook.node.hosted_venue import VenuePlan
    from tidebook.node.venue_feed import FeedOptions, FeedPlan

log = logger("node.recovery")

Progress = Callable[[str, str, int], None]
"""Told, from several threads, a channel, which of `STEPS` it is at, and how many more of its messages are behind it."""

STEPS: Final = ("looking", "verifying", "opening", "done")
"""What a channel goes through."""


class RecoveryInterruptedError(Exception):
    """Somebody asked for an end before all channels were open; nothing was lost by it."""


def _silent(channel: str, step: str, messages: int) -> None:
    del channel, step, messages


@dataclass(kw_only=True)
class ChannelRecovery:
    """What became of one channel. Counts are of messages unless they say otherwise."""

    channel: str
    journal: str
    """Its directory."""
    found: int = 0
    """In the journal, its torn end left out."""
    found_bytes: int = 0
    """Of its segments."""
    segments: int = 0
    closed: bool = True
    """The last owner had ended by closing it, or there was none."""
    kept_first: int = 0
    kept_last: int = 0
    """What the journal holds now, those from the ring included; 0 to 0 for none."""
    cut_bytes: int = 0
    """Torn by a crash and never acknowledged; they stay where they are and are not read."""
    refused: str = ""
    """Why the channel cannot be used; empty when it can."""
    refused_facts: dict[str, Any] | None = None
    """Of damage: segment, offset, sequence."""
    from_ring: int = 0
    """That a killed owner had published and not yet journaled: taken from shared memory."""
    ring: str = ""
    """Why its ring was made anew; empty when it stayed or there was none."""
    ring_lost: int | None = 0
    """That went with that ring and had never been durable; None: unknown."""
    epoch_behind_copy: int | None = None
    """The new epoch of a journal that was put back from a copy, behind which more may have been acknowledged; None of others."""
    undecidable_from: int | None = None
    """From this message on the journal cannot tell whether it ever held more."""
    snapshot: int | None = None
    """Sequence of the newest snapshot of its state, None where there is none."""
    stored: int = 0
    """Up to this message its rows are stored."""
    is_own: bool = True
    """The node opens it; else it is another program's, or of a feed that this run leaves out, and was only looked at."""
    is_written: bool = False
    """Of those: its producer is open."""
    verified: bool = False
    """Every batch was read and is what was written; else headers and the newest segment alone."""
    seconds: float = 0.0

    @property
    def kept(self) -> int:
        """How many the journal holds now."""
        return self.kept_last - self.kept_first + 1 if self.kept_last else 0

    @property
    def is_new(self) -> bool:
        """There was nothing to recover."""
        return not (self.segments or self.from_ring or self.refused or self.ring)

    @property
    def is_loss(self) -> bool:
        """Something was cut or went with a ring, none of it acknowledged."""
        return self.is_own and (bool(self.cut_bytes) or self.ring_lost != 0)

    def facts(self) -> dict[str, Any]:
        """For JSON and the log."""
        return {**asdict(self), "kept": self.kept}


class Recovery:
    """The recovery of all channels of a node."""

    def __init__(
        self,
        plans: Sequence[FeedPlan],
        data: Path,
        rings: Path,
        options: FeedOptions,
        *,
        whole: bool,
        venue: VenuePlan | None = None,
    ) -> None:
        """`whole` reads every batch of every journal, not only what opening needs; `venue` has the node's own venue opened too."""
        self._plans = plans
        self._data = data
        self._rings = rings
        self._options = options
        self._whole = whole
        self.channels = [
            ChannelRecovery(
                channel=channel_of(plan.venue), journal=str(journal_directory(data, channel_of(plan.venue)))
            )
            for plan in plans
        ]
        """One a plan, in their order, then that of the venue, then those that are not the node's; filled in as they go."""
        self._venue_plan = venue
        self.venue: HostedVenue | None = None
        """The open venue, once all have been recovered."""
        if venue is not None:
            self.channels.append(
                ChannelRecovery(channel=VENUE_CHANNEL, journal=str(journal_directory(data, VENUE_CHANNEL)))
            )
        self._others = _others(data, {found.channel for found in self.channels})
        self.channels += self._others
        self._stop = threading.Event()
        self.seconds = 0.0

    def run(self, progress: Progress = _silent) -> list[VenueFeed]:
        """Recovers all channels; the open feeds, in the order of the plans.

        Raises: the error of the first channel that is refused, after all were looked at; UsageError; RecoveryInterruptedError.
                Then none is left open.
        """
        began = time.perf_counter()
        with ThreadPoolExecutor(max(1, len(self.channels)), thread_name_prefix="recovery") as threads:
            jobs = [
                threads.submit(self._recover, plan, found, progress)
                for plan, found in zip(self._plans, self.channels, strict=False)
            ]
            opening = None
            if self._venue_plan is not None:
                of_venue = self.channels[len(self._plans)]
                opening = threads.submit(self._recover_venue, self._venue_plan, of_venue, progress)
            looks = [threads.submit(self._check, found, progress) for found in self._others]
        self.seconds = time.perf_counter() - began
        failures = [error for job in jobs if (error := job.exception()) is not None]
        failures += [error for look in looks if (error := look.exception()) is not None]
        feeds = [job.result() for job in jobs if job.exception() is None]
        if opening is not None:
            error = opening.exception()
            if error is None:
                self.venue = opening.result()
            else:
                failures.append(error)
        if not failures and self._stop.is_set():
            failures.append(RecoveryInterruptedError())
        if failures:
            for feed in feeds:
                feed.capture.close()
            if self.venue is not None:
                self.venue.stop()
        for error in failures:
            if not isinstance(error, OperationError):  # it was asked for what cannot be, or is a mistake of ours
                raise error
        if failures:
            # Who is told the error is told all; of damage the log keeps the place.
            for found in self.channels:
                if found.refused_facts is not None and "segment" in found.refused_facts:
                    log.error("channel refused", **found.facts())
            raise failures[0]
        for found in self.channels:
            if found.refused:
                log.error("a channel that is not the node's is damaged", **found.facts())
                continue
            tell = log.warning if found.is_loss else log.info
            tell("channel recovered" if found.is_own else "channel checked", **found.facts())
        return feeds

    def interrupt(self) -> None:
        """Ends it soon, whatever is left. Threads: from any."""
        self._stop.set()

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {"seconds": self.seconds, "channels": [found.facts() for found in self.channels]}

    def _recover(self, plan: FeedPlan, found: ChannelRecovery, progress: Progress) -> VenueFeed:
        with self._opening(found, progress, is_feed=True):
            feed = VenueFeed(plan, self._data, self._rings, self._options)
        _note_opened(found, feed.capture.recovery)
        return feed

    def _recover_venue(self, plan: VenuePlan, found: ChannelRecovery, progress: Progress) -> HostedVenue:
        with self._opening(found, progress, is_feed=False):
            venue = HostedVenue(plan, self._data, self._rings)
        _note_opened(found, venue.engine.recovery)
        return venue

    def _check(self, found: ChannelRecovery, progress: Progress) -> None:
        """Looks at a channel that is not the node's. Raises: RecoveryInterruptedError, and nothing of the channel."""
        began = time.perf_counter()
        journal = Path(found.journal)
        try:
            progress(found.channel, "looking", 0)
            # Before the journal, which then has at least what they know to be durable.
            rings = rings_of(found.channel)
            holds_segments(journal)  # what cannot be listed is not taken for absent
            _look(journal, found)
            state = inspect(journal)
            if state.channel != found.channel:
                raise JournalError(misplaced(journal, state.channel, found.channel))
            found.snapshot = newest_snapshot(self._data, found.channel)
            if self._whole:
                self._verify(journal, found, progress)
            found.kept_last = state.last_sequence if state.last_sequence >= state.first_sequence else 0
            for ring in parted(rings, journal, state.journal_id, state.epoch)[0]:
                found.is_written = found.is_written or ring.has_owner
                _compare(found, ring, inspect(journal).last_sequence)
            if found.is_written:
                found.cut_bytes = 0  # what stands behind its last whole batch is the next one
        except (OperationError, OSError) as error:
            refused = with_repair(error, journal) if isinstance(error, OperationError) else error
            found.refused = str(refused)
            found.refused_facts = dict(refused.facts) or None if isinstance(refused, OperationError) else None
        finally:
            found.seconds = time.perf_counter() - began
            progress(found.channel, "done", 0)

    @contextmanager
    def _opening(self, found: ChannelRecovery, progress: Progress, *, is_feed: bool) -> Iterator[None]:
        """Looks at a channel's journal before it is opened, and notes how long all of it took and why it was refused."""
        began = time.perf_counter()
        journal = journal_directory(self._data, found.channel)
        try:
            progress(found.channel, "looking", 0)
            _look(journal, found)
            if is_feed:
                found.stored = stored_position(self._data, found.channel)
            found.snapshot = newest_snapshot(self._data, found.channel)
            if self._whole and found.segments:
                self._verify(journal, found, progress)
            progress(found.channel, "opening", 0)
            yield
        except OperationError as error:
            refused = with_repair(error, journal)
            found.refused, found.refused_facts = str(refused), dict(refused.facts) or None
            raise refused from error
        finally:
            found.seconds = time.perf_counter() - began
            progress(found.channel, "done", 0)

    def _verify(self, journal: Path, found: ChannelRecovery, progress: Progress) -> None:
        """Reads every batch. Raises: JournalDamagedError at the first that is not what was written; RecoveryInterruptedError."""

        def tell(messages: int) -> None:
            if self._stop.is_set():
                raise RecoveryInterruptedError
            progress(found.channel, "verifying", messages)

        progress(found.channel, "verifying", 0)
        verify(journal, progress=tell)
        found.verified = True


def _others(data: Path, own: set[str]) -> list[ChannelRecovery]:
    """What lies among the journals and this node does not open. Raises: OSError where they cannot be listed at all."""
    journals = data / "journal"
    found = []
    for channel in sorted(entry.name for entry in journals.iterdir()) if journals.exists() else []:
        try:
            is_there = channel not in own and channel != OF_THE_FILE_SYSTEM and holds_segments(journals / channel)
        except NotADirectoryError:
            is_there = False
        except OSError:
            is_there = True  # what it is, its check says
        if is_there:
            found.append(ChannelRecovery(channel=channel, journal=str(journals / channel), is_own=False))
    return found


def _compare(found: ChannelRecovery, ring: RingState, last: int) -> None:
    """Notes what a ring has beyond its journal, which its producer's next opening takes. Raises: JournalError where that is lost."""
    if ring.durable > last:
        raise JournalError(
            f"its ring {ring.path} knows {ring.durable:,} to be durable and the journal ends at {last:,}: an older copy was put "
            f"back, or its end is lost. What can be done is shown by `tidebook journal repair {found.journal}`"
        )
    if not ring.has_owner:
        found.from_ring += max(0, ring.published - last)


def _note_opened(found: ChannelRecovery, opened: Mapping[str, Any]) -> None:
    """Notes what opening a channel has found."""
    found.from_ring = opened["replayed_from_ring"]
    found.ring = opened["ring_discarded"] or ""
    found.ring_lost = opened["ring_lost"] if found.ring else 0
    found.undecidable_from = opened["undecidable_from"]
    found.epoch_behind_copy = opened["epoch_behind_copy"]
    found.kept_last = opened["next_sequence"] - 1
    found.kept_first = (found.kept_first or 1) if found.kept_last else 0


def with_repair(error: OperationError, journal: Path) -> OperationError:
    """The same error, of damage with the command that shows what can be done."""
    if not isinstance(error, JournalDamagedError):
        return error
    sequence = error.facts.get("sequence")
    shown = proofs(journal, sequence - 1) if isinstance(sequence, int) else []
    known = f" Known of it are {'; '.join(map(str, shown))}." if shown else ""
    return JournalDamagedError(
        f"{error}, and what each choice loses; nothing was changed.{known}",
        **error.facts,
    )


def _look(journal: Path, found: ChannelRecovery) -> None:
    """Notes what is there before anything is done."""
    try:
        state = inspect(journal)
    except JournalAbsentError:
        return
    given_up = sum(last - first + 1 for first, last in holes(journal))
    found.found = state.last_sequence - state.first_sequence + 1 - given_up
    found.found_bytes, found.segments, found.closed = state.size_bytes, state.segments, state.closed
    found.cut_bytes = state.torn_bytes
    found.kept_first = state.first_sequence

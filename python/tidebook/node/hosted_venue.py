"""The node's own venue: its engine, and the gateway that takes orders for it.

The engine has threads of its own, or a process, and comes up first, with what `orders` and its snapshots hold; then the gateway reads
`orders` and knows what became of every order; then requests are taken. At the end the other way round: no more requests, sessions that ended have
their orders cancelled, then the engine stops with everything journaled.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tidebook._core import Follower, JournalReader, SnapshotStore, VenueEngine, inspect_journal
from tidebook.api import ChannelGuarantee
from tidebook.audit.engine import AuditEngine
from tidebook.audit.process import AuditProcess
from tidebook.config.settings import TopologySettings
from tidebook.errors import JournalCompactedError, SnapshotError, TidebookError
from tidebook.gateway.desk import DeskOptions, OrderDesk
from tidebook.gateway.destination import LocalDestination
from tidebook.gateway.following import OrdersFollower
from tidebook.gateway.lives import Lives
from tidebook.gateway.lives_file import WITHOUT_LIMITS, LivesFileError, Saved
from tidebook.gateway.names import VENUE, Names
from tidebook.node.directory import (
    MARKET_DATA_STATES,
    VENUE_CHANNEL,
    journal_directory,
    snapshots_directory,
    venue_lives_before_file,
    venue_lives_file,
    venue_names_file,
)
from tidebook.node.feed_snapshots import SnapshotOptions
from tidebook.node.standstill import Standstill
from tidebook.node.venue_keeping import OrdersKeeping, OrdersPlan
from tidebook.node.venue_process import VenueEnginePlan, VenueEngineProcess
from tidebook.observe.logs import logger
from tidebook.persistence.files import replacing
from tidebook.transport import open_channel
from tidebook.venue import Venue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tidebook.config.settings import VenueSettings
    from tidebook.gateway.lives_file import Picture

log = logger("node.hosted_venue")

CHANNEL: Final = VENUE_CHANNEL
FEED: Final = "local"
"""What the market data engine calls it, beside the venues out in the world."""


@dataclass(frozen=True, kw_only=True)
class VenuePlan:
    """What is wanted of the venue."""

    settings: VenueSettings
    snapshots: SnapshotOptions = field(default_factory=SnapshotOptions)
    audit_url: str | None = None
    """Where its audit trail is kept, as in `[audit] url`; None: nowhere."""
    topology: TopologySettings = field(default_factory=TopologySettings)
    """Where its engine runs, and what keeps its audit trail."""
    segment_size_bytes: int = 64 << 20
    """Of the journal of `orders`: what may go of it goes in these."""


class HostedVenue:
    """The running venue; `stop` ends it."""

    def __init__(
        self, plan: VenuePlan, data: Path, rings: Path, progress: Callable[[int], None] = lambda _: None
    ) -> None:
        """Recovers the engine and reads `orders`; `progress` is told how many commands more were read.

        Raises: ChannelError, JournalError and its kinds, SnapshotError; VenueNamesError; what a recheck finds.
        """
        settings = plan.settings
        self.journal = journal_directory(data, CHANNEL)
        self._names_file = venue_names_file(data)
        self.names = Names(self._names_file, lambda: self.follower.lives.numbers())
        self.engine = _engine(plan, data, self.journal, rings)
        self.allow_remote = settings.allow_remote
        self._standstill: Standstill | None = None
        self._local: LocalDestination | None = None
        self._followed: OrdersFollower | None = None
        self._lives = venue_lives_file(data)
        self._lives_before = venue_lives_before_file(data)
        self._lives_snapshots = snapshots_directory(data) / CHANNEL / CHANNEL
        self._lives_interval_s = plan.snapshots.interval_s
        self._lives_sequence = 0
        """Last command of the file."""
        self._lives_are_good = False
        """It was gone on from, or written by this process: one that is damaged takes no other's place."""
        self._lives_lock = threading.Lock()
        self._snapshots: list[Follower] = []
        self.stores = (
            SnapshotStore(self._lives_snapshots, CHANNEL),
            SnapshotStore(self._lives_snapshots.with_name(MARKET_DATA_STATES), MARKET_DATA_STATES),
        )
        """Of snapshots of the venue and of its market data."""
        self.published: Callable[[], int] = lambda: 0
        """The last command whose market data is published, once an engine of that is there; 0 while nobody knows."""
        self._keeping = OrdersKeeping(
            data,
            OrdersPlan(rule=settings.keep, snapshots=plan.snapshots.keep, audit_url=plan.audit_url),
            published=lambda: self.published(),
        )
        self._spare_lock = threading.Lock()
        self.audit: AuditEngine | AuditProcess | None = None
        try:
            self.follower = self._followed = self._begin(rings, settings.remembered)
            read = self.read_count = self.follower.catch_up(progress)
            """Commands that the gateway read at the start."""
            self.names.require(self.follower.lives.numbers())
            self._standstill = Standstill(rings)
            self._local = LocalDestination(rings, self.follower, lambda: self.engine.failure, self._gone, self._still)
            self._begin_snapshots(plan.snapshots)
            if plan.audit_url is not None:
                self.audit = _audit(plan, data, self.journal, rings)
                self.audit.start()
        except BaseException:
            self.stop()
            raise
        options = DeskOptions(
            waiting_max=settings.waiting_max,
            waiting_of_account_max=settings.waiting_of_account_max,
            answer_timeout_s=settings.answer_timeout_s,
        )
        self.desk = OrderDesk(self.names, self.follower, {VENUE: self._local}, options)
        lives = self.follower.lives
        log.info(
            "venue open",
            commands=self.follower.sequence,
            commands_read=read,
            open_orders=lives.open_count(),
            instruments=len(lives.definitions),
        )

    async def end_sessions(self) -> None:
        """Every session of the last run has ended with it: orders that were to go with them go."""
        for account in self.follower.lives.accounts_to_disconnect():
            try:
                await self.desk.disconnected(account)
            except TidebookError as error:
                log.error("orders of an ended session may still be open", account=account, reason=str(error))

    async def keep_lives(self) -> None:
        """Keeps what became of orders from time to time, so that a start has no more to read than came since. Until cancelled."""
        while True:
            await asyncio.sleep(self._lives_interval_s)
            if self.follower.sequence != self._lives_sequence:
                await self._keep_lives_now()

    async def _keep_lives_now(self) -> None:
        # By itself, so that nobody has the picture when it is written: while somebody does, lives keep what they change.
        picture = self.follower.picture()
        if picture is not None:
            await self.follower.wait_durable(picture.sequence)
            await asyncio.to_thread(self._keep, picture)
            await asyncio.to_thread(self._spare_on)

    def spare(self) -> None:
        """Has rotations leave the snapshots that somebody may still begin behind; nobody else says so to these stores.

        Raises: as `OrdersKeeping.compact`.
        """
        with self._spare_lock:
            self._keeping.spare(*self.stores)

    def _spare_on(self) -> None:
        try:
            self.spare()
        except (TidebookError, OSError) as error:
            log.warning("snapshots are rotated as before", reason=str(error))

    def _begin_snapshots(self, options: SnapshotOptions) -> None:
        """Of the venue, and of its market data, which has bars, names and numbers that the venue does not know."""
        common: dict[str, Any] = {"interval_s": options.interval_s, "keep": options.keep, "tell": _tell_snapshot}
        of_venue, of_market_data = self.stores
        self.spare()
        self._snapshots.append(Follower.of_venue(self.journal, of_venue, **common))
        self._snapshots.append(Follower.of_market_data(self.journal, self._names_file, of_market_data, **common))

    def _begin(self, rings: Path, remembered: int) -> OrdersFollower:
        """A follower that goes on from the lives that were kept, if they are those of this journal; else from the first command.

        Raises: JournalCompactedError where that is gone.
        """
        refused = []
        first = inspect_journal(self.journal)["first_sequence"]
        for path in (self._lives, self._lives_before):
            try:
                venue, lives = self._gone_on_from(path, remembered, first)
            except FileNotFoundError:
                refused.append(f"{path} is not there")
            except (TidebookError, OSError) as error:
                log.warning("lives of orders cannot be gone on from", reason=str(error))
                refused.append(str(error))
            else:
                self._lives_are_good = path == self._lives
                return OrdersFollower(rings, venue, lives)
        if first > 1:
            raise JournalCompactedError(
                f"orders begins with command {first}, and what became of its orders by then is nowhere: {'; '.join(refused)}; put one "
                "of these files back from a backup",
                requested=1,
                first=first,
            )
        return OrdersFollower(rings, self._new_replica(), Lives(remembered))

    def _gone_on_from(self, path: Path, remembered: int, first: int) -> tuple[Venue, Lives]:
        """`first` is the first command of the journal. Raises: LivesFileError, and its like, where that cannot be; FileNotFoundError."""
        saved = Saved(path)
        if saved.version == WITHOUT_LIMITS:
            if first <= 1:
                raise LivesFileError(f"{path} is of an earlier release, without limits, and orders has all of them")
            log.warning(
                "lives of orders are of an earlier release: limits and dead man's switches that were set before are in force, and are not "
                "shown until they are set again",
                path=str(path),
            )
        venue = Venue.open(self.journal, snapshots=self._lives_snapshots, sequence=saved.sequence, history=False)
        found = JournalReader(self.journal, channel=CHANNEL, from_sequence=saved.sequence).next(1)
        if venue.sequence != saved.sequence or found is None or found[0] != saved.sequence:
            raise LivesFileError(f"{path}: orders does not have command {saved.sequence}")
        lives = saved.lives(bytes(found[1][0]), venue, remembered)
        self._lives_sequence = saved.sequence
        return venue, lives

    def _new_replica(self) -> Venue:
        """A venue before the first command, with the room of the engine's, on which its state depends."""
        return Venue.open(self.journal, sequence=0, history=False)

    def _keep(self, picture: Picture) -> None:
        with self._lives_lock:
            try:
                self._keep_the_one_before()
                picture.write(self._lives)
                self._lives_sequence = picture.sequence
                self._lives_are_good = True
            except (TidebookError, OSError) as error:
                log.warning("lives of orders are not kept; the next start reads more of `orders`", reason=str(error))

    def _keep_the_one_before(self) -> None:
        """Under its own name, as a second name of the same file: once the first commands are gone lives are nowhere else."""
        if self._lives_are_good and self._lives.exists():
            with replacing(self._lives_before) as staging:
                staging.unlink(missing_ok=True)
                staging.hardlink_to(self._lives)

    @property
    def failure(self) -> str | None:
        """Why the venue does not work, if it does not."""
        return self.engine.failure or self.follower.failure

    @property
    def away(self) -> str | None:
        """What keeps the engine from taking commands for a moment, if anything does: its process is started again, or it stands still."""
        away = self.engine.away if isinstance(self.engine, VenueEngineProcess) else None
        return away if away is not None or self._standstill is None else self._standstill.now

    @property
    def stands_still(self) -> bool:
        """Whether the engine is there and takes no commands."""
        return self._still() is not None

    def look(self) -> None:
        """Sees whether commands wait and none is taken; to be called some times a second, by one thread."""
        if self._standstill is not None:
            self._standstill.look(is_running=self.failure is None and self._is_there)

    @property
    def _is_there(self) -> bool:
        return not isinstance(self.engine, VenueEngineProcess) or self.engine.process is not None

    def _gone(self) -> str | None:
        return None if self._is_there else self.away

    def _still(self) -> str | None:
        return self.away if self._is_there else None

    def market_data(self) -> tuple[Path, Path]:
        """What a market data engine makes `md.*` of its instruments of: the journal of `orders`, and the file of their names."""
        return self.journal, self._names_file

    def shared_engine(self) -> VenueEngine | None:
        """The engine in whose thread market data takes turns; None where it has a thread of its own."""
        if isinstance(self.engine, VenueEngine) and self.engine.recovery["layout"] == "together":
            return self.engine
        return None

    def status(self) -> dict[str, Any]:
        """What the engine says of itself."""
        process = self.engine.process if isinstance(self.engine, VenueEngineProcess) else None
        found: dict[str, Any] = self.engine.status() | {"process": process, "away": self.away}
        return found

    def audit_status(self) -> dict[str, Any] | None:
        """What keeps the audit trail says of itself; None where nothing does."""
        return None if self.audit is None else msgspec.to_builtins(self.audit.status())

    @property
    def audit_failure(self) -> str | None:
        """Why nothing is added to the audit trail any more, if that is so."""
        status = None if self.audit is None else self.audit.status()
        return status.problem if status is not None and status.state == "failed" else None

    def guarantee(self) -> ChannelGuarantee:
        """What `orders` promises now."""
        status = self.engine.status()
        return ChannelGuarantee(
            channel=CHANNEL,
            guarantee=status["guarantee"] or "",
            published=status["sequence"],
            durable=status["durable"],
            replicas=0,
            stored=0,
            storing="none",
            failure=self.failure or (None if self.away is None else f"the engine {self.away}"),
        )

    def stop(self) -> None:
        """Ends the gateway's part, then the engine, with all that it was given judged and journaled."""
        if self._local is not None:
            self._local.close()
        if self.audit is not None and not self.audit.stop():
            log.warning("the audit trail's database did not answer; the next start goes on where its rows end")
        picture = None
        if self._followed is not None:
            picture = self._followed.picture()
            self._followed.close()
        ended = self.engine.stop()
        for follower in self._snapshots:
            if ended is not None:
                _snapshot_at(ended["sequence"], follower)
            follower.stop()
        # All that an engine told is on disk when it has ended well.
        if (
            picture is not None
            and self._lives_sequence != picture.sequence
            and (self._followed is not None and picture.sequence <= self._followed.synced)
        ):
            self._keep(picture)


def _engine(plan: VenuePlan, data: Path, journal: Path, rings: Path) -> VenueEngine | VenueEngineProcess:
    settings, where = plan.settings, plan.topology.venue
    asked = VenueEnginePlan(
        rings_dir=str(rings),
        journal_dir=str(journal),
        snapshots_dir=str(snapshots_directory(data)),
        layout=where if where in ("together", "fused", "split") else None,
        shards=settings.shards,
        wait=settings.wait,
        recheck=settings.recheck,
        age_max_s=settings.age_max_s,
        segment_size_bytes=plan.segment_size_bytes,
        closes_bars=settings.closes_bars,
    )
    return VenueEngineProcess(asked) if where == "process" else VenueEngine(**msgspec.structs.asdict(asked))


def _snapshot_at(sequence: int, snapshots: Follower) -> None:
    """One of where the venue has ended, if there is none yet: the next start has nothing to replay."""
    newest = snapshots.status["snapshot"]
    if sequence and (newest is None or newest["place"]["sequence"] < sequence):
        try:
            snapshots.snapshot()
        except SnapshotError as error:
            log.warning("no snapshot at the end; the next start replays more of `orders`", reason=str(error))


def _tell_snapshot(event: str, facts: dict[str, Any]) -> None:
    """A snapshot that cannot be taken costs only time at the next start: it is told, and tried again."""
    if event == "snapshot":
        taken = facts["snapshot"]
        log.info("snapshot", path=str(taken["path"]), size_bytes=taken["size_bytes"], took_s=round(facts["took_s"], 3))
    elif event == "snapshot_failed":
        log.warning("no snapshot", channel=CHANNEL, reason=facts["problem"])
    elif event == "lagging":
        log.warning("snapshots are behind the journal", channel=CHANNEL, lag_count=facts["lag_count"])


def _audit(plan: VenuePlan, data: Path, journal: Path, rings: Path) -> AuditEngine | AuditProcess:
    url = plan.audit_url or ""
    if plan.topology.audit == "process":
        return AuditProcess(data, url=url, journal=journal, rings=rings)
    return AuditEngine(data, url=url, journal=journal, channel=lambda: open_channel(CHANNEL, directory=rings))

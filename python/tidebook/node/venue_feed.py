"""One venue's feed in a node: its raw capture, what stores it, the connector that fills it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidebook._core import FeedChannel, JournalReader, unpack_message
from tidebook.errors import CaptureLogError, ConfigError
from tidebook.feeds.capture_log import CaptureLog
from tidebook.feeds.registry import build_connector, build_protocol, feed_kind
from tidebook.feeds.subscriptions import SubscriptionsFile
from tidebook.node.directory import (
    channel_of,
    holds_segments,
    journal_directory,
    simulated_marker,
    subscriptions_file,
)
from tidebook.node.snapshot_files import proven_durable
from tidebook.node.storing import Storing, stored_position
from tidebook.persistence.data_directory import make_directories
from tidebook.persistence.files import replace_durably

if TYPE_CHECKING:
    from pathlib import Path

    from tidebook.config.settings import FeedSettings
    from tidebook.feeds.connector import Connector
    from tidebook.feeds.protocol import Endpoints
    from tidebook.node.feed_snapshots import SnapshotOptions
    from tidebook.storage.follower import FollowerOptions
    from tidebook.storage.writer import WriterOptions


@dataclass(frozen=True, kw_only=True)
class FeedPlan:
    """What is wanted of one venue."""

    venue: str
    settings: FeedSettings
    symbols: tuple[str, ...] = ()
    """None named resumes those of the node that ran on the data directory before, else takes the venue's default."""

    def check(self) -> None:
        """Whether it can be. Raises: ConfigError for settings, keys or symbols that cannot be, before anything is made."""
        protocol = build_protocol(self.venue, self.settings)
        for symbol in self.symbols or self.settings.symbols:
            protocol.normal(symbol)

    def resolved_symbols(self, data: Path) -> tuple[str, ...]:
        """The symbols it will begin with; none where the last one was given up.

        Raises: SubscriptionsError for a damaged file.
        """
        if self.symbols or self.settings.symbols:
            return self.symbols or self.settings.symbols
        saved = SubscriptionsFile(subscriptions_file(data, self.venue)).load()
        return feed_kind(self.venue).default_symbols if saved is None else saved.symbols

    def given_up(self, data: Path) -> tuple[str, ...]:
        """Symbols of the last run that it will not go on with, since others are named.

        Raises: SubscriptionsError for a damaged file.
        """
        saved = SubscriptionsFile(subscriptions_file(data, self.venue)).load()
        normal = feed_kind(self.venue).protocol.normal
        named = {normal(symbol) for symbol in self.resolved_symbols(data)}
        return () if saved is None else tuple(symbol for symbol in saved.symbols if symbol not in named)


@dataclass(frozen=True, kw_only=True)
class FeedOptions:
    """What all feeds of a node share."""

    simulated: bool
    sync_interval_ms: int
    follower: FollowerOptions
    writer: WriterOptions
    snapshots: SnapshotOptions | None = None
    """When snapshots of what storage keeps are taken; None: never."""


class VenueFeed:
    """The open capture of one venue and its storage; `close` and `stop_storing` end them, in this order."""

    def __init__(self, plan: FeedPlan, data: Path, rings: Path, options: FeedOptions) -> None:
        """Opens the capture, recovering it first.

        What is stored and the newest snapshot prove what the journal has to have.
        Raises: ChannelError, JournalError and its kinds; SnapshotMismatchError for snapshots of another journal;
                CaptureLogError when a replay into its journal was interrupted; ConfigError when it would mix simulated
                messages with real ones.
        """
        self.plan = plan
        self.venue = plan.venue
        self.channel = channel_of(plan.venue)
        self.journal = journal_directory(data, self.channel)
        self._data = data
        _refuse_unfinished(self.journal)
        _mark_source(self.journal, simulated=options.simulated)
        self.capture = FeedChannel(
            self.channel,
            rings,
            self.journal,
            sync_interval_ms=options.sync_interval_ms,
            evidence=max(stored_position(data, self.channel), proven_durable(data, self.channel)),
        )
        self._last_ts_recv_ns = _last_ts_recv_ns(self.journal, self.capture)
        self.storing = Storing(
            data,
            plan.venue,
            self.journal,
            self.channel,
            options.follower,
            options.writer,
            snapshots=options.snapshots,
        )

    def connector(self, symbols: tuple[str, ...], endpoints: Endpoints | None) -> Connector:
        """The connector of this capture; `endpoints` replace the real venue's."""
        return build_connector(
            self.venue,
            self.plan.settings,
            self.capture,
            endpoints=endpoints,
            symbols=symbols,
            state_file=subscriptions_file(self._data, self.venue),
            last_ts_recv_ns=self._last_ts_recv_ns,
        )

    def stored(self) -> int:
        """Last message that is stored."""
        return stored_position(self._data, self.channel)


def _last_ts_recv_ns(journal: Path, capture: FeedChannel) -> int | None:
    """Receive time of the newest message; None of a capture that has none."""
    durable = int(capture.guarantee()["durable"])
    read = JournalReader(journal, from_sequence=durable).next(1) if durable else None
    return None if read is None else unpack_message(read[1][len(read[1]) - 1])[0]


def _refuse_unfinished(journal: Path) -> None:
    """Raises: CaptureLogError when live messages would come between those of a recording."""
    recording = CaptureLog(journal).unfinished
    if recording is not None:
        raise CaptureLogError(
            f"{journal}: the replay of {recording.name} was interrupted; finish it first (tidebook replay with the same "
            "--data), or run on another data directory"
        )


def _mark_source(journal: Path, *, simulated: bool) -> None:
    """Simulated messages never stand among real ones: they carry the names of real instruments.

    Raises: ConfigError when the journal holds the other kind.
    """
    marker = simulated_marker(journal)
    if marker.exists():
        if not simulated:
            raise ConfigError(
                f"{journal} holds messages of a simulated venue; name another --data for real ones", key="data"
            )
    elif simulated:
        if holds_segments(journal):
            raise ConfigError(
                f"{journal} holds recorded messages; name another --data for simulated venues, or add --live",
                key="data",
            )
        make_directories(journal)
        replace_durably(marker, b"messages of a simulated venue\n")

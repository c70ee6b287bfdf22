"""What a node adds to `/metrics`: how far captures, storage and the engine are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from tidebook.node.engine_process import EngineProcess
from tidebook.node.status import age_s

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from tidebook.analytics import AnalyticsStatus
    from tidebook.node.hosted_venue import HostedVenue
    from tidebook.node.maintenance import Maintenance
    from tidebook.node.market_data_process import MarketData
    from tidebook.node.venue_feed import VenueFeed

# A core's histogram has buckets 6 % wide; one that lies across a bound counts above it.
_LATENCY_BOUNDS_NS = tuple(step * 10**power for power in range(2, 10) for step in (1, 2, 5))


def node_metrics(feeds: Sequence[VenueFeed], engine: MarketData) -> Iterator[Metric]:
    """Read now."""
    published = CounterMetricFamily("tidebook_capture_published", "Last message of the capture.", labels=["venue"])
    durable = CounterMetricFamily("tidebook_capture_durable", "Last message that is on disk.", labels=["venue"])
    stored = CounterMetricFamily("tidebook_storage_stored", "Last message whose rows are stored.", labels=["venue"])
    failed = GaugeMetricFamily("tidebook_storage_failed", "1 when storing has stopped.", labels=["venue"])
    stalled = GaugeMetricFamily(
        "tidebook_storage_stalled", "1 while storing waits for disk space or file descriptors.", labels=["venue"]
    )
    behind = GaugeMetricFamily(
        "tidebook_storage_behind", "Messages on disk that are not yet taken in to be stored.", labels=["venue"]
    )
    for feed in feeds:
        guarantee = feed.capture.guarantee()
        published.add_metric([feed.venue], guarantee["published"])
        durable.add_metric([feed.venue], guarantee["durable"])
        state = feed.storing.state
        stored.add_metric([feed.venue], state.stored)
        failed.add_metric([feed.venue], state.status == "failed")
        stalled.add_metric([feed.venue], state.status == "stalled")
        behind.add_metric([feed.venue], state.behind(guarantee["durable"]))
    yield from (published, durable, stored, failed, stalled, behind)
    status = engine.status()
    yield CounterMetricFamily(
        "tidebook_engine_messages", "Feed messages taken in, history included.", status["messages"]
    )
    yield CounterMetricFamily("tidebook_engine_records", "Records published.", status["published"])
    yield GaugeMetricFamily("tidebook_engine_live", "1 when history is done.", status["live"])
    if isinstance(engine, EngineProcess):
        yield GaugeMetricFamily(
            "tidebook_engine_away",
            "1 while the process of the market data engine is started again, or says nothing.",
            int(engine.away is not None),
        )
        yield CounterMetricFamily("tidebook_engine_starts", "Times that process was started again.", engine.starts)
    yield from _health(status["feeds"])
    yield _latency(engine.latency())


def maintenance_metrics(maintenance: Maintenance) -> Iterator[Metric]:
    """As of its last look."""
    upkeep = maintenance.upkeep
    yield GaugeMetricFamily("tidebook_data_free_bytes", "Free on the disk of the data directory.", upkeep.free_bytes)
    yield GaugeMetricFamily("tidebook_data_nearly_full", "1 when that disk is nearly full.", int(upkeep.nearly_full))
    size = GaugeMetricFamily("tidebook_journal_size_bytes", "Bytes of a journal.", labels=["channel"])
    kept = GaugeMetricFamily(
        "tidebook_journal_over_threshold",
        "1 while a journal is above compaction_threshold and may not be shortened.",
        labels=["channel"],
    )
    compactions = CounterMetricFamily(
        "tidebook_journal_compactions", "Times old segments of a journal were removed.", labels=["channel"]
    )
    removed = CounterMetricFamily("tidebook_journal_removed_bytes", "Bytes of those.", labels=["channel"])
    failures = CounterMetricFamily(
        "tidebook_journal_maintenance_failures", "Times the upkeep of a journal failed.", labels=["channel"]
    )
    for channel, journal in maintenance.journals.items():
        size.add_metric([channel], journal.size_bytes)
        kept.add_metric([channel], bool(journal.kept_by))
        compactions.add_metric([channel], journal.compactions)
        removed.add_metric([channel], journal.removed_bytes)
        failures.add_metric([channel], journal.failures)
    snapshot = GaugeMetricFamily(
        "tidebook_snapshot_age_seconds", "Since the newest verified snapshot was taken.", labels=["channel"]
    )
    checkpoint = GaugeMetricFamily(
        "tidebook_checkpoint_age_seconds", "Since a reader last stored a checkpoint or cursor.", labels=["channel"]
    )
    for channel, ages in maintenance.ages.items():
        for family, since_ns in ((snapshot, ages.snapshot_ns), (checkpoint, ages.checkpoint_ns)):
            if since_ns is not None:
                family.add_metric([channel], age_s(since_ns))
    yield from (size, kept, compactions, removed, failures, snapshot, checkpoint)


def venue_metrics(venue: HostedVenue) -> Iterator[Metric]:
    """Of the node's own venue and its gateway."""
    lives, follower = venue.follower.lives, venue.follower
    yield CounterMetricFamily("tidebook_venue_commands", "Last command of `orders`.", follower.sequence)
    yield CounterMetricFamily("tidebook_venue_durable", "Last command of `orders` that is on disk.", follower.durable)
    yield GaugeMetricFamily("tidebook_venue_open_orders", "Open orders of all accounts.", lives.open_count())
    yield GaugeMetricFamily("tidebook_venue_waiting", "Commands handed over and not judged yet.", follower.waiting)
    yield GaugeMetricFamily("tidebook_venue_killed", "1 while trading of all is off.", int(0 in lives.killed))
    yield GaugeMetricFamily(
        "tidebook_venue_margin_calls",
        "Margin calls that stand, of each account one for each asset.",
        len(follower.venue.margin_calls()),
    )
    yield GaugeMetricFamily(
        "tidebook_venue_clock_ahead_seconds",
        "How far the venue's time is ahead of the machine's clock, which was set back.",
        venue.status()["ahead_ns"] / 1e9,
    )
    yield GaugeMetricFamily(
        "tidebook_venue_away",
        "1 while the venue's engine takes no commands: its process is started again, or it stands still.",
        int(venue.away is not None),
    )
    if isinstance(venue.engine, EngineProcess):
        yield CounterMetricFamily(
            "tidebook_venue_engine_starts", "Times that process was started again.", venue.engine.starts
        )
    requests = CounterMetricFamily(
        "tidebook_venue_requests", "Requests to the gateway, by what came of them.", labels=["outcome"]
    )
    for outcome in ("done", "refused", "repeated", "conflict", "overload", "unconfirmed"):
        requests.add_metric([outcome], venue.desk.counts[outcome])
    yield requests
    latency = HistogramMetricFamily(
        "tidebook_venue_latency_seconds", "How long commands took for a part of their way.", labels=["stage"]
    )
    for stage, histogram in venue.engine.latency().items():
        latency.add_metric([stage], _bounds(histogram), histogram["sum_ns"] / 1e9)
    yield latency
    if venue.audit is not None:
        audit = venue.audit.status()
        yield CounterMetricFamily("tidebook_audit_commands", "Last command whose rows are committed.", audit.sequence)
        for state, said in (
            ("waiting", "1 while the audit trail's database is not to be had."),
            ("failed", "1 when nothing is added to the audit trail any more."),
        ):
            yield GaugeMetricFamily(f"tidebook_audit_{state}", said, int(audit.state == state))


def analytics_metrics(status: AnalyticsStatus) -> Iterator[Metric]:
    """As it says now."""
    yield CounterMetricFamily("tidebook_analytics_records", "Windows published.", status.records)
    yield CounterMetricFamily(
        "tidebook_analytics_missed", "Records of market data overwritten before they were read.", status.missed
    )
    for state, said in (
        ("following", "1 while windows are made."),
        ("failed", "1 when no windows are made any more."),
    ):
        yield GaugeMetricFamily(f"tidebook_analytics_{state}", said, int(status.state == state))


def _health(feeds: dict[str, dict[str, Any]]) -> Iterable[Metric]:
    """What the newest record of `md.health` of each feed says."""
    rate = GaugeMetricFamily("tidebook_feed_message_rate", "Messages a second over the last one.", labels=["venue"])
    lag = GaugeMetricFamily(
        "tidebook_feed_lag_seconds", "Receive time minus the venue's over the last second.", labels=["venue", "of"]
    )
    offset = GaugeMetricFamily(
        "tidebook_feed_clock_offset_seconds",
        "Our clock minus the venue's, the shortest way included.",
        labels=["venue"],
    )
    sessions = GaugeMetricFamily("tidebook_feed_sessions", "Sessions that are open.", labels=["venue"])
    for venue, feed in feeds.items():
        health = feed["health"]
        if health is None:
            continue
        rate.add_metric([venue], health["messages"] * 1e9 / health["interval_ns"])
        for of in ("min", "mean", "max"):
            if health[f"lag_{of}_ns"] is not None:
                lag.add_metric([venue, of], health[f"lag_{of}_ns"] / 1e9)
        offset.add_metric([venue], health["clock_offset_ns"] / 1e9)
        sessions.add_metric([venue], health["connections"])
    return (rate, lag, offset, sessions)


def _latency(feeds: dict[str, dict[str, dict[str, Any]]]) -> Metric:
    """Histograms by venue and stage, in the buckets of `_LATENCY_BOUNDS_NS`."""
    metric = HistogramMetricFamily(
        "tidebook_latency_seconds", "How long live messages took for a part of their way.", labels=["venue", "stage"]
    )
    for venue, stages in feeds.items():
        for stage, histogram in stages.items():
            metric.add_metric([venue, stage], _bounds(histogram), histogram["sum_ns"] / 1e9)
    return metric


def _bounds(histogram: dict[str, Any]) -> list[tuple[str, float]]:
    """What is not above each bound of `_LATENCY_BOUNDS_NS`, and all of it."""
    bounds = [
        (str(bound / 1e9), sum(count for upper, count in histogram["buckets"] if upper <= bound))
        for bound in _LATENCY_BOUNDS_NS
    ]
    return [*bounds, ("+Inf", histogram["count"])]

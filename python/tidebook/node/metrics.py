"""What a node adds to `/metrics`: how far captures, storage and the engine are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tidebook._core import MarketDataEngine
    from tidebook.node.venue_feed import VenueFeed


def node_metrics(feeds: Sequence[VenueFeed], engine: MarketDataEngine) -> Iterator[Metric]:
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

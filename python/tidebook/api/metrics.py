"""`/metrics`: what a node counts, in Prometheus' text form.

Values are read when they are asked for, from what the view, the hub and the node count anyway: being watched costs
nothing between two scrapes. Names follow Prometheus' rules: base units, `_total` for what only rises.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from tidebook.api.hub import Hub
from tidebook.api.view import MarketView

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

MoreMetrics = Callable[[], Iterable[Metric]]

# Attribute of `wire.Feed` -> name and help of what only rises.
_COUNTERS: Final = {
    "messages": ("messages", "Feed messages that records were derived from."),
    "gaps": ("gaps", "Holes in depth or trades."),
    "resyncs": ("resyncs", "Snapshots of books that had been in use."),
    "quarantined": ("quarantined_frames", "Frames that could not be decoded."),
    "checks_failed": ("failed_checks", "Checksums, oracles and crossed books."),
    "reconnects": ("disconnects", "Sessions that ended."),
    "missed_records": ("missed_records", "Records this process was too slow to read."),
}
# Attribute in microseconds -> name and help.
_TIMES: Final = {
    "age_us": ("age_seconds", "Time since the newest message was received."),
    "delay_us": ("delay_seconds", "From receipt to this process, median of the newest batch."),
    "venue_delay_us": ("venue_delay_seconds", "Our clock at receipt minus the venue's: way and clock offset together."),
}


def exposition(view: MarketView, hub: Hub, more: MoreMetrics) -> bytes:
    """The whole page; `more` gives what the node adds."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(view, hub, more))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, view: MarketView, hub: Hub, more: MoreMetrics) -> None:
        self._view = view
        self._hub = hub
        self._more = more

    def collect(self) -> Iterator[Metric]:
        yield from _feeds(self._view)
        yield from _hub(self._hub)
        yield from self._more()


def _feeds(view: MarketView) -> Iterator[Metric]:
    feeds = view.health()
    for attribute, (name, text) in _COUNTERS.items():
        counter = CounterMetricFamily(f"tidebook_feed_{name}", text, labels=["venue"])
        for feed in feeds:
            counter.add_metric([feed.venue], getattr(feed, attribute))
        yield counter
    for attribute, (name, text) in _TIMES.items():
        gauge = GaugeMetricFamily(f"tidebook_feed_{name}", text, labels=["venue"])
        for feed in feeds:
            value = getattr(feed, attribute)
            if value is not None:
                gauge.add_metric([feed.venue], value / 1e6)
        yield gauge
    states = GaugeMetricFamily("tidebook_feed_state", "1 for the state the feed is in.", labels=["venue", "state"])
    books = GaugeMetricFamily("tidebook_feed_books_usable", "Books that may be used.", labels=["venue"])
    instruments = GaugeMetricFamily("tidebook_feed_instruments", "Instruments seen.", labels=["venue"])
    for feed in feeds:
        states.add_metric([feed.venue, feed.state], 1)
        books.add_metric([feed.venue], feed.books_usable)
        instruments.add_metric([feed.venue], feed.instruments)
    yield from (states, books, instruments)


def _hub(hub: Hub) -> Iterator[Metric]:
    yield GaugeMetricFamily("tidebook_hub_clients", "WebSocket clients.", hub.clients)
    yield CounterMetricFamily("tidebook_hub_frames_encoded", "Frames turned into JSON.", hub.counters.encoded)
    yield CounterMetricFamily("tidebook_hub_frames_offered", "Frames put into mailboxes.", hub.counters.offered)
    yield CounterMetricFamily("tidebook_hub_slow_consumers", "Clients closed as too slow.", hub.counters.slow_consumers)

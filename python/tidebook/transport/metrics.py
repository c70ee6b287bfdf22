"""Channels for Prometheus, read from shared memory when they are asked for.

    from prometheus_client import REGISTRY, start_http_server
    from tidebook.transport.metrics import ChannelCollector

    REGISTRY.register(ChannelCollector())
    start_http_server(9100, addr="127.0.0.1")

Being watched costs the channels nothing: every number stands in the ring anyway, and a collector only reads it. What each
metric says: `docs/metrics.md`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from tidebook.errors import TidebookError
from tidebook.transport.view import ChannelFile, ChannelView, channel_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from prometheus_client.core import Metric

_CHANNEL: Final = ["node", "channel"]
_CONSUMER: Final = [*_CHANNEL, "consumer"]
# Every bucket of a ring ends at one of these or halfway between two: nothing is counted on the wrong side. 64 ns to 17 s.
_BOUNDS_NS: Final = tuple(1 << power for power in range(6, 35))


class ChannelCollector(Collector):
    """All channels of a node, or of all nodes of this user."""

    def __init__(self, *, node: str | None = None, root: Path | None = None) -> None:
        """`root` replaces `$TIDEBOOK_RINGS` or `/dev/shm/tidebook-<uid>`, the directory of all nodes."""
        self._node = node
        self._root = root
        self._views: dict[ChannelFile, ChannelView] = {}

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are known without looking."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Read now; a channel that cannot be read is counted and left out."""
        families = _Families()
        files = channel_files(self._root, node=self._node)
        for file in files:
            try:
                view = self._view(file)
                families.add(file, view.info, view.status())
            except (TidebookError, OSError):
                self._views.pop(file, None)
                families.unreadable.add_metric([file.node, file.name], 1)
        for gone in self._views.keys() - set(files):
            del self._views[gone]
        yield from families.all()

    def _view(self, file: ChannelFile) -> ChannelView:
        """The view opened at an earlier time, unless the ring was made anew since."""
        view = self._views.get(file)
        if view is None or not view.ring.has_name():
            # Whoever could write it: `tidebook channel doctor` says so, a scrape shows what is there.
            view = self._views[file] = ChannelView(file, allow_others=True)
        return view


class _Families:
    """The metrics, as they fill."""

    def __init__(self) -> None:
        def counter(name: str, text: str, labels: list[str] = _CHANNEL) -> CounterMetricFamily:
            return CounterMetricFamily(f"tidebook_channel_{name}", text, labels=labels)

        def gauge(name: str, text: str, labels: list[str] = _CHANNEL) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"tidebook_channel_{name}", text, labels=labels)

        self.info = gauge("info", "1; what it was made as.", [*_CHANNEL, "kind", "mode", "schema"])
        self.size = gauge("size_bytes", "Bytes of shared memory.")
        self.published = counter("published", "Last committed sequence.")
        self.written = counter("written_bytes", "Bytes of the ring that were written, headers included.")
        self.durable = counter("durable", "Last sequence that is on disk; of durable channels.")
        self.occupancy = gauge(
            "occupancy_ratio", "Part of the ring the slowest consumer waited for has not read; at 1 producers wait."
        )
        self.producers = gauge("producers", "Producers that are open.")
        self.stuck = gauge("stuck", "1 while a claim that is not committed keeps readers from going on.")
        self.waits = counter("producer_waits", "Times a producer found no room.")
        self.waited = counter("producer_waited_seconds", "How long producers waited for room, waits that are over.")
        self.repaired = counter("repaired_claims", "Claims of dead producers that were voided.")
        self.detached = counter("detached_consumers", "Times a dead consumer was given up.")
        self.alive = gauge("consumer_open", "1 while a process has the consumer open.", _CONSUMER)
        self.lag = gauge("consumer_lag_records", "Committed messages it has not consumed.", _CONSUMER)
        self.gaps = counter("consumer_gaps", "Gaps it was told of.", _CONSUMER)
        self.lost = counter("consumer_lost", "Messages in those gaps.", _CONSUMER)
        self.corrupt = counter("consumer_corrupt", "Damaged messages it met.", _CONSUMER)
        self.latency = HistogramMetricFamily(
            "tidebook_channel_consumer_latency_seconds",
            "From commit to being read, of one message in 256.",
            labels=_CONSUMER,
        )
        self.unreadable = gauge("unreadable", "1 for a ring that cannot be opened.")

    def all(self) -> Iterator[Metric]:
        """In the order of `__init__`."""
        yield from vars(self).values()

    def add(self, file: ChannelFile, info: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        labels = [file.node, file.name]
        schema = info["schema"]
        self.info.add_metric([*labels, info["kind"], info["mode"], schema[0] if schema else ""], 1)
        self.size.add_metric(labels, info["file_size_bytes"])
        self.published.add_metric(labels, status["published"])
        self.written.add_metric(labels, status["written"] * (info["stride"] or 1))
        if info["visible_durable"]:
            self.durable.add_metric(labels, status["durable"])
        self.occupancy.add_metric(labels, status["unread"] / info["capacity"])
        self.producers.add_metric(labels, sum(one["alive"] for one in status["producers"]))
        self.stuck.add_metric(labels, status["stuck"] is not None)
        self.waits.add_metric(labels, sum(one["waits"] for one in status["producers"]))
        self.waited.add_metric(labels, sum(one["waited_ns"] for one in status["producers"]) / 1e9)
        self.repaired.add_metric(labels, status["repairs"]["claims"])
        self.detached.add_metric(labels, status["repairs"]["detached"])
        for one in status["consumers"]:
            # Those without a name have a line each, so that no two are one series.
            self._add_consumer([*labels, one["name"] or f"#{one['line']}"], one)

    def _add_consumer(self, labels: list[str], one: Mapping[str, Any]) -> None:
        self.alive.add_metric(labels, one["alive"])
        self.lag.add_metric(labels, one["lag"])
        self.gaps.add_metric(labels, one["gaps"])
        self.lost.add_metric(labels, one["lost"])
        self.corrupt.add_metric(labels, one["corrupt"])
        counts = Counter(dict(one["latency"]))
        buckets = [
            (str(bound / 1e9), sum(count for end, count in counts.items() if end <= bound)) for bound in _BOUNDS_NS
        ]
        self.latency.add_metric(labels, [*buckets, ("+Inf", counts.total())], one["latency_sum_ns"] / 1e9)

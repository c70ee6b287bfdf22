"""How a channel does: two looks at its numbers, and what happened between them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tidebook.transport.view import ChannelView


@dataclass(frozen=True)
class Sample:
    """A channel at one moment."""

    at: float
    """Seconds of the monotonic clock."""
    status: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ConsumerRates:
    """A consumer between two samples."""

    line: int
    name: str
    state: str
    alive: bool
    process_id: int
    lag: int
    messages_per_s: float
    gaps: int
    lost: int
    corrupt: int
    """These three since it first had its name."""
    p50_ns: int | None
    p99_ns: int | None
    """From commit to being read, of one message in 256; the upper end of a bucket half an octave wide. None: none was measured."""


@dataclass(frozen=True, kw_only=True)
class ChannelRates:
    """A channel between two samples."""

    published: int
    messages_per_s: float
    bytes_per_s: float
    """Of the ring, headers included."""
    occupancy: float
    """Part of the ring that the slowest consumer waited for has not read: at 1 producers wait."""
    producers: int
    waits: int
    waited_s: float
    """Of producers, since the ring was made."""
    waiting: float
    """Part of the time between the samples that producers waited, together; waits that are over."""
    gaps: int
    lost: int
    repaired: int
    """Claims of dead producers that were voided."""
    consumers: tuple[ConsumerRates, ...]

    @property
    def worst_lag(self) -> int | None:
        """Of consumers that are open or waited for; None without any."""
        lags = [consumer.lag for consumer in self.consumers if consumer.alive or consumer.state == "gating"]
        return max(lags, default=None)


def sample(view: ChannelView) -> Sample:
    """How it stands now."""
    return Sample(time.monotonic(), view.status())


def rates(view: ChannelView, before: Sample, now: Sample) -> ChannelRates:
    """What happened between two samples of one channel; latencies are of all time where none was measured between them."""
    old, new = before.status, now.status
    seconds = max(now.at - before.at, 1e-9)
    waited = _waited_s(new)
    # A line that was given to another consumer has other counters.
    known = {(one["line"], one["name"], one["process_id"]): one for one in old["consumers"]}
    consumers = []
    for one in new["consumers"]:
        earlier = known.get((one["line"], one["name"], one["process_id"]))
        counts = Counter(dict(one["latency"]))
        fresh = counts - Counter(dict(earlier["latency"])) if earlier else counts
        consumers.append(
            ConsumerRates(
                line=one["line"],
                name=one["name"],
                state=one["state"],
                alive=one["alive"],
                process_id=one["process_id"],
                lag=one["lag"],
                messages_per_s=max(0, one["next"] - earlier["next"]) / seconds if earlier else 0.0,
                gaps=one["gaps"],
                lost=one["lost"],
                corrupt=one["corrupt"],
                p50_ns=quantile(fresh or counts, 0.5),
                p99_ns=quantile(fresh or counts, 0.99),
            )
        )
    return ChannelRates(
        published=new["published"],
        messages_per_s=max(0, new["published"] - old["published"]) / seconds,
        bytes_per_s=max(0, new["written"] - old["written"]) * view.unit_size_bytes / seconds,
        occupancy=new["unread"] / view.info["capacity"],
        producers=sum(one["alive"] for one in new["producers"]),
        waits=sum(one["waits"] for one in new["producers"]),
        waited_s=waited,
        waiting=max(0.0, waited - _waited_s(old)) / seconds,
        gaps=sum(one["gaps"] for one in new["consumers"]),
        lost=sum(one["lost"] for one in new["consumers"]),
        repaired=new["repairs"]["claims"],
        consumers=tuple(consumers),
    )


def quantile(counts: Mapping[int, int], part: float) -> int | None:
    """The end of the bucket that holds this part of the counts, which are by the ends of their buckets; None of none."""
    total = sum(counts.values())
    seen = 0
    for end, count in sorted(counts.items()):
        seen += count
        if count and seen >= part * total:
            return end
    return None


def _waited_s(status: Mapping[str, Any]) -> float:
    return float(sum(one["waited_ns"] for one in status["producers"]) / 1e9)

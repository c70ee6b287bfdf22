"""Channels for Prometheus: what a scrape says is what stands in the rings."""

import re
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

import tidebook as tb
from tidebook.transport.metrics import ChannelCollector

TICK = np.dtype([("price", "<i8"), ("size", "<i8")])


def scraped(collector: ChannelCollector) -> dict[str, float]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    assert len(lines) == len({line.rpartition(" ")[0] for line in lines}), "a series twice"
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def key(name: str, channel: str, consumer: str | None = None, **more: str) -> str:
    labels = {"channel": channel, "node": "desk", **({"consumer": consumer} if consumer else {}), **more}
    text = ",".join(f'{label}="{labels[label]}"' for label in sorted(labels))
    return f"tidebook_channel_{name}{{{text}}}"


def test_a_scrape_says_what_stands_in_the_rings(rings: Path) -> None:
    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK, buffer_size=1 << 15), directory=rings / "desk")
    capacity = channel.ring.capacity
    collector = ChannelCollector(root=rings)
    lossy = tb.open_consumer(channel, "lossy", policy="overwrite", start="earliest")
    with tb.open_producer(channel) as producer, lossy, tb.open_consumer(channel, start="earliest") as unnamed:
        producer.write_batch(np.zeros(capacity, TICK))
        assert isinstance(producer.write_batch(np.zeros(5, TICK), timeout=0.01), tb.Full)
        while (batch := unnamed.poll_batch(capacity)) is not None:
            assert isinstance(batch, tb.Batch)
            batch.release()
        assert producer.write_batch(np.zeros(capacity, TICK)) == 2 * capacity
        gap = lossy.poll_batch()
        assert isinstance(gap, tb.Gap)
        found = scraped(collector)
        status = channel.status()
        assert found[key("published_total", "ticks")] == 2 * capacity
        assert found[key("written_bytes_total", "ticks")] == 2 * capacity * channel.ring.slot[1]
        assert found[key("occupancy_ratio", "ticks")] == 1
        assert found[key("producers", "ticks")] == 1
        assert found[key("producer_waits_total", "ticks")] == status["producers"][0]["waits"] > 0
        assert found[key("producer_waited_seconds_total", "ticks")] > 0
        assert found[key("consumer_lag_records", "ticks", "#1")] == capacity
        assert found[key("consumer_gaps_total", "ticks", "lossy")] == 1
        assert found[key("consumer_lost_total", "ticks", "lossy")] == gap.count
        assert found[key("info", "ticks", kind="slots", mode="spsc", schema="ticks")] == 1
        assert key("durable_total", "ticks") not in found, "it is no durable channel"
        latency = dict(status["consumers"][1]["latency"])
        assert found[key("consumer_latency_seconds_count", "ticks", "#1")] == sum(latency.values()) > 0
        assert found[key("consumer_latency_seconds_bucket", "ticks", "#1", le="+Inf")] == sum(latency.values())
        for power in (6, 20, 34):
            below = sum(count for end, count in latency.items() if end <= 1 << power)
            assert found[key("consumer_latency_seconds_bucket", "ticks", "#1", le=str((1 << power) / 1e9))] == below


def test_rings_that_come_go_and_cannot_be_read_are_told(rings: Path) -> None:
    (rings / "desk").mkdir(mode=0o700)
    collector = ChannelCollector(root=rings)
    assert scraped(collector) == {}
    for count in (3, 1):
        with tb.open_producer(tb.create_channel("ticks", directory=rings / "desk")) as producer:
            producer.write_batch([b"x"] * count)
        assert scraped(collector)[key("published_total", "ticks")] == count, "of the ring that is there now"
        tb.open_channel("ticks", directory=rings / "desk").remove()
    (rings / "desk" / "junk.ring").write_bytes(b"x" * 9000)
    found = scraped(collector)
    assert found == {key("unreadable", "junk"): 1}


def test_every_metric_is_on_the_page(rings: Path, root: Path) -> None:
    page = (root / "docs/metrics.md").read_text()
    described = set(re.findall(r"`(tidebook_channel_\w+)`", page))
    families = ChannelCollector(root=rings).collect()
    names = {f"{one.name}_total" if one.type == "counter" else one.name for one in families}
    assert names == described

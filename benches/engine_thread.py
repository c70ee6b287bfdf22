"""What the engine's thread spends on a message, and what counting latencies by stage and further feeds add.

Messages come from rings without a journal, as fast as they can be written, so every one of them is live; the time is
the thread's own on a core, which the machine's other work hardly changes. All variants take turns.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

from benches.harness import Bench, Sample, within
from tidebook._core import MarketDataEngine, Ring, RingProducer

RING_SIZE_BYTES = 1 << 26
STAGES_EVERY = 32
"""What an engine does unless it is told otherwise."""
FEEDS = ("binance", "binance-us")
"""Both speak the same dialect, so that the same messages can be given to one and to both."""


def engine_thread(bench: Bench, payloads: list[bytes], source: str) -> None:
    """The figures of this file, for the area `feeds`; `payloads` are messages of Binance spot."""
    variants = {
        "without latencies": (FEEDS[:1], 0),
        "one feed": (FEEDS[:1], STAGES_EVERY),
        "two feeds": (FEEDS, STAGES_EVERY),
    }
    spent: dict[str, list[float]] = {name: [] for name in variants}
    for round_index in range(bench.size(40, 2)):
        for name, (feeds, stages_every) in variants.items():
            value = thread_ns(feeds, stages_every, payloads) / (len(payloads) * len(feeds))
            if round_index > 0:
                spent[name].append(value)
    samples = {name: Sample.of(values, "ns") for name, values in spent.items()}
    ratios = [one / without for one, without in zip(spent["one feed"], spent["without latencies"], strict=True)]
    note = f"{len(payloads):,} messages of {source}; time of the thread on its core, all records published"
    bench.figure(
        "engine: a live message, latencies by stage on",
        samples["one feed"],
        peers={"without latencies": samples["without latencies"]},
        goals=[within(1.02, "without latencies")] if not bench.small else [],
        note=f"{note}; median of the ratios in each round {median(ratios):.3f}",
    )
    bench.figure(
        "engine: a live message of one of two feeds",
        samples["two feeds"],
        peers={"one feed": samples["one feed"]},
        note=f"{note}; each feed has all messages, turns of 64",
    )


def thread_ns(feeds: tuple[str, ...], stages_every: int, payloads: list[bytes]) -> int:
    """Ns on a core that an engine spends on `payloads` of each feed."""
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/dev/shm") as folder:
        directory = Path(folder)
        rings = {
            venue: Ring.create_frames(directory / f"feed.{venue}.ring", RING_SIZE_BYTES, parking=True)
            for venue in feeds
        }
        producers = [RingProducer(ring) for ring in rings.values()]
        engine = MarketDataEngine(dict.fromkeys(feeds, directory / "none"), directory, stages_every=stages_every)
        before = on_core_ns()
        for start in range(0, len(payloads), 512):
            for producer in producers:
                producer.write_messages(payloads[start : start + 512])
        while any(feed["sequence"] < len(payloads) for feed in engine.status()["feeds"].values()):
            time.sleep(0.001)
        spent = on_core_ns() - before
        status = engine.status()
        assert status["failure"] is None, status["failure"]
        engine.stop()
        for producer in producers:
            producer.close()
    return spent


def on_core_ns() -> int:
    """Time on a core of this process's engine threads since they began."""
    threads = (task for task in Path("/proc/self/task").iterdir() if (task / "comm").read_text() == "md-engine\n")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in threads)

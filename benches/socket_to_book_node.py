"""What `benches/socket_to_book.py` measures, and its peer, each as a process of its own.

`node PORT DIRECTORY WAIT` is the feed part of `tidebook run`: connector, capture with its journal, engine, `md.*`. The
receive time of each frame is replaced by the time its venue sent it, so that the engine's own histogram (receive time
to everything published) is the whole way. `peer PORT` is what a Python team writes first: the `websockets` client,
`json.loads`, the top of book in a dict.

Both print microseconds as JSON and end when their standard input closes.
"""

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path
from statistics import quantiles

import uvloop

from tidebook._core import FeedChannel, MarketDataEngine
from tidebook.config.settings import LogSettings
from tidebook.feeds.connector import Connector
from tidebook.feeds.line import ConnectorOptions
from tidebook.feeds.sink import MessageKind
from tidebook.feeds.venues.binance import Binance
from tidebook.node.snapshots import SnapshotRequests
from tidebook.observe.logs import configure

STREAMS = "btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms"
SENT = b'"ns":'


class SentTimeSink:
    """Writes to the feed with the time a frame was sent as its receive time."""

    def __init__(self, feed: FeedChannel) -> None:
        self._write = feed.write

    def write(self, ts_recv_ns: int, connection: int, kind: int, context: bytes, body: bytes) -> int:
        if kind == MessageKind.WS:
            ts_recv_ns = int(body[body.rindex(SENT) + len(SENT) : -2])
        return self._write(ts_recv_ns, connection, kind, context, body)


async def node(port: int, directory: Path, wait: str) -> None:
    rings, journal = directory / "rings", directory / "journal" / "feed.binance"
    rings.mkdir(mode=0o700)
    feed = FeedChannel("feed.binance", rings, journal)
    engine = MarketDataEngine({"binance": journal}, rings, wait=wait)
    options = ConnectorOptions(symbols=("BTCUSDT",))
    connector = Connector(Binance(Binance.local(port)), options, SentTimeSink(feed))
    jobs = [
        asyncio.create_task(connector.run()),
        asyncio.create_task(SnapshotRequests(rings, {"binance": connector}).run()),
    ]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    status = engine.status()
    assert status["failure"] is None, status["failure"]
    print(json.dumps({name: status[f"latency_{name}_ns"] / 1e3 for name in ("p50", "p99")}), flush=True)
    engine.stop()
    feed.close()


async def peer(port: int) -> None:
    from websockets.asyncio.client import connect

    took: list[float] = []
    book: dict[str, tuple[str, str, str, str]] = {}

    async def read() -> None:
        async with connect(f"ws://127.0.0.1:{port}/stream?streams={STREAMS}", compression=None) as socket:
            async for text in socket:
                frame = json.loads(text)
                data = frame["data"]
                if frame["stream"].endswith("@bookTicker"):
                    book[data["s"]] = (data["b"], data["B"], data["a"], data["A"])
                    took.append((time.time_ns() - data["ns"]) / 1e3)

    job = asyncio.create_task(read())
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    job.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await job
    cuts = quantiles(took, n=100)
    print(json.dumps({"p50": cuts[49], "p99": cuts[98]}), flush=True)


if __name__ == "__main__":
    configure(LogSettings(level="warning"))
    role, port, *rest = sys.argv[1:]
    work = node(int(port), Path(rest[0]), rest[1]) if role == "node" else peer(int(port))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as `tidebook run` does; the peer has it too
        runner.run(work)

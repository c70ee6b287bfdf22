"""The server that `benches/api.py` measures, in a process of its own so that its CPU can be read alone.

`--mode hub` is the real API, `--mode page` the same with all levels and bars of the market, as a book's page looks at them.
`--mode per-client` is what a web framework's manual shows: each WebSocket has a loop that
builds the same depth and calls `send_json`; and a route that returns a dict. Both read the same view, fed with the same
books, made beforehand so that making them costs neither.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from tests.market import LISTINGS, ClosedBars, Depths, SyntheticMarket
from tidebook.api import ApiOptions, Batch, MarketView, create_app, listen, serving
from tidebook.api.topics import DEPTH_LEVELS

RATE_HZ = 20
POLL_MS = 12
STEPS = 200
INSTRUMENT = LISTINGS[0].symbol
PAGE_KINDS = ("depth20", "trade", "outages", "kline_1m", "depth20_step_0.5", "depth100_step_2")
"""Streams that a book's page subscribes to with groups in its ladder."""


@dataclass
class PreparedSource:
    """Plays the same books round and round at `RATE_HZ`, stamped with the time at which each is due."""

    whole: bool = False
    """With depth records and bars."""
    _definitions: list[Batch] = field(init=False)
    _bars: ClosedBars = field(default_factory=ClosedBars)
    _steps: list[list[Batch]] = field(init=False)
    _at: int = 0
    _due_ns: int = field(default_factory=time.time_ns)

    def __post_init__(self) -> None:
        market = SyntheticMarket(seed=7, listings=LISTINGS[:1])
        self._definitions = [market.definitions(time.time_ns())]
        self._steps = [list(market.step(time.time_ns())) for _ in range(STEPS)]
        if self.whole:
            depths = Depths()
            for step in self._steps:
                images = [batch.records for batch in step if batch.channel == "md.book"]
                step[:0] = [depths.of(image) for image in images]
            # The snapshot comes once; the books that go round are changes only.
            self._definitions.insert(0, self._steps[0].pop(0))

    def poll(self) -> Iterator[Batch]:
        while self._definitions:
            yield self._definitions.pop()
        while self._due_ns <= time.time_ns():
            trades = None
            for batch in self._steps[self._at % STEPS]:
                batch.records["ts_recv"] = self._due_ns
                if batch.channel == "md.trades":
                    batch.records["ts_event"] = self._due_ns
                    trades = batch.records
                yield batch
            if self.whole:
                yield self._bars.of(trades, self._due_ns)
            self._at += 1
            self._due_ns += 1_000_000_000 // RATE_HZ


async def pump(view: MarketView, source: PreparedSource) -> None:
    """What feeds the view where there is no API of ours to do it."""
    while True:
        for batch in source.poll():
            view.feed(batch.channel, batch.records)
        await asyncio.sleep(POLL_MS / 1000)


def per_client_app(view: MarketView) -> FastAPI:
    app = FastAPI()

    def depth() -> dict[str, Any]:
        found = view.instrument(INSTRUMENT).depth(DEPTH_LEVELS)
        assert found is not None
        return asdict(found)

    @app.get("/api/v1/depth")
    async def rest(instrument: str, limit: int = 20) -> dict[str, Any]:  # noqa: ARG001 - the same address as ours
        return depth()

    @app.websocket("/ws/v1")
    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        seq = 0
        try:
            while True:
                seq += 1
                ts = time.time_ns() // 1000
                await socket.send_json(
                    {"stream": f"{INSTRUMENT.lower()}@depth20", "seq": seq, "ts": ts, "data": depth()}
                )
                await asyncio.sleep(1 / RATE_HZ)
        except WebSocketDisconnect:
            return

    return app


async def serve(mode: str) -> None:
    view, source = MarketView(["binance"]), PreparedSource(whole=mode == "page")
    sock = listen(port=0)
    feeding: asyncio.Task[None] | None = None
    if mode in ("hub", "page"):
        app = create_app(view, source, ApiOptions(poll_interval_ms=POLL_MS, publish_interval_ms=1000 // RATE_HZ))
    else:
        app = per_client_app(view)
        feeding = asyncio.create_task(pump(view, source))
    async with serving(app, sock):
        print(sock.getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    if feeding is not None:
        feeding.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=["hub", "page", "per-client"], required=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args().mode))


if __name__ == "__main__":
    main()

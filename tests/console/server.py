"""A node's face without a node: the real API and the built page over a seeded market, as a process of its own.

    python -m tests.console.server --port 8080 --seed 7

`--scene` chooses what the market does: `live` trades on, `many` has 500 instruments of three venues and one book in fifty
unusable, `empty` has no instruments, `stale` falls silent after it has shown something, `gap` stays without a usable
book. It is what the browser tests open, and kill.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import uvloop

from tests.market import LISTINGS, SyntheticMarket, many
from tidebook.api import Batch, MarketView, create_app, listen, serving
from tidebook.console import mount_console

STEP_NS = 40_000_000
WARM_STEPS = 700
MANY = 500
MANY_STEP_NS = 500_000_000
MANY_WARM_STEPS = 10
SILENT_AFTER_STEPS = 40


@dataclass
class SceneSource:
    """A record source that lets the market run on the wall clock."""

    scene: str
    seed: int
    _market: SyntheticMarket = field(init=False)
    _stepped_ns: int = 0
    _step_ns: int = STEP_NS
    _warm_steps: int = WARM_STEPS
    _steps: int = 0

    def __post_init__(self) -> None:
        crowd = self.scene == "many"
        self._market = SyntheticMarket(self.seed, many(MANY) if crowd else LISTINGS)
        self._step_ns, self._warm_steps = (MANY_STEP_NS, MANY_WARM_STEPS) if crowd else (STEP_NS, WARM_STEPS)
        # A market with some history, so that the first picture is not of its first second.
        self._stepped_ns = time.time_ns() - self._warm_steps * self._step_ns

    def poll(self) -> Iterator[Batch]:
        now = time.time_ns()
        if self.scene == "empty":
            return
        if self._steps == 0:
            yield self._market.definitions(self._stepped_ns)
        while self._stepped_ns + self._step_ns <= now:
            if self.scene == "stale" and self._steps > WARM_STEPS + SILENT_AFTER_STEPS:
                return
            self._stepped_ns += self._step_ns
            self._steps += 1
            for batch in self._market.step(self._stepped_ns):
                if self.scene == "gap" and batch.channel == "md.book":
                    batch.records["usable"] = 0
                if self.scene == "many" and batch.channel == "md.book":
                    batch.records["usable"] = batch.records["instrument_id"] % 50 != 49
                yield batch


async def serve(port: int, scene: str, seed: int) -> None:
    app = create_app(MarketView(["binance"]), SceneSource(scene, seed))
    mount_console(app)
    async with serving(app, listen(port=port)):
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--scene", choices=["live", "many", "empty", "stale", "gap"], default="live")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(arguments.port, arguments.scene, arguments.seed))


if __name__ == "__main__":
    main()

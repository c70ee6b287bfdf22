"""A process in which `orders` is written faster than it is synced, and what the gateway's follower and market data tell meanwhile.

    strace -f -e inject=fdatasync:delay_enter=500000 python -m tests.gateway.slow_disk DIRECTORY

The last line is JSON: `ahead`, how far the ring was beyond what was durable when it was full; `told`, the most that was told too much;
`seen`, the most that market data went ahead of what is durable; `turns`, how often another task ran before anything of that was synced; `durable`, what was told in the end.
"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np

from tidebook._core import MarketDataEngine
from tidebook.gateway.following import CHANNEL, OrdersFollower
from tidebook.gateway.lives import Lives
from tidebook.transport import create_channel, open_producer
from tidebook.venue import COMMAND, Venue, Verdict, timer

COMMANDS = 3_000
SLOTS = 256


def journaled() -> np.ndarray:
    """Commands as the engine writes them."""
    records = np.repeat(np.array([timer(1)], COMMAND), COMMANDS)
    records["ts"] = records["source_sequence"] = np.arange(1, COMMANDS + 1)
    records["verdict"] = Verdict.ACCEPTED
    return records


async def run(directory: Path) -> dict[str, int]:
    """Writes all at once and waits until it is durable."""
    options = {"schema": "commands", "buffer_size": SLOTS * COMMAND.itemsize, "durability": "wal"}
    channel = create_channel(CHANNEL, options | {"wal_dir": directory / "wal"}, directory=directory)
    with open_producer(channel) as producer:
        follower = OrdersFollower(directory, Venue(history=False), Lives(16))
        following = asyncio.create_task(follower.run())
        market_data = MarketDataEngine({}, directory, venue=(directory / "wal/orders", directory / "no-names.json"))

        def taken() -> int:
            sequence: int = market_data.status()["feeds"]["local"]["sequence"]
            return sequence

        await asyncio.sleep(0.1)
        for record in journaled():
            producer.write(record.tobytes())
        synced = channel.ring.durable
        ahead = channel.status()["oldest"] - 1 - synced
        waiting = asyncio.create_task(follower.wait_durable(COMMANDS))
        told, turns, seen = 0, 0, 0
        while not waiting.done() or taken() < COMMANDS:
            await asyncio.sleep(0.001)
            seen = max(seen, taken() - channel.ring.durable)
            told = max(told, follower.durable - channel.ring.durable)
            turns += channel.ring.durable == synced
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        follower.close()
        market_data.stop()
        return {"ahead": ahead, "told": told, "seen": seen, "turns": turns, "durable": follower.durable}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(Path(sys.argv[1])))))

"""A process in which `orders` is written faster than it is synced, and what the gateway's follower and market data tell meanwhile.

    strace -f -e inject=fdatasync:delay_enter=500000 python -m tests.gateway.slow_disk DIRECTORY

Every second order trades with the one before it, so that there is something to tell of each command. The last line is JSON: `ahead`, how
far the ring was beyond what was durable when it was full; `told`, the most that was told too much by the follower and `seen` by market
data; `turns`, how often another task ran before anything of that was synced; `durable`, what was told in the end; `trades` and
`executions`, how many trades market data and how many executions the follower told of.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.venue.market import ROOM, opening
from tidebook._core import MarketDataEngine
from tidebook.gateway.following import CHANNEL, OrdersFollower
from tidebook.gateway.lives import Lives
from tidebook.transport import Gap, create_channel, open_consumer, open_producer
from tidebook.venue import COMMAND, Side, Venue, commands, place

COMMANDS = 3_000
SLOTS = 256
NAMES = """{"format": "tidebook-venue-names", "version": 1, "assets": {"BTC": 1, "USD": 2}, "accounts": {},
 "instruments": {"BTC-USD.LOCAL": {"number": 1, "base": "BTC", "quote": "USD"}}}"""


def trading(count: int = COMMANDS) -> np.ndarray:
    """Commands as the engine writes them: a market is opened, and then one buys and another sells, again and again."""
    begin = opening(1)
    orders = [place(11, 1, Side.BUY, price=100, size=1), place(12, 1, Side.SELL, price=100, size=1)]
    asked = np.concatenate([begin, commands([orders[number % 2] for number in range(count - len(begin))])])
    asked["ts"] = np.arange(1, count + 1)
    done = Venue(**ROOM).submit(asked)
    assert done.accepted.all()
    records = done.commands.copy()
    records["source_sequence"] = np.arange(1, count + 1)
    return records


def trades_of(records: np.ndarray) -> int:
    """How many trades they lead to."""
    return (len(records) - len(opening(1))) // 2


async def run(directory: Path) -> dict[str, int]:
    """Writes all at once and waits until all of it is told."""
    options = {"schema": "commands", "buffer_size": SLOTS * COMMAND.itemsize, "durability": "wal"}
    channel = create_channel(CHANNEL, options | {"wal_dir": directory / "wal"}, directory=directory)
    (directory / "names.json").write_text(NAMES)
    journaled = trading()
    found = dict.fromkeys(("ahead", "told", "seen", "turns", "durable", "trades", "executions"), 0)
    with open_producer(channel) as producer:
        follower = OrdersFollower(directory, Venue(history=False, **ROOM), Lives(16))
        market_data = MarketDataEngine({}, directory, venue=(directory / "wal/orders", directory / "names.json"))

        def happened(executions: Any) -> None:
            found["executions"] += len(executions)
            found["told"] = max(found["told"], executions[-1].source_sequence - channel.ring.durable)

        follower.listen(happened)
        synced_at_first = 0

        async def trades() -> None:
            """Until the last one."""
            with open_consumer("md.trades", directory=directory, start="earliest", policy="overwrite") as consumer:
                async for taken in consumer:
                    assert not isinstance(taken, Gap), taken
                    with taken as batch:
                        last = int(batch.array["source_sequence"].max())
                        found["trades"] += len(batch.array)
                    found["seen"] = max(found["seen"], last - channel.ring.durable)
                    if found["trades"] >= trades_of(journaled):
                        return

        async def turns() -> None:
            while True:
                await asyncio.sleep(0.001)
                found["told"] = max(found["told"], follower.durable - channel.ring.durable)
                found["turns"] += channel.ring.durable == synced_at_first

        following = asyncio.create_task(follower.run())
        for record in journaled:
            producer.write(record.tobytes())
        synced_at_first = channel.ring.durable
        found["ahead"] = channel.status()["oldest"] - 1 - synced_at_first
        turning = asyncio.create_task(turns())
        await asyncio.gather(follower.wait_durable(COMMANDS), trades())
        found["durable"] = follower.durable
        for task in (following, turning):
            task.cancel()
        await asyncio.gather(following, turning, return_exceptions=True)
        follower.close()
        market_data.stop()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(Path(sys.argv[1])))))

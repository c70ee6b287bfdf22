"""`python -m tests.node.venue_day DIRECTORY TOPOLOGY SHARDS`: the venue of a node in a directory, served, whose journal is shortened all the while.

A program of its own, because it is killed. What a node does in minutes comes at once: snapshots, lives of orders, segments that are full.
Prints its address, and ends well when its input does.
"""

import asyncio
import contextlib
import sys
from pathlib import Path

from tests.api.conftest import HandFed
from tidebook.api import MarketView, create_app, listen, serving
from tidebook.config.settings import LogSettings, TopologySettings, VenueSettings
from tidebook.node.feed_snapshots import SnapshotOptions
from tidebook.node.hosted_venue import HostedVenue, VenuePlan
from tidebook.node.live import followed, order_entry
from tidebook.node.presence import owning
from tidebook.node.venue_keeping import OrdersKeeping, OrdersPlan
from tidebook.observe.logs import configure

KEEP = OrdersPlan(rule="snapshots 2", threshold_bytes=0, snapshots=2, audit_url="")
INTERVAL_S = 0.5


async def _shorten(place: Path) -> None:
    keeping = OrdersKeeping(place / "data", KEEP, rings_root=place)
    while True:
        await asyncio.sleep(INTERVAL_S)
        await asyncio.to_thread(keeping.compact)


async def _serve(place: Path, venue: HostedVenue) -> None:
    app = create_app(MarketView([]), HandFed(), orders=order_entry(venue))
    with contextlib.closing(listen(port=0)) as sock:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(followed(venue))
            stack.push_async_callback(app.state.order_sessions.settle)
            await stack.enter_async_context(serving(app, sock))
            print("{}:{}".format(*sock.getsockname()), flush=True)
            shortening = asyncio.create_task(_shorten(place))
            ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
            await asyncio.wait([shortening, ended], return_when=asyncio.FIRST_COMPLETED)
            shortening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await shortening
            assert venue.failure is None, venue.failure
            assert venue.audit_failure is None, venue.audit_failure


def main() -> None:
    configure(LogSettings())
    place, topology, shards = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    data, rings = place / "data", place / "rings"
    with owning(data, "run"):
        venue = HostedVenue(
            VenuePlan(
                settings=VenueSettings(
                    shards=shards,
                    keep=KEEP.rule,
                    closes_bars=False,
                    recheck=True,
                ),
                snapshots=SnapshotOptions(interval_s=INTERVAL_S, keep=KEEP.snapshots),
                audit_url=KEEP.audit_url,
                topology=TopologySettings(venue=topology),  # type: ignore[arg-type]
                segment_size_bytes=1 << 16,
            ),
            data,
            rings,
        )
        try:
            asyncio.run(_serve(place, venue))
        finally:
            venue.stop()


if __name__ == "__main__":
    main()

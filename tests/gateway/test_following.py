"""What the gateway and market data tell of `orders`, beside a disk that is slower than the engine and among many other readers."""

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path

from tests.gateway.slow_disk import COMMANDS, SLOTS, trades_of, trading
from tests.persistence.power_runs import cannot_inject
from tests.venue.market import ROOM
from tidebook.errors import EndpointBusyError
from tidebook.gateway.following import CHANNEL, OrdersFollower
from tidebook.gateway.lives import Lives
from tidebook.transport import create_channel, open_consumer, open_producer
from tidebook.venue import COMMAND, Venue

DELAY_US = 500_000


def test_what_a_slow_disk_has_not_synced_is_not_told_as_durable_and_holds_nobody_up(tmp_path: Path) -> None:
    """Method: each fdatasync takes half a second longer, by strace; the ring is overwritten meanwhile.

    Where strace cannot be had the disk is as fast as it is, and only what is told is looked at.
    """
    slow = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]
    slow += ["-e", f"inject=fdatasync:delay_enter={DELAY_US}"]
    if (reason := cannot_inject()) is not None:
        print(f"no calls can be delayed here: {reason}")
        slow = []
    ran = subprocess.run(
        [*slow, sys.executable, "-m", "tests.gateway.slow_disk", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["ahead"] > 0 or not slow, "the disk was not slow enough to show anything"
    assert (found["told"], found["durable"]) == (0, COMMANDS)
    assert found["seen"] == 0, "market data spoke of what is not on disk"
    assert found["trades"] == trades_of(trading())
    assert found["executions"] > COMMANDS, "the follower told nothing"
    assert found["turns"] > 5 or not slow, found


async def test_an_overtaken_follower_needs_no_other_place_among_the_readers(tmp_path: Path) -> None:
    """Method: others take every place that is left; then more is written than the ring holds, while the event loop stands still."""
    options = {"schema": "commands", "buffer_size": SLOTS * COMMAND.itemsize, "durability": "wal"}
    channel = create_channel(CHANNEL, options | {"wal_dir": tmp_path / "wal"}, directory=tmp_path)
    with contextlib.ExitStack() as stack:
        producer = stack.enter_context(open_producer(channel))
        follower = OrdersFollower(tmp_path, Venue(history=False, **ROOM), Lives(16))
        stack.callback(follower.close)
        following = asyncio.create_task(follower.run())
        with contextlib.suppress(EndpointBusyError):
            while True:
                stack.enter_context(open_consumer(channel, start="latest", policy="overwrite"))
        for _ in range(10):
            await asyncio.sleep(0)
        for record in trading():
            producer.write(record.tobytes())
        assert channel.status()["oldest"] > 1, "nothing was overwritten"
        waiting = asyncio.create_task(follower.wait_durable(COMMANDS))
        done, _ = await asyncio.wait((following, waiting), return_when=asyncio.FIRST_COMPLETED)
        assert done == {waiting}, following.exception()
        assert (follower.sequence, follower.venue.sequence) == (COMMANDS, COMMANDS)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

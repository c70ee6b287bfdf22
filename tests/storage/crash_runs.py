"""`python -m tests.storage.crash_runs calls|moments ROOT RUNS SEED`: kills a storing process again and again.

A program of its own, because it forks, which a process with threads must not do. Prints one line a failure and ends
with status 1 if there was one; the last line counts what was done.
"""

import mmap
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.storage import scenario
from tests.storage.faults import CountingDisk, KillingDisk
from tidebook.storage.disk import Disk
from tidebook.storage.store import Store


def fork(work: Callable[[], object]) -> int:
    """Process id of a child that does `work` and ends with status 0, or 1 with a traceback."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - a child must never run on into the parent's loop
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Acknowledged:
    """The last position a child was told is committed, in memory that survives its death."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    def __call__(self, position: int) -> None:
        self._memory[:] = position.to_bytes(8, "little")

    @property
    def position(self) -> int:
        return int.from_bytes(self._memory[:], "little")


def reopen(root: Path, acknowledged: int) -> None:
    """What was killed opens as exactly one of its commits, and none that was acknowledged is undone."""
    assert scenario.check(root, acknowledged) in (0, *scenario.POSITIONS)


def finish(root: Path) -> None:
    """A writer that is left alone completes the store and clears what the dead ones left."""
    scenario.store(root, Disk())
    assert scenario.check(root) == scenario.POSITIONS[-1]
    assert scenario.files_on_disk(root) == set(Store(root).manifest.files), "an orphan was left"


def calls(root: Path, runs: int, seed: int) -> int:
    """Kill at `runs` of all changing calls, and the next writer at one more; how many were killed."""
    memory = mmap.mmap(-1, 8)

    def count() -> None:
        disk = CountingDisk()
        scenario.store(root / "whole", disk)
        memory[:] = disk.calls.to_bytes(8, "little")

    assert wait(fork(count)) == 0
    total = int.from_bytes(memory[:], "little")
    chance = random.Random(seed)
    chosen = range(1, total + 1) if runs >= total else sorted(chance.sample(range(1, total + 1), runs))
    killed = 0
    for at in chosen:
        here, acknowledged = root / str(at), Acknowledged()
        for call in (at, chance.randrange(1, total)):
            status = wait(fork(partial(scenario.store, here, KillingDisk(call), acknowledged)))
            killed += status == -signal.SIGKILL
            assert status in (0, -signal.SIGKILL), f"call {call} after {at}: status {status}"
            assert wait(fork(partial(reopen, here, acknowledged.position))) == 0, f"kill at {at}, then {call}"
        assert wait(fork(partial(finish, here))) == 0, f"after kill at {at}"
    print(f"{killed} kills at {len(chosen)} of {total} calls")
    return killed


def moments(root: Path, runs: int, seed: int) -> int:
    """Kill from outside at random moments until `runs` kills hit a storing process; how many."""
    chance = random.Random(seed)
    began = time.perf_counter()
    assert wait(fork(lambda: scenario.store(root / "whole", Disk()))) == 0
    takes = time.perf_counter() - began
    killed, round_index = 0, 0
    while killed < runs:
        round_index += 1
        here, acknowledged = root / str(round_index), Acknowledged()
        while True:
            pid = fork(partial(scenario.store, here, Disk(), acknowledged))
            time.sleep(chance.uniform(0, takes))
            os.kill(pid, signal.SIGKILL)
            status = wait(pid)
            killed += status == -signal.SIGKILL
            if here.exists():
                assert wait(fork(partial(reopen, here, acknowledged.position))) == 0, f"round {round_index}"
            if status == 0:
                break
            assert status == -signal.SIGKILL, f"round {round_index}: status {status}"
            if killed >= runs:
                break
        assert wait(fork(partial(finish, here))) == 0, f"round {round_index}"
    print(f"{killed} kills over {round_index} stores")
    return killed


if __name__ == "__main__":
    kind, root, runs, seed = sys.argv[1:]
    {"calls": calls, "moments": moments}[kind](Path(root), int(runs), int(seed))

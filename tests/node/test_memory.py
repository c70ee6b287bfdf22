"""What a node's threads freed in large blocks is the machine's again."""

import subprocess
import sys

from tidebook.node.memory import LARGE_BYTES

THREADS = 6
BLOCKS = 10
BLOCK_BYTES = 2 * LARGE_BYTES

# The first block moves glibc's own limits. Then every thread takes its blocks, frees them and stays.
_PROGRAM = f"""
import sys, threading
from pathlib import Path
import numpy as np
from tidebook.node.memory import give_back_large_blocks

def anonymous_bytes():
    return 1024 * int(Path("/proc/self/smaps_rollup").read_text().partition("Anonymous:")[2].split()[0])

if sys.argv[1] == "limited":
    assert give_back_large_blocks()
np.ones({BLOCKS * BLOCK_BYTES}, np.uint8)
before, steps = anonymous_bytes(), threading.Barrier({THREADS + 1})

def work():
    blocks = [np.ones({BLOCK_BYTES}, np.uint8) for _ in range({BLOCKS})]
    steps.wait()
    steps.wait()
    del blocks
    steps.wait()
    steps.wait()

threads = [threading.Thread(target=work) for _ in range({THREADS})]
for thread in threads:
    thread.start()
steps.wait()
taken = anonymous_bytes() - before
steps.wait()
steps.wait()
print(taken, anonymous_bytes() - before)
steps.wait()
"""


def taken_and_kept(how: str) -> tuple[int, int]:
    run = subprocess.run([sys.executable, "-c", _PROGRAM, how], check=True, capture_output=True, text=True)
    taken, kept = map(int, run.stdout.split())
    assert taken > THREADS * BLOCKS * BLOCK_BYTES
    return taken, kept


def test_large_blocks_that_threads_freed_are_given_back() -> None:
    """Method: memory of a process whose six threads hold 20 MB each, and after they freed it; without the limits and with."""
    taken, kept = taken_and_kept("as it is")
    assert kept > taken / 2, "the method sees what is kept"
    _, kept = taken_and_kept("limited")
    assert kept < THREADS * LARGE_BYTES

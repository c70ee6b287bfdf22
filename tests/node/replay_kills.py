"""Replays a recording into a directory in children that are killed at random moments, until one gets through.

Run as a program: replay_kills.py RECORDING DATA SEED KILLS. Each child is forked from a process that has imported
everything, so a kill lands in the work and not in the start of Python. Prints the kills it took as its last line.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from tidebook.node.recordings import Recordings
from tidebook.node.replay import replay_into

LONGEST_LIFE_S = 0.25


def main(recording: str, data: str, seed: int, kills_max: int) -> None:
    chance = random.Random(seed)
    kills = 0
    while True:
        child = os.fork()
        if child == 0:
            replay_into(Path(data), Recordings([Path(recording)]), flush_rows=10_000)
            os._exit(0)
        if kills < kills_max:
            time.sleep(chance.uniform(0.0, LONGEST_LIFE_S))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            kills += 1
            continue
        print(kills)
        sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

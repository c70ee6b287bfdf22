"""Recovers a channel in children that are killed at each thing that the recovery tells, until one gets through.

Run as a program: recovery_kills.py DATA RINGS VENUE. Children are forked from a process that has imported everything. Prints
how many were killed.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

from tests.node.test_recovery import recovery


def main(data: Path, rings: Path, venue: str) -> None:
    for nth in itertools.count(1):
        child = os.fork()
        if child == 0:
            steps = itertools.count(1)

            def told(*_: object, steps: "itertools.count[int]" = steps, nth: int = nth) -> None:
                if next(steps) == nth:
                    os.kill(os.getpid(), signal.SIGKILL)

            for feed in recovery(data, rings, venues=[venue]).run(told):
                feed.capture.close()
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != -signal.SIGKILL:
            print(nth - 1)
            sys.exit(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

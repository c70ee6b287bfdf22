"""What the gateway tells of `orders`, beside a disk that is slower than the engine."""

import json
import subprocess
import sys
from pathlib import Path

from tests.gateway.slow_disk import COMMANDS
from tests.persistence.power_runs import cannot_inject

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
    assert found["turns"] > 50 or not slow, found

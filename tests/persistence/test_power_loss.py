"""When the power goes, what was acknowledged is there, and nothing lasting holds what the journal does not.

Each run is a real process on a file system of its own that loses its power (tests/persistence/power.py says how, and what
stands in for it where nothing may be mounted; which of the two ran is said).
"""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def cut(kind: str, root: Path, cuts: int, say: Callable[[str], None]) -> None:
    seed = int(os.environ.get("TIDEBOOK_TEST_SEED", random.SystemRandom().randrange(2**32)))
    command = [sys.executable, "-m", "tests.persistence.power_runs", kind, str(cuts), str(seed)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, f"TIDEBOOK_TEST_SEED={seed}\n{done.stdout}{done.stderr}"
    counted = int(done.stdout.split()[0])
    assert counted == cuts
    say(f"power loss, {kind}: {done.stdout.strip()}, seed {seed}")


@pytest.mark.parametrize("kind", ["journal", "channel"])
def test_what_was_acknowledged_is_there_when_the_power_was_lost(
    root: Path, kind: str, say: Callable[[str], None]
) -> None:
    cut(kind, root, 2, say)


def test_the_sinks_of_a_node_that_lost_its_power_hold_nothing_that_its_journal_does_not(
    root: Path, say: Callable[[str], None]
) -> None:
    cut("node", root, 3, say)


def test_what_a_disk_lost_that_lied_is_refused_where_something_proves_it(
    root: Path, say: Callable[[str], None]
) -> None:
    """Method: syncs of the process are answered and not done; then the power goes."""
    cut("lying", root, 2, say)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["journal", "channel", "node", "lying"])
def test_fifty_power_losses_lose_nothing_acknowledged(root: Path, kind: str, say: Callable[[str], None]) -> None:
    cut(kind, root, 50, say)

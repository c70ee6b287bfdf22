"""Writers of channels that are killed at random moments under load, through the API: nothing acknowledged is lost or comes twice."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MODES = pytest.mark.parametrize("mode", ["memory", "wal"])


def kill(mode: str, root: Path, kills: int, say: Callable[[str], None]) -> None:
    seed = int(os.environ.get("TIDEBOOK_TEST_SEED", random.SystemRandom().randrange(2**32)))
    command = [sys.executable, "-m", "tests.transport.kill_runs", mode, str(kills), str(seed)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, f"TIDEBOOK_TEST_SEED={seed}\n{done.stdout}{done.stderr}"
    assert done.stdout.startswith(f"{kills} kills")
    say(f"kill -9, {mode}: {done.stdout.strip()}, seed {seed}")


@MODES
def test_writers_killed_under_load_leave_the_state_of_an_unbroken_run(
    root: Path, mode: str, say: Callable[[str], None]
) -> None:
    kill(mode, root, {"memory": 20, "wal": 10}[mode], say)


@MODES
@pytest.mark.soak
def test_a_thousand_writers_killed_under_load_leave_the_state_of_an_unbroken_run(
    root: Path, mode: str, say: Callable[[str], None]
) -> None:
    kill(mode, root, 1_000, say)

"""Killed with SIGKILL at any call or moment, a store reopens as exactly one of its commits and goes on from there.

Each run is a real process. Allowed after a kill: the last acknowledged commit, or the one that was under way. Never: a
row twice, a row missing, half of a commit, a damaged file, or a file that the manifest does not know after the next
writer has opened.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest


def crash(kind: str, root: Path, runs: int, where: Path) -> str:
    seed = int(os.environ.get("TIDEBOOK_TEST_SEED", random.SystemRandom().randrange(2**32)))
    command = [sys.executable, "-m", "tests.storage.crash_runs", kind, str(where), str(runs), str(seed)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, f"TIDEBOOK_TEST_SEED={seed}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_a_kill_at_a_system_call_leaves_exactly_a_commit(root: Path, tmp_path: Path) -> None:
    assert "kills at 12 of" in crash("calls", root, 12, tmp_path)


def test_a_kill_at_a_random_moment_leaves_exactly_a_commit(root: Path, tmp_path: Path) -> None:
    assert crash("moments", root, 20, tmp_path).startswith("20 kills")


@pytest.mark.soak
def test_a_kill_at_every_system_call_leaves_exactly_a_commit(root: Path, tmp_path: Path) -> None:
    print(crash("calls", root, 2**31, tmp_path))


@pytest.mark.soak
def test_a_thousand_kills_at_random_moments_lose_and_double_nothing(root: Path, tmp_path: Path) -> None:
    print(crash("moments", root, 1_000, tmp_path))

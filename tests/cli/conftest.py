"""Rings to look at, and commands run on them."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidebook.cli import boundary, build_app


@dataclass(frozen=True)
class Shown:
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)

    @property
    def objects(self) -> list[Any]:
        return [msgspec.json.decode(line) for line in self.out.splitlines()]


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The private directory of all nodes, where commands look by themselves."""
    directory = Path(f"/dev/shm/tidebook-test-{os.getpid()}-{random.getrandbits(32):x}")
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("TIDEBOOK_RINGS", str(directory))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def tidebook(root: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Shown]:
    """Runs a command in this process."""

    def run(*words: str) -> Shown:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            boundary.run(build_app(), list(words))
        sys.stdout.flush()
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Shown(ended.value.code, out, err)

    return run


@pytest.fixture
def process() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts Python in a process of its own that is ended with the test; waits until it says something."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
        child = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline(), "it ended before it was ready"
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()

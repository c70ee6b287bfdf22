"""Where the rings of these tests are."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def rings() -> Iterator[Path]:
    """A private directory on tmpfs, where rings live."""
    directory = Path(f"/dev/shm/tidebook-test-{os.getpid()}-{random.getrandbits(32):x}")
    directory.mkdir(mode=0o700)
    yield directory
    shutil.rmtree(directory)

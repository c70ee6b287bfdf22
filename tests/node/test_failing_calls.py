"""A node whose system calls fail: it ends with one line or goes on, and what it had acknowledged is there after the next start.

The calls fail for real, by strace. Where that cannot be had the node is ended by SIGKILL instead, and that is said.
"""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import tidebook as tb
from tests.node.test_live import derived_trades, node, stored_trades, wait_for
from tests.node.test_taken_away import errors
from tests.persistence.power_runs import cannot_inject
from tidebook import persistence

OPTIONS = ("--venues", "binance", "--symbols", "BTCUSDT", "--rate", "1000", "--flush-interval-s", "0.2")
ENOUGH = 600
"""Messages stored by a node that no fault ends."""


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    directory = tmp_path / "rings"
    directory.mkdir(mode=0o700)
    return directory


def ended(data: Path, rings: Path, fault: str, files: list[Path], *, surely: bool = False) -> tuple[int, str, int]:
    """Status, errors said and durable sequence of a node with this fault, which is interrupted if nothing ends it.

    Where it comes `surely` it is waited for, however many messages are stored before it.
    """
    only = [word for file in files for word in ("-P", str(file))]
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", *only]
    strace += ["-e", f"trace={fault.partition(':')[0]}", "-e", f"inject={fault}"]
    if cannot_inject() is not None:
        strace = []
    command = [*strace, sys.executable, "-m", "tidebook", "run", "--data", str(data), "--port", "0", "--json", *OPTIONS]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**dict(psutil.Process().environ()), "TIDEBOOK_RINGS": str(rings)},
    )
    try:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            try:
                # Where storing has stopped the node goes on capturing.
                if not (surely and strace) and (
                    durable_of(rings) > 8 * ENOUGH or tb.open(data).position("feed.binance") > ENOUGH
                ):
                    break
            except (tb.errors.TidebookError, OSError):
                pass
            time.sleep(0.05)
        if process.poll() is None:
            target = psutil.Process(process.pid).children()[0] if strace else psutil.Process(process.pid)
            target.send_signal(signal.SIGINT if strace else signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said, durable_of(rings)


def durable_of(rings: Path) -> int:
    """What a node has acknowledged is in shared memory and outlives it."""
    try:
        return tb.open_channel("feed.binance", directory=rings / "default").ring.durable
    except tb.errors.ChannelError:
        return 0


def goes_on(data: Path, rings: Path, durable: int) -> None:
    """The next node starts, has what was durable, stores, and what is stored is what its journal gives."""
    with node(data, rings, *OPTIONS) as (process, _):
        assert persistence.inspect(data / "journal/feed.binance").durable >= durable
        wait_for(lambda: has_trades(data))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert stored_trades(data) == derived_trades(data)
    assert tb.open(data).verify().ok


def is_told_meanwhile(line: str) -> bool:
    """A log line by which a node whose storing has stopped says that it goes on; it ends when it is stopped."""
    events = ("storing stopped", "market data goes on but is not stored")
    return '"level": "error"' in line and any(f'"event": "{event}' in line for event in events)


def has_trades(data: Path) -> bool:
    """Not yet where the fault came before the first trade."""
    try:
        return bool(stored_trades(data))
    except tb.errors.TidebookError:
        return False


def segments(data: Path) -> list[Path]:
    return [data / f"journal/feed.binance/{number:010}.segment" for number in range(1, 4)]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("fdatasync:error=EIO:when=30", "Input/output error"),
        ("pwrite64:error=ENOSPC:when=30", "no space left for the journal"),
    ],
)
def test_a_node_whose_journal_fails_ends_with_one_line_and_loses_nothing_acknowledged(
    tmp_path: Path, rings: Path, fault: str, told: str, say: Callable[[str], None]
) -> None:
    data = tmp_path / "data"
    status, said, durable = ended(data, rings, fault, segments(data), surely=True)
    if cannot_inject() is None:
        assert status == 1, said
        assert durable > 0
        (line,) = errors(said)
        assert line.startswith("tidebook: ")
        assert told in line
    else:
        say(f"failing calls of a node: ran WITHOUT {fault}, by SIGKILL alone: {cannot_inject()}")
    goes_on(data, rings, durable)


@pytest.mark.soak
def test_a_node_of_which_any_one_call_fails_ends_with_one_line_or_goes_on(
    tmp_path: Path, say: Callable[[str], None]
) -> None:
    """Method: a call of any thread and file of the node, drawn by the seed; each thread counts its own."""
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    stopped = 0
    for number in range(40):
        call, most = chance.choice(
            (("fdatasync", 60), ("fsync", 30), ("rename", 20), ("pwrite64", 60), ("fallocate", 4))
        )
        fault = f"{call}:error={chance.choice(('EIO', 'ENOSPC'))}:when={chance.randint(1, most)}"
        here = tmp_path / str(number)
        (here / "rings").mkdir(mode=0o700, parents=True)
        status, said, durable = ended(here / "data", here / "rings", fault, [])
        at = f"seed {seed}, {number}: {fault}, status {status}: {said}"
        assert status in (0, 1), at
        assert [line.startswith("tidebook: ") for line in errors(said) if not is_told_meanwhile(line)] == [
            True
        ] * status, at
        goes_on(here / "data", here / "rings", durable)
        stopped += status
    assert cannot_inject() is not None or stopped
    say(f"failing calls of a node: {number + 1} faults, {stopped} ended it, nothing acknowledged was lost, seed {seed}")

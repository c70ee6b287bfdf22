"""A lock on a file: who has it, what frees it, and that asking takes nothing."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tidebook.errors import OperationError
from tidebook.persistence.data_directory import IDENTITY_FILE, read_identity
from tidebook.persistence.file_lock import held_by, is_locked, locked

HOLD = """
import sys
from pathlib import Path
from tidebook.persistence.file_lock import locked
with locked(Path(sys.argv[1])) as got:
    print(got, flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """A process that has the lock until its standard input closes."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_one_has_the_lock_and_whoever_asks_takes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    with holder(path) as process:
        assert [is_locked(path) for _ in range(3)] == [True] * 3
        with locked(path) as got:
            assert not got
        process.communicate("")
    assert not is_locked(path)
    with locked(path) as got:
        assert got
        assert is_locked(path), "in the process that has it too, and asking does not lose it"
        assert is_locked(path)
        with locked(path) as twice:
            assert not twice
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_killed_holder_has_it_no_more_and_a_stopped_one_still_has(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert is_locked(path)
        process.kill()
        process.wait()
        assert not is_locked(path)


def test_who_waits_is_told_once_whom_for_and_what_lets_a_stopped_one_go_on(tmp_path: Path) -> None:
    path, told = tmp_path / "lock", list[str]()
    with holder(path) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)

        def waiting(whom: str) -> None:
            told.append(whom)
            process.send_signal(signal.SIGCONT)
            assert process.stdin is not None
            process.stdin.close()

        with locked(path, wait_s=60.0, waiting=waiting) as got:
            assert got
    (whom,) = told
    assert whom.startswith(f"process {process.pid} ({sys.executable} -c import sys")
    assert whom.endswith(f"), which is stopped: `kill -CONT {process.pid}` lets it go on")
    with locked(path) as got:
        assert got
        assert held_by(path).startswith(f"process {os.getpid()} (")


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path) as got:
        assert got
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    with child:
        assert not is_locked(path)
        child.communicate(b"")


def test_who_waits_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as process:
        assert process.stdin is not None
        process.stdin.close()
        with locked(path, wait_s=30.0) as got:
            assert got


def test_a_pipe_in_the_place_of_a_lock_or_of_an_identity_is_refused_at_once(tmp_path: Path) -> None:
    """Whoever opened it to read would wait for somebody who writes, for ever."""
    for name in ("node.lock", IDENTITY_FILE):
        os.mkfifo(tmp_path / name)
    told = f"{re.escape(str(tmp_path))}/.*: a named pipe stands in the place of this file"
    with pytest.raises(OperationError, match=told):
        is_locked(tmp_path / "node.lock")
    with pytest.raises(OperationError, match=told), locked(tmp_path / "node.lock"):
        pass
    with pytest.raises(OperationError, match=told):
        read_identity(tmp_path)
    (tmp_path / "directory").mkdir()
    with pytest.raises(OperationError, match="a directory stands"), locked(tmp_path / "directory"):
        pass


def test_a_lock_that_root_makes_is_of_who_has_the_directory(tmp_path: Path) -> None:
    """Whoever else runs this makes it in a directory of its own, where the same holds."""
    directory = tmp_path / "another's"
    directory.mkdir()
    with suppress(PermissionError):
        os.chown(directory, 65534, 65534)
    with locked(directory / "lock") as got:
        assert got
    assert (directory / "lock").stat().st_uid == directory.stat().st_uid
    assert (directory / "lock").stat().st_mode & 0o777 == 0o600

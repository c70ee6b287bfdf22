"""One owner of a data directory at a time, by a lock that the kernel keeps."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tidebook import persistence
from tidebook._core import JournalWriter
from tidebook.errors import DirectoryBusyError
from tidebook.node.backup import back_up
from tidebook.node.presence import owner, owning, running_node

HOLD = "import sys; from pathlib import Path; from tidebook.node.presence import owning\n"
HOLD += "with owning(Path(sys.argv[1]), sys.argv[2]): print('holds', flush=True); sys.stdin.read()"


def tidebook(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "tidebook", *words], capture_output=True, text=True, check=False)


def holder(data: Path, command: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data), command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    return process


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.log"
    lines = [f'{1_723_161_254_000_000_000 + n} {{"stream":"btcusdt@trade","data":{{}}}}\n' for n in range(3)]
    path.write_text("".join(lines))
    return path


def test_every_command_that_writes_is_refused_while_another_process_owns_the_directory(
    tmp_path: Path, recording: Path
) -> None:
    data = tmp_path / "data"
    with holder(data, "record") as other:
        for words in (["run", "--port", "0"], ["replay", str(recording)], ["record", str(recording)]):
            refused = tidebook(*words, "--data", str(data))
            assert refused.returncode == 1, words
            told = f"tidebook: `tidebook record` works on {data} (process {other.pid}); stop it first, or name another --data\n"
            assert refused.stderr == told, words
        assert {path.name for path in data.iterdir()} == {"tidebook.json", "node.lock", "node.json"}
        listed = tidebook("feeds", "ls", "--data", str(data), "--json")
        assert json.loads(listed.stdout)["running"] is False, "readers need no lock, and no node runs"
        other.kill()
    assert tidebook("record", str(recording), "--data", str(data)).returncode == 0, "killed, it owns nothing"


def test_an_owner_that_cannot_say_who_it_is_owns_the_directory_all_the_same(tmp_path: Path) -> None:
    """As on a full disk, where whoever would make room must not be stopped by that. Method: a directory lies in the file's place."""
    data = tmp_path / "data"
    (data / "node.json").mkdir(parents=True)
    with owning(data, "compact"):
        found = owner(data)
        assert found is not None
        assert found.pid == 0
        refused = tidebook("run", "--port", "0", "--data", str(data))
        assert (refused.returncode, "stop it first" in refused.stderr) == (1, True)
    assert owner(data) is None


def test_a_journal_is_looked_at_beside_an_owner_and_mended_only_without_one_from_a_backup_too(tmp_path: Path) -> None:
    data, channel = tmp_path / "data", "feed.binance"
    for _ in range(2):
        with owning(data, "record"):
            writer = JournalWriter(data / "journal" / channel, channel)
            writer.append(b"a message")
            writer.close()
    made = back_up(data, tmp_path / "backups")
    first = data / "journal" / channel / "0000000001.segment"
    held = bytearray(first.read_bytes())
    held[4096 + 60] ^= 1
    first.write_bytes(held)
    copy = tmp_path / "backups" / made.id / "data" / "journal" / channel
    words = ("journal", "repair", "--data", str(data))
    with holder(data, "record") as other:
        looked = tidebook(*words)
        assert (looked.returncode, looked.stderr) == (1, "")
        refused = tidebook(*words, "--source", str(copy))
        assert (refused.returncode, f"(process {other.pid})" in refused.stderr) == (1, True)
        assert first.read_bytes() == held
        other.kill()
    assert tidebook(*words, "--source", str(copy)).returncode == 0
    assert [payload for _, payload in persistence.read(data / "journal" / channel)] == [b"a message"] * 2


def test_an_owner_is_known_by_its_process_and_command_and_a_stopped_one_is_called_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert owner(data) is None
    with holder(data, "replay") as other:
        found = owner(data)
        assert found is not None
        assert (found.pid, found.command, running_node(data)) == (other.pid, "replay", None)
        os.kill(other.pid, signal.SIGSTOP)
        _, status = os.waitpid(other.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        with pytest.raises(DirectoryBusyError, match="kill -CONT") as caught, owning(data, "run"):
            pass
        assert caught.value.facts == {"path": str(data), "process_id": other.pid, "command": "replay"}
        other.kill()
    assert owner(data) is None, "whatever is left in its file"
    with owning(data, "run"):
        assert running_node(data) is not None
    assert not (data / "node.json").exists()

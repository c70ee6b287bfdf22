"""Files that go, or stand in the way, under and before a node: one line that says what and what to do."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.node.test_live import node, wait_for
from tidebook.node.storing import stored_position

OPTIONS = ("--venues", "binance", "--symbols", "BTCUSDT", "--rate", "300", "--flush-interval-s", "0.3")


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    directory = tmp_path / "rings"
    directory.mkdir(mode=0o700)
    return directory


def errors(said: str) -> list[str]:
    """What stands in stderr that is no log line of a level below error."""
    return [line for line in said.splitlines() if '"level": "info"' not in line and '"level": "warning"' not in line]


def test_a_node_whose_journal_is_removed_ends_with_one_line(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    with node(data, rings, *OPTIONS) as (process, _):
        wait_for(lambda: stored_position(data, "feed.binance") > 100)
        shutil.rmtree(data / "journal")
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    (line,) = errors(said)
    assert line.startswith(f"tidebook: {data}/journal/feed.binance/0000000001.segment: removed, moved or replaced")
    assert "and acknowledged messages 1 to " in line
    assert "put the directory back from a copy" in line


def test_a_node_whose_store_is_removed_says_so_and_goes_on_capturing(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    with node(data, rings, *OPTIONS) as (process, _):
        wait_for(lambda: stored_position(data, "feed.binance") > 100)
        shutil.rmtree(data / "warm")
        assert process.stderr is not None
        lines = iter(process.stderr)
        stopped = next(line for line in lines if '"event": "storing stopped"' in line)
        assert "was removed, moved or replaced while the store was written: nothing more is stored" in stopped
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = "".join(lines)
        assert process.wait(timeout=60) == 1
    assert errors(said)[-1].startswith(f"tidebook: {data}/warm/")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("journal", ["run", "--port", "0"]),
        ("journal", ["replay", "capture.log"]),
        ("feeds", ["feeds", "add", "binance", "BTCUSDT"]),
    ],
)
def test_a_file_where_a_directory_belongs_is_named_with_a_remedy(
    tmp_path: Path, rings: Path, name: str, words: list[str]
) -> None:
    (tmp_path / "capture.log").write_text('1723161254000000000 {"stream": "btcusdt@trade", "data": {}}\n')
    data = tmp_path / "data"
    data.mkdir()
    (data / name).touch()
    shown = subprocess.run(
        [sys.executable, "-m", "tidebook", *words, "--data", str(data)],
        env={"PATH": "/usr/bin", "TIDEBOOK_RINGS": str(rings)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert shown.returncode == 1
    (line,) = errors(shown.stderr)
    assert str(data / name) in line
    assert "move it away or" in line

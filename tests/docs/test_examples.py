"""What pages show, works: their Python runs, their commands exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tidebook as tb
from tidebook._core import schemas
from tidebook.cli import COMMANDS, GROUPS

COMMAND = re.compile(
    r"^(?:\$ )?(?:\.venv/bin/)?(tidebook|make) ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?(?: ([a-z][a-z-]*))?", re.MULTILINE
)


def blocks(page: Path, *languages: str) -> list[str]:
    return [
        text
        for language, text in re.findall(r"```(\w*)\n(.*?)```", page.read_text(), re.DOTALL)
        if language in languages
    ]


def test_the_python_of_the_readme_runs_on_what_a_replay_stored(root: Path, tmp_path: Path, recordings: Path) -> None:
    recording = recordings / "binance-spot/btcusdt-20240808.log.zst"
    replay = [sys.executable, "-m", "tidebook", "replay", str(recording), "--data", "data"]
    subprocess.run(replay, cwd=tmp_path, check=True, capture_output=True)
    code = blocks(root / "README.md", "python")[0]
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "trades BTCUSDT.BINANCE 9757 ()" in shown.stdout.splitlines()


def test_the_python_of_the_readme_reads_a_channel(root: Path, tmp_path: Path) -> None:
    code = blocks(root / "README.md", "python")[1]
    directory = tmp_path / "rings" / "default"
    directory.mkdir(mode=0o700, parents=True)
    trades = tb.create_channel("md.trades", tb.ChannelOptions(schema="trades"), directory=directory)
    instruments = tb.create_channel("md.instruments", tb.ChannelOptions(schema="instruments"), directory=directory)
    records = np.zeros(5_000, schemas()["trades"].dtype())
    records["price"], records["price_exp"], records["instrument_id"] = np.arange(100, 5_100), 2, 7
    definition = np.zeros(1, schemas()["instruments"].dtype())
    definition["instrument_id"] = 7
    definition["symbol"][0][:15] = list(b"BTCUSDT.BINANCE")
    with tb.open_producer(trades) as producer, tb.open_producer(instruments) as defining:
        defining.write_batch(definition)
        producer.write_batch(records)
        environment = os.environ | {"TIDEBOOK_RINGS": str(tmp_path / "rings")}
        shown = subprocess.run(
            [sys.executable, "-c", code.replace("timeout=5", "timeout=0.01")],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert shown.stderr == ""
    assert shown.stdout.splitlines() == ["5000 BTCUSDT.BINANCE 50.99", *["nothing for five seconds"] * 2]


@pytest.mark.parametrize("folder", [".", "docs", "docs/formats", "docs/decisions"])
def test_every_command_a_page_shows_exists(folder: str, root: Path) -> None:
    """Method: commands at the beginning of a line of a shell block, or alone between backticks."""
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    unknown = []
    for page in sorted((root / folder).glob("*.md")):
        shown = "\n".join([*blocks(page, "sh", "console", ""), *re.findall(r"`([^`\n]+)`", page.read_text())])
        for program, *words in COMMAND.findall(shown):
            if program == "make":
                known = words[0] in targets
            else:
                # As many words as name a command; what follows is its own. A group may be named by itself.
                spoken = {" ".join(words[:count]).strip() for count in (1, 2, 3)}
                known = bool(spoken & COMMANDS.keys()) or " ".join(words).strip() in GROUPS
            if not known:
                unknown.append(f"{page.name}: {program} {' '.join(words)}".rstrip())
    assert unknown == []

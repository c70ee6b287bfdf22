"""The page about seeing channels: every command on it runs, in its order, on channels of its names."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tidebook as tb
from tests.cli.conftest import Shown
from tidebook._core import schemas

PAGE = Path(__file__).parent.parent.parent / "docs/channels-tools.md"


def commands() -> list[list[str]]:
    found = []
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL):
        found += [shlex.split(line, comments=True)[1:] for line in block.splitlines() if line.startswith("tidebook ")]
    return found


def first_words(command: list[str]) -> str:
    """What a command without an end says first."""
    program = [sys.executable, "-m", "tidebook", *command]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        running.kill()
    return line


def test_every_command_of_the_page_does_what_it_is_for(
    root: Path, tidebook: Callable[..., Shown], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: those without an end in a process of their own until they say something; a port that is free for metrics."""
    monkeypatch.chdir(tmp_path)
    directory = root / "default"
    channel = tb.create_channel("md.trades", tb.ChannelOptions(schema="trades"), directory=directory)
    records = np.zeros(30, schemas()["trades"].dtype())
    records["price"], records["price_exp"], records["instrument_id"] = 20_000, 2, 7
    defining = tb.create_channel("md.instruments", tb.ChannelOptions(schema="instruments"), directory=directory)
    definition = np.zeros(1, schemas()["instruments"].dtype())
    definition["instrument_id"] = 7
    definition["symbol"][0][:15] = list(b"BTCUSDT.BINANCE")
    tb.open_consumer(channel, "notebook").close()
    tb.create_channel("scratch", directory=directory)
    tb.create_channel("orders", directory=directory)
    with tb.open_producer(channel) as producer, tb.open_producer(defining) as defines:
        defines.write_batch(definition)
        producer.write_batch(records)
        ran = commands()
        for command in ran:
            if "-f" in command or "--prometheus" in command:
                assert first_words([word.replace(":9100", ":0") for word in command]), command
                continue
            shown = tidebook(*command)
            # A machine may have something wrong with it; that is for doctor to say.
            assert shown.code == 0 or command[:2] == ["channel", "doctor"], (command, shown)
            assert shown.out, command
            assert shown.err == "", command
    named = {" ".join(command[:3]) for command in ran} | {" ".join(command[:2]) for command in ran}
    verbs = (
        "bench",
        "cursor ls",
        "cursor remove",
        "cursor reset",
        "doctor",
        "dump",
        "ls",
        "rm",
        "tail",
        "top",
        "verify",
    )
    assert {f"channel {verb}" for verb in verbs} <= named
    assert {path.name for path in tmp_path.iterdir()} == {"trades.parquet", "some.csv"}

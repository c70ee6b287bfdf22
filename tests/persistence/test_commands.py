"""`tidebook journal`: the state of journals in one line each, damage as an exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tidebook._core import JournalWriter, pack_message


def tidebook(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tidebook", "journal", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with one journal of thirty messages."""
    writer = JournalWriter(tmp_path / "journal/feed.binance", "feed.binance", segment_size_bytes=65_536)
    for number in range(30):
        writer.append(pack_message(1_700_000_000_000_000_000 + number, 1, 1, b'{"n":%d}' % number))
        writer.sync()
    writer.close()
    return tmp_path


def test_ls_says_what_a_journal_holds_and_how_far_it_is_durable(data: Path) -> None:
    shown = tidebook("ls", "--data", data)
    assert shown.stdout.startswith("feed.binance: 1 to 30, durable to 30; 1 segment, ")
    assert shown.stdout.endswith("closed\n")
    facts = json.loads(tidebook("ls", "--data", data, "--json").stdout)
    assert [(entry["channel"], entry["last_sequence"]) for entry in facts["journals"]] == [("feed.binance", 30)]


def test_verify_exits_with_failure_and_names_the_place_of_damage(data: Path) -> None:
    directory = data / "journal/feed.binance"
    shown = tidebook("verify", directory)
    assert (shown.returncode, shown.stdout) == (0, f"{directory}: whole, 30 messages in 30 batches\n")
    segment = directory / "0000000001.segment"
    content = bytearray(segment.read_bytes())
    content[4096 + 1000] ^= 1
    segment.write_bytes(content)
    shown = tidebook("verify", "--data", data, "--json")
    (damaged,) = json.loads(shown.stdout)["damaged"]
    assert (shown.returncode, damaged["segment"], damaged["sequence"] > 1) == (1, 1, True)


def test_dump_shows_messages_from_a_sequence_on(data: Path) -> None:
    directory = data / "journal/feed.binance"
    shown = tidebook("dump", directory, "--from", "5", "--limit", "2")
    assert shown.stdout == '5 1700000000000000004 ws 1 {"n":4}\n6 1700000000000000005 ws 1 {"n":5}\n'
    last = [json.loads(line) for line in tidebook("dump", directory, "--limit", "0", "--json").stdout.splitlines()][-1]
    assert (last["sequence"], last["kind"], last["body"]) == (30, "ws", '{"n":29}')


def test_a_journal_is_named_by_its_directory_or_by_the_one_it_is_in(data: Path) -> None:
    directory = data / "journal/feed.binance"
    for command in (("ls",), ("verify",), ("dump", "--limit", "3")):
        named = [tidebook(*command, *words).stdout for words in ([directory], [data], ["--data", data])]
        assert named[0], command
        assert named == [named[0]] * 3, command


def test_dump_says_when_it_begins_beyond_the_end_and_which_journals_there_are(data: Path) -> None:
    beyond = tidebook("dump", "--data", data, "--from", "31")
    assert (beyond.returncode, beyond.stdout) == (2, "")
    assert beyond.stderr == f"tidebook: --from 31 is beyond the end: {data}/journal/feed.binance holds 1 to 30\n"
    JournalWriter(data / "journal/feed.kraken", "feed.kraken", segment_size_bytes=65_536).close()
    several = tidebook("dump", "--data", data)
    assert several.returncode == 2
    assert f"there are 2 journals; name one of {data}/journal/feed.binance, " in several.stderr


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    for arguments in (("ls", "--data", tmp_path), ("verify", tmp_path), ("dump", tmp_path / "nowhere")):
        shown = tidebook(*arguments)
        assert shown.returncode != 0
        assert shown.stdout == ""
        assert shown.stderr.startswith("tidebook: ")
        assert shown.stderr.count("\n") == 1

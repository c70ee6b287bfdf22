"""What a data directory says of itself, and who refuses it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import tidebook as tb
from tidebook.errors import DirectoryError, DirectoryVersionError
from tidebook.persistence.data_directory import (
    FORMAT_VERSION,
    IDENTITY_FILE,
    RESTORING,
    Identity,
    identify,
    make_directories,
    read_identity,
    remove_leftovers,
)


def tidebook(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "tidebook", *words], capture_output=True, text=True, check=False)


def test_a_directory_keeps_the_identity_that_its_first_owner_gave_it(tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    for data in (first, other):
        make_directories(data)
        assert read_identity(data) is None
    given = identify(first)
    assert identify(first) == read_identity(first) == given
    assert identify(other).node_id != given.node_id


def test_a_later_layout_is_refused_by_its_number_by_every_command(tmp_path: Path) -> None:
    """Its other fields may be any."""
    data = tmp_path / "data"
    (data / "journal").mkdir(parents=True)
    (data / IDENTITY_FILE).write_text(json.dumps({"format": "tidebook-data", "version": FORMAT_VERSION + 1}))
    with pytest.raises(DirectoryVersionError) as caught:
        read_identity(data)
    assert (caught.value.facts["found"], caught.value.facts["expected"]) == (FORMAT_VERSION + 1, FORMAT_VERSION)
    with pytest.raises(DirectoryVersionError):
        tb.open(data)
    before = sorted(data.rglob("*"))
    recording = tmp_path / "a.log"
    recording.write_text('1723161254000000000 {"stream":"btcusdt@trade","data":{}}\n')
    for words in (["run"], ["journal", "ls"], ["feeds", "ls"], ["record", str(recording)], ["replay", str(recording)]):
        refused = tidebook(*words, "--data", str(data))
        told = f"tidebook: {data} has layout version 2, this release knows up to 1; use the release that wrote it\n"
        assert (refused.returncode, refused.stderr) == (1, told), words
    assert sorted(data.rglob("*")) == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "tidebook-data", "version": 1}', '{"format": "x", "version": 1}']
)
def test_a_file_that_says_nothing_is_no_identity_and_is_not_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / IDENTITY_FILE).write_text(text)
    with pytest.raises(DirectoryError, match=re.escape(str(tmp_path / IDENTITY_FILE))):
        identify(tmp_path)
    assert (tmp_path / IDENTITY_FILE).read_text() == text


def test_a_directory_whose_restoring_did_not_end_is_used_by_nobody(tmp_path: Path) -> None:
    (tmp_path / RESTORING).mkdir()
    with pytest.raises(DirectoryError, match="tidebook restore"):
        identify(tmp_path)
    assert "tidebook restore" in tidebook("run", "--data", str(tmp_path)).stderr


def test_files_half_replaced_are_removed_when_their_process_is_gone_and_only_then(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    directories = (tmp_path, tmp_path / "feeds", tmp_path / "journal" / "feed.kraken")
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        for name in (f".a.json.{gone.pid}.tmp", f".a.json.{os.getpid()}.tmp", ".mine.tmp", "a.json"):
            (directory / name).touch()
    removed = remove_leftovers(tmp_path)
    assert removed == [directory / f".a.json.{gone.pid}.tmp" for directory in directories]
    for directory in directories:
        assert {path.name for path in directory.iterdir() if path.is_file()} == {
            f".a.json.{os.getpid()}.tmp", ".mine.tmp", "a.json"
        }  # fmt: skip


def test_the_format_page_has_every_field_of_the_identity(root: Path) -> None:
    page = (root / "docs/formats/data-directory.md").read_text()
    section = page.partition("## `tidebook.json`")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [
        field.name for field in msgspec.structs.fields(Identity)
    ]

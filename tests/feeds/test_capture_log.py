"""The capture log says exactly where an interrupted recording goes on."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tidebook.errors import CaptureLogError
from tidebook.feeds.capture_log import FILE_NAME, Capture, CaptureLog, file_digest


def test_a_new_recording_begins_behind_the_journal_and_survives_reopening(tmp_path: Path) -> None:
    assert CaptureLog(tmp_path).resume("a.log", "aa", last_sequence=10) == 0
    assert CaptureLog(tmp_path).captures == (Capture("a.log", "aa", first_sequence=11),)


def test_an_interrupted_recording_goes_on_where_the_journal_ends(tmp_path: Path) -> None:
    CaptureLog(tmp_path).resume("a.log", "aa", last_sequence=0)
    assert CaptureLog(tmp_path).resume("a.log", "aa", last_sequence=0) == 0
    assert CaptureLog(tmp_path).resume("renamed.log", "aa", last_sequence=7) == 7


def test_a_finished_recording_is_not_taken_in_twice(tmp_path: Path) -> None:
    log = CaptureLog(tmp_path)
    log.resume("a.log", "aa", last_sequence=0)
    log.finish(7)
    assert CaptureLog(tmp_path).resume("a.log", "aa", last_sequence=7) is None
    assert CaptureLog(tmp_path).resume("b.log", "bb", last_sequence=7) == 0


def test_another_recording_has_to_wait_for_the_interrupted_one(tmp_path: Path) -> None:
    CaptureLog(tmp_path).resume("a.log", "aa", last_sequence=0)
    with pytest.raises(CaptureLogError, match=r"a\.log was interrupted after 3 messages; finish it first"):
        CaptureLog(tmp_path).resume("b.log", "bb", last_sequence=3)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version": 9, "captures": []}', b'{"version": 1, "captures": [{}]}']
)
def test_a_damaged_or_later_log_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(CaptureLogError, match=FILE_NAME):
        CaptureLog(tmp_path)


def test_a_recording_that_version_1_knew_by_its_file_is_known_by_its_content_once_it_was_seen(tmp_path: Path) -> None:
    entries = [asdict(Capture("a.log.zst", "0a", 1, 7)), asdict(Capture("b.log.zst", "0b", 8, 5))]
    (tmp_path / FILE_NAME).write_text(json.dumps({"version": 1, "captures": entries}))
    log = CaptureLog(tmp_path)
    assert log.knows_files
    log.adopt("file-blake2b:0b", "blake3:bb")
    log.adopt("file-blake2b:0c", "blake3:cc")
    again = CaptureLog(tmp_path)
    assert [capture.digest for capture in again.captures] == ["file-blake2b:0a", "blake3:bb"]
    assert again.resume("b.log", "blake3:bb", last_sequence=12) is None
    assert again.resume("c.log", "blake3:cc", last_sequence=12) == 0


def test_version_1_knew_a_file_by_its_bytes(tmp_path: Path) -> None:
    """The hash of three megabytes of x as Python's hashlib gives it."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)
    assert file_digest(path) == f"file-blake2b:{hashlib.blake2b(b'x' * 3_000_000, digest_size=16).hexdigest()}"

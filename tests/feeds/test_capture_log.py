"""The capture log says exactly where an interrupted recording goes on."""

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


def test_a_recording_is_known_by_its_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"x" * 3_000_000)
    second.write_bytes(b"x" * 3_000_000)
    assert file_digest(first) == file_digest(second)
    second.write_bytes(b"y")
    assert file_digest(first) != file_digest(second)

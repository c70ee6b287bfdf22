"""What was recorded and exported is the recording, bit for bit, however often the recording was interrupted."""

import subprocess
import sys
from pathlib import Path

import pytest

from tidebook import persistence
from tidebook._core import JournalReader, JournalWriter, Recording, pack_message
from tidebook.errors import CaptureError, CaptureLogError, UsageError
from tidebook.node.export import export_journal
from tidebook.node.recordings import RecordingJournal, Recordings

LINES = b"".join(
    b'17231612539%08d {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":%d,'
    b'"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}\n' % (n, n)
    for n in range(1, 20_001)
)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "btcusdt.log"
    path.write_bytes(LINES)
    return path


def take_in(data: Path, *paths: Path, chunks: int | None = None) -> RecordingJournal:
    """Takes recordings in, all of them or some chunks, and leaves without closing when interrupted."""
    journal = RecordingJournal(data, Recordings(paths))
    for count, _ in enumerate(journal.take_in(), 1):
        if count == chunks:
            return journal
    journal.close()
    return journal


def exported(data: Path, tmp_path: Path, format: str) -> bytes:
    out = tmp_path / "out"
    with out.open("wb") as file:
        export_journal(data, None, format, file)
    return out.read_bytes()


def test_an_exported_recording_is_the_recording(tmp_path: Path, recording: Path) -> None:
    journal = take_in(tmp_path / "data", recording)
    assert (journal.intake.messages, journal.intake.held, journal.intake.damaged) == (20_000, 0, [])
    assert exported(tmp_path / "data", tmp_path, "hftbacktest") == LINES


def test_the_own_format_gives_the_same_messages_back(tmp_path: Path, recording: Path) -> None:
    take_in(tmp_path / "data", recording)
    copy = tmp_path / "copy.tbcap"
    copy.write_bytes(exported(tmp_path / "data", tmp_path, "tbcap"))
    again, original = Recording(copy), Recording(recording)
    while len(messages := original.next(999)):
        others = again.next(999)
        assert [others[n] for n in range(len(others))] == [messages[n] for n in range(len(messages))]
    assert not len(again.next())


def test_an_interrupted_recording_goes_on_without_gap_or_duplicate(tmp_path: Path, recording: Path) -> None:
    interrupted = take_in(tmp_path / "data", recording, chunks=1)
    del interrupted
    journal = take_in(tmp_path / "data", recording)
    assert (journal.intake.messages, journal.intake.held) == (20_000 - 16_384, 16_384)
    assert exported(tmp_path / "data", tmp_path, "hftbacktest") == LINES


def test_a_recording_is_taken_in_once_and_another_goes_behind_it(tmp_path: Path, recording: Path) -> None:
    take_in(tmp_path / "data", recording)
    other = tmp_path / "btcusdt-2.log"
    other.write_bytes(LINES[: LINES.index(b"\n") + 1].replace(b'"t":1,', b'"t":20001,'))
    journal = take_in(tmp_path / "data", recording, other)
    assert (journal.intake.messages, journal.intake.held) == (1, 20_000)
    assert JournalReader(journal.directory, from_sequence=20_001).next() is not None
    assert exported(tmp_path / "data", tmp_path, "hftbacktest") == LINES + other.read_bytes()


def test_an_interrupted_recording_has_to_be_finished_first(tmp_path: Path, recording: Path) -> None:
    interrupted = take_in(tmp_path / "data", recording, chunks=1)
    del interrupted
    other = tmp_path / "btcusdt-2.log"
    other.write_bytes(LINES[:1000].rpartition(b"\n")[0] + b"\n")
    with pytest.raises(CaptureLogError, match=r"btcusdt\.log was interrupted after 16384 messages"):
        take_in(tmp_path / "data", other)


def test_damaged_lines_are_named_and_the_rest_is_taken_in(tmp_path: Path, recording: Path) -> None:
    recording.write_bytes(LINES.replace(b"1723161253900000003 ", b"17231612539000000z3 "))
    journal = take_in(tmp_path / "data", recording)
    assert journal.intake.messages == 19_999
    assert [place for place in journal.intake.damaged if "line 3 (byte" in place] == journal.intake.damaged
    assert len(journal.intake.damaged) == 1


def test_paths_that_are_no_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"nowhere\.log does not exist"):
        Recordings([tmp_path / "nowhere.log"])
    with pytest.raises(CaptureError, match="is a directory"):
        Recordings([tmp_path])


def test_recordings_of_two_venues_are_refused(tmp_path: Path, recording: Path) -> None:
    kraken = tmp_path / "kraken.cbcap"
    kraken.write_bytes(b"CBCAP1 kraken BTC/USD 1785552832693693000\n1 23\n" + b'{"channel":"heartbeat"}\n')
    with pytest.raises(CaptureError, match="different venues"):
        Recordings([recording, kraken])


def test_a_directory_without_a_journal_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no journal"), (tmp_path / "out").open("wb") as out:
        export_journal(tmp_path, None, "tbcap", out)


def test_the_commands_record_and_export_and_compress(tmp_path: Path, recording: Path) -> None:
    def tidebook(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "tidebook", *words], cwd=tmp_path, capture_output=True, check=False
        )

    assert tidebook("record", str(recording), "--data", "d").returncode == 0
    assert tidebook("export", "--data", "d", "--format", "hftbacktest").stdout == LINES
    assert tidebook("export", "x.tbcap.zst", "--data", "d").returncode == 0
    assert tidebook("record", "x.tbcap.zst", "--data", "d2").returncode == 0
    assert tidebook("export", "--data", "d2", "--format", "hftbacktest").stdout == LINES
    refused = tidebook("export", "x.tbcap.zst", "--data", "d")
    assert refused.returncode != 0
    assert b"exists; choose another name or add --force" in refused.stderr
    assert b"Traceback" not in refused.stderr


def test_an_export_never_begins_in_the_middle_without_being_told_to(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out.tbcap"
    journal = data / "journal/feed.binance"
    messages = [pack_message(1_700_000_000_000_000_000 + n, 1, 1, b'{"n":%d}' % n) for n in range(1, 31)]
    for begin in (0, 10, 20):
        writer = JournalWriter(journal, "feed.binance", segment_size_bytes=65_536)
        for message in messages[begin : begin + 10]:
            writer.append(message)
        writer.close()
    assert persistence.compact(journal, 11).first_sequence == 11
    command = [sys.executable, "-m", "tidebook", "export", str(out), "--data", str(data)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "begins at message 11: older ones were compacted away" in refused.stderr
    assert "add --from 11 " in refused.stderr
    assert not out.exists()
    early = subprocess.run([*command, "--from", "10"], capture_output=True, text=True, check=False)
    assert (early.returncode, out.exists()) == (2, False)
    done = subprocess.run([*command, "--from", "11"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{out}: 20 messages of feed.binance, from message 11 on\n")
    read = Recording(out).next()
    assert [read[n] for n in range(len(read))] == messages[10:]

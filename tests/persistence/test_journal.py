"""Journals from Python: written by one process, read and judged by others. The campaigns are in crates/journal."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidebook import persistence
from tidebook._core import JournalReader, JournalWriter, Payloads
from tidebook.errors import (
    JournalAbsentError,
    JournalCompactedError,
    JournalDamagedError,
    JournalError,
    JournalLockedError,
    JournalVersionError,
)

SEGMENT_SIZE_BYTES = 8_192
FIRST = "0000000001.segment"


def payload(sequence: int) -> bytes:
    return f"message {sequence} ".encode() * (sequence % 7)


def write(directory: Path, count: int, *, close: bool = True) -> JournalWriter:
    """Messages 1 to `count`, five to a sync."""
    writer = JournalWriter(directory, "feed.test", segment_size_bytes=SEGMENT_SIZE_BYTES)
    for sequence in range(writer.next_sequence, writer.next_sequence + count):
        assert writer.append(payload(sequence)) == sequence
        if sequence % 5 == 0:
            writer.sync()
    writer.sync()
    if close:
        writer.close()
    return writer


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A closed journal of 200 messages in several segments."""
    write(tmp_path / "journal", 200)
    return tmp_path / "journal"


def test_messages_read_back_in_order_from_any_sequence(journal: Path) -> None:
    assert list(persistence.read(journal)) == [(sequence, payload(sequence)) for sequence in range(1, 201)]
    assert next(persistence.read(journal, from_sequence=77)) == (77, payload(77))
    assert list(persistence.read(journal, from_sequence=201)) == []


@pytest.mark.parametrize("what", ["channel", "journal_id", "next_sequence", "durable", "batch_end"])
def test_a_look_at_a_reader_keeps_no_other_thread_waiting(journal: Path, what: str) -> None:
    """What it waits for is a thread that reads from the disk. Method: nobody is made to let go, so another thread gets on only
    when the look itself lets it.
    """
    reader = JournalReader(journal)
    reader.next()
    begins, ran = threading.Event(), threading.Event()
    interval_s = sys.getswitchinterval()

    def run() -> None:
        begins.wait()
        ran.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        sys.setswitchinterval(600)
        begins.set()
        looks = next((looks for looks in range(2_000_000) if getattr(reader, what) is None or ran.is_set()), None)
    finally:
        sys.setswitchinterval(interval_s)
        thread.join()
    assert looks is not None


def test_many_messages_are_appended_in_one_call(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, "feed.test", segment_size_bytes=SEGMENT_SIZE_BYTES)
    assert writer.append_all(Payloads([b"a", b"", b"ccc"])) == 3
    assert (writer.next_sequence, writer.durable) == (4, 0)
    assert writer.sync() == 3
    assert [message for _, message in persistence.read(tmp_path)] == [b"a", b"", b"ccc"]


def test_verify_counts_what_inspect_only_looks_at(journal: Path) -> None:
    inspected, verified = persistence.inspect(journal), persistence.verify(journal)
    assert (inspected.channel, inspected.first_sequence, inspected.last_sequence) == ("feed.test", 1, 200)
    assert (inspected.durable, inspected.closed, inspected.torn_bytes) == (200, True, 0)
    assert inspected.segments > 1
    assert (verified.messages, verified.batches) == (200, 40)
    assert vars(inspected).items() <= vars(verified).items()


def test_a_verification_tells_how_many_messages_more_and_ends_with_what_is_raised_there(journal: Path) -> None:
    told: list[int] = []
    assert persistence.verify(journal, progress=told.append).messages == sum(told) == 200

    def end(messages: int) -> None:
        raise InterruptedError(messages)

    with pytest.raises(InterruptedError):
        persistence.verify(journal, progress=end)


def test_a_reader_follows_a_writer_and_sees_only_what_is_durable(tmp_path: Path) -> None:
    writer = write(tmp_path, 7, close=False)
    reader = JournalReader(tmp_path)
    found = reader.next()
    assert found is not None
    assert (found[0], len(found[1]), reader.next()) == (1, 7, None)
    writer.append(payload(8))
    writer.flush()
    assert reader.next() is None
    everything = JournalReader(tmp_path, from_sequence=8, durable_only=False).next()
    assert everything is not None
    assert everything[0] == 8
    writer.sync()
    found = reader.next()
    assert found is not None
    assert (found[0], found[1][0]) == (8, payload(8))


def test_a_flipped_byte_is_named_by_segment_offset_and_sequence(journal: Path) -> None:
    file = journal / FIRST
    content = bytearray(file.read_bytes())
    content[4096 + 100] ^= 1
    file.write_bytes(content)
    with pytest.raises(JournalDamagedError) as caught:
        persistence.verify(journal)
    assert caught.value.facts == {"segment": 1, "offset": 4096, "sequence": 1}
    with pytest.raises(JournalDamagedError):
        list(persistence.read(journal))


def test_what_was_read_before_damage_is_given_before_the_error(tmp_path: Path) -> None:
    write(tmp_path, 50)
    file = tmp_path / FIRST
    content = bytearray(file.read_bytes())
    content[content.index(payload(38))] ^= 1
    file.write_bytes(content)
    reader = JournalReader(tmp_path)
    read = reader.next()
    assert read is not None
    assert (read[0], len(read[1]), read[1][34]) == (1, 35, payload(35))
    for _ in range(2):
        with pytest.raises(JournalDamagedError):
            reader.next()


def test_a_cut_tail_is_torn_if_nothing_remembers_it_and_damage_if_something_does(tmp_path: Path) -> None:
    """Method: the last batch of a journal that was not closed is zeroed, with and without its watermark file."""
    write(tmp_path, 10, close=False)
    file = tmp_path / FIRST
    content = file.read_bytes()
    used = len(content.rstrip(b"\0"))
    file.write_bytes(content[: used - 1] + bytes(len(content) - used + 1))
    with pytest.raises(JournalDamagedError) as caught:
        JournalWriter(tmp_path, "feed.test")
    assert caught.value.facts["sequence"] == 6

    (tmp_path / "durable").unlink()
    assert persistence.inspect(tmp_path).torn_bytes > 0
    with pytest.raises(JournalDamagedError):
        JournalWriter(tmp_path, "feed.test", evidence=10)
    writer = JournalWriter(tmp_path, "feed.test")
    assert writer.next_sequence == 6
    assert writer.recovery["torn_bytes"] > 0
    assert writer.recovery["undecidable_from"] == 6


def test_one_process_writes(tmp_path: Path) -> None:
    writer = write(tmp_path, 1, close=False)
    with pytest.raises(JournalLockedError):
        JournalWriter(tmp_path, "feed.test")
    writer.close()
    JournalWriter(tmp_path, "feed.test")
    with pytest.raises(JournalError, match="closed"):
        writer.append(b"after close")


def test_what_is_no_journal_of_ours_is_refused_with_what_it_is(tmp_path: Path, journal: Path) -> None:
    with pytest.raises(JournalAbsentError, match="no journal here"):
        persistence.inspect(tmp_path / "nothing")
    with pytest.raises(JournalError, match=r"feed\.other"):
        JournalWriter(journal, "feed.other")
    file = journal / FIRST
    content = bytearray(file.read_bytes())
    content[8] = 3
    file.write_bytes(content)
    with pytest.raises(JournalDamagedError):
        persistence.inspect(journal)


def test_what_a_channel_is_run_with_is_told_with_its_first_message(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, "feed.test", segment_size_bytes=SEGMENT_SIZE_BYTES, configuration='{"a":1}')
    writer.append(b"one")
    writer.configure('{"a":2}')
    writer.append(b"two")
    writer.close()
    changes = [(change.first_sequence, change.configuration) for change in persistence.configurations(tmp_path)]
    assert changes == [(1, '{"a":1}'), (2, '{"a":2}')]
    assert [message for _, message in persistence.read(tmp_path)] == [b"one", b"two"]


VERSION_1 = Path(__file__).parents[2] / "crates/journal/tests/journals/version1"


def test_a_journal_of_version_1_of_the_format_is_read(tmp_path: Path) -> None:
    shutil.copytree(VERSION_1, tmp_path / "journal")
    verified = persistence.verify(tmp_path / "journal")
    assert (verified.messages, verified.closed) == (90, True)
    assert list(read_by_the_page(tmp_path / "journal")) == list(persistence.read(tmp_path / "journal"))
    assert [change.configuration for change in persistence.configurations(tmp_path / "journal")] == [None]


def test_old_segments_go_by_a_keep_rule_and_who_asks_for_them_is_told(tmp_path: Path) -> None:
    journal = tmp_path
    write(journal, 1000)
    assert persistence.first_to_keep(journal, "stored") == 1
    keep_from = persistence.first_to_keep(journal, "stored and snapshots 2", stored=800, snapshots=[700, 900])
    assert keep_from == 700
    reader = JournalReader(journal)
    compacted = persistence.compact(journal, keep_from)
    assert 1 < compacted.first_sequence <= keep_from
    assert compacted.removed == list(range(1, len(compacted.removed) + 1))
    assert len(compacted.removed) > 2
    assert next(persistence.read(journal))[0] == persistence.inspect(journal).first_sequence == compacted.first_sequence
    with pytest.raises(JournalCompactedError) as caught:
        JournalReader(journal, from_sequence=1)
    assert caught.value.facts == {"requested": 1, "first": compacted.first_sequence}
    found = reader.next()
    assert found is not None
    assert found[1][0] == payload(1), "what a reader is in stays readable"
    with pytest.raises(JournalCompactedError):
        reader.next()
    assert persistence.compact(journal, keep_from).removed == []
    with pytest.raises(JournalError, match=r"keep = stored or not: .* is no condition; write forever"):
        persistence.first_to_keep(journal, "stored or not")


def test_a_journal_of_another_version_is_refused_by_both_numbers(journal: Path) -> None:
    """Method: a header of version 3 with its right checksum."""
    file = journal / FIRST
    content = bytearray(file.read_bytes())
    content[8] = 3
    content[4092:4096] = crc32c(content[:4092]).to_bytes(4, "little")
    file.write_bytes(content)
    with pytest.raises(JournalVersionError) as caught:
        JournalReader(journal)
    assert caught.value.facts == {"found": 3, "expected": 2}


def crc32c(data: bytes | bytearray) -> int:
    """CRC-32C, one bit at a time: the format page's checksum, written independently of the core."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_the_format_page_is_enough_to_read_a_journal(journal: Path) -> None:
    """Method: a second reader, written from docs/formats/journal.md alone, finds the same messages."""
    writer = JournalWriter(journal, "feed.test", segment_size_bytes=SEGMENT_SIZE_BYTES, configuration='{"a":1}')
    writer.append(payload(201))
    writer.close()
    assert list(read_by_the_page(journal)) == [(sequence, payload(sequence)) for sequence in range(1, 202)]


def read_by_the_page(directory: Path) -> Iterator[tuple[int, bytes]]:
    for file in sorted(directory.glob("*.segment")):
        data = file.read_bytes()
        assert data[:8] == b"TIDEJRNL"
        header_crc = int.from_bytes(data[4092:4096], "little")
        assert crc32c(data[:4092]) == header_crc
        previous, at = header_crc, 4096
        while at + 48 <= len(data) and (length := int.from_bytes(data[at + 4 : at + 8], "little")):
            batch = data[at : at + length]
            chain, _, stored_previous = (int.from_bytes(batch[start : start + 4], "little") for start in (0, 4, 8))
            assert stored_previous == previous
            assert continued_crc32c(header_crc, batch[4:]) == chain
            sequence = int.from_bytes(batch[24:32], "little")
            record = 48
            if batch[44] == 2:  # configuration
                previous, at = chain, at + length
                continue
            for index in range(int.from_bytes(batch[40:44], "little")):
                size = int.from_bytes(batch[record : record + 4], "little")
                yield sequence + index, batch[record + 8 : record + 8 + size]
                record += 8 + (size + 7) // 8 * 8
            assert record == length
            previous, at = chain, at + length


def continued_crc32c(register: int, data: bytes) -> int:
    """CRC-32C whose register begins at `register`."""
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


CHILD = """
import sys
from tidebook._core import JournalWriter
writer = JournalWriter(sys.argv[1], "feed.test", segment_size_bytes=16384)
while True:
    writer.append(b"message %d" % writer.next_sequence)
    print(writer.sync(), flush=True)
"""


FORKING = """
import os
import sys
from tidebook import persistence
from tidebook._core import JournalWriter, Payloads
from tidebook.errors import JournalError

writer = JournalWriter(sys.argv[1], "numbers", segment_size_bytes=8192)
# More than half a segment: the next one is being allocated, by a thread that no child has.
writer.append_all(Payloads([bytes(1000)] * 5))
assert writer.sync() == 5
child = os.fork()
if not child:
    {act}
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
writer.append(b"of the parent")
assert writer.sync() == 6
writer.append_all(Payloads([bytes(1000)] * 20))
writer.close()
payloads = [payload for _, payload in persistence.read(sys.argv[1])]
assert payloads == [bytes(1000)] * 5 + [b"of the parent"] + [bytes(1000)] * 20
assert persistence.verify(sys.argv[1]).messages == 26
"""

CHILDREN = {
    "closes": "writer.close()",
    "forgets": "del writer",
    **{
        f"{call.partition('(')[0]}s": f"""
    try:
        writer.{call}
    except JournalError as error:
        assert "forked" in str(error), error
    else:
        os._exit(1)"""
        for call in (
            "append(b'of the child')",
            "append_all(Payloads([b'of the child']))",
            "flush()",
            "sync()",
            "configure('{}')",
        )
    },
}


@pytest.mark.parametrize("act", CHILDREN.values(), ids=CHILDREN)
def test_a_forked_child_writes_nothing_into_the_journal_of_its_parent(tmp_path: Path, act: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING.format(act=act), str(tmp_path / "journal")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    found: list[tuple[int, bytes]] = []
    for _ in range(3):
        command = [sys.executable, "-c", CHILD, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            acknowledged = [int(child.stdout.readline()) for _ in range(20)]
            os.kill(child.pid, signal.SIGKILL)
            acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
        found = list(persistence.read(tmp_path))
        assert found == [(sequence, b"message %d" % sequence) for sequence in range(1, len(found) + 1)]
        assert len(found) >= acknowledged[-1]
    # A message may be whole on disk and not yet acknowledged.
    assert persistence.verify(tmp_path).messages >= len(found)

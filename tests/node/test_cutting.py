"""A node whose journal was cut goes on: nothing of before is there twice, no number is given twice, nothing is silent."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import tidebook as tb
from tests.node.test_live import derived_trades, get, node, stored_trades, wait_for
from tests.node.test_live import rings as rings
from tests.node.test_recovery import recovery, write
from tests.node.test_snapshot_files import take
from tidebook import persistence
from tidebook._core import CheckpointStore, JournalReader
from tidebook.errors import JournalDamagedError
from tidebook.node.snapshot_files import usable_snapshots
from tidebook.node.storing import stored_position

CHANNEL = "feed.binance"


def tidebook(rings: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tidebook", *map(str, words)]
    environment = os.environ | {"TIDEBOOK_RINGS": str(rings)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def flip_in_message(journal: Path, sequence: int) -> None:
    """A bit of a message in the middle of a segment."""
    read = JournalReader(journal, from_sequence=sequence).next(1)
    assert read is not None
    payload = read[1][0]
    for segment in journal.glob("*.segment"):
        content = bytearray(segment.read_bytes())
        if (at := content.find(payload)) >= 0:
            content[at + len(payload) // 2] ^= 1
            segment.write_bytes(content)
            return
    raise AssertionError(f"message {sequence} is in no segment")


def numbers(journal: Path) -> list[int]:
    """Sequences of all messages."""
    reader = JournalReader(journal)
    found: list[int] = []
    while (read := reader.next()) is not None:
        found += range(read[0], read[0] + len(read[1]))
    return found


def run_on(data: Path, rings: Path, options: Sequence[str]) -> None:
    """A life of the node that stores something and ends by itself."""
    before = stored_position(data, CHANNEL)
    with node(data, rings, *options) as (process, address):
        wait_for(lambda: get(address, "feeds")[0]["books_usable"] == 2)
        wait_for(lambda: get(address, "feeds")[0]["state"] == "live")
        wait_for(lambda: stored_position(data, CHANNEL) > before + 100)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


@pytest.mark.timeout(360)  # three nodes, each of which writes a whole segment of zeros
def test_a_damaged_journal_is_cut_by_the_command_that_was_named_and_the_node_goes_on(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, journal = tmp_path / "data", tmp_path / "data/journal" / CHANNEL
    monkeypatch.setenv("TIDEBOOK_SNAPSHOT_INTERVAL_MIN", "0.005")
    options = ("--venues", "binance", "--rate", "500", "--flush-interval-s", "0.2")
    with node(data, rings, *options) as (process, _):
        wait_for(lambda: stored_position(data, CHANNEL) > 1_000)
        wait_for(lambda: len(usable_snapshots(data, CHANNEL, 2)) == 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    before, known = stored_trades(data), persistence.inspect(journal).last_sequence
    stored, snapshots = stored_position(data, CHANNEL), usable_snapshots(data, CHANNEL, 2)
    flip_in_message(journal, sum(snapshots) // 2)

    refused = tidebook(rings, "run", "--data", data, "--port", 0, *options)
    assert refused.returncode == 1
    assert f"`tidebook journal repair {journal}` tells what can be done" in refused.stderr.splitlines()[-1]
    asked = json.loads(tidebook(rings, "journal", "repair", journal, "--json").stdout)
    last = asked["diagnosis"]["last_good"]
    assert snapshots[0] <= last < snapshots[1] <= stored
    assert {one["kind"] for one in asked["beyond"]} == {"rows", "snapshot", "ring"}

    done = tidebook(rings, "journal", "repair", journal, "--cut-at", last)
    assert done.returncode == 0, done.stderr
    assert f"rows up to {stored:,}, {data}: nothing: rows of lost messages stay" in done.stdout
    kept = [Path(line.removeprefix("  kept: ")) for line in done.stdout.splitlines() if line.startswith("  kept: ")]
    assert all(path.exists() and path.is_relative_to(journal / "quarantine") for path in kept)
    assert {path.suffix for path in kept} == {".segment", ".snapshot", ".ring"}
    again = tidebook(rings, "journal", "repair", journal, "--cut-at", last)
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "it was cut there already; nothing is left to do")

    for _ in range(2):
        run_on(data, rings, options)
    found = numbers(journal)
    begun = found[last]
    assert found == [*range(1, last + 1), *range(begun, found[-1] + 1)]
    assert begun > known, "no number that a lost message had is given again"
    after = stored_trades(data)
    assert after[: len(before)] == before, "rows of before are there once, those of lost messages too"
    assert [trade for trade in after if not last < trade[0] < begun] == derived_trades(data)
    assert len(set(after)) == len(after)
    assert persistence.verify(journal).last_sequence == found[-1]
    assert tb.open(data).verify().ok


def test_an_older_copy_of_a_journal_is_told_with_what_knows_of_more_and_is_cut_by_choice_only(
    tmp_path: Path, rings: Path
) -> None:
    data, channel = tmp_path / "data", "feed.kraken"
    journal, older = data / "journal" / channel, tmp_path / "older"
    write(data, rings, "kraken", 10, "close")
    shutil.copytree(journal, older)
    write(data, rings, "kraken", 10, "close")
    assert take(data) == 20
    shutil.rmtree(journal)
    shutil.copytree(older, journal)
    with pytest.raises(JournalDamagedError, match=r"tidebook journal repair .*snapshots up to message 20, ") as refused:
        recovery(data, rings, venues=["kraken"]).run()
    assert "ends with message 10, and message 20 is known from elsewhere" in str(refused.value)

    asked = tidebook(rings, "journal", "repair", journal, "--json")
    said = json.loads(asked.stdout)
    assert (asked.returncode, said["damaged"]) == (1, True)
    assert (said["diagnosis"]["last_good"], said["diagnosis"]["last_known"]) == (10, 20)
    assert {(one["kind"], one["sequence"]) for one in said["proofs"]} == {("snapshots", 20)}
    told = tidebook(rings, "journal", "repair", journal).stdout
    assert "ends with message 10, and more is known to have been durable" in told
    assert "--cut-at 10       go on behind message 10; loses 11 to 20, 10 messages" in told
    assert (
        "put the newer journal in its place" in tidebook(rings, "journal", "repair", journal, "--source", older).stderr
    )

    done = tidebook(rings, "journal", "repair", journal, "--cut-at", 10)
    assert done.returncode == 0, done.stderr
    assert "the next message is 21, of epoch 2" in done.stdout
    assert tidebook(rings, "journal", "repair", journal).returncode == 0
    write(data, rings, "kraken", 5, "close")
    assert numbers(journal) == [*range(1, 11), *range(21, 26)]


def test_a_cut_puts_aside_the_checkpoints_of_what_it_loses_and_leaves_those_that_hold(
    tmp_path: Path, rings: Path
) -> None:
    """Method: states of a durable channel at messages 5 and 40, one of them of a reader that has both; message 20 is damaged."""
    options = {"durability": "wal", "wal_dir": tmp_path / "wal", "buffer_size": 1 << 14}
    channel = tb.create_channel("numbers", options, directory=rings)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel) as consumer:
        for last in (5, 40):
            messages = [b"message %d" % number for number in range(producer.published + 1, last + 1)]
            producer.write_batch(messages, wait="durable")
            while consumer.committed < last:
                consumer.poll(lambda *_: None, timeout=60)
            consumer.checkpoint("both", b"up to %d" % last)
            consumer.checkpoint(f"at {last}", b"up to %d" % last)
    journal = tmp_path / "wal/numbers"
    for ring in rings.iterdir():
        ring.unlink()
    flip_in_message(journal, 20)
    asked = json.loads(tidebook(rings, "journal", "repair", journal, "--json").stdout)
    assert {(one["name"], one["sequence"]) for one in asked["beyond"]} == {("both", 40), ("at 40", 40)}
    done = tidebook(rings, "journal", "repair", journal, "--cut-at", 5)
    assert done.returncode == 0, done.stderr

    def held(place: Path) -> list[tuple[str, int]]:
        return sorted((one["name"], one["sequence"]) for one in CheckpointStore(place).list())

    assert held(journal / "checkpoints") == [("at 5", 5), ("both", 5)]
    assert held(journal / "quarantine/checkpoints") == [("at 40", 40), ("at 5", 5), ("both", 5), ("both", 40)]
    channel = tb.create_channel("numbers", options, directory=rings)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel) as consumer:
        producer.write(b"of the new epoch", wait="durable")
        found = consumer.recover("both")
        assert found is not None
        assert (found.state, found.cursor.sequence) == (b"up to 5", 5)
        while consumer.committed < 41:
            consumer.poll(lambda *_: None, timeout=60)
        consumer.checkpoint("both", b"new")
    # The same command once more takes nothing of the new epoch.
    before = held(journal / "checkpoints")
    again = tidebook(rings, "journal", "repair", journal, "--cut-at", 5)
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "it was cut there already; nothing is left to do")
    assert held(journal / "checkpoints") == before


def test_a_cut_waits_for_readers_and_leaves_none_a_ring_with_what_was_cut(tmp_path: Path, rings: Path) -> None:
    options = {"durability": "wal", "wal_dir": tmp_path / "wal"}
    root = rings / "default"
    journal = tmp_path / "wal/numbers"
    channel = tb.create_channel("numbers", options, directory=root)
    with tb.open_producer(channel) as producer:
        for number in range(20):
            producer.write(b"message %d" % number, wait="durable")
    flip_in_message(journal, 6)
    with tb.open_consumer(channel, "book"):
        before = sorted(path.read_bytes() for path in journal.glob("*.segment"))
        refused = tidebook(rings, "journal", "repair", journal, "--cut-at", 5)
        assert refused.returncode == 1
        assert f"not cut while consumer book (process {os.getpid()}) has its ring" in refused.stderr
        assert sorted(path.read_bytes() for path in journal.glob("*.segment")) == before
    done = tidebook(rings, "journal", "repair", journal, "--cut-at", 5)
    assert done.returncode == 0, done.stderr
    assert list(root.glob("numbers*")) == [], "who comes before the next start is told that there is none"
    assert len(list((journal / "quarantine/rings").glob("numbers.ring"))) == 1
    hole = "but for 6 to 20, which a cut gave up"
    assert done.stdout.splitlines()[-1] == f"{journal}: whole, up to message 20, {hole}"
    status = tidebook(rings, "status", "--data", tmp_path / "wal").stdout
    assert f"numbers: nobody writes; up to 20 on disk, of this machine alone, {hole}" in status
    assert f"numbers: 1 to 20, {hole}, durable to 20;" in tidebook(rings, "journal", "ls", journal).stdout
    channel = tb.create_channel("numbers", options, directory=root)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "book", start="earliest") as consumer:
        assert producer.write(b"of the new epoch", wait="durable") == 21
        read: list[int] = []
        while not read or read[-1] < 21:
            consumer.poll(lambda sequence, _: read.append(sequence), timeout=60)
        assert read == [1, 2, 3, 4, 5, 21]


def test_a_ring_of_another_copy_shows_nothing_of_a_journal(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: a restored copy goes on under another node's name, and is removed or stays; then the original is asked, and cut."""
    monkeypatch.setenv("TIDEBOOK_RINGS", str(rings))
    data, backups = tmp_path / "data", tmp_path / "backups"
    journal = data / "journal/numbers"

    def write_to(wal: Path, node: str, count: int) -> None:
        channel = tb.create_channel("numbers", {"durability": "wal", "wal_dir": wal}, node=node)
        with tb.open_producer(channel) as producer:
            for number in range(count):
                producer.write(b"message %d of %s" % (number, node.encode()), wait="durable")

    write_to(data / "journal", "na", 20)
    assert tidebook(rings, "backup", backups, "--data", data).returncode == 0
    for name, is_removed in (("gone", True), ("there", False)):
        copy = tmp_path / name
        assert tidebook(rings, "restore", backups, "--data", copy).returncode == 0
        write_to(copy / "journal", f"nb-{name}", 100)
        if is_removed:
            shutil.rmtree(copy)
        asked = tidebook(rings, "journal", "repair", journal)
        assert (asked.returncode, asked.stdout) == (0, f"{journal}: whole, up to message 20; nothing to repair\n")
    flip_in_message(journal, 11)
    asked = tidebook(rings, "journal", "repair", journal)
    assert "--cut-at 10       go on behind message 10; loses 11 to 20, 10 messages" in asked.stdout
    held = Path(next(backups.glob("2*"))) / "data/journal/numbers"
    put_back = tidebook(rings, "journal", "repair", journal, "--source", held)
    assert (put_back.returncode, put_back.stdout.splitlines()[-1]) == (0, f"{journal}: whole, up to message 20")
    flip_in_message(journal, 11)
    done = tidebook(rings, "journal", "repair", journal, "--cut-at", 10)
    assert "cut behind message 10: 10 messages lost as far as is known; the next message is 21" in done.stdout
    assert {path.parent.name for path in rings.glob("*/numbers.ring")} == {"nb-gone", "nb-there"}

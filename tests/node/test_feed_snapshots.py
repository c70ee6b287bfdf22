"""Storage that begins behind a snapshot stores what one that decodes the whole journal does, and says what it did not use."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import tidebook as tb
from tidebook import persistence
from tidebook._core import FeedDecoder, JournalReader, JournalWriter, pack_message
from tidebook.errors import SnapshotError
from tidebook.node.directory import journal_directory, snapshots_directory
from tidebook.node.feed_snapshots import FeedSnapshots, SnapshotOptions, begin
from tidebook.node.replay import replay_journal
from tidebook.node.storing import JournalSource, Storing, journal_identity
from tidebook.storage.follower import Follower, FollowerOptions, Progress
from tidebook.storage.writer import StorageWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

VENUE, CHANNEL = "binance", "feed.binance"
START_MS = 1_723_161_254_000
TYPES = ("trades", "quotes", "depth", "bars", "status")


def message(number: int) -> bytes:
    """Depth, its snapshot, trades and clocks of two symbols; message n of a feed is always the same."""
    ms = START_MS + 40 * number
    symbol = ("BTCUSDT", "ETHUSDT")[number // 3 % 2]
    at = ms * 1_000_000
    if number % 25 == 1:
        return pack_message(at, 1, 3, b"")
    if number in (4, 7):
        book = {"lastUpdateId": 10 * number, "bids": [["10.00", "1.0"]], "asks": [["10.01", "1.5"]]}
        return pack_message(at, 1, 2, json.dumps(book).encode(), f"/api/v3/depth?symbol={symbol}".encode())
    if number % 3 == 0:
        body = {"e": "trade", "E": ms, "s": symbol, "t": number, "p": "10.01", "q": f"0.{number:04d}", "T": ms}
        return pack_message(at, 1, 1, json.dumps(body | {"m": number % 2 == 0}).encode())
    ids = {"U": 10 * number - 200, "u": 10 * number + 9}
    sides = {"b": [["10.00", f"{1 + number % 7}.0"]], "a": [["10.01", f"{2 + number % 5}.5"]]}
    return pack_message(at, 1, 1, json.dumps({"e": "depthUpdate", "E": ms, "s": symbol, **ids, **sides}).encode())


def stop_when_done(stop: threading.Event) -> Callable[[Progress], None]:
    """Ends a follower when it has read all that is durable."""

    def look(done: Progress) -> None:
        if done.caught_up:
            stop.set()

    return look


class Feed:
    """A journal and what stores it, a run at a time."""

    def __init__(self, data: Path, snapshots: SnapshotOptions | None) -> None:
        self.data = data
        self.journal = journal_directory(data, CHANNEL)
        self.writer = JournalWriter(self.journal, CHANNEL, segment_size_bytes=1 << 16)
        self.snapshots = snapshots

    def write(self, count: int) -> None:
        for number in range(count):
            self.writer.append(message(self.writer.next_sequence))
            if number % 50 == 0:
                self.writer.sync()
        self.writer.sync()

    def store(self) -> tuple[int, int]:
        """One run of storage to the end of the journal; behind which message it began, and how many it decoded."""
        with StorageWriter(self.data, CHANNEL, journal=journal_identity(self.journal)) as writer:
            decoder = begin(self.data, VENUE, self.journal, writer)
            behind = decoder.sequence
            source = JournalSource(self.journal, CHANNEL, behind)
            taken = FeedSnapshots(self.data, decoder, source, self.snapshots) if self.snapshots else None
            stop = threading.Event()
            options = FollowerOptions(flush_rows=300)
            follower = Follower(
                source,
                decoder,
                writer,
                options,
                stop_when_done(stop),
                position=behind,
                snapshots=taken,
            )
            done = follower.follow(stop)
            assert done.stored == self.writer.durable
            return behind, done.messages

    def rows(self) -> dict[str, pl.DataFrame]:
        store = tb.open(self.data)
        order = ["source_sequence", "source_index", "instrument_id"]
        return {kind: store.scan(kind, revisions=kind == "bars").collect().sort(order) for kind in TYPES}

    def snapshot_files(self) -> list[Path]:
        return sorted((snapshots_directory(self.data) / CHANNEL / CHANNEL).glob("*.snapshot"))


def assert_same_rows(feed: Feed, whole: Feed) -> None:
    for kind, rows in whole.rows().items():
        assert len(rows) > 0, f"no {kind} to compare"
        assert feed.rows()[kind].equals(rows), kind


def test_what_is_stored_over_restarts_behind_snapshots_is_what_one_run_stores(tmp_path: Path) -> None:
    seeded = random.Random(5)
    feed = Feed(tmp_path / "restarted", SnapshotOptions(interval_s=0.0, keep=3))
    whole = Feed(tmp_path / "whole", None)
    begun = []
    for _ in range(8):
        count = seeded.randint(60, 400)
        feed.write(count)
        whole.write(count)
        before = feed.writer.durable - count
        behind, decoded = feed.store()
        assert behind in (0, before)
        assert decoded == feed.writer.durable - behind
        begun.append(behind)
    assert [bool(behind) for behind in begun] == [False] + 7 * [True], "behind the last message of the run before"
    assert len(feed.snapshot_files()) == 3
    assert whole.store() == (0, feed.writer.durable)
    assert_same_rows(feed, whole)


def test_a_snapshot_that_cannot_be_used_costs_time_and_no_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    feed = Feed(tmp_path / "restarted", SnapshotOptions(interval_s=3600.0))
    whole = Feed(tmp_path / "whole", None)
    for _ in range(3):
        feed.write(150)
        whole.write(150)
        feed.store()
    first, second, newest = feed.snapshot_files()
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    second.write_bytes(second.read_bytes()[:-1])
    feed.write(150)
    whole.write(150)
    assert feed.store() == (150, 450), "behind the oldest, the only one that is whole"
    told = capsys.readouterr().out
    assert all(path.name in told for path in (newest, second))
    first.unlink()
    feed.write(10)
    whole.write(10)
    feed.store()
    whole.store()
    assert_same_rows(feed, whole)


def compact(feed: Feed) -> int:
    """Takes the oldest segments away; the first message that is left."""
    compacted = persistence.compact(feed.journal, 1 << 62)
    assert len(compacted.removed) > 1
    return compacted.first_sequence


def test_a_journal_without_its_beginning_is_stored_behind_a_snapshot_or_refused_with_what_to_do(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "restarted", SnapshotOptions(interval_s=3600.0))
    whole = Feed(tmp_path / "whole", None)
    feed.write(1_500)
    whole.write(1_500)
    feed.store()
    feed.write(200)
    whole.write(200)
    first = compact(feed)
    assert 1 < first <= 1_501
    report = replay_journal(feed.data, CHANNEL)
    assert (report.stored, report.decoded) == (1_700, 1_700), "counters go on from the snapshot's"
    whole.store()
    assert_same_rows(feed, whole)
    feed.write(10)
    for path in feed.snapshot_files():
        path.unlink()
    storing = Storing(feed.data, VENUE, feed.journal, CHANNEL, FollowerOptions())
    storing.start()
    with pytest.raises(SnapshotError, match=rf"begins at message {first} and no snapshot .* from a backup"):
        storing.stop()
    assert storing.state.status == "failed"
    with pytest.raises(SnapshotError, match="no snapshot"):
        replay_journal(feed.data, CHANNEL)
    with StorageWriter(feed.data, CHANNEL, journal=journal_identity(feed.journal)) as writer:
        assert writer.position == 1_700, "nothing was stored without its books"


def test_a_snapshot_ahead_of_what_is_stored_is_not_begun_behind(tmp_path: Path) -> None:
    """A store that was made anew, or put back from a backup, may be behind its snapshots."""
    feed = Feed(tmp_path / "data", SnapshotOptions(interval_s=3600.0))
    feed.write(300)
    feed.store()
    for part in ("_manifest", "warm", "_staging"):
        for path in sorted((feed.data / part).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert feed.store() == (0, 300)
    whole = Feed(tmp_path / "whole", None)
    whole.write(300)
    whole.store()
    assert_same_rows(feed, whole)


def test_a_snapshot_that_cannot_be_written_is_told_and_storing_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    feed = Feed(tmp_path / "data", SnapshotOptions(interval_s=0.0))
    snapshots_directory(feed.data).parent.mkdir(parents=True, exist_ok=True)
    snapshots_directory(feed.data).write_text("in the way")
    feed.write(100)
    with StorageWriter(feed.data, CHANNEL, journal=journal_identity(feed.journal)) as writer:
        decoder, source = FeedDecoder(VENUE), JournalSource(feed.journal, CHANNEL)
        taken = FeedSnapshots(feed.data, decoder, source, SnapshotOptions(interval_s=0.0))
        stop = threading.Event()
        Follower(source, decoder, writer, FollowerOptions(), stop_when_done(stop), snapshots=taken).follow(stop)
        assert (writer.position, taken.newest) == (100, 0)
    assert "no snapshot" in capsys.readouterr().out


def test_the_snapshot_of_a_feed_is_loaded_by_the_command_without_being_told_what_it_is(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "data", SnapshotOptions(interval_s=3600.0))
    feed.write(150)
    feed.store()
    feed.write(50)
    store = feed.snapshot_files()[0].parent
    command = [sys.executable, "-m", "tidebook", "snapshot", "load", str(feed.journal)]
    shown = subprocess.run([*command, str(store)], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    whole = FeedDecoder(VENUE)
    reader = JournalReader(feed.journal)
    while (read := reader.next()) is not None:
        whole.decode(*read)
    assert shown.stdout.splitlines() == [
        f"{CHANNEL}: from snapshot at 150 and 50 messages behind it",
        f"at 200, state hash {whole.state_hash:016x}",
        "2 instruments, 2 books",
    ]
    facts = json.loads(subprocess.check_output([*command, str(store), "--at-most", "149", "--json"]))
    assert (facts["used"], facts["tail_count"], facts["state_hash"]) == (None, 200, f"{whole.state_hash:016x}")
    (tmp_path / "positions").mkdir()
    other = subprocess.run([*command, str(tmp_path / "positions")], capture_output=True, text=True, check=False)
    assert (other.returncode, "--state module:name" in other.stderr) == (2, True)

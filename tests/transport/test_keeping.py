"""Keep rules of channels of one's own: what goes, what stays, who is told, and that a kill in the middle loses nothing wanted."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tidebook as tb
from tidebook.errors import ChannelError, ChannelUsageError, JournalError
from tidebook.persistence import SnapshotStore, inspect, read, verify
from tidebook.persistence.snapshots import place_behind
from tidebook.transport import keeping
from tidebook.transport.keep_rule import EVEN_UNREAD, KeepPlan, plan_of
from tidebook.transport.keeping import Keeping, compact_by

SEGMENT = 16_384
MESSAGES_A_SEGMENT = 14
"""Of a thousand bytes each, one a batch."""


def options(wal_dir: Path, **more: object) -> tb.ChannelOptions:
    asked = {
        "durability": "wal",
        "wal_dir": wal_dir,
        "buffer_size": 1 << 14,
        "segment_size_bytes": SEGMENT,
        "compaction_threshold": 0,
        "snapshot_interval_ms": 86_400_000,
    } | more
    return tb.ChannelOptions(**asked)  # type: ignore[arg-type]


def write(producer: tb.Producer, count: int) -> None:
    """One a batch, so that segments are of few messages."""
    for _ in range(count):
        number = producer.published + 1
        assert producer.write(b"%08d" % number + b"." * 992, wait="durable") == number


def taken(consumer: tb.Consumer, count: int) -> tb.Batch:
    """The next messages, at most so many."""
    batch = consumer.poll_batch(count, timeout=60)
    assert isinstance(batch, tb.Batch), batch
    return batch


def read_to(consumer: tb.Consumer, sequence: int) -> None:
    while consumer.committed < sequence:
        taken(consumer, sequence - consumer.committed).release()


def numbers(journal: Path) -> list[int]:
    """All that the journal holds, each checked against its sequence."""
    found = []
    for sequence, payload in read(journal):
        assert payload.startswith(b"%08d" % sequence)
        found.append(sequence)
    return found


@pytest.fixture(autouse=True)
def _seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread does not look while a test looks at a journal step by step."""
    monkeypatch.setattr(keeping, "INTERVAL_S", 3_600.0)


def test_without_a_rule_everything_stays(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("fills", options(tmp_path), directory=rings)
    with tb.open_producer(channel) as producer:
        write(producer, 100)
        kept = producer.compact()
    assert (kept.rule, kept.first_sequence, kept.removed_segments, kept.text) == ("forever", 1, 0, "")
    assert numbers(tmp_path / "fills") == list(range(1, 101))


def test_by_size_the_oldest_segments_go_and_the_journal_stays_above_nothing_else(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("fills", options(tmp_path, keep="size 64KiB"), directory=rings)
    with tb.open_producer(channel) as producer:
        write(producer, 200)
        kept = producer.compact()
        assert kept.removed_segments > 5
        assert kept.removed_bytes >= kept.removed_segments * 12_000
        assert 65_536 <= kept.size_bytes <= 65_536 + 2 * SEGMENT
        assert producer.compact().removed_segments == kept.removed_segments, "counted since the producer was opened"
    assert numbers(tmp_path / "fills") == list(range(kept.first_sequence, 201))
    with tb.open_producer(channel) as producer:
        write(producer, 1)
    assert verify(tmp_path / "fills").last_sequence == 201


def test_a_journal_up_to_its_threshold_is_left_alone(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel(
        "fills", options(tmp_path, keep="size 0", compaction_threshold=250_000), directory=rings
    )
    with tb.open_producer(channel) as producer:
        write(producer, 100)
        assert producer.compact().first_sequence == 1
        write(producer, 100)
        assert producer.compact().first_sequence > 150


def test_what_is_younger_than_the_rule_says_stays(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("fills", options(tmp_path, keep="age 1h"), directory=rings)
    with tb.open_producer(channel) as producer:
        write(producer, 100)
        kept = producer.compact()
    assert numbers(tmp_path / "fills") == list(range(1, 101))
    assert "removed" not in kept.text, "the segment without a message that create_channel began is nobody's loss"
    assert kept.held_by == "its rule keeps message 1 and what follows, and its two newest segments stay"


def test_what_a_named_consumer_has_not_read_stays_until_it_has(rings: Path, tmp_path: Path) -> None:
    """It falls behind what the ring holds, so the journal is all it has; then it reads on without a gap."""
    channel = tb.create_channel("fills", options(tmp_path, keep="size 0"), directory=rings)
    with tb.open_producer(channel) as producer:
        with tb.open_consumer(channel, "booking") as consumer:
            write(producer, 60)
            taken(consumer, 30).release()
        write(producer, 140)
        kept = producer.compact()
        assert kept.first_sequence <= 31 < kept.first_sequence + MESSAGES_A_SEGMENT
        assert kept.held_by.startswith("consumer booking still needs message 31") or "stored cursor" in kept.held_by
        seen: list[int] = []
        with tb.open_consumer(channel, "booking") as consumer:
            while len(seen) < 170:
                with taken(consumer, 100) as batch:
                    seen += range(batch.first_sequence, batch.first_sequence + len(batch))
        assert seen == list(range(31, 201))
        assert producer.compact().first_sequence > 170


def test_a_reader_without_a_name_that_reads_the_journal_keeps_it_while_it_lives(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("fills", options(tmp_path, keep="size 0"), directory=rings)
    with tb.open_producer(channel) as producer:
        write(producer, 200)
        with tb.open_consumer(channel, start=1) as consumer:
            taken(consumer, 5).release()
            kept = producer.compact()
            assert kept.first_sequence == 1
            assert f"a consumer of process {os.getpid()} still needs message" in kept.held_by
            batch = taken(consumer, 5)
            assert batch.first_sequence == 6
            batch.release()
        assert producer.compact().first_sequence > 150


def test_what_readers_of_another_nodes_ring_have_not_read_stays(
    rings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is open without a name, and a named one whose cursor nothing but its ring has."""
    monkeypatch.setenv("TIDEBOOK_RINGS", str(rings))
    asked = options(tmp_path / "wal", keep=f"size {4 * SEGMENT}")
    first = tb.create_channel("fills", asked, node="first")
    with tb.open_producer(first) as producer:
        write(producer, 20 * MESSAGES_A_SEGMENT)
    with tb.open_consumer(first, start=1) as reader, tb.open_consumer(first, "booking", start=1) as booking:
        for consumer in (reader, booking):
            taken(consumer, 3).release()
        with tb.open_producer(tb.create_channel("fills", asked, node="second")) as producer:
            kept = producer.compact()
            assert (kept.first_sequence, kept.failure) == (1, "")
            assert "consumer" in kept.held_by
        for consumer in (reader, booking):
            read_to(consumer, 20 * MESSAGES_A_SEGMENT)


@pytest.mark.parametrize("start", [1, "earliest"])
def test_who_opens_after_compaction_has_asked_who_reads_is_asked_for_once_more(
    rings: Path, tmp_path: Path, start: Any
) -> None:
    """Method: it opens right behind the first look at the readers."""
    channel = tb.create_channel("fills", options(tmp_path), directory=rings)
    journal = tmp_path / "fills"
    opened: list[tb.Consumer] = []

    def consumers() -> list[dict[str, Any]]:
        found = keeping.ring_consumers(journal)
        if not opened:
            opened.append(tb.open_consumer(channel, "booking", start=start))
        return found

    with tb.open_producer(channel) as producer:
        write(producer, 200)
        kept = compact_by(journal, KeepPlan(rule="size 0", threshold_bytes=0), consumers)
        assert kept.first_sequence == 1
        assert kept.held_by == "consumer booking still needs message 1"
        with opened[0] as consumer:
            read_to(consumer, 200)
    assert numbers(journal) == list(range(1, 201))


def test_who_opens_while_what_was_announced_is_removed_begins_behind_it_without_a_gap(
    rings: Path, tmp_path: Path
) -> None:
    """Method: compaction goes on with who it knew by the time the other one is known to the ring; then another begins at what is gone."""
    channel = tb.create_channel("fills", options(tmp_path), directory=rings)
    journal = tmp_path / "fills"
    opened: list[tb.Consumer] = []
    opening = threading.Thread(target=lambda: opened.append(tb.open_consumer(channel, "booking", start="earliest")))
    looks = 0

    def consumers() -> list[dict[str, Any]]:
        nonlocal looks
        looks += 1
        found = keeping.ring_consumers(journal)
        if looks == 2:
            opening.start()
            while not any(one["name"] == "booking" for one in channel.status()["consumers"]):
                assert opening.is_alive()
        return found

    with tb.open_producer(channel) as producer:
        write(producer, 200)
        first = compact_by(journal, KeepPlan(rule="size 0", threshold_bytes=0), consumers).first_sequence
        opening.join()
        assert first > 150
        with opened[0] as consumer, taken(consumer, 10) as batch:
            begun = batch.first_sequence
            assert begun in (first, channel.status()["oldest"])
        with tb.open_consumer(channel, start=1) as consumer:
            gap = consumer.poll_batch(timeout=60)
            assert isinstance(gap, tb.Gap)
            assert (gap.first, gap.count) == (1, begun - 1)


def test_readers_of_a_ring_in_a_place_of_its_own_hold_back_who_compacts_from_anywhere(
    rings: Path, tmp_path: Path
) -> None:
    """Method: by the command, which is told of no such place; then the ring is gone, as by a reboot."""
    channel = tb.create_channel("fills", options(tmp_path), directory=rings / "apart")
    journal = tmp_path / "fills"
    compact = [sys.executable, "-m", "tidebook", "journal", "compact", str(journal), "--keep", "size 0"]
    environment = os.environ | {"TIDEBOOK_RINGS": str(rings / "nodes")}
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, start=1) as consumer:
        write(producer, 200)
        said = subprocess.run(compact, capture_output=True, text=True, env=environment, check=True)
        assert f"it begins with message 1; a consumer of process {os.getpid()} still needs message 1" in said.stdout
        read_to(consumer, 200)
    shutil.rmtree(rings / "apart")
    said = subprocess.run(compact, capture_output=True, text=True, env=environment, check=True)
    assert "segments removed" in said.stdout


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[12] ^= 1
    path.write_bytes(content)


def other(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace_by_it(path: Path) -> None:
        path.unlink()
        make(path)

    return replace_by_it


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(Path.unlink, "it is gone", id="removed"),
        pytest.param(lambda path: path.write_bytes(b""), "some of it is missing", id="emptied"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1]), "it is damaged", id="cut"),
        pytest.param(flip, "it is damaged", id="a bit"),
        pytest.param(lambda path: path.write_bytes(bytes(5 << 20)), "more than 4,194,304 bytes", id="large"),
        pytest.param(other(os.mkfifo), "it is no regular file", id="pipe"),
        pytest.param(other(Path.mkdir), "it is no regular file", id="directory"),
        pytest.param(other(lambda path: path.symlink_to("/dev/zero")), "it is no regular file", id="link"),
    ],
)
def test_while_the_notes_of_rings_are_not_what_was_written_nothing_goes(
    rings: Path, tmp_path: Path, change: Callable[[Path], object], said: str
) -> None:
    """Method: the ring is in a place of its own, so nothing but its note says that somebody reads there; then it is written anew."""
    channel = tb.create_channel("fills", options(tmp_path), directory=rings / "apart")
    journal = tmp_path / "fills"
    notes = journal / "rings"
    plan = KeepPlan(rule="size 0", threshold_bytes=0)
    with tb.open_producer(channel) as producer:
        write(producer, 200)
    with tb.open_consumer(channel, start=1) as consumer:
        change(notes)
        with pytest.raises(JournalError, match=f"{notes} does not say where rings of this journal are .*{said}"):
            compact_by(journal, plan, lambda: keeping.ring_consumers(journal))
        if notes.is_dir():
            notes.rmdir()
        elif not notes.is_file() or notes.is_symlink():
            notes.unlink(missing_ok=True)
        with tb.open_producer(channel):
            kept = compact_by(journal, plan, lambda: keeping.ring_consumers(journal))
            assert kept.held_by == f"a consumer of process {os.getpid()} still needs message 1"
        read_to(consumer, 200)
    assert compact_by(journal, plan, lambda: keeping.ring_consumers(journal)).removed_segments > 0


def test_a_journal_of_before_there_were_notes_of_rings_is_compacted_without_them(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("fills", options(tmp_path), directory=rings)
    journal = tmp_path / "fills"
    with tb.open_producer(channel) as producer:
        write(producer, 200)
    (journal / "rings").unlink()
    (journal / "birth").unlink()
    kept = compact_by(
        journal, KeepPlan(rule="size 0", threshold_bytes=0), lambda: keeping.ring_consumers(journal, rings)
    )
    assert kept.removed_segments > 0


def test_a_ring_is_noted_before_it_is_there(rings: Path, tmp_path: Path) -> None:
    """Method: it cannot be noted. A kill in between leaves the note of a ring that has no readers."""
    journal = tmp_path / "fills"
    with tb.open_producer(tb.create_channel("fills", options(tmp_path), directory=rings / "first")) as producer:
        write(producer, 200)
    (journal / "rings").rename(journal / "kept")
    (journal / "rings").mkdir()
    with pytest.raises(ChannelError, match="rings: a directory stands in the place of this file"):
        tb.create_channel("fills", options(tmp_path), directory=rings / "second")
    assert not list((rings / "second").glob("*.ring"))


def test_every_checkpoint_that_is_kept_can_be_recovered_and_its_reader_goes_on(rings: Path, tmp_path: Path) -> None:
    """Shared memory is lost too: the cursors that are stored hold the journal, and so does the oldest of the checkpoints kept."""
    channel = tb.create_channel("fills", options(tmp_path, keep="size 0"), directory=rings)
    with tb.open_producer(channel) as producer:
        write(producer, 200)
        with tb.open_consumer(channel, "sums", start=1) as consumer:
            stored = []
            for at in (20, 40, 60, 80):
                read_to(consumer, at)
                stored.append(consumer.checkpoint("sum", b"%d" % at))
    channel.remove()
    channel = tb.create_channel("fills", options(tmp_path, keep="size 0"), directory=rings)
    with tb.open_producer(channel) as producer:
        kept = producer.compact()
        assert kept.first_sequence <= 40 < kept.first_sequence + MESSAGES_A_SEGMENT, (
            "the newest three are kept, of 40, 60, 80"
        )
        assert kept.held_by == f"checkpoint {stored[1]} of state sum still needs message 40"
        with tb.open_consumer(channel, "sums") as consumer:
            for checkpoint_id, at in zip(stored[1:], (40, 60, 80), strict=True):
                found = consumer.recover(checkpoint_id)
                assert found is not None
                assert (found.state, found.cursor.sequence) == (b"%d" % at, at)
                batch = taken(consumer, 1)
                assert batch.first_sequence == at + 1
                batch.release()


def test_only_a_rule_that_says_so_takes_from_a_reader_and_it_is_told_its_gap(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("fills", options(tmp_path, keep="size 0, even unread"), directory=rings)
    with tb.open_producer(channel) as producer:
        with tb.open_consumer(channel, "booking") as consumer:
            write(producer, 20)
            taken(consumer, 10).release()
        write(producer, 180)
        first = producer.compact().first_sequence
        assert first > 150
        with tb.open_consumer(channel, "booking") as consumer:
            gap = consumer.poll_batch(timeout=60)
            assert isinstance(gap, tb.Gap)
            assert gap.first == 11


def test_the_rule_consumers_keeps_all_until_there_is_one(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("fills", options(tmp_path, keep="consumers"), directory=rings)
    with tb.open_producer(channel) as producer:
        write(producer, 100)
        assert producer.compact().first_sequence == 1
        with tb.open_consumer(channel, "booking") as consumer:
            read_to(consumer, 90)
        assert producer.compact().first_sequence > 60


class Count:
    """A state: how many messages there were."""

    kind = "count"
    version = 1

    def __init__(self) -> None:
        self.count = 0

    def apply(self, sequence: int, payload: bytes) -> None:
        del sequence, payload
        self.count += 1

    def state_hash(self) -> int:
        return self.count

    def save(self) -> bytes:
        return b"%d" % self.count

    def load(self, content: bytes) -> None:
        self.count = int(content)


def test_by_snapshots_what_two_whole_ones_of_this_journal_cover_goes(rings: Path, tmp_path: Path) -> None:
    """With one, with one of two damaged, or with two of two states where the other has one, nothing does."""
    snapshots = tmp_path / "snapshots"
    asked = options(tmp_path / "wal", keep="snapshots 2", snapshots_dir=snapshots)
    channel = tb.create_channel("fills", asked, directory=rings)
    journal = tmp_path / "wal" / "fills"
    with tb.open_producer(channel) as producer:
        write(producer, 200)
        assert producer.compact().first_sequence == 1
        store, state = SnapshotStore(snapshots / "count", "count"), Count()
        for at in (80, 120):
            state.count = at
            assert producer.compact().first_sequence == 1
            store.write(state, place_behind(journal, at))
        newest = max((snapshots / "count").glob("*.snapshot"))
        whole = newest.read_bytes()
        newest.write_bytes(whole[:-1])
        assert producer.compact().first_sequence == 1
        newest.write_bytes(whole)
        shutil.copytree(snapshots / "count", snapshots / "other")
        (snapshots / "other" / newest.name).unlink()
        assert producer.compact().first_sequence == 1
        shutil.rmtree(snapshots / "other")
        kept = producer.compact()
        assert kept.first_sequence <= 80 < kept.first_sequence + MESSAGES_A_SEGMENT


def test_a_snapshot_that_contradicts_the_journal_lets_nothing_go_and_is_told(rings: Path, tmp_path: Path) -> None:
    """Method: two of another journal of the same channel."""
    for place in ("one", "two"):
        channel = tb.create_channel("fills", options(tmp_path / place), directory=rings / place)
        with tb.open_producer(channel) as producer:
            write(producer, 100)
    store, state = SnapshotStore(tmp_path / "snapshots", "count"), Count()
    for at in (50, 80):
        state.count = at
        store.write(state, place_behind(tmp_path / "one" / "fills", at))
    asked = options(tmp_path / "two", keep="snapshots 2", snapshots_dir=tmp_path / "snapshots")
    with tb.open_producer(tb.create_channel("fills", asked, directory=rings / "two")) as producer:
        kept = producer.compact()
    assert "taken of journal" in kept.failure
    assert numbers(tmp_path / "two" / "fills") == list(range(1, 101))


def test_it_goes_by_itself_while_the_producer_is_open(
    rings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: a look lets the test know; the thread's own looks, and nobody else's, remove something."""
    looked = threading.Semaphore(0)
    look = Keeping.look

    def told(self: Keeping) -> Any:
        try:
            return look(self)
        finally:
            looked.release()

    monkeypatch.setattr(Keeping, "look", told)
    monkeypatch.setattr(keeping, "INTERVAL_S", 0.05)
    channel = tb.create_channel("fills", options(tmp_path, keep="size 64KiB"), directory=rings)
    with tb.open_producer(channel) as producer:
        write(producer, 200)
        for _ in range(2):  # the first may have begun before the last write
            assert looked.acquire(timeout=60)
        while looked.acquire(blocking=False):
            pass
        assert looked.acquire(timeout=60)
        assert looked.acquire(timeout=60)
        assert inspect(tmp_path / "fills").first_sequence > 100
    assert numbers(tmp_path / "fills")[-1] == 200


@pytest.mark.parametrize(
    ("asked", "option", "said"),
    [
        ({"keep": "age 5"}, "keep", "age 5"),
        ({"keep": "snapshots 2"}, "keep", "snapshots_dir"),
        ({"keep": 5}, "keep", "a text"),
        ({"keep": "stored and size 1GiB"}, "keep", "a node's feeds"),
        ({"segment_size_bytes": 10_000}, "segment_size_bytes", "4096"),
        ({"compaction_threshold": -1}, "compaction_threshold", "from 0"),
        ({"durability": "memory", "wal_dir": None, "keep": "size 0"}, "keep", "wal"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_its_option(
    tmp_path: Path, asked: dict[str, object], option: str, said: str
) -> None:
    with pytest.raises(ChannelUsageError, match=said) as error:
        tb.ChannelOptions(**({"durability": "wal", "wal_dir": tmp_path} | asked))  # type: ignore[arg-type]
    assert error.value.facts["option"] == option


def test_a_rule_stands_in_the_journal_and_is_found_there(rings: Path, tmp_path: Path) -> None:
    asked = options(tmp_path, keep="age 24h and size 1MiB, even unread", compaction_threshold=4096)
    tb.open_producer(tb.create_channel("fills", asked, directory=rings)).close()
    plan = plan_of(tmp_path / "fills")
    assert plan.rule == "age 86400s and size 1048576" + EVEN_UNREAD
    assert plan.threshold_bytes == 4096
    tb.open_producer(tb.create_channel("plain", options(tmp_path), directory=rings)).close()
    assert plan_of(tmp_path / "plain").rule == "forever"


def test_a_store_of_checkpoints_that_cannot_be_read_lets_nothing_go(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("fills", options(tmp_path, keep="size 0"), directory=rings)
    with tb.open_producer(channel) as producer:
        with tb.open_consumer(channel, "booking") as consumer:
            write(producer, 20)
            taken(consumer, 10).release()
        write(producer, 100)
    file = tmp_path / "fills" / "checkpoints" / "data.mdb"
    (tmp_path / "damaged").write_bytes(b"\0" * file.stat().st_size)
    (tmp_path / "damaged").replace(file)
    with tb.open_producer(channel) as producer:
        kept = producer.compact()
        assert "checkpoints" in kept.failure
    assert numbers(tmp_path / "fills") == list(range(1, 121))


@pytest.mark.parametrize("away", ["link", "file", "emptied"])
def test_a_store_of_checkpoints_that_is_away_lets_nothing_go(rings: Path, tmp_path: Path, away: str) -> None:
    """Such as one whose disk is not mounted."""
    channel = tb.create_channel("fills", options(tmp_path, keep="size 0"), directory=rings)
    with tb.open_producer(channel) as producer:
        with tb.open_consumer(channel) as consumer:
            write(producer, 20)
            taken(consumer, 10).release()
            consumer.checkpoint("sum", b"10")
        write(producer, 100)
    store = tmp_path / "fills" / "checkpoints"
    store.rename(tmp_path / "elsewhere")
    if away == "link":
        store.symlink_to(tmp_path / "not mounted")
    elif away == "emptied":
        store.mkdir()
        (store / "data.mdb").touch()
    else:
        store.touch()
    with tb.open_producer(channel) as producer:
        assert str(store) in producer.compact().failure
        assert numbers(tmp_path / "fills") == list(range(1, 121))
        if away == "emptied":
            shutil.rmtree(store)
        else:
            store.unlink()
        (tmp_path / "elsewhere").rename(store)
        kept = producer.compact()
        assert kept.failure == ""
        assert kept.first_sequence <= 10
        assert "checkpoint 1 of state sum" in kept.held_by


def test_a_reader_that_falls_behind_again_is_given_what_it_wants_and_not_what_it_had(
    rings: Path, tmp_path: Path
) -> None:
    """It keeps the journal open from the first time, where it stands further back than what is left by then."""
    channel = tb.create_channel("fills", options(tmp_path, keep="size 0"), directory=rings)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "booking", start=1) as consumer:
        write(producer, 5 * MESSAGES_A_SEGMENT)
        read_to(consumer, producer.published)
        for _ in range(10 * MESSAGES_A_SEGMENT):  # in the ring, one at a time
            write(producer, 1)
            read_to(consumer, producer.published)
        before = producer.published
        assert producer.compact().first_sequence > 5 * MESSAGES_A_SEGMENT
        write(producer, 5 * MESSAGES_A_SEGMENT)
        with taken(consumer, 1) as batch:
            assert batch.first_sequence == before + 1
        read_to(consumer, producer.published)


KEEPER = """
import sys
import tidebook as tb

rings, wal, seed = sys.argv[1:4]
options = tb.ChannelOptions(durability="wal", wal_dir=wal, buffer_size=1 << 14, segment_size_bytes=16384,
                            compaction_threshold=0, keep="size 0")
channel = tb.create_channel("fills", options, directory=rings)
with tb.open_producer(channel) as producer, tb.open_consumer(channel, "booking") as consumer:
    read = consumer.committed
    print("ready", flush=True)
    while True:
        for _ in range(40):
            number = producer.published + 1
            producer.write(b"%08d" % number + b"." * 992)
        print("durable", producer.flush(), flush=True)
        # Of what is durable all but a little is read, so that many segments go at once.
        while consumer.committed < producer.published - 7:
            batch = consumer.poll_batch(producer.published - 7 - consumer.committed, timeout=60)
            with batch:
                assert batch.first_sequence == read + 1, (batch, read)
                read += len(batch)
        consumer.checkpoint("sum", b"%d" % read)
        print("read", read, flush=True)
        print("compacted", producer.compact().first_sequence, flush=True)
"""


def test_kills_in_the_middle_of_compaction_lose_nothing_that_is_wanted(rings: Path, tmp_path: Path) -> None:
    """Method: kill -9 at random moments of a process that does little but compact; then the journal is whole, holds all from the last
    checkpoint on, and the next process goes on with state and messages. Half of the kills lose shared memory too.
    """
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    journal = tmp_path / "fills"
    durable = was_read = 0
    removed = 0
    for run in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", KEEPER, str(rings), str(tmp_path), str(seed)], stdout=subprocess.PIPE, text=True
        ) as keeper:
            assert keeper.stdout is not None
            lines_before_the_kill = chance.randrange(3, 30)
            for line in keeper.stdout:
                word, _, number = line.strip().partition(" ")
                if word == "durable":
                    durable = int(number)
                elif word == "read":
                    was_read = int(number)
                elif word == "compacted":
                    removed = max(removed, int(number) - 1)
                lines_before_the_kill -= 1
                if lines_before_the_kill == 0:
                    keeper.send_signal(signal.SIGKILL)
                    break
            # What it had printed before it was dead.
            for line in keeper.stdout:
                word, _, number = line.strip().partition(" ")
                durable = int(number) if word == "durable" else durable
                was_read = int(number) if word == "read" else was_read
        assert keeper.returncode == -signal.SIGKILL
        found = verify(journal)
        assert found.last_sequence >= durable
        assert found.first_sequence <= max(1, was_read), run
        held = numbers(journal)
        assert held == list(range(held[0], held[-1] + 1))
        if chance.random() < 0.5:
            for file in rings.iterdir():
                file.unlink()
    assert removed > 100, "nothing was ever compacted"
    kept = compact_by(journal, plan_of(journal), list)
    assert kept.first_sequence <= was_read


def test_a_journal_that_nobody_has_compacted_says_that_and_not_its_rule(rings: Path, tmp_path: Path) -> None:
    """Such as one whose producers live for less than the ten seconds after which theirs is looked at."""
    channel = tb.create_channel("fills", options(tmp_path, keep="size 64KiB"), directory=rings)
    with tb.open_producer(channel) as producer:
        write(producer, 200)
    found = keeping.kept_now(tmp_path / "fills", rings)
    assert found.may_go_to is not None
    assert "keeps size 64KiB; above its threshold of 0 bytes, because nobody has compacted it: up to " in found.text
    compacted = compact_by(tmp_path / "fills", plan_of(tmp_path / "fills"), list)
    assert compacted.first_sequence == found.may_go_to + 1
    found = keeping.kept_now(tmp_path / "fills", rings)
    assert found.may_go_to is None
    assert "because its rule keeps message" in found.text


def test_room_that_a_segment_has_for_what_is_to_come_is_no_content(rings: Path, tmp_path: Path) -> None:
    """Method: a threshold below the size of a segment, which is allocated whole, and messages until what is written is above it."""
    asked = options(tmp_path, keep="size 0", compaction_threshold=32_768, segment_size_bytes=1 << 16)
    with tb.open_producer(tb.create_channel("fills", asked, directory=rings)) as producer:
        empty = keeping.kept_now(tmp_path / "fills", rings)
        assert (empty.size_bytes > 1 << 16, "above" in empty.text, empty.failure) == (True, False, "")
        write(producer, 200)
        assert "above its threshold of 32,768 bytes" in keeping.kept_now(tmp_path / "fills", rings).text


def test_a_copy_of_a_data_directory_counts_its_own_snapshots(rings: Path, tmp_path: Path) -> None:
    """Where they lie beside the directory of journals; those of elsewhere stay where they are."""
    data = tmp_path / "data"
    for place in (data / "snapshots", tmp_path / "elsewhere"):
        asked = options(data / "journal", keep="snapshots 2", snapshots_dir=place)
        tb.open_producer(tb.create_channel("fills", asked, directory=rings)).close()
        assert plan_of(data / "journal" / "fills").snapshots == place
        copy = tmp_path / f"copy of {place.name}"
        shutil.copytree(data, copy)
        assert plan_of(copy / "journal" / "fills").snapshots == (
            place if place.name == "elsewhere" else copy / "snapshots"
        )


def test_a_journal_says_what_was_removed_of_it_and_what_keeps_the_rest(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("fills", options(tmp_path, keep="size 0"), directory=rings)
    with tb.open_producer(channel) as producer:
        with tb.open_consumer(channel, "booking") as consumer:
            write(producer, 60)
            read_to(consumer, 50)
        write(producer, 140)
        first = producer.compact().first_sequence
    assert 1 < first <= 51

    def tidebook(*arguments: str) -> str:
        environment = os.environ | {"TIDEBOOK_RINGS": str(rings.parent)}
        said = subprocess.run(
            [sys.executable, "-m", "tidebook", *arguments], capture_output=True, text=True, env=environment, check=True
        )
        return said.stdout

    empty = tb.create_channel("empty", options(tmp_path / "other"), directory=rings)
    assert "empty: no message, the next is 1, durable to 0; " in tidebook("journal", "ls", str(tmp_path / "other"))
    assert "empty: 0 messages, no message, the next is 1" in tidebook("journal", "stats", str(tmp_path / "other"))
    empty.remove()
    listed = tidebook("journal", "ls", str(tmp_path))
    assert f"1 to {first - 1} were removed; keeps size 0; above its threshold of 0 bytes" in listed
    assert "booking" in listed
    [facts] = json.loads(tidebook("journal", "ls", str(tmp_path), "--json"))["journals"]
    assert facts["keep"]["failure"] == ""
    assert facts["keep"]["rule"] == "size 0"
    assert facts["keep"]["first_sequence"] == first
    status = tidebook("status", "--data", str(tmp_path))
    assert f"1 to {first - 1} were removed" in " ".join(status.split())
    # Nobody runs it: the command applies the rule that stands in it, and another one that is asked for.
    journal = tmp_path / "fills"
    assert "nothing was removed" in tidebook("journal", "compact", str(journal))
    shown = tidebook("journal", "compact", str(journal), "--keep", "size 0, even unread", "--dry-run")
    assert "would go" in shown
    assert inspect(journal).first_sequence == first
    assert "removed" in tidebook("journal", "compact", str(journal), "--keep", "size 0, even unread")
    assert inspect(journal).first_sequence > 150
    with pytest.raises(JournalError, match="age 5"):
        KeepPlan(rule="age 5").checked()

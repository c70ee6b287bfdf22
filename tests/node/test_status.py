"""What is promised now: of a node at work, of one that was killed, of one that hangs, and never more than is true."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tidebook as tb
from tests import confined
from tests.node.test_feed_snapshots import Feed
from tests.node.test_live import get, node, wait_for
from tidebook import persistence
from tidebook._core import CheckpointStore, FeedChannel, JournalWriter, cut_journal
from tidebook.node.backup import back_up
from tidebook.node.feed_snapshots import SnapshotOptions
from tidebook.node.presence import owning
from tidebook.node.restore import newest, restore
from tidebook.node.status import directory_status

CHANNEL = "feed.kraken"


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    directory = tmp_path / "rings"
    (directory / "default").mkdir(mode=0o700, parents=True)
    return directory


def told(data: Path, rings: Path, *options: str, code: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "tidebook", "status", "--data", str(data), "--json", *options]
    shown = subprocess.run(
        command, env=os.environ | {"TIDEBOOK_RINGS": str(rings)}, capture_output=True, text=True, check=False
    )
    assert shown.returncode == code, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def test_the_status_of_a_node_at_work_killed_and_started_again_is_what_its_files_and_rings_hold(
    tmp_path: Path, rings: Path
) -> None:
    data = tmp_path / "data"
    with node(data, rings, "--venues", "kraken", "--rate", "300", "--flush-interval-s", "0.3") as (process, address):
        wait_for(lambda: (data / "_manifest").is_dir())
        before = persistence.inspect(data / "journal" / CHANNEL).durable
        found = told(data, rings)
        after = persistence.inspect(data / "journal" / CHANNEL).durable
        (channel,) = found["channels"]
        assert (found["owner"]["pid"], found["owner"]["command"], found["answers"]) == (process.pid, "run", True)
        assert before <= channel["durable"] <= after
        assert channel["published"] >= channel["durable"] >= channel["stored"] > 0
        assert (channel["runs"], channel["sync"], channel["replicas"]) == (True, "every 10 ms", 0)
        assert channel["is_simulated"]
        (said,) = get(address, "status")["channels"]
        assert (said["channel"], said["failure"], said["replicas"]) == (CHANNEL, None, 0)
        assert said["durable"] <= said["published"]
        os.kill(process.pid, signal.SIGSTOP)
        assert told(data, rings)["owner"]["is_stopped"]
        process.kill()
        process.wait()
    found = told(data, rings)
    (channel,) = found["channels"]
    assert found["owner"] is None
    assert (channel["runs"], channel["closed"]) == (False, False)
    assert channel["durable"] == persistence.inspect(data / "journal" / CHANNEL).durable
    assert channel["guarantee"].startswith("nobody writes; up to ")


def test_what_is_in_memory_only_is_told_apart_from_what_is_on_disk(tmp_path: Path, rings: Path) -> None:
    """A journal that syncs once an hour: five messages are synced by the close of its first life, three wait in the ring."""
    data = tmp_path / "data"
    journal = data / "journal" / CHANNEL
    with owning(data, "run"):
        first = FeedChannel(CHANNEL, rings / "default", journal, sync_interval_ms=3_600_000)
        for n in range(5):
            first.write(n, 0, 4, b"", b"x")
        first.close()
        (closed,) = directory_status(data, rings).channels
        assert (closed.durable, closed.published, closed.closed, closed.runs) == (5, 5, True, False)
        second = FeedChannel(CHANNEL, rings / "default", journal, sync_interval_ms=3_600_000)
        for n in range(3):
            second.write(n, 0, 4, b"", b"y")
        (running,) = directory_status(data, rings).channels
        assert (running.durable, running.published, running.runs) == (5, 8, True)
        assert running.guarantee == (
            "wal, synced every 3600000 ms; up to 5 on disk, of this machine alone; "
            "3 more survive the death of processes, not of the machine"
        )
        second.close()
    (after,) = directory_status(data, rings).channels
    assert (after.durable, after.published) == (8, 8)


def test_a_damaged_journal_and_one_put_back_to_an_older_state_promise_nothing(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    journal = data / "journal" / CHANNEL
    with owning(data, "run"):
        for _ in range(2):
            channel = FeedChannel(CHANNEL, rings / "default", journal, sync_interval_ms=1)
            for n in range(4):
                channel.write(n, 0, 4, b"", b"x")
            channel.close()
    assert told(data, rings)["ok"]
    newest = max(journal.glob("*.segment"))
    (journal / "durable").unlink()
    taken = newest.read_bytes()
    newest.unlink()
    (older,) = told(data, rings, code=1)["channels"]
    assert "knows 8 to be durable and the journal ends at 4" in older["failure"]
    assert older["guarantee"].startswith("NOTHING MORE is promised")
    newest.write_bytes(taken[:8] + b"\xff" + taken[9:])
    (damaged,) = told(data, rings, code=1)["channels"]
    assert str(newest) in damaged["failure"]


STOPPING = """
import resource, sys
import tidebook as tb
from tidebook.errors import JournalError

channel = tb.create_channel("orders", {"durability": "wal", "wal_dir": sys.argv[1]}, directory=sys.argv[2])
producer = tb.open_producer(channel)
producer.write(b"kept", wait="durable")
print("writes", flush=True)
sys.stdin.readline()
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    producer.write(b"lost", wait="durable")
except JournalError:
    print("has stopped", flush=True)
sys.stdin.readline()
"""


def test_a_journal_that_has_stopped_under_an_open_producer_promises_nothing_more(tmp_path: Path, rings: Path) -> None:
    """Method: a limit of the size of files, at which the system refuses the next write of the journal."""
    wal = tmp_path / "wal"
    command = [sys.executable, "-c", STOPPING, str(wal), str(rings / "default")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "writes\n"
            assert told(wal, rings)["channels"][0]["failure"] == ""
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "has stopped\n"
            (found,) = told(wal, rings, code=1)["channels"]
            assert (found["durable"], found["runs"]) == (1, True)
            assert found["failure"].startswith("its journal has stopped while its producer is open")
            assert found["guarantee"].startswith("NOTHING MORE is promised")
        finally:
            process.kill()


def test_a_damaged_journal_is_told_with_what_of_it_is_on_disk(tmp_path: Path, rings: Path) -> None:
    """Method: a bit of the tenth of twenty messages, which later batches show to have been durable."""
    wal = tmp_path / "wal"
    channel = tb.create_channel("orders", {"durability": "wal", "wal_dir": wal}, directory=rings / "default")
    with tb.open_producer(channel) as producer:
        for number in range(1, 21):
            producer.write(b"order %04d" % number, wait="durable")
    segment = max((wal / "orders").glob("*.segment"))
    content = segment.read_bytes()
    assert content.count(b"order 0010") == 1
    segment.write_bytes(content.replace(b"order 0010", b"order 0018"))
    for options in ([], ["--verify"]):
        (found,) = told(wal, rings, *options, code=1)["channels"]
        assert f"`tidebook journal repair {wal / 'orders'}` tells what can be done" in found["failure"]
        assert found["whole_to"] == 9
        assert found["guarantee"].endswith("; on disk up to 9")
    segment.write_bytes(b"\xff" + content[1:])
    (found,) = told(wal, rings, code=1)["channels"]
    assert "on disk up to" not in found["guarantee"], "nothing of it is known"


def test_channels_of_ones_own_outside_a_data_directory_show_when_a_checkpoint_was_stored(
    tmp_path: Path, rings: Path
) -> None:
    wal = tmp_path / "wal"
    channel = tb.create_channel("orders", {"durability": "wal", "wal_dir": wal}, directory=rings / "default")
    with tb.open_producer(channel) as producer, tb.open_consumer(channel) as consumer:
        producer.write(b"one", wait="durable")
        assert told(wal, rings)["channels"][0]["checkpoint_age_s"] is None
        consumer.poll(lambda *_: None, timeout=60)
        consumer.checkpoint("sum", b"one")
        assert told(wal, rings)["channels"][0]["checkpoint_age_s"] >= 0


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    """A directory with several segments, rows, two snapshots and checkpoints, and nobody at work."""
    feed = Feed(tmp_path / "data", SnapshotOptions(interval_s=0.0, keep=2))
    for _ in range(3):
        feed.write(300)
        feed.store()
    feed.writer.close()
    store = CheckpointStore(feed.journal / "checkpoints")
    for sequence in (100, 200):
        store.put("state", "feed.binance", "sum", epoch=1, sequence=sequence, state=b"a state that is looked for")
    return feed


def test_a_status_that_reads_everything_says_how_much_and_that_it_is_whole(feed: Feed, rings: Path) -> None:
    assert told(feed.data, rings)["read"] is None
    found = told(feed.data, rings, "--verify")
    assert found["ok"]
    read = found["read"]
    assert (read["messages"], read["journals"], read["snapshots"], read["checkpoints"]) == (900, 1, 2, 2)
    assert read["rows"] == tb.open(feed.data).verify().rows > 0
    assert read["damaged"] == []


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("journal/*/0000000002.segment", "segment 2"),
        ("warm/trades/**/*.parquet", ".parquet is damaged"),
        ("snapshots/**/*.snapshot", ".snapshot"),
        ("journal/*/checkpoints/data.mdb", "checkpoint 1"),
    ],
)
def test_damage_anywhere_is_seen_by_a_status_that_reads_everything_and_named(
    feed: Feed, rings: Path, pattern: str, words: str
) -> None:
    damaged = min(feed.data.glob(pattern))
    content = bytearray(damaged.read_bytes())
    at = content.rindex(b"looked for") if damaged.suffix == ".mdb" else len(content) // 2
    content[at] ^= 1
    damaged.write_bytes(content)
    assert told(feed.data, rings)["ok"], "a look at newest segments and headers cannot see it"
    found = told(feed.data, rings, "--verify", code=1)
    assert not found["ok"]
    (line,) = found["read"]["damaged"]
    assert words in line
    (channel,) = found["channels"]
    assert bool(channel["failure"]) is (damaged.suffix == ".segment")


def test_damage_beside_no_journal_is_told_to_people_as_to_programs(feed: Feed, rings: Path) -> None:
    shutil.rmtree(feed.journal)
    damaged = min(feed.data.glob("snapshots/**/*.snapshot"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert not told(feed.data, rings, "--verify", code=1)["ok"]
    command = [sys.executable, "-m", "tidebook", "status", "--data", str(feed.data), "--verify"]
    shown = subprocess.run(
        command, env=os.environ | {"TIDEBOOK_RINGS": str(rings)}, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 1, shown.stderr
    said = shown.stdout.replace("\n", "")
    assert "nothing is journaled here yet" in said
    assert said.count("damaged:") == 1
    assert damaged.name in said
    assert "the rest is named above" in said


def test_a_status_that_reads_everything_beside_a_node_at_work_finds_nothing_wrong(tmp_path: Path, rings: Path) -> None:
    """Method: rows are stored and merged, snapshots taken and removed, many times while it reads."""
    data = tmp_path / "data"
    options = ("--venues", "kraken", "--rate", "500", "--flush-interval-s", "0.2")
    with node(data, rings, *options) as _:
        wait_for(lambda: (data / "_manifest").is_dir())
        for _ in range(3):
            found = told(data, rings, "--verify")
            assert found["ok"], found["read"]["damaged"]
            (channel,) = found["channels"]
            assert found["read"]["messages"] >= channel["durable"] > 0


def test_a_ring_that_goes_on_with_another_copy_of_the_journal_is_told_and_proves_nothing(
    tmp_path: Path, rings: Path
) -> None:
    """Method: a copy is taken of a directory, whose owner then goes on."""
    data, restored = tmp_path / "data", tmp_path / "restored"
    journal = data / "journal" / CHANNEL
    with owning(data, "run"):
        channel = FeedChannel(CHANNEL, rings / "default", journal, sync_interval_ms=1)
        channel.write(0, 0, 4, b"", b"x")
        channel.close()
    shutil.copytree(data, restored)
    with owning(data, "run"):
        channel = FeedChannel(CHANNEL, rings / "default", journal, sync_interval_ms=1)
        for n in range(4):
            channel.write(n, 0, 4, b"", b"x")
        assert channel.wait_durable(5, timeout_s=20)
        (copy,) = directory_status(restored, rings).channels
        assert (copy.failure, copy.runs, copy.durable, copy.published) == ("", False, 1, 1)
        assert copy.guarantee == (
            f"nobody writes; up to 1 on disk, of this machine alone; a ring goes on with another copy, {journal}"
        )
        (original,) = directory_status(data, rings).channels
        assert (original.runs, original.durable, original.other_copies) == (True, 5, [])
        channel.close()


def test_a_journal_in_the_place_of_another_channel_has_failed(tmp_path: Path) -> None:
    for name in ("feed.binance", "feed.kraken"):
        writer = JournalWriter(tmp_path / "journal" / name, name, segment_size_bytes=1 << 16)
        writer.append(b"one message")
        writer.sync()
        writer.close()
    assert directory_status(tmp_path).ok
    (tmp_path / "journal/feed.binance").rename(tmp_path / "kept")
    (tmp_path / "journal/feed.kraken").rename(tmp_path / "journal/feed.binance")
    (tmp_path / "kept").rename(tmp_path / "journal/feed.kraken")
    found = directory_status(tmp_path)
    assert not found.ok
    of = {"feed.binance": "feed.kraken", "feed.kraken": "feed.binance"}
    for channel in found.channels:
        said = f"journal/{channel.channel} is the journal of {of[channel.channel]}, not of {channel.channel}"
        assert said in channel.failure


UNPRIVILEGED = """
import json, sys
from pathlib import Path
from tests import confined
from tidebook.node.reading_all import read_all, size_of
from tidebook.node.status import directory_status
{confined}
found = directory_status(Path(sys.argv[1]))
size_of(found)
read = read_all(found)
print(json.dumps([[one.failure for one in found.channels], read.damaged, read.unread, read.checkpoints, read.snapshots]))
"""


def read_by(data: Path, how: str) -> tuple[list[str], list[str], list[str], int, int]:
    failures, damaged, unread, checkpoints, snapshots = json.loads(
        confined.run(UNPRIVILEGED.replace("{confined}", how), data)
    )
    return failures, damaged, unread, checkpoints, snapshots


@pytest.mark.parametrize(
    "place",
    [
        "journal/feed.binance",
        "journal/*/*.segment",
        "snapshots/*/*/*.snapshot",
        "warm/**/*.parquet",
        "_manifest",
        "journal/*/checkpoints",
    ],
)
def test_what_this_user_may_not_read_is_told_as_that_and_never_as_damage(feed: Feed, place: str) -> None:
    hidden = min(feed.data.glob(place))
    mode = hidden.stat().st_mode & 0o777
    hidden.chmod(0)
    failures, damaged, unread, *_ = read_by(feed.data, "confined.without_privileges()")
    hidden.chmod(mode)
    assert damaged == []
    assert unread
    for line in unread:
        assert "Permission denied" in line
        assert str(hidden) in line
    assert all("Permission denied" in failure for failure in failures if failure)


def test_a_read_only_file_system_is_read_whole(feed: Feed) -> None:
    failures, damaged, unread, checkpoints, snapshots = read_by(feed.data, "confined.read_only()")
    assert (failures, damaged, unread) == ([""], [], [])
    assert checkpoints > 0
    assert snapshots > 0


def test_checkpoints_of_another_channel_are_misplaced(feed: Feed, rings: Path, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "others")
    store.put("state", "feed.kraken", "sum", epoch=1, sequence=1, state=b"of another")
    del store
    checkpoints = feed.journal / "checkpoints"
    shutil.rmtree(checkpoints)
    (tmp_path / "others").rename(checkpoints)
    found = told(feed.data, rings, "--verify", code=1)
    (line,) = found["read"]["misplaced"]
    assert f"the checkpoints in {checkpoints} are of feed.kraken, not of feed.binance" in line
    assert (found["ok"], found["read"]["damaged"], found["read"]["unread"]) == (False, [], [])


KILLED = """
import os, sys
from tidebook._core import JournalWriter
writer = JournalWriter(sys.argv[1], "desk.orders", segment_size_bytes=1 << 16)
for _ in range(5):
    writer.append(b"an order")
    writer.sync()
os._exit(0)
"""


def test_why_a_journal_has_no_clean_end_is_told(tmp_path: Path) -> None:
    """Of an owner that was killed, of a backup put back that was taken while it lived, of a cut."""
    data, restored = tmp_path / "data", tmp_path / "restored"
    journal = data / "journal" / "desk.orders"
    with owning(data, "record"):
        confined.run(KILLED, journal)
    back_up(data, tmp_path / "kept")
    restore(newest(tmp_path / "kept"), restored)

    def state(directory: Path) -> str:
        (channel,) = directory_status(directory).channels
        command = [sys.executable, "-m", "tidebook", "status", "--data", str(directory)]
        shown = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"}
        )
        assert shown.returncode == 0, shown.stderr
        assert f"not closed: {channel.unclosed}" in shown.stdout or channel.closed
        return channel.unclosed

    assert (state(data), state(restored)) == ("its owner was killed or failed", "put back from a copy")
    segment = journal / "0000000001.segment"
    content = bytearray(segment.read_bytes())
    content[content.rindex(b"an order")] ^= 1
    segment.write_bytes(content)
    cut_journal(journal, 4)
    assert state(data) == "cut by a repair"
    for directory in (data, restored):
        JournalWriter(directory / "journal" / "desk.orders", "desk.orders", segment_size_bytes=1 << 16).close()
        assert state(directory) == ""


LEFT = """
import os, signal, sys
import tidebook as tb
options = {"durability": "wal", "wal_dir": sys.argv[1], "journal_sync_interval_ms": 86_400_000}
producer = tb.open_producer(tb.create_channel("numbers", options, node=sys.argv[2]))
for _ in range(5):
    producer.write(b"a number")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("killed", ["first", "second"])
def test_of_the_rings_of_several_nodes_the_one_that_holds_more_is_told(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    monkeypatch.setenv("TIDEBOOK_RINGS", str(rings))
    wal = tmp_path / "wal"
    for name in ("first", "second"):
        with tb.open_producer(
            tb.create_channel("numbers", {"durability": "wal", "wal_dir": wal}, node=name)
        ) as producer:
            producer.write(b"a number", wait="durable")
    confined.run(LEFT, wal, killed, code=-signal.SIGKILL)
    (found,) = directory_status(wal, rings).channels
    assert (found.durable, found.published) == (2, 7)
    assert "5 more survive the death of processes" in found.guarantee

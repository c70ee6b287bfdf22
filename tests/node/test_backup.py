"""Backups of a node at work: consistent, shared where nothing changes, whole or none, and put back exactly."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

import tidebook as tb
from tests.node.test_feed_snapshots import Feed
from tests.node.test_live import derived_trades, get, node, stored_trades, wait_for
from tidebook import persistence
from tidebook._core import CheckpointStore, FeedChannel, JournalReader, JournalWriter
from tidebook.errors import BackupError, DirectoryError, OperationError
from tidebook.node.backup import DATA, LISTING_FILE, back_up, backups, read_listing
from tidebook.node.directory import journals_in
from tidebook.node.drill import drill
from tidebook.node.feed_snapshots import SnapshotOptions
from tidebook.node.presence import owning
from tidebook.node.replay import replay_journal
from tidebook.node.restore import check, newest, restore
from tidebook.persistence.data_directory import MAINTENANCE_LOCK, RESTORING, read_identity
from tidebook.persistence.file_lock import locked

CHANNEL = "feed.binance"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a journal of three segments, its owner gone."""
    directory = tmp_path / "data"
    with owning(directory, "record"):
        for life in range(3):
            write(directory, 40, life)
    return directory


def write(directory: Path, count: int, life: int) -> None:
    writer = JournalWriter(directory / "journal" / CHANNEL, CHANNEL, segment_size_bytes=1 << 16)
    for n in range(count):
        writer.append(b"%d of life %d" % (n, life))
    writer.sync()
    writer.close()


def messages(directory: Path) -> list[bytes]:
    return [payload for _, payload in persistence.read(directory / "journal" / CHANNEL)]


def test_backups_of_a_node_under_load_are_restored_with_rows_that_are_those_of_their_journals(tmp_path: Path) -> None:
    """Five backups while messages come and rows are stored many times a second; each is restored and derived again."""
    data, rings, destination = tmp_path / "data", tmp_path / "rings", tmp_path / "backups"
    rings.mkdir(mode=0o700)
    venues = {"binance": "BINANCE", "kraken": "KRAKEN"}
    options = ("--venues", ",".join(venues), "--rate", "600", "--flush-interval-s", "0.2")
    with node(data, rings, *options) as (process, address):
        wait_for(lambda: all(feed["books_usable"] == 2 for feed in get(address, "feeds")))
        for _ in range(5):
            before = tb.open(data).position(CHANNEL) if (data / "_manifest").is_dir() else 0
            wait_for(lambda at=before: (data / "_manifest").is_dir() and tb.open(data).position(CHANNEL) > at)
            asked = [sys.executable, "-m", "tidebook", "backup", str(destination), "--data", str(data), "--json"]
            made = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)
            assert all(held["stored"] <= held["last_sequence"] for held in made["journals"])
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    found = backups(destination)
    assert len(found) == 5
    reached = 0
    for at, backup in enumerate(found):
        there = tmp_path / f"restored-{at}"
        restored = restore(backup, there)
        assert restored.store is not None
        assert restored.store.ok
        assert {journal.channel for journal in restored.journals} == {f"feed.{venue}" for venue in venues}
        for venue, suffix in venues.items():
            position = tb.open(there).position(f"feed.{venue}")
            assert position <= persistence.inspect(there / f"journal/feed.{venue}").durable
            derived = [trade for trade in derived_trades(there, venue) if trade[0] <= position]
            assert stored_trades(there, suffix) == derived, (at, venue)
            original = derived_trades(data, venue)
            assert derived == original[: len(derived)], "it is a prefix of the original's"
        assert tb.open(there).position(CHANNEL) > reached
        reached = tb.open(there).position(CHANNEL)


def test_what_is_sealed_is_not_copied_again_and_each_backup_is_whole_without_the_others(
    tmp_path: Path, data: Path
) -> None:
    destination = tmp_path / "backups"
    first = back_up(data, destination)
    write(data, 10, 3)
    second = back_up(data, destination)
    sealed = {file.path for file in second.files if file.sealed}
    assert sealed == {f"journal/{CHANNEL}/000000000{n}.segment" for n in (1, 2, 3)}
    one, other = (destination / backup.id / DATA / f"journal/{CHANNEL}" for backup in (first, second))
    assert (one / "0000000001.segment").samefile(other / "0000000001.segment")
    # The third was the newest of the first backup, so it was copied as far as it was synced then.
    assert second.copied_files == len(second.files) - 2
    shutil.rmtree(destination / first.id)
    restore(destination / second.id, tmp_path / "restored")
    assert messages(tmp_path / "restored") == messages(data)


def test_a_backup_ends_where_the_journal_was_durable_and_not_a_byte_further(tmp_path: Path) -> None:
    """Method: a living writer with a batch written and not synced, and one in memory."""
    data = tmp_path / "data"
    with owning(data, "run"):
        writer = JournalWriter(data / "journal" / CHANNEL, CHANNEL)
        for n in range(7):
            writer.append(b"synced %d" % n)
        writer.sync()
        writer.append(b"written")
        writer.flush()
        writer.append(b"in memory")
        made = back_up(data, tmp_path / "backups")
        writer.close()
    (held,) = made.journals
    assert (held.first_sequence, held.last_sequence) == (1, 7)
    restored = restore(tmp_path / "backups" / made.id, tmp_path / "restored")
    assert (restored.journals[0].last_sequence, restored.journals[0].torn_bytes) == (7, 0)


def test_a_restored_directory_goes_on_as_itself_and_knows_what_it_was(tmp_path: Path, data: Path) -> None:
    made = back_up(data, tmp_path / "backups")
    there = tmp_path / "restored"
    restore(newest(tmp_path / "backups"), there)
    identity, original = read_identity(there), read_identity(data)
    assert identity is not None
    assert original is not None
    assert identity.restored_from is not None
    assert (identity.restored_from.backup, identity.restored_from.node_id) == (made.id, original.node_id)
    assert identity.node_id != original.node_id
    write(there, 5, 9)
    assert messages(there) == [*messages(data), *(b"%d of life 9" % n for n in range(5))]


def test_a_restore_into_a_directory_that_is_used_is_refused_and_changes_nothing(tmp_path: Path, data: Path) -> None:
    made = back_up(data, tmp_path / "backups")
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    with pytest.raises(BackupError, match="is not empty"):
        restore(tmp_path / "backups" / made.id, data)
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_a_compacted_journal_is_backed_up_whole_and_one_that_lost_its_beginning_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    journal = data / "journal" / "orders"
    with owning(data, "run"):
        for _ in range(4):
            writer = JournalWriter(journal, "orders", segment_size_bytes=8192)
            for _ in range(10):
                writer.append(b"an order")
            writer.sync()
            writer.close()
    first = persistence.compact(journal, 15).first_sequence
    assert first > 1
    made = back_up(data, tmp_path / "backups")
    restore(tmp_path / "backups" / made.id, tmp_path / "restored")
    assert persistence.verify(tmp_path / "restored" / "journal" / "orders").first_sequence == first
    min(journal.glob("*.segment")).unlink()
    with pytest.raises(BackupError, match=f"sequence {first}: the segment is missing"):
        back_up(data, tmp_path / "backups")


def test_damage_in_a_backup_is_named_by_its_file_whichever_it_is(tmp_path: Path, data: Path) -> None:
    """Each file flipped, cut and removed; what was being restored is no directory anybody uses."""
    made = back_up(data, tmp_path / "backups")
    root = tmp_path / "backups" / made.id
    whole = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert len(whole) == len(made.files) + 1
    for at, (path, content) in enumerate(whole.items()):
        for kind, damaged in enumerate((bytes([content[0] ^ 1]) + content[1:], content[:-1], None)):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            there = tmp_path / f"restored-{at}-{kind}"
            with pytest.raises(BackupError) as caught:
                restore(root, there)
            assert caught.value.facts["path"] == str(path)
            assert str(path) in str(caught.value) or str(root) in str(caught.value)
            with pytest.raises(BackupError):
                check(root)
            if there.exists():
                with pytest.raises(DirectoryError, match="tidebook restore"):
                    read_identity(there)
            path.unlink(missing_ok=True)
            path.write_bytes(content)
    assert check(root).files == made.files


def test_a_pipe_in_the_place_of_a_file_is_named_and_never_waited_for(tmp_path: Path, data: Path) -> None:
    """Each file of a backup that is restored, what an interrupted backup noted, and a list that is copied."""
    destination = tmp_path / "backups"
    made = back_up(data, destination)
    root = destination / made.id
    for number, path in enumerate(sorted(path for path in root.rglob("*") if path.is_file())):
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        with pytest.raises((BackupError, OperationError), match=re.escape(str(path))):
            restore(root, tmp_path / f"restored-{number}")
        path.unlink()
        path.write_bytes(content)
    assert check(root).files == made.files
    for path in (destination / ".partial/copied.jsonl", data / "journal" / CHANNEL / "captures.json"):
        path.parent.mkdir(exist_ok=True)
        os.mkfifo(path)
        with pytest.raises(
            OperationError, match=f"{re.escape(str(path))}: a named pipe stands in the place of this file"
        ):
            back_up(data, destination)
        path.unlink()
    back_up(data, destination)


def test_a_backup_that_is_killed_at_any_file_is_none_and_the_next_goes_on_with_what_it_had(
    tmp_path: Path, data: Path
) -> None:
    """Method: a child is killed by SIGKILL after each link that gives a copy its name, then at its rename."""
    code = """
import os, signal, sys
from pathlib import Path
from tidebook.node.backup import back_up
left = int(sys.argv[3])
def counting(call):
    def counted(*words, **options):
        global left
        result = call(*words, **options)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return counted
os.link = counting(os.link)
back_up(Path(sys.argv[1]), Path(sys.argv[2]))
"""
    expected, files = messages(data), len(back_up(data, tmp_path / "unbroken").files)
    ended = kills = 0
    for nth in range(1, 20):
        destination = tmp_path / f"backups-{nth}"
        words = [sys.executable, "-c", code, str(data), str(destination), str(nth)]
        status = subprocess.run(words, check=False, capture_output=True).returncode
        if status == 0:
            ended += 1
            break
        assert status == -signal.SIGKILL
        kills += 1
        assert backups(destination) == []
        with pytest.raises(BackupError, match="is no backup"):
            read_listing(destination / ".partial")
        made = back_up(data, destination)
        restore(destination / made.id, tmp_path / f"restored-{nth}")
        assert messages(tmp_path / f"restored-{nth}") == expected
    assert (ended, kills) == (1, files)


def test_an_interrupted_restore_is_used_by_nobody_and_begun_again_by_the_same_command(
    tmp_path: Path, data: Path
) -> None:
    """Method: killed after each step of giving the files their places, and while they are copied."""
    made = back_up(data, tmp_path / "backups")
    root, there = tmp_path / "backups" / made.id, tmp_path / "restored"
    code = """
import os, pathlib, signal, sys
from tidebook.node.restore import restore
left = int(sys.argv[3])
def counting(call):
    def counted(*words, **options):
        global left
        result = call(*words, **options)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return counted
pathlib.Path.rename = counting(pathlib.Path.rename)
os.link = counting(os.link)
restore(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""
    steps = len(made.files)
    for nth in range(1, steps + 3):
        words = [sys.executable, "-c", code, str(root), str(there), str(nth)]
        status = subprocess.run(words, check=False, capture_output=True).returncode
        if (there / RESTORING).exists():
            assert status == -signal.SIGKILL
            with pytest.raises(DirectoryError, match="tidebook restore"):
                tb.open(there)
        restore(root, there)
        assert messages(there) == messages(data)
        shutil.rmtree(there)


def test_states_and_cursors_of_readers_are_backed_up_with_their_journal(tmp_path: Path, data: Path) -> None:
    store = CheckpointStore(data / "journal" / CHANNEL / "checkpoints")
    number = store.put("state", CHANNEL, "sums", epoch=1, sequence=17, state=b"a sum")
    made = back_up(data, tmp_path / "backups")
    assert f"journal/{CHANNEL}/checkpoints/data.mdb" in {file.path for file in made.files}
    store.put("state", CHANNEL, "sums", epoch=1, sequence=120, state=b"a later sum")
    restore(tmp_path / "backups" / made.id, tmp_path / "restored")
    found = CheckpointStore(tmp_path / "restored" / "journal" / CHANNEL / "checkpoints").newest(
        "state", CHANNEL, "sums"
    )
    assert found is not None
    assert (found["checkpoint_id"], found["sequence"], found["state"]) == (number, 17, b"a sum")


def test_the_newest_backup_is_the_one_made_last_also_when_the_clock_was_set_back(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "backups"
    now = 1_796_000_000_000_000_000
    made = []
    for step in (0, 1, 1_000, -(10**12), 0):
        monkeypatch.setattr("tidebook.node.backup.time.time_ns", lambda at=now + step: at)
        made.append(back_up(data, destination).id)
        assert newest(destination).name == made[-1]
    assert [path.name for path in backups(destination)] == made


@pytest.mark.parametrize(
    "path", ["../escaped", "/tmp/escaped", "journal/../../escaped", "", "journal//x", "./x", "a\0b"]
)
def test_a_listing_that_names_a_file_outside_is_refused(tmp_path: Path, data: Path, path: str) -> None:
    """The hash of a listing has no key: who can write a backup can write any path into it."""
    destination = tmp_path / "backups"
    back_up(data, destination)
    listing = newest(destination) / LISTING_FILE
    forged = json.loads(listing.read_bytes().partition(b"\n")[0])
    forged["files"][0]["path"] = path
    body = json.dumps(forged).encode()
    listing.write_bytes(b"%b\nblake2b:%b\n" % (body, hashlib.blake2b(body, digest_size=32).hexdigest().encode()))
    before = {found.name for found in tmp_path.iterdir()}
    for use in (check, lambda backup: restore(backup, tmp_path / "restored")):
        with pytest.raises(BackupError, match="outside of the directory"):
            use(newest(destination))
    assert {found.name for found in tmp_path.iterdir()} == before


def test_a_backup_into_the_directory_itself_is_refused(data: Path) -> None:
    with pytest.raises(BackupError, match="would be lost with it"):
        back_up(data, data / "backups")
    assert not (data / "backups").exists()


def test_nothing_is_compacted_while_a_backup_is_made_and_one_backup_is_made_at_a_time(
    tmp_path: Path, data: Path
) -> None:
    destination = tmp_path / "backups"
    found: list[bool] = []

    def look(_: int) -> None:
        with locked(data / MAINTENANCE_LOCK) as got:
            found.append(got)
        if len(found) == 1:
            with pytest.raises(BackupError, match=rf"another process makes a backup in .*: process {os.getpid()} \("):
                back_up(data, destination)

    back_up(data, destination, look)
    assert found
    assert not any(found)


def test_a_damaged_journal_is_not_backed_up_and_named(tmp_path: Path, data: Path) -> None:
    segment = data / f"journal/{CHANNEL}/0000000002.segment"
    held = bytearray(segment.read_bytes())
    held[4096 + 60] ^= 1
    segment.write_bytes(held)
    with pytest.raises(BackupError, match="the journal is damaged") as caught:
        back_up(data, tmp_path / "backups")
    assert (caught.value.facts["segment"], caught.value.facts["offset"]) == (2, 4096)
    assert backups(tmp_path / "backups") == []


def test_a_backup_after_the_repair_of_a_journal_does_not_go_on_with_its_damaged_copy(
    tmp_path: Path, data: Path
) -> None:
    """Method: a backup in another place has the segment, the one that is made has nothing yet."""
    journal = data / "journal" / CHANNEL
    back_up(data, tmp_path / "other")
    segment = journal / "0000000002.segment"
    whole = segment.read_bytes()
    segment.write_bytes(whole[: 4096 + 60] + bytes([whole[4096 + 60] ^ 1]) + whole[4096 + 61 :])
    for _ in range(2):
        with pytest.raises(BackupError, match="the journal is damaged") as caught:
            back_up(data, tmp_path / "backups")
        assert (caught.value.facts["path"], caught.value.facts["segment"]) == (str(journal), 2)
        assert f"`tidebook journal repair {journal}`" in str(caught.value)
        assert ".partial" not in str(caught.value)
    source = newest(tmp_path / "other") / DATA / "journal" / CHANNEL
    assert persistence.restore(journal, source)
    made = back_up(data, tmp_path / "backups")
    check(tmp_path / "backups" / made.id)


def test_a_file_of_an_earlier_backup_that_is_damaged_is_copied_anew_and_told(tmp_path: Path, data: Path) -> None:
    destination = tmp_path / "backups"
    first = back_up(data, destination)
    shared = destination / first.id / DATA / "journal" / CHANNEL / "0000000001.segment"
    content = bytearray(shared.read_bytes())
    content[4096 + 60] ^= 1
    shared.write_bytes(content)
    asked = [sys.executable, "-m", "tidebook", "backup", str(destination), "--data", str(data), "--json"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert done.stderr == f"{shared} is not what its backup lists; it was copied anew, and that backup stays damaged\n"
    made = Path(json.loads(done.stdout)["path"])
    check(made)
    with pytest.raises(BackupError, match=r"0000000001\.segment"):
        check(destination / first.id)
    restore(made, tmp_path / "restored")
    assert messages(tmp_path / "restored") == messages(data)


def linked_snapshots(feed: Feed, tmp_path: Path) -> Path:
    """The directory of a feed's snapshots moved elsewhere, with a link in its place."""
    place = next((feed.data / "snapshots").iterdir())
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    return place


def test_snapshots_behind_a_link_are_in_a_backup_as_all_others_are(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "data", SnapshotOptions(interval_s=0.0, keep=2))
    for _ in range(2):
        feed.write(300)
        feed.store()
    feed.writer.close()
    before = {file.path for file in back_up(feed.data, tmp_path / "before").files}
    linked_snapshots(feed, tmp_path)
    assert {file.path for file in back_up(feed.data, tmp_path / "backups").files} == before
    restore(newest(tmp_path / "backups"), tmp_path / "restored")
    assert len(list((tmp_path / "restored/snapshots").rglob("*.snapshot"))) == 2


@pytest.mark.parametrize("place", ["snapshots", "feeds", "snapshots/feed.binance", "journal/orders"])
def test_what_cannot_be_listed_is_an_error_and_no_backup_is_made_without_it(
    tmp_path: Path, data: Path, place: str
) -> None:
    """Method: a link to itself, which nobody can list, whoever they are."""
    unlistable = data / place
    unlistable.parent.mkdir(exist_ok=True)
    unlistable.symlink_to(unlistable)
    with pytest.raises(OSError, match=re.escape(place)):
        back_up(data, tmp_path / "backups")
    assert backups(tmp_path / "backups") == []
    if place == "journal/orders":
        for look in (journals_in, drill):
            with pytest.raises(OSError, match=re.escape(place)):
                look(data)
        with pytest.raises(OSError, match="orders"):
            journals_in(data / "journal")  # as what channels have for their wal_dir
    if place != "feeds":
        for command in (("status", "--data", str(data), "--verify"), ("snapshot", "verify", str(data))):
            said = subprocess.run([sys.executable, "-m", "tidebook", *command], capture_output=True, text=True)
            assert said.returncode == 1
            assert str(unlistable) in said.stdout + said.stderr


def test_a_backup_beside_a_writer_that_never_rests_has_a_prefix_of_its_messages(tmp_path: Path) -> None:
    """A thread writes and syncs all the time while backups are made, through many segments."""
    data, rings = tmp_path / "data", tmp_path / "rings"
    rings.mkdir(mode=0o700)
    stop = threading.Event()
    with owning(data, "run"):
        channel = FeedChannel(CHANNEL, rings, data / "journal" / CHANNEL, sync_interval_ms=1)

        def work() -> None:
            n = 0
            while not stop.is_set():
                n += 1
                channel.write(n, 0, 4, b"", os.urandom(2_000))

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert channel.wait_durable(100, 60.0)
            made = []
            for _ in range(4):
                durable = channel.guarantee()["durable"]
                made.append((durable, back_up(data, tmp_path / "backups")))
        finally:
            stop.set()
            thread.join()
            channel.close()
    everything = messages(data)
    for at, (durable, backup) in enumerate(made):
        assert backup.journals[0].last_sequence >= durable
        there = tmp_path / f"restored-{at}"
        restore(tmp_path / "backups" / backup.id, there)
        held = messages(there)
        assert held == everything[: backup.journals[0].last_sequence]
    reader = JournalReader(data / "journal" / CHANNEL)
    assert reader.next(1) is not None


def shortened_feed(data: Path) -> Feed:
    """A feed whose journal begins behind its first message, with two snapshots, as a node keeps them."""
    feed = Feed(data, SnapshotOptions(interval_s=0.0, keep=2))
    for _ in range(4):
        feed.write(400)
        feed.store()
    persistence.compact(feed.journal, 1_201)
    assert persistence.inspect(feed.journal).first_sequence > 1
    return feed


@pytest.mark.parametrize("nth", [1, 2, 3, 6])
@pytest.mark.parametrize("compacts", [False, True])
def test_a_backup_is_one_to_start_from_whatever_is_taken_and_removed_while_it_is_made(
    tmp_path: Path, nth: int, compacts: bool
) -> None:
    """Three snapshots are taken while the nth file is copied, of which two stay; then somebody compacts who asks no lock."""
    feed = shortened_feed(tmp_path / "data")
    calls = 0

    def go_on(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            for _ in range(3):
                feed.write(100)
                feed.store()
            if compacts:
                feed.write(1_200)
                feed.store()
                # With it the backup keeps compactions out, and one of another file knows nothing of that.
                (feed.journal / "compaction.lock").unlink()
                persistence.compact(feed.journal, 3_000)

    made = back_up(feed.data, tmp_path / "backups", go_on)
    assert calls >= nth
    (held,) = made.journals
    first = persistence.inspect(feed.journal).first_sequence
    assert (first > 1_201) is compacts
    there = tmp_path / "restored"
    restore(tmp_path / "backups" / made.id, there)
    assert tb.open(there).position("feed.binance") == held.stored
    report = replay_journal(there, "feed.binance")
    assert report.stored == held.last_sequence >= held.stored >= 1_600
    (drilled,) = drill(feed.data, tmp_path / "backups").channels
    assert (drilled.ok, drilled.refused) == (True, [])


def test_what_no_start_could_go_on_with_is_neither_backed_up_nor_restored(tmp_path: Path) -> None:
    """Method: a backup whose listing lacks its snapshots, as one could be made once; then a directory that lacks them."""
    feed = shortened_feed(tmp_path / "data")
    made = back_up(feed.data, tmp_path / "backups")
    root = tmp_path / "backups" / made.id
    kept = [file for file in made.files if not file.path.endswith(".snapshot")]
    assert len(kept) == len(made.files) - 2
    body = msgspec.json.encode(msgspec.structs.replace(made, files=kept))
    digest = hashlib.blake2b(body, digest_size=32).hexdigest().encode()
    (root / LISTING_FILE).write_bytes(b"%b\nblake2b:%b\n" % (body, digest))
    assert check(root).files == kept
    for refused in (lambda: restore(root, tmp_path / "restored"), lambda: drill(feed.data, root)):
        with pytest.raises(BackupError, match=r"no start could go on with this copy of feed\.binance"):
            refused()
    with pytest.raises(DirectoryError, match="tidebook restore"):
        tb.open(tmp_path / "restored")
    for path in feed.snapshot_files():
        path.unlink()
    with pytest.raises(BackupError, match="no start could go on"):
        back_up(feed.data, tmp_path / "others")
    assert backups(tmp_path / "others") == []


def damaged_and_cut(data: Path) -> int:
    """A byte of the second segment flips, and somebody goes on behind its last good message; that message."""
    journal = data / "journal" / CHANNEL
    segment = journal / "0000000002.segment"
    held = bytearray(segment.read_bytes())
    held[held.rindex(b"17 of life 1")] ^= 1
    segment.write_bytes(held)
    good = persistence.examine(journal).last_good
    persistence.cut(journal, good)
    return good


def write_each(directory: Path, count: int, life: int) -> None:
    """Each message is a batch."""
    writer = JournalWriter(directory / "journal" / CHANNEL, CHANNEL, segment_size_bytes=1 << 16)
    for n in range(count):
        writer.append(b"%d of life %d" % (n, life))
        writer.sync()
    writer.close()


def test_a_backup_after_a_cut_holds_the_journal_as_it_is_now_and_not_the_segments_of_before(tmp_path: Path) -> None:
    data, destination = tmp_path / "data", tmp_path / "backups"
    with owning(data, "record"):
        for life in range(3):
            write_each(data, 40, life)
    back_up(data, destination)
    before = messages(data)
    last = damaged_and_cut(data)
    assert 40 < last < 80
    write_each(data, 10, 3)
    made = back_up(data, destination)
    restore(destination / made.id, tmp_path / "restored")
    expected = [*before[:last], *(b"%d of life 3" % n for n in range(10))]
    assert messages(tmp_path / "restored") == messages(data) == expected
    one, other = (path / DATA / f"journal/{CHANNEL}" for path in backups(destination))
    assert (one / "0000000001.segment").samefile(other / "0000000001.segment"), "what is the same is shared"
    assert not (one / "0000000002.segment").samefile(other / "0000000002.segment")


@pytest.mark.parametrize("nth", range(1, 5))
def test_a_backup_that_was_interrupted_before_a_cut_goes_on_with_nothing_that_was_cut_off(
    tmp_path: Path, nth: int
) -> None:
    data, destination = tmp_path / "data", tmp_path / "backups"
    with owning(data, "record"):
        for life in range(4):
            write_each(data, 40, life)
    left = nth

    def interrupt(_: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(data, destination, interrupt)
    damaged_and_cut(data)
    write_each(data, 10, 4)
    made = back_up(data, destination)
    restore(destination / made.id, tmp_path / "restored")
    assert messages(tmp_path / "restored") == messages(data)


@pytest.mark.parametrize("offset", [8, 16, 24, 44])
def test_a_flipped_bit_of_the_watermark_makes_no_backup_smaller(tmp_path: Path, offset: int) -> None:
    """Of its sequence, batch, segment or checksum, while the writer is there."""
    data = tmp_path / "data"
    with owning(data, "run"):
        writer = JournalWriter(data / "journal" / CHANNEL, CHANNEL)
        for n in range(40):
            writer.append(b"%d" % n)
            writer.sync()
        durable = data / "journal" / CHANNEL / "durable"
        content = bytearray(durable.read_bytes())
        content[offset] ^= 32
        durable.write_bytes(content)
        made = back_up(data, tmp_path / "backups")
        writer.close()
    assert made.journals[0].last_sequence == 40
    restore(tmp_path / "backups" / made.id, tmp_path / "restored")
    JournalWriter(tmp_path / "restored" / "journal" / CHANNEL, CHANNEL).close()
    assert messages(tmp_path / "restored") == [b"%d" % n for n in range(40)]


def test_a_backup_of_what_a_power_loss_left_has_all_that_a_start_would_find(tmp_path: Path) -> None:
    """Method: the watermark, which is never synced, is the one of an earlier sync, and nobody writes."""
    data = tmp_path / "data"
    with owning(data, "run"):
        writer = JournalWriter(data / "journal" / CHANNEL, CHANNEL)
        durable = data / "journal" / CHANNEL / "durable"
        old = b""
        for n in range(100):
            writer.append(b"%d" % n)
            writer.sync()
            if n == 10:
                old = durable.read_bytes()
        del writer
    durable.write_bytes(old)
    made = back_up(data, tmp_path / "backups")
    assert made.journals[0].last_sequence == 100
    restore(tmp_path / "backups" / made.id, tmp_path / "restored")
    JournalWriter(tmp_path / "restored" / "journal" / CHANNEL, CHANNEL).close()
    assert messages(tmp_path / "restored") == [b"%d" % n for n in range(100)]


# A command with a limit of the system for every file that it writes, which is refused like a full disk.
LIMITED = """
import resource, sys
from tidebook.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
main()
"""


def limited(size_bytes_max: int, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIMITED, str(size_bytes_max), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_full_disk_is_told_by_the_file_that_found_no_room_and_what_to_do(tmp_path: Path, data: Path) -> None:
    """Method: the system refuses what is longer than a segment's header; the next command has all the room there is."""
    destination, there = tmp_path / "backups", tmp_path / "restored"
    refused = limited(4_096, "backup", destination, "--data", data)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"tidebook: {destination}/.partial/data/journal/{CHANNEL}/0000000001.segment: File too large: no backup was made; what "
        "was copied stays, and the next goes on with it. Free space there, then give the same command again\n"
    )
    assert backups(destination) == []
    back_up(data, destination)
    refused = limited(4_096, "restore", destination, "--data", there)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"tidebook: {there}/_restoring/journal/{CHANNEL}/0000000001.segment: File too large: {there} is no directory to use yet. "
        "Free space there, then give the same command again\n"
    )
    restore(newest(destination), there)
    assert messages(there) == messages(data)


@pytest.mark.parametrize("number", [2, 3])
def test_a_segment_that_is_missing_is_named_with_its_first_message_and_one_of_a_backup_with_what_to_do(
    tmp_path: Path, data: Path, number: int
) -> None:
    made = back_up(data, tmp_path / "backups")
    name = f"journal/{CHANNEL}/000000000{number}.segment"
    lost = tmp_path / "backups" / made.id / DATA / name
    lost.unlink()
    for ask in (lambda: check(lost.parents[3]), lambda: restore(lost.parents[3], tmp_path / "restored")):
        with pytest.raises(BackupError) as refused:
            ask()
        assert str(refused.value) == (
            f"{lost} is missing, which the backup needs; restore another backup, or put this file back into it"
        )
    (data / name).unlink()
    with pytest.raises(BackupError) as refused:
        back_up(data, tmp_path / "others")
    assert refused.value.facts["sequence"] == 40 * (number - 1) + 1
    assert (refused.value.facts["segment"], str(data / name) in str(refused.value)) == (number, True)

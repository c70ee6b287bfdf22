"""Snapshots in a data directory count when they verify and are of the journal that is there; then they prove what it has to have."""

import shutil
import time
from pathlib import Path

import pytest

from tests.node.test_feed_snapshots import CHANNEL as FEED
from tests.node.test_feed_snapshots import Feed
from tests.node.test_recovery import recovery, segments, write
from tests.node.test_recovery import rings as rings
from tidebook._core import CheckpointStore
from tidebook.errors import JournalDamagedError, SnapshotError, SnapshotMismatchError
from tidebook.node.backup import back_up
from tidebook.node.feed_snapshots import SnapshotOptions
from tidebook.node.maintenance import KeptJournal, Maintenance, MaintenanceOptions
from tidebook.node.metrics import maintenance_metrics
from tidebook.node.restore import restore
from tidebook.node.snapshot_files import (
    find_start,
    newest_snapshot,
    newest_verified,
    proven_durable,
    usable_snapshots,
)
from tidebook.node.status import directory_status
from tidebook.persistence import SnapshotStore, inspect, recover

CHANNEL = "feed.kraken"


class Count:
    """How many messages there were."""

    version = 1

    def __init__(self, kind: str = "count") -> None:
        self.kind = kind
        self.count = 0

    def apply(self, sequence: int, payload: bytes) -> None:  # noqa: ARG002 - the protocol's
        self.count += 1

    def state_hash(self) -> int:
        return self.count

    def save(self) -> bytes:
        return self.count.to_bytes(8, "little")

    def load(self, content: bytes) -> None:
        self.count = int.from_bytes(content, "little")


def take(data: Path, kind: str = "count") -> int:
    store = SnapshotStore(data / "snapshots" / CHANNEL / kind, kind)
    recovered = recover(lambda: Count(kind), data / "journal" / CHANNEL, store)
    assert recovered.place is not None
    return store.write(recovered.state, recovered.place).sequence


def verified_at(data: Path, channel: str = CHANNEL) -> int | None:
    """Message of the newest snapshot that verifies."""
    found = newest_verified(data, channel)
    return None if found is None else found[0]


def test_the_newest_that_verifies_counts_and_of_several_kinds_that_of_the_least_covered(
    tmp_path: Path, rings: Path
) -> None:
    data = tmp_path / "data"
    assert (newest_snapshot(data, CHANNEL), proven_durable(data, CHANNEL)) == (None, 0)
    taken = []
    for _ in range(4):
        write(data, rings, "kraken", 10, "close")
        taken.append(take(data))
    assert taken == [10, 20, 30, 40]
    assert verified_at(data) == 40
    damaged = data / "snapshots" / CHANNEL / "count" / f"{40:020d}.snapshot"
    held = bytearray(damaged.read_bytes())
    held[4096] ^= 1
    damaged.write_bytes(held)
    assert verified_at(data) == 30
    assert newest_snapshot(data, CHANNEL) == 40, "by its name"
    write(data, rings, "kraken", 10, "close")
    assert take(data, "other") == 50
    assert verified_at(data) == 30, "the other kind needs less"
    (data / "snapshots" / CHANNEL / "other" / f"{50:020d}.snapshot").write_bytes(b"")
    assert verified_at(data) is None, "the other kind has none"


def test_a_journal_that_lacks_what_a_snapshot_proves_durable_is_refused_at_a_start(tmp_path: Path, rings: Path) -> None:
    """Somebody put the journal back to an older state and lost its watermark and its ring; nothing else would show it."""
    data = tmp_path / "data"
    write(data, rings, "kraken", 10, "close")
    older = tmp_path / "older"
    shutil.copytree(data / "journal", older)
    write(data, rings, "kraken", 10, "close")
    assert take(data) == 20
    shutil.rmtree(data / "journal")
    shutil.copytree(older, data / "journal")
    (data / "journal" / CHANNEL / "durable").unlink()
    for ring in rings.rglob("*.ring"):
        ring.unlink()
    with pytest.raises(JournalDamagedError, match="tidebook journal repair"):
        recovery(data, rings).run()
    shutil.rmtree(data / "journal")
    write(data, rings, "kraken", 30, "close")
    with pytest.raises(SnapshotMismatchError):
        recovery(data, rings).run()
    assert verified_at(data) is None, "it is of another journal"


def test_snapshots_are_in_a_backup_and_their_journal_has_what_they_are_of(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    write(data, rings, "kraken", 10, "close")
    take(data)
    write(data, rings, "kraken", 5, "kill")
    made = back_up(data, tmp_path / "backups")
    there = tmp_path / "restored"
    restore(tmp_path / "backups" / made.id, there)
    assert verified_at(there) == 10
    assert proven_durable(there, CHANNEL) <= made.journals[0].last_sequence
    assert segments(there, "kraken")


class Foreign(Count):
    """What another build left: of the feed's kind, whole, and nothing that this one can load."""

    version = 77


def make_unloadable(feed: Feed, sequence: int) -> None:
    """Puts another state in the place of a snapshot of a feed, which verifies then too."""
    store = SnapshotStore(feed.snapshot_files()[0].parent, FEED)
    place = store.verify(sequence).place
    store.write(Foreign(FEED), place)
    assert store.verify(sequence).state_version == Foreign.version


def stored_feed(data: Path, runs: int) -> tuple[Feed, list[int]]:
    """A feed stored in some runs, with a snapshot behind each; and their messages."""
    feed = Feed(data, SnapshotOptions(interval_s=3600.0))
    for _ in range(runs):
        feed.write(400)
        feed.store()
    return feed, [int(path.stem) for path in feed.snapshot_files()]


def test_compaction_goes_by_the_snapshots_that_a_start_can_begin_behind_and_by_no_other(tmp_path: Path) -> None:
    """Two that verify and cannot be loaded would let the history go that a start needs."""
    feed, taken = stored_feed(tmp_path, 4)
    stored = taken[-1]
    kept = KeptJournal(
        channel=FEED,
        journal=feed.journal,
        stored=lambda: stored,
        snapshots=lambda: usable_snapshots(tmp_path, FEED, 2, stored),
    )
    upkeep = Maintenance(tmp_path, [kept], MaintenanceOptions(threshold_bytes=1, keep_s=0.0))
    originals = {path: path.read_bytes() for path in feed.snapshot_files()}
    for sequence in taken[1:]:
        make_unloadable(feed, sequence)
    assert verified_at(tmp_path, FEED) == taken[-1], "their bytes do"
    assert usable_snapshots(tmp_path, FEED, 2) == taken[:1]
    upkeep.look()
    assert inspect(feed.journal).first_sequence == 1, "one that can be used is not two"
    for path, data in originals.items():
        path.write_bytes(data)
    make_unloadable(feed, taken[-1])
    assert usable_snapshots(tmp_path, FEED, 2) == taken[1:3]
    upkeep.look()
    assert 1 < inspect(feed.journal).first_sequence <= taken[1] + 1
    found = find_start(tmp_path, FEED, stored)
    assert (found.behind, len(found.refused)) == (taken[2], 1)
    make_unloadable(feed, taken[2])
    assert find_start(tmp_path, FEED, stored).behind == taken[1], "the second of the two is enough"
    feed.write(50)
    assert feed.store()[0] == taken[1]


def test_a_start_with_nothing_to_begin_with_is_told_and_so_is_a_snapshot_that_contradicts(tmp_path: Path) -> None:
    feed, taken = stored_feed(tmp_path, 3)
    assert find_start(tmp_path, FEED, taken[0] - 1).behind == 0, "the history is there"
    upkeep = KeptJournal(channel=FEED, journal=feed.journal, stored=lambda: taken[-1], snapshots=lambda: taken[-2:])
    Maintenance(tmp_path, [upkeep], MaintenanceOptions(threshold_bytes=1, keep_s=0.0)).look()
    assert inspect(feed.journal).first_sequence > 1
    with pytest.raises(SnapshotError, match="begins at message"):
        find_start(tmp_path, FEED, taken[0] - 1)
    store = SnapshotStore(feed.snapshot_files()[0].parent, FEED)
    place = store.verify(taken[-1]).place
    store.write(Foreign(FEED), type(place)(**vars(place) | {"chain": place.chain ^ 1}))
    for ask in (lambda: find_start(tmp_path, FEED), lambda: usable_snapshots(tmp_path, FEED, 2)):
        with pytest.raises(SnapshotMismatchError):
            ask()
    assert usable_snapshots(tmp_path, FEED, 1, taken[1]) == [taken[1]], "it is beyond what was asked for"


def test_a_kind_of_state_that_a_node_cannot_load_covers_nothing(tmp_path: Path) -> None:
    feed, taken = stored_feed(tmp_path, 2)
    assert usable_snapshots(tmp_path, FEED, 2) == taken
    other = SnapshotStore(tmp_path / "snapshots" / FEED / "count", "count")
    place = SnapshotStore(feed.snapshot_files()[0].parent, FEED).verify(taken[0]).place
    other.write(Count(), place)
    assert usable_snapshots(tmp_path, FEED, 2) == []
    assert usable_snapshots(tmp_path, "desk.orders", 2) == []


def test_the_age_of_the_newest_verified_snapshot_and_checkpoint_is_in_status_and_metrics(
    tmp_path: Path, rings: Path
) -> None:
    data = tmp_path / "data"
    write(data, rings, "kraken", 10, "close")
    journal = data / "journal" / CHANNEL
    kept = KeptJournal(channel=CHANNEL, journal=journal, stored=lambda: 0, snapshots=list)
    maintenance = Maintenance(data, [kept])

    def shown() -> tuple[dict[str, float], tuple[float | None, float | None]]:
        maintenance.look()
        samples = [sample for family in maintenance_metrics(maintenance) for sample in family.samples]
        ages = {
            sample.name: sample.value
            for sample in samples
            if sample.name.endswith("_age_seconds") and sample.labels == {"channel": CHANNEL}
        }
        (status,) = directory_status(data, rings).channels
        return ages, (status.snapshot_age_s, status.checkpoint_age_s)

    assert shown() == ({}, (None, None))
    began_ns = time.time_ns()
    taken = take(data)
    store = CheckpointStore(journal / "checkpoints")
    store.put("state", CHANNEL, "positions", epoch=1, sequence=10, state=b"ten", durable=10)
    ages, of_status = shown()
    longest = (time.time_ns() - began_ns) / 1e9
    assert set(ages) == {"tidebook_snapshot_age_seconds", "tidebook_checkpoint_age_seconds"}
    assert all(age is not None and 0 <= age <= longest for age in (*ages.values(), *of_status))
    write(data, rings, "kraken", 10, "close")
    newer = data / "snapshots" / CHANNEL / "count" / f"{take(data):020d}.snapshot"
    newer.write_bytes(newer.read_bytes()[:-1])
    (status,) = directory_status(data, rings).channels
    assert status.snapshot == taken, "one that does not verify has no age"
    assert status.snapshot_age_s is not None
    assert status.snapshot_age_s >= ages["tidebook_snapshot_age_seconds"]

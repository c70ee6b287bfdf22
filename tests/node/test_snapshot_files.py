"""Snapshots in a data directory count when they verify and are of the journal that is there; then they prove what it has to have."""

import shutil
from pathlib import Path

import pytest

from tests.node.test_recovery import recovery, segments, write
from tests.node.test_recovery import rings as rings
from tidebook.errors import JournalDamagedError, SnapshotMismatchError
from tidebook.node.backup import back_up
from tidebook.node.restore import restore
from tidebook.node.snapshot_files import newest_snapshot, proven_durable, verified_snapshots
from tidebook.persistence import SnapshotStore, recover

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


def test_the_newest_that_verify_count_and_of_several_kinds_those_of_the_least_covered(
    tmp_path: Path, rings: Path
) -> None:
    data = tmp_path / "data"
    assert (newest_snapshot(data, CHANNEL), proven_durable(data, CHANNEL)) == (None, 0)
    taken = []
    for _ in range(4):
        write(data, rings, "kraken", 10, "close")
        taken.append(take(data))
    assert taken == [10, 20, 30, 40]
    assert verified_snapshots(data, CHANNEL, 2) == [30, 40]
    damaged = data / "snapshots" / CHANNEL / "count" / f"{40:020d}.snapshot"
    held = bytearray(damaged.read_bytes())
    held[4096] ^= 1
    damaged.write_bytes(held)
    assert verified_snapshots(data, CHANNEL, 2) == [20, 30]
    assert newest_snapshot(data, CHANNEL) == 40, "by its name"
    take(data, "other")
    assert len(verified_snapshots(data, CHANNEL, 2)) < 2, "the other kind has one"
    write(data, rings, "kraken", 10, "close")
    take(data, "other")
    assert verified_snapshots(data, CHANNEL, 2) == [20, 30], "the other kind needs less"


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
    assert verified_snapshots(data, CHANNEL, 1) == [], "it is of another journal"


def test_snapshots_are_in_a_backup_and_their_journal_has_what_they_are_of(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    write(data, rings, "kraken", 10, "close")
    take(data)
    write(data, rings, "kraken", 5, "kill")
    made = back_up(data, tmp_path / "backups")
    there = tmp_path / "restored"
    restore(tmp_path / "backups" / made.id, there)
    assert verified_snapshots(there, CHANNEL, 1) == [10]
    assert proven_durable(there, CHANNEL) <= made.journals[0].last_sequence
    assert segments(there, "kraken")

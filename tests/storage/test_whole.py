"""No engine is given a file before it was proven to be what was committed."""

import hashlib
import json
import os
import random
import time
from pathlib import Path

import pytest

import tidebook as tb
from tests.storage import scenario
from tidebook.errors import StorageCorruptError, StorageVersionError
from tidebook.storage import manifest
from tidebook.storage.disk import Disk
from tidebook.storage.store import Store


class ReadingDisk(Disk):
    """Notes which files are read whole."""

    def __init__(self) -> None:
        self.read_whole: list[str] = []

    def blake3(self, path: Path) -> str:
        self.read_whole.append(path.name)
        return super().blake3(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    scenario.store(tmp_path, Disk())
    return tmp_path


def settle(root: Path) -> None:
    """Wait until the files' times are old enough to be trusted."""
    newest = max(path.stat().st_ctime_ns for path in root.rglob("*.parquet"))
    while time.time_ns() - newest < 110_000_000:
        time.sleep(0.01)


@pytest.mark.parametrize(("seed", "flips"), [(1, 100), pytest.param(2, 20_000, marks=pytest.mark.soak)])
def test_a_flipped_bit_is_never_read_as_data(root: Path, seed: int, flips: int) -> None:
    """Method: one bit of a random trades part at a time; a scan and a query each time, the part mended in between."""
    store = Store(root)
    good = store.scan("trades").collect()
    rng = random.Random(seed)
    parts = [root / entry.path for entry in store.files("trades")]
    for number in range(flips):
        path = rng.choice(parts)
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        for ask in (lambda: store.scan("trades").collect(), lambda: tb.open(root).sql("select * from trades").pl()):
            with pytest.raises(StorageCorruptError, match="is damaged: its hash is") as caught:
                ask()
            assert caught.value.facts["path"] == str(path), f"seed {seed}, flip {number}"
        path.write_bytes(whole)
    assert store.scan("trades").collect().equals(good)


def test_a_file_is_read_whole_once_however_often_it_is_asked_for(root: Path) -> None:
    settle(root)
    disk = ReadingDisk()
    count = len(Store(root).files("trades"))
    for _ in range(3):
        Store(root, disk).scan("trades").collect()
        Store(root, disk).sql("select count(*) from trades").fetchall()
    assert len(disk.read_whole) == count


def test_a_file_whose_times_are_fresh_is_read_again(root: Path) -> None:
    """A change within the same tick of the file system's clock would show in no time."""
    disk = ReadingDisk()
    store = Store(root, disk)
    (entry,) = store.files("instruments")
    for _ in range(2):
        (root / entry.path).touch()
        store.scan("instruments")
    assert len(disk.read_whole) == 2


def test_a_change_behind_a_time_that_was_put_back_is_found(root: Path) -> None:
    settle(root)
    store = Store(root)
    (entry,) = store.files("instruments")
    store.scan("instruments")
    path = root / entry.path
    before, data = path.stat(), bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(StorageCorruptError, match="its hash is"):
        store.scan("instruments")


def test_a_query_reads_only_types_it_names_and_all_where_it_cannot_be_told(root: Path) -> None:
    store = Store(root)
    path = root / store.files("depth")[0].path
    path.write_bytes(path.read_bytes().replace(b"PAR1", b"PAR2"))
    assert store.sql("with t as (from Trades) select count(*) from t").fetchall() == [
        (store.scan("trades").collect().height,)
    ]
    assert store.sql("select count(*) from bar_revisions").fetchall() != [(0,)]
    for query in (
        "select count(*) from (from trades union all by name from depth)",
        "pivot depth on side",
        "show tables",
    ):
        with pytest.raises(StorageCorruptError) as caught:
            store.sql(query)
        assert caught.value.facts["path"] == str(path), query


def test_a_disk_may_be_trusted_and_then_only_sizes_are_looked_at(root: Path) -> None:
    store = tb.open(root, trust_disk=True)
    good = store.scan("trades").collect()
    store = Store(root, disk := ReadingDisk(), trust_disk=True)
    assert store.scan("trades").collect().equals(good)
    assert disk.read_whole == []
    path = root / store.files("trades")[0].path
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(StorageCorruptError, match="were committed"):
        store.scan("trades")


def rewrite_hashes(root: Path, hash: str) -> None:
    """Every part of a store of one version gets the hash that `hash` says with its bytes' blake2b put in."""
    path = root / f"_manifest/{1:020d}.json"
    body = json.loads(path.read_bytes().splitlines()[0])
    for entry in body["add"]:
        digest = hashlib.blake2b((root / entry["path"]).read_bytes(), digest_size=32).hexdigest()
        entry["hash"] = hash.format(digest)
    path.write_bytes(manifest._frame(json.dumps(body).encode()))


def test_parts_of_an_older_release_are_checked_by_the_hash_they_have(root: Path) -> None:
    for version in range(2, 6):
        (root / f"_manifest/{version:020d}.json").unlink()
    rewrite_hashes(root, "blake2b:{}")
    store = Store(root)
    assert store.verify().ok
    path = root / store.files("instruments")[0].path
    assert store.scan("instruments").collect().height == 3
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageCorruptError, match="its hash is blake2b:"):
        store.scan("instruments")


def test_a_hash_of_a_later_release_is_said_and_not_taken_for_damage(root: Path) -> None:
    for version in range(2, 6):
        (root / f"_manifest/{version:020d}.json").unlink()
    rewrite_hashes(root, "blake9:{}")
    with pytest.raises(StorageVersionError, match="with a blake9 hash, which this release cannot check"):
        Store(root).scan("instruments")
    assert {type(error) for error in Store(root).verify().errors} == {StorageVersionError}

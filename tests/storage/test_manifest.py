"""The manifest is a chain nobody can fork, and every way to damage it is told apart."""

import errno
import json
import re
import shutil
from pathlib import Path

import pytest

from tests.storage.faults import FailingDisk
from tidebook.errors import (
    StorageAccessError,
    StorageConflictError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageVersionError,
)
from tidebook.storage import manifest as module
from tidebook.storage.disk import Disk
from tidebook.storage.manifest import Advance, FileEntry, Manifest

# Clear the temporary name, create, write, sync, link, sync the directory, clear again.
CALLS_OF_A_COMMIT = 7


def entry(number: int, *, channel: str = "feed.binance") -> FileEntry:
    return FileEntry(
        path=f"warm/trades/date=2024-08-08/symbol={channel}/part-{number:06d}.parquet",
        type="trades",
        tier="warm",
        timeframe=None,
        date="2024-08-08",
        symbols={"S": 10},
        rows=10,
        ts_first=1,
        ts_last=2,
        sequence_first=number,
        sequence_last=number,
        channel=channel,
        size_bytes=100,
        hash="blake2b:00",
        row_hash="00",
        record_version=1,
        exact=True,
        ts_event_absent=0,
    )


def opened(root: Path, disk: Disk | None = None) -> Manifest:
    root.mkdir(exist_ok=True)
    manifest = Manifest(root, disk or Disk())
    manifest.prepare()
    return manifest


def commit(manifest: Manifest, number: int, channel: str = "feed.binance") -> int:
    version = manifest.commit(
        manifest.root,
        add=[entry(number, channel=channel)],
        advance={channel: Advance(number, number)},
        writer="test",
        created=0,
    )
    manifest.checkpoint_if_due(manifest.root)
    return version


def test_reopening_gives_the_same_files_and_positions(tmp_path: Path) -> None:
    manifest = opened(tmp_path)
    assert [commit(manifest, number) for number in (1, 2, 3)] == [1, 2, 3]
    again = Manifest(tmp_path, Disk())
    assert (again.version, again.files, again.positions) == (3, manifest.files, {"feed.binance": Advance(3, 3)})


def test_a_reader_sees_what_was_published_since(tmp_path: Path) -> None:
    manifest = opened(tmp_path)
    reader = Manifest(tmp_path, Disk())
    assert not reader.refresh()
    commit(manifest, 1)
    assert reader.refresh()
    assert reader.files == manifest.files


def test_of_two_writers_of_one_feed_the_second_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    commit(first, 1)
    with pytest.raises(StorageConflictError, match="another process stores the same feed") as caught:
        commit(second, 1)
    assert caught.value.facts == {"channel": "feed.binance", "expected": 0, "found": 1}
    assert Manifest(tmp_path, Disk()).version == 1


def test_writers_of_different_feeds_both_go_on(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    commit(first, 1)
    assert commit(second, 1, "feed.kraken") == 2
    assert commit(first, 2) == 3
    assert Manifest(tmp_path, Disk()).positions == {"feed.binance": Advance(2, 2), "feed.kraken": Advance(1, 1)}


def test_a_position_that_leaves_inputs_out_is_refused(tmp_path: Path) -> None:
    manifest = opened(tmp_path)
    with pytest.raises(StorageConflictError):
        commit(manifest, 2)


def test_opening_reads_a_checkpoint_and_what_follows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: remove every version that a checkpoint covers; what opens must be the same."""
    monkeypatch.setattr(module, "CHECKPOINT_VERSIONS_MIN", 4)
    manifest = opened(tmp_path)
    for number in range(1, 24):
        commit(manifest, number)
    checkpoints = sorted(path.stem for path in (tmp_path / "_manifest/checkpoints").iterdir())
    assert checkpoints == [f"{16:020d}", f"{20:020d}"]
    for number in range(1, 21):
        (tmp_path / f"_manifest/{number:020d}.json").unlink()
    again = Manifest(tmp_path, Disk())
    assert (again.version, again.files, again.positions) == (23, manifest.files, manifest.positions)
    assert commit(again, 24) == 24


def test_a_writer_that_forgot_its_files_writes_whole_checkpoints_and_none_that_another_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writers take turns; every version that a checkpoint covers is removed, and what opens is all they stored."""
    monkeypatch.setattr(module, "CHECKPOINT_VERSIONS_MIN", 4)
    writers = {channel: opened(tmp_path) for channel in ("feed.binance", "feed.kraken")}
    for manifest in writers.values():
        manifest.forget_files()
    expected: dict[str, FileEntry] = {}
    made: set[int] = set()
    for number in range(1, 13):
        for channel, manifest in writers.items():
            commit(manifest, number, channel)
            added = entry(number, channel=channel)
            expected[added.path] = added
            made |= {int(path.stem) for path in (tmp_path / "_manifest/checkpoints").iterdir()}
    assert sorted(made) == [4, 8, 12, 16, 20, 24]
    for number in range(1, 25):
        (tmp_path / f"_manifest/{number:020d}.json").unlink()
    again = Manifest(tmp_path, Disk())
    assert (again.version, again.files) == (24, expected)
    assert again.positions == {channel: Advance(12, 12) for channel in writers}
    with pytest.raises(AssertionError, match="forgotten its files"):
        _ = manifest.files


def test_a_flipped_byte_in_any_version_is_reported_with_its_path(tmp_path: Path) -> None:
    manifest = opened(tmp_path / "store")
    commit(manifest, 1)
    path = tmp_path / "store/_manifest" / f"{1:020d}.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(bytes(damaged))
        with pytest.raises((StorageCorruptError, StorageVersionError)) as caught:
            Manifest(tmp_path / "store", Disk())
        assert caught.value.facts["path"] == str(path)


def test_a_version_of_another_store_does_not_fit_the_chain(tmp_path: Path) -> None:
    ours, theirs = opened(tmp_path / "ours"), opened(tmp_path / "theirs")
    commit(ours, 1)
    theirs.commit(theirs.root, add=[], advance={"feed.x": Advance(1, 1)}, writer="other", created=0)
    commit(theirs, 1)
    name = f"_manifest/{2:020d}.json"
    shutil.copy(theirs.root / name, ours.root / name)
    with pytest.raises(StorageCorruptError, match="does not follow version 1"):
        ours.refresh()


@pytest.mark.parametrize("missing", [1, 2, 3, 4, 5])
def test_a_missing_version_is_named_to_readers_and_writers_and_not_written_over(tmp_path: Path, missing: int) -> None:
    """Method: a reader and a writer that stand before the hole, and one that is opened; six versions, one removed."""
    manifest = opened(tmp_path)
    early = []
    for number in range(1, 7):
        if number == missing:
            early = [Manifest(tmp_path, Disk()), Manifest(tmp_path, Disk())]
        commit(manifest, number)
    gone = tmp_path / f"_manifest/{missing:020d}.json"
    gone.unlink()
    names = sorted(path.name for path in (tmp_path / "_manifest").iterdir())
    reader, writer = early
    for attempt in (lambda: Manifest(tmp_path, Disk()), reader.refresh, lambda: commit(writer, missing)):
        with pytest.raises(StorageCorruptError, match="is missing though version 6 is there: restore it") as caught:
            attempt()
        assert caught.value.facts["path"] == str(gone)
    assert sorted(path.name for path in (tmp_path / "_manifest").iterdir()) == names


def test_versions_published_while_a_reader_looks_are_no_hole(tmp_path: Path) -> None:
    """Method: another writer publishes two versions after the reader saw that there is no next one."""

    class Overtaken(Disk):
        publish = True

        def names(self, directory: Path) -> list[str]:
            if self.publish:
                self.publish = False
                commit(writer, 2)
                commit(writer, 3)
            return super().names(directory)

    writer = opened(tmp_path)
    commit(writer, 1)
    assert Manifest(tmp_path, Overtaken()).version == 3


def test_a_reader_lists_the_directory_only_when_names_have_changed(tmp_path: Path) -> None:
    """A query asks for the newest version each time, and a store of years has a hundred thousand."""

    class Counting(Disk):
        listings = 0

        def names(self, directory: Path) -> list[str]:
            self.listings += directory.name == "_manifest"
            return super().names(directory)

    writer = opened(tmp_path)
    commit(writer, 1)
    disk = Counting()
    reader = Manifest(tmp_path, disk)
    for _ in range(100):
        reader.refresh()
    assert disk.listings == 1


def test_a_manifest_of_another_format_version_says_which(tmp_path: Path) -> None:
    commit(opened(tmp_path), 1)
    path = tmp_path / "_manifest" / f"{1:020d}.json"
    body = json.loads(path.read_bytes().splitlines()[0])
    path.write_bytes(module._frame(json.dumps(body | {"format_version": 2}).encode()))
    with pytest.raises(
        StorageVersionError, match="version 2; this release reads tidebook-manifest version 1"
    ) as caught:
        Manifest(tmp_path, Disk())
    assert caught.value.facts == {"path": str(path), "expected": 1, "found": 2}


@pytest.mark.parametrize(
    ("code", "error", "advice"),
    [
        (errno.ENOSPC, StorageFullError, "free some space"),
        (errno.EROFS, StorageAccessError, "give this user write access"),
    ],
)
def test_a_commit_that_fails_at_any_call_is_there_whole_or_not_at_all(
    tmp_path: Path, code: int, error: type[Exception], advice: str
) -> None:
    for at in range(1, CALLS_OF_A_COMMIT + 2):
        root = tmp_path / f"{code}-{at}"
        root.mkdir()
        commit(opened(root), 1)
        disk = FailingDisk(at, code)
        if at > CALLS_OF_A_COMMIT:
            commit(Manifest(root, disk), 2)
            assert disk.failed == "", "a commit makes more calls than were tried"
            break
        with pytest.raises(error, match=rf"{re.escape(str(root))}.*{advice}"):
            commit(Manifest(root, disk), 2)
        after = Manifest(root, Disk())
        assert (after.version, len(after.files), after.position("feed.binance")) in {(1, 1, 1), (2, 2, 2)}


def test_checkpoints_that_cannot_be_listed_are_an_error_and_not_none(tmp_path: Path) -> None:
    """Read on without one it would look for versions that are gone. Method: a link to itself, which nobody can list."""
    Manifest(tmp_path, Disk())
    checkpoints = tmp_path / "_manifest" / "checkpoints"
    checkpoints.parent.mkdir()
    checkpoints.symlink_to(checkpoints)
    with pytest.raises(StorageError, match=re.escape(str(checkpoints))):
        Manifest(tmp_path, Disk())

"""Old history goes by rule and only by rule, never under a backup; room on the disk is watched; both are told once."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

import tidebook as tb
from tests.node.test_live import get, node, stored_trades, wait_for
from tidebook import persistence
from tidebook._core import JournalWriter
from tidebook.config.settings import Settings
from tidebook.errors import JournalLockedError
from tidebook.node.backup import back_up
from tidebook.node.drill import drill
from tidebook.node.maintenance import KEPT_UNASKED, KeptJournal, Maintenance, MaintenanceOptions
from tidebook.node.metrics import maintenance_metrics
from tidebook.node.presence import owning
from tidebook.node.snapshot_files import usable_snapshots
from tidebook.transport.keep_rule import KeepPlan
from tidebook.transport.keeping import compact_by

CHANNEL = "desk.orders"
SEGMENT = 1 << 16


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A journal of some twenty segments of 64 KiB, each with some sixty messages of a KiB."""
    directory = tmp_path / "data"
    with owning(directory, "record"):
        writer = JournalWriter(directory / "journal" / CHANNEL, CHANNEL, segment_size_bytes=SEGMENT)
        for _ in range(1_200):
            writer.append(os.urandom(1_000))
            writer.flush()
        writer.sync()
        writer.close()
    return directory


def upkeep(
    data: Path, stored: int, snapshots: Sequence[int], keep_s: float | None = 0.0, threshold: int = 4 * SEGMENT
) -> Maintenance:
    kept = KeptJournal(
        channel=CHANNEL, journal=data / "journal" / CHANNEL, stored=lambda: stored, snapshots=lambda: snapshots
    )
    return Maintenance(data, [kept], MaintenanceOptions(threshold_bytes=threshold, keep_s=keep_s))


def first_of(data: Path) -> int:
    return persistence.inspect(data / "journal" / CHANNEL).first_sequence


def test_a_journal_loses_what_is_stored_and_covered_by_two_snapshots_and_old_and_nothing_else(data: Path) -> None:
    everything = list(persistence.read(data / "journal" / CHANNEL))
    refused = [
        upkeep(data, 0, [400, 800]),
        upkeep(data, 1_000, []),
        upkeep(data, 1_000, [800]),
        upkeep(data, 1_000, [400, 800], keep_s=3_600.0),
        upkeep(data, 1_000, [400, 800], keep_s=None),
        upkeep(data, 1_000, [400, 800], threshold=1 << 30),
    ]
    for one in refused:
        one.look()
        assert first_of(data) == 1
    assert [bool(one.journals[CHANNEL].kept_by) for one in refused] == [True, True, True, True, True, False]
    one = upkeep(data, 1_000, [400, 800])
    one.look()
    first = first_of(data)
    assert 1 < first <= 401, "the older of the two has what comes behind it"
    done = one.journals[CHANNEL]
    assert (done.compactions, done.first_sequence) == (1, first)
    assert done.removed_bytes > 0
    assert list(persistence.read(data / "journal" / CHANNEL)) == everything[first - 1 :]
    one.look()
    assert one.journals[CHANNEL].compactions == 1, "there is nothing more to remove"
    two = upkeep(data, 300, [1_000, 1_100])
    two.look()
    assert first_of(data) == first, "its rows are not stored"


def test_unless_somebody_says_how_long_raw_messages_stay_none_goes(data: Path) -> None:
    """An upgrade may leave no snapshot that can be loaded; who kept his history has it."""
    assert Settings().keep_capture_h is None
    assert MaintenanceOptions().keep_s is None
    one = upkeep(data, 1_000, [400, 800], keep_s=MaintenanceOptions().keep_s)
    one.look()
    assert first_of(data) == 1
    assert one.journals[CHANNEL].kept_by == KEPT_UNASKED


def test_nothing_goes_while_a_backup_is_made(tmp_path: Path, data: Path) -> None:
    one = upkeep(data, 1_200, [1_100, 1_200])
    reasons = []

    def look(_: int) -> None:
        one.look()
        reasons.append(one.journals[CHANNEL].kept_by)

    back_up(data, tmp_path / "backups", look)
    assert set(reasons) == {"a backup is being made"}
    assert first_of(data) == 1
    one.look()
    assert first_of(data) > 1


def test_what_keeps_a_journal_is_told_once_and_again_when_it_is_something_else(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = 0
    kept = KeptJournal(channel=CHANNEL, journal=data / "journal" / CHANNEL, stored=lambda: stored, snapshots=lambda: ())
    one = Maintenance(data, [kept], MaintenanceOptions(threshold_bytes=SEGMENT, keep_s=0.0))
    for stored in (0, 0, 1_200, 1_200):  # noqa: B007 - the rule asks for it
        one.look()
    said = [line for line in capsys.readouterr().out.splitlines() if "above compaction_threshold" in line]
    assert len(said) == 2
    assert "not stored" in said[0]
    assert "snapshots" in said[1]


def test_a_disk_that_fills_is_told_before_it_is_full_and_again_when_it_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hundred GiB free that become less by one a minute are full in less than two hours, then in less than one."""
    clock, free = 0.0, 100 << 30
    monkeypatch.setattr("tidebook.node.maintenance.shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    one = Maintenance(tmp_path, [], clock=lambda: clock)
    warned = []
    for _ in range(60):
        one.look()
        warned.append(one.upkeep.nearly_full)
        clock, free = clock + 60.0, free - (1 << 30)
    assert warned.index(True) == 41, "59 GiB at one a minute are 59 minutes"
    assert all(warned[41:])
    free = 100 << 30
    for _ in range(12):
        one.look()
        clock += 60.0
    assert not one.upkeep.nearly_full
    said = capsys.readouterr().out
    assert (said.count("the disk will be full within an hour"), said.count("the disk has room again")) == (1, 1)


def test_the_thread_looks_by_itself_and_ends_when_it_is_stopped(data: Path) -> None:
    one = upkeep(data, 1_200, [1_100, 1_200])
    one.start()
    one.stop()
    assert first_of(data) > 1
    assert one.upkeep.free_bytes > 0


def test_a_feed_that_is_coming_up_is_looked_at_when_it_has_and_not_an_interval_later(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before that nothing of it counts as stored, which would be told as what keeps its journal."""
    asked = 0

    def ready() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    kept = KeptJournal(
        channel=CHANNEL,
        journal=data / "journal" / CHANNEL,
        stored=lambda: 1_200 if asked > 2 else 0,
        snapshots=lambda: [1_100, 1_200],
        ready=ready,
    )
    one = Maintenance(data, [kept], MaintenanceOptions(threshold_bytes=4 * SEGMENT, keep_s=0.0, interval_s=3_600.0))
    one.start()
    wait_for(lambda: one.upkeep.free_bytes > 0)
    wait_for(lambda: first_of(data) > 1)
    one.stop()
    assert "above compaction_threshold" not in capsys.readouterr().out


def test_whatever_a_look_fails_with_is_told_and_counted_and_the_next_look_is_made(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first looks fail with what nobody foresaw; the thread goes on and does its work as soon as it can."""
    done = threading.Event()
    asked = 0

    def stored() -> int:
        nonlocal asked
        asked += 1
        if asked <= 3:
            raise ZeroDivisionError("unforeseen")
        done.set()
        return 1_200

    journal = data / "journal" / CHANNEL

    def ready() -> bool:
        raise ZeroDivisionError("unforeseen too")

    kept = KeptJournal(channel=CHANNEL, journal=journal, stored=stored, snapshots=lambda: [1_100, 1_200], ready=ready)
    options = MaintenanceOptions(threshold_bytes=4 * SEGMENT, keep_s=0.0, interval_s=0.001)
    one = Maintenance(data, [kept], options)
    one.start()
    assert done.wait(60.0)
    one.stop()
    assert first_of(data) > 1
    assert one.journals[CHANNEL].failures == 3
    (shown,) = [metric for metric in maintenance_metrics(one) if metric.name == "tidebook_journal_maintenance_failures"]
    assert [sample.value for sample in shown.samples] == [3]
    said = [line for line in capsys.readouterr().out.splitlines() if "cannot be maintained" in line]
    assert len(said) == 1
    assert "ZeroDivisionError('unforeseen')" in said[0]


@pytest.mark.timeout(360)  # four nodes and a drill, each with processes to start: minutes where many others work
def test_a_node_forgets_what_its_snapshots_cover_and_starts_from_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each life begins a segment, and the newest two stay: so the third may lose the first, and does so when it starts."""
    data, rings = tmp_path / "data", tmp_path / "rings"
    rings.mkdir(mode=0o700)
    settings = {"SNAPSHOT_INTERVAL_MIN": "0.005", "COMPACTION_THRESHOLD": "1MiB", "KEEP_CAPTURE_H": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(f"TIDEBOOK_{name}", value)
    options = ("--venues", "kraken", "--rate", "1500", "--flush-interval-s", "0.2")
    journal = data / "journal" / "feed.kraken"
    before: list[tuple[int, int]] = []
    for life in range(4):
        with node(data, rings, *options) as (process, address):
            wait_for(lambda: get(address, "feeds")[0]["books_usable"] == 2)
            # Some 250 bytes each: above the threshold before the third life looks.
            wait_for(lambda least=3_000 * (life + 1): persistence.inspect(journal).durable >= least)
            taken = persistence.inspect(journal).durable
            if life >= 2:
                wait_for(lambda: persistence.inspect(journal).first_sequence > 1)
            wait_for(lambda at=taken: len([one for one in usable_snapshots(data, "feed.kraken", 2) if one > at]) == 2)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
        stored = stored_trades(data, "KRAKEN")
        assert stored[: len(before)] == before, "what is stored stays"
        assert len(stored) > len(before)
        assert len(set(stored)) == len(stored)
        before = stored
    assert persistence.verify(journal).first_sequence > 1
    assert tb.open(data).verify().ok
    (found,) = drill(data).channels
    assert found.ok
    assert found.snapshot > 0
    assert found.snapshot_original > 0


def test_what_a_reader_that_has_the_channel_open_has_not_read_stays_while_it_has(tmp_path: Path) -> None:
    """One that is away is not waited for."""
    data, rings = tmp_path / "data", Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        with owning(data, "record"):
            asked = {
                "durability": "wal",
                "wal_dir": data / "journal",
                "segment_size_bytes": SEGMENT,
                "buffer_size": 1 << 16,
            }
            channel = tb.create_channel(CHANNEL, asked, directory=rings)
            with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader", start=1) as reader:
                for _ in range(600):
                    producer.write(os.urandom(1_000), wait="durable")
                kept = upkeep(data, 600, [400, 500])
                kept.look()
                assert first_of(data) == 1
                assert kept.journals[CHANNEL].kept_by == "consumer reader still needs what it has not read"
                reader.poll_batch(200, timeout=60).release()  # type: ignore[union-attr]
                kept.look()
                begins = first_of(data)
                assert 1 < begins <= 201
            kept.look()
            assert first_of(data) > 201
    finally:
        shutil.rmtree(rings)


def test_a_backup_that_waits_for_who_compacts_says_for_which_process(tmp_path: Path, data: Path) -> None:
    """Method: one that has the lock and ends when the backup has said so."""
    journal = data / "journal" / CHANNEL
    told: list[str] = []
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(journal / "compaction.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        stdin = holder.stdin

        def tell(line: str) -> None:
            told.append(line)
            stdin.close()

        back_up(data, tmp_path / "backups", lambda _: None, tell)
    (said,) = told
    assert f"for who compacts {journal}: process {holder.pid} (" in said


def test_nothing_goes_of_a_channel_of_ones_own_while_a_backup_is_made(tmp_path: Path, data: Path) -> None:
    """Its producer's process asks for the journal's own lock, as `tidebook journal compact` does."""
    journal = data / "journal" / CHANNEL
    plan = KeepPlan(rule=f"size {4 * SEGMENT}", threshold_bytes=0)
    looks = 0

    def look(_: int) -> None:
        nonlocal looks
        looks += 1
        with pytest.raises(JournalLockedError):
            compact_by(journal, plan, list)

    back_up(data, tmp_path / "backups", look)
    assert looks > 0
    assert first_of(data) == 1
    assert compact_by(journal, plan, list).first_sequence > 1

"""Snapshots and recovery of states that are Python objects, beside a live writer and after damage."""

import json
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidebook._core import JournalWriter
from tidebook.errors import (
    SnapshotDamagedError,
    SnapshotError,
    SnapshotMismatchError,
    StateError,
)
from tidebook.persistence import Follower, SnapshotStore, recover
from tidebook.persistence.snapshots import place_behind


class Balances:
    """What accounts hold: each message moves an amount from one to another."""

    kind = "balances"
    version = 1
    _MOVE = struct.Struct("<HHq")
    _ENTRY = struct.Struct("<Hq")

    def __init__(self) -> None:
        self.amounts: dict[int, int] = {}

    @classmethod
    def move(cls, number: int) -> bytes:
        return cls._MOVE.pack(number % 7, number * 5 % 11, number % 100)

    def apply(self, sequence: int, payload: bytes) -> None:  # noqa: ARG002 - the protocol's
        source, target, amount = self._MOVE.unpack(payload)
        self.amounts[source] = self.amounts.get(source, 0) - amount
        self.amounts[target] = self.amounts.get(target, 0) + amount

    def state_hash(self) -> int:
        return sum((account + 1) * (amount + 2**40) for account, amount in self.amounts.items()) % 2**64

    def save(self) -> bytes:
        return b"".join(self._ENTRY.pack(*entry) for entry in sorted(self.amounts.items()))

    def load(self, content: bytes) -> None:
        self.amounts = dict(self._ENTRY.iter_unpack(content))


def unbroken(last: int) -> Balances:
    """The state after so many messages, without any journal."""
    state = Balances()
    for number in range(1, last + 1):
        state.apply(number, Balances.move(number))
    return state


def append(writer: JournalWriter, count: int) -> None:
    for _ in range(count):
        writer.append(Balances.move(writer.next_sequence))
        if writer.next_sequence % 5 == 1:
            writer.sync()
    writer.sync()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of two hundred moves."""
    directory = tmp_path / "wal"
    writer = JournalWriter(directory, "balances", segment_size_bytes=65_536)
    append(writer, 200)
    writer.close()
    return directory


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "snapshots/balances/balances", "balances")


def take(journal: Path, store: SnapshotStore) -> int:
    """A snapshot at the journal's end; its sequence."""
    recovered = recover(Balances, journal, store)
    assert recovered.place is not None
    return store.write(recovered.state, recovered.place).sequence


def grow(journal: Path, count: int) -> None:
    writer = JournalWriter(journal, "balances", segment_size_bytes=65_536)
    append(writer, count)
    writer.close()


def damage(store: SnapshotStore, sequence: int, offset: int = 4100) -> None:
    path = store.directory / f"{sequence:020}.snapshot"
    content = bytearray(path.read_bytes())
    content[offset] ^= 8
    path.write_bytes(content)


def test_a_state_comes_back_from_the_newest_snapshot_and_the_messages_behind_it(
    journal: Path, store: SnapshotStore
) -> None:
    assert recover(Balances, journal, store).facts.used is None
    assert take(journal, store) == 200
    grow(journal, 50)
    recovered = recover(Balances, journal, store)
    facts = recovered.facts
    assert facts.used is not None
    assert (facts.used.sequence, facts.tail_count, facts.last_sequence) == (200, 50, 250)
    assert recovered.state.amounts == unbroken(250).amounts
    assert facts.state_hash == unbroken(250).state_hash()
    found, content = store.read(200)
    assert (found.kind, found.place.channel, content) == ("balances", "balances", unbroken(200).save())


def test_a_damaged_snapshot_is_told_and_the_older_one_used(journal: Path, store: SnapshotStore) -> None:
    take(journal, store)
    grow(journal, 50)
    take(journal, store)
    damage(store, 250)
    with pytest.raises(SnapshotDamagedError, match="its content is not what was written"):
        store.verify(250)
    recovered = recover(Balances, journal, store)
    assert recovered.facts.used is not None
    assert recovered.facts.used.sequence == 200
    assert [sequence for sequence, _ in recovered.facts.refused] == [250]
    assert recovered.state.amounts == unbroken(250).amounts
    grow(journal, 10)
    take(journal, store)
    rotation = store.rotate(2)
    assert (rotation.kept, rotation.removed, rotation.damaged) == ([200, 260], [], [250])


def test_a_snapshot_of_messages_that_the_journal_lacks_names_them(
    journal: Path, store: SnapshotStore, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in journal.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    grow(journal, 50)
    take(journal, store)
    with pytest.raises(SnapshotMismatchError, match="messages 201 to 250 were durable and are missing") as caught:
        recover(Balances, copy, store)
    assert (caught.value.facts["sequence"], caught.value.facts["last_sequence"]) == (250, 200)
    assert store.proven_durable(copy) == 250
    other = tmp_path / "other"
    JournalWriter(other, "balances", segment_size_bytes=65_536).close()
    with pytest.raises(SnapshotMismatchError, match="put that journal back"):
        recover(Balances, other, store)


def test_what_a_state_raises_is_the_cause_of_a_state_error_with_the_message(
    journal: Path, store: SnapshotStore
) -> None:
    writer = JournalWriter(journal, "balances", segment_size_bytes=65_536)
    writer.append(b"no move")
    writer.close()
    with pytest.raises(StateError, match="message 201 is none of this state's") as caught:
        recover(Balances, journal, store)
    assert isinstance(caught.value.__cause__, struct.error)


def test_a_recovery_tells_how_far_it_is_and_ends_when_told_to(journal: Path, store: SnapshotStore) -> None:
    seen: list[tuple[int, int]] = []
    recover(Balances, journal, store, progress=lambda applied, durable: seen.append((applied, durable)))
    assert seen[-1] == (200, 200)
    assert [applied for applied, _ in seen] == sorted({applied for applied, _ in seen})

    def enough(applied: int, durable: int) -> None:
        raise InterruptedError(f"enough at {applied} of {durable}")

    with pytest.raises(InterruptedError, match="enough at 200 of"):
        recover(Balances, journal, store, progress=enough)


def test_a_follower_takes_snapshots_beside_a_live_writer(tmp_path: Path, store: SnapshotStore) -> None:
    writer = JournalWriter(tmp_path / "wal", "balances", segment_size_bytes=65_536)
    told: list[str] = []
    with Follower(
        Balances, tmp_path / "wal", store, interval_s=3600, keep=2, tell=lambda name, _facts: told.append(name)
    ) as follower:
        taken = follower.snapshot()
        assert taken is None
        for last in (40, 100, 170):
            append(writer, last - writer.next_sequence + 1)
            taken = follower.snapshot()
            assert taken is not None
            assert (taken.sequence, taken.state_hash) == (last, unbroken(last).state_hash())
        status = follower.status
        assert (status.applied, status.lag_count, status.snapshot_count, status.failure) == (170, 0, 3, None)
    writer.close()
    assert store.sequences() == [100, 170]
    assert told == ["recovered", "snapshot", "snapshot", "snapshot"]
    assert follower.status.snapshot == taken
    with pytest.raises(SnapshotError, match="stopped"):
        follower.snapshot()


def test_behind_a_follower_that_lags_the_owner_saves_the_live_state_once_and_its_pause_is_told(
    tmp_path: Path, store: SnapshotStore
) -> None:
    """Method: the follower is kept in what it tells, first until 2,000 messages are there, then while it says that it lags."""
    writer = JournalWriter(tmp_path / "wal", "balances", segment_size_bytes=1 << 20)
    append(writer, 5)
    written, lagging, saved, caught_up = (threading.Event() for _ in range(4))
    told: list[tuple[str, dict[str, Any]]] = []

    def tell(name: str, facts: dict[str, Any]) -> None:
        told.append((name, facts))
        if name == "recovered":
            assert written.wait(60)
        elif name == "lagging":
            lagging.set()
            assert saved.wait(60)
        elif name == "caught_up":
            caught_up.set()

    with Follower(Balances, tmp_path / "wal", store, interval_s=3600, keep=2, lag_count_max=100, tell=tell) as follower:
        live = unbroken(2_000)
        assert follower.inline(live, 2_000) is None, "nobody lags yet"
        append(writer, 1_995)
        written.set()
        assert lagging.wait(60)
        writer.append(Balances.move(2_001))
        for inside_a_batch, durable in ((1_998, 2_000), (2_001, 2_000)):
            with pytest.raises(
                SnapshotError, match=f"no durable batch ends with message {inside_a_batch}, .* {durable};"
            ):
                follower.inline(live, inside_a_batch)
        taken = follower.inline(live, 2_000)
        assert taken is not None
        assert (taken.snapshot.sequence, taken.snapshot.state_hash) == (2_000, live.state_hash())
        assert taken.lag_count == told[1][1]["lag_count"] > 100
        assert taken.pause_s > 0
        assert follower.inline(live, 2_000) is None, "once in an interval is enough"
        saved.set()
        assert caught_up.wait(60)
    recovered = recover(Balances, tmp_path / "wal", store)
    assert recovered.facts.used == taken.snapshot
    assert recovered.state.amounts == live.amounts
    assert [name for name, _ in told] == ["recovered", "lagging", "inline", "caught_up"]
    assert told[2][1] == {"snapshot": taken.snapshot, "pause_s": taken.pause_s, "lag_count": taken.lag_count}


def test_snapshots_come_by_themselves(journal: Path, store: SnapshotStore) -> None:
    taken = threading.Event()

    def tell(name: str, facts: dict[str, Any]) -> None:
        if name == "snapshot":
            taken.set()

    with Follower(Balances, journal, store, interval_s=0.01, tell=tell):
        assert taken.wait(30)
    assert store.sequences() == [200]


class Forgetful(Balances):
    """Loads less than it saved."""

    def load(self, content: bytes) -> None:
        super().load(content[: -self._ENTRY.size])


class Failing(Balances):
    """Cannot be saved."""

    def save(self) -> bytes:
        raise OSError("no ink")


class Unmade(Balances):
    """Cannot be made."""

    def __init__(self) -> None:
        raise LookupError("no paper")


@pytest.mark.parametrize(
    ("make", "problem"), [(Forgetful, "the state loaded has hash"), (Failing, "no ink")], ids=["loads", "saves"]
)
def test_a_state_that_cannot_be_saved_and_loaded_makes_no_snapshot_that_counts(
    make: Callable[[], Balances], problem: str, journal: Path, store: SnapshotStore
) -> None:
    with Follower(make, journal, store, interval_s=3600) as follower:
        with pytest.raises(SnapshotError, match=problem):
            follower.snapshot()
        assert (follower.status.failure, problem in (follower.status.trouble or "")) == (None, True)
    assert recover(Balances, journal, store).state.amounts == unbroken(200).amounts


class Unhashed(Balances):
    """Raises for its hash once it has moved; loads something else than it saved."""

    def state_hash(self) -> int:
        if self.amounts:
            raise ArithmeticError("no scales")
        return super().state_hash()

    def load(self, content: bytes) -> None:
        super().load(content[: -self._ENTRY.size])


class Signed(Unhashed):
    """Gives what `hash` of Python gives: a number that may be negative."""

    def state_hash(self) -> int:
        return -1 if self.amounts else 0


class UnhashedAnew(Unhashed):
    """Raises for the hash computed anew."""

    def state_hash(self) -> int:
        return Balances.state_hash(self)

    def recomputed_state_hash(self) -> int:
        raise ArithmeticError("no scales")


@pytest.mark.parametrize(
    ("make", "cause"),
    [(Unhashed, ArithmeticError), (Signed, OverflowError), (UnhashedAnew, ArithmeticError)],
    ids=["raises", "negative", "raises_anew"],
)
def test_a_state_without_a_hash_makes_no_snapshot_and_is_not_given_by_a_recovery(
    make: type[Balances], cause: type[Exception], journal: Path, store: SnapshotStore
) -> None:
    """No hash equals no hash: taken for a number, it would prove whatever was loaded."""
    with Follower(make, journal, store, interval_s=3600) as follower, pytest.raises(SnapshotError, match="no hash"):
        follower.snapshot()
    live = make()
    for number in range(1, 201):
        live.apply(number, Balances.move(number))
    with pytest.raises(StateError, match="it gives no hash") as caught:
        store.write(live, place_behind(journal, 200))
    assert isinstance(caught.value.__cause__, cause)
    assert store.sequences() == []
    for _ in ("from the first message", "from a snapshot that another took"):
        with pytest.raises(StateError, match="it gives no hash") as caught:
            recover(make, journal, store)
        assert isinstance(caught.value.__cause__, cause)
        store.write(unbroken(200), place_behind(journal, 200))


class Drifted(Balances):
    """Keeps a hash that is not the one of what it holds."""

    def recomputed_state_hash(self) -> int:
        return self.state_hash() + 1


class Orders(Balances):
    """Of another kind."""

    kind = "orders"


@pytest.mark.parametrize(
    ("make", "problem"), [(Drifted, "computed anew"), (Orders, 'of state "orders", not of "balances"')]
)
def test_what_the_owner_saves_is_compared_as_what_a_follower_saves(
    make: type[Balances], problem: str, journal: Path, store: SnapshotStore
) -> None:
    live = make()
    for number in range(1, 201):
        live.apply(number, Balances.move(number))
    with pytest.raises(SnapshotError, match=problem):
        store.write(live, place_behind(journal, 200))
    assert store.sequences() == []


class Choosy(Balances):
    """Refuses the bytes of a newer release."""

    def load(self, content: bytes) -> None:  # noqa: ARG002 - the protocol's
        raise KeyError("written by another release")


def test_what_made_a_snapshot_be_passed_over_is_not_the_cause_of_what_comes_later(
    journal: Path, store: SnapshotStore
) -> None:
    def ends(_applied: int, _durable: int) -> None:
        raise InterruptedError("enough")

    store.write(unbroken(200), place_behind(journal, 200))
    with pytest.raises(InterruptedError):
        recover(Choosy, journal, store, progress=ends)
    writer = JournalWriter(journal, "balances", segment_size_bytes=65_536)
    writer.append(b"no move")
    writer.close()
    with pytest.raises(StateError, match="message 201 is none") as caught:
        recover(Choosy, journal, store)
    assert isinstance(caught.value.__cause__, struct.error)


def test_a_state_that_cannot_be_made_raises_what_it_raised(journal: Path, store: SnapshotStore) -> None:
    with pytest.raises((StateError, LookupError)) as caught:
        recover(Unmade, journal, store)
    assert "no paper" in str(caught.value) or "no paper" in str(caught.value.__cause__)


def test_a_process_that_forgets_to_stop_its_follower_ends(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_snapshots import Balances, append
from tidebook._core import JournalWriter
from tidebook.persistence import Follower, SnapshotStore
writer = JournalWriter("wal", "balances", segment_size_bytes=65_536)
append(writer, 30)
follower = Follower(Balances, "wal", SnapshotStore("snapshots", "balances"), interval_s=0.001)
print(follower.snapshot().sequence)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "30\n", "")


@pytest.mark.parametrize("followed", ["Follower.of_venue('orders', store", "Follower(Balances, 'orders', store"])
def test_a_follower_that_outlives_python_tells_nobody_and_ends(tmp_path: Path, followed: str) -> None:
    """Method: the process ends while the thread is about to tell; nothing stops it, because it is held by what is never freed."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_snapshots import Balances
from tidebook._core import Follower, SnapshotStore, VenueEngine
import os
os.mkdir("rings", 0o700)
engine = VenueEngine("rings", "orders", orders_max=64, segment_size_bytes=65_536)
store = SnapshotStore("snapshots", "orders")
kept = [engine, {followed}, tell=lambda *_: None)]
kept.append(kept)
"""
    for _ in range(5):
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        for directory in ("rings", "orders"):
            shutil.rmtree(tmp_path / directory)


def tidebook(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tidebook", "snapshot", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_commands_list_verify_and_load_snapshots(journal: Path, store: SnapshotStore, tmp_path: Path) -> None:
    take(journal, store)
    grow(journal, 50)
    take(journal, store)
    listed = json.loads(tidebook("ls", "--data", tmp_path, "--json", cwd=tmp_path).stdout)["snapshots"]
    assert [(entry["kind"], entry["sequence"]) for entry in listed] == [("balances", 200), ("balances", 250)]
    shown = tidebook("ls", store.directory, cwd=tmp_path).stdout.splitlines()
    assert shown[0].startswith("balances at 200: 4 KB, ")
    assert tidebook("verify", "--data", tmp_path, cwd=tmp_path).returncode == 0
    state = Path(__file__).stem + ":Balances"
    (tmp_path / Path(__file__).name).write_text(Path(__file__).read_text())
    loaded = tidebook("load", journal, store.directory, "--state", state, cwd=tmp_path)
    expected = [
        "balances of balances: from snapshot at 250 and 0 messages behind it",
        f"at 250, state hash {unbroken(250).state_hash():016x}",
    ]
    assert loaded.stdout.splitlines()[:2] == expected, loaded.stderr
    damage(store, 250)
    verified = tidebook("verify", store.directory, "--json", cwd=tmp_path)
    assert verified.returncode == 1
    found = json.loads(verified.stdout)
    assert [facts["place"]["sequence"] for facts in found["whole"]] == [200]
    assert [facts["sequence"] for facts in found["damaged"]] == [250]
    loaded = tidebook("load", journal, store.directory, "--state", state, "--json", cwd=tmp_path)
    facts = json.loads(loaded.stdout)
    assert (facts["used"]["place"]["sequence"], facts["refused"][0][0]) == (200, 250)
    assert facts["state_hash"] == f"{unbroken(250).state_hash():016x}"


def test_a_directory_above_the_snapshots_or_none_is_not_taken_for_a_state_without_one(
    journal: Path, store: SnapshotStore, tmp_path: Path
) -> None:
    """It would begin with the first message, which takes long and says nothing of the snapshots."""
    take(journal, store)
    state = Path(__file__).stem + ":Balances"
    (tmp_path / Path(__file__).name).write_text(Path(__file__).read_text())
    above = tidebook("load", journal, store.directory.parent, "--state", state, cwd=tmp_path)
    assert (above.returncode, above.stdout) == (2, "")
    assert f"has no snapshots itself; name the directory of one state: {store.directory}" in above.stderr
    missing = tidebook("load", journal, tmp_path / "nowhere", "--state", state, cwd=tmp_path)
    assert (missing.returncode, missing.stdout) == (2, "")
    (tmp_path / "empty").mkdir()
    loaded = tidebook("load", journal, tmp_path / "empty", "--state", state, cwd=tmp_path)
    assert loaded.stdout.startswith(
        f"balances of balances: from the first message (no snapshot in {tmp_path / 'empty'}) and 200 messages"
    ), loaded.stderr


def test_a_data_directory_whose_first_snapshot_is_still_to_come_is_no_mistake(tmp_path: Path) -> None:
    JournalWriter(tmp_path / "data/journal/feed.kraken", "feed.kraken", segment_size_bytes=65_536).close()
    told = "no snapshot yet; the first comes snapshot_interval_min (5) minutes after the start\n"
    for command in ("ls", "verify"):
        for words in (["--data", tmp_path / "data"], [tmp_path / "data"]):
            shown = tidebook(command, *words, cwd=tmp_path)
            assert (shown.returncode, shown.stdout, shown.stderr) == (0, told, ""), command
    assert tidebook("ls", "--data", tmp_path / "nothing", cwd=tmp_path).returncode == 2


def test_what_commands_cannot_do_is_one_line(journal: Path, tmp_path: Path) -> None:
    for arguments in (
        ("ls", tmp_path / "nothing"),
        ("load", journal, tmp_path, "--state", "nothing"),
        ("load", journal, tmp_path, "--state", "no.such:Thing"),
        ("load", journal, tmp_path, "--state", "os:getcwd"),
        ("load", journal, tmp_path, "--state", "os:sep"),
    ):
        shown = tidebook(*arguments, cwd=tmp_path)
        assert shown.returncode == 2, arguments
        assert len(shown.stderr.strip().splitlines()) == 1, shown.stderr

"""Forks, former states, snapshots and journals: one history, many venues."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.venue.market import ACCOUNTS, ROOM, market, stream
from tidebook._core import Follower, JournalWriter, Payloads, SnapshotStore, compact_journal
from tidebook.errors import (
    JournalAbsentError,
    JournalCompactedError,
    QueryError,
    SnapshotDamagedError,
    SnapshotError,
    StateError,
)
from tidebook.venue import LAYOUTS, CommandKind, Records, Side, Venue, kill, timer

ALICE, BOB, *_ = ACCOUNTS


def busy(count: int = 3_000, seed: int = 3, **options: Any) -> Venue:
    venue = market(**options)
    venue.submit(stream(seed, count, begin=venue.sequence + 1))
    return venue


def replayed(commands: Records, **options: Any) -> Venue:
    venue = Venue(**(ROOM | options))
    venue.replay(commands)
    return venue


def write(journal: JournalWriter, commands: Records) -> None:
    """As the engine's journal has them, one message a command, fifty a batch; durable behind it."""
    for begin in range(0, len(commands), 50):
        journal.append_all(Payloads([command.tobytes() for command in commands[begin : begin + 50]]))
        journal.sync()


def journal_of(directory: Path, commands: Records, **options: Any) -> Path:
    """A journal of these commands whose writer has ended."""
    journal = JournalWriter(directory, "orders", **options)
    write(journal, commands)
    journal.close()
    return directory


def test_a_fork_goes_its_own_way_and_neither_sees_the_other() -> None:
    venue = busy()
    fork, hash_ = venue.fork(), venue.state_hash()
    assert fork.state_hash() == hash_
    fork.submit([kill(), timer(2 * 10**9)])
    assert (fork.order_count, venue.state_hash()) == (0, hash_)
    more = stream(4, 500, begin=venue.sequence + 1)
    venue.submit(more)
    other = replayed(venue.commands()[: -len(more)])
    assert other.state_hash() == hash_
    # Both have what came before, and only their own behind it.
    assert fork.commands()[:-3].tobytes() == other.commands().tobytes()
    assert fork.commands()["kind"][-3:].tolist() == [CommandKind.KILL, CommandKind.MASS_CANCEL, CommandKind.TIMER]


def test_the_venue_at_a_sequence_is_the_one_that_a_replay_up_to_there_gives() -> None:
    """Method: the end of every block of kept commands and beside it, every place of a short stretch, both ends."""
    venue = busy(9_000)
    journal = venue.commands()
    last = venue.sequence
    for sequence in sorted({0, 1, 2, 4_095, 4_096, 4_097, 8_191, 8_192, 8_193, last - 1, last, *range(500, 520)}):
        former = venue.at(sequence)
        assert former.sequence == sequence
        assert former.state_hash() == replayed(journal[:sequence]).state_hash(), sequence
        assert former.commands(1, sequence).tobytes() == journal[:sequence].tobytes()
    # It goes on like the first one did, judged anew.
    former = venue.at(5_000)
    former.submit(journal[5_000:])
    assert former.state_hash() == venue.state_hash()
    assert former.at(4_500).state_hash() == venue.at(4_500).state_hash()


def test_a_sequence_that_is_not_kept_is_an_error_that_names_what_is(tmp_path: Path) -> None:
    venue = busy(100)
    for sequence in (venue.sequence + 1, 1 << 62):
        with pytest.raises(QueryError, match=f"from 0 to {venue.sequence}") as caught:
            venue.at(sequence)
        assert caught.value.facts["nearest"] == venue.sequence
    with pytest.raises(QueryError, match="history"):
        market(history=False).at(1)
    with pytest.raises(QueryError, match="history"):
        market(history=False).commands()
    venue.save(tmp_path)
    loaded = Venue.load(tmp_path)
    with pytest.raises(QueryError, match=f"from {venue.sequence} to"):
        loaded.at(5)
    assert loaded.at(venue.sequence).state_hash() == venue.state_hash()


def test_a_replica_has_the_hash_and_the_answers_of_who_was_submitted_to() -> None:
    venue, replica = market(), Venue(**ROOM)
    replica.replay(venue.commands())
    executions, events = [], []
    array = stream(6, 2_000, begin=venue.sequence + 1)
    for part in np.array_split(array, 100):
        done = venue.submit(part)
        copied = replica.replay(done.commands, recheck=True)
        executions.append((done.executions, copied.executions))
        events.append((done.risk_events, copied.risk_events))
        assert replica.state_hash() == venue.state_hash()
        assert replica.positions() == venue.positions()
        assert replica.balances() == venue.balances()
        assert replica.open_orders().tobytes() == venue.open_orders().tobytes()
    ours, theirs = (np.concatenate(parts) for parts in zip(*executions, strict=True))
    assert ours.tobytes() == theirs.tobytes()
    # Events of the last fills come when the next command is judged.
    ours, theirs = (np.concatenate(parts) for parts in zip(*events, strict=True))
    assert ours[: len(theirs)].tobytes() == theirs.tobytes()
    assert len(ours) > len(array) // 10


def test_a_recheck_finds_the_first_changed_verdict() -> None:
    venue = busy()
    journal = venue.commands()
    accepted = np.flatnonzero((journal["verdict"] == 1) & (journal["kind"] == CommandKind.PLACE))
    changed = journal.copy()
    changed["verdict"][accepted[40]], changed["reason"][accepted[40]] = 2, 32
    again = Venue(**ROOM)
    with pytest.raises(StateError, match=f"command {accepted[40] + 1} is journaled with verdict 2 and reason 32"):
        again.replay(changed, recheck=True)
    assert again.sequence == accepted[40]
    # Taken as it is, history is history.
    assert replayed(changed).state_hash() != venue.state_hash()


def test_a_saved_venue_is_loaded_as_it_was_and_goes_on_the_same(tmp_path: Path) -> None:
    venue = busy(orders_max=5_000, ended_ids_max=7)
    path = venue.save(tmp_path / "saved")
    assert path.parent == tmp_path / "saved"
    loaded = Venue.load(tmp_path / "saved")
    assert (loaded.sequence, loaded.state_hash()) == (venue.sequence, venue.state_hash())
    more = stream(4, 2_000, begin=venue.sequence + 1)
    assert loaded.submit(more).executions.tobytes() == venue.submit(more).executions.tobytes()
    assert loaded.state_hash() == venue.state_hash() == loaded.recomputed_state_hash()
    second = venue.save(tmp_path / "saved")
    assert Venue.load(tmp_path / "saved").sequence == venue.sequence
    assert Venue.load(tmp_path / "saved", loaded.history_begin).sequence == loaded.history_begin
    second.write_bytes(second.read_bytes()[:-100])
    with pytest.raises(SnapshotDamagedError):
        Venue.load(tmp_path / "saved")


def test_what_cannot_be_saved_or_loaded_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="without a command"):
        Venue(**ROOM).save(tmp_path)
    with pytest.raises(SnapshotError, match="no snapshot"):
        Venue.load(tmp_path / "nothing")


def test_a_journal_is_opened_up_to_any_command_and_read_on(tmp_path: Path) -> None:
    """Method: a journal that grows while a venue follows it, as a node's does."""
    venue = busy(500)
    journal = JournalWriter(tmp_path / "orders", "orders")
    write(journal, venue.commands())
    opened = Venue.open(tmp_path / "orders", recheck=True, **ROOM)
    assert (opened.sequence, opened.state_hash()) == (venue.sequence, venue.state_hash())
    middle = Venue.open(tmp_path / "orders", sequence=200, **ROOM)
    assert (middle.sequence, middle.state_hash()) == (200, venue.at(200).state_hash())
    assert len(opened.catch_up().executions) == 0
    done = venue.submit(stream(8, 300, begin=venue.sequence + 1))
    write(journal, done.commands)
    assert opened.catch_up().executions.tobytes() == done.executions.tobytes()
    assert opened.state_hash() == venue.state_hash()
    assert opened.at(450).state_hash() == venue.at(450).state_hash()
    middle.catch_up(300)
    assert (middle.sequence, middle.state_hash()) == (300, venue.at(300).state_hash())
    middle.catch_up()
    assert middle.state_hash() == venue.state_hash()
    journal.close()
    # One that follows nothing has nothing to catch up with.
    assert len(venue.catch_up().executions) == 0


def test_a_venue_that_went_its_own_way_does_not_read_on_and_a_fork_of_one_may_go(tmp_path: Path) -> None:
    venue = busy(100)
    journal = JournalWriter(tmp_path / "orders", "orders")
    write(journal, venue.commands())
    opened = Venue.open(tmp_path / "orders", **ROOM)
    opened.fork().submit(timer(2 * 10**9))
    more = venue.submit(stream(8, 50, begin=venue.sequence + 1))
    write(journal, more.commands)
    assert len(opened.catch_up().executions) == len(more.executions)
    own = opened.sequence + 1
    opened.submit(timer(3 * 10**9))
    for _ in range(2):
        with pytest.raises(QueryError, match=f"command {own} was this venue's own"):
            opened.catch_up()
    assert opened.sequence == own
    journal.close()


def test_a_journal_that_is_none_or_holds_what_is_no_command_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalAbsentError):
        Venue.open(tmp_path / "nothing", **ROOM)
    journal = JournalWriter(tmp_path / "orders", "orders")
    journal.append_all(Payloads([timer(1).tobytes(), b"short"]))
    journal.close()
    with pytest.raises(StateError, match="message 2 has 5 bytes"):
        Venue.open(tmp_path / "orders", **ROOM)
    assert Venue.open(tmp_path / "orders", sequence=1, **ROOM).sequence == 1


def test_progress_is_told_and_may_end_the_work(tmp_path: Path) -> None:
    venue = market()
    count = 1 << 17
    venue.submit(np.repeat(np.atleast_1d(timer(1)), count))
    told: list[int] = []
    assert venue.at(count, progress=told.append).sequence == count
    assert told == [1 << 16, 1 << 17]

    class EnoughError(Exception):
        """Whoever asked has seen enough."""

    def enough(sequence: int) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        venue.at(count, progress=enough)
    directory = journal_of(tmp_path / "orders", venue.commands(1, (1 << 16) + 5))
    with pytest.raises(EnoughError):
        Venue.open(directory, progress=enough, **ROOM)


def test_former_states_of_a_long_history_are_found_from_what_was_kept_of_it() -> None:
    """Method: more commands than lie between two kept states; the same place with and without one before it."""
    venue = market(instruments=1)
    orders = np.repeat(np.atleast_1d(timer(1)), (1 << 20) + 5_000)
    place = orders[-4_000:].view(LAYOUTS[CommandKind.PLACE])
    place[:] = stream(12, 4_000, begin=venue.sequence + (1 << 20) + 1_000, instruments=1).view(place.dtype)
    venue.submit(orders)
    sequence = venue.sequence - 100
    told: list[int] = []
    former = venue.at(sequence, progress=told.append)
    assert told == []
    assert former.order_count > 0
    assert former.state_hash() == replayed(venue.commands(1, sequence)).state_hash()
    assert venue.place(ALICE, 1, Side.BUY, 10_000, 1, ts=10**12)
    assert venue.fork().at(sequence).state_hash() == former.state_hash()


def test_a_journal_without_its_beginning_is_opened_behind_a_snapshot_or_not_at_all(tmp_path: Path) -> None:
    """Method: a journal whose first segments are gone, as compaction leaves it, and a snapshot as a node's follower takes it."""
    venue = busy(2_000)
    directory = journal_of(tmp_path / "orders", venue.commands()[:800], segment_size_bytes=16 * 1024)
    whole = Venue.open(directory)
    follower = Follower.of_venue(directory, SnapshotStore(tmp_path / "snapshots", "orders"))
    assert follower.snapshot() is not None
    follower.stop()
    assert compact_journal(directory, 700)["removed"]
    with pytest.raises(JournalCompactedError, match="begins with command"):
        Venue.open(directory, **ROOM)
    behind = Venue.open(directory, snapshots=tmp_path / "snapshots")
    assert (behind.history_begin, behind.sequence, behind.state_hash()) == (800, 800, whole.state_hash())
    journal = JournalWriter(directory, "orders", segment_size_bytes=16 * 1024)
    write(journal, venue.commands()[800:900])
    journal.close()
    whole.catch_up()
    behind.catch_up()
    assert (behind.sequence, behind.state_hash()) == (900, whole.state_hash())
    assert Venue.open(directory, snapshots=tmp_path / "snapshots", recheck=True).state_hash() == whole.state_hash()

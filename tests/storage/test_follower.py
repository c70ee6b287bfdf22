"""A follower stores a journal once, from wherever it was stopped, and knows a journal that is not its own."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.storage import scenario
from tidebook._core import JournalReader, JournalWriter, Payloads
from tidebook.errors import StorageConflictError
from tidebook.storage.follower import Follower, FollowerOptions, Progress
from tidebook.storage.store import Store
from tidebook.storage.writer import Commit, StorageWriter

LAST = scenario.POSITIONS[-1]


class ListJournal:
    """Messages 1 to `durable`, a few at a time; what a message says is its sequence."""

    def __init__(self, durable: int, at_a_time: int = 7) -> None:
        self.durable = durable
        self._at_a_time = at_a_time
        self._next = 1

    def read(self) -> tuple[int, range] | None:
        first = self._next
        self._next = min(self.durable + 1, first + self._at_a_time)
        return (first, range(first, self._next)) if self._next > first else None

    @property
    def passed(self) -> int:
        return self._next - 1


class ScenarioDecoder:
    """Gives the records of the scenario that come from the messages; refuses messages out of turn."""

    def __init__(self) -> None:
        self._records = scenario.records()
        self.next_sequence = 1

    def decode(self, first_sequence: int, messages: range) -> Mapping[str, NDArray[Any]]:
        assert first_sequence == self.next_sequence == messages[0]
        self.next_sequence = messages[-1] + 1
        return {
            name: batch[np.isin(batch["source_sequence"], np.asarray(messages))]
            for name, batch in self._records.items()
        } | {"book": np.zeros(3)}


def follow(root: Path, journal: ListJournal, flush_rows: int = 500) -> Progress:
    options = FollowerOptions(flush_rows=flush_rows)
    with StorageWriter(root, scenario.CHANNEL, options=scenario.OPTIONS) as writer:
        return Follower(journal, ScenarioDecoder(), writer, options).catch_up()


def test_all_of_a_journal_is_stored_once_in_several_commits(tmp_path: Path) -> None:
    done = follow(tmp_path, ListJournal(LAST))
    assert scenario.check(tmp_path) == LAST
    assert Store(tmp_path).manifest.version > 3
    assert done == Progress(
        position=LAST,
        stored=LAST,
        messages=LAST,
        rows={name: len(rows) for name, rows in scenario.up_to(LAST).items()},
        caught_up=True,
    )


def test_a_follower_started_again_stores_only_what_is_new(tmp_path: Path) -> None:
    first = follow(tmp_path, ListJournal(120))
    assert scenario.check(tmp_path) == 120
    second = follow(tmp_path, ListJournal(LAST))
    assert scenario.check(tmp_path) == LAST
    assert sum(first.rows.values()) + sum(second.rows.values()) == sum(map(len, scenario.up_to(LAST).values()))
    assert set(follow(tmp_path, ListJournal(LAST)).rows.values()) == {0}


def test_a_journal_that_ends_before_the_stored_position_is_not_the_one(tmp_path: Path) -> None:
    follow(tmp_path, ListJournal(120))
    with pytest.raises(StorageConflictError, match=r"ends at sequence 41, but .* holds it up to 120") as caught:
        follow(tmp_path, ListJournal(41))
    assert caught.value.facts == {"channel": scenario.CHANNEL, "expected": 120, "found": 41}
    assert scenario.check(tmp_path) == 120


def test_a_real_journal_is_stored_up_to_what_is_durable_in_it(tmp_path: Path) -> None:
    """Messages appended and not synced may be gone after a crash, so nothing lasting may come of them."""

    class Source:
        def __init__(self) -> None:
            self._reader = JournalReader(tmp_path / "journal", channel=scenario.CHANNEL)

        def read(self) -> tuple[int, Payloads] | None:
            return self._reader.next(50)

        @property
        def passed(self) -> int:
            return self._reader.next_sequence - 1

    class SequenceDecoder(ScenarioDecoder):
        def decode(self, first_sequence: int, messages: Payloads) -> Mapping[str, NDArray[Any]]:  # type: ignore[override]
            sequences = [int(messages[index]) for index in range(len(messages))]
            assert sequences == list(range(first_sequence, first_sequence + len(messages)))
            return super().decode(first_sequence, range(sequences[0], sequences[-1] + 1))

    def follow_it() -> int:
        with StorageWriter(tmp_path / "store", scenario.CHANNEL, options=scenario.OPTIONS) as writer:
            return Follower(Source(), SequenceDecoder(), writer).catch_up().stored

    journal = JournalWriter(tmp_path / "journal", scenario.CHANNEL)
    journal.append_all(Payloads([b"%d" % sequence for sequence in range(1, 121)]))
    journal.sync()
    journal.append_all(Payloads([b"%d" % sequence for sequence in range(121, LAST + 1)]))
    journal.flush()
    assert follow_it() == scenario.check(tmp_path / "store") == 120
    journal.close()
    assert follow_it() == scenario.check(tmp_path / "store") == LAST


def test_following_goes_on_while_the_journal_grows_and_commits_the_rest_when_stopped(tmp_path: Path) -> None:
    """Method: the journal grows each time the follower has caught up; the test stops it at the last message."""
    journal, stop = ListJournal(1), threading.Event()

    def grow(progress: Progress) -> None:
        if progress.position == LAST:
            stop.set()
        elif progress.position == journal.durable:
            journal.durable = min(LAST, journal.durable + 30)

    options = FollowerOptions(flush_rows=400, poll_interval_s=0.001)
    with StorageWriter(tmp_path, scenario.CHANNEL, options=scenario.OPTIONS) as writer:
        Follower(journal, ScenarioDecoder(), writer, options, grow).follow(stop)
    assert scenario.check(tmp_path) == LAST


def test_a_stop_while_catching_up_keeps_what_was_decoded_and_the_next_goes_on(tmp_path: Path) -> None:
    stop = threading.Event()

    def at_half(progress: Progress) -> None:
        if progress.position >= LAST // 2:
            stop.set()

    for _ in range(2):
        with StorageWriter(tmp_path, scenario.CHANNEL, options=scenario.OPTIONS) as writer:
            done = Follower(ListJournal(LAST), ScenarioDecoder(), writer, None, at_half).follow(stop)
        assert LAST // 2 <= done.stored < LAST // 2 + 7
        assert scenario.check(tmp_path) == done.stored


def test_a_commit_comes_after_the_interval_though_few_rows_came(tmp_path: Path) -> None:
    options = FollowerOptions(flush_interval_s=0.0)
    with StorageWriter(tmp_path, scenario.CHANNEL, options=scenario.OPTIONS) as writer:
        Follower(ListJournal(50, at_a_time=10), ScenarioDecoder(), writer, options).catch_up()
    assert Store(tmp_path).manifest.version >= 5
    assert Store(tmp_path).position(scenario.CHANNEL) == 50


def test_the_first_commit_comes_soon_and_each_later_one_after_twice_the_time(tmp_path: Path) -> None:
    """Method: message n comes at second n of a clock that only the journal moves."""
    flushed = []

    class Flushes(StorageWriter):
        def start_flush(self, position: int) -> Future[Commit]:
            flushed.append(position)
            return super().start_flush(position)

    options = FollowerOptions(flush_first_s=2.0, flush_interval_s=10.0)
    journal, decoder = ListJournal(50, at_a_time=1), ScenarioDecoder()
    with Flushes(tmp_path, scenario.CHANNEL, options=scenario.OPTIONS) as writer:
        Follower(journal, decoder, writer, options, clock=lambda: float(decoder.next_sequence - 1)).catch_up()
    assert flushed == [2, 6, 14, 24, 34, 44, 50]
    assert scenario.check(tmp_path) == 50

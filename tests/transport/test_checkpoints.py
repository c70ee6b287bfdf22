"""States that a reader stores with its cursor: after a crash it goes on from both, and counts nothing twice."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import tidebook as tb
from tests import confined
from tidebook import persistence
from tidebook._core import CheckpointStore
from tidebook.errors import (
    ChannelUsageError,
    CheckpointDamagedError,
    CheckpointEpochError,
    CheckpointError,
    CheckpointVersionError,
)


def durable(rings: Path, wal_dir: Path, **more: object) -> tb.Channel:
    options = {"durability": "wal", "wal_dir": wal_dir, "buffer_size": 1 << 14} | more
    return tb.create_channel("numbers", options, directory=rings)


def write(producer: tb.Producer, first: int, last: int) -> None:
    """Message n is the number n, so that it says its own sequence."""
    messages = [number.to_bytes(8, "little") for number in range(first, last + 1)]
    assert (
        producer.write_batch(messages, wait="durable" if producer.channel.ring.visible_durable else "published") == last
    )


def read(consumer: tb.Consumer, last: int) -> list[int]:
    """The numbers up to `last`, each the one of its sequence."""
    numbers: list[int] = []

    def take(sequence: int, payload: bytes) -> None:
        assert int.from_bytes(payload, "little") == sequence
        numbers.append(sequence)

    while consumer.committed < last:
        assert not isinstance(consumer.poll(take, timeout=60), tb.Gap)
    return numbers


def until(holds: Callable[[], bool]) -> None:
    """Waits for another thread; what never comes ends the test by its timeout."""
    while not holds():
        time.sleep(0.001)


def test_a_state_comes_back_with_its_cursor_and_what_it_lacks_comes_again(rings: Path, tmp_path: Path) -> None:
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer:
        write(producer, 1, 10)
        with tb.open_consumer(channel, "reader") as consumer:
            assert consumer.recover("sum") is None
            assert consumer.next_sequence == 1
            assert read(consumer, 10) == list(range(1, 11))
            first = consumer.checkpoint("sum", b"ten")
            write(producer, 11, 30)
            read(consumer, 20 if consumer.committed >= 20 else 30)
        with tb.open_consumer(channel, "reader") as consumer:
            found = consumer.recover("sum")
            assert found is not None
            assert (found.checkpoint_id, found.state_id, found.state) == (first, "sum", b"ten")
            assert found.cursor == tb.Cursor(channel="numbers", epoch=channel.ring.epoch, sequence=10)
            assert (consumer.committed, consumer.next_sequence) == (10, 11)
            assert read(consumer, 30) == list(range(11, 31))
            second = consumer.checkpoint("sum", b"thirty")
            assert second > first
            # The older one by its number, and the newest again.
            assert (found := consumer.recover(first)) is not None
            assert found.state == b"ten"
            assert read(consumer, 30) == list(range(11, 31))
            assert (found := consumer.recover("sum")) is not None
            assert (found.checkpoint_id, consumer.next_sequence) == (second, 31)
            with pytest.raises(
                CheckpointError, match=f"there are {first}, {second} of state sum; recover one"
            ) as error:
                consumer.recover(9_999)
            assert error.value.facts["checkpoint_id"] == 9_999
            assert consumer.next_sequence == 31, "it stays where it is"


def test_a_channel_in_memory_keeps_what_the_state_lacks_until_it_is_stored(rings: Path, tmp_path: Path) -> None:
    """Method: a gating consumer that acknowledges by its checkpoints alone, and a ring that is full without them."""
    channel = tb.create_channel("numbers", {"buffer_size": 4096}, directory=rings)
    place = tmp_path / "state" / "checkpoints"
    with tb.open_producer(channel) as producer:
        with tb.open_consumer(channel, "reader", acknowledge="manual", checkpoints=place) as consumer:
            written = 0
            while producer.write((written + 1).to_bytes(8, "little"), timeout=0):
                written += 1
            seen: list[int] = []
            consumer.poll(lambda sequence, _: seen.append(sequence))
            assert seen == list(range(1, written + 1))
            assert not producer.write(b"no room before it is stored", timeout=0)
            consumer.checkpoint("sum", b"half", sequence=written // 2)
            assert consumer.committed == written // 2
        with tb.open_consumer(channel, "reader", acknowledge="manual", checkpoints=place) as consumer:
            found = consumer.recover("sum")
            assert found is not None
            assert found.cursor.sequence == written // 2
            seen.clear()
            consumer.poll(lambda sequence, _: seen.append(sequence))
            assert seen == list(range(written // 2 + 1, written + 1))


def test_what_is_seen_before_it_is_durable_makes_no_checkpoint(rings: Path, tmp_path: Path) -> None:
    channel = durable(rings, tmp_path, journal_sync_interval_ms=86_400_000)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "ahead", peek=True) as ahead:
        producer.write((1).to_bytes(8, "little"))
        ahead.poll(lambda *_: None)
        assert ahead.committed == 1
        with pytest.raises(CheckpointError, match="only 0 are durable, and nothing lasting may come of") as error:
            ahead.checkpoint("sum", b"too early")
        assert (error.value.facts["sequence"], error.value.facts["durable"]) == (1, 0)
        assert ahead.recover("sum") is None


@pytest.mark.parametrize("sequence", [-1, 4, 1.5, True])
def test_a_checkpoint_of_what_was_not_read_is_refused(rings: Path, tmp_path: Path, sequence: int) -> None:
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
        write(producer, 1, 3)
        read(consumer, 3)
        with pytest.raises(ChannelUsageError, match="a checkpoint is of messages that were read, up to 3"):
            consumer.checkpoint("sum", b"", sequence=sequence)


@pytest.mark.parametrize("state", [7, True, [1, 2, 3], {5: "five"}, 1.5, None, "text"])
def test_a_state_is_stored_as_the_bytes_it_is_given_as_and_nothing_else_is_one(
    rings: Path, tmp_path: Path, state: object
) -> None:
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
        write(producer, 1, 3)
        read(consumer, 3)
        with pytest.raises(ChannelUsageError, match="a state is stored as the bytes") as error:
            consumer.checkpoint("sum", state)  # type: ignore[arg-type]
        assert (error.value.facts["option"], error.value.facts["found"]) == ("state", type(state).__name__)
        with pytest.raises(ChannelUsageError, match="state_id = 5"):
            consumer.checkpoint(5, b"five")  # type: ignore[arg-type]
        assert consumer.recover("sum") is None
        given = np.arange(3, dtype=np.int64)
        consumer.checkpoint("sum", given.data)
        found = consumer.recover("sum")
        assert found is not None
        assert found.state == given.tobytes()


@pytest.mark.parametrize(
    ("acknowledge", "instead"), [("batch", "behind the `with` of the batch"), ("manual", "after acknowledge()")]
)
def test_a_checkpoint_while_read_messages_are_not_released_says_which_are_in_the_state_or_is_refused(
    rings: Path, tmp_path: Path, acknowledge: Literal["batch", "manual"], instead: str
) -> None:
    channel = durable(rings, tmp_path)
    with (
        tb.open_producer(channel) as producer,
        tb.open_consumer(channel, "reader", acknowledge=acknowledge) as consumer,
    ):
        write(producer, 1, 10)
        batch = consumer.poll_batch(timeout=60)
        assert isinstance(batch, tb.Batch)
        with batch:
            with pytest.raises(ChannelUsageError, match="the messages 1 to 10 are read and not released") as error:
                consumer.checkpoint("sum", b"ten")
            assert instead in str(error.value)
            assert consumer.recover("other") is None
            assert consumer.checkpoint("none", b"", sequence=0)
            assert consumer.checkpoint("five", b"", sequence=5)
        if acknowledge == "manual":
            consumer.acknowledge()
        consumer.checkpoint("sum", b"ten")
        found = consumer.recover("sum")
        assert found is not None
        assert (found.state, found.cursor.sequence) == (b"ten", 10)


def test_a_checkpoint_right_behind_a_gap_is_no_one_of_unreleased_messages(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("numbers", {"buffer_size": 4096}, directory=rings)
    with tb.open_producer(channel) as producer:
        consumer = tb.open_consumer(channel, "reader", policy="overwrite", checkpoints=tmp_path / "checkpoints")
        write(producer, 1, 2_000)
        assert isinstance(consumer.poll_batch(), tb.Gap)
        assert consumer.checkpoint("sum", b"nothing yet")
        assert isinstance(consumer.poll_batch(), tb.Batch)
        with pytest.raises(ChannelUsageError, match="to 2000 are read and not released"):
            consumer.checkpoint("sum", b"more")
        consumer.close()


def test_a_checkpoint_of_a_ring_that_was_lost_without_a_journal_is_refused(rings: Path, tmp_path: Path) -> None:
    for life in range(2):
        channel = tb.create_channel("numbers", directory=rings)
        with (
            tb.open_producer(channel) as producer,
            tb.open_consumer(channel, "reader", checkpoints=tmp_path / "checkpoints") as consumer,
        ):
            write(producer, 1, 3)
            if life == 1:
                with pytest.raises(CheckpointEpochError, match="its ring was lost without a journal"):
                    consumer.recover("sum")
            read(consumer, 3)
            consumer.checkpoint("sum", b"three")
        channel.remove()


def test_a_checkpoint_of_another_channel_or_without_a_place_is_refused(rings: Path, tmp_path: Path) -> None:
    with (
        tb.open_consumer(tb.create_channel("numbers", directory=rings), checkpoints=tmp_path / "both") as consumer,
        tb.open_consumer(tb.create_channel("others", directory=rings), checkpoints=tmp_path / "both") as other,
        tb.open_consumer("numbers", directory=rings) as without,
    ):
        number = consumer.checkpoint("sum", b"state of numbers")
        assert other.recover("sum") is None
        with pytest.raises(ChannelUsageError, match=r"is of 'sum' of channel numbers, not of a state of others"):
            other.recover(number)
        with pytest.raises(
            ChannelUsageError, match=r"it has no journal, or name one with open_consumer\(\.\.\., checkpoints"
        ):
            without.checkpoint("sum")
        with pytest.raises(ChannelUsageError, match='state_id = "": must have 1 to 200 bytes'):
            consumer.checkpoint("", b"")


def test_a_consumer_whose_arrays_are_still_there_is_not_moved(rings: Path, tmp_path: Path) -> None:
    channel = durable(rings, tmp_path, schema="trades")
    with tb.open_producer(channel) as producer:
        consumer = tb.open_consumer(channel, "reader", policy="block")
        number = consumer.checkpoint("nothing")
        assert channel.dtype is not None
        producer.write_batch(np.zeros(3, channel.dtype), wait="durable")
        batch = consumer.poll_batch(timeout=60)
        assert isinstance(batch, tb.Batch)
        array = batch.array
        with pytest.raises(ChannelUsageError, match="cannot be moved while arrays of its batches are there"):
            consumer.recover(number)
        assert len(array) == 3


def test_cursors_of_named_consumers_are_stored_by_themselves_and_when_they_close(rings: Path, tmp_path: Path) -> None:
    channel = durable(rings, tmp_path, snapshot_interval_ms=1)
    place = tmp_path / "numbers" / "checkpoints"

    def stored(name: str) -> int | None:
        found = CheckpointStore(place).newest("consumer", "numbers", name)
        return None if found is None else int(found["sequence"])

    with tb.open_producer(channel) as producer:
        write(producer, 1, 7)
        with tb.open_consumer(channel, "often") as often, tb.open_consumer(channel) as unnamed:
            read(often, 7)
            read(unnamed, 7)
            until(lambda: place.is_dir() and stored("often") == 7)
        seldom = tb.create_channel(
            "numbers",
            {"durability": "wal", "wal_dir": tmp_path, "buffer_size": 1 << 14, "snapshot_interval_ms": 86_400_000},
            directory=rings,
        )
        with tb.open_consumer(seldom, "at-its-end") as last:
            read(last, 7)
            assert stored("at-its-end") is None
        assert stored("at-its-end") == 7
        assert {entry["name"] for entry in CheckpointStore(place).list()} == {"often", "at-its-end"}


FORKING = """
import os, sys
import tidebook as tb
from tidebook._core import CheckpointStore
from tidebook.errors import CheckpointError

channel = tb.create_channel("numbers", {"durability": "wal", "wal_dir": sys.argv[2], "snapshot_interval_ms": 1}, directory=sys.argv[1])
producer = tb.open_producer(channel)
consumer = tb.open_consumer(channel, "reader")
producer.write(b"one", wait="durable")
consumer.poll(print, timeout=60)
consumer.checkpoint("sum", b"one")
child = os.fork()
if child == 0:
    for use in (lambda: consumer.recover("sum"), lambda: consumer.checkpoint("sum"), lambda: CheckpointStore(sys.argv[2])):
        try:
            use()
        except CheckpointError as error:
            assert "process forked from one that has checkpoints open" in str(error), error
            continue
        except tb.errors.EndpointLostError:
            continue
        raise SystemExit("it was used")
    consumer.close()
    raise SystemExit(0)
assert os.waitpid(child, 0)[1] == 0
consumer.checkpoint("sum", b"one again")
assert consumer.recover("sum").state == b"one again"
consumer.close()
"""


def reboot(rings: Path) -> None:
    """Shared memory is lost with all that is in it."""
    for path in rings.iterdir():
        path.unlink()


def test_after_a_reboot_a_name_resumes_at_its_stored_cursor_without_gap_or_duplicate(
    rings: Path, tmp_path: Path
) -> None:
    """Method: the ring is far too small for what is not read, so most of it is in the journal alone."""
    seen: list[int] = []
    for last in (5_000, 5_001, 12_000):
        channel = durable(rings, tmp_path)
        with tb.open_producer(channel) as producer:
            write(producer, producer.published + 1, last)
            with tb.open_consumer("numbers", "reader", directory=rings) as consumer:
                assert consumer.next_sequence == len(seen) + 1
                consumer.poll(lambda sequence, _: seen.append(sequence), limit=last // 2, timeout=60)
        reboot(rings)
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel), tb.open_consumer(channel, "reader") as consumer:
        seen += read(consumer, 12_000)
    assert seen == list(range(1, 12_001))


def test_the_rings_cursor_is_trusted_before_the_stored_one(rings: Path, tmp_path: Path) -> None:
    """Method: the stored cursor is at 3, the ring's at 5, because its consumer was killed; then the ring is lost."""
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer:
        write(producer, 1, 9)
        with tb.open_consumer(channel, "reader") as consumer:
            consumer.poll(lambda *_: None, limit=3, timeout=60)
        child = """
import os, sys
import tidebook as tb
consumer = tb.open_consumer("numbers", "reader", directory=sys.argv[1])
assert consumer.poll(lambda *_: None, limit=2, timeout=60) == 2
os.kill(os.getpid(), 9)
"""
        assert subprocess.run([sys.executable, "-c", child, str(rings)], timeout=120).returncode == -signal.SIGKILL
        with tb.open_consumer(channel, "reader", peek=True) as consumer:
            assert consumer.committed == 5
    reboot(rings)
    with tb.open_producer(durable(rings, tmp_path)), tb.open_consumer("numbers", "reader", directory=rings) as consumer:
        assert read(consumer, 9) == [4, 5, 6, 7, 8, 9]


def test_a_state_outlives_the_ring_and_its_messages_go_on_from_the_journal(rings: Path, tmp_path: Path) -> None:
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer:
        write(producer, 1, 3_000)
        with tb.open_consumer(channel) as consumer:
            consumer.poll(lambda *_: None, limit=1_000, timeout=60)
            consumer.checkpoint("sum", b"a thousand")
    reboot(rings)
    with tb.open_producer(durable(rings, tmp_path)), tb.open_consumer("numbers", directory=rings) as consumer:
        assert (found := consumer.recover("sum")) is not None
        assert (found.state, found.cursor.sequence) == (b"a thousand", 1_000)
        assert read(consumer, 3_000) == list(range(1_001, 3_001))


def test_a_cursor_that_cannot_be_stored_is_told_once_and_keeps_nobody_up(
    rings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    channel = durable(rings, tmp_path, snapshot_interval_ms=1)
    with tb.open_producer(channel) as producer:
        write(producer, 1, 5)
        (tmp_path / "numbers" / "checkpoints").write_bytes(b"no directory")
        with pytest.raises(CheckpointError, match="what was stored there is not known then"):
            tb.open_consumer(channel, "reader")
        with tb.open_consumer(channel, "reader", start="earliest") as consumer:
            until(lambda: bool(caplog.messages))
            assert read(consumer, 5) == [1, 2, 3, 4, 5]
    (told,) = {message.partition(";")[0] for message in caplog.messages}
    assert told == "channel numbers: the cursor of consumer reader is not stored"
    assert len(caplog.messages) == 1


def test_a_journal_alone_is_read_from_right_behind_a_cursor_of_it(rings: Path, tmp_path: Path) -> None:
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel) as consumer:
        write(producer, 1, 9)
        consumer.poll(lambda *_: None, limit=4, timeout=60)
        consumer.checkpoint("sum", b"four")
        found = consumer.recover("sum")
    assert found is not None
    journal = tmp_path / "numbers"
    assert [sequence for sequence, _ in persistence.read(journal, from_cursor=found.cursor)] == [5, 6, 7, 8, 9]
    other = replace(found.cursor, epoch=found.cursor.epoch + 1)
    with pytest.raises(CheckpointEpochError, match="at message 4 of channel numbers is of another journal than"):
        next(persistence.read(journal, from_cursor=other))


def test_a_checkpoint_from_before_a_cut_says_that_the_journal_was_cut(rings: Path, tmp_path: Path) -> None:
    """Method: a checkpoint of the same journal in another epoch of it, as a cut leaves one in a store kept elsewhere."""
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer:
        write(producer, 1, 9)
        store = CheckpointStore(tmp_path / "elsewhere")
        before = channel.ring.epoch ^ (1 << 40)
        store.put("state", "numbers", "sum", epoch=before, sequence=4, state=b"four", durable=9)
        del store
        with (
            tb.open_consumer(channel, checkpoints=tmp_path / "elsewhere") as consumer,
            pytest.raises(
                CheckpointEpochError, match="its journal was cut, so the state may be of messages that were lost"
            ),
        ):
            consumer.recover("sum")


def test_a_consumer_that_has_read_nothing_begins_whatever_copy_its_journal_is(rings: Path, tmp_path: Path) -> None:
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer:
        with tb.open_consumer(channel, "late") as consumer:
            assert consumer.committed == 0
        write(producer, 1, 3)
    assert [(one["name"], one["sequence"]) for one in CheckpointStore(tmp_path / "numbers" / "checkpoints").list()] == [
        ("late", 0)
    ]
    persistence.mark_put_back(tmp_path / "numbers")
    with tb.open_producer(durable(rings, tmp_path)) as producer:
        write(producer, 4, 5)
        with tb.open_consumer("numbers", "late", directory=rings) as consumer:
            assert read(consumer, 5) == [1, 2, 3, 4, 5]


def consumed(rings: Path, tmp_path: Path, lasts: tuple[int, ...]) -> None:
    """A life of the channel up to each of `lasts`, with a checkpoint there of what was read, in a store that is kept elsewhere."""
    channel = durable(rings, tmp_path)
    with (
        tb.open_producer(channel) as producer,
        tb.open_consumer(channel, "reader", checkpoints=tmp_path / "elsewhere") as consumer,
    ):
        for last in lasts:
            write(producer, channel.ring.published + 1, last)
            read(consumer, last)
            consumer.checkpoint("sum", f"up to {last}".encode())


def number_at(tmp_path: Path, sequence: int, state_id: str = "sum") -> int:
    """Number of the checkpoint of a state at `sequence`."""
    listed = CheckpointStore(tmp_path / "elsewhere").list()
    return int(next(one["checkpoint_id"] for one in listed if (one["name"], one["sequence"]) == (state_id, sequence)))


def put_back(older: Path, journal: Path) -> None:
    """As an image of the disk does: nothing tells the copy, and the epoch stays."""
    shutil.rmtree(journal)
    shutil.copytree(older, journal, ignore=shutil.ignore_patterns("birth"))


def test_a_checkpoint_kept_elsewhere_of_messages_that_a_journal_put_back_does_not_hold_is_never_given(
    rings: Path, tmp_path: Path
) -> None:
    """Method: the journal put back goes on beyond the checkpoint, with the very same messages: only its chain can tell."""
    consumed(rings, tmp_path, (5, 8))
    journal, older = tmp_path / "numbers", tmp_path / "older"
    shutil.copytree(journal, older)
    consumed(rings, tmp_path, (12,))
    reboot(rings)
    put_back(older, journal)
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer:
        write(producer, 9, 20)
        with tb.open_consumer(channel, checkpoints=tmp_path / "elsewhere") as consumer:
            with pytest.raises(CheckpointError) as refused:
                consumer.recover("sum")
            assert str(refused.value) == (
                f"checkpoint {number_at(tmp_path, 12)} of 'sum' at message 12 of channel numbers is of messages that the "
                f"journal in {journal} does not hold: an older copy of it was put back and has gone on with others; put back "
                "the newer one, or recover checkpoint "
                f"{number_at(tmp_path, 8)}, which holds, by its number; it is at message 8"
            )
            assert consumer.next_sequence == 1, "it stays where it is"
            found = consumer.recover(number_at(tmp_path, 8))
            assert found is not None
            assert (found.state, found.cursor.sequence) == (b"up to 8", 8)
            assert read(consumer, 20) == list(range(9, 21))
        with pytest.raises(CheckpointError, match=r"of 'reader' at message 12 .* or open it with start=9"):
            tb.open_consumer(channel, "reader", checkpoints=tmp_path / "elsewhere")


def test_an_entry_of_a_release_that_stored_no_batch_is_told_by_when_its_message_can_have_been_written(
    rings: Path, tmp_path: Path
) -> None:
    consumed(rings, tmp_path, (8,))
    journal, older = tmp_path / "numbers", tmp_path / "older"
    shutil.copytree(journal, older)
    store = CheckpointStore(tmp_path / "elsewhere")
    epoch = store.list()[0]["epoch"]
    store.put("state", "numbers", "old", epoch=epoch, sequence=8, state=b"eight")
    store.put("state", "numbers", "old", epoch=epoch, sequence=12, state=b"twelve")
    reboot(rings)
    put_back(older, journal)
    channel = durable(rings, tmp_path)
    with (
        tb.open_producer(channel) as producer,
        tb.open_consumer(channel, checkpoints=tmp_path / "elsewhere") as consumer,
    ):
        write(producer, 9, 20)
        with pytest.raises(CheckpointError, match=r"at message 12 .* does not hold.* which holds, by its number"):
            consumer.recover("old")
        assert (found := consumer.recover(number_at(tmp_path, 8, "old"))) is not None
        assert found.state == b"eight"


def test_after_a_cut_a_checkpoint_of_messages_that_are_left_is_given_and_one_of_lost_ones_is_not(
    rings: Path, tmp_path: Path
) -> None:
    consumed(rings, tmp_path, (5, 40))
    journal = tmp_path / "numbers"
    reboot(rings)
    message = (20).to_bytes(8, "little")
    segment = next(path for path in journal.glob("*.segment") if message in path.read_bytes()[4096:])
    content = bytearray(segment.read_bytes())
    content[content.index(message, 4096)] ^= 1
    segment.write_bytes(content)
    found = persistence.examine(journal)
    assert (found.last_good, found.last_known) == (5, 40)
    persistence.cut(journal, 5)
    channel = durable(rings, tmp_path)
    with (
        tb.open_producer(channel) as producer,
        tb.open_consumer(channel, checkpoints=tmp_path / "elsewhere") as consumer,
    ):
        write(producer, 41, 50)
        with pytest.raises(
            CheckpointEpochError, match=r"its journal was cut or put back before that message, .*; recover checkpoint 1"
        ):
            consumer.recover("sum")
        kept = consumer.recover(1)
        assert kept is not None
        assert (kept.state, kept.cursor) == (
            b"up to 5",
            tb.Cursor(channel="numbers", epoch=channel.ring.epoch, sequence=5),
        )
        assert next(persistence.read(journal, from_cursor=kept.cursor))[0] == 41


def test_a_state_of_messages_that_were_journaled_again_from_a_ring_is_refused_by_an_error_that_says_that(
    rings: Path, tmp_path: Path
) -> None:
    """Method: the journal is put back as it was at message 5, and what its ring holds behind that is journaled again, in other batches."""
    with tb.open_producer(durable(rings, tmp_path)) as producer:
        write(producer, 1, 5)
    older = tmp_path / "older"
    shutil.copytree(tmp_path / "numbers", older)
    consumed(rings, tmp_path, (8,))
    shutil.rmtree(tmp_path / "numbers")
    shutil.copytree(older, tmp_path / "numbers")
    with (
        tb.open_producer(durable(rings, tmp_path)) as producer,
        tb.open_consumer("numbers", start=1, checkpoints=tmp_path / "elsewhere", directory=rings) as consumer,
    ):
        assert "3 messages from the ring" in str(producer.recovery)
        with pytest.raises(CheckpointEpochError, match="got it from a ring again, which nothing tells from another"):
            consumer.recover("sum")
        assert read(consumer, 8) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_cursor_beyond_a_journal_that_was_put_back_is_refused(rings: Path, tmp_path: Path) -> None:
    with tb.open_producer(durable(rings, tmp_path)) as producer:
        write(producer, 1, 5)
    older = tmp_path / "older"
    shutil.copytree(tmp_path / "numbers", older)
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
        write(producer, 6, 9)
        read(consumer, 9)
        consumer.checkpoint("sum", b"nine")
    reboot(rings)
    for segment in (tmp_path / "numbers").iterdir():
        if segment.is_file():
            segment.unlink()
    shutil.copytree(older, tmp_path / "numbers", dirs_exist_ok=True)
    with tb.open_producer(durable(rings, tmp_path)), tb.open_consumer("numbers", "other", directory=rings) as consumer:
        with pytest.raises(CheckpointError, match="at message 9 is beyond the end of channel numbers, 5"):
            consumer.recover("sum")
        with pytest.raises(CheckpointError, match="beyond the end of channel numbers"):
            tb.open_consumer("numbers", "reader", directory=rings)


def test_a_store_that_was_opened_is_not_used_in_a_forked_child(rings: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKING, str(rings), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


FULL = """
import resource, sys
from tidebook._core import CheckpointStore
from tidebook.errors import CheckpointFullError

store = CheckpointStore(sys.argv[1])
put = lambda sequence, size: store.put("state", "c", "s", epoch=1, sequence=sequence, state=bytes([sequence]) * size)
put(1, 5_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
for sequence in (2, 3):
    try:
        put(sequence, 4 << 20)
    except CheckpointFullError as error:
        assert "what was stored before stays" in str(error), error
    else:
        raise SystemExit("there was room")
    found = store.newest("state", "c", "s")
    assert (found["sequence"], found["state"]) == (1, b"\\x01" * 5_000), found
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
put(4, 4 << 20)
assert store.newest("state", "c", "s")["state"] == b"\\x04" * (4 << 20)
"""


def test_a_full_disk_is_an_error_what_was_stored_stays_and_it_goes_on_when_space_returns(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "store")], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_damage_and_another_version_are_refused_by_name(tmp_path: Path) -> None:
    place = tmp_path / "store"
    store = CheckpointStore(place)
    store.put("state", "numbers", "sum", epoch=1, sequence=1, state=b"state")
    del store
    file = place / "data.mdb"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4096])
    with pytest.raises(CheckpointDamagedError, match=r"are damaged \(the file ends before it, page \d+\)") as error:
        CheckpointStore(place)
    assert "page" in error.value.facts
    file.write_bytes(whole[:20] + b"\x09" + whole[21:])
    with pytest.raises(CheckpointVersionError, match="format version 9, this release reads 1"):
        CheckpointStore(place)
    at = whole.rindex(b"state")
    file.write_bytes(whole[:at] + b"stare" + whole[at + 5 :])
    with pytest.raises(CheckpointDamagedError, match=r"checkpoint 1 in .* is damaged \(checksum of its state") as error:
        CheckpointStore(place).newest("state", "numbers", "sum")
    assert error.value.facts["checkpoint_id"] == 1


def lives(rings: Path, tmp_path: Path) -> tuple[Path, dict[tuple[str, int], int]]:
    """Two lives of a reader, which store its cursor and a state at 5 and at 8: the store, and the number of each by kind and message."""
    channel = durable(rings, tmp_path)
    for last in (5, 8):
        with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
            write(producer, channel.ring.published + 1, last)
            read(consumer, last)
            consumer.checkpoint("sum", f"up to {last}".encode())
    place = tmp_path / "numbers" / "checkpoints"
    return place, {(one["kind"], one["sequence"]): one["checkpoint_id"] for one in CheckpointStore(place).list()}


def damage_entry(place: Path, key: bytes, number: int) -> None:
    """Method: a bit of the head of a value, which stands right behind its key, in pages that are no longer read too."""
    file, key = place / "data.mdb", key + number.to_bytes(8, "big")
    before, *rest = file.read_bytes().split(key)
    assert rest
    file.write_bytes(key.join([before, *(after[:8] + bytes([after[8] ^ 1]) + after[9:] for after in rest)]))


def test_a_damaged_stored_cursor_says_where_to_begin_and_hides_no_other_checkpoint(rings: Path, tmp_path: Path) -> None:
    """Method: the newest stored cursor of a name is damaged, and its ring, which had a better one, is lost."""
    place, at = lives(rings, tmp_path)
    damage_entry(place, b"\x11numbers\0reader\0", at["consumer", 8])
    reboot(rings)
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer:
        with pytest.raises(CheckpointDamagedError) as refused:
            tb.open_consumer(channel, "reader")
        assert str(refused.value) == (
            f"checkpoint {at['consumer', 8]} of 'reader' in {place} is damaged (checksum of its head): open it with start=6, "
            "behind an older cursor of it, or with start=1 if it recovers a state, which moves it behind that; or forget it by "
            f"`tidebook channel cursor remove {channel.path} reader`, and it begins as a new one"
        )
        assert refused.value.facts["checkpoint_id"] == at["consumer", 8]
        whole, damaged = CheckpointStore(place).survey()
        assert {(one["kind"], one["sequence"]) for one in whole} == {("state", 5), ("state", 8), ("consumer", 5)}
        assert [(one["kind"], one["name"], one["reason"]) for one in damaged] == [
            ("consumer", "reader", "checksum of its head")
        ]
        with tb.open_consumer(channel, "reader", start=1) as consumer:
            assert (found := consumer.recover("sum")) is not None
            assert (found.state, consumer.next_sequence) == (b"up to 8", 9)
            write(producer, 9, 10)
            assert read(consumer, 10) == [9, 10]
    # Closed, it has stored a cursor that is whole.
    reboot(rings)
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel), tb.open_consumer(channel, "reader") as consumer:
        assert consumer.next_sequence == 11


def test_a_damaged_state_names_the_older_one_that_is_whole(rings: Path, tmp_path: Path) -> None:
    place, at = lives(rings, tmp_path)
    damage_entry(place, b"\x10numbers\0sum\0", at["state", 8])
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel), tb.open_consumer(channel, "another") as consumer:
        older = at["state", 5]
        with pytest.raises(CheckpointDamagedError, match=f"recover checkpoint {older}, which holds, by its number"):
            consumer.recover("sum")
        assert (found := consumer.recover(older)) is not None
        assert (found.state, found.cursor.sequence) == (b"up to 5", 5)


# A state that depends on every message and their order, and on how many there were.
SERVER = """
import os, random, sys
import tidebook as tb

options = {"durability": "wal", "wal_dir": sys.argv[2], "buffer_size": 1 << 14, "snapshot_interval_ms": 5}

def say(*words):
    # One write: two processes say something here.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def consume(seed):
    dice = random.Random(seed)
    channel = tb.create_channel("numbers", options, directory=sys.argv[1])
    consumer = tb.open_consumer(channel, "reader")
    found = consumer.recover("digest")
    digest, count = 0, 0
    if found is not None:
        digest, count = (int(word) for word in found.state.split())
        assert count == found.cursor.sequence, (count, found.cursor)
    def take(sequence, payload):
        nonlocal digest, count
        number = int.from_bytes(payload, "little")
        assert sequence == count + 1 == number, (sequence, count, number)
        digest, count = (digest * 31 + number) % (1 << 64), sequence
    while True:
        assert not isinstance(consumer.poll(take, limit=dice.randrange(1, 200), timeout=0.002), tb.Gap)
        if dice.random() < 0.3:
            consumer.checkpoint("digest", b"%d %d" % (digest, count))
            say(count, digest)

tb.open_consumer  # loaded once, here
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        say("child", os.getpid())
        try:
            consume(int(line))
        except BaseException as error:
            say("failed", repr(error))
        os._exit(1)
    os.waitpid(child, 0)
    say("dead")
"""


def kill_consumers(rings: Path, wal_dir: Path, kills: int) -> None:
    """Method: a process that has opened nothing forks the consumers, so that one is killed every few milliseconds;
    now and then shared memory is lost too.
    """
    dice = random.Random(5)
    channel = durable(rings, wal_dir)
    digests = [0]
    stored = 0
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(rings), str(wal_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    producer = tb.open_producer(channel)
    with server:
        for kill in range(kills):
            if kill % 8 == 7:
                producer.close()
                reboot(rings)
                producer = tb.open_producer(durable(rings, wal_dir))
            print(kill, file=server.stdin, flush=True)
            word, child = server.stdout.readline().split()
            assert word == "child"
            first, last = len(digests), len(digests) + dice.randrange(1, 300)
            write(producer, first, last)
            for number in range(first, last + 1):
                digests.append((digests[-1] * 31 + number) % (1 << 64))
            lines = dice.randrange(4)
            for line in server.stdout:
                if line == "dead\n":
                    break
                assert not line.startswith("failed"), line
                count, digest = map(int, line.split())
                assert digest == digests[count], f"kill {kill}: the state of {count} messages"
                stored = max(stored, count)
                lines -= 1
                if lines == -1:
                    time.sleep(dice.random() * 0.01)  # anywhere in what it does next
                    os.kill(int(child), signal.SIGKILL)
        server.stdin.close()
        with tb.open_consumer("numbers", "reader", directory=rings) as consumer:
            found = consumer.recover("digest")
            assert found is not None
            assert found.state == b"%d %d" % (digests[found.cursor.sequence], found.cursor.sequence)
            assert found.cursor.sequence >= stored
            assert read(consumer, len(digests) - 1) == list(range(found.cursor.sequence + 1, len(digests)))
    producer.close()


def test_a_consumer_that_is_killed_again_and_again_has_a_state_of_each_message_once(
    rings: Path, tmp_path: Path
) -> None:
    kill_consumers(rings, tmp_path, kills=40)


@pytest.mark.soak
def test_a_consumer_that_is_killed_a_thousand_times_has_a_state_of_each_message_once(
    rings: Path, tmp_path: Path
) -> None:
    kill_consumers(rings, tmp_path, kills=1_000)


READ_ONLY = """
import sys
import tidebook as tb
from tests import confined
from tidebook.transport.checkpoints import ReaderCheckpoints
channel = tb.open_channel("numbers", directory=sys.argv[1])
with tb.open_consumer(channel, "other", start=4) as consumer:
    confined.read_only()
    found = consumer.recover("sum")
    print(found.state, consumer.next_sequence, consumer.recover("none"), ReaderCheckpoints(channel, "new", None).stored_cursor())
    try:
        consumer.checkpoint("sum", b"more")
    except tb.errors.CheckpointError as error:
        print(error)
"""


def test_on_a_read_only_file_system_checkpoints_are_recovered_and_none_is_stored(rings: Path, tmp_path: Path) -> None:
    """Method: the kernel answers each opening to write as such a file system does; the consumer's ring is open before."""
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer:
        write(producer, 1, 5)
    with tb.open_consumer(channel, "reader") as consumer:
        read(consumer, 3)
        consumer.checkpoint("sum", b"of three", sequence=3)
    found, refused = confined.run(READ_ONLY, rings).splitlines()
    assert found == "b'of three' 4 None None"
    assert f"checkpoints in {tmp_path}/numbers/checkpoints take nothing: their file system is read-only" in refused
    with tb.open_consumer(channel, "reader") as consumer:
        state = consumer.recover("sum")
        assert state is not None
        assert state.state == b"of three"


def test_looking_for_a_checkpoint_makes_no_store(rings: Path, tmp_path: Path) -> None:
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer:
        write(producer, 1, 1)
    with tb.open_consumer(channel, peek=True) as consumer:
        assert consumer.recover("sum") is None
    assert not (tmp_path / "numbers/checkpoints").exists()


def test_checkpoints_of_another_channel_that_were_copied_in_are_refused_with_the_cause(
    rings: Path, tmp_path: Path
) -> None:
    """Both by who recovers, who stores and who is to begin at a stored cursor; a store that somebody named may be of many."""
    options = {"durability": "wal", "wal_dir": tmp_path}
    channels = [tb.create_channel(name, options, directory=rings) for name in ("others", "numbers")]
    for channel in channels:
        with tb.open_producer(channel) as producer:
            write(producer, 1, 5)
        with tb.open_consumer(channel, "reader") as consumer:
            read(consumer, 5)
            consumer.checkpoint("sum", channel.name.encode())
    shutil.rmtree(tmp_path / "numbers/checkpoints")
    shutil.copytree(tmp_path / "others/checkpoints", tmp_path / "numbers/checkpoints")
    cause = (
        r"numbers/checkpoints are of others and none is of numbers: those of another channel were copied here; put back"
    )
    with tb.open_consumer(channels[1], "reader") as consumer:
        with pytest.raises(CheckpointError, match=cause):
            consumer.recover("sum")
        with pytest.raises(CheckpointError, match=cause):
            consumer.checkpoint("sum", b"its own")
    with pytest.raises(CheckpointError, match=cause):
        tb.open_consumer(channels[1], "new")
    for channel in channels:
        with tb.open_consumer(channel, "reader", checkpoints=tmp_path / "of-all") as consumer:
            consumer.checkpoint("sum", channel.name.encode())
            found = consumer.recover("sum")
            assert found is not None
            assert found.state == channel.name.encode()


HAS_THE_TURN = """
import fcntl, os, signal, sys
file = open(sys.argv[1], "r+")
fcntl.lockf(file, fcntl.LOCK_EX)
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_process_that_is_stopped_while_it_writes_is_named_to_who_waits(rings: Path, tmp_path: Path) -> None:
    """Method: it has the turn, as the format says how; what is stored can be read, and is written again when it goes on."""
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
        write(producer, 1, 5)
        read(consumer, 5)
        first = consumer.checkpoint("sum", b"five")
        turn = tmp_path / "numbers" / "checkpoints" / "writer.lock"
        assert turn.read_bytes() == b""
        with subprocess.Popen([sys.executable, "-c", HAS_THE_TURN, str(turn)]) as other:
            try:
                os.waitid(os.P_PID, other.pid, os.WSTOPPED)
                with pytest.raises(CheckpointError, match=f"`kill -CONT {other.pid}` lets it go on") as error:
                    consumer.checkpoint("sum", b"five again")
                assert error.value.facts["process_id"] == other.pid
                found = consumer.recover("sum")
                assert found is not None
                assert found.checkpoint_id == first
            finally:
                other.send_signal(signal.SIGCONT)
        assert consumer.checkpoint("sum", b"five again") > first


STORES_FORKS_AND_IS_KILLED = """
import os, signal, sys, threading
import tidebook as tb
channel = tb.open_channel("numbers", directory=sys.argv[1])
consumer = tb.open_consumer(channel, "killed", start=1)
with consumer.poll_batch(timeout=60):
    pass
stored = threading.Event()
def store():
    while True:
        consumer.checkpoint("large", bytes(16 << 20))
        stored.set()
threading.Thread(target=store, daemon=True).start()
assert stored.wait(60)
child = os.fork()
if child == 0:
    os.read(0, 1)
    os._exit(0)
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_child_of_a_process_that_was_killed_while_it_stored_keeps_nobody_from_storing(
    rings: Path, tmp_path: Path
) -> None:
    """Method: it stores without a pause, so it is forked and killed within a turn, and the child lives on."""
    channel = durable(rings, tmp_path)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
        write(producer, 1, 5)
        read(consumer, 5)
        command = [sys.executable, "-c", STORES_FORKS_AND_IS_KILLED, str(rings)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed:
            assert killed.stdout is not None
            child = int(killed.stdout.readline())
            assert killed.wait(60) == -signal.SIGKILL
            os.kill(child, 0)
            assert consumer.checkpoint("sum", b"five") > 0
            os.kill(child, 0)


@pytest.mark.parametrize("target", ["data.mdb", "/nowhere/at all"])
def test_a_link_in_the_place_of_the_lock_of_writers_is_refused_and_nothing_is_written(
    rings: Path, tmp_path: Path, target: str
) -> None:
    channel = durable(rings, tmp_path)
    turn = tmp_path / "numbers" / "checkpoints" / "writer.lock"
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, start=1) as consumer:
        write(producer, 1, 5)
        read(consumer, 5)
        (tmp_path / "numbers" / "checkpoints").mkdir(mode=0o700)
        turn.symlink_to(target)
        with pytest.raises(CheckpointError, match=r"writer.lock: a symbolic link stands in the place of this file"):
            consumer.checkpoint("sum", b"five")
        turn.unlink()
        first = consumer.checkpoint("sum", b"five")
        found = consumer.recover("sum")
        assert found is not None
        assert found.checkpoint_id == first

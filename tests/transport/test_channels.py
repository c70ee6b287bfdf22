"""Channels from Python: a second process reads thousands of records as one numpy view, and nothing is lost silently."""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import tidebook as tb
from tidebook._core import Ring
from tidebook.errors import (
    ChannelFormatError,
    ChannelNotFoundError,
    ChannelSpaceError,
    ChannelUsageError,
    CorruptMessageError,
    EndpointBusyError,
    EndpointLostError,
)
from tidebook.transport.view import ChannelFile, ChannelView, find_channel

if TYPE_CHECKING:
    from collections.abc import Callable

TICK = np.dtype([("price", "<i8"), ("size", "<i8"), ("venue", "u1", (8,))])


def ticks(first: int, count: int) -> np.ndarray:
    records = np.zeros(count, TICK)
    records["price"] = np.arange(first, first + count)
    records["size"] = records["price"] * 3
    return records


def test_a_second_process_reads_thousands_of_records_as_one_view(rings: Path) -> None:
    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK, buffer_size=1 << 20), directory=rings)
    reader = textwrap.dedent("""
        import sys, numpy, tidebook
        with tidebook.open_consumer("ticks", "reader", directory=sys.argv[1], start="earliest") as consumer:
            with consumer.poll_batch(8192, timeout=20.0) as batch:
                array = batch.array
                assert not array.flags.owndata and not array.flags.writeable, array.flags
                print(len(array), batch.first_sequence, int(array["price"].sum()), int(array["size"].max()))
    """)
    with tb.open_producer(channel) as producer:
        assert producer.write_batch(ticks(1, 5_000)) == 5_000
        said = subprocess.run([sys.executable, "-c", reader, str(rings)], capture_output=True, text=True, check=False)
    assert said.stderr == ""
    assert said.stdout.split() == ["5000", "1", str(5_000 * 5_001 // 2), "15000"]
    # Its cursor survives it, by name.
    with tb.open_consumer(channel, "reader") as consumer:
        assert consumer.next_sequence == 5_001


def test_a_batch_is_not_overwritten_while_an_array_refers_to_it(rings: Path) -> None:
    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK, buffer_size=4_096), directory=rings)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "slow", start="earliest") as consumer:
        producer.write_batch(ticks(1, 16))
        batch = consumer.poll_batch(16)
        assert isinstance(batch, tb.Batch)
        array = batch.array
        with pytest.raises(BufferError, match="still refer to this batch"):
            batch.release()
        full = producer.write_batch(ticks(17, 10_000), timeout=0.05)
        assert isinstance(full, tb.Full)
        assert full.consumer == "slow"
        assert array["price"].tolist() == list(range(1, 17))
        del array
        batch.release()
        assert isinstance(producer.write_batch(ticks(1, 8), timeout=5.0), int)


def test_a_channel_that_was_removed_and_made_again_is_not_removed_by_who_has_the_old_one(rings: Path) -> None:
    old = tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK), directory=rings)
    tb.open_channel("ticks", directory=rings).remove()
    with pytest.raises(ChannelNotFoundError, match="no ring"):
        old.remove()
    with tb.open_producer(tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK), directory=rings)) as producer:
        producer.write_batch(ticks(1, 1))
        with pytest.raises(ChannelNotFoundError, match="was removed, and another has its name"):
            old.remove()
        assert tb.open_channel("ticks", directory=rings).ring.published == 1


def test_an_overwritten_reader_is_told_the_gap(rings: Path) -> None:
    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK, buffer_size=4_096), directory=rings)
    with (
        tb.open_producer(channel) as producer,
        tb.open_consumer(channel, start="earliest", policy="overwrite") as reader,
    ):
        producer.write_batch(ticks(1, 1_000))
        gap = reader.poll_batch(10_000)
        assert isinstance(gap, tb.Gap)
        seen = 0
        while (batch := reader.poll_batch(10_000)) is not None:
            assert isinstance(batch, tb.Batch)
            with batch:
                assert batch.array["price"][0] == batch.first_sequence
                seen += len(batch)
        assert gap.first == 1
        assert gap.count + seen == 1_000


def test_messages_of_any_length_come_in_order_and_a_failing_callback_loses_none(rings: Path) -> None:
    channel = tb.create_channel("events", directory=rings)
    messages = [bytes([n % 251]) * (n * 37 % 5_000) for n in range(1, 100)]
    taken: list[tuple[int, bytes]] = []

    def take(sequence: int, payload: bytes) -> None:
        if sequence == 50 and len(taken) == 49 and not failed:
            failed.append(sequence)
            raise RuntimeError("not now")
        taken.append((sequence, payload))

    failed: list[int] = []
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "all", start="earliest") as consumer:
        producer.write_batch(messages)
        with pytest.raises(RuntimeError, match="not now"):
            consumer.poll(take, 1_000)
        consumer.poll(take, 1_000)
    assert taken == list(enumerate(messages, 1))


def test_a_flipped_bit_is_an_error_with_its_sequence_and_can_be_passed(rings: Path) -> None:
    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK), directory=rings)
    with tb.open_producer(channel) as producer:
        producer.write_batch(ticks(1, 10))
    content = bytearray(channel.path.read_bytes())
    at = content.index((7).to_bytes(8, "little") + (21).to_bytes(8, "little"))
    with channel.path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([content[at] ^ 1]))
    with tb.open_consumer(channel, "checker", start="earliest") as consumer:
        first = consumer.poll_batch(100)
        assert isinstance(first, tb.Batch)
        assert len(first) == 6
        with pytest.raises(CorruptMessageError, match="7"):
            consumer.poll_batch(100)
        assert consumer.skip() == tb.Gap(7, 1)
        rest = consumer.poll_batch(100)
        assert isinstance(rest, tb.Batch)
        assert rest.array["price"].tolist() == [8, 9, 10]


def test_what_cannot_be_is_refused_by_name(rings: Path) -> None:
    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK), directory=rings)
    with pytest.raises(ChannelUsageError, match="size: f8 at byte 8 expected, i8 at byte 8 in the ring; venue: u1"):
        tb.create_channel("ticks", tb.ChannelOptions(dtype=[("price", "<i8"), ("size", "<f8")]), directory=rings)
    with pytest.raises(ChannelUsageError, match="replicated"):
        tb.create_channel("safe", tb.ChannelOptions(durability="replicated"), directory=rings)
    with pytest.raises(ChannelNotFoundError, match="nowhere"):
        tb.open_consumer("nowhere", directory=rings)
    with tb.open_producer(channel) as producer:
        with pytest.raises(EndpointBusyError):
            tb.open_producer(channel)
        with pytest.raises(ChannelUsageError, match=r"records are \[\('price'"):
            producer.write_batch(np.zeros(3, [("x", "<i8")]))


def test_a_name_that_is_no_text_is_refused_by_its_option(rings: Path) -> None:
    """Half a pair of surrogates is a str of Python, and nothing that a file or a ring can be called."""
    channel, half = tb.create_channel("whole", directory=rings), "\ud800"
    for option, use in (
        ("name", lambda: tb.create_channel(half, directory=rings)),
        ("name", lambda: tb.open_producer(half, directory=rings)),
        ("name", lambda: tb.open_consumer(channel, half)),
        ("node", lambda: tb.open_channel("whole", node=half)),
        ("wal_dir", lambda: tb.create_channel("own", {"durability": "wal", "wal_dir": half}, directory=rings)),
    ):
        with pytest.raises(ChannelUsageError, match=f"{option} = ") as error:
            use()
        assert error.value.facts["option"] == option
    with tb.open_consumer(channel, "reader", checkpoints=rings / "checkpoints") as consumer:
        for state_id in (half, 5):
            with pytest.raises(ChannelUsageError, match="state_id = "):
                consumer.checkpoint(state_id, b"")  # type: ignore[arg-type]


def test_a_ring_that_cannot_be_used_is_one_line_with_what_to_do(rings: Path) -> None:
    free = shutil.disk_usage(rings)
    too_large = tb.ChannelOptions(buffer_size=1 << free.total.bit_length())
    with pytest.raises(ChannelSpaceError, match="choose a smaller size") as full:
        tb.create_channel("large", too_large, directory=rings)
    assert full.value.facts["path"] == str(rings / "large.ring")
    assert list(rings.iterdir()) == []
    channel = tb.create_channel("ticks", directory=rings)
    with channel.path.open("r+b") as file:
        file.seek(8)
        file.write(b"\x09")
    with pytest.raises(ChannelFormatError, match="layout version 9, this release reads 2") as version:
        tb.open_consumer("ticks", directory=rings)
    assert {"found": 9, "expected": 2}.items() <= version.value.facts.items()
    channel.path.write_bytes(b"something else")
    with pytest.raises(ChannelFormatError, match="no usable ring"):
        tb.open_producer("ticks", directory=rings)
    for error in (full, version):
        assert "\n" not in str(error.value)


def test_a_channel_is_found_by_name_in_the_directory_of_its_node(rings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEBOOK_RINGS", str(rings))
    channel = tb.create_channel("events", node="alpha")
    assert channel.path == rings / "alpha/events.ring"
    assert channel.path.parent.stat().st_mode & 0o777 == 0o700
    assert tb.open_channel("events", node="alpha").ring.epoch == channel.ring.epoch
    with pytest.raises(ChannelNotFoundError):
        tb.open_channel("events", node="beta")
    with tb.open_producer("events", node="alpha"), pytest.raises(EndpointBusyError, match="living producer"):
        channel.remove()
    channel.remove()
    assert not channel.path.exists()


def test_a_view_has_the_dtype_of_the_channel_and_can_be_written_to_another(rings: Path) -> None:
    options = tb.ChannelOptions(dtype=TICK)
    first, second = (tb.create_channel(name, options, directory=rings) for name in ("first", "second"))
    with tb.open_producer(first) as producer, tb.open_producer(second) as relay:
        producer.write_batch(ticks(1, 100)[::2])
        with tb.open_consumer(first, "relay") as consumer:
            batch = consumer.poll_batch()
            assert isinstance(batch, tb.Batch)
            assert batch.array.dtype == TICK
            assert batch.sequences.tolist() == list(range(1, 51))
            assert relay.write_batch(batch.array) == 50
    with tb.open_consumer(second, "end") as consumer:
        batch = consumer.poll_batch()
        assert isinstance(batch, tb.Batch)
        assert (batch.array == ticks(1, 100)[::2]).all()


def test_a_ring_has_at_least_eight_slots_however_small_its_buffer(rings: Path) -> None:
    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK, buffer_size=1), directory=rings)
    assert channel.ring.capacity == 8


def test_a_published_layout_reads_as_its_own_dtype(rings: Path) -> None:
    from tidebook._core import schemas

    dtype = schemas()["book"].dtype()
    channel = tb.create_channel("md.book", tb.ChannelOptions(schema="book"), directory=rings)
    images = np.zeros(3, dtype)
    images["bid_price"][:, 0] = [5, 6, 7]
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "x", start="earliest") as consumer:
        producer.write_batch(images)
        batch = consumer.poll_batch()
        assert isinstance(batch, tb.Batch)
        assert batch.array.dtype.names == dtype.names
        assert batch.array["bid_price"][:, 0].tolist() == [5, 6, 7]


@pytest.mark.parametrize("schema", ["commands", "executions", "risk_events"])
def test_records_of_the_venue_are_written_and_read_as_arrays(rings: Path, schema: str) -> None:
    from tidebook._core import schemas

    dtype = schemas()[schema].dtype()
    channel = tb.create_channel("venue", tb.ChannelOptions(schema=schema), directory=rings)
    records = np.zeros(3, dtype)
    records["account"] = [5, 6, 7]
    records["kind"] = 1
    with (
        tb.open_producer(channel) as producer,
        tb.open_consumer("venue", directory=rings, start="earliest") as consumer,
    ):
        producer.write_batch(records)
        batch = consumer.poll_batch()
        assert isinstance(batch, tb.Batch)
        assert batch.array.dtype.names == dtype.names
        assert (batch.array == records).all()


def test_a_closed_consumers_name_is_free_when_no_array_of_its_batches_is_left(rings: Path) -> None:
    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK), directory=rings)
    with tb.open_producer(channel) as producer:
        producer.write_batch(ticks(1, 10))
        with tb.open_consumer(channel, "reader") as consumer:
            batch = consumer.poll_batch(5)
            assert isinstance(batch, tb.Batch)
        # It was not released: it comes again. The batch itself holds nobody up.
        with pytest.raises(BufferError, match="its consumer closed"):
            _ = batch.array
        with tb.open_consumer(channel, "reader") as consumer:
            batch = consumer.poll_batch(5)
            assert isinstance(batch, tb.Batch)
            array = batch.array
            assert batch.first_sequence == 1
        with pytest.raises(EndpointBusyError, match='consumer "reader" is already open'):
            tb.open_consumer(channel, "reader")
        assert array["price"].tolist() == [1, 2, 3, 4, 5]
        del array
        tb.open_consumer(channel, "reader").close()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"producers_max": 4}, "producers_max = 4: mode spsc has one producer; add mode='mpsc' for several"),
        ({"buffer_size": -1}, "buffer_size = -1: must be from 1 to 1099511627776"),
        ({"buffer_size": 1 << 50}, "buffer_size = 1125899906842624: must be from 1 to 1099511627776"),
        ({"buffer_size": 100}, "buffer_size = 100: plain messages need at least 4096"),
        ({"buffer_size": "1MiB"}, "buffer_size = '1MiB': must be an integer, such as 1 << 20"),
        ({"buffer_size": True}, "buffer_size = True: must be an integer"),
        ({"buffer_size": None}, "buffer_size = None: must be an integer"),
        ({"staging_size_bytes": None}, "staging_size_bytes = None: must be an integer"),
        ({"durability": "wal", "wal_dir": "a\0b"}, r"wal_dir = 'a\x00b': must be the path of a directory"),
        ({"durability": "wal", "wal_dir": ""}, "wal_dir = '': must be the path of a directory"),
        ({"durability": "wal", "wal_dir": 5}, "wal_dir = 5: must be the path of a directory"),
        ({"durability": "wal", "wal_dir": b"journals"}, "wal_dir = b'journals': must be the path of a directory"),
        ({"consumers_max": 0}, "consumers_max = 0: must be from 1 to 1024"),
        ({"mode": "mpsc", "producers_max": 256}, "producers_max = 256: must be from 1 to 255"),
        ({"dtype": TICK, "last_value_key": "price", "last_values": -1}, "last_values = -1: must be from 1 to 2097152"),
        (
            {"durability": "wal", "wal_dir": "w", "journal_sync_interval_ms": 0},
            "journal_sync_interval_ms = 0: must be from 1",
        ),
        (Path, "give a mapping or ChannelOptions; records of a type are {'dtype': Path}"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_its_own_name(rings: Path, asked: object, told: str) -> None:
    with pytest.raises(ChannelUsageError, match=re.escape(told)):
        tb.create_channel("wrong", asked, directory=rings)  # type: ignore[arg-type]
    assert list(rings.iterdir()) == []


@pytest.mark.parametrize("mode", ["spsc", "mpsc"])
@pytest.mark.parametrize("dtype", [None, TICK], ids=["messages", "records"])
@pytest.mark.parametrize("size", [5_000, 3_000_000, np.int64(1 << 16)])
def test_any_buffer_size_is_rounded_down_to_what_a_ring_can_have(
    rings: Path, mode: str, dtype: "np.dtype | None", size: int
) -> None:
    channel = tb.create_channel("ticks", {"mode": mode, "dtype": dtype, "buffer_size": size}, directory=rings)
    unit = channel.ring.slot[1] if dtype is not None else 128 if mode == "mpsc" else 1
    assert size / 2 < channel.ring.capacity * unit <= size * 2
    assert channel.ring.capacity & channel.ring.capacity - 1 == 0


def test_a_second_producer_of_one_is_told_of_the_mode_for_several(rings: Path) -> None:
    channel = tb.create_channel("ticks", directory=rings)
    with tb.open_producer(channel), pytest.raises(EndpointBusyError, match=r"living producer .* mode='mpsc'"):
        tb.open_producer(channel)


def test_records_of_plain_messages_are_refused_with_what_they_have(rings: Path) -> None:
    channel = tb.create_channel("texts", directory=rings)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel) as consumer:
        producer.write(b"one")
        batch = consumer.poll_batch()
        assert isinstance(batch, tb.Batch)
        for asked in (batch.records, lambda: batch.array):
            with pytest.raises(ChannelUsageError, match=r"plain messages have no .*; use messages\(\)"):
                asked()


@pytest.mark.parametrize("mode", ["spsc", "mpsc"])
def test_of_messages_of_which_one_cannot_be_written_none_is(rings: Path, mode: str) -> None:
    plain = tb.create_channel("plain", {"mode": mode, "buffer_size": 4096}, directory=rings)
    records = tb.create_channel(
        "records", {"mode": mode, "dtype": [("value", "<i8")], "buffer_size": 4096}, directory=rings
    )
    with tb.open_producer(plain) as producer:
        with pytest.raises(ChannelUsageError, match="100000 bytes"):
            producer.write_batch([b"good", bytes(100_000), b"good"])
        with pytest.raises(ChannelUsageError, match="nothing written"):
            producer.write_batch([b"good", "text", b"good"])
        assert producer.published == 0
        assert producer.write_batch([b"good", b"good"]) == 2
    with tb.open_producer(records) as producer:
        with pytest.raises(ChannelUsageError, match="slots of this ring hold 8"):
            producer.write_batch([bytes(8), bytes(7), bytes(8)])
        assert producer.published == 0


@pytest.mark.parametrize("is_array", [True, False])
def test_the_timeout_of_a_batch_is_of_the_call_and_not_of_each_message(rings: Path, is_array: bool) -> None:
    """Method: a reader that takes one message at a time, so that there is room again well before the timeout, each time."""
    channel = tb.create_channel("slow", {"dtype": TICK, "buffer_size": 512}, directory=rings)
    messages = ticks(1, 200)
    stop = threading.Event()

    def read() -> None:
        with tb.open_consumer(channel, "slow") as consumer:
            joined.set()
            while not stop.wait(0.05):
                consumer.poll(lambda _, __: None, limit=1)

    joined = threading.Event()
    reader = threading.Thread(target=read)
    reader.start()
    assert joined.wait(10)
    with tb.open_producer(channel) as producer:
        written = producer.write_batch(messages if is_array else [one.tobytes() for one in messages], timeout=0.4)
        published = producer.published
    stop.set()
    reader.join()
    assert isinstance(written, tb.Full)
    assert (written.consumer, written.written) == ("slow", published)
    assert 8 < published < 200


@pytest.mark.parametrize("is_array", [True, False])
def test_what_ends_a_batch_in_the_middle_says_how_many_were_written(rings: Path, is_array: bool) -> None:
    """Method: the producer is deposed while it waits, by the word of the ring that says so (docs/formats/ring.md)."""
    channel = tb.create_channel("deposed", {"dtype": TICK, "buffer_size": 512}, directory=rings)
    messages = ticks(1, 20)
    raised = []

    def write(producer: tb.Producer) -> None:
        with pytest.raises(EndpointLostError) as caught:
            producer.write_batch(messages if is_array else [one.tobytes() for one in messages])
        raised.append(caught.value)

    with tb.open_consumer(channel, "stays"), tb.open_producer(channel) as producer:
        writer = threading.Thread(target=write, args=(producer,))
        writer.start()
        while channel.ring.published < 8:
            pass
        with channel.path.open("r+b") as file:
            file.seek(4736)
            file.write((1).to_bytes(8, "little"))
        writer.join()
    assert raised[0].facts["written"] == channel.ring.published == 8


@pytest.mark.parametrize("kind", [{}, {"dtype": TICK}])
def test_a_start_before_the_first_sequence_is_refused(rings: Path, kind: dict[str, object]) -> None:
    channel = tb.create_channel("first", kind, directory=rings)
    for start in (0, -1, -(1 << 70)):
        with pytest.raises(ChannelUsageError, match=f"start = {start}") as caught:
            tb.open_consumer(channel, "early", start=start)
        assert caught.value.facts["option"] == "start"
    with pytest.raises(ChannelUsageError, match="beyond the end"):
        tb.open_consumer(channel, "late", start=1 << 70)
    with tb.open_consumer(channel, "first", start=1) as consumer:
        assert (consumer.next_sequence, consumer.committed) == (1, 0)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused_by_every_call_that_takes_one(rings: Path, limit: int) -> None:
    channel = tb.create_channel("limits", {}, directory=rings)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "a") as consumer:
        producer.write(b"waits")
        calls: list[Callable[[], object]] = [
            lambda: consumer.poll(lambda _, __: None, limit),
            lambda: consumer.poll_batch(limit),
            lambda: asyncio.run(consumer.next_batch(limit, timeout=0.2)),
            lambda: next(ChannelView(find_channel("limits", node=rings.name, root=rings.parent)).read(limit=limit)),
        ]
        for call in calls:
            with pytest.raises(ChannelUsageError, match=f"limit = {limit}") as caught:
                call()
            assert caught.value.facts["option"] == "limit"
        assert consumer.poll(lambda _, __: None, 1) == 1


def test_a_lossy_consumer_waits_behind_a_claim_that_was_given_back(rings: Path) -> None:
    channel = tb.create_channel("given-back", {"mode": "mpsc", "dtype": TICK}, directory=rings)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "a", policy="overwrite") as consumer:
        claim = producer.claim()
        assert isinstance(claim, tb.Claim)
        claim.abort()
        writer = threading.Timer(0.05, producer.write, (ticks(1, 1).tobytes(),))
        writer.start()
        batch = consumer.poll_batch(timeout=10.0)
        writer.join()
        assert isinstance(batch, tb.Batch)
        assert (batch.first_sequence, len(batch)) == (2, 1)


@pytest.mark.parametrize("kind", [{}, {"dtype": TICK}, {"mode": "mpsc"}, {"mode": "mpsc", "dtype": TICK}])
def test_a_channel_that_is_there_with_other_options_is_refused_naming_each(
    rings: Path, kind: dict[str, object]
) -> None:
    made = {**kind, "buffer_size": 8192}
    channel = tb.create_channel("there", made, directory=rings)
    assert tb.create_channel("there", made, directory=rings).ring.capacity == channel.ring.capacity
    other = {"buffer_size": 1 << 20, "crc": False, "parking": False, "consumers_max": 64}
    if kind.get("mode") == "mpsc":
        other["producers_max"] = 3
    for option, value in other.items():
        with pytest.raises(ChannelUsageError, match=f"there is there with {option} ") as caught:
            tb.create_channel("there", {**made, option: value}, directory=rings)
        assert caught.value.facts["differ"] == [option]
    with pytest.raises(ChannelUsageError) as caught:
        tb.create_channel("there", {**made, **other}, directory=rings)
    assert caught.value.facts["differ"] == list(other)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "a:O8:0",
        "a:i8:100",
        "a:i8:0:1000000000000",
        "a:i8:0;a:i8:0",
        "a:M8:0",
        "a:i8:-8",
        "a:zz:0",
        ":i8:0",
        "a:i8",
    ],
)
def test_a_ring_whose_layout_is_no_layout_is_refused_as_such(rings: Path, text: str) -> None:
    Ring.create_slots(rings / "bad.ring", 8, 8, schema=("bad", 1, text))
    channel = tb.open_channel("bad", directory=rings)
    for use in (tb.open_consumer, tb.open_producer, lambda bad: bad.dtype):
        with pytest.raises(ChannelFormatError, match="the layout that the ring names for its records"):
            use(channel)
    with pytest.raises((ChannelFormatError, ChannelUsageError), match="layout"):
        tb.create_channel("bad", tb.ChannelOptions(dtype=TICK), directory=rings)
    view = ChannelView(ChannelFile("", "bad", rings / "bad.ring"))
    with pytest.raises(ChannelFormatError, match="the layout that the ring names for its records"):
        assert view.dtype is None


def test_who_finds_no_place_among_consumers_is_told_which_programs_hold_them(rings: Path) -> None:
    """Method: this process has all places but two, another one has one, and a name that nobody uses the last."""
    channel = tb.create_channel("events", {"schema": "trades", "buffer_size": 1 << 16}, directory=rings)
    places = channel.ring.consumers_max
    with contextlib.ExitStack() as stack:
        tb.open_consumer(channel, "idle", policy="overwrite").close()
        reader = textwrap.dedent("""
            import sys, tidebook
            consumer = tidebook.open_consumer("events", policy="overwrite", directory=sys.argv[1])
            print("in", flush=True)
            sys.stdin.read()
        """)
        command = [sys.executable, "-c", reader, str(rings)]
        other = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert other.stdin is not None
        stack.callback(other.stdin.close)
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        for _ in range(places - 2):
            stack.enter_context(tb.open_consumer(channel, policy="overwrite"))
        with pytest.raises(EndpointBusyError) as refused:
            tb.open_consumer(channel, policy="overwrite")
        said = str(refused.value)
        assert f"{places} consumers, which is its limit" in said
        assert f"{places - 2} by process {os.getpid()} (" in said
        assert f"1 by process {other.pid} ({sys.executable}" in said
        assert "1 by names that nobody uses now (idle)" in said
        assert refused.value.facts["process_ids"] == sorted([os.getpid(), other.pid])

"""Record types declared once: as a dtype or a dataclass, compared field by field by whoever opens the channel."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

import tidebook as tb
from tidebook.errors import ChannelUsageError


@dataclass
class Tick:
    price: int
    size: np.uint32
    weight: float
    firm: bool
    symbol: Annotated[bytes, 8]
    levels: Annotated[np.int16, 3]


@dataclass
class One:
    value: np.uint8


TICKS = [Tick(n, np.uint32(n * 2), n / 4, n % 2 == 0, b"BTC", [n, -n, 0]) for n in range(1, 6)]  # type: ignore[arg-type]


def test_instances_of_a_dataclass_go_in_and_come_out(rings: Path) -> None:
    ticks = tb.create_channel("ticks", tb.ChannelOptions(dtype=Tick), directory=rings)
    with (
        tb.open_producer(ticks) as producer,
        tb.open_consumer("ticks", "reader", dtype=Tick, directory=rings) as consumer,
    ):
        assert producer.write(TICKS[0]) == 1
        assert producer.write_batch(TICKS[1:]) == 5
        batch = consumer.poll_batch()
        assert isinstance(batch, tb.Batch)
        assert batch.records() == TICKS
        assert batch.array["symbol"].tolist() == [b"BTC"] * 5
        with pytest.raises(ChannelUsageError, match="a Tick does not fit its record"):
            producer.write(Tick(1 << 70, np.uint32(1), 0.0, firm=False, symbol=b"", levels=[0, 0, 0]))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            producer.write(One(np.uint8(1)))
    ones = tb.create_channel("ones", tb.ChannelOptions(dtype=One), directory=rings)
    with tb.open_producer(ones) as producer, tb.open_consumer(ones, "reader") as consumer:
        producer.write(One(np.uint8(7)))
        batch = consumer.poll_batch()
        assert isinstance(batch, tb.Batch)
        assert batch.records() == [One(np.uint8(7))]


def test_a_dataclass_is_the_layout_its_fields_say_without_holes(rings: Path) -> None:
    ticks = tb.create_channel("ticks", tb.ChannelOptions(dtype=Tick), directory=rings)
    dtype = ticks.dtype
    assert dtype is not None
    assert dtype == np.dtype(
        [("price", "<i8"), ("size", "<u4"), ("weight", "<f8"), ("firm", "?"), ("symbol", "S8"), ("levels", "<i2", (3,))]
    )
    assert dtype.itemsize == 8 + 4 + 8 + 1 + 8 + 6
    # A dtype of the same fields is the same record type.
    assert tb.open_channel("ticks", dtype=dtype, directory=rings).dtype == dtype
    assert tb.create_channel("ticks", tb.ChannelOptions(dtype=dtype), directory=rings).dtype == dtype


PAIR = [("price", "<i8"), ("size", "<i8")]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([("price", "<f8"), ("size", "<i8")], "price: f8 at byte 0 expected, i8 at byte 0 in the ring"),
        ([("price", "<i8")], "size: i8 at byte 8 in the ring, not expected"),
        (
            [*PAIR, ("side", "u1", (2,))],
            r"side: u1\[2\] at byte 16 expected, not in the ring",
        ),
        (
            [("size", "<i8"), ("price", "<i8")],
            "size: i8 at byte 0 expected, i8 at byte 8 in the ring; price: i8 at byte 8 expected, i8 at byte 0 in the ring",
        ),
        (
            {"names": ["price", "size"], "formats": ["<i8", "<i8"], "itemsize": 24},
            "24 bytes a record expected, 16 in the ring",
        ),
    ],
    ids=["type", "fewer", "more", "order", "padding"],
)
def test_another_record_type_is_refused_field_by_field_whoever_opens(rings: Path, asked: Any, told: str) -> None:
    tb.create_channel("pairs", tb.ChannelOptions(dtype=PAIR), directory=rings)
    for attempt in (
        lambda: tb.create_channel("pairs", tb.ChannelOptions(dtype=asked), directory=rings),
        lambda: tb.open_channel("pairs", dtype=asked, directory=rings),
        lambda: tb.open_producer("pairs", dtype=asked, directory=rings),
        lambda: tb.open_consumer("pairs", "reader", dtype=asked, directory=rings),
    ):
        with pytest.raises(ChannelUsageError, match=told):
            attempt()
    texts = tb.create_channel("texts", directory=rings)
    with pytest.raises(ChannelUsageError, match="expected, plain messages in the ring"):
        tb.open_consumer(texts, dtype=asked)


def test_what_has_no_fixed_layout_is_refused_by_its_field(rings: Path) -> None:
    @dataclass
    class Text:
        name: str

    @dataclass
    class Bytes:
        name: bytes

    for asked, told in (
        (Text, "field 'name' of Text is <class 'str'>"),
        (Bytes, "field 'name' of Bytes is <class 'bytes'>"),
        ([("name", "O")], "field 'name' of type object"),
        ([("name", ">i8")], "field 'name' of type >i8"),
        ("<i8", "a record has named fields"),
    ):
        with pytest.raises(ChannelUsageError, match=told):
            tb.create_channel("wrong", tb.ChannelOptions(dtype=asked), directory=rings)
    assert list(rings.iterdir()) == []


def test_a_consumer_starts_at_a_time_where_records_have_one(rings: Path) -> None:
    start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    dtype = np.dtype([("ts_event", "<i8"), ("ts_recv", "<i8"), ("number", "<i8")])
    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=dtype, buffer_size=1 << 14), directory=rings)
    records = np.zeros(400, dtype)
    records["number"] = np.arange(1, 401)
    records["ts_recv"] = int(start.timestamp()) * 10**9 + records["number"] * 10**9

    def begins_at(moment: datetime | np.datetime64) -> int:
        with tb.open_consumer(channel, start=moment) as consumer:
            return consumer.next_sequence

    with tb.open_producer(channel) as producer:
        producer.write_batch(records)
        oldest = channel.status()["oldest"]
        assert 1 < oldest < 300
        assert begins_at(start + timedelta(seconds=300)) == 300
        assert begins_at(start + timedelta(seconds=299, microseconds=1)) == 300
        assert begins_at(np.datetime64("2026-01-02T03:09:05.000000001")) == 301
        assert begins_at(start + timedelta(hours=1)) == 401
        assert begins_at(start) == oldest
    with pytest.raises(ChannelUsageError, match="has no time zone"):
        tb.open_consumer(channel, start=datetime(2026, 1, 2))  # noqa: DTZ001
    for other in (
        tb.create_channel("pairs", tb.ChannelOptions(dtype=PAIR), directory=rings),
        tb.create_channel("texts", directory=rings),
    ):
        with pytest.raises(ChannelUsageError, match="cannot start at a time"):
            tb.open_consumer(other, start=start)
    with pytest.raises(ChannelUsageError, match="is none of earliest, latest, resume, a sequence, a time"):
        tb.open_consumer(channel, start="yesterday")  # type: ignore[arg-type]

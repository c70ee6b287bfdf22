"""Record types declared once: as a dtype or a dataclass, compared field by field by whoever opens the channel."""

import ast
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
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
        with pytest.raises(ChannelUsageError, match="field 'price' of this Tick cannot hold"):
            producer.write(Tick(1 << 70, np.uint32(1), 0.0, firm=False, symbol=b"", levels=[0, 0, 0]))  # type: ignore[arg-type]
    ones = tb.create_channel("ones", tb.ChannelOptions(dtype=One), directory=rings)
    with tb.open_producer(ones) as producer, tb.open_consumer(ones, "reader") as consumer:
        producer.write(One(np.uint8(7)))
        batch = consumer.poll_batch()
        assert isinstance(batch, tb.Batch)
        assert batch.records() == [One(np.uint8(7))]


@dataclass
class Every:
    """A field of each kind."""

    number: int = 0
    small: np.int8 = 0  # type: ignore[assignment]
    count: np.uint32 = 0  # type: ignore[assignment]
    weight: float = 0.0
    ratio: np.float32 = 0.0  # type: ignore[assignment]
    firm: bool = False
    symbol: Annotated[bytes, 4] = b""
    levels: Annotated[np.int64, 3] = (0, 0, 0)  # type: ignore[assignment]
    marks: Annotated[bool, 2] = (False, False)  # type: ignore[assignment]
    sizes: Annotated[np.float32, 2] = (0.0, 0.0)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("number", [1.9, 1.0, "12", None, 1 << 63, -(1 << 63) - 1, b"1"]),
        ("small", [128, -129, np.int64(300), 0.5]),
        ("count", [-1, 1 << 32]),
        ("weight", ["1.5", None, (1 << 53) + 1, np.int64((1 << 53) + 1), 10**400, Decimal("0.1"), [1.0]]),
        ("ratio", [1e39, -1e39, np.float64(1e300), (1 << 24) + 1]),
        ("firm", ["no", "", 1, 0.0, None]),
        ("symbol", [b"AAPL.OQ", None, "AAPL", 7, b"AB\0", bytearray(5)]),
        ("levels", [[1], [1, 2, 3, 4], 1, None, [1, 2, 3.0], [1, 2, 1 << 63], np.zeros((3, 1), np.int64), "123"]),
        ("marks", [[True], [True, "no"], [1, 0]]),
        ("sizes", [[1e39, 0.0], np.array([1e300, 0.0]), [0.0, "1"]]),
    ],
    ids=lambda one: one if isinstance(one, str) else "values",
)
def test_a_value_that_would_be_read_back_as_another_is_refused_by_its_field(
    rings: Path, field: str, values: list[Any]
) -> None:
    """One at a time and in a batch; nothing of the batch is written then."""
    channel = tb.create_channel("every", {"dtype": Every}, directory=rings)
    with tb.open_producer(channel) as producer:
        for value in values:
            wrong = Every(**{field: value})
            with pytest.raises(ChannelUsageError, match=f"^field '{field}' of this Every cannot hold .*: it takes "):
                producer.write(wrong)
            with pytest.raises(ChannelUsageError, match=f"^field '{field}' of this Every cannot hold "):
                producer.write_batch([Every(), wrong])
        assert producer.published == 0


def test_what_a_field_can_hold_is_read_back_equal(rings: Path) -> None:
    """Numbers of every kind that are equal to one the field has; a float is rounded to the size of its field."""
    held = [
        Every(number=-(1 << 63), small=np.int8(-128), count=(1 << 32) - 1, weight=3, ratio=1 << 24),  # type: ignore[arg-type]
        Every(number=np.uint8(7), count=True, weight=np.float32(0.5), firm=np.bool_(1)),  # type: ignore[arg-type]
        Every(weight=Decimal("0.5"), symbol=bytearray(b"A\0BC"), levels=np.array([1, -2, 3])),  # type: ignore[arg-type]
        Every(weight=float("inf"), sizes=np.array([0.5, -0.25]), marks=[True, False]),  # type: ignore[arg-type]
    ]
    channel = tb.create_channel("every", {"dtype": Every}, directory=rings)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel) as consumer:
        producer.write_batch(held[:3])
        producer.write(held[3])
        producer.write(Every(ratio=0.1))  # type: ignore[arg-type]
        batch = consumer.poll_batch()
        assert isinstance(batch, tb.Batch)
        *read, rounded = batch.records()
        assert rounded.ratio == np.float32(0.1)
        for one, other in zip(read, held, strict=True):
            for name in vars(other):
                given = getattr(other, name)
                assert getattr(one, name) == (list(given) if isinstance(given, tuple | np.ndarray) else given), name


def test_what_is_no_message_of_the_channel_is_refused_with_what_it_takes(rings: Path) -> None:
    again: Any = dataclass(type("One", (), {"__annotations__": {"value": np.uint8}}))
    ones = tb.create_channel("ones", {"dtype": One}, directory=rings)
    arrays = tb.create_channel("arrays", {"dtype": [("value", "u1")]}, directory=rings)
    texts = tb.create_channel("texts", directory=rings)
    with (
        tb.open_producer(ones) as producer,
        tb.open_producer(arrays) as by_dtype,
        tb.open_producer(texts) as plain,
    ):
        for writer, message, told in (
            (producer, {"value": 1}, "expected was an instance of One, or its bytes, and not of dict"),
            (producer, (1,), "expected was an instance of One, or its bytes, and not of tuple"),
            (producer, again(np.uint8(1)), "another class of that name .* open it again with dtype=One"),
            (
                by_dtype,
                One(np.uint8(1)),
                "nothing written to arrays: it was opened without a dataclass; open it with dtype=One",
            ),
            (by_dtype, (1,), "expected were the bytes of one record, and not tuple"),
            (plain, "text", "nothing written to texts: expected were bytes, and not str; encode it"),
        ):
            with pytest.raises(ChannelUsageError, match=told):
                writer.write(message)
            with pytest.raises(ChannelUsageError, match=told):
                writer.write_batch([message])
        with pytest.raises(
            ChannelUsageError, match=r"^message 1 of the batch: expected was an instance of One.* not of int"
        ):
            producer.write_batch([One(np.uint8(1)), 5])
        for no_batch in ("abc", b"abc", 5, iter([b"a"])):
            with pytest.raises(ChannelUsageError, match=r"write_batch takes a structured array, a list or a tuple"):
                plain.write_batch(no_batch)  # type: ignore[arg-type]
        assert (producer.published, by_dtype.published, plain.published) == (0, 0, 0)


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


def test_the_layout_of_a_channel_is_read_without_the_parser_of_python(
    rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads open channels while others build models, which parse: CPython 3.11 ends one of two that do so at once with a SystemError."""
    made = tb.create_channel("ticks", tb.ChannelOptions(dtype=Tick), directory=rings).dtype

    parsed: list[Any] = []
    parse = ast.parse

    def noted(*given: Any, **more: Any) -> Any:
        parsed.append(given)
        return parse(*given, **more)

    with monkeypatch.context() as patched:
        patched.setattr(ast, "parse", noted)
        found = tb.open_channel("ticks", directory=rings).dtype
    assert found == made
    assert parsed == []


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


def local_types() -> type[Any]:
    """A dataclass whose annotations are texts, of a name that its module does not have."""
    code = """
from __future__ import annotations
from dataclasses import dataclass
def made():
    import numpy as numbers
    @dataclass
    class Tick:
        price: numbers.int64
    return Tick
"""
    names: dict[str, Any] = {"__name__": __name__}
    exec(code, names)  # the future import is of a whole module
    made: type[Any] = names["made"]()
    return made


def test_what_has_no_fixed_layout_is_refused_by_its_field(rings: Path) -> None:
    @dataclass
    class Text:
        name: str

    @dataclass
    class Bytes:
        name: bytes

    class Forgotten:
        name: int

    for asked, told in (
        (Text, "field 'name' of Text is <class 'str'>"),
        (Bytes, "field 'name' of Bytes is <class 'bytes'>"),
        ([("name", "O")], "field 'name' of type object"),
        ([("name", ">i8")], "field 'name' of type >i8"),
        ("<i8", r"a record has named fields; use \[\('value', '<i8'\)\] or a dataclass"),
        (int, r"a record has named fields; use \[\('value', '<i8'\)\]"),
        (object, r"dtype = object: .*@dataclass"),
        (Forgotten, "dtype = Forgotten: this class is no dataclass; write @dataclass above it"),
        ("tick", "dtype = 'tick': data type 'tick' not understood; use a list of fields"),
        (local_types(), "the fields of Tick cannot be read: name 'numbers' is not defined; .* names of the module"),
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

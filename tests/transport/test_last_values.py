"""The newest record of each key beside a channel: who has just come knows where things stand."""

import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tidebook as tb
from tidebook._core import schemas
from tidebook.errors import ChannelUsageError

QUOTE = np.dtype([("bid", "<i8"), ("instrument_id", "<u4"), ("ask", "<i8")])
MODES = pytest.mark.parametrize("mode", ["spsc", "mpsc"])


def channel(rings: Path, mode: str = "spsc", **more: Any) -> tb.Channel:
    asked = {"dtype": QUOTE, "mode": mode, "last_value_key": "instrument_id", "last_values": 50} | more
    return tb.create_channel("quotes", asked, directory=rings)


def quotes(*rows: tuple[int, int]) -> np.ndarray:
    return np.array([(bid, key, bid + 1) for key, bid in rows], QUOTE)


@MODES
def test_the_newest_record_of_a_key_is_read_by_any_process_without_joining(rings: Path, mode: str) -> None:
    written = channel(rings, mode)
    with tb.open_producer(written) as producer:
        assert written.last_value(7) is None
        producer.write_batch(quotes((7, 100), (3, 200), (7, 101)))
        with producer.claim() as claim:
            claim.record[0] = (300, 4, 301)
        value = written.last_value(7)
        assert value is not None
        assert (value["sequence"], value["record"]["bid"], value["record"]["ask"]) == (3, 101, 102)
        values = written.last_values()
        assert values.shape == (50,)
        assert np.flatnonzero(values["sequence"]).tolist() == [3, 4, 7]
        assert values["record"]["bid"][[3, 4, 7]].tolist() == [200, 300, 101]
        code = """
import sys, tidebook
values = tidebook.open_channel("quotes", directory=sys.argv[1]).last_values()
print(values["sequence"][[3, 4, 7]].tolist())
"""
        said = subprocess.run([sys.executable, "-c", code, str(rings)], capture_output=True, text=True, check=True)
        assert said.stdout == "[2, 4, 3]\n"
        assert written.status()["consumers"] == []


@MODES
def test_a_key_that_is_too_high_is_refused_and_nothing_of_its_call_is_written(rings: Path, mode: str) -> None:
    written = channel(rings, mode)
    with tb.open_producer(written) as producer:
        for no_key in (-1, 1.5, "BTC"):
            with pytest.raises(ChannelUsageError, match=f"key = {no_key!r}: keys are integers from 0 on"):
                written.last_value(no_key)  # type: ignore[arg-type]
        with pytest.raises(ChannelUsageError, match=r"key 50 of a record: .* are of keys below 50") as error:
            producer.write(quotes((50, 1)).tobytes())
        assert {"key": 50, "count": 50}.items() <= error.value.facts.items()
        with pytest.raises(ChannelUsageError, match="key 50 of a record"):
            producer.write_batch(quotes((1, 1), (50, 1)))
        with pytest.raises(ChannelUsageError, match="key 4294967295"), producer.claim() as claim:
            claim.record[0] = (1, 0xFFFFFFFF, 2)
        assert not written.last_values()["sequence"].any()
        assert producer.write(quotes((49, 1)).tobytes()) == (1 if mode == "spsc" else 2)


def test_a_published_layout_has_last_values_too(rings: Path) -> None:
    book = tb.create_channel(
        "md.book", {"schema": "book", "last_value_key": "instrument_id", "last_values": 10}, directory=rings
    )
    images = np.zeros(2, schemas()["book"].dtype())
    images["instrument_id"], images["bid_price"][:, 0] = [4, 9], [100, 200]
    with tb.open_producer(book) as producer:
        producer.write_batch(images)
    assert book.last_values()["record"]["bid_price"][[4, 9], 0].tolist() == [100, 200]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"last_value_key": "bid", "dtype": QUOTE}, "last_value_key = 'bid': needs last_values"),
        ({"last_values": 5, "dtype": QUOTE}, "last_value_key = None: needs last_values, the number of keys"),
        ({"last_value_key": "bid", "last_values": 5}, "plain messages have no key"),
        ({"last_value_key": "id", "last_values": 5, "dtype": QUOTE}, "'id': the records have bid, instrument_id, ask"),
        ({"last_value_key": "x", "last_values": 5, "dtype": [("x", "<f8")]}, "a key is an integer, this is float64"),
        ({"last_value_key": "bid", "last_values": 0, "dtype": QUOTE}, "last_values = 0: must be from 1 to 2097152"),
        ({"last_value_key": "bid", "last_values": 2_097_153, "dtype": QUOTE}, "must be from 1 to 2097152"),
        (
            {"last_value_key": "bid", "last_values": 5, "dtype": QUOTE, "durability": "wal", "wal_dir": "journals"},
            "only memory channels have them",
        ),
    ],
    ids=["no count", "no key", "messages", "unknown", "float", "none", "many", "durable"],
)
def test_what_cannot_have_last_values_is_refused_by_name(rings: Path, asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ChannelUsageError, match=told):
        tb.create_channel("quotes", asked, directory=rings)
    assert list(rings.iterdir()) == []


def test_a_channel_without_them_is_not_taken_for_one_with_them(rings: Path) -> None:
    plain = tb.create_channel("quotes", {"dtype": QUOTE}, directory=rings)
    for attempt in (lambda: plain.last_value(1), plain.last_values):
        with pytest.raises(ChannelUsageError, match="has no last values; make it with last_value_key"):
            attempt()
    with pytest.raises(ChannelUsageError, match="is there with no last values, asked for was last values of 50 keys"):
        channel(rings)


PRODUCER = """
import random, sys
import numpy as np
import tidebook as tb

keys = random.Random(int(sys.argv[2]))
quote = np.dtype([("bid", "<i8"), ("instrument_id", "<u4"), ("ask", "<i8")])
with tb.open_producer("quotes", directory=sys.argv[1]) as producer:
    for number in range(1 << 40):
        row = (number, keys.randrange(50), number + 1)
        if number % 3:
            with producer.claim() as claim:
                claim.record[0] = row
        else:
            producer.write(np.array([row], quote).tobytes())
"""


@MODES
def test_after_kills_the_last_values_are_exactly_those_of_what_was_committed(rings: Path, mode: str) -> None:
    written = channel(rings, mode, buffer_size=1 << 14)
    moments = random.Random(0x5EED)
    newest: dict[int, tuple[int, int]] = {}

    def read(consumer: tb.Consumer, timeout: float) -> int:
        batch = consumer.poll_batch(1_000, timeout=timeout)
        if batch is None:
            return 0
        assert isinstance(batch, tb.Batch)
        with batch:
            rows = zip(
                batch.sequences.tolist(),
                batch.array["instrument_id"].tolist(),
                batch.array["bid"].tolist(),
                strict=True,
            )
            newest.update({key: (sequence, bid) for sequence, key, bid in rows})
            return len(batch)

    with tb.open_consumer(written, "model", start="earliest") as consumer:
        for life in range(3):
            processes = [
                subprocess.Popen([sys.executable, "-c", PRODUCER, str(rings), str(10 * life + number)])
                for number in range(2 if mode == "mpsc" else 1)
            ]
            try:
                for process in processes:
                    for _ in range(moments.randrange(5, 50)):
                        assert read(consumer, 60)
                    process.send_signal(signal.SIGKILL)
                    process.wait(60)
            finally:
                for process in processes:
                    process.kill()
                    process.wait(60)
            while read(consumer, 0.1):
                pass
            values = written.last_values()
            found = {
                int(key): (int(values["sequence"][key]), int(values["record"]["bid"][key]))
                for key in np.flatnonzero(values["sequence"])
            }
            assert found == newest

"""What a warm channel allocates when Python writes and reads it: the numbers it gives back, and nothing that stays.

The Rust side allocates nothing at all, which `crates/ring/tests/no_allocation.rs` counts call by call.
"""

import ctypes
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tidebook as tb

DTYPE = np.dtype([("number", "<u8"), ("square", "<u8")])
CALLS = 2_000
AN_INT_BYTES = 32


class MallInfo(ctypes.Structure):
    """What the C library says of its heap (`mallinfo2`); Rust allocates there too."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "mapped")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "used", "free", "keep")),
    ]


def heap_bytes() -> int:
    info = ctypes.CDLL(None).mallinfo2
    info.restype = MallInfo
    found = info()
    return int(found.used + found.mapped)


@pytest.mark.parametrize("options", [{"dtype": DTYPE}, {}, {"mode": "mpsc"}], ids=["records", "frames", "runs"])
def test_writing_and_reading_a_message_allocates_the_numbers_it_gives_back(
    options: dict[str, object], rings: Path
) -> None:
    channel = tb.create_channel("warm", options, directory=rings)
    message, count = bytes(16), 0

    def seen(sequence: int, payload: bytes) -> None:
        nonlocal count
        count += 1

    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:

        def write_and_poll() -> None:
            producer.write(message)
            consumer.poll(seen, 16)

        def measured(call: Callable[[], None]) -> tuple[int, int]:
            """Growth of the C heap, and the most of Python's memory at one time, over many calls."""
            for _ in range(CALLS):
                call()
            before = heap_bytes()
            for _ in range(CALLS):
                call()
            grown = heap_bytes() - before
            tracemalloc.start()
            start, _ = tracemalloc.get_traced_memory()
            for _ in range(CALLS):
                call()
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return grown, peak - start

        grown, peak = measured(write_and_poll)
        assert count == 3 * CALLS
        # The measurement itself takes some; one byte a call would be more.
        assert grown < CALLS
        # Sequences given back and handed over, how many there were, the payload, and the test's own counters.
        assert peak <= 16 * AN_INT_BYTES

"""A tape is the newest rows with their sequences, in memory of its own."""

import random
from collections import deque

import numpy as np

from tidebook.api.tape import Tape

ROW = np.dtype([("trade_id", "<i8"), ("price", "<i8")])
KEPT = 50


def test_a_tape_is_the_newest_rows_whatever_lengths_they_come_in() -> None:
    """Against a plain deque, with holes between the sequences, as missed trades leave them."""
    choose = random.Random(4)
    tape, naive = Tape(KEPT), deque[tuple[int, int]](maxlen=KEPT)
    assert (len(tape), tape.last, list(tape.newest(3)), list(tape.after(0))) == (0, None, [], [])
    sequence = 0
    for _ in range(400):
        sequence += choose.choice([0, 0, 3])
        count = choose.choice([1, 2, 7, KEPT - 1, KEPT, 2 * KEPT, 3 * KEPT])
        ids = np.arange(sequence + 1, sequence + count + 1)
        sequence += count
        rows = np.zeros(count, ROW)
        rows["trade_id"] = ids
        tape.extend(rows, sequence)
        naive.extend((number, number) for number in ids.tolist())
        at, many = sequence - choose.randrange(2 * KEPT), choose.randrange(KEPT)
        assert len(tape) == len(naive)
        assert tape.last["trade_id"] == sequence
        assert [row["trade_id"] for row in tape.after(at)] == [number for number, _ in naive if number > at]
        upto = [number for number, _ in naive if number <= at]
        assert [row["trade_id"] for row in tape.newest(many, at)] == upto[max(0, len(upto) - many) :]
        assert [row["trade_id"] for row in tape.newest(1)] == [sequence]

"""Trouble on five venues at once under a whole node: books are the venues' own, and nothing leaks."""

from pathlib import Path
from statistics import median

import pytest

import tidebook as tb
from tests.node.trouble import Day, run_day
from tidebook.feeds.registry import FEEDS


def check(day: Day, hours: int) -> None:
    """What holds however long the day is: the comparison of books is made at each checkpoint."""
    books = sum(len(kind.default_symbols) for kind in FEEDS.values())
    assert day.books_compared == hours * books
    assert day.reconnects > 0
    assert day.resyncs > 0
    for venue, found in day.found.items():
        assert min(found.disconnects, found.stalls, found.gaps) > 0, f"{venue}: {found}"
    # A REST connection may be kept open beside the streams, and storage may be writing a file.
    first, last = day.checkpoints[0], day.checkpoints[-1]
    assert last.sockets <= first.sockets + 2
    assert last.files <= first.files + 8


def test_after_hours_of_trouble_every_book_is_the_venues_own_and_no_socket_is_left(tmp_path: Path) -> None:
    check(run_day(tmp_path, hours=2, seed=5), hours=2)
    assert tb.open(tmp_path / "data").verify().ok


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_day_of_trouble_memory_is_what_it_was(tmp_path: Path, seed: int) -> None:
    """Memory is compared between the second quarter of the day, when every buffer has been filled once, and the last."""
    day = run_day(tmp_path, hours=24, seed=seed)
    check(day, hours=24)
    assert tb.open(tmp_path / "data").verify().ok
    memory = [one.memory_bytes for one in day.checkpoints]
    assert median(memory[18:]) < 1.1 * median(memory[6:12])

"""Numbers that a journal goes past: a cut gave them up, and no other message gets them.

They are between two epochs and nowhere else, so headers say where to look, and the heads of the batches before which number is the
first that is missing. Who says up to which message a journal reaches has to name them, or claims what is lost.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from tidebook._core import BatchFinder
from tidebook.persistence.journal_copy import epoch_of, first_sequence_of, segment_name, segment_numbers

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence


def holes(directory: str | os.PathLike[str]) -> list[tuple[int, int]]:
    """First and last number of each hole of a journal, rising; none of one that was never cut.

    Raises: JournalError and its kinds.
    """
    journal = Path(directory)
    found = []
    for before, number in pairwise(segment_numbers(journal)):
        one, other = journal / segment_name(before), journal / segment_name(number)
        if epoch_of(one) == epoch_of(other):
            continue
        # The first that is missing, in [low, high].
        low, high = first_sequence_of(one), first_sequence_of(other)
        finder = BatchFinder(journal)
        while low < high:
            middle = (low + high) // 2
            if finder.find(middle) is None:
                high = middle
            else:
                low = middle + 1
        if low < first_sequence_of(other):
            found.append((low, first_sequence_of(other) - 1))
    return found


def is_fresh_cut(directory: str | os.PathLike[str]) -> bool:
    """Whether a cut has made the newest segment of a journal and nobody has gone on in it: it is of the next epoch and empty.

    The epoch of who goes on with a journal that was put back is a later one. Raises: JournalError and its kinds.
    """
    journal = Path(directory)
    numbers = segment_numbers(journal)
    if len(numbers) < 2:
        return False
    before, newest = (journal / segment_name(number) for number in numbers[-2:])
    return epoch_of(newest) == epoch_of(before) + 1 and BatchFinder(journal).find(first_sequence_of(newest)) is None


def but_for(found: Sequence[tuple[int, int]]) -> str:
    """For people, behind what a journal reaches up to: `, but for 11 to 20, which a cut gave up`; empty without holes."""
    if not found:
        return ""
    spans = ", ".join(f"{first:,} to {last:,}" if first < last else f"{first:,}" for first, last in found)
    return f", but for {spans}, which a cut gave up"

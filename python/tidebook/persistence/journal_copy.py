"""A journal copied while it is written: up to what was durable when the copy began, and not a byte further.

What is durable stays as it is: segments that have a successor never change but for the zeros behind their last batch, and
the newest one only grows. So it is asked first where the durable part ends, by the rule of the journal itself, then each
segment is copied up to the one where it does, and of that one the bytes before its end. The copy is a journal like any other: it
opens, and has everything that was acknowledged when it was asked. Bytes: docs/formats/journal.md.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tidebook.errors import OperationError
from tidebook.persistence.file_lock import held_by
from tidebook.persistence.files import files_in, open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WATERMARK_FILE: Final = "durable"
PUT_BACK_FILE: Final = "restored"
"""There from a restore until somebody goes on with the journal."""
_COMPACTION_LOCK: Final = "compaction.lock"
_COMPACTION_WAIT_S: Final = 10.0
_POLL_S: Final = 0.01
_SILENT_S: Final = 1.0
_HEADER_BYTES: Final = 4096


@contextmanager
def kept_whole(journal: Path, waiting: Callable[[str], object] = lambda _: None) -> Iterator[None]:
    """Nobody compacts the journal within the block, where this user may have that lock and nobody keeps it.

    Who copies looks all the same whether it begins where it began: this keeps the copy from being begun again. After a second
    `waiting` is told, once, who compacts it.
    """
    descriptor = None
    try:
        if any(entry.name.endswith(".segment") for entry in journal.iterdir()):
            descriptor = open_regular(journal / _COMPACTION_LOCK, os.O_RDWR | os.O_CREAT)
            _lock(descriptor, journal, waiting)
    except (OSError, OperationError):
        pass  # what cannot be read is told by who copies it
    try:
        yield
    finally:
        if descriptor is not None:
            # By word too: a child that is being forked has the descriptor until it executes something.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _lock(descriptor: int, journal: Path, waiting: Callable[[str], object]) -> None:
    """As the core does it; given up after a while, for a compaction is short."""
    begun, is_told = time.monotonic(), False
    while (waited_s := time.monotonic() - begun) < _COMPACTION_WAIT_S:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waited_s >= _SILENT_S and not is_told:
                is_told = True
                holder = held_by(journal / _COMPACTION_LOCK)
                waiting(f"waiting, up to {_COMPACTION_WAIT_S:g} s, for who compacts {journal}: {holder}")
            time.sleep(_POLL_S)
        else:
            return


def segment_name(number: int) -> str:
    """Name of a segment's file."""
    return f"{number:010d}.segment"


def segment_numbers(journal: Path) -> list[int]:
    """Numbers of the segments that are there, rising."""
    found = [path for path in files_in(journal, ".segment") if path.stem.isdecimal()]
    return sorted(int(path.stem) for path in found if path.name == segment_name(int(path.stem)))


def same_segment(one: Path, other: Path) -> bool | None:
    """Whether two files of a segment that has a successor hold the same batches, as far as headers tell: its own and the next one's.

    A header has a random salt, and says with which batch and at which chain the segment before it ended: a segment whose end was
    cut off has its old header and another successor. None where the successor of either is not beside it.
    """
    own, others = _header(one), _header(other)
    if own != others:
        return False
    ended, others_ended = _header(_successor(one)), _header(_successor(other))
    return None if ended is None or others_ended is None else ended == others_ended


def first_sequence_of(segment: Path) -> int:
    """The first message that a segment may hold."""
    header = _header(segment)
    return int.from_bytes(b"" if header is None else header[32:40], "little")


def epoch_of(segment: Path) -> int:
    """The epoch of a segment's messages."""
    header = _header(segment)
    return int.from_bytes(b"" if header is None else header[52:56], "little")


def _successor(segment: Path) -> Path:
    return segment.with_name(segment_name(int(segment.stem) + 1))


def _header(segment: Path) -> bytes | None:
    try:
        with os.fdopen(open_regular(segment, os.O_RDONLY), "rb") as file:
            return file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return None

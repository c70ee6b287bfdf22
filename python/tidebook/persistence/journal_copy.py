"""A journal copied while it is written: up to what was durable when the copy began, and not a byte further.

What is durable stays as it is: segments that have a successor never change but for the zeros behind their last batch, and
the newest one only grows. So the watermark is read first, then each segment up to the one it names, and of that one the
batches that it says are synced. The copy is a journal like any other: it opens, and has everything that was acknowledged
when the watermark was read. Bytes: docs/formats/journal.md.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tidebook.errors import BackupError

if TYPE_CHECKING:
    from pathlib import Path

WATERMARK_FILE: Final = "durable"
SEGMENT_HEADER_BYTES: Final = 4096
_BATCH_HEADER: Final = struct.Struct("<IIIIQQQI")
_BATCH_HEADER_BYTES: Final = 48
_WATERMARK: Final = struct.Struct("<8sQQQIIII")
_WATERMARK_MAGIC: Final = b"TIDEDURA"
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Durable:
    """How far a journal's writer says it is synced."""

    content: bytes
    """Of the file, as it was read."""
    sequence: int
    batch_number: int
    segment: int
    """The writer is in it; the newest there was."""


def read_watermark(journal: Path) -> Durable | None:
    """What the journal's writer has told last; None where it never has."""
    path = journal / WATERMARK_FILE
    for _ in range(3):  # a read may meet a write half way
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        if len(content) == _WATERMARK.size:
            magic, sequence, batch_number, segment, *_ = _WATERMARK.unpack(content)
            if magic == _WATERMARK_MAGIC:
                return Durable(content=content, sequence=sequence, batch_number=batch_number, segment=segment)
    return None


def segment_name(number: int) -> str:
    """Name of a segment's file."""
    return f"{number:010d}.segment"


def segment_numbers(journal: Path) -> list[int]:
    """Numbers of the segments that are there, rising."""
    return sorted(int(path.stem) for path in journal.glob("*.segment") if path.stem.isdecimal())


def durable_size_bytes(segment: Path, batch_number: int) -> int:
    """Bytes of a segment up to the end of a batch, or of its last one, whichever comes first.

    Raises: BackupError for a batch that cannot be: the journal is damaged; OSError.
    """
    with segment.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        end = SEGMENT_HEADER_BYTES
        begin, held = 0, b""
        while end + _BATCH_HEADER_BYTES <= size_bytes:
            if end + _BATCH_HEADER_BYTES > begin + len(held):
                begin, held = end, os.pread(file.fileno(), _READ_BYTES, end)
                if len(held) < _BATCH_HEADER_BYTES:
                    break
            _, length, _, _, number, *_ = _BATCH_HEADER.unpack_from(held, end - begin)
            if length == 0 or number > batch_number:
                break
            if length % 8 or end + length > size_bytes:
                raise BackupError(
                    f"{segment}: no batch can be at offset {end}, though what is there was synced; see `tidebook journal verify "
                    f"{segment.parent}`",
                    path=str(segment),
                )
            end += length
        return end

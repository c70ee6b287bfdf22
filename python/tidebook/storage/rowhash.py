"""Order-independent hash of rows: proof that two sets of files hold the same records.

Each row is hashed over its canonical fields, in the order of the record's layout, and the row hashes are added modulo
2^64. So the hash of two parts is the sum of their hashes, rows may be sorted, packed and re-encoded at will, and a
row that is lost, doubled or altered shows. It guards against mistakes and rot, not against an adversary: that is what
the file hash is for.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SEED = np.uint64(0x9E37_79B9_7F4A_7C15)
_MULTIPLIER = np.uint64(0xBF58_476D_1CE4_E5B9)
_FINISH = np.uint64(0x94D0_49BB_1331_11EB)
_SHIFT = np.uint64(29)
_HALF = np.uint64(32)

# Rows hashed at a time: the running hashes and one column of them stay in a core's cache.
_CHUNK_ROWS = 16_384


def row_hash(columns: Mapping[str, NDArray[Any]], fields: tuple[str, ...]) -> int:
    """Sum modulo 2^64 of the hashes of all rows, each over `fields` in that order.

    Shape: every column (rows,), integers of any width, signed ones sign-extended to 64 bits; or (rows, 8 * n) bytes,
    taken as n little-endian words.
    """
    rows = len(columns[fields[0]])
    words = [word for field in fields for word in _words(columns[field])]
    running = np.empty(min(rows, _CHUNK_ROWS), np.uint64)
    spare = np.empty_like(running)
    total = 0
    for start in range(0, rows, _CHUNK_ROWS):
        stop = min(start + _CHUNK_ROWS, rows)
        row, other = running[: stop - start], spare[: stop - start]
        row.fill(_SEED)
        for word in words:
            values = word[start:stop]
            row ^= (values if values.itemsize == 8 else values.astype(np.int64)).view(np.uint64)
            row *= _MULTIPLIER
            np.right_shift(row, _SHIFT, out=other)
            row ^= other
        row *= _FINISH
        np.right_shift(row, _HALF, out=other)
        row ^= other
        total += int(row.sum(dtype=np.uint64))
    return total % 2**64


def _words(column: NDArray[Any]) -> list[NDArray[Any]]:
    return [column] if column.ndim == 1 else list(np.ascontiguousarray(column).view("<u8").T)


def to_text(value: int) -> str:
    """Sixteen hexadecimal digits, as the manifest keeps it."""
    return f"{value:016x}"

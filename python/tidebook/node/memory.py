"""How much of what was freed the C library may keep.

glibc gives each thread an arena, up to eight for each core, and moves two limits with what a process frees: once a large block
that was mapped alone is freed, blocks of its size are cut from arenas, and an arena keeps twice as much free at its end. In
a node with five feeds every flush and every message longer than all before left more of it: 40 MB after six minutes.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

LARGE_BYTES: Final = 1 << 20
"""Most blocks of messages and flushes are smaller. At an eighth of it, storing four million rows took two fifths more of
the processor, for fresh pages; at this size a tenth."""


def give_back_large_blocks() -> bool:
    """Holds both limits at `LARGE_BYTES` from here on: a block as large is mapped alone, and goes back when it is freed.

    For a process of ours, not for one that only imports us. False where the C library has no such limits.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(limit, LARGE_BYTES) == 1 for limit in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))

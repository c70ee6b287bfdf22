"""Record layouts between numpy, the published schemas and the text a ring carries.

A ring names the fields of its records itself (`name:type:offset[:count]` joined by `;`), so a reader needs no code of
the writer's, and both sides are compared field by field when they open it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tidebook.errors import ChannelUsageError


def to_text(dtype: np.dtype[Any]) -> str:
    """The text of a structured dtype. Raises: ChannelUsageError for a field that has no fixed plain layout."""
    fields = []
    for name in dtype.names or ():
        field, offset = dtype.fields[name][:2]  # type: ignore[index]
        scalar, count = field.base, int(np.prod(field.shape, dtype=np.int64))
        kind = f"{scalar.kind}{scalar.itemsize}"
        if scalar.kind not in "iuf" or scalar.byteorder == ">" or set(name) & set(":;"):
            raise ChannelUsageError(
                f"field {name!r} of type {field} cannot be in a channel: use little-endian integers, floats or arrays "
                "of them",
                option="dtype",
                value=str(field),
            )
        fields.append(f"{name}:{kind}:{offset}" + (f":{count}" if field.shape else ""))
    return ";".join(fields)


def from_text(text: str, itemsize: int) -> np.dtype[Any]:
    """The dtype of records of `itemsize` bytes."""
    names, formats, offsets = [], [], []
    for field in text.split(";"):
        name, kind, offset, *count = field.split(":")
        names.append(name)
        formats.append(f"({count[0]},)<{kind}" if count else f"<{kind}")
        offsets.append(int(offset))
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize})


def slot(record: np.dtype[Any], record_offset: int, stride: int) -> np.dtype[Any]:
    """The dtype of a whole slot: the ring's own sequence word, and the record in it."""
    return np.dtype(
        {
            "names": ["sequence", "record"],
            "formats": ["<u8", record],
            "offsets": [0, record_offset],
            "itemsize": stride,
        }
    )


def difference(expected: str, found: str) -> str:
    """The fields in which two layouts differ, for people."""
    ours, theirs = set(expected.split(";")), set(found.split(";"))
    return f"only expected: {', '.join(sorted(ours - theirs)) or 'none'}; only in the ring: {', '.join(sorted(theirs - ours)) or 'none'}"

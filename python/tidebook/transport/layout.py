"""Record layouts between numpy, the published schemas and the text a ring carries.

A ring names the fields of its records itself (`name:type:offset[:count]` joined by `;`), so a reader needs no code of
the writer's, and both sides are compared field by field when they open it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tidebook.errors import ChannelFormatError, ChannelUsageError

KINDS = "iufbS"
"""Signed and unsigned integers, floats, bool, bytes of a fixed length, in numpy's spelling."""


def to_text(dtype: np.dtype[Any]) -> str:
    """The text of a structured dtype. Raises: ChannelUsageError for a field that has no fixed plain layout."""
    fields = []
    for name in dtype.names or ():
        field, offset = dtype.fields[name][:2]  # type: ignore[index]
        scalar, count = field.base, int(np.prod(field.shape, dtype=np.int64))
        kind = f"{scalar.kind}{scalar.itemsize}"
        if scalar.kind not in KINDS or scalar.byteorder == ">" or set(name) & set(":;") or not scalar.itemsize:
            raise ChannelUsageError(
                f"field {name!r} of type {field} cannot be in a channel: use little-endian integers, floats, bool, bytes "
                "of a fixed length, or arrays of them",
                option="dtype",
                value=str(field),
            )
        fields.append(f"{name}:{kind}:{offset}" + (f":{count}" if field.shape else ""))
    return ";".join(fields)


def from_text(text: str, itemsize: int) -> np.dtype[Any]:
    """The dtype of records of `itemsize` bytes. Raises: ChannelFormatError for a text that is no layout of them."""
    names, offsets = [], []
    formats: list[str | tuple[str, tuple[int]]] = []
    for name, kind, offset, count in _parsed(text):
        names.append(name)
        # Not "(5,)<u1": numpy has the interpreter's parser read that, and CPython 3.11's fails when two threads use it at once.
        formats.append(f"<{kind}" if count is None else (f"<{kind}", (count,)))
        offsets.append(offset)
    try:
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize})
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise _no_layout(text, f"of records of {itemsize} bytes: {error}") from None


def _parsed(text: str) -> list[tuple[str, str, int, int | None]]:
    """Name, kind, place and count of each field. Raises: ChannelFormatError."""
    fields = []
    for field in text.split(";"):
        name, kind, offset, count = (*field.split(":"), "", "", "")[:4]
        plain = kind[:1] in KINDS and kind[1:].isdecimal() and offset.isdecimal() and (count.isdecimal() or not count)
        if not name or not plain or field.count(":") != (3 if count else 2):
            raise _no_layout(text, f"field {field!r}")
        fields.append((name, kind, int(offset), int(count) if count else None))
    return fields


def _no_layout(text: str, why: str) -> ChannelFormatError:
    return ChannelFormatError(
        f"the layout that the ring names for its records, {text[:200]!r}, is none ({why}); the ring is damaged or was made by "
        "something else: remove it and create the channel again"
    )


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


def difference(expected: str, found: str, place: str = "ring") -> str:
    """The fields in which two layouts differ, for people; empty for equal ones. An empty layout is plain messages.

    `place` is where the second one was found.
    """
    if not expected or not found:
        return "" if expected == found else f"{_named(expected)} expected, {_named(found)} in the {place}"
    ours, theirs = _fields(expected), _fields(found)
    told = []
    for name in dict.fromkeys([*ours, *theirs]):
        if name not in theirs:
            told.append(f"{name}: {ours[name]} expected, not in the {place}")
        elif name not in ours:
            told.append(f"{name}: {theirs[name]} in the {place}, not expected")
        elif ours[name] != theirs[name]:
            told.append(f"{name}: {ours[name]} expected, {theirs[name]} in the {place}")
    return "; ".join(told)


def _fields(text: str) -> dict[str, str]:
    """How each field of a layout is called by people: type, count, place."""
    fields = {}
    for name, kind, offset, count in _parsed(text):
        fields[name] = f"{kind}{'' if count is None else f'[{count}]'} at byte {offset}"
    return fields


def _named(text: str) -> str:
    return f"records of {', '.join(_fields(text))}" if text else "plain messages"

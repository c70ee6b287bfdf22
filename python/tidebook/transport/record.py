"""Record types: declared once, as a numpy dtype or a dataclass, for whoever writes and whoever reads.

    @dataclass
    class Tick:
        price: int                      # 8 bytes, signed
        size: np.uint32
        flags: np.uint8
        symbol: Annotated[bytes, 16]    # zero padded
        levels: Annotated[np.int64, 5]  # five of them

Fields follow each other without holes, in the order of the class. `int` has 64 bits, `float` too, `bool` one byte.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, TypeGuard, get_args, get_origin, get_type_hints

import numpy as np

from tidebook.errors import ChannelUsageError
from tidebook.transport.layout import to_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

_PLAIN = {int: "<i8", float: "<f8", bool: "?"}


def dtype_of(declared: DTypeLike | type[Any]) -> np.dtype[Any]:
    """The dtype of a declared record type. Raises: ChannelUsageError for a field that has no fixed plain layout."""
    if not _is_record_class(declared):
        dtype = np.dtype(declared)
        if dtype.names is None:
            raise ChannelUsageError(
                f"dtype = {dtype}: a record has named fields; use [('value', {dtype.str!r})] or a dataclass",
                option="dtype",
                value=str(dtype),
            )
        to_text(dtype)
        return dtype
    hints = get_type_hints(declared, include_extras=True)
    names = [field.name for field in dataclasses.fields(declared)]
    dtype = np.dtype([(name, *_format(declared, name, hints[name])) for name in names])
    to_text(dtype)
    return dtype


def record_class(declared: DTypeLike | type[Any] | None) -> type[Any] | None:
    """The dataclass, if the record type was declared as one."""
    return declared if _is_record_class(declared) else None


class Packing:
    """Instances of a dataclass as the bytes of its records, and back."""

    def __init__(self, record: type[Any], dtype: np.dtype[Any]) -> None:
        self.record = record
        self._dtype = dtype
        names = [field.name for field in dataclasses.fields(record)]
        self._values = attrgetter(*names) if len(names) > 1 else lambda one: (getattr(one, names[0]),)

    def pack(self, records: Sequence[Any]) -> np.ndarray[Any, Any]:
        """An array of these records. Raises: ChannelUsageError for a value that its field cannot hold."""
        try:
            return np.array([self._values(one) for one in records], self._dtype)
        except (OverflowError, TypeError, ValueError) as error:
            raise ChannelUsageError(
                f"a {self.record.__name__} does not fit its record: {error}", option="dtype"
            ) from None

    def unpack(self, array: np.ndarray[Any, Any]) -> list[Any]:
        """Instances of these records; fields of several values are lists, bytes end before their padding."""
        # Field by field: of a whole record an array would stay one, and a view of the ring.
        return list(map(self.record, *(array[name].tolist() for name in self._dtype.names or ())))


def _is_record_class(declared: object) -> TypeGuard[type[Any]]:
    return isinstance(declared, type) and dataclasses.is_dataclass(declared)


def _format(record: object, name: str, hint: Any) -> tuple[Any, ...]:
    """Type of a field, and its count where it has one, as numpy's list of fields takes them."""
    kind, count = hint, None
    if get_origin(hint) is Annotated:
        kind, count, *_ = get_args(hint)
    if isinstance(count, int) and count > 0 and kind is bytes:
        return (f"S{count}",)
    scalar = _PLAIN.get(kind) or (np.dtype(kind) if isinstance(kind, type) and issubclass(kind, np.generic) else None)
    if (
        scalar is None
        or not (count is None or (isinstance(count, int) and count > 0))
        or np.dtype(scalar).itemsize == 0
    ):
        raise ChannelUsageError(
            f"field {name!r} of {getattr(record, '__name__', record)} is {hint}, which has no fixed layout: use int, float, "
            "bool, a numpy type, or Annotated[bytes, 16] and Annotated[numpy.int64, 5] for several",
            option="dtype",
            value=name,
        )
    return (scalar,) if count is None else (scalar, (count,))

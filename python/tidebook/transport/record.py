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
import struct
from operator import attrgetter
from struct import Struct
from typing import TYPE_CHECKING, Annotated, Any, TypeGuard, get_args, get_origin, get_type_hints

import numpy as np

from tidebook.errors import ChannelUsageError
from tidebook.transport.layout import KINDS, to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike

_PLAIN = {int: "<i8", float: "<f8", bool: "?"}
_CODES = {
    f"{kind}{size_bytes}": code
    for kind, first, codes in (("i", 1, "bhiq"), ("u", 1, "BHIQ"), ("f", 2, "efd"))
    for size_bytes, code in zip((first, first * 2, first * 4, first * 8), codes, strict=False)
}
"""Of `struct`, by numpy's kind and size."""
_AS_IT_IS = {"e": float, "f": float, "d": float, "?": bool}
"""Values that `struct` packs exactly or refuses, by code."""
_UNFIT = (struct.error, OverflowError, TypeError, ValueError)
_SHOWN_MAX = 60
_FLOATS = (float, np.floating)
_BOOLS = (bool, np.bool_)
_BYTES = (bytes, bytearray)


def dtype_of(declared: DTypeLike | type[Any]) -> np.dtype[Any]:
    """The dtype of a declared record type. Raises: ChannelUsageError for a field that has no fixed plain layout."""
    if not _is_record_class(declared):
        dtype = _numpy_dtype(declared)
        if dtype.names is None:
            known = dtype.kind in KINDS and dtype.itemsize
            asked = f"[('value', {dtype.str!r})]" if known else "[('value', '<i8')]"
            raise ChannelUsageError(
                f"dtype = {dtype}: a record has named fields; use {asked} or a dataclass",
                option="dtype",
                value=str(dtype),
            )
        to_text(dtype)
        return dtype
    try:
        hints = get_type_hints(declared, include_extras=True)
    except NameError as error:
        raise ChannelUsageError(
            f"the fields of {declared.__name__} cannot be read: {error}; with `from __future__ import annotations` the types of "
            "fields are looked for among the names of the module: import or define it there, and not in a function",
            option="dtype",
            value=declared.__name__,
        ) from None
    names = [field.name for field in dataclasses.fields(declared)]
    dtype = np.dtype([(name, *_format(declared, name, hints[name])) for name in names])
    to_text(dtype)
    return dtype


def _numpy_dtype(declared: Any) -> np.dtype[Any]:
    if isinstance(declared, type) and not issubclass(declared, np.generic) and declared not in _PLAIN:
        raise ChannelUsageError(
            f"dtype = {declared.__name__}: this class is no dataclass; write @dataclass above it",
            option="dtype",
            value=declared.__name__,
        )
    try:
        dtype: np.dtype[Any] = np.dtype(declared)
    except (TypeError, ValueError) as error:
        raise ChannelUsageError(
            f"dtype = {declared!r}: {error}; use a list of fields such as [('price', '<i8')], or a dataclass",
            option="dtype",
            value=declared,
        ) from None
    return dtype


def record_class(declared: DTypeLike | type[Any] | None) -> type[Any] | None:
    """The dataclass, if the record type was declared as one."""
    return declared if _is_record_class(declared) else None


class Packing:
    """Instances of a dataclass as the bytes of its records, and back.

    What goes in comes out equal, but for floats, which are rounded to the size of their field: every other value that
    would change is refused. Integers cost nothing for that, `struct` refuses by itself what does not fit them.
    """

    def __init__(self, record: type[Any], dtype: np.dtype[Any]) -> None:
        self.record = record
        self._dtype = dtype
        names = [field.name for field in dataclasses.fields(record)]
        self._values = attrgetter(*names) if len(names) > 1 else lambda one: (getattr(one, names[0]),)
        self._fields = [_Field(name, dtype[name]) for name in names]
        self._exact = [
            (at, _AS_IT_IS.get(field.code), field.exact)
            for at, field in enumerate(self._fields)
            if field.exact is not None
        ]
        self._struct = Struct("<" + "".join(field.code for field in self._fields))
        assert self._struct.size == dtype.itemsize, "a dataclass is laid out without holes"

    def pack(self, one: Any) -> bytes:
        """The bytes of one record. Raises: ChannelUsageError for a value that its field cannot hold."""
        values: Sequence[Any] = self._values(one)
        try:
            if self._exact:
                values = exactly = list(values)
                for at, plain, exact in self._exact:
                    # A call costs as much as the rest.
                    if type(exactly[at]) is not plain:
                        exactly[at] = exact(exactly[at])
            return self._struct.pack(*values)
        except _UNFIT:
            raise self._refusal(one) from None

    def pack_all(self, records: Sequence[Any]) -> bytes:
        """The bytes of these records, one after the other. Raises: ChannelUsageError as `pack`, and for what is no instance."""
        for at, one in enumerate(records):
            if not isinstance(one, self.record):
                raise ChannelUsageError(f"message {at} of the batch: {self.unlike(one)}", option="messages")
        return b"".join(map(self.pack, records))

    def unpack(self, array: np.ndarray[Any, Any]) -> list[Any]:
        """Instances of these records; fields of several values are lists, bytes end before their padding."""
        # Field by field: of a whole record an array would stay one, and a view of the ring.
        return list(map(self.record, *(array[name].tolist() for name in self._dtype.names or ())))

    def unlike(self, value: object) -> str:
        """What is wrong with a message that is no instance, for people."""
        found, expected = type(value), self.record
        if found.__name__ == expected.__name__:
            return (
                f"this {found.__name__} is of another class of that name than the one the channel was opened with, as after "
                f"a second run of the cell that defines it; open it again with dtype={expected.__name__}"
            )
        return f"expected was an instance of {expected.__name__}, or its bytes, and not of {found.__name__}"

    def _refusal(self, one: Any) -> ChannelUsageError:
        """The first field that does not hold its value."""
        name = self.record.__name__
        for field, value in zip(self._fields, self._values(one), strict=True):
            try:
                Struct("<" + field.code).pack(value if field.exact is None else field.exact(value))
            except _UNFIT:
                shown = " ".join(repr(value).split())
                shown = shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}..."
                return ChannelUsageError(
                    f"field {field.name!r} of this {name} cannot hold {shown}: it takes {field.takes}",
                    option=field.name,
                    value=value,
                    expected=field.takes,
                )
        raise AssertionError(f"every field of this {name} holds its value, and all together do not")


class _Field:
    """How a field is packed: its code for `struct`, and what makes or refuses what `struct` would change silently."""

    def __init__(self, name: str, dtype: np.dtype[Any]) -> None:
        self.name = name
        self.exact: Callable[[Any], Any] | None
        base, count = dtype.base, dtype.shape[0] if dtype.shape else None
        self.code, self.exact, self.takes = _scalar(base)
        if count is not None:
            self.exact = _several(Struct("<" + self.code * count), self.exact, count)
            self.code = f"{base.itemsize * count}s"
            self.takes = f"{count} values, each {self.takes}"


def _scalar(dtype: np.dtype[Any]) -> tuple[str, Callable[[Any], Any] | None, str]:
    """Code, what makes a value exact where `struct` does not, and in words what a field of this type takes."""
    size = dtype.itemsize
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return _CODES[f"{dtype.kind}{size}"], None, f"an integer from {limits.min} to {limits.max}"
    if dtype.kind == "b":
        return "?", _truth, "True or False"
    if dtype.kind == "S":
        return f"{size}s", _text(size), f"up to {size} bytes of which the last is not zero, because zeros are padding"
    number = _number(dtype.type)
    takes = f"a float of {size} bytes, or a number that one is equal to"
    code = _CODES.get(f"f{size}")
    if code is None:
        return f"{size}s", lambda value: dtype.type(number(value)).tobytes(), takes
    return code, number, takes


def _truth(value: object) -> bool:
    if isinstance(value, _BOOLS):
        return bool(value)
    raise TypeError


def _text(size: int) -> Callable[[Any], Any]:
    def exact(value: Any) -> Any:
        if isinstance(value, _BYTES) and len(value) <= size and not value.endswith(b"\0"):
            return value
        raise TypeError

    return exact


def _number(kind: Callable[[float], Any]) -> Callable[[Any], Any]:
    """Floats as they are, of which `struct` refuses those that are too large; of other numbers only what stays equal."""

    def exact(value: Any) -> Any:
        if isinstance(value, _FLOATS):
            return value
        # Python compares numbers of different kinds exactly, numpy rounds them first.
        number = value.item() if isinstance(value, np.generic) else value
        if float(kind(float(number))) == number:
            return number
        raise TypeError

    return exact


def _several(packed: Struct, exact: Callable[[Any], Any] | None, count: int) -> Callable[[Any], bytes]:
    def of(value: Any) -> bytes:
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if not isinstance(value, (list, tuple)) or len(value) != count:
            raise TypeError
        return packed.pack(*(value if exact is None else map(exact, value)))

    return of


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

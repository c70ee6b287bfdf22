"""Typed face of `crates/py`, the compiled core. Private: import what is public from `tidebook`."""

from typing import Any, final

import numpy

__all__ = [
    "Payloads",
    "Schema",
    "error_classes",
    "format_units",
    "pack_message",
    "parse_units",
    "schemas",
    "unpack_message",
    "version",
]

@final
class Payloads:
    """Raw messages in one buffer, handed between recording, journal and decoder without copies."""

    def __new__(cls, payloads: list[bytes]) -> Payloads: ...
    @property
    def size_bytes(self) -> int:
        """Bytes of all payloads together."""
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> bytes: ...

@final
class Schema:
    """The published layout of one record type: plain little-endian fields without holes."""

    @property
    def name(self) -> str:
        """The record's name, which is also the last word of its channel `md.<name>`."""
    @property
    def version(self) -> int:
        """Rises with each change of the fields."""
    @property
    def size_bytes(self) -> int:
        """Bytes of one record."""
    @property
    def fields(self) -> list[tuple[str, int, str]]:
        """Fields in order as (name, offset in bytes, numpy format)."""
    def dtype(self) -> numpy.dtype[Any]:
        """The numpy dtype of one record; numpy is imported by the first call."""

def error_classes() -> list[str]:
    """Names of the `tidebook.errors` classes the core may raise."""

def format_units(units: int, exponent: int) -> str:
    """Decimal text of `units` with exactly `exponent` decimals.

    Raises: ValueError if the exponent exceeds 18.
    """

def pack_message(ts_recv: int, connection: int, kind: int, body: bytes, context: bytes | None = None) -> bytes:
    """The payload of one raw message: `feed.<venue>` frames and journal records hold these bytes.

    Units:  ts_recv in ns since 1970 UTC; kind 1 ws, 2 rest, 3 state, 4 timer.
    Raises: RawMessageError for another kind.
    """

def parse_units(text: str, exponent: int) -> int:
    """Integer units of the decimal `text` at `exponent`: exact or an error, never rounded.

    Raises: DecimalError (facts `found`, `exponent`) when the text is no such number or would not be exact;
            ValueError if the exponent exceeds 18.
    """

def schemas() -> dict[str, Schema]:
    """Layout of every record type, by name, in the order of their first use."""

def unpack_message(payload: bytes) -> tuple[int, int, int, bytes, bytes]:
    """(ts_recv, connection, kind, context, body) of a payload, the inverse of `pack_message`.

    Raises: RawMessageError when it is cut or of an unknown kind.
    """

def version() -> str:
    """Version of the workspace the core was built from."""

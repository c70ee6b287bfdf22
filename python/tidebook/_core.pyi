"""Typed face of `crates/py`, the compiled core. Private: import what is public from `tidebook`."""

from typing import Any, final

import numpy

__all__ = ["Schema", "error_classes", "format_units", "parse_units", "schemas", "version"]

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

def parse_units(text: str, exponent: int) -> int:
    """Integer units of the decimal `text` at `exponent`: exact or an error, never rounded.

    Raises: DecimalError (facts `found`, `exponent`) when the text is no such number or would not be exact;
            ValueError if the exponent exceeds 18.
    """

def schemas() -> dict[str, Schema]:
    """Layout of every record type, by name, in the order of their first use."""

def version() -> str:
    """Version of the workspace the core was built from."""

"""Prices, sizes and amounts in integer units, exactly.

The venue counts in units of 10^-exponent and rounds nothing; these two are the only way between them and decimals.
"""

from decimal import Decimal
from operator import index

from tidebook._core import parse_units
from tidebook.errors import DecimalError

EXPONENT_MAX = 18
"""Most decimals of a price, a size or an amount."""


def units(value: int | str | Decimal | float, exponent: int) -> int:
    """Units of 10^-`exponent`: `units("61837.63", 2)` is 6183763.

    A float counts as the shortest decimal text that names it, which is the text one writes: `units(0.1, 1)` is 1. An int is a whole
    number, not units: `units(3, 2)` is 300.
    Raises: DecimalError where that would not be exact, or is no number; nothing is rounded.
    """
    if not isinstance(value, (str, Decimal, float)):
        value = str(index(value))
    if not isinstance(value, str):
        # Plain digits: no exponent, which the parser does not take. `Decimal(repr())` keeps a float's shortest text.
        number = Decimal(repr(value)) if isinstance(value, float) else value
        if not number.is_finite():
            raise DecimalError(f"{value}: not a decimal number", found=str(value), exponent=exponent)
        value = f"{number:f}"
    return parse_units(value, exponent)


def decimal(value: int, exponent: int) -> Decimal:
    """The number that so many units of 10^-`exponent` are, with all its decimals: `decimal(6183763, 2)` is 61837.63. Any int will do."""
    if not 0 <= exponent <= EXPONENT_MAX:
        raise DecimalError(f"exponent {exponent}: 0 to {EXPONENT_MAX} are wanted", exponent=exponent)
    # Made from its text, which is exact; arithmetic would round to the context's digits.
    digits = f"{abs(value):0{exponent + 1}d}"
    whole, fraction = digits[: len(digits) - exponent], digits[len(digits) - exponent :]
    return Decimal(f"{'-' if value < 0 else ''}{whole}{'.' if exponent else ''}{fraction}")

"""Integer units to doubles, with proof that nothing was lost.

Prices and sizes are integers of 10^-exponent inside and doubles in Parquet, because doubles are what every tool
reads. A double is written as exact only after the documented inverse, `rint(double * 10^exponent)`, gave back the
units of every single row and the units themselves fit a double. Where one row fails, the caller stores the integers
too. Division by a power of ten is correctly rounded, so an exact double is also the one a decimal literal parses to;
multiplying by 0.01 would miss it for two prices in five.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidebook.errors import UsageError

EXPONENT_MAX = 18
"""Largest exponent an `i64` of units can have; 10^18 is exact in a double (up to 10^22 are)."""

_POWERS = np.array([float(10**exponent) for exponent in range(EXPONENT_MAX + 1)])

# Rows worked on at a time: three temporaries of it stay in a core's cache.
_CHUNK_ROWS = 32_768


def to_doubles(units: NDArray[np.int64], exponents: NDArray[np.uint8]) -> tuple[NDArray[np.float64], bool]:
    """Doubles nearest to `units / 10^exponents`, and whether `to_units` gives back every row of `units`.

    Shape:  both (rows,).
    Raises: UsageError if an exponent exceeds 18.
    """
    doubles = np.empty(len(units), np.float64)
    exact = True
    for start in range(0, len(units), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        whole = units[part].astype(np.float64)
        np.divide(whole, _scale(exponents[part]), out=doubles[part])
        exact = exact and bool(
            (_integers(whole) == units[part]).all() and (to_units(doubles[part], exponents[part]) == units[part]).all(),
        )
    return doubles, exact


def to_units(doubles: NDArray[np.float64], exponents: NDArray[np.uint8]) -> NDArray[np.int64]:
    """`rint(doubles * 10^exponents)`: the inverse of `to_doubles` for rows it called exact.

    Shape:  both (rows,).
    Raises: UsageError if an exponent exceeds 18.
    """
    return _integers(np.rint(doubles * _scale(exponents)))


def _scale(exponents: NDArray[np.uint8]) -> np.float64 | NDArray[np.float64]:
    """One power of ten where all rows share it, which is nearly always; else one for each row."""
    if len(exponents) == 0:
        return np.float64(1.0)
    highest = int(exponents.max())
    if highest > EXPONENT_MAX:
        raise UsageError(
            f"record exponent is {highest}, at most {EXPONENT_MAX} fits 64-bit units: check the instrument's definition",
            found=highest,
            expected=EXPONENT_MAX,
        )
    if int(exponents.min()) == highest:
        return np.float64(_POWERS[highest])
    scale: NDArray[np.float64] = _POWERS[exponents]
    return scale


def _integers(doubles: NDArray[np.float64]) -> NDArray[Any]:
    # 2^63 and above has no i64; the cast gives another number, which is what the comparison needs.
    with np.errstate(invalid="ignore"):
        return doubles.astype(np.int64)
